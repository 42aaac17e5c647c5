"""The command line, as a user types it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fer_keras
from fer_keras import paths
from fer_keras.__main__ import app, architecture_names, main
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.recipes import RECIPES, SPACES
from fer_keras.results import find_run, read_runs

PROJECT = Path(fer_keras.__file__).parents[1]
TRAINED = find_run("mini-xception", folder=PROJECT / "reports" / "results")
COMMANDS = "train search label-errors evaluate ship data fetch models recipes recognize video demo export explain"
TYPOS = {
    "trian fer-small": "No such command 'trian'. Did you mean 'train'?",
    "train fer-small --epoch 2": "No such option: --epoch. Did you mean --epochs?",
    "train fer-smal": "There is no recipe 'fer-smal'. Did you mean 'fer-small'?",
    "train fer-small --precision mixed_float16": "Did you mean 'mixed_bfloat16'?",
    "train fer-small --devices al": "There is no choice of devices 'al'. Did you mean 'all'?",
    "search ingredient": "There is no search space 'ingredient'. Did you mean 'ingredients'?",
    "models vgg61": "There is no network 'vgg61'. Did you mean 'vgg16'?",
    "evaluate fer-smal": "There is no network 'fer-smal'. Did you mean 'fer-small'?",
    "evaluate fer-small --split tset": "There is no split 'tset'. Did you mean 'test'?",
    "recognize x.jpg --weights fer-smal": "There is no network 'fer-smal'. Did you mean 'fer-small'?",
    "recognize x.jpg --detector har": "There is no detector 'har'. Did you mean 'haar'?",
    "demo --weights fer-smal-4": "There is no network 'fer-smal-4'. Did you mean 'fer-small-4'?",
    "export fer-small --format onx": "There is no format 'onx'. Did you mean 'onnx'?",
    "export fer-small --quantize int4": "There is no quantization 'int4'. Did you mean 'int8'?",
    "explain x.jpg --method gradcam": "There is no method 'gradcam'. Did you mean 'grad-cam'?",
    "train fer-small --epochs 0": "Invalid value for '--epochs'",
    "train fer-small --data a --folder b": "Expected --data or --folder. Received: both",
    "train": "Missing argument 'RECIPE'. See fer-keras train --help.",
    "search sep-reduced --workers 2": "--workers is for --ray. Add it.",
}
TRY_ALL = f"""
import sys
from fer_keras.__main__ import main
for line in {list(TYPOS)}:
    assert main(line.split()) == 2
    assert not {{"keras", "tensorflow", "jax", "cv2", "onnxruntime", "gradio"}} & set(sys.modules), line
