# make demo | test | lint | develop | clean. Everything happens in a virtual environment of the checkout, .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := pyproject.toml $(shell find bbcodec models cli -type f -not -path '*/__pycache__/*')

.PHONY: demo test lint develop venv clean

demo: $(VENV)/installed
	$(BIN)/python benchmarks/demo.py

test: $(VENV)/installed
	$(BIN)/pytest

# mypy runs in another folder: here, `-p bbcodec` would find the core alone, as models/ and cli/ lie beside it.
lint: $(VENV)/installed
	$(BIN)/ruff check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p bbcodec

venv: $(VENV)/installed

# For work on bbcodec itself: changes take effect without an install. `make test` goes back to the plain install.
develop: $(VENV)/requirements
	$(PIP) install -q --no-deps --no-build-isolation -e .
	rm -f $(VENV)/installed

# torch comes first and by itself: an unpinned requirement may draw a far larger build.
$(VENV)/requirements: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch==2.13.0
	$(PIP) install -q -c constraints.txt setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation '.[test,lint]'
	touch $@

# A plain install, as users have it: what is tested is what is packaged. build/ would bring back deleted modules.
$(VENV)/installed: $(VENV)/requirements $(SOURCES)
	rm -rf build
	$(PIP) install -q --no-deps --no-build-isolation --force-reinstall .
	rm -rf build
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
