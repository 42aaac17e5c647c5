"""A network comes back from its file with its classes, or not at all; anyone's classifier is one with its classes."""

import copy
import functools
import json
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import expit, softmax

import fer_keras
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4, FER7
from fer_keras.models import build, load, weights
from fer_keras.models.weights import FIELDS, as_network, folder, save
from fer_keras.recognition.annotate import explain_picture
from fer_keras.recognition.networks import open_network
from fer_keras.recognition.recognizer import Recognizer

CARD = {name: name for name in FIELDS if name != "sha256"} | {"classes": list(FER7)}
IMAGES = make_faces(3, seed=1).images
HEADS = {
    "softmax": [layers.Dense(4, activation="softmax")],
    "softmax layer": [layers.Dense(4), layers.Softmax()],
    "softmax in float32": [layers.Dense(4, activation="softmax"), layers.Activation("linear")],
    "logits": [layers.Dense(4)],
    "log softmax": [layers.Dense(4, activation="log_softmax")],
    "nested logits": [keras.Sequential([layers.Dense(4)])],
    "one sigmoid": [layers.Dense(1, activation="sigmoid")],
    "one logit": [layers.Dense(1)],
    "one sigmoid activation": [layers.Dense(1), layers.Activation("sigmoid")],
    "one nested sigmoid": [keras.Sequential([layers.Dense(1, activation="sigmoid")])],
}


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(3)
    return build("fer-small", 7)


@pytest.fixture
def saved(small, tmp_path):
    save(small, tmp_path / "small.keras", CARD)
    return tmp_path / "small.keras"


def test_what_is_saved_is_loaded_in_half_precision_or_whole(small, saved, tmp_path, monkeypatch):
    """More images than are predicted at a time."""
    images = np.random.default_rng(0).integers(0, 256, (300, 48, 48, 1), np.uint8)
    found, expected = load(saved), weights.Network(small, CARD).predict(images)
    np.testing.assert_allclose(expected, small.predict(images, batch_size=100, verbose=0), atol=1e-5)
    np.testing.assert_allclose(found.predict(images[..., 0]), expected, atol=2e-3)
    assert found.predict(images[:0]).shape == (0, 7)
    assert (found.classes, found.card["limits"]) == (FER7, "limits")
    for ours, theirs in zip(found.model.get_weights(), small.get_weights(), strict=True):
        assert ours.dtype == "float32"
        np.testing.assert_array_equal(ours, theirs.astype(np.float16))
    save(small, tmp_path / "whole.keras", CARD, half=False)
    np.testing.assert_array_equal(load(tmp_path / "whole.keras").predict(images), expected)
    monkeypatch.setenv("HOME", str(tmp_path))
    save(small, "~/home.keras", CARD)
    assert load("~/home.keras").card == load(tmp_path / "home.keras").card
    assert saved.stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size
    assert max(path.stat().st_size for path in folder().glob("*.keras")) <= 15e6


def test_other_images_are_refused_and_one_that_is_almost_black_is_not(small):
    uses = [weights.Network(small, CARD).predict, open_network("fer-small").predict]
    uses.append(functools.partial(fer_keras.explain, small))
    for shape, value, message in (
        ((2, 64, 64, 1), 0, r"shape \(n, 48, 48, 1\). Received: shape \(2, 64, 64, 1\)"),
        ((48, 48), 0, "Received: shape"),
        ((1, 48, 48, 1), 256, r"values in \[0, 255\].*Received: 256"),
        ((1, 48, 48, 1), float("nan"), "Received: nan"),
        ((1, 48, 48, 1), 0.65, r"Received: fractions from 0\.65 to 0\.65.*255 \* images"),
    ):
        for use in uses if value else uses[:2]:
            with pytest.raises(ValueError, match=message):
                use(np.full(shape, value))
    for kind in ("bool", "complex64", "object", "str", "bfloat16"):
        for use in uses:
            with pytest.raises(ValueError, match=r"values in \[0, 255\].*Received: (values of type|fractions)"):
                use(np.full((1, 48, 48, 1), 0.65 if kind == "bfloat16" else 1).astype(kind))
    for use in uses:
        for dark in (np.eye(48, dtype=np.uint8), np.eye(48)):
            assert len(use(dark[None, ..., None])) == 1


def test_a_file_and_a_card_that_do_not_fit_are_refused_and_keras_layers_beside_a_file_are_no_card(small, saved):
    card = saved.with_suffix(".json")
    good = card.read_text()
    for text, classes, message in (
        (json.dumps(CARD), None, "Expected a card"),
        (json.dumps({"classes": FER7}), FER7, "Expected a card"),
        ("{", FER7, "Expected the card"),
        ("", FER7, "Expected the card"),
        (json.dumps(json.loads(good) | {"classes": ["a", "b"]}), None, "for each class"),
    ):
        card.write_text(text)
        with pytest.raises(ValueError, match=message):
            load(saved, classes=classes)
    card.write_text(small.to_json())
    assert load(saved, classes=FER7).name == "small"
    card.write_text(good)
    saved.write_bytes(saved.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"the file that its card describes.*write both again with `python"):
        load(saved)


