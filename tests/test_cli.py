"""The command line, as a user types it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fer_keras
from fer_keras import paths
from fer_keras.__main__ import app, main
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.recipes import RECIPES, SPACES
from fer_keras.results import find_run, read_runs

PROJECT = Path(fer_keras.__file__).parents[1]
TRAINED = find_run("mini-xception", folder=PROJECT / "reports" / "results")
HEAVY = {"keras", "tensorflow", "jax", "cv2", "onnxruntime", "gradio"}
COMMANDS = [
    "train", "search", "label-errors", "evaluate", "ship", "data", "fetch", "models", "recipes", "recognize", "video",
    "demo", "export", "explain",
]  # fmt: skip
# A command line with a typo, and what is said of it.
TYPOS = [
    (["trian", "fer-small"], "No such command 'trian'. Did you mean 'train'?"),
    (["train", "fer-small", "--epoch", "2"], "No such option: --epoch. Did you mean --epochs?"),
    (["train", "fer-smal"], "There is no recipe 'fer-smal'. Did you mean 'fer-small'?"),
    (["train", "fer-small", "--precision", "mixed_float16"], "Did you mean 'mixed_bfloat16'?"),
    (["train", "fer-small", "--devices", "al"], "There is no choice of devices 'al'. Did you mean 'all'?"),
    (["search", "ingredient"], "There is no search space 'ingredient'. Did you mean 'ingredients'?"),
    (["models", "vgg61"], "There is no network 'vgg61'. Did you mean 'vgg16'?"),
    (["evaluate", "fer-smal"], "There is no network 'fer-smal'. Did you mean 'fer-small'?"),
    (["evaluate", "fer-small", "--split", "tset"], "There is no split 'tset'. Did you mean 'test'?"),
    (["recognize", "x.jpg", "--weights", "fer-smal"], "There is no network 'fer-smal'. Did you mean 'fer-small'?"),
    (["recognize", "x.jpg", "--detector", "har"], "There is no detector 'har'. Did you mean 'haar'?"),
    (["demo", "--weights", "fer-smal-4"], "There is no network 'fer-smal-4'. Did you mean 'fer-small-4'?"),
    (["export", "fer-small", "--format", "onx"], "There is no format 'onx'. Did you mean 'onnx'?"),
    (["export", "fer-small", "--quantize", "int4"], "There is no quantization 'int4'. Did you mean 'int8'?"),
    (["explain", "x.jpg", "--method", "gradcam"], "There is no method 'gradcam'. Did you mean 'grad-cam'?"),
]
IMPOSSIBLE = [
    (["train", "mini-xception", "--epochs", "0"], "Invalid value for '--epochs'"),
    (["train", "mini-xception", "--data", "a", "--folder", "b"], "Expected --data or --folder. Received: both"),
    (["train", "mini-xception", "--data", "/nowhere/fer2013.csv"], "/nowhere/fer2013.csv"),
    (["train"], "Missing argument 'RECIPE'. See fer-keras train --help."),
    (["search", "sep-reduced", "--workers", "2"], "--workers is for --ray. Add it."),
    (["data", "/nowhere"], "/nowhere"),
]


@pytest.fixture
def fit(monkeypatch):
    """Stand in for `fit`; a list of what it is called with."""
    calls = []

    def stand_in(recipe, seed, **options):
        calls.append({"recipe": recipe, "seed": seed, **options})
        return TRAINED

    monkeypatch.setattr("fer_keras.training.fit", stand_in, raising=False)
    return calls


def write_folders(folder, faces):
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        path = folder / faces.split[number] / faces.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(image[..., 0])).save(path)


def test_help_lists_the_commands_without_loading_keras():
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +\w.*\.$", done.stdout, re.MULTILINE), f"{name} has a sentence of its own"
    assert "keras.src" not in done.stderr
    assert "numpy" not in done.stderr


def test_every_command_has_plain_help_and_is_a_script_too(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"Usage: fer-keras {command} ")
        assert not set("│╭╰") & set(printed)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["fer-keras"] == f"{main.__module__}:main"
    assert len(app.registered_commands) == len(COMMANDS)


@pytest.mark.parametrize(("arguments", "message"), TYPOS + IMPOSSIBLE, ids=str)
def test_what_cannot_be_done_is_said_in_a_line(arguments, message, own_folders, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_typo_is_named_before_anything_heavy_is_imported():
    script = f"""
import sys
from fer_keras.__main__ import architecture_names, main
for arguments in {[arguments for arguments, _ in TYPOS]}:
    assert main(arguments) == 2
    assert not {HEAVY} & set(sys.modules), arguments
from fer_keras.models import MODELS
assert architecture_names() == sorted(MODELS)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_recipes_are_a_table_that_a_person_can_read(capsys, monkeypatch, tmp_path):
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
    monkeypatch.setenv("FER_KERAS_RESULTS", str(tmp_path))
    assert main(["recipes"]) == 0
    assert re.search(r"^mini-xception .* 300 +- +- +65.0 \(validation\)$", capsys.readouterr().out, re.MULTILINE)


def test_one_recipe_is_shown_field_by_field(capsys):
    assert main(["recipes", "mini-xception"]) == 0
    fields = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert fields["epochs"] == "300"
    assert TRAINED.device in fields["recorded, seed 0"]


