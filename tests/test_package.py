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
from PIL import Image

import fer_keras
from fer_keras import paths
from fer_keras.__pyinstaller import get_hook_dirs

ROOT = paths.project()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_wheel_holds_every_module_and_nothing_else_and_installs_into_an_empty_environment(tmp_path):
    # Beside the checkout's own build/, from which setuptools would take modules that are no more.
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fer_keras", tmp_path / "source" / "fer_keras", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, tmp_path / "source"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fer_keras").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == expected
    assert all(name.startswith("fer_keras/") for name in names)
    assert {"fer_keras/__init__.pyi", "fer_keras/py.typed"} <= names, "for editors and type checkers"

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = next(tmp_path.glob("venv/[bS]*/python*"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(install, env=alone, check=True, capture_output=True)
    with_typer = alone | {"PYTHONPATH": str(Path(typer.__file__).parents[1])}
    for command, environment, printed in (
        ([python, "-c", "import fer_keras; print(fer_keras.__version__)"], alone, PROJECT["version"]),
        ([python, "-m", "fer_keras", "--help"], with_typer, "Usage: fer-keras"),
        ([python.with_name("fer-keras"), "--help"], with_typer, "Usage: fer-keras"),
    ):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(printed)


@pytest.mark.parametrize(
    ("missing", "use", "extra"),
    [
        ("tensorflow", "fer_keras.explain", "tensorflow"),
        ("tensorflow", "fer_keras.build('vgg16', 4)", "tensorflow"),
        ("tensorflow", "main('models vgg16 --classes 9'.split())", "tensorflow"),
        ("tensorflow", "main(['explain', 'x.png'])", "tensorflow"),
        ("onnxruntime", "main('recognize x.png --weights fer-small.onnx --detector none'.split())", "recognition"),
        ("gradio", "main(['demo', '--detector', 'none'])", "page"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(missing, use, extra, tmp_path):
    shutil.copy(ROOT / "fer_keras" / "weights" / "fer-small.onnx", tmp_path)
    Image.new("L", (60, 60)).save(tmp_path / "x.png")
    script = (
        f"import sys; sys.modules['{missing}'] = None; import fer_keras; from fer_keras.__main__ import main; {use}"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    line = done.stderr.splitlines()[-1]
    assert f'pip install "fer_keras[{extra}]"' in line
    assert missing in line.lower().replace(" ", "")


def test_pyinstaller_finds_every_module_and_network(monkeypatch):
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


def pins(name, first):
    """The names that a file of requirements pins; its first line must be `first`."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == first
    assert all(re.fullmatch(r"[a-z0-9._-]+==[^ ]+( ; .+)?", line) for line in lines[1:])
    return {line.partition("==")[0].replace("_", "-") for line in lines[1:]}


def names_of(requirements):
    """The names of what is required, without our own."""
    found = {re.match(r"[A-Za-z0-9_-]+", one)[0].lower().replace("_", "-") for one in requirements}
    return found - {"fer-keras"}


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


def test_make_help_lists_every_target_and_ci_does_what_a_user_does():
    phony = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == phony
    assert {"setup", "lint", "test", "notebooks", "report", "lab", "train", "clean"} <= phony
    assert {"make test", "make docs", "make test-scale"} <= set((ROOT / ".ci" / "run").read_text().splitlines())
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
