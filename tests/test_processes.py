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

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.training.devices import ADDRESSES, PROCESS, PROCESSES

pytest.importorskip("jax")
SECONDS = 600  # after which a process counts as hanging, on however busy a machine
EPOCHS = 12
# Several command lines, one after the other, but for a small network that compiles quickly, and a livelier recipe.
SCRIPT = """
import dataclasses, json, sys, keras
from keras import layers
from fer_keras.__main__ import main
from fer_keras.recipes import RECIPES
from fer_keras.training import trainer

def build(*_, **__):
    parts = [layers.Rescaling(1 / 255), layers.AveragePooling2D(6), layers.Conv2D(6, 3)]
    head = [layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dropout(0.2)]
    return keras.Sequential([keras.Input((48, 48, 1)), *parts, *head, layers.Dense(4, activation="softmax")])

changes = {"learning_rate": 0.01, "mixup_alpha": 0.3, "stop_patience_epochs": 0, "reduce_patience_epochs": 2}
RECIPES["capstone-model-1"] = dataclasses.replace(RECIPES["capstone-model-1"], **changes)
trainer.build = build
print(*(statuses := [main(arguments) for arguments in json.loads(sys.argv[1])]))
sys.exit(statuses[-1])
"""


def start(place, name, *commands):
    """Start processes of lists of lines of arguments, with folders of their own as where no disk is shared."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    train = ["train", "capstone-model-1", "--devices", "all", "--epochs", str(EPOCHS), "--folder", str(place / "faces")]
    for number, lines in enumerate(commands):
        mine = place / name / str(number)
        mine.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment |= {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": f"{place}/{number}"}
        environment |= {"FER_KERAS_BUILD": str(mine / "build"), "FER_KERAS_RESULTS": str(mine / "recorded")}
        if len(commands) > 1:
            environment |= {ADDRESSES: address, PROCESSES: str(len(commands)), PROCESS: str(number)}
        command = [sys.executable, "-c", SCRIPT, json.dumps([train + line.split() for line in lines])]
        with open(mine / "output", "w") as output, open(mine / "errors", "w") as errors:
            yield subprocess.Popen(command, stdout=output, stderr=errors, env=environment)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which one process has trained, and two: killed one after the other, then given different seeds."""
    folder = tmp_path_factory.mktemp("group")
    faces = make_faces(25, classes=FER4, seed=1)
    for number, (image, label) in enumerate(zip(faces.images, faces.labels, strict=True)):
        path = folder / "faces" / FER4[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    checkpoints, started = f"--checkpoints {folder / 'checkpoints'}", []
    try:
        for victim in (0, 1):
            until, enough = time.monotonic() + SECONDS, epochs_saved(folder) + 2
            started += (two := [*start(folder, "both", [checkpoints], [checkpoints])])
            while epochs_saved(folder) < enough and time.monotonic() < until:
                time.sleep(0.02)
            two[victim].send_signal(signal.SIGKILL)
            assert two[1 - victim].wait(120), "one that is killed ends the other"
            assert text(folder, "both", 1 - victim, "errors")
            assert not list((folder / "both").rglob("*.json"))
        for name, commands in (("both", [[f"--seed {seed}", checkpoints, ""] for seed in "01"]), ("one", [[""]])):
            started += (last := [*start(folder, name, *commands)])
            for number, process in enumerate(last):
                assert process.wait(SECONDS) == 0, text(folder, name, number, "errors")[-2000:]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return folder


def epochs_saved(place):
    """How many epochs the file for those who watch holds."""
    return sum(len(file.read_text().splitlines()) - 1 for file in place.glob("both/0/build/runs/*/history.csv"))


def text(place, name, number, stream):
    return (place / name / str(number) / stream).read_text()


def record(place, name):
    """The only record of a training, and its history."""
    (path,) = (place / name / "0" / "build" / "results" / "runs").glob("*.json")
    return json.loads(path.read_text()), pd.read_csv(path.parents[1] / "histories" / f"{path.stem}.csv")


def test_two_processes_killed_and_resumed_end_with_the_metrics_of_one(place):
    (alone, history), (together, of_both) = record(place, "one"), record(place, "both")
    assert len(history) == EPOCHS
    assert (together["resumed"], alone["resumed"]) == (2, 0)
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


def test_all_stop_if_one_trains_something_else_and_all_read_one_record(place):
    outputs = {tuple(text(place, "both", number, "output").splitlines()[-3:]) for number in (0, 1)}
    ((trained, again, statuses),) = outputs
    assert (again, statuses) == (trained, "2 0 0")
    for number in (0, 1):
        errors = text(place, "both", number, "errors")
        assert "error: Every process of the group must train the same on the same data" in errors
        assert "Received otherwise in process 1" in errors
        assert errors.count("nothing was trained") == 1


def test_the_first_process_alone_writes(place):
    assert list((place / "both" / "0" / "build").rglob("model.keras"))
    assert list((place / "checkpoints").glob("*-001-*.keras"))
    assert {path.name for path in (place / "both" / "1").rglob("*") if path.is_file()} == {"errors", "output"}
    assert not list((place / "both").rglob("state.npz"))
