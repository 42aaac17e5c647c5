"""Training on several devices of one machine: the step of one device with the same batch, on both backends."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_keras import machines
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.training import fit
from fer_keras.training.devices import ONE, check_shares, choose, filled_up

# Two devices, whatever the backend, and two small networks to train on one of them and on both.
SCRIPT = """
import dataclasses, json, os, sys
import keras, numpy as np
from pathlib import Path
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras import layers
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, load_network, trainer
from fer_keras.training.devices import ONE, choose
from fer_keras.training.data import make_targets
from fer_keras.training.session import Session

folder, both = Path(sys.argv[1]), choose("all")
# Everything: augmentation, mixup over the batch, averaged weights, a falling rate, class weights, a small last batch.
LIVELY = dataclasses.replace(
    RECIPES["capstone-model-1"], name="lively", batch_size=16, epochs=3, optimizer="sgd", learning_rate=0.05,
    rotation_degrees=10.0, flip=True, brightness=(0.7, 1.3), erase_probability=0.5, mixup_alpha=0.4, ema_decay=0.5,
    reduce_patience_epochs=1, stop_patience_epochs=0, label_smoothing=0.1, class_weights=True, final=False,
)


def network(kind):
    keras.utils.set_random_seed(1)
    middle = {
        "plain": [layers.ReLU()],
        "normalised": [layers.BatchNormalization(momentum=0.5), layers.ReLU()],
        "dropping": [layers.BatchNormalization(momentum=0.5), layers.ReLU(), layers.Dropout(0.5)],
    }[kind]
    dense = layers.Dense(4, activation="softmax", kernel_regularizer=keras.regularizers.L2(0.01))
    parts = [layers.Rescaling(1 / 255), layers.AveragePooling2D(6), layers.Conv2D(6, 3), *middle, layers.Flatten()]
    return keras.Sequential([keras.Input((48, 48, 1)), *parts, dense])


class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def session_of(name, recipe, faces, kind, devices, **options):
    targets, place = make_targets(recipe, faces), folder / name
    return Session(recipe, network(kind), faces, targets, seed=0, folder=place, devices=devices, **options)


def trained(name, recipe, faces, kind, devices, **options):
    session = session_of(name, recipe, faces, kind, devices, **options)
    session.train(verbose=0)
    return told(session)


def told(session):
    names = sorted(set(session.history[0]) - {"seconds"})
    smooth = [name for name in names if name.endswith("loss") or name in ("epoch", "learning_rate")]
    history = [[row[name] for name in smooth] for row in session.history]
    counted = ["accuracy", "val_accuracy", *(name for name in names if name not in smooth and "accuracy" not in name)]
    scores = [[row[name] for name in counted] for row in session.history]
    weights = np.concatenate([values.ravel() for values in session.given.get_weights()])
    said = [session.predict("validation"), session.predict("validation", mirrored=True)]
    pixels = session.faces["validation"][0].astype("float32")
    given = [session.given.predict(view, verbose=0) for view in (pixels, pixels[:, :, ::-1])]
    told = {"history": history, "scores": scores, "weights": weights, "said": said, "given": given}
    return {name: np.asarray(values).tolist() for name, values in told.items()}


def without(faces, split):
    keep = np.arange(len(faces)) != np.flatnonzero(faces.split == split)[0]
    arrays = {name: getattr(faces, name)[keep] for name in ("images", "labels", "split", "rows")}
    return dataclasses.replace(faces, **arrays)


even = without(drawn_faces(21, classes=FER4, seed=1), "validation")
answers = {"shares": [both.count, int((even.split == "train").sum()), int((even.split == "validation").sum())]}
for kind in ("plain", "normalised"):
    answers[kind] = [trained(f"{kind}-{d.count}", LIVELY, even, kind, d) for d in (ONE, both)]

try:
    session_of("broken", LIVELY, even, "normalised", both).train(verbose=0, callbacks=[Kill()])
except KeyboardInterrupt:
    pass
