"""What is shipped and how it hangs together: wheel, imports, public names, type hints, pinned lists, Makefile."""

import ast
import graphlib
import importlib
import inspect
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import types
import zipfile

import pytest
import typer
from PIL import Image

import fer_keras
from fer_keras import paths
from fer_keras.__pyinstaller import get_hook_dirs

ROOT, PACKAGE = paths.project(), paths.PACKAGE
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in PACKAGE.rglob("*.py")}
# From the bottom up: a module imports what is below its level, or in its own room.
LEVELS = "labels names paths < ray_cluster < data < evaluation recipes < cards < results < models plots < training"
LEVELS += " < recognition < __main__ __pyinstaller"
LEVEL = {room: level for level, rooms in enumerate(LEVELS.split("<")) for room in rooms.split()}
WITHOUT_KERAS = {"labels", "names", "paths", "data", "evaluation", "recipes", "results", "plots"}


def imports(path):
    """The absolute names that a module imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_go_down_and_never_in_a_circle_and_lower_rooms_need_no_backend():
    modules = {name[:-3].replace("/", ".").removesuffix(".__init__"): path for name, path in SOURCES.items()}
    graph = {}
    for module, path in modules.items():
        names = set(imports(path))
        ours = [name for name in names if name.startswith("fer_keras.")]
        found = {max((each for each in modules if f"{name}.".startswith(f"{each}.")), key=len) for name in ours}
        graph[module] = found - {"fer_keras", module}
        room = f"{module}.__main__".split(".")[1]
        for other in graph[module]:
            beside = other.split(".")[1]
            assert beside == room or LEVEL[beside] < LEVEL[room], f"{module} imports {other}, which is not below it"
        if room in WITHOUT_KERAS and module != "fer_keras.evaluation.explain":  # which looks into networks
            assert not {"keras", "tensorflow", "jax", "torch"} & {name.partition(".")[0] for name in names}, module
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph) > 30


def test_the_wheel_holds_every_module_and_nothing_else_and_installs_into_an_empty_environment(tmp_path):
    # Beside the checkout's own build/, from which setuptools would take modules that are no more.
    source = tmp_path / "source"
    shutil.copytree(PACKAGE, source / "fer_keras", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source]
    subprocess.run(command, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in names if name.endswith(".py")} == set(SOURCES)
    assert all(name.startswith("fer_keras/") for name in names)
    assert {"fer_keras/__init__.pyi", "fer_keras/py.typed"} <= names, "for editors and type checkers"

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = next(tmp_path.glob("venv/[bS]*/python*"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(install, env=alone, check=True, capture_output=True)
    with_typer = alone | {"PYTHONPATH": os.path.dirname(typer.__path__[0])}
    for command, environment, printed in (
        ([python, "-c", "import fer_keras; print(fer_keras.__version__)"], alone, PROJECT["version"]),
        ([python, "-m", "fer_keras", "--help"], with_typer, "Usage: fer-keras"),
        ([python.with_name("fer-keras"), "--help"], with_typer, "Usage: fer-keras"),
    ):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(printed)


MISSING = {
    "fer_keras.explain": "tensorflow",
    "fer_keras.build('vgg16', 4)": "tensorflow",
    "main('models vgg16 --classes 9'.split())": "tensorflow",
    "main(['explain', 'x.png'])": "tensorflow",
    "main('recognize x.png --weights fer-small.onnx --detector none'.split())": "onnxruntime",
    "main(['demo', '--detector', 'none'])": "gradio",
}
TRY_ALL = f"""
import sys
sys.modules |= dict.fromkeys({set(MISSING.values())})
import fer_keras
from fer_keras.__main__ import main
for use in {list(MISSING)}:
    try:
        exec(use)
    except ImportError as error:
        print(error, file=sys.stderr)
