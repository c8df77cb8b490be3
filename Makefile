# make demo | test | lint | develop | clean. Everything happens in a virtual environment of the checkout, .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Stamps name the checkout, as virtual environments do not survive being moved.
PLACE := $(shell pwd | cksum | cut -d " " -f 1)
REQUIREMENTS := $(VENV)/requirements-$(PLACE)
INSTALLED := $(VENV)/installed-$(PLACE)
SOURCES := pyproject.toml $(shell find bbcodec models cli -type f -not -path '*/__pycache__/*')

.PHONY: demo test lint develop venv clean

demo: $(INSTALLED)
	$(BIN)/python benchmarks/demo.py

# Three workers even on two cores: one often waits for machine code that another compiles. Each collects all tests, which
# is quicker from bytecode of the last run. Files go in their order: xdist would keep those of few tests, some of them
# long, for the end, when other workers have nothing left to do.
test: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# mypy runs in another folder: here, `-p bbcodec` would find the core alone, as models/ and cli/ lie beside it.
lint: $(INSTALLED)
	$(BIN)/ruff check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p bbcodec

venv: $(INSTALLED)

# For work on bbcodec itself: changes take effect without an install. `make test` goes back to the plain install.
develop: $(REQUIREMENTS)
	$(PIP) install -q --no-deps --no-build-isolation -e .
	rm -f $(INSTALLED)

# torch comes first and by itself: an unpinned requirement may draw a far larger build.
$(REQUIREMENTS): constraints.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install -q -c constraints.txt torch==2.13.0
	$(PIP) install -q -c constraints.txt setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation '.[test,lint]'
	touch $@

# A plain install, as users have it: what is tested is what is packaged. build/ would bring back deleted modules.
$(INSTALLED): $(REQUIREMENTS) $(SOURCES)
	rm -rf build
	$(PIP) install -q --no-deps --no-build-isolation --force-reinstall .
	rm -rf build
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
