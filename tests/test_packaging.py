"""The installed package: every module imports, points one way, and its docstring examples run."""

import ast
import doctest
import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"bbcodec": "bbcodec", "models": "bbcodec.models", "cli": "bbcodec.cli"}
LAYERS = {"core": 0, "models": 1, "cli": 2}
HEAVY = ("torch", "numba", "scipy", "skimage", "imagecodecs")


def source_modules() -> list[str]:
    """Every module of the source tree, by the name it has when installed."""
    names = []
    for folder, package in ROOMS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            names.append(".".join([package, *parts]).removesuffix(".__init__"))
    return sorted(names)


MODULES = source_modules()


def layer(module: str) -> int:
    return LAYERS.get(module.partition(".")[2].partition(".")[0], LAYERS["core"])


def imported(module: str) -> set[str]:
    """Every bbcodec module that the source of `module` imports, at the top or inside a function."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    names = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "bbcodec"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def script() -> str:
    path = Path(sys.executable).parent / "bbcodec"
    assert path.exists(), f"{path} is missing: the console script was not installed"
    return str(path)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_of_the_source_tree_is_installed(module):
    """A package that is missing from the list in pyproject.toml is found here, when the install is a plain one."""
    assert importlib.util.find_spec(module) is not None


def test_no_package_called_models_or_cli_is_installed():
    top = {path.parts[0] for path in importlib.metadata.files("bbcodec") or () if path.parts[0] in ("models", "cli")}
    assert top == set()


def test_py_typed_is_shipped():
    assert importlib.resources.files("bbcodec").joinpath("py.typed").is_file()


def test_every_shipped_codec_has_a_card():
    zoo = importlib.resources.files("bbcodec.models.zoo")
    names = {path.name for path in zoo.iterdir()}
    codecs = {path.stem for path in (ROOT / "models" / "zoo").glob("*.bbc")}
    assert codecs == {name.removesuffix(".bbc") for name in names if name.endswith(".bbc")}
    assert {f"{codec}.md" for codec in codecs} <= names


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    """cli -> models -> bbcodec, never back."""
    backwards = {name for name in imported(module) if layer(name) > layer(module)}
    assert backwards == set()


@pytest.mark.parametrize("module", MODULES)
def test_the_core_knows_nothing_of_the_command_line(module):
    if layer(module) == LAYERS["core"]:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        source = Path(str(spec.origin)).read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (click|rich)\b", source, re.MULTILINE)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("command", [["--help"], ["codecs"], ["compress", "--help"]])
def test_commands_that_code_no_pixels_start_fast(command):
    """Under 0.5 s of processor time, which other work on the machine does not change; torch and numba stay out."""
    code = (
        "import sys\nfrom bbcodec.cli.main import main\n"
        f"sys.argv = ['bbcodec', *{command!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    result = run(sys.executable, "-P", "-c", code)
    assert result.returncode == 0, result.stderr
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run(script(), *command).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_version_is_told():
    assert importlib.metadata.version("bbcodec") in run(script(), "--version").stdout


def test_tests_do_not_shadow_the_package():
    """A tests package or a conftest.py at the root would put the root and its partial bbcodec/ before the install."""
    assert not list((ROOT / "tests").rglob("__init__.py"))
    assert not (ROOT / "conftest.py").exists()


def test_pins_cover_every_requirement():
    """constraints.txt names each direct requirement, so that `make test` installs the same versions everywhere."""
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = {re.split(r"[ <>=;\[]", text)[0].lower() for text in importlib.metadata.requires("bbcodec") or ()}
    assert wanted <= pins


def test_no_path_of_a_machine_and_no_registry_address_in_the_set_up():
    for name in ("Makefile", ".ci/run", "constraints.txt", "pyproject.toml", ".pre-commit-config.yaml"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|file://|--index-url|--find-links", text), name
        assert not re.search(r"(?<![\w.$)])/(home|root|opt|work|mnt)/", text), name


def test_readme_tells_what_was_measured():
    """Every figure of its results section is rendered from benchmarks/results."""
    script = ROOT / "benchmarks" / "readme_table.py"
    result = run(sys.executable, str(script), "--check")
    assert result.returncode == 0, result.stderr
