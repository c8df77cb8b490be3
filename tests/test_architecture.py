"""docs/architecture.md holds: imports point one way, modules stay small, pages name files that exist.

Each check is a function of source text that returns what it finds wrong. It runs over the repository, and over small
sources that break its rule.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOMES = {"bbcodec": "bbcodec", "models": "bbcodec.models", "cli": "bbcodec.cli"}  # folder: package, as installed
MAX_LINES = 450

# From the top. A room imports from its own layer and those below, and two rooms never import each other.
# "bbcodec" is the package itself, with the public names.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"cli"}),
    frozenset({"models"}),
    frozenset({"report", "integrations"}),
    frozenset({"bbcodec"}),
    frozenset({"archive"}),
    frozenset({"codec", "images"}),
    frozenset({"model"}),
    frozenset({"distributions", "exact"}),
    frozenset({"engine", "deflate", "prediction", "tiff_codes"}),
    frozenset({"coder"}),
    frozenset(
        {
            "errors",
            "binary",
            "options",
            "parallel",
            "clusters",
            "signal_handlers",
            "atomic_files",
            "input_files",
            "sample_formats",
            "remote",
        }
    ),
)
RANKS = {room: rank for rank, layer in enumerate(reversed(LAYERS)) for room in layer}

Form = Literal["import", "typing", "string"]  # a statement, one under TYPE_CHECKING, a module's name as a string

# What points up all the same: importer, imported, how, and why.
EXCEPTIONS: dict[tuple[str, str, Form], str] = {
    ("bbcodec.options", "bbcodec.archive.summary", "typing"): "options hold a callback that takes a FileReport",
    ("bbcodec.options", "bbcodec.codec.pool", "typing"): "options hold a function that loads codecs",
    ("bbcodec.codec.catalogue", "bbcodec.models", "string"): "finds the folder of shipped codecs, imports nothing",
}


@dataclass(frozen=True)
class Edge:
    """One module that names another."""

    importer: str
    imported: str
    form: Form

    @property
    def excepted(self) -> bool:
        return (self.importer, self.imported, self.form) in EXCEPTIONS

    def __str__(self) -> str:
        return f"{self.importer} -> {self.imported} ({self.form})"


# --- the checks ------------------------------------------------------------------------------------------------------


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def edges(sources: Mapping[str, str], packages: Iterable[str] = ()) -> list[Edge]:
    """Every import of one of the modules by another: at module level, under TYPE_CHECKING, lazy, or by its name."""
    return [edge for module in sources for edge in edges_of(module, sources, module in packages)]


def edges_of(module: str, sources: Mapping[str, str], is_package: bool) -> Iterator[Edge]:
    tree = ast.parse(sources[module])
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        for name, form in targets(node, module, sources, is_package):
            if name in sources and name != module:
                yield Edge(module, name, "typing" if form == "import" and id(node) in typing else form)


def targets(node: ast.AST, module: str, sources: Mapping[str, str], is_package: bool) -> Iterator[tuple[str, Form]]:
    """The modules that a node of the syntax tree names."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, "import"
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
            base = ".".join([*parents, base]).rstrip(".")
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner in sources else base, "import"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
        yield node.value, "string"


def imports_upwards(found: Iterable[Edge]) -> list[str]:
    """Imports that point up, and rooms that are in no layer."""
    wrong = []
    for edge in found:
        above, below = room_of(edge.importer), room_of(edge.imported)
        unknown = {above, below} - RANKS.keys()
        if unknown:
            wrong.append(f"{edge}: {', '.join(sorted(unknown))} is in no layer")
        elif RANKS[below] > RANKS[above] and not edge.excepted:
            wrong.append(f"{edge} points up")
    return wrong


