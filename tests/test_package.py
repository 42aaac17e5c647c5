"""What is shipped: the wheel, the pinned list, the Makefile's own help."""

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
from pathlib import Path

import pytest
import typer

import fer_keras
from fer_keras import paths
from fer_keras.__pyinstaller import get_hook_dirs

ROOT = paths.project()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    # Beside the checkout's own build/, from which setuptools would take modules that are no more.
    shutil.copytree(ROOT / "fer_keras", source / "fer_keras", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fer_keras").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == expected
    assert all(name.startswith("fer_keras/") for name in names)
    assert {"fer_keras/__init__.pyi", "fer_keras/py.typed"} <= names, "for editors and type checkers"


def test_the_wheel_installs_into_an_empty_environment_and_imports(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    places = (tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "Scripts" / "python.exe")
    python = next(place for place in places if place.exists())
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(install, env=alone, check=True, capture_output=True)
    with_typer = alone | {"PYTHONPATH": str(Path(typer.__file__).parents[1])}
    version = [str(python), "-c", "import fer_keras; print(fer_keras.__version__)"]
    for command, environment in (
        (version, alone),
        ([str(python), "-m", "fer_keras", "--help"], with_typer),
        ([str(python.with_name("fer-keras")), "--help"], with_typer),
    ):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout
    assert "Usage: fer-keras" in done.stdout


@pytest.mark.parametrize(
    ("missing", "use", "extra"),
    [
        *(("tensorflow", f"fer_keras.{use}", "tensorflow") for use in ("explain", "build('vgg16', 4)", "load", "fit")),
        *(
            ("tensorflow", f"main('{words}'.split())", "tensorflow")
            for words in ("models vgg16 --classes 9", "explain x.png")
        ),
        ("onnxruntime", "main('recognize x.png --weights fer-small.onnx --detector none'.split())", "recognition"),
        ("gradio", "main(['demo', '--detector', 'none'])", "page"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(missing, use, extra, tmp_path):
    shutil.copy(ROOT / "fer_keras" / "weights" / "fer-small.onnx", tmp_path)
    (tmp_path / "x.png").touch()
    script = f"""
import sys
sys.modules["{missing}"] = None
import fer_keras
from fer_keras.__main__ import main
try:
    {use}
except ImportError as error:
    print(error, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()[-1:]
    assert f'pip install "fer_keras[{extra}]"' in line
    assert missing in line.lower().replace(" ", "")


def test_pyinstaller_is_told_of_every_module_and_network(monkeypatch):
    """Names are imported when they are first used, which PyInstaller cannot see."""
    assert PROJECT["entry-points"]["pyinstaller40"] == {"hook-dirs": "fer_keras.__pyinstaller:get_hook_dirs"}
    (folder,) = get_hook_dirs()
    hooks = types.ModuleType("PyInstaller.utils.hooks")
    hooks.collect_submodules = lambda name: [
        found.name for found in pkgutil.walk_packages(fer_keras.__path__, f"{name}.")
    ]
    hooks.collect_data_files = lambda name, **where: [(name, *where.values())]
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    found = runpy.run_path(f"{folder}/hook-fer_keras.py")
    assert set(fer_keras._PUBLIC.values()) <= set(found["hiddenimports"])
    assert found["datas"] == [("fer_keras",), ("cv2", "data")]


def test_versions_agree():
    assert fer_keras.__version__ == PROJECT["version"]


def pins(name, first):
    """Return the names that a file of requirements pins; its first line must be `first`."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == first
    pinned = [re.fullmatch(r"([a-z0-9._-]+)==[^ ]+( ; .+)?", line) for line in lines[1:]]
    assert all(pinned), [line for line, found in zip(lines[1:], pinned, strict=True) if not found]
    return {found[1].replace("_", "-") for found in pinned}


def test_requirements_are_pinned_and_hold_what_pyproject_asks_for():
    extras = PROJECT["optional-dependencies"]
    usual, scale = pins("requirements.txt", "-e ."), pins("requirements-scale.txt", "-r requirements.txt")
    # 55 MB of weights for one experiment: pinned in its extra, and installed by whoever wants them.
    assert all("==" in one for one in extras["hed"])
    apart = ("docs", "hed", "ray")
    wanted = PROJECT["dependencies"] + [one for name, extra in extras.items() if name not in apart for one in extra]
    assert names_of(wanted) <= usual
    assert names_of(extras["ray"]) <= usual | scale
    assert names_of(extras["docs"]) <= usual | pins("requirements-docs.txt", "-r requirements.txt")


def names_of(requirements):
    """Return the names of what is required, without our own."""
    found = {re.match(r"[A-Za-z0-9_-]+", one)[0].lower().replace("_", "-") for one in requirements}
    return found - {"fer-keras"}


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == phony
    assert {"setup", "lint", "test", "notebooks", "report", "lab", "train", "clean"} <= phony


def test_ci_does_what_a_user_does():
    assert {"make test", "make docs", "make test-scale"} <= set((ROOT / ".ci" / "run").read_text().splitlines())
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
