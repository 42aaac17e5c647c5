"""What a network learned on other classes is taken up without its head."""

import dataclasses

import keras
import numpy as np
import pytest

from fer_keras import recipes
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4, FER7
from fer_keras.models import build
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, load_network, trainer
from fer_keras.training.transplant import body, give_body


@pytest.mark.parametrize("name", ["capstone-model-1", "fer-small", "vgg16"])
def test_all_but_the_head_is_given(name):
    keras.utils.set_random_seed(0)
    ours, theirs = build(name, 4, weights=None), build(name, 7, weights=None)
    head = ours.layers[-1].get_weights()
    give_body(ours, theirs)
    for layer, other in zip(body(ours), body(theirs), strict=True):
        for value, given in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(value, given)
    for value, before in zip(ours.layers[-1].get_weights(), head, strict=True):
        np.testing.assert_array_equal(value, before)
    assert ours.output_shape == (None, 4)


def test_networks_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="the same body"):
        give_body(build("capstone-model-1", 4), build("capstone-model-2", 7))


def test_a_recipe_starts_from_one_of_other_classes(own_folders, monkeypatch):
    seven = dataclasses.replace(RECIPES["capstone-model-1"], name="seven", data="fer7", epochs=1, final=False)
    four = dataclasses.replace(seven, name="four", data="fer4", start_recipe="seven", learning_rate=1e-30)
    monkeypatch.setitem(recipes.RECIPES, "seven", seven)
    drawn = {"fer7": drawn_faces(12, classes=FER7, seed=1), "fer4": drawn_faces(12, classes=FER4, seed=1)}
    monkeypatch.setattr(trainer, "load", lambda recipe, path=None: drawn[recipe.data])
    monkeypatch.setenv("FER_KERAS_DATA", "drawn")
    run = fit(four, results=own_folders / "results", verbose=0)
    started = fit(seven, results=own_folders / "results", verbose=0)
    assert run.classes == FER4
    for layer, other in zip(body(load_network(run)), body(load_network(started)), strict=True):
        for value, given in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(value, given)


def test_a_share_of_the_training_images_is_taken_once(own_folders, monkeypatch):
    whole = dataclasses.replace(RECIPES["capstone-model-1"], epochs=1, final=False, train_fraction=0.5)
    start, end = (dataclasses.replace(whole, name=name) for name in ("start", "end"))
    end = dataclasses.replace(end, start_recipe="start")
    monkeypatch.setitem(recipes.RECIPES, "start", start)
    faces = drawn_faces(20, classes=FER4, seed=1)
    run = fit(end, faces=faces, verbose=0)
    num_images = (faces.split == "train").sum()
    assert run.data["num_images"]["train"] == num_images // 2
    assert fit(start, faces=faces, verbose=0).data == run.data


@pytest.mark.parametrize("model", ["fer-small", "capstone-model-2"])
def test_a_frozen_body_keeps_its_values_and_the_head_learns(own_folders, monkeypatch, model):
    start = dataclasses.replace(RECIPES["fer-small@four"], name="start", model=model, epochs=1)
    frozen = dataclasses.replace(start, name="frozen", start_recipe="start", frozen_body=True)
    monkeypatch.setitem(recipes.RECIPES, "start", start)
    faces = drawn_faces(12, classes=FER4, seed=1)
    before, after = load_network(fit(start, faces=faces, verbose=0)), load_network(fit(frozen, faces=faces, verbose=0))
    for layer, other in zip(body(after), body(before), strict=True):
        for value, given in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(value, given)
    assert not np.array_equal(after.layers[-1].get_weights()[0], before.layers[-1].get_weights()[0])