def test_nothing_is_written_without_a_whole_card_or_of_values_too_large_for_half(small, tmp_path):
    for name in CARD:
        with pytest.raises(ValueError, match=f"one without {name}"):
            save(small, tmp_path / "small.keras", {key: CARD[key] for key in CARD if key != name})
    model = dense(units=7)
    model.set_weights([model.get_weights()[0], np.full(7, -7e4)])
    with pytest.raises(ValueError, match=r"float16 can hold\. Received: up to 70000"):
        save(model, tmp_path / "small.keras", CARD)
    assert list(tmp_path.iterdir()) == []


def mine(head="softmax", *, size=(48, 48), channels=1):
    """A small network with random initialisation and one of `HEADS`."""
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input((*size, channels))
    body = [layers.Rescaling(1 / 255), layers.Conv2D(6, 5, strides=3, activation="relu"), layers.MaxPooling2D(4)]
    for layer in (*body, layers.Flatten(), *HEADS[head]):
        x = type(layer).from_config(layer.get_config())(x)
    return keras.Model(inputs, x, name="mine")


def classes_of(head):
    return FER4[:2] if head.startswith("one") else FER4


def expected(model, head, images):
    """What a network's predictions are as probabilities, by SciPy."""
    raw = model.predict_on_batch(images).astype(np.float64)
    if not head.startswith("one"):
        return softmax(raw, axis=1) if "log" in head else raw
    raw = expit(raw) if "logit" in head else raw
    return np.concatenate([1 - raw, raw], axis=1)


def dense(activation=None, units=4, outputs=1, **shape):
    """A network of one layer, of an input of any shape."""
    inputs = keras.Input(**shape or {"shape": (48, 48, 1)})
    return keras.Model(inputs, [layers.Dense(units, activation)(layers.Flatten()(inputs)) for _ in range(outputs)])


@pytest.mark.parametrize("head", HEADS)
def test_a_plain_file_predicts_probabilities_once_its_classes_are_named(head, tmp_path):
    model, path = mine(head), tmp_path / f"of-mine{'.h5' if 'nested' in head else '.keras'}"
    model.save(path)
    found = load(path, classes=iter(classes_of(head)))
    assert (found.name, found.classes, found.size, found.temperature) == ("of-mine", classes_of(head), (48, 48), 1.0)
    assert set(FIELDS) <= set(found.card)
    assert copy.deepcopy(found).card == pickle.loads(pickle.dumps(found)).card == found.card
    np.testing.assert_allclose(found.predict(IMAGES), expected(model, head, IMAGES), atol=1e-6)


@pytest.mark.parametrize("head", ["softmax", "logits", "one sigmoid"])
def test_colour_other_sizes_and_mixed_precision(head):
    model = mine(head, size=(64, 40), channels=3)
    found, grey = as_network(model, classes_of(head)), np.random.default_rng(0).integers(0, 256, (5, 64, 40, 1))
    assert found.size == (64, 40)
    np.testing.assert_allclose(found.predict(grey), expected(model, head, grey.repeat(3, 3).astype("f4")), atol=1e-6)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        predictions = as_network(mine(head), classes_of(head)).predict(IMAGES)
    finally:
        keras.config.set_dtype_policy("float32")
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-2)


def test_a_model_that_is_no_classifier_of_faces_is_refused():
    for make, message in (
        (lambda: 3, r"int: Expected a keras\.Model"),
        (lambda: type("Subclassed", (keras.Model,), {})(), r"built Sequential or Functional model.*Subclassed"),
        (lambda: keras.Sequential([layers.Flatten(), layers.Dense(4)]), r"Begin it with keras\.Input"),
        (lambda: dense(outputs=2), "one input and one output. Received: 1 and 2"),
        (lambda: dense(shape=(2304,)), r"of a fixed size\. Received: \(None, 2304\)"),
        (lambda: dense(units=3), r"output of \(batch, 4\).*Received: \(None, 3\)\. Name as many"),
        (lambda: dense("sigmoid", 1), r"output of \(batch, 4\).*Received: \(None, 1\)\. Name as many"),
        (lambda: dense(shape=(48, 48, 2)), r"Received: \(None, 48, 48, 2\)"),
        (lambda: keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(4, 3)]), "None, None, None, 1"),
        (lambda: dense(batch_shape=(8, 48, 48, 1)), r"Received: \(8, 48, 48, 1\)"),
        (lambda: keras.Sequential([keras.Input((48, 48, 1)), layers.Conv2D(4, 3)]), r"\(None, 46, 46, 4\)"),
        (lambda: dense("relu"), r"linear \(logits\), or one sigmoid.*Received: relu of 4 outputs"),
        (lambda: dense("sigmoid"), "Received: sigmoid of 4 outputs"),
        (lambda: dense("softmax", 1), "Received: softmax of 1 output"),
    ):
        with pytest.raises(ValueError, match=message):
            as_network(make(), FER4[:2] if "softmax" in message else FER4)


