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

from fer_keras import machines
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4

pytest.importorskip("jax")
SECONDS = 240  # after which a process counts as hanging, on however busy a machine
EPOCHS = 12
# The command line, but for a small network that compiles quickly, a livelier recipe, and a line on the weights.
SCRIPT = """
import dataclasses, hashlib, sys
from fer_keras import machines


def command():
    import keras
    from keras import layers
    from fer_keras.__main__ import main
    from fer_keras.recipes import RECIPES
    from fer_keras.training import trainer

    changes = {"learning_rate": 0.01, "mixup_alpha": 0.3, "stop_patience_epochs": 0, "reduce_patience_epochs": 2}
    RECIPES["capstone-model-1"] = dataclasses.replace(RECIPES["capstone-model-1"], **changes)

    def build(*_, **__):
        parts = [layers.Rescaling(1 / 255), layers.AveragePooling2D(6), layers.Conv2D(6, 3)]
        head = [layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dropout(0.2)]
        return keras.Sequential([keras.Input((48, 48, 1)), *parts, *head, layers.Dense(4, activation="softmax")])

    sessions, make_session = [], trainer.make_session
    trainer.build = build
    trainer.make_session = lambda *arguments: sessions.append(make_session(*arguments)) or sessions[-1]
    status = main()
    for session in sessions:
        print("weights", hashlib.sha256(b"".join(v.tobytes() for v in session.given.get_weights())).hexdigest())
    return status


sys.exit(machines.run(command))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with drawn pictures and the script."""
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
        environment |= {"FER_KERAS_BUILD": str(mine / "build"), "FER_KERAS_RESULTS": str(mine / "results")}
        environment["JAX_COMPILATION_CACHE_DIR"] = str(place / "compiled" / str(number))
        if len(arguments) > 1:
            environment |= {machines.ADDRESSES: address, machines.PROCESSES: str(len(arguments))}
            environment[machines.PROCESS] = str(number)
        with open(mine / "errors", "w") as said:
            output = {"stdout": subprocess.PIPE, "stderr": said, "text": True}
            started.append(subprocess.Popen([*command, *own], env=environment, **output))
    return started


def finish(started):
    """Wait for processes; return their exit statuses and what each printed. None outlives this."""
    try:
        printed = [process.communicate(timeout=SECONDS)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], printed


def run(place, name, processes):
    """Run a training to its end; return what each process printed."""
    statuses, printed = finish(start(place, name, [[]] * processes))
    assert statuses == [0] * processes, [errors(place, name, number)[-2000:] for number in range(processes)]
    return printed


def errors(place, name, number):
    return (place / name / str(number) / "errors").read_text()


def record(place, name):
    """Return the only record of a training, and its history."""
    path = next((place / name / "0" / "results" / "runs").glob("*.json"))
    history = path.parents[1] / "histories" / f"{path.stem}.csv"
    return json.loads(path.read_text()), pd.read_csv(history).drop(columns="seconds")


def weights(printed):
    return [line for text in printed for line in text.splitlines() if line.startswith("weights")]


@pytest.fixture(scope="module")
def one(place):
    """What one process prints, that trains on one device."""
    return run(place, "one", 1)


@pytest.fixture(scope="module")
def both(place):
    """What each of two processes prints."""
    return run(place, "both", 2)


def test_two_processes_end_with_the_same_weights_and_the_metrics_of_one(place, one, both):
    assert len(weights(both)) == 2
    assert len(set(weights(both))) == 1
    (alone, history), (together, of_both) = record(place, "one"), record(place, "both")
    assert len(history) == len(of_both) == EPOCHS
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


def test_only_the_first_process_writes(place, both):
    assert list((place / "both" / "0" / "build").rglob("model.keras"))
    assert [path.name for path in (place / "both" / "1").rglob("*") if path.is_file()] == ["errors"]
    assert not list((place / "both").rglob("state.npz"))


