"""The house's rule: imports only go down, and the lower rooms need neither Keras nor a backend."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fer_keras

PACKAGE = Path(fer_keras.__file__).parent
LEVELS = {
    "labels": 0,
    "names": 0,
    "machines": 0,
    "ray_cluster": 0,
    "paths": 0,
    "data": 0,
    "evaluation": 1,
    "recipes": 1,
    "results": 2,
    "models": 3,
    "plots": 3,
    "training": 4,
    "recognition": 5,
    "__main__": 6,
}
WITHOUT_KERAS = {"labels", "names", "paths", "data", "evaluation", "recipes", "results", "plots"}
# It looks into networks, so it may import Keras.
INSIDE = [PACKAGE / "evaluation" / "explain.py"]
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(parts):
    """Return the room of a dotted name below the package, given as its parts."""
    return parts[0] if parts else "__init__"


def imports(path):
    """Yield every absolute name that a module imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    own = room(path.relative_to(PACKAGE).with_suffix("").parts)
    if own == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "fer_keras" and len(parts) > 1:
            assert LEVELS[parts[1]] <= LEVELS[own], f"{path.name} imports {name}, which is above it"
        if own in WITHOUT_KERAS and path not in INSIDE:
            assert parts[0] not in {"keras", "tensorflow", "jax", "torch"}, f"{path.name} imports {name}"


def test_every_room_is_on_the_plan():
    assert {room(path.relative_to(PACKAGE).with_suffix("").parts) for path in MODULES} - {"__init__"} <= set(LEVELS)
    assert len(MODULES) > 30


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
