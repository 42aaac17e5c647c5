"""The house's rule: imports only go down, never in a circle, and the lower rooms need neither Keras nor a backend."""

import ast
import graphlib
from pathlib import Path

import pytest

import fer_keras

PACKAGE = Path(fer_keras.__file__).parent
# From the bottom up: a module imports what is below its line, or in its own room.
LEVELS = (
    {"labels", "names", "paths", "ray_cluster"},
    {"data"},
    {"cards", "evaluation", "recipes"},
    {"results"},
    {"models", "plots"},
    {"training"},
    {"recognition"},
    {"__main__", "__pyinstaller"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
WITHOUT_KERAS = {"labels", "names", "paths", "data", "evaluation", "recipes", "results", "plots"}


def name_of(path):
    """The dotted name of a module, given its file."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path):
    """The absolute names that a module imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name):
    """The module of ours that a dotted name lies in, or an empty text."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


GRAPH = {
    module: {found for found in map(module_of, imports(path)) if found} - {"fer_keras", module}
    for module, path in MODULES.items()
}


@pytest.mark.parametrize("module", [module for module in MODULES if module != "fer_keras"])
def test_imports_go_down(module):
    room = module.split(".")[1]
    assert room in LEVEL, f"{module} has no place in LEVELS"
    for other in GRAPH[module]:
        beside = other.split(".")[1]
        assert LEVEL[beside] < LEVEL[room] or beside == room, f"{module} imports {other}, which is not below it"
    if room in WITHOUT_KERAS and module != "fer_keras.evaluation.explain":  # which looks into networks
        backends = {"keras", "tensorflow", "jax", "torch"}
        assert not backends & {name.partition(".")[0] for name in imports(MODULES[module])}


def test_no_modules_import_each_other_in_a_circle():
    assert len(list(graphlib.TopologicalSorter(GRAPH).static_order())) == len(MODULES) > 30