def test_a_record_that_the_first_process_has_is_what_all_get(place, both):
    again = run(place, "both", 2)
    assert weights(again) == []
    assert [text.splitlines()[-1] for text in again] == [text.splitlines()[-2] for text in both]


def kill_one(place, name, victim):
    """Kill one of two processes after two epochs; return the other's exit status, errors, and seconds it took."""
    started = start(place, name, [[], []])
    epochs = 0
    for line in started[0].stdout:
        epochs += line.startswith("val_accuracy")
        if epochs == 2:
            break
    started[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    other = started[1 - victim]
    try:
        other.wait(SECONDS)
        seconds = time.monotonic() - killed
    finally:
        finish(started)
    return other.returncode, errors(place, name, 1 - victim), seconds


@pytest.mark.parametrize("victim", [0, 1])
def test_one_killed_makes_the_other_stop_and_the_same_command_goes_on(place, both, victim):
    name = f"killed-{victim}"
    status, said, seconds = kill_one(place, name, victim)
    assert status == 2, said[-2000:]
    assert seconds < 60
    assert "error: " in said
    assert machines.GOES_ON in said
    assert not list((place / name).rglob("*.json"))
    if victim == 0:
        return
    assert len(set(weights(run(place, name, 2)))) == 1
    (resumed, history), (unbroken, expected) = record(place, name), record(place, "both")
    assert (resumed.pop("resumed"), unbroken.pop("resumed")) == (1, 0)
    np.testing.assert_allclose(history, expected, rtol=1e-6)
    for key in ("commit", "seconds", "seconds_per_epoch"):
        del resumed[key], unbroken[key]
    assert resumed == unbroken


GUARDED = """
import os, signal, sys, time
from fer_keras import machines

def command():
    print(os.getpid(), flush=True)
    if sys.argv[1] == "sleep":
        time.sleep(60)
    return os.abort() if sys.argv[1] == "abort" else int(sys.argv[1])

sys.exit(machines.run(command))
"""


def start_guarded(argument):
    group = {machines.ADDRESSES: "127.0.0.1:1", machines.PROCESSES: "2", machines.PROCESS: "1"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": {**os.environ, **group}}
    return subprocess.Popen([sys.executable, "-c", GUARDED, argument], **options)


@pytest.mark.parametrize(("argument", "status"), [("0", 0), ("2", 2), ("130", 130), ("abort", 2)])
def test_a_guard_speaks_for_a_process_that_dies_without_a_word(argument, status):
    guard = start_guarded(argument)
    printed, said = guard.communicate(timeout=SECONDS)
    assert guard.returncode == status
    assert int(printed) != guard.pid
    assert ("error: process 1 was ended by SIGABRT" in said and machines.GOES_ON in said) == (argument == "abort")


def test_a_process_ends_with_its_guard():
    guard = start_guarded("sleep")
    child = int(guard.stdout.readline())
    guard.kill()
    guard.communicate(timeout=SECONDS)
    until = time.monotonic() + 30
    while time.monotonic() < until and running(child):
        time.sleep(0.05)
    assert not running(child)


def running(number):
    """Tell whether a process runs; one that has ended but that nobody asked about does not."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False)
    return bool(status.stdout.strip()) and not status.stdout.strip().startswith("Z")


def test_ctrl_c_reaches_the_guarded_process_once():
    guard = start_guarded("sleep")
    guard.stdout.readline()
    guard.send_signal(signal.SIGINT)
    _, said = guard.communicate(timeout=SECONDS)
    assert said.count("KeyboardInterrupt") == 1


def test_processes_that_train_something_else_stop_all_with_an_error(place):
    statuses, _ = finish(start(place, "apart", [["--seed", "0"], ["--seed", "1"]]))
    assert statuses == [2, 2]
    for number in (0, 1):
        said = errors(place, "apart", number)
        assert "error: Every process of the group must train the same on the same data" in said
        assert "Received otherwise in process 1" in said