"""


def stand_in(monkeypatch, function, **effect):
    """Replace a function of the package by a mock."""
    mock = Mock(**effect)
    monkeypatch.setattr(f"fer_keras.{function}", mock, raising=False)
    return mock


def write_folders(folder, faces):
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        path = folder / faces.split[number] / faces.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(image[..., 0])).save(path)


def test_every_command_has_plain_help_and_is_a_script_too_and_help_loads_nothing_heavy(capsys):
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"keras.src", "numpy"} & set(re.findall(r"[\w.]+$", done.stderr, re.MULTILINE))
    for name in COMMANDS.split():
        assert re.search(rf"^  {name}  +\w.*\.$", done.stdout, re.MULTILINE), f"{name} has a sentence of its own"
        assert main([name, "--help"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"Usage: fer-keras {name} ")
        assert not set("│╭╰") & set(printed)
    assert len(app.registered_commands) == len(COMMANDS.split())
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["fer-keras"] == f"{main.__module__}:main"


def test_what_cannot_be_done_is_said_in_a_line_before_anything_heavy_is_imported(capsys):
    done = subprocess.run([sys.executable, "-c", TRY_ALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for line, message in zip(done.stderr.splitlines(), TYPOS.values(), strict=True):
        assert line.startswith("error: ")
        assert message in line
    for command in ("data", "train mini-xception --data"):
        assert main([*command.split(), "/nowhere/fer2013.csv"]) == 2
        assert "/nowhere/fer2013.csv" in capsys.readouterr().err
    assert architecture_names() == sorted(fer_keras.MODELS)


def test_recipes_are_a_table_and_one_is_shown_field_by_field(capsys, monkeypatch, tmp_path):
    assert main(["recipes"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["recipe", "network", "data", "split", "epochs", "validation", "time", "published"]
    rows = {line.split()[0]: re.split(r"  +", line) for line in lines}
    assert list(rows) == list(RECIPES)
    assert {len(row) for row in rows.values()} == {8}, "columns are apart"
    minutes, accuracy = round(TRAINED.seconds / 60), 100 * TRAINED.metrics["validation"]["accuracy"]
    recorded = [f"{accuracy:.2f}", f"{minutes // 60}:{minutes % 60:02}"]
    assert rows["mini-xception"][4:] == ["300", *recorded, "65.0 (validation)"]
    assert rows["vgg16"][4:] == ["20", "-", "-", "-"]
    assert rows["emovision-vgg"][4] == "7 of 50", "stopped by time"
    assert main(["recipes", "mini-xception"]) == 0
    fields = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert fields["epochs"] == "300"
    assert TRAINED.device in fields["recorded, seed 0"]
    monkeypatch.setenv("FER_KERAS_RESULTS", str(tmp_path))
    assert main(["recipes"]) == 0
    assert re.search(r"^mini-xception .* 300 +- +- +65.0 \(validation\)$", capsys.readouterr().out, re.MULTILINE)


def test_train_passes_on_what_was_typed(monkeypatch, capsys):
    fit = stand_in(monkeypatch, "training.fit", return_value=TRAINED)
    command = "train mini-xception --data d --seed 3 --epochs 2 --minutes 1.5 --force --precision mixed_bfloat16"
    assert main([*command.split(), "--devices", "2", "--tensorboard", "logs", "--checkpoints", "kept"]) == 0
    assert f"validation {TRAINED.metrics['validation']['accuracy']:.4f} (" in capsys.readouterr().out
    assert main(["train", "mini-xception", "--record", "--devices", "all"]) == 0
    (given, options), (_, others) = fit.call_args_list
    logs, kept = options.pop("callbacks")
    assert (given, logs.log_dir, kept.folder) == (("mini-xception", 3), "logs", Path("kept"))
    assert options == {
        "faces": "d", "epochs": 2, "minutes": 1.5, "force": True, "precision": "mixed_bfloat16", "devices": 2,
        "results": None, "verbose": 2,
    }  # fmt: skip
    assert (others["results"], others["devices"], others["faces"]) == (paths.results(), "all", None)


def test_search_passes_on_what_was_typed(monkeypatch, capsys):
    table = pd.DataFrame({"validation": [0.51234]})
    train_grid = stand_in(monkeypatch, "training.search.search", return_value=table)
    for more in ([], ["--ray", "auto"], ["--ray", "--minutes", "2", "--record"]):
        assert main(["search", "sep-reduced", "--seed", "1", *more]) == 0
    expected = [(None, None, None), ("auto", None, None), (True, 2.0, paths.results())]
    for call, (ray, minutes, results) in zip(train_grid.call_args_list, expected, strict=True):
        assert call.args == ("sep-reduced", 1)
        assert call.kwargs.items() >= {"ray": ray, "minutes": minutes, "results": results}.items()
    assert "0.5123" in capsys.readouterr().out
    assert main(["search"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SPACES)


@pytest.mark.parametrize(
    ("command", "function", "more"),
    [
        ("train mini-xception", "training.fit", "; the same command goes on from the last whole epoch"),
        ("data x", "data.load_faces", ""),
        (
            "recognize x --ray --out-data y",
            "recognition.ray_folders.recognize_on_ray",
            "; the same command goes on from there",
        ),
    ],
)
def test_stopped_it_says_whether_the_same_command_goes_on(command, function, more, monkeypatch, capsys):
    stand_in(monkeypatch, function, side_effect=KeyboardInterrupt)
    assert main(command.split()) == 130
    assert capsys.readouterr().err == f"stopped{more}\n"


def test_training_and_scoring_on_ones_own_folders(own_folders, capsys):
    pictures = own_folders / "pictures"
    write_folders(pictures, make_faces(30, classes=("happy", "sad"), seed=3))
    command = ["train", "capstone-model-1", "--folder", str(pictures), "--epochs", "1", "--seed", "5"]
    assert main(command) == 0
    (run,) = read_runs(own_folders / "build" / "results")
    assert (run.classes, run.seed) == (("happy", "sad"), 5)
    assert "test" not in run.metrics
    assert "best epoch 1 of 1" in capsys.readouterr().out
    assert main(command) == 0  # Asked again, the record is read.
    assert "--force" in capsys.readouterr().err
    assert main(["ship", run.recipe_name[:-1]]) == 2  # What was trained here is known by name.
    assert f"Did you mean '{run.recipe_name}'?" in capsys.readouterr().err
    assert main(["evaluate", "fer-small-4", "--data", str(pictures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"fer-small-4 on .*, test: \d+ images", lines[0])
    for line, name in zip(lines[1:], ("accuracy", "macro f1"), strict=False):
        assert re.fullmatch(rf"{name} +[01]\.\d{{4}} \([01]\.\d{{4}} to [01]\.\d{{4}}\)", line)
    table = [line.split() for line in lines if line.startswith(("happy", "sad"))]
    assert [row[0] for row in table] == ["happy", "sad"]
    assert all(row[-1].isdecimal() for row in table), "numbers of images"


def test_without_any_data_one_error_says_the_three_ways(tmp_path, monkeypatch, capsys):
    for name in ("FER_KERAS_CACHE", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("FER_KERAS_DATA", raising=False)
    assert main(["data"]) == 2
    printed = capsys.readouterr().err
    assert all(way in printed for way in ("FER_KERAS_DATA", "kagglehub", "path"))


def test_a_reader_who_has_seen_enough_ends_it_quietly():
    command = [sys.executable, "-m", "fer_keras", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_tensorflow_prints_nothing_as_it_starts(own_folders, monkeypatch):
    """All in one process: the first imports it, the others start its converters."""
    write_folders(own_folders / "pictures", make_faces(6, classes=("happy", "sad"), seed=3))
    commands = ["evaluate fer-small-4 --data pictures"]
    commands += [f"export mini-xception --format {name}" for name in ("litert", "savedmodel", "onnx")]
    script = f"import sys; from fer_keras.__main__ import main\nfor line in {commands}:\n    "
    script += "status = main(line.split())\n    print(status, '=====', flush=True)\n    print('=====', file=sys.stderr)"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    done = subprocess.run([sys.executable, "-c", script], cwd=own_folders, capture_output=True, text=True, check=True)
    assert done.stdout.count("0 =====\n") == len(commands), done.stderr
    for noise in ("oneDNN", "cuda", "CUDA", "XNNPACK", "absl", "rebuild TensorFlow", "INFO", "0000 00:00"):
        assert noise not in done.stdout + done.stderr
    assert done.stderr.split("=====\n")[1] == "", "LiteRT's converter"
