"""Ensembles: rules checked by hand, and a recipe that trains its members and is recorded like any other."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from small_networks import small

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.results import Predictions, combine, read_runs
from fer_keras.training import fit, trainer

CLASSES = ("happy", "sad", "neutral")
LABELS = np.array([0, 1, 2, 0, 1, 2])


def member(classes, labels, probabilities, first_row=0):
    rows = np.arange(first_row, first_row + len(labels))
    found = Predictions(rows, np.array(labels), np.array(probabilities, float), np.zeros(len(rows), bool))
    about = {"run": "/".join(classes), "classes": classes, "metrics": {"validation": {}}}
    return SimpleNamespace(**about, predictions=lambda split: found)


def single(name, probabilities):
    positive = np.array(probabilities)
    return member(
        ("rest", name), (CLASSES.index(name) == LABELS).astype(int), np.stack([1 - positive, positive], axis=1)
    )


def combined(members, rule="mean"):
    """Labels and probabilities of made-up members together."""
    recipe = SimpleNamespace(name="ours", classes=CLASSES, rule=rule)
    return combine(recipe, members, seed=0)["validation"][1:3]


SINGLES = [
    single("happy", [0.6, 0.1, 0.2, 0.5, 0.2, 0.1]),
    single("sad", [0.2, 0.5, 0.2, 0.5, 0.6, 0.4]),
    single("neutral", [0.2, 0.4, 0.4, 0.0, 0.2, 0.5]),
]
GENERAL = member(CLASSES, LABELS, np.eye(3)[[0, 1, 2, 0, 1, 1]])


def test_single_networks_give_one_distribution_that_weighs_like_a_network_that_knows_all_classes():
    labels, probabilities = combined(SINGLES)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_allclose(probabilities[:2], [[0.6, 0.2, 0.2], [0.1, 0.5, 0.4]])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    _, probabilities = combined([*SINGLES, GENERAL])
    np.testing.assert_allclose(probabilities[5], np.mean([[0.1, 0.4, 0.5], [0, 1, 0]], axis=0))
    _, silent = combined([single(name, np.where(np.arange(6) == 2, 0, 1e-6)) for name in CLASSES])
    np.testing.assert_allclose(silent, 1 / 3)


def test_a_member_with_its_classes_in_another_order_is_read_by_name():
    labels, probabilities = combined([member(CLASSES[::-1], 2 - LABELS, np.eye(3)[2 - LABELS])])
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), LABELS)


@pytest.mark.parametrize("change", [{"first_row": 1}, {"labels": LABELS[::-1]}, {"classes": (*CLASSES[:2], "fear")}])
def test_members_of_other_images_or_labels_are_refused(change):
    other = member(**{"classes": CLASSES, "labels": LABELS, "probabilities": np.eye(3)[LABELS]} | change)
    with pytest.raises(ValueError, match="of the same images and agree on the labels"):
        combined([GENERAL, other])


def test_stacking_is_fitted_on_validation_and_scored_on_folds_it_has_not_seen():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    # Pure noise: whoever scores on what he was fitted to sees more in it than chance.
    _, found = combined([member(CLASSES, labels, generator.dirichlet(np.ones(3), 300)) for _ in range(20)], "stacking")
    assert (found.argmax(axis=1) == labels).mean() < 0.42
    # And it sees a member that names each class by another's name, which a mean cannot.
    _, found = combined([member(CLASSES, labels, 0.8 * np.eye(3)[(labels + 1) % 3] + 0.1)], "stacking")
    assert (found.argmax(axis=1) == labels).mean() > 0.99


def test_an_ensemble_trains_its_members_each_with_its_seed_and_is_recorded(own_folders, monkeypatch):
    monkeypatch.setattr(trainer, "build", small)
    changes = {"epochs": 1, "batch_size": 16, "data": "fer4", "final": False}
    members = {name: dataclasses.replace(RECIPES[name], **changes) for name in ("one-vs-rest-happy", "general")}
    for recipe in members.values():
        monkeypatch.setitem(RECIPES, recipe.name, recipe)
    seeds = (("one-vs-rest-happy",), ("general", 1), ("general", 2))
    pairs = tuple((name, members[name].digest, *seed) for name, *seed in seeds)
    ours = dataclasses.replace(RECIPES["ensemble-single-and-general"], data="fer4", members=pairs, final=False)
    faces = make_faces(20, classes=FER4, seed=1)
    run = fit(ours, faces=faces, verbose=0)
    recorded = {(each.recipe_name, each.seed): each for each in read_runs(run.folder)}
    assert recorded.pop((ours.name, 0)) == run
    assert sorted(recorded) == [("general", 1), ("general", 2), ("one-vs-rest-happy", 0)]
    assert run.num_parameters == sum(each.num_parameters for each in recorded.values())
    assert list(run.metrics) == ["validation"], "no member was scored on test"
    found = run.predictions("validation")
    np.testing.assert_array_equal(found.labels, faces["validation"][1])
    given = [each.predictions("validation").probabilities for name, each in recorded.items() if name[0] == "general"]
    expected = np.mean([np.eye(4)[np.full(len(found.rows), FER4.index("happy"))], *given], axis=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)
    assert fit(ours, faces=faces, verbose=0) == run
    another = (("general", "another"), *ours.members[1:])
    assert dataclasses.replace(ours, members=another).digest != ours.digest
