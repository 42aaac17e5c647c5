"""Any Keras classifier in a file becomes a network once its classes are named, or is refused with a clear error."""

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
from PIL import Image
from scipy.special import expit, softmax

import fer_keras
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.models import load, weights
from fer_keras.models.weights import FIELDS, adapt, as_network, folder
from fer_keras.recognition.annotate import explain_picture
from fer_keras.recognition.networks import open_network
from fer_keras.recognition.recognizer import Recognizer

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


def network(head="softmax", *, size=(48, 48), channels=1):
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
    if head.startswith("one"):
        raw = expit(raw) if "logit" in head else raw
        return np.concatenate([1 - raw, raw], axis=1)
    return softmax(raw, axis=1) if "logits" in head or head.startswith("log") else raw


@pytest.fixture(scope="module")
def images():
    return make_faces(3, seed=1).images


@pytest.mark.parametrize("head", HEADS)
def test_a_plain_file_predicts_probabilities_once_its_classes_are_named(head, tmp_path, images):
    model, classes = network(head), classes_of(head)
    path = tmp_path / f"of-mine{'.h5' if 'nested' in head else '.keras'}"
    model.save(path)
    found = load(path, classes=iter(classes))
    assert (found.name, found.classes, found.size, found.temperature) == ("of-mine", classes, (48, 48), 1.0)
    assert set(FIELDS) <= set(found.card)
    predictions = found.predict(images)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions, expected(model, head, images), atol=1e-6)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("head", ["softmax", "logits", "one sigmoid"])
def test_colour_other_sizes_and_mixed_precision(head, images):
    grey = np.random.default_rng(0).integers(0, 256, (5, 64, 40, 1), np.uint8)
    model = network(head, size=(64, 40), channels=3)
    found = as_network(model, classes_of(head))
    assert found.size == (64, 40)
    np.testing.assert_allclose(found.predict(grey), expected(model, head, grey.repeat(3, 3).astype("f4")), atol=1e-6)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        predictions = as_network(network(head), classes_of(head)).predict(images)
    finally:
        keras.config.set_dtype_policy("float32")
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-2)


def test_a_network_that_is_as_ours_are_is_not_wrapped():
    model = network()
    found, again = as_network(model, FER4), as_network(keras.models.clone_model(model), FER4)
    assert adapt(model, 4) is found.model is model
    assert (found.name, len(found.card["sha256"])) == ("mine", 64)
    assert again.card["sha256"] != found.card["sha256"], "other values"
    assert copy.deepcopy(found).card == pickle.loads(pickle.dumps(found)).card == found.card