class Evil(str):
    """A pickle that writes a file of its name."""

    def __reduce__(self):
        return open, (str(self), "w")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_broken_files_weights_alone_and_code_are_refused_and_no_code_runs(suffix, tmp_path):
    ran, path, name = tmp_path / "ran", tmp_path / f"mine{suffix}", str(tmp_path / "ran")
    code = layers.Lambda(lambda x: (open(name, "w").close(), x)[1])
    keras.Sequential([keras.Input((48, 48, 1)), code, layers.Flatten(), layers.Dense(4)]).save(path)
    ran.unlink()
    with pytest.raises(ValueError, match=r"Expected a whole network of Keras' own layers.*Received: .*`?[Ll]ambda"):
        load(path, classes=FER4)
    mine().save(path)
    for content in (path.read_bytes()[:-3000], pickle.dumps(Evil(name)), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.(keras|h5): Expected a whole network.*Save it with model\.save"):
            load(path, classes=FER4)
    assert not ran.exists()
    mine().save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(ValueError, match="with its layers and not its weights alone"):
        load(tmp_path / "mine.weights.h5", classes=FER4)


def test_what_a_file_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "MAX_UNPACKED", 2**22)
    zipped, stored = paths = tmp_path / "bomb.keras", tmp_path / "bomb.h5"
    for path in paths:
        mine().save(path)
        load(path, classes=FER4)
    with zipfile.ZipFile(zipped, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(2**22))
    with h5py.File(stored, "a") as file:  # a dataset of which nothing is stored
        file.create_dataset("zeros", (2**22 + 1,), "u1", chunks=(2**20,), compression="gzip")
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("unpacked"))
    for path in paths:
        with pytest.raises(ValueError, match=rf"{path.name}: Expected .*4,[0-9,]+ bytes of unpacked values, of at"):
            load(path, classes=FER4)


def test_a_file_recognises_explains_and_exports_once_its_classes_are_named(tmp_path):
    model, path, photo = mine("logits", channels=3), tmp_path / "mine.h5", make_faces(3, seed=3).images[0, ..., 0]
    model.save(path)
    wanted = expected(model, "logits", photo[None, ..., None].repeat(3, axis=3).astype(np.float32))[0]
    options = {"classes": FER4, "detector": None, "min_confidence": 0}
    ((explained, shares),) = explain_picture(photo, tmp_path / "out.png", network=path, **options)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    found = [
        fer_keras.recognize(photo, network=given, **options)[0]
        for given in (str(path), model, load(path, classes=FER4))
    ]
    for face in (explained, *found):
        assert tuple(face.probabilities) == FER4
        np.testing.assert_allclose(list(face.probabilities.values()), wanted, atol=1e-5)
    exported = open_network(fer_keras.export(path, tmp_path / "exported.onnx", classes=FER4))
    assert (exported.classes, exported.size) == (FER4, (48, 48))
    np.testing.assert_allclose(exported.predict(photo[None])[0], wanted, atol=1e-5)


def test_without_classes_a_file_or_a_model_asks_for_them_everywhere(tmp_path):
    model, path, black = mine(), tmp_path / "mine.keras", np.zeros((48, 48), np.uint8)
    model.save(path)
    explain = functools.partial(explain_picture, black, tmp_path / "out.png", detector=None)
    for given in (path, model):
        for use in (functools.partial(Recognizer, detector=None), fer_keras.export, explain):
            with pytest.raises(ValueError, match=r"Pass classes=\['happy', \.\.\.\] \(--classes\), in the order"):
                use(network=given)
    assert list(tmp_path.iterdir()) == [path]
    for classes in ("happy", ["happy"], ["happy", "happy"], ["happy", " "], ["happy", 3], {"a", "b"}):
        with pytest.raises(ValueError, match=r"`classes` must be two or more .*Pass a list"):
            as_network(model, classes)


def test_the_classes_of_whatever_has_a_card_must_agree_and_what_runs_on_onnx_runtime_is_not_exported():
    onnx = folder() / "fer-small-4.onnx"
    for given in ("fer-small-4", str(onnx), onnx.with_suffix(".keras")):
        assert Recognizer(given, classes=FER4, detector=None).classes == FER4
        for network in (given, open_network(given)):
            with pytest.raises(ValueError, match=r"the classes of its card, happy, .*Leave out `classes`"):
                Recognizer(network, classes=FER4[::-1], detector=None)
    for network, message in ((onnx, r"Received: an \.onnx file"), (open_network(onnx), r"keras\.Model.*OnnxNetwork")):
        with pytest.raises(ValueError, match=message):
            fer_keras.export(network, "made.onnx", classes=FER4)
