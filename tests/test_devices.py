"""Training on several devices of one machine, on JAX: what one device does with the same batch."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.training import fit
from fer_keras.training.devices import ADDRESSES, ONE, PROCESS, PROCESSES, Devices, choose, named_group

# Two devices, and a small network to train on one of them and on both.
SCRIPT = """
import dataclasses, json, shutil, sys
from pathlib import Path
import keras, numpy as np
from keras import layers
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, load_network, trainer
from fer_keras.training.devices import choose

folder = Path(sys.argv[1])
RECIPES["teacher"] = dataclasses.replace(
    RECIPES["capstone-model-1"], name="teacher", batch_size=16, epochs=1, optimizer="sgd", learning_rate=0.02,
    rotation_degrees=10.0, flip=True, brightness=(0.7, 1.3), erase_probability=0.5, mixup_alpha=0.4, ema_decay=0.5,
    reduce_patience_epochs=1, stop_patience_epochs=0, label_smoothing=0.1, class_weights=True, final=False,
)
TAUGHT = dataclasses.replace(
    RECIPES["teacher"], name="taught", epochs=3, teachers=(("teacher", RECIPES["teacher"].digest, 0),),
    teachers_see="changes", teacher_share=0.5, teacher_temperature=2.0,
)


def network(*_, **__):
    convolution = [layers.Conv2D(6, 3), layers.BatchNormalization(momentum=0.5), layers.ReLU(), layers.Flatten()]
    dense = layers.Dense(4, activation="softmax", kernel_regularizer=keras.regularizers.L2(0.01))
    pixels = [keras.Input((48, 48, 1)), layers.Rescaling(1 / 255), layers.AveragePooling2D(6)]
    return keras.Sequential([*pixels, *convolution, layers.Dropout(0.3), dense])


class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def train(name, devices, **options):
    shutil.copytree(folder / "teacher", folder / name, dirs_exist_ok=True)
    run = fit(TAUGHT, faces=even, results=folder / name, devices=devices, verbose=0, **options)
    trained = load_network(run)
    weights = np.concatenate([values.ravel() for values in trained.get_weights()])
    predicted = run.predictions("validation").probabilities
    answers = {"weights": weights, "predicted": predicted, "by the network": trained.predict(even["validation"][0])}
    answers |= run.history().drop(columns="seconds").to_dict("list")
    answers = {name: np.asarray(values, float).tolist() for name, values in answers.items()}
    return answers | {"device": run.device, "resumed": run.resumed, "stopped": run.stopped}


trainer.build = network
even = make_faces(21, classes=FER4, seed=2)
left_out = [np.flatnonzero(even.split == split)[:count] for split, count in (("validation", 1), ("train", 4))]
even = even.take(~np.isin(np.arange(len(even)), np.concatenate(left_out)))
answers = {"images": [int((even.split == split).sum()) for split in ("train", "validation")]}
fit("teacher", faces=even, results=folder / "teacher", devices="all", verbose=0)
answers["one"] = train("one", None)
answers["two"] = train("two", "all")
try:
    train("broken", 2, callbacks=[Kill()])
except KeyboardInterrupt:
    answers["resumed"] = train("broken", 2)
answers["bfloat16"] = train("bfloat16", 2, precision="mixed_bfloat16")
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the script prints."""
    pytest.importorskip("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    environment["FER_KERAS_BUILD"] = str(tmp_path_factory.mktemp("build"))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("results"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check_same(one, both, rtol, skip=()):
    """Compare all numbers but the recorded predictions, which are of float16."""
    for name in set(one) - {"device", "resumed", "stopped", "predicted", *skip}:
        np.testing.assert_allclose(both[name], one[name], rtol=rtol, atol=rtol, err_msg=name)


def test_two_devices_train_as_one_does(answers):
    """With a small last batch, an odd number of validation images and weighted classes."""
    train, validation = answers["images"]
    assert (train % 16, train % 2, validation % 2) == (8, 0, 1)
    one, both = answers["one"], answers["two"]
    assert len(one["epoch"]) == 3
    assert min(one["learning_rate"]) < max(one["learning_rate"])
    check_same(one, both, 1e-4)
    assert (one["device"] + ", 2 devices", one["stopped"]) == (both["device"], both["stopped"])
    np.testing.assert_allclose(both["predicted"], both["by the network"], atol=1e-3)


def test_a_run_on_two_devices_resumes_as_if_unbroken(answers):
    assert answers["resumed"]["resumed"] == 1
    check_same(answers["two"], answers["resumed"], 1e-6)


def test_two_devices_compute_in_bfloat16(answers):
    plain, halves = answers["two"], answers["bfloat16"]
    check_same(plain, halves, 0.05, skip=[name for name in plain if name.endswith(("accuracy", "precision", "recall"))])
    assert halves["weights"] != plain["weights"]
    assert halves["device"].endswith("2 devices, mixed_bfloat16")
    np.testing.assert_allclose(halves["predicted"], halves["by the network"], atol=1e-3)


def test_what_cannot_be_had_is_refused(monkeypatch):
    there = len(keras.distribution.list_devices())
    assert choose() is choose(1) is ONE
    for devices in ("some", 0, -1, True, 1.5, "2"):
        with pytest.raises(ValueError, match="must be 'all' or a number from 1, or None"):
            choose(devices)
    with pytest.raises(ValueError, match=f"at most {there}"):
        choose(there + 1)
    for backend in ("tensorflow", "torch"):
        two_devices(monkeypatch, backend)
        with pytest.raises(ValueError, match=rf"on the JAX backend. Received: {backend}\. Set KERAS_BACKEND=jax"):
            choose("all")
        assert choose(1) is ONE


def two_devices(monkeypatch, backend):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0", "gpu:1"])
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)


def test_a_model_of_ones_own_is_refused_on_several_devices(monkeypatch):
    two_devices(monkeypatch, "jax")
    monkeypatch.setattr("fer_keras.training.devices.Devices", lambda names: object())
    network = keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="Several devices train recipes"):
        fit(network, faces=make_faces(4, classes=FER4), devices=2)


def test_a_batch_that_devices_cannot_share_is_refused():
    trio = Devices()
    trio.count = 3
    with pytest.raises(ValueError, match=r"divides a batch of 128 images. Received: 3. Ask for 2, e\.g\."):
        trio.check(128, 1000)
    with pytest.raises(ValueError, match="as many training images"):
        trio.check(3, 2)
    trio.check(129, 1000)


def name_group(monkeypatch, addresses="127.0.0.1:1234", processes="2", process="0"):
    for name, value in {ADDRESSES: addresses, PROCESSES: processes, PROCESS: process}.items():
        monkeypatch.setenv(name, value)


def test_a_group_of_machines_is_read_from_the_environment_whole(monkeypatch):
    assert named_group() is None
    name_group(monkeypatch, "a:1,b:2", process="1")
    assert named_group() == ("a:1", 2, 1)
    halves = [("a:1", "2", ""), ("a", "2", "0"), ("a:1", "2", "2"), ("a:1,b:2,c:3", "2", "0"), ("", "2", "0")]
    for values in halves:
        name_group(monkeypatch, *values)
        with pytest.raises(ValueError, match=f"Expected {ADDRESSES}=HOST:PORT"):
            named_group()
    name_group(monkeypatch)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ValueError, match="Set KERAS_BACKEND=jax"):
        choose("all")
    with pytest.raises(ValueError, match="On several machines, `devices` must be 'all'"):
        choose(2)