def test_the_layers_beside_a_file_are_no_card_and_half_a_card_is_one(tmp_path):
    model = network()
    model.save(tmp_path / "model.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    assert load(tmp_path / "model.h5", classes=FER4).name == "model"
    for content in (json.dumps({"classes": list(FER4)}), "{", ""):
        (tmp_path / "model.json").write_text(content)
        with pytest.raises(ValueError, match=r"model\.json: Expected (a|the) card"):
            load(tmp_path / "model.h5", classes=FER4)


class Subclassed(keras.Model):
    def call(self, x):
        return keras.ops.mean(x, axis=(1, 2))


def dense(activation="softmax", units=4, outputs=1, **shape):
    """A network of one layer, of an input of any shape."""
    inputs = keras.Input(**shape or {"shape": (48, 48, 1)})
    return keras.Model(inputs, [layers.Dense(units, activation)(layers.Flatten()(inputs)) for _ in range(outputs)])


def maps(*shape):
    return keras.Sequential([keras.Input(shape), layers.Conv2D(4, 3)])


REFUSED = {
    "no model": (lambda: 3, r"int: Expected a keras\.Model"),
    "subclassed": (Subclassed, r"built Sequential or Functional model.*Subclassed.*cannot be used here"),
    "unbuilt": (lambda: keras.Sequential([layers.Flatten(), layers.Dense(4)]), r"Begin it with keras\.Input"),
    "two outputs": (lambda: dense(outputs=2), r"one input and one output\. Received: 1 and 2\. Build one"),
    "flat input": (lambda: dense(shape=(2304,)), r"of a fixed size\. Received: \(None, 2304\)"),
    "three classes": (lambda: dense(units=3), r"output of \(batch, 4\).*Received: \(None, 3\)\. Name as many"),
    "one sigmoid": (lambda: dense("sigmoid", 1), r"output of \(batch, 4\).*Received: \(None, 1\)\. Name as many"),
    "two channels": (lambda: dense(shape=(48, 48, 2)), r"Received: \(None, 48, 48, 2\)"),
    "any size": (lambda: maps(None, None, 1), "None, None, None, 1"),
    "fixed batch": (lambda: dense(batch_shape=(8, 48, 48, 1)), r"Received: \(8, 48, 48, 1\)"),
    "maps": (lambda: maps(48, 48, 1), r"\(None, 46, 46, 4\)"),
    "relu": (lambda: dense("relu"), r"softmax, linear \(logits\), or one sigmoid.*Received: relu of 4 outputs"),
    "several sigmoids": (lambda: dense("sigmoid"), "Received: sigmoid of 4 outputs"),
    "one softmax": (lambda: dense("softmax", 1), r"Received: softmax of 1 output\. .*Dense\(2, activation='softmax'\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_is_no_classifier_of_faces_is_refused(kind):
    make, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        as_network(make(), FER4[:2] if kind == "one softmax" else FER4)


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
    network().save(path)
    for content in (path.read_bytes()[:-3000], pickle.dumps(Evil(name)), b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.(keras|h5): Expected a whole network.*Save it with model\.save"):
            load(path, classes=FER4)
    assert not ran.exists()
    network().save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(ValueError, match="with its layers and not its weights alone"):
        load(tmp_path / "mine.weights.h5", classes=FER4)


def test_what_a_file_unpacks_to_is_bounded(tmp_path, monkeypatch):
    assert weights.MAX_UNPACKED == 2**30
    monkeypatch.setattr(weights, "MAX_UNPACKED", 2**22)
    zipped, stored = tmp_path / "bomb.keras", tmp_path / "bomb.h5"
    network().save(zipped)
    load(zipped, classes=FER4)
    with zipfile.ZipFile(zipped, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(2**22))
    network().save(stored)
    with h5py.File(stored, "a") as file:  # a dataset of which nothing is stored
        file.create_dataset("zeros", (2**22 + 1,), "u1", chunks=(2**20,), compression="gzip")
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("unpacked"))
    for path in (zipped, stored):
        assert path.stat().st_size < 2**20
        with pytest.raises(ValueError, match=rf"{path.name}: Expected .*4,[0-9,]+ bytes of unpacked values, of at"):
            load(path, classes=FER4)


def test_a_file_recognises_explains_and_exports_once_its_classes_are_named(tmp_path):
    model, path, photo = network("logits", channels=3), tmp_path / "mine.h5", make_faces(3, seed=3).images[0, ..., 0]
    model.save(path)
    wanted = expected(model, "logits", photo[None, ..., None].repeat(3, axis=3).astype(np.float32))[0]
    options = {"classes": list(FER4), "detector": None, "min_confidence": 0}
    Image.fromarray(photo).save(tmp_path / "face.png")
    for given in (path, str(path), model, load(path, classes=FER4)):
        (face,) = fer_keras.recognize(photo, network=given, **options)
        assert tuple(face.probabilities) == FER4
        np.testing.assert_allclose(list(face.probabilities.values()), wanted, atol=1e-5)
    ((face, shares),) = explain_picture(tmp_path / "face.png", tmp_path / "out.png", network=path, **options)
    np.testing.assert_allclose(list(face.probabilities.values()), wanted, atol=1e-5)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    exported = open_network(fer_keras.export(path, tmp_path / "exported.onnx", classes=FER4))
    assert (exported.classes, exported.size) == (FER4, (48, 48))
    np.testing.assert_allclose(exported.predict(photo[None])[0], wanted, atol=1e-5)


def test_without_classes_a_file_or_a_model_asks_for_them_everywhere(tmp_path):
    model, path, black = network(), tmp_path / "mine.keras", np.zeros((48, 48), np.uint8)
    model.save(path)
    with pytest.raises(ValueError, match=r"mine\.json: Expected the card.*Pass classes=.*--classes"):
        load(path)
    for given in (path, model):
        for use, options in (
            (Recognizer, {"detector": None}),
            (fer_keras.export, {"path": tmp_path / "mine.onnx"}),
            (functools.partial(explain_picture, black, tmp_path / "out.png"), {"detector": None}),
        ):
            with pytest.raises(ValueError, match=r"Pass classes=\['happy', \.\.\.\] \(--classes\), in the order"):
                use(network=given, **options)
    assert list(tmp_path.iterdir()) == [path]
    for classes in ("happy", ["happy"], ["happy", "happy"], ["happy", " "], ["happy", 3], {"a", "b"}):
        with pytest.raises(ValueError, match=r"`classes` must be two or more different names.*Received: .*Pass a list"):
            as_network(model, classes)


@pytest.mark.parametrize("given", ["fer-small-4", str(folder() / "fer-small-4.onnx"), folder() / "fer-small-4.keras"])
def test_the_classes_of_whatever_has_a_card_must_agree(given):
    assert Recognizer(given, classes=FER4, detector=None).classes == FER4
    for network_of_it in (given, open_network(given)):
        with pytest.raises(ValueError, match=r"Expected the classes of its card, happy, .*Leave out `classes`"):
            Recognizer(network_of_it, classes=FER4[::-1], detector=None)


def test_what_runs_on_onnx_runtime_cannot_be_exported_again():
    with pytest.raises(ValueError, match=r"Expected a network of Keras\. Received: an \.onnx file"):
        fer_keras.export(folder() / "fer-small-4.onnx", "made.onnx")
    with pytest.raises(ValueError, match=r"Expected a keras\.Model.*OnnxNetwork"):
        fer_keras.export(open_network("fer-small-4"), "made.onnx", classes=FER4)