def test_train_passes_on_what_was_typed(fit, own_folders, capsys):
    command = "train mini-xception --data d --seed 3 --epochs 2 --minutes 1.5 --force --precision mixed_bfloat16"
    assert main([*command.split(), "--devices", "2", "--tensorboard", "logs", "--checkpoints", "kept"]) == 0
    (call,) = fit
    logs, kept = call.pop("callbacks")
    assert (logs.log_dir, kept.folder) == ("logs", Path("kept"))
    assert call == {
        "recipe": "mini-xception", "seed": 3, "faces": "d", "epochs": 2, "minutes": 1.5, "force": True,
        "precision": "mixed_bfloat16", "devices": 2, "results": None, "verbose": 2,
    }  # fmt: skip
    assert f"validation {TRAINED.metrics['validation']['accuracy']:.4f} (" in capsys.readouterr().out
    assert main(["train", "mini-xception", "--record", "--devices", "all"]) == 0
    assert (fit[1]["results"], fit[1]["devices"], fit[1]["faces"]) == (paths.results(), "all", None)


def test_train_stopped_says_that_the_same_command_goes_on(monkeypatch, capsys):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_keras.training.fit", stopped, raising=False)
    assert main(["train", "mini-xception"]) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from the last whole epoch\n"
    monkeypatch.setattr("fer_keras.data.load_faces", stopped)
    assert main(["data", "x"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_training_on_ones_own_folders(own_folders, capsys):
    pictures = own_folders / "pictures"
    faces = make_faces(6, classes=("happy", "surprise"), seed=3)
    write_folders(pictures, faces)
    command = ["train", "capstone-model-1", "--folder", str(pictures), "--epochs", "1", "--seed", "5"]
    assert main(command) == 0
    (run,) = read_runs(own_folders / "build" / "results")
    assert run.classes == ("happy", "surprise")
    assert run.seed == 5
    assert "test" not in run.metrics
    assert "best epoch 1 of 1" in capsys.readouterr().out
    assert main(command) == 0  # Asked again, the record is read.
    assert "--force" in capsys.readouterr().err
    assert main(["ship", run.recipe_name[:-1]]) == 2  # What was trained here is known by name.
    assert f"Did you mean '{run.recipe_name}'?" in capsys.readouterr().err


def test_search_passes_on_what_was_typed(monkeypatch, capsys):
    import pandas as pd

    calls = []

    def stand_in(space, seed, **options):
        calls.append((space, seed, options["ray"], options["minutes"], options["results"]))
        return pd.DataFrame({"validation": [0.51234]})

    monkeypatch.setattr("fer_keras.training.search.search", stand_in)
    for more in ([], ["--ray", "auto"], ["--ray", "--minutes", "2", "--record"]):
        assert main(["search", "sep-reduced", "--seed", "1", *more]) == 0
    assert calls == [
        ("sep-reduced", 1, None, None, None),
        ("sep-reduced", 1, "auto", None, None),
        ("sep-reduced", 1, True, 2.0, paths.results()),
    ]
    assert "0.5123" in capsys.readouterr().out
    assert main(["search"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SPACES)


def test_evaluate_prints_scores_that_a_person_can_read(own_folders, capsys):
    pictures = own_folders / "pictures"
    write_folders(pictures, make_faces(30, classes=("happy", "sad"), seed=3))
    assert main(["evaluate", "fer-small-4", "--data", str(pictures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"fer-small-4 on .*, test: \d+ images", lines[0])
    for line, name in zip(lines[1:], ("accuracy", "macro f1"), strict=False):
        assert re.fullmatch(rf"{name} +[01]\.\d{{4}} \([01]\.\d{{4}} to [01]\.\d{{4}}\)", line)
    table = [line.split() for line in lines if line.startswith(("happy", "sad"))]
    assert [row[0] for row in table] == ["happy", "sad"]
    assert all(row[-1].isdecimal() for row in table), "numbers of images"


def test_without_any_data_one_error_says_the_three_ways(own_folders):
    environment = {**os.environ, "FER_KERAS_CACHE": str(own_folders), "KAGGLEHUB_CACHE": str(own_folders)}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    environment.pop("FER_KERAS_DATA", None)
    command = [sys.executable, "-m", "fer_keras", "data"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    for way in ("FER_KERAS_DATA", "kagglehub", "path"):
        assert way in done.stderr


def test_a_reader_who_has_seen_enough_ends_it_quietly():
    command = [sys.executable, "-m", "fer_keras", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    "commands",
    [
        ["export mini-xception --format litert"],
        [
            "evaluate fer-small-4 --data pictures",
            "train capstone-model-1 --folder pictures --epochs 1",
            "export mini-xception --format savedmodel",
            "export mini-xception --format onnx",
            "explain face.png --detector none",
        ],
    ],
    ids=len,
)
def test_tensorflow_prints_nothing_as_it_starts(commands, own_folders):
    """Several in one process: the first one imports it."""
    write_folders(own_folders / "pictures", make_faces(6, classes=("happy", "sad"), seed=3))
    shutil.copy(next((own_folders / "pictures").rglob("*.png")), own_folders / "face.png")
    script = f"from fer_keras.__main__ import main\nprint([main(line.split()) for line in {commands}])"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    how = {"env": environment, "cwd": own_folders, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, "-c", script], **how)
    assert done.stdout.splitlines()[-1] == str([0] * len(commands)), done.stderr
    for noise in ("oneDNN", "cuda", "CUDA", "XNNPACK", "absl", "rebuild TensorFlow", "INFO", "0000 00:00"):
        assert noise not in done.stdout + done.stderr
    assert done.stderr == "" or len(commands) > 1