again = session_of("broken", LIVELY, even, "normalised", both)
begun = again.epochs_saved()
again.train(verbose=0)
answers["resumed"] = [told(again), begun]
answers["halves"] = trained("halves", LIVELY, even, "plain", both, precision="mixed_bfloat16")

kept, answers["checkpoints"] = [], []
session = session_of("checkpoints", LIVELY, even, "plain", both)
session.train(verbose=0, checkpoint=lambda row: kept.append([row["val_loss"], session.given.get_weights()]))
(x, y), copy = even["validation"], network("plain")
for validated, weights in kept:
    copy.set_weights(weights)
    found = copy.predict(x.astype("float32"), verbose=0)
    loss = keras.losses.categorical_crossentropy(np.eye(4)[y], found, label_smoothing=0.1)
    penalty = sum(float(keras.ops.convert_to_numpy(value)) for value in copy.losses)
    answers["checkpoints"].append([validated, float(keras.ops.convert_to_numpy(loss).mean()) + penalty])

odd = without(even, "train")
trainer.build = lambda *_, **__: network("dropping")
run = fit(LIVELY, faces=odd, results=folder / "results", verbose=0, devices=2)
x, y = odd["validation"]
found = load_network(run).predict(x.astype("float32"), verbose=0)
said, accuracy = run.predictions("validation").probabilities, float((found.argmax(axis=1) == y).mean())
answers["record"] = [run.device, run.metrics["validation"]["accuracy"], accuracy, run.epochs_run, len(odd["train"][0])]
answers["recorded"] = [said.tolist(), found.tolist()]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The script on each backend that is installed, started together; backend to process."""
    started = {}
    for backend in ("tensorflow", "jax"):
        if importlib.util.find_spec(backend):
            environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
            environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
            environment["FER_KERAS_BUILD"] = str(tmp_path_factory.mktemp("build"))
            command = [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("sessions"))]
            options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
            started[backend] = subprocess.Popen(command, **options)
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def answers(request, scripts):
    """What the script says, on a backend."""
    if request.param not in scripts:
        pytest.skip(f"{request.param} is not installed")
    printed, said = scripts[request.param].communicate(timeout=600)
    assert scripts[request.param].returncode == 0, said[-3000:]
    return json.loads(printed.splitlines()[-1])


def assert_close(one, both, tolerance):
    for name in ("history", "weights", "said"):
        np.testing.assert_allclose(both[name], one[name], rtol=tolerance, atol=tolerance, err_msg=name)


def assert_alike(one, both, tolerance, shares):
    """Check losses, values and probabilities, and what is counted: in an epoch, rounding may turn one answer over."""
    assert_close(one, both, tolerance)
    scores, others = np.array(one["scores"]), np.array(both["scores"])
    differences = np.abs(scores - others)
    assert (differences[:, :2] < 1.5 / np.array(shares[1:])).all(), "accuracy on train and validation"
    same = differences[:, :2].max(axis=1) < 1e-6
    assert same.any()
    np.testing.assert_allclose(others[same], scores[same], atol=tolerance)


def test_the_script_trains_on_two_devices_with_a_small_last_batch(answers):
    count, train, validation = answers["shares"]
    assert count == 2
    assert train % 2 == 0
    assert train % 16 > 0
    assert validation % 2 == 1, "so that one image is scored twice, and cut off"


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_two_devices_train_as_one_does(answers, kind):
    one, both = answers[kind]
    assert len(one["history"]) == 3
    assert_alike(one, both, 2e-4, answers["shares"])


def test_what_two_devices_predict_is_what_their_network_says(answers):
    for kind in ("plain", "normalised"):
        both = answers[kind][1]
        np.testing.assert_allclose(both["said"], both["given"], atol=1e-5)


def test_a_checkpoint_on_two_devices_holds_the_weights_that_were_validated(answers):
    assert answers["checkpoints"]
    for validated, of_the_network in answers["checkpoints"]:
        assert of_the_network == pytest.approx(validated, rel=1e-4)


def test_a_run_on_two_devices_goes_on_from_its_last_epoch(answers):
    resumed, begun = answers["resumed"]
    assert begun == 1
    assert_alike(answers["normalised"][1], resumed, 1e-6, answers["shares"])


def test_two_devices_compute_in_bfloat16_and_predict_in_float32(answers):
    """Of eleven faces, two may be answered otherwise: where two classes are about as likely."""
    plain, halves = answers["plain"][1], answers["halves"]
    assert_close(plain, halves, 0.05)
    np.testing.assert_allclose(np.array(halves["scores"])[:, :2], np.array(plain["scores"])[:, :2], atol=0.2)
    assert halves["weights"] != plain["weights"]
    np.testing.assert_allclose(halves["said"], halves["given"], atol=1e-5)


def test_the_record_says_how_many_devices(answers):
    """Of an odd number of images, one sits out in each epoch."""
    device, recorded, found, epochs, images = answers["record"]
    assert images % 2 == 1
    assert device.endswith("2 devices")
    assert epochs == 3
    np.testing.assert_allclose(*answers["recorded"], atol=1e-3)
    assert recorded == pytest.approx(found, abs=1.5 / answers["shares"][2]), "one answer may be a tie"


@pytest.mark.parametrize("devices", ["some", 0, -1, True, 1.5, "2"])
def test_an_unknown_number_of_devices_is_refused(devices):
    with pytest.raises(ValueError, match="must be 'all' or a number from 1, or None"):
        choose(devices)


def test_more_devices_than_there_are_are_refused():
    there = len(keras.distribution.list_devices())
    with pytest.raises(ValueError, match=f"at most {there}"):
        choose(there + 1)


def test_one_device_is_the_ordinary_path():
    assert choose() is ONE
    assert choose(1) is ONE
    if len(keras.distribution.list_devices()) == 1:
        assert choose("all") is ONE


def test_a_backend_that_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="needs the backend TensorFlow or JAX"):
        choose("all")
    assert choose() is ONE


def test_a_batch_that_devices_cannot_share_is_refused():
    trio = ONE.__class__()
    trio.count = 3
    with pytest.raises(ValueError, match=r"3 devices can't share a batch of 128 .* e\.g\. 2"):
        check_shares(trio, 128, 1000)
    with pytest.raises(ValueError, match="as many training images"):
        check_shares(trio, 3, 2)
    check_shares(trio, 129, 1000)


def test_indices_are_filled_up_to_a_multiple():
    assert filled_up(np.arange(5), 4).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert filled_up(np.arange(4), 4).tolist() == [0, 1, 2, 3]
    assert filled_up(np.arange(0), 4).tolist() == []


def name_group(monkeypatch, addresses="127.0.0.1:1234", processes="2", process="0"):
    values = {machines.ADDRESSES: addresses, machines.PROCESSES: processes, machines.PROCESS: process}
    for name, value in values.items():
        if value is not None:
            monkeypatch.setenv(name, value)


def test_a_group_of_machines_is_read_from_the_environment(monkeypatch):
    assert machines.named() is None
    name_group(monkeypatch, "a:1,b:2", process="1")
    assert machines.named() == machines.Group("a:1", 2, 1)


@pytest.mark.parametrize(
    "values",
    [("a:1", "2", None), ("a", "2", "0"), ("a:1", "2", "2"), ("a:1,b:2,c:3", "2", "0"), (None, "2", "0")],
    ids=["no number", "no port", "number too high", "too many addresses", "no address"],
)
def test_half_a_group_is_refused(monkeypatch, values):
    name_group(monkeypatch, *values)
    with pytest.raises(ValueError, match=f"Expected {machines.ADDRESSES}=HOST:PORT"):
        machines.named()


def test_tensorflow_does_not_join_several_machines(monkeypatch, tmp_path):
    name_group(monkeypatch)
    faces = drawn_faces(4, classes=FER4)
    recipe = dataclasses.replace(RECIPES["capstone-model-1"], epochs=1)
    if keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match=r"MultiWorkerMirroredStrategy.*KERAS_BACKEND=jax"):
            fit(recipe, faces=faces, results=tmp_path, verbose=0, devices="all")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="On several machines, `devices` must be 'all'"):
        choose(2)