def cycles(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The cycles of a graph, each found after one import of the cycle before it was taken out."""
    left, found = set(pairs), list[str]()
    while True:
        graph = TopologicalSorter[str]()
        for importer, imported in sorted(left):
            graph.add(importer, imported)
        try:
            graph.prepare()
            return found
        except CycleError as error:
            cycle = error.args[1]  # each is imported by the next
            found.append(" <- ".join(cycle))
            left.remove((cycle[1], cycle[0]))


def module_cycles(found: Iterable[Edge]) -> list[str]:
    return cycles((edge.importer, edge.imported) for edge in found if not edge.excepted)


def room_cycles(found: Iterable[Edge]) -> list[str]:
    between = ((room_of(edge.importer), room_of(edge.imported)) for edge in found if not edge.excepted)
    return cycles((above, below) for above, below in between if above != below)


def too_long(sources: Mapping[str, str]) -> list[str]:
    lengths = {module: len(text.splitlines()) for module, text in sources.items()}
    return [f"{module} has {length} lines" for module, length in lengths.items() if length > MAX_LINES]


def without_docstring(sources: Mapping[str, str]) -> list[str]:
    return [module for module, text in sources.items() if not (ast.get_docstring(ast.parse(text)) or "").strip()]


def repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


PATH = re.compile(r"(?:bbcodec|models|cli|tests|benchmarks|docs)/[\w./*-]*")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def missing_files(text: str, folder: Path) -> list[str]:
    """Files that a page names, in backquotes or as links, and that are not there. `*` and NAME stand for any name."""
    named = {path.rstrip("/") for span in re.findall(r"`([^`\n]+)`", text) for path in PATH.findall(span)}
    gone = [path for path in named if not list(ROOT.glob(path.replace("NAME", "*")))]
    return sorted(gone + [link for link in LINK.findall(text) if not (folder / link).exists()])


def unknown_names(text: str, sources: Iterable[str]) -> list[str]:
    """Names like `AnsStack` in backquotes that no module defines."""
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z]\w*)*)(?:\(\))?`", text))
    defined = {
        node.name
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    return sorted(named - defined)


def drawn_wrongly(picture: str) -> list[str]:
    """Rooms (`name/`) and modules (`name.py`) that a drawing has above one of a higher layer, or does not have."""
    drawn = [name for name in re.findall(r"\b(\w+)(?=/|\.py\b)", picture) if name in RANKS]
    wrong = [f"{above} above {below}" for above, below in pairwise(drawn) if RANKS[above] < RANKS[below]]
    return wrong + [f"no {room}" for room in sorted(RANKS.keys() - {"bbcodec", *drawn})]


# --- over the repository ---------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    folder, *inner = path.relative_to(ROOT).with_suffix("").parts
    parts = [HOMES[folder], *inner]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(path for folder in HOMES for path in (ROOT / folder).rglob("*.py"))
SOURCES = {module_name(path): path.read_text(encoding="utf-8") for path in FILES}
PACKAGES = {module_name(path) for path in FILES if path.name == "__init__.py"}
PAGES = [path for glob in ("*.md", "docs/*.md", "benchmarks/README.md") for path in sorted(ROOT.glob(glob))]


@cache
def found_edges() -> list[Edge]:
    """The imports of the repository; not at import, as each worker of pytest collects this file."""
    return edges(SOURCES, PACKAGES)


def test_imports_point_one_way():
    assert imports_upwards(found_edges()) == []


def test_no_import_cycles():
    assert module_cycles(found_edges()) == []


def test_rooms_of_one_layer_do_not_import_each_other_both_ways():
    assert room_cycles(found_edges()) == []


def test_every_exception_is_needed():
    assert EXCEPTIONS.keys() <= {(edge.importer, edge.imported, edge.form) for edge in found_edges()}


def test_every_layer_is_there():
    assert RANKS.keys() == {room_of(module) for module in SOURCES}


def test_modules_are_short():
    assert too_long(SOURCES) == []


def test_every_module_has_a_docstring():
    assert without_docstring(SOURCES) == []


def test_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert repeated(name for name in names if name != "conftest.py") == []  # pytest tells its own files apart


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_files_that_are_there(page):
    assert missing_files(page.read_text(encoding="utf-8"), page.parent) == []


def test_the_architecture_page_names_what_the_code_defines():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert unknown_names(page, SOURCES.values()) == []


def test_the_architecture_page_draws_these_layers():
    """The picture is the page's first fenced block."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert drawn_wrongly(re.findall(r"```\w*\n(.*?)```", page, re.DOTALL)[0]) == []


# --- the checks catch what they are for ------------------------------------------------------------------------------

SMALL = {"bbcodec": "", "bbcodec.cli.list": "", "bbcodec.archive": "", "bbcodec.archive.index": "", "bbcodec.coder": ""}


@pytest.mark.parametrize(
    ("source", "form"),
    [
        ("import bbcodec.archive.index", "import"),
        ("from bbcodec.archive import index", "import"),
        ("from bbcodec.archive.index import Entry", "import"),
        ("from .archive.index import Entry", "import"),
        ("from .archive import index", "import"),
        ("def read():\n    from bbcodec.archive.index import Entry", "import"),
        ("class Reader:\n    def read(self):\n        import bbcodec.archive.index", "import"),
        ("try:\n    import bbcodec.archive.index\nexcept ImportError:\n    pass", "import"),
        ("if TYPE_CHECKING:\n    from bbcodec.archive.index import Entry", "typing"),
        ("if typing.TYPE_CHECKING:\n    import bbcodec.archive.index", "typing"),
        ("from importlib import import_module\nimport_module('bbcodec.archive.index')", "string"),
        ("HOMES = {'Entry': ('bbcodec.archive.index', 'Entry')}", "string"),
    ],
)
def test_an_import_upwards_is_caught(source, form):
    found = edges({**SMALL, "bbcodec.coder": source})
    assert found == [Edge("bbcodec.coder", "bbcodec.archive.index", form)]
    assert imports_upwards(found) == [f"bbcodec.coder -> bbcodec.archive.index ({form}) points up"]


@pytest.mark.parametrize(
    ("module", "source", "imported"),
    [
        ("bbcodec.archive.read.join", "from . import decode", "bbcodec.archive.read.decode"),
        ("bbcodec.archive.read.join", "from .. import summary", "bbcodec.archive.summary"),
        ("bbcodec.archive.read", "from .decode import x", "bbcodec.archive.read.decode"),
        ("bbcodec.archive.read", "from ..summary import x", "bbcodec.archive.summary"),
        ("bbcodec.archive.read", "from ... import archive", "bbcodec.archive"),
    ],
)
def test_relative_imports_are_resolved(module, source, imported):
    names = ("bbcodec", "bbcodec.archive", "bbcodec.archive.summary", "bbcodec.archive.read")
    sources = dict.fromkeys((*names, "bbcodec.archive.read.decode", "bbcodec.archive.read.join"), "")
    assert edges({**sources, module: source}, names) == [Edge(module, imported, "import")]


def test_what_is_no_import_of_ours_is_not_counted():
    source = '"""Read by bbcodec.archive.index."""\nimport os\nfrom numpy import uint8\nNAME = "bbcodec.families"\n'
    assert edges({**SMALL, "bbcodec.coder": source}) == []


def test_an_import_downwards_and_an_exception_are_fine():
    down = edges({**SMALL, "bbcodec.archive.index": "from bbcodec import coder", "bbcodec.cli.list": "import bbcodec"})
    assert len(down) == 2
    assert imports_upwards([*down, *(Edge(*key) for key in EXCEPTIONS)]) == []
    importer, imported, _ = next(iter(EXCEPTIONS))
    assert imports_upwards([Edge(importer, imported, "import")]) != []  # an exception holds for its own form alone


def test_a_room_without_a_layer_is_caught():
    assert "utils is in no layer" in imports_upwards([Edge("bbcodec.utils", "bbcodec.errors", "import")])[0]


@pytest.mark.parametrize(
    "sources",
    [
        {"bbcodec.coder.a": "import bbcodec.coder.b", "bbcodec.coder.b": "from bbcodec.coder import a"},
        {
            "bbcodec.coder.a": "def f():\n    import bbcodec.coder.b",
            "bbcodec.coder.b": "import bbcodec.coder.c",
            "bbcodec.coder.c": "if TYPE_CHECKING:\n    from bbcodec.coder.a import A",
        },
    ],
)
def test_a_cycle_of_modules_is_caught(sources):
    found = edges(sources)
    assert len(module_cycles(found)) == 1
    assert imports_upwards(found) == room_cycles(found) == []


def test_every_cycle_is_named():
    pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c"), ("d", "e")]
    assert sorted(len(cycle.split(" <- ")) for cycle in cycles(pairs)) == [3, 3]
    assert cycles([("a", "b"), ("b", "c"), ("a", "c")]) == []


def test_a_cycle_of_rooms_is_caught():
    sources = {
        "bbcodec.exact.a": "import bbcodec.distributions.b",
        "bbcodec.distributions.b": "",
        "bbcodec.distributions.c": "import bbcodec.exact.a",
    }
    found = edges(sources)
    assert module_cycles(found) == imports_upwards(found) == []
    assert len(room_cycles(found)) == 1


def test_long_and_undocumented_modules_and_equal_names_are_caught():
    assert too_long({"a": "x\n" * MAX_LINES, "b": "x\n" * (MAX_LINES + 1)}) == [f"b has {MAX_LINES + 1} lines"]
    assert without_docstring({"a": '"""Said."""', "b": "x = 1", "c": '""" """', "d": ""}) == ["b", "c", "d"]
    assert repeated(["test_a.py", "test_b.py", "test_a.py"]) == ["test_a.py"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`docs/format.md`, `models/zoo/*.toml`, `python benchmarks/kodak.py --data DATA`, [x](format.md#chunk)", []),
        ("`bbcodec/coder/nothing.py`", ["bbcodec/coder/nothing.py"]),
        ("`models/zoo/*.nothing` and [`x`](nothing.md)", ["models/zoo/*.nothing", "nothing.md"]),
        ("`models/NAME.py`, `nothing/models/NAME.py` and `models/nothing/NAME.py`", ["models/nothing/NAME.py"]),
        ("[x](https://example.org/nothing)", []),
    ],
)
def test_a_page_that_names_no_file_is_caught(text, missing):
    assert missing_files(text, ROOT / "docs") == missing


def test_a_page_that_names_no_class_is_caught():
    assert unknown_names("`Known`, `Unknown` and `known`", ["class Known: ..."]) == ["Unknown"]


def test_a_picture_out_of_order_is_caught():
    levels = [" ".join(f"{room}/" for room in sorted(layer)) + "   reads coder, cli and images" for layer in LAYERS]
    assert drawn_wrongly("\n".join(levels)) == []
    assert drawn_wrongly("\n".join(levels[1:])) == ["no cli"]
    assert drawn_wrongly("\n".join([levels[1], levels[0], *levels[2:]])) == ["models above cli"]
