"""A trained network comes back as it was saved, with its classes, or not at all."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss

import fer_keras
from fer_keras.labels import FER7
from fer_keras.models import build, weights
from fer_keras.models.weights import FIELDS, load, save
from fer_keras.recipes import Recipe
from fer_keras.recognition.networks import open_network
from fer_keras.recognition.recognizer import Recognizer
from fer_keras.training.data import load_recipe_data

CARD = {
    "name": "small",
    "classes": list(FER7),
    "input": {"shape": [48, 48, 1], "values": [0, 255]},
    "recipe": {},
    "data": {},
    "terms": "none",
    "metrics": {},
    "intended_use": "a test",
    "limits": "random weights",
}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return build("fer-small", 7)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48, 1), np.uint8)


@pytest.fixture
def saved(network, tmp_path):
    save(network, tmp_path / "small.keras", CARD)
    return tmp_path / "small.keras"


def test_what_is_saved_is_loaded(network, images, saved):
    found = load(saved)
    assert found.classes == FER7
    assert found.card["limits"] == "random weights"
    assert all(variable.dtype == "float32" for variable in found.model.weights)
    expected = network.predict_on_batch(images)
    np.testing.assert_allclose(found.predict(images), expected, atol=2e-3)
    np.testing.assert_allclose(found.predict(images[..., 0]), found.predict(images), rtol=1e-6)
    for ours, theirs in zip(found.model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float16).astype(np.float32))


def test_whole_values_are_kept_where_asked_and_half_is_half_the_size(network, images, saved, tmp_path):
    save(network, tmp_path / "whole.keras", CARD, half=False)
    np.testing.assert_array_equal(
        load(tmp_path / "whole.keras").predict(images), weights.Network(network, CARD).predict(images)
    )
    assert saved.stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size


def test_many_images_are_predicted_in_parts(network):
    many = np.random.default_rng(1).integers(0, 256, (300, 48, 48, 1), np.uint8)
    found = weights.Network(network, CARD).predict(many)
    np.testing.assert_allclose(found, network.predict(many, batch_size=100, verbose=0), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert weights.Network(network, CARD).predict(many[:0]).shape == (0, 7)


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [
        ((2, 64, 64, 1), 0, r"shape \(n, 48, 48, 1\). Received: shape \(2, 64, 64, 1\)"),
        ((2, 48, 48, 3), 0, "Received: shape"),
        ((48, 48), 0, "Received: shape"),
        ((1, 48, 48, 1), 256, r"values in \[0, 255\].*Received: 256"),
        ((1, 48, 48, 1), float("nan"), "Received: nan"),
        ((1, 48, 48, 1), 0.65, r"Received: fractions from 0\.65 to 0\.65.*255 \* images"),
    ],
)
def test_other_images_are_refused(network, shape, value, words):
    for each in (weights.Network(network, CARD), open_network("fer-small-4")):
        with pytest.raises(ValueError, match=words):
            each.predict(np.full(shape, value))
    if shape == (1, 48, 48, 1):
        with pytest.raises(ValueError, match=words):
            fer_keras.explain(network, np.full(shape, value))


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_a_picture_that_is_almost_black_is_one(network, kind):
    dark = np.eye(48)[None].astype(kind)
    assert weights.Network(network, CARD).predict(dark).shape == open_network("fer-small").predict(dark).shape == (1, 7)
    assert fer_keras.explain(network, dark[0]).shape == (1, 48, 48)


def test_a_changed_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"the file that its card describes.*write both again with `python"):
        load(saved)


@pytest.mark.parametrize("content", [None, "{", json.dumps({**CARD})])
def test_a_card_that_is_not_whole_is_refused(saved, content):
    card = saved.with_suffix(".json")
    card.unlink() if content is None else card.write_text(content)
    with pytest.raises(ValueError, match=r"small\.json: Expected (the|a) card"):
        load(saved)


def test_a_card_of_other_classes_is_refused(saved):
    card = json.loads(saved.with_suffix(".json").read_text())
    saved.with_suffix(".json").write_text(json.dumps({**card, "classes": ["happy", "sad"]}))
    with pytest.raises(ValueError, match="an output for each class"):
        load(saved)


def test_a_network_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no network 'nothing'.*Expected the path of a \.keras or \.h5 file, or one"):
        fer_keras.load("nothing")
    with pytest.raises(ValueError, match="There is no network"):
        load(tmp_path / "nothing.keras")


def test_a_file_that_holds_code_is_refused(network, tmp_path):
    unsafe = keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Lambda(lambda x: x), keras.layers.Flatten()])
    save(unsafe, tmp_path / "unsafe.keras", CARD, half=False)
    with pytest.raises(ValueError, match=r"[Ll]ambda"):
        load(tmp_path / "unsafe.keras")


def test_nothing_is_written_without_a_whole_card(network, tmp_path):
    for name in set(FIELDS) - {"sha256"}:
        with pytest.raises(ValueError, match=f"one without {name}"):
            save(network, tmp_path / "small.keras", {key: CARD[key] for key in CARD if key != name})
    assert list(tmp_path.iterdir()) == []


def test_values_too_large_for_half_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Dense(7, name="wide")])
    model.set_weights([model.get_weights()[0], np.full(7, -7e4)])
    with pytest.raises(ValueError, match=r"vars/1: Expected values that float16 can hold\. Received: up to 70000"):
        save(model, tmp_path / "small.keras", CARD)
    assert list(tmp_path.iterdir()) == []


def test_every_shipped_network_is_whole():
    for name in weights.shipped():
        found = load(name)
        assert found.card["name"] == name
        assert (weights.folder() / f"{name}.keras").stat().st_size <= 15e6
        assert zipfile.is_zipfile(weights.folder() / f"{name}.keras")


@pytest.mark.parametrize("name", weights.shipped())
def test_a_shipped_network_scores_what_its_card_says(name, fer2013_path):
    found = load(name)
    recipe = Recipe(**{key: found.card["recipe"][key] for key in ("name", "system", "title", "model", "data")})
    images, labels = load_recipe_data(recipe, fer2013_path)["test"]
    right = found.predict(images).argmax(axis=1) == labels
    assert right.mean() == pytest.approx(found.card["metrics"]["test"]["accuracy"], abs=0.0015)
    assert len(labels) == found.card["metrics"]["test"]["num_images"]
    if "test_flip" in found.card["metrics"]:
        raw = dataclasses.replace(found, card=found.card | {"temperature_mirrored": 1.0})
        own, none = (Recognizer(each, detector=None, mirrored=True).calibrated(images) for each in (found, raw))
        accuracy = (own.argmax(axis=1) == labels).mean()
        assert accuracy == pytest.approx(found.card["metrics"]["test_flip"]["accuracy"], abs=0.0015)
        assert log_loss(labels, own) < log_loss(labels, none), "its temperature helps"
