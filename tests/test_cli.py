"""The command line, as a user types it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from data_files import challenge_lines, fer_table, write_csv
from PIL import Image

from fer_keras.__main__ import main
from fer_keras.data.synthetic import drawn_faces
from fer_keras.recipes import RECIPES
from fer_keras.results import read_runs


def write_folders(folder, faces):
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        path = folder / faces.split[number] / faces.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(image[..., 0])).save(path)


def test_help_lists_the_commands_without_loading_keras():
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("train", "recipes", "data"):
        assert re.search(rf"^    {name}\b", done.stdout, re.MULTILINE)
    assert "keras.src" not in done.stderr
    assert "numpy" not in done.stderr


def test_recipes_are_listed_with_what_was_published(capsys):
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in RECIPES)
    assert "published 24.71 (test)" in printed


def test_training_on_ones_own_folders(own_folders, capsys):
    pictures = own_folders / "pictures"
    faces = drawn_faces(6, classes=("happy", "surprise"), seed=3)
    write_folders(pictures, faces)
    command = ["train", "capstone-model-1", "--folder", str(pictures), "--epochs", "1", "--seed", "5"]
    assert main(command) == 0
    (run,) = read_runs(own_folders / "results")
    assert run.classes == ("happy", "surprise")
    assert run.seed == 5
    assert run.data["num_images"]["train"] == int((faces.split == "train").sum())
    assert "test" not in run.metrics
    assert "best epoch 1 of 1" in capsys.readouterr().out

    written = (own_folders / "results" / "runs" / f"{run.run}.json").stat().st_mtime_ns
    assert main(command) == 0  # Asked again, the record is read.
    assert (own_folders / "results" / "runs" / f"{run.run}.json").stat().st_mtime_ns == written


def test_another_split_than_the_recipes_makes_a_variant_which_is_said(own_folders, capsys):
    table = fer_table(140)
    file = write_csv(own_folders / "data", challenge_lines(table), "train.csv")
    assert main(["train", "capstone-model-1", "--data", str(file), "--epochs", "1"]) == 0
    (run,) = read_runs(own_folders / "results")
    assert (run.recipe_name, run.protocol) == ("capstone-model-1@epochs-1@own", "own")
    assert "test" not in run.metrics
    said = capsys.readouterr()
    assert "is for the official split; this is capstone-model-1@epochs-1@own, on FER-2013, CSV, no Usage" in said.out
    assert "split 80/10/10 by class" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "lenet"], "There is no recipe 'lenet'. Expected one of: "),
        (["train", "mini-xception", "--epochs", "0"], "--epochs must be at least 1. Received: 0."),
        (["train", "mini-xception", "--data", "/nowhere/fer2013.csv"], "/nowhere/fer2013.csv"),
        (["data", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments, message, own_folders, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_without_any_data_one_error_says_the_three_ways(own_folders):
    environment = {**os.environ, "FER_KERAS_CACHE": str(own_folders), "KAGGLEHUB_CACHE": str(own_folders)}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    environment.pop("FER_KERAS_DATA", None)
    command = [sys.executable, "-m", "fer_keras", "data"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    for way in ("FER_KERAS_DATA", "kagglehub", "path"):
        assert way in done.stderr


def test_the_real_thing_is_described(fer2013_path, capsys):
    assert main(["data", str(fer2013_path)]) == 0
    assert "34032" in capsys.readouterr().out


def test_a_reader_who_has_seen_enough_ends_it_quietly():
    command = [sys.executable, "-m", "fer_keras", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
