"""Ensembles: rules checked by hand, and a recipe that trains its members and is recorded like any other."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from fer_keras import recipes
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.results import Predictions, combine, find_run, read_runs
from fer_keras.training import fit

CLASSES = ("happy", "sad", "neutral")
ROWS = np.arange(6)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def member(classes, labels, probabilities, rows=ROWS):
    found = Predictions(rows, np.array(labels), np.array(probabilities, float), np.zeros(len(rows), bool))
    return SimpleNamespace(
        run="/".join(classes), classes=classes, metrics={"validation": {}}, predictions=lambda split: found
    )


def single(name, probabilities):
    positive = np.array(probabilities)
    labels = (CLASSES.index(name) == LABELS).astype(int)
    return member(("rest", name), labels, np.stack([1 - positive, positive], axis=1))


SINGLES = [
    single("happy", [0.6, 0.1, 0.2, 0.5, 0.2, 0.1]),
    single("sad", [0.2, 0.5, 0.2, 0.5, 0.6, 0.4]),
    single("neutral", [0.2, 0.4, 0.4, 0.0, 0.2, 0.5]),
]
GENERAL = member(CLASSES, LABELS, np.eye(3)[[0, 1, 2, 0, 1, 1]])


def ensemble(rule):
    return SimpleNamespace(name="ours", classes=CLASSES, rule=rule)


def test_single_networks_give_one_distribution_together():
    _, labels, probabilities, _ = combine(ensemble("mean"), SINGLES, seed=0)["validation"]
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_allclose(probabilities[:2], [[0.6, 0.2, 0.2], [0.1, 0.5, 0.4]])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_no_probability_from_any_single_network_is_still_a_distribution():
    silent = [single(name, np.where(np.arange(6) == 2, 0, 1e-6)) for name in CLASSES]
    probabilities = combine(ensemble("mean"), silent, seed=0)["validation"].probabilities
    np.testing.assert_allclose(probabilities, 1 / 3)


def test_the_mean_weighs_them_like_a_network_that_knows_all_classes():
    probabilities = combine(ensemble("mean"), [*SINGLES, GENERAL], seed=0)["validation"].probabilities
    np.testing.assert_allclose(probabilities[5], np.mean([[0.1, 0.4, 0.5], [0, 1, 0]], axis=0))


def test_a_member_with_its_classes_in_another_order_is_read_by_name():
    turned = member(CLASSES[::-1], 2 - LABELS, np.eye(3)[[2, 1, 0, 2, 1, 0]])
    _, labels, probabilities, _ = combine(ensemble("mean"), [turned], seed=0)["validation"]
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), LABELS)


def test_members_that_saw_other_images_or_labels_are_refused():
    other = member(CLASSES, LABELS, np.eye(3)[LABELS], rows=ROWS + 1)
    with pytest.raises(ValueError, match="of the same images"):
        combine(ensemble("mean"), [GENERAL, other], seed=0)
    relabelled = member(CLASSES, LABELS[::-1], np.eye(3)[LABELS])
    with pytest.raises(ValueError, match="agree on the labels"):
        combine(ensemble("mean"), [GENERAL, relabelled], seed=0)


def test_stacking_is_fitted_on_validation_and_scored_on_folds_it_has_not_seen():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    # Pure noise: whoever scores on what he was fitted to sees more in it than chance.
    noise = [member(CLASSES, labels, generator.dirichlet(np.ones(3), 300), rows=np.arange(300)) for _ in range(20)]
    probabilities = combine(ensemble("stacking"), noise, seed=0)["validation"].probabilities
    assert (probabilities.argmax(axis=1) == labels).mean() < 0.42
    # And it sees a member that names each class by another's name, which a mean cannot.
    shifted = member(CLASSES, labels, 0.8 * np.eye(3)[(labels + 1) % 3] + 0.1, rows=np.arange(300))
    probabilities = combine(ensemble("stacking"), [shifted], seed=0)["validation"].probabilities
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.99


def test_an_ensemble_trains_its_members_and_is_recorded(own_folders, monkeypatch):
    changes = {"epochs": 1, "batch_size": 16, "data": "fer4", "final": False}
    singles = [dataclasses.replace(RECIPES[f"one-vs-rest-{name}"], **changes) for name in FER4]
    members = [*singles, dataclasses.replace(RECIPES["general"], **changes)]
    pairs = tuple((recipe.name, recipe.digest) for recipe in members)
    ours = dataclasses.replace(RECIPES["ensemble-single-and-general"], data="fer4", members=pairs, final=False)
    for recipe in members:
        monkeypatch.setitem(recipes.RECIPES, recipe.name, recipe)
    faces = make_faces(20, classes=FER4, seed=1)
    run = fit(ours, faces=faces, verbose=0)
    recorded = {run.recipe_name: run for run in read_runs(run.folder)}
    assert set(recorded) == {recipe.name for recipe in members} | {"ensemble-single-and-general"}
    assert run.num_parameters == sum(recorded[recipe.name].num_parameters for recipe in members)
    assert list(run.metrics) == ["validation"], "no member was scored on test"
    np.testing.assert_array_equal(run.predictions("validation").labels, faces["validation"][1])
    assert fit(ours, faces=faces, verbose=0) == run


def test_an_ensemble_changes_with_its_members():
    recipe = RECIPES["stacking"]
    (name, _), *others = recipe.members
    assert dataclasses.replace(recipe, members=((name, "another"), *others)).digest != recipe.digest
    for name, digest in recipe.members:
        assert RECIPES[name].digest == digest


def test_an_ensemble_may_name_the_seeds_of_its_members(own_folders, monkeypatch):
    base = dataclasses.replace(RECIPES["general"], epochs=1, batch_size=32, data="fer4", final=False)
    monkeypatch.setitem(recipes.RECIPES, base.name, base)
    members = tuple((base.name, base.digest, seed) for seed in (1, 2))
    faces = make_faces(20, classes=FER4, seed=1)
    ours = dataclasses.replace(RECIPES["ensemble-single-and-general"], data="fer4", members=members, final=False)
    run = fit(ours, faces=faces, verbose=0)
    found = [find_run(base, seed, folder=run.folder) for seed in (1, 2)]
    probabilities = np.mean([each.predictions("validation").probabilities for each in found], axis=0)
    np.testing.assert_allclose(run.predictions("validation").probabilities, probabilities, atol=1e-3)
