"""Training on several machines: processes of one group on this machine, killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.training.devices import ADDRESSES, PROCESS, PROCESSES

pytest.importorskip("jax")
SECONDS = 600  # after which a process counts as hanging, on however busy a machine
EPOCHS = 8
# The command line, but for a small network that compiles quickly, and a livelier recipe.
SCRIPT = """
import dataclasses, sys


def build(*_, **__):
    parts = [layers.Rescaling(1 / 255), layers.AveragePooling2D(6), layers.Conv2D(6, 3)]
    head = [layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dropout(0.2)]
    return keras.Sequential([keras.Input((48, 48, 1)), *parts, *head, layers.Dense(4, activation="softmax")])


import keras
from keras import layers
from fer_keras.__main__ import main
from fer_keras.recipes import RECIPES
from fer_keras.training import trainer

changes = {"learning_rate": 0.01, "mixup_alpha": 0.3, "stop_patience_epochs": 0, "reduce_patience_epochs": 2}
RECIPES["capstone-model-1"] = dataclasses.replace(RECIPES["capstone-model-1"], **changes)
trainer.build = build
sys.exit(main())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with synthetic pictures and the script."""
    folder = tmp_path_factory.mktemp("group")
    faces = drawn_faces(25, classes=FER4, seed=1)
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        path = folder / "pictures" / FER4[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    (folder / "script.py").write_text(SCRIPT)
    return folder


def start(place, name, arguments):
    """Start a process for each list of arguments, with folders of its own, as on machines that share no disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, str(place / "script.py"), "train", "capstone-model-1", "--devices", "all"]
    command += ["--folder", str(place / "pictures"), "--epochs", str(EPOCHS)]
    started = []
    for number, own in enumerate(arguments):
        mine = place / name / str(number)
        mine.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}
        environment |= {"FER_KERAS_BUILD": str(mine / "build"), "FER_KERAS_RESULTS": str(mine / "recorded")}
        environment["JAX_COMPILATION_CACHE_DIR"] = str(place / "compiled" / str(number))
        if len(arguments) > 1:
            environment |= {ADDRESSES: address, PROCESSES: str(len(arguments)), PROCESS: str(number)}
        with open(mine / "output", "w") as output, open(mine / "errors", "w") as errors:
            options = {"stdout": output, "stderr": errors, "env": environment}
            started.append(subprocess.Popen([*command, *own], **options))
    return started


def finish(started):
    """Wait for processes and return their exit statuses; none outlives this."""
    try:
        return [process.wait(SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def train(place, name, processes, *arguments):
    """Train to the end; return what each process printed."""
    statuses = finish(start(place, name, [list(arguments)] * processes))
    assert statuses == [0] * processes, [errors(place, name, number)[-2000:] for number in range(processes)]
    return [(place / name / str(number) / "output").read_text() for number in range(processes)]


def errors(place, name, number):
    return (place / name / str(number) / "errors").read_text()


def record(place, name):
    """The only record of a training, and its history."""
    (path,) = (place / name / "0" / "build" / "results" / "runs").glob("*.json")
    history = path.parents[1] / "histories" / f"{path.stem}.csv"
    return json.loads(path.read_text()), pd.read_csv(history).drop(columns="seconds")


@pytest.fixture(scope="module")
def both(place):
    """What each of two processes prints; the first has a folder of checkpoints."""
    return train(place, "both", 2, "--checkpoints", str(place / "checkpoints"))


def test_two_processes_end_with_the_metrics_of_one(place, both):
    train(place, "one", 1)
    (alone, history), (together, of_both) = record(place, "one"), record(place, "both")
    assert len(history) == EPOCHS
    same = ["epoch", "loss", "val_loss", "learning_rate"]
    np.testing.assert_allclose(of_both[same], history[same], rtol=2e-3)
    for column, split in (("accuracy", "train"), ("val_accuracy", "validation")):
        scores, others = alone["metrics"][split], together["metrics"][split]
        image = 1.01 / scores["num_images"]  # one that two classes are as likely for may fall to either
        np.testing.assert_allclose(of_both[column], history[column], atol=image)
        assert others["num_images"] == scores["num_images"]
        assert others["accuracy"] == pytest.approx(scores["accuracy"], abs=image)
    assert together["device"].endswith("2 devices of 2 processes")
    assert "devices" not in alone["device"]
    assert both[0].splitlines()[-1] == both[1].splitlines()[-1]


def test_the_first_process_alone_writes(place, both):
    assert list((place / "both" / "0" / "build").rglob("model.keras"))
    assert list((place / "checkpoints").glob("*-001-*.keras"))
    assert {path.name for path in (place / "both" / "1").rglob("*") if path.is_file()} == {"errors", "output"}
    assert not list((place / "both").rglob("state.npz"))


def test_a_record_that_the_first_process_has_is_read_by_all(place, both):
    again = train(place, "both", 2)
    assert [text.splitlines()[-1] for text in again] == [text.splitlines()[-1] for text in both]
    assert all("nothing was trained" in errors(place, "both", number) for number in (0, 1))


def epochs_saved(place, name):
    """How many epochs the file for those who watch holds."""
    files = list((place / name / "0" / "build").rglob("history.csv"))
    return len(files[0].read_text().splitlines()) - 1 if files else 0


@pytest.mark.parametrize("victim", [0, 1])
def test_one_killed_ends_the_other_and_the_same_command_resumes(place, both, victim):
    name = f"killed-{victim}"
    started = start(place, name, [[], []])
    try:
        until = time.monotonic() + SECONDS
        while epochs_saved(place, name) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        started[victim].send_signal(signal.SIGKILL)
        status = started[1 - victim].wait(120)
    finally:
        finish(started)
    assert status
    assert errors(place, name, 1 - victim)
    assert not list((place / name).rglob("*.json"))
    if victim == 0:
        return
    train(place, name, 2)
    (resumed, history), (unbroken, expected) = record(place, name), record(place, "both")
    assert (resumed.pop("resumed"), unbroken.pop("resumed")) == (1, 0)
    np.testing.assert_allclose(history, expected, rtol=1e-6)
    for key in ("commit", "seconds", "seconds_per_epoch"):
        del resumed[key], unbroken[key]
    assert resumed == unbroken


def test_processes_that_train_something_else_stop_all_with_an_error(place):
    assert finish(start(place, "apart", [["--seed", "0"], ["--seed", "1"]])) == [2, 2]
    for number in (0, 1):
        text = errors(place, "apart", number)
        assert "error: Every process of the group must train the same on the same data" in text
        assert "Received otherwise in process 1" in text
