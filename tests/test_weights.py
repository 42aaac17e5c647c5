"""A trained network comes back as it was saved, with its classes, or not at all."""

import dataclasses
import json

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

CARD = {name: name for name in FIELDS if name != "sha256"} | {"classes": list(FER7)}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return build("fer-small", 7)


@pytest.fixture
def saved(network, tmp_path):
    save(network, tmp_path / "small.keras", CARD)
    return tmp_path / "small.keras"


def test_what_is_saved_is_loaded_in_half_precision_or_whole(network, saved, tmp_path):
    """More images than are predicted at a time."""
    images = np.random.default_rng(0).integers(0, 256, (300, 48, 48, 1), np.uint8)
    found, expected = load(saved), weights.Network(network, CARD).predict(images)
    np.testing.assert_allclose(expected, network.predict(images, batch_size=100, verbose=0), atol=1e-5)
    assert found.predict(images[:0]).shape == (0, 7)
    assert (found.classes, found.card["limits"]) == (FER7, "limits")
    assert all(variable.dtype == "float32" for variable in found.model.weights)
    np.testing.assert_allclose(found.predict(images), expected, atol=2e-3)
    np.testing.assert_allclose(found.predict(images[..., 0]), found.predict(images), rtol=1e-6)
    for ours, theirs in zip(found.model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs.astype(np.float16).astype(np.float32))
    save(network, tmp_path / "whole.keras", CARD, half=False)
    np.testing.assert_array_equal(load(tmp_path / "whole.keras").predict(images), expected)
    assert saved.stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [
        ((2, 64, 64, 1), 0, r"shape \(n, 48, 48, 1\). Received: shape \(2, 64, 64, 1\)"),
        ((48, 48), 0, "Received: shape"),
        ((1, 48, 48, 1), 256, r"values in \[0, 255\].*Received: 256"),
        ((1, 48, 48, 1), float("nan"), "Received: nan"),
        ((1, 48, 48, 1), 0.65, r"Received: fractions from 0\.65 to 0\.65.*255 \* images"),
    ],
)
def test_other_images_are_refused(network, shape, value, words):
    uses = [weights.Network(network, CARD).predict, open_network("fer-small-4").predict]
    uses += [lambda images: fer_keras.explain(network, images)] if shape == (1, 48, 48, 1) else []
    for use in uses:
        with pytest.raises(ValueError, match=words):
            use(np.full(shape, value))


def test_a_picture_that_is_almost_black_is_one(network):
    for dark in (np.eye(48, dtype=np.uint8)[None], np.eye(48)[None]):
        assert weights.Network(network, CARD).predict(dark).shape == (1, 7)
        assert open_network("fer-small").predict(dark).shape == (1, 7)
        assert fer_keras.explain(network, dark[0]).shape == (1, 48, 48)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("small.keras", lambda old: old + b"x", r"the file that its card describes.*write both again with `python"),
        ("small.json", None, r"small\.json: Expected the card"),
        ("small.json", lambda old: b"{", r"small\.json: Expected the card"),
        ("small.json", lambda old: json.dumps(CARD).encode(), r"small\.json: Expected a card"),
        ("small.json", lambda old: json.dumps(json.loads(old) | {"classes": ["a", "b"]}).encode(), "for each class"),
    ],
)
def test_a_file_and_a_card_that_do_not_fit_are_refused(saved, file, change, message):
    path = saved.with_name(file)
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_a_network_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no network 'nothing'.*Expected the path of a \.keras or \.h5 file, or one"):
        fer_keras.load("nothing")
    with pytest.raises(ValueError, match="There is no network"):
        load(tmp_path / "nothing.keras")


def test_nothing_is_written_without_a_whole_card_or_of_values_too_large_for_half(network, tmp_path):
    for name in CARD:
        with pytest.raises(ValueError, match=f"one without {name}"):
            save(network, tmp_path / "small.keras", {key: CARD[key] for key in CARD if key != name})
    model = keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Dense(7, name="wide")])
    model.set_weights([model.get_weights()[0], np.full(7, -7e4)])
    with pytest.raises(ValueError, match=r"vars/1: Expected values that float16 can hold\. Received: up to 70000"):
        save(model, tmp_path / "small.keras", CARD)
    assert list(tmp_path.iterdir()) == []


def test_every_shipped_network_is_whole_and_small():
    for name in weights.shipped():
        assert load(name).card["name"] == name
        assert (weights.folder() / f"{name}.keras").stat().st_size <= 15e6


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