"""


def test_a_missing_package_is_named_with_its_extra(tmp_path):
    shutil.copy(PACKAGE / "weights" / "fer-small.onnx", tmp_path)
    Image.new("L", (60, 60)).save(tmp_path / "x.png")
    done = subprocess.run([sys.executable, "-c", TRY_ALL], cwd=tmp_path, capture_output=True, text=True, check=True)
    extras = {"onnxruntime": "recognition", "gradio": "page"}
    for line, missing in zip(done.stderr.splitlines(), MISSING.values(), strict=True):
        assert f'pip install "fer_keras[{extras.get(missing, missing)}]"' in line
        assert missing in line.lower().replace(" ", "")


def test_pyinstaller_finds_every_module_and_network(monkeypatch):
    assert PROJECT["entry-points"]["pyinstaller40"] == {"hook-dirs": "fer_keras.__pyinstaller:get_hook_dirs"}
    hooks = types.ModuleType("PyInstaller.utils.hooks")
    modules = [found.name for found in pkgutil.walk_packages(fer_keras.__path__, "fer_keras.")]
    hooks.collect_submodules = {"fer_keras": modules}.get
    hooks.collect_data_files = lambda name, **where: [(name, *where.values())]
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    found = runpy.run_path(f"{get_hook_dirs()[0]}/hook-fer_keras.py")
    assert set(fer_keras._PUBLIC.values()) <= set(found["hiddenimports"])
    assert found["datas"] == [("fer_keras",), ("cv2", "data")]


def test_the_stub_names_what_the_package_offers_from_where_it_is_defined():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    found = [(node.module, alias) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(alias.name for _, alias in found) == fer_keras.__all__
    for module, alias in found:
        assert alias.name == alias.asname, "else it is private there"
        assert getattr(fer_keras, alias.name) is getattr(importlib.import_module(module), alias.name)
    assert set(fer_keras.__all__) <= set(dir(fer_keras))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fer_keras.nonsense  # noqa: B018


@pytest.mark.parametrize("name", fer_keras.__all__)
def test_every_public_function_and_method_has_type_hints(name):
    value = getattr(fer_keras, name)
    for each, member in (vars(value) if inspect.isclass(value) else {name: value}).items():
        member = getattr(member, "fget", getattr(member, "func", getattr(member, "__func__", member)))
        if inspect.isfunction(member) and (each == "__init__" or each[0] != "_"):
            signature = inspect.signature(member)
            hints = [given.annotation for key, given in signature.parameters.items() if key not in ("self", "cls")]
            hints += [] if each == "__init__" else [signature.return_annotation]
            assert inspect.Parameter.empty not in hints, each


def names_of(requirements):
    """The names of what is required, without our own."""
    names = {re.match(r"[A-Za-z0-9_.-]+", one)[0].lower().replace("_", "-") for one in requirements}
    return names - {"fer-keras"}


def test_requirements_are_pinned_and_hold_what_pyproject_asks_for():
    pinned, extras = {}, dict(PROJECT["optional-dependencies"])
    for name in ("requirements", "requirements-scale", "requirements-docs"):
        head, *lines = re.findall(r"^[^#\n].*$", (ROOT / f"{name}.txt").read_text(), re.MULTILINE)
        assert head == ("-r requirements.txt" if pinned else "-e .")
        assert all(re.fullmatch(r"[a-z0-9._-]+==[^ ]+( ; .+)?", line) for line in lines)
        pinned[name] = names_of(lines) | pinned.get("requirements", set())
    # 55 MB of weights for one experiment: pinned in its extra, and installed by whoever wants them.
    assert all("==" in one for one in extras.pop("hed"))
    assert names_of(extras.pop("ray")) <= pinned["requirements-scale"]
    assert names_of(extras.pop("docs")) <= pinned["requirements-docs"]
    assert names_of(sum(extras.values(), PROJECT["dependencies"])) <= pinned["requirements"]


def test_make_help_lists_every_target_and_ci_does_what_a_user_does():
    phony = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == phony
    assert {"setup", "lint", "test", "notebooks", "report", "lab", "train", "clean"} <= phony
    assert {"make test", "make docs", "make test-scale"} <= set((ROOT / ".ci" / "run").read_text().splitlines())
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
