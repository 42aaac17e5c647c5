"""The house's rule: imports only go down, never in a circle, and the lower rooms need neither Keras nor a backend."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import fer_keras

PACKAGE = Path(fer_keras.__file__).parent
# From the bottom up: a module imports what is below its line, or in its own room.
LEVELS = (
    {"labels", "names", "paths", "ray_cluster", "__pyinstaller"},
    {"data"},
    {"evaluation", "recipes"},
    {"cards", "results"},
    {"models", "plots"},
    {"training"},
    {"recognition"},
    {"__main__", "__pyinstaller"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
WITHOUT_KERAS = {"labels", "names", "paths", "data", "evaluation", "recipes", "results", "plots"}
# It looks into networks, so it may import Keras.
INSIDE = {"fer_keras.evaluation.explain"}


def name_of(path):
    """The dotted name of a module, given its file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path):
    """The absolute names that a module imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules_in(name):
    """The module that a dotted name lies in, as a list; empty for what is not ours."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return [name] if name else []


def room(module):
    return module.split(".")[1]


GRAPH = {
    module: {found for name in imports(path) for found in modules_in(name)} - {"fer_keras"}
    for module, path in MODULES.items()
}


@pytest.mark.parametrize("module", [module for module in MODULES if module != "fer_keras"])
def test_imports_go_down(module):
    assert room(module) in LEVEL, f"{module} has no place in LEVELS"
    for other in GRAPH[module]:
        down = LEVEL[room(other)] < LEVEL[room(module)]
        assert down or room(other) == room(module), f"{module} imports {other}, which is not below it"
    if room(module) in WITHOUT_KERAS and module not in INSIDE:
        backends = {"keras", "tensorflow", "jax", "torch"}
        assert not backends & {name.partition(".")[0] for name in imports(MODULES[module])}


def test_no_modules_import_each_other_in_a_circle():
    circles = {module: others - {module} for module, others in GRAPH.items()}
    assert len(list(graphlib.TopologicalSorter(circles).static_order())) == len(MODULES) > 30


def test_nothing_heavy_is_imported_until_it_is_used():
    script = (
        "import sys, fer_keras; print(sorted({'keras', 'tensorflow', 'jax', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in fer_keras.__all__:
        assert getattr(fer_keras, name) is not None
    assert set(fer_keras.__all__) <= set(dir(fer_keras))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fer_keras.nonsense  # noqa: B018
