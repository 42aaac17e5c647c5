"""Labels that were flipped on purpose are found by networks that have not seen them; FER+'s votes judge the errors."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from keras import Input, Sequential, layers

from fer_keras import paths
from fer_keras.__main__ import main
from fer_keras.data import load_fer7
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import label_errors as errors
from fer_keras.labels import FERPLUS_VOTES
from fer_keras.recipes import RECIPES, Recipe
from fer_keras.results import find_table, read_table
from fer_keras.training import label_errors as finding
from fer_keras.training import load_network, trainer

pytest.importorskip("cleanlab")
CLASSES = ("happy", "surprise", "neutral")
NO_FACE = np.arange(len(FERPLUS_VOTES)) == FERPLUS_VOTES.index("NF")
TINY = {"name": "tiny", "system": "F", "title": "Tiny", "model": "fer-small", "epochs": 10, "flip": True}
TINY = Recipe(**TINY, data="own", class_names=CLASSES, protocol="own")


def tiny(name, num_classes, *, input_shape, weights=None):
    """The smallest network that learns synthetic faces in seconds."""
    stack = [Input(input_shape), layers.Rescaling(1 / 127.5, offset=-1)]
    for filters in (16, 32, 64):
        stack.append(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        stack += [layers.BatchNormalization(momentum=0.9), layers.MaxPooling2D()]
    return Sequential([*stack, layers.Flatten(), layers.Dense(num_classes, activation="softmax")])


@pytest.fixture(scope="module")
def flipped():
    """Synthetic faces, every fifth training label another one, and the true labels, which FER+'s voters know."""
    faces = make_faces(250, classes=CLASSES, seed=1, size=32)
    faces = faces.take(np.r_[np.arange(len(faces)), np.flatnonzero(faces.split == "train")[:20]])
    generator, truth, labels = np.random.default_rng(0), faces.labels, faces.labels.copy()
    train = np.flatnonzero(faces.split == "train")
    chosen = generator.choice(train, len(train) // 5, replace=False)
    labels[chosen] = (labels[chosen] + generator.integers(1, len(CLASSES), len(chosen))) % len(CLASSES)
    columns = [FERPLUS_VOTES.index(name) for name in ("happiness", "surprise", "neutral")]
    votes = 9 * np.eye(len(FERPLUS_VOTES), dtype=np.float32)[columns][truth]
    votes[:, FERPLUS_VOTES.index("unknown")] = 1
    votes[train[::40]] = 10 * NO_FACE
    return dataclasses.replace(faces, labels=labels, votes=votes, rows=np.arange(len(faces))), truth


@pytest.fixture(scope="module")
def found(flipped, tmp_path_factory):
    """The table, the rows, the recorded predictions, and the faces that each network was trained on with its run."""
    trained, fit = [], finding.fit

    def watched(*given, faces, **options):
        trained.append((faces, fit(*given, faces=faces, **options)))
        return trained[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_KERAS_BUILD", str(tmp_path_factory.mktemp("build")))
        patch.setattr(trainer, "build", tiny)
        patch.setattr(finding, "fit", watched)
        table, rows = finding.find_label_errors(TINY, faces=flipped[0], folds=2, verbose=0)
        yield table, rows, read_table(finding.PREDICTIONS, folder=paths.build() / "results"), trained


def test_flipped_labels_are_found_and_asked_again_nothing_is_trained(found, flipped, monkeypatch):
    (table, rows, *_), (faces, truth) = found, flipped
    wrong, train = faces.labels != truth, faces.split == "train"
    share, hits = wrong[train].mean(), wrong[rows.index]
    assert hits.mean() > 1.5 * share  # measured over seeds: 0.37 to 0.46
    assert hits.sum() > 0.5 * wrong.sum()  # 0.62 to 0.83
    assert (rows["likely"] == np.array(CLASSES)[truth[rows.index]])[hits].mean() > 0.6
    assert (rows["likely"] != rows["given"]).all()
    assert share < table["noise"] < 1
    monkeypatch.setattr(trainer, "train", None)  # would fail if it was called
    again = finding.find_label_errors(TINY, faces=faces, folds=2, verbose=0)
    assert again[0] == table
    pd.testing.assert_frame_equal(again[1], rows)
    assert finding.gallery(faces, rows) == paths.build() / "private" / "label-errors.png", "where nobody publishes"


def test_every_training_image_is_judged_once_by_a_network_that_has_not_seen_it(found, flipped):
    arrays, trained, faces = *found[2:], flipped[0]
    train = faces.select(splits=("train",))
    np.testing.assert_array_equal(arrays["rows"], train.rows)
    elsewhere = faces.select(splits=("validation", "test")).digests
    for number, (seen, run) in enumerate(trained[:2]):
        held_out = arrays["fold"] == number
        assert not set(seen.digests) & {*train.digests[held_out], *elsewhere}
        assert set(seen.rows) == set(train.rows[~held_out])
        assert set(seen.split) == set(run.metrics) == {"train", "validation"}
        images, predict = train.images[held_out][:20].astype(np.float32), load_network(run).predict_on_batch
        both = (predict(images) + predict(images[:, :, ::-1])) / 2
        np.testing.assert_allclose(arrays["probabilities"][held_out][:20], both, atol=2e-3)


def test_votes_of_ferplus_are_compared_with_the_likely_errors(found, flipped):
    (table, rows, arrays, _), (faces, truth) = found, flipped
    crowd, at = table["crowd"], arrays["rows"]
    wrong, flagged, judged = (faces.labels != truth)[at], np.isin(at, rows.index), ~faces.votes[at][:, NO_FACE].any(1)
    for name, mask in (("all", judged), ("flagged", judged & flagged), ("unflagged", judged & ~flagged)):
        assert (crowd[name]["judged"], crowd[name]["disputed"]) == (mask.sum(), (mask & wrong).sum())
    assert crowd["non_faces"] == {"images": (~judged).sum(), "flagged": (~judged & flagged).sum()}
    assert crowd["flagged"]["disputed_share_low"] > crowd["unflagged"]["disputed_share_high"]
    assert sum(one["disputed"] for one in crowd["per_class"].values()) == crowd["flagged"]["disputed"]
    first, last = (crowd["in_order"][place]["disputed_share"] for place in (0, -1))
    assert first > 1.5 * last == 1.5 * crowd["all"]["disputed_share"]


def test_what_may_know_a_fold_from_elsewhere_and_numbers_that_cannot_be_judged_are_refused(monkeypatch, capsys):
    for changes, message in (
        ({"start_recipe": "fer-small"}, "which has start recipe"),
        ({"teachers": (("fer-base", "0", 0),)}, "which has teachers"),
        ({"model": "ensemble", "members": (("fer-base", "0"),), "rule": "mean"}, "which has members"),
        ({"data": "ferplus8"}, "learns from the votes"),
    ):
        with pytest.raises(ValueError, match=message):
            finding.out_of_fold(dataclasses.replace(RECIPES[finding.RECIPE], **changes), faces=make_faces(3, size=16))
    with pytest.raises(ValueError, match=r"2 at least, and 14 at most.*Received: 15\."):
        errors.assign_folds(np.arange(98) % 7, np.arange(98), 15, seed=0)
    with pytest.raises(ValueError, match=r"none of 'd'"):
        errors.label_errors(np.arange(12) % 3, np.full((12, 4), 0.25), tuple("abcd"))
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(finding, "out_of_fold", None)  # nothing is trained
    monkeypatch.setattr("fer_keras.training.data.load_recipe_data", lambda recipe, path: make_faces(3, size=16))
    assert main(["label-errors"]) == 2
    assert 'pip install "fer_keras[labels]"' in capsys.readouterr().err


def test_what_is_recorded_is_what_the_recorded_predictions_and_voters_say(request):
    arrays, table, rows = map(find_table, (finding.PREDICTIONS, finding.TABLE, finding.ROWS))
    found = errors.label_errors(arrays["labels"], arrays["probabilities"], table["classes"])
    few = 1 + len(rows) // 1000  # may fall on the other side of a threshold by rounding
    assert len(set(arrays["rows"][found.flagged]) ^ set(rows.index)) <= few
    summary = errors.by_class(found, arrays["labels"].astype(int), table["classes"])["per_class"]
    for name, values in table["per_class"].items():
        assert summary[name] == pytest.approx(values, abs=few), name
        assert summary[name]["noise"] == pytest.approx(values["noise"], abs=1e-3), name
    faces = load_fer7(request.getfixturevalue("fer2013_path")).select(splits=("train",))
    if faces.votes is not None:
        np.testing.assert_array_equal(arrays["rows"], faces.rows)
        given = found._replace(flagged=np.isin(faces.rows, rows.index))
        assert errors.crowd_table(given, faces.labels, faces.votes, faces.classes) == table["crowd"]
