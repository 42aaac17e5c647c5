"""Labels that were flipped on purpose are found by networks that have not seen them; FER+'s votes judge the errors."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import Input, Sequential, layers

from fer_keras import paths
from fer_keras.__main__ import main
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation import label_errors as errors
from fer_keras.labels import FERPLUS_TO_CLASS, FERPLUS_VOTES
from fer_keras.models import MODELS
from fer_keras.recipes import RECIPES, Recipe
from fer_keras.results import (
    find_table,
    label_error_groups,
    label_error_table,
    read_table,
    write_table,
)
from fer_keras.training import label_errors as finding
from fer_keras.training import load_network, trainer

pytest.importorskip("cleanlab")
CLASSES = ("happy", "surprise", "neutral")
COLUMN = {name: FERPLUS_VOTES.index(vote) for vote, name in FERPLUS_TO_CLASS.items()}
TINY = Recipe(
    name="tiny",
    system="F",
    title="Tiny",
    model="tiny",
    data="own",
    class_names=CLASSES,
    protocol="own",
    epochs=10,
    flip=True,
)


def tiny(num_classes, *, input_shape, weights=None):
    """Build the smallest network that learns drawn faces in seconds."""
    network = Sequential([Input(input_shape), layers.Rescaling(1 / 127.5, offset=-1)])
    for filters in (16, 32, 64):
        network.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        network.add(layers.BatchNormalization(momentum=0.9))
        network.add(layers.MaxPooling2D())
    network.add(layers.Flatten())
    network.add(layers.Dense(num_classes, activation="softmax"))
    return network


@pytest.fixture(scope="module")
def flipped():
    """Return drawn faces, every fifth training label another one, and the true labels, which FER+'s voters know.

    Some pictures are there twice; some have no emotion that voters name.
    """
    faces = drawn_faces(250, classes=CLASSES, seed=1, size=32)
    faces = faces.take(np.r_[np.arange(len(faces)), np.flatnonzero(faces.split == "train")[:20]])
    generator, truth = np.random.default_rng(0), faces.labels
    train = np.flatnonzero(faces.split == "train")
    chosen = generator.choice(train, len(train) // 5, replace=False)
    labels = truth.copy()
    labels[chosen] = (labels[chosen] + generator.integers(1, len(CLASSES), len(chosen))) % len(CLASSES)
    votes = np.zeros((len(faces), len(FERPLUS_VOTES)), np.float32)
    votes[np.arange(len(faces)), np.array([COLUMN[name] for name in CLASSES])[truth]] = 9
    votes[:, FERPLUS_VOTES.index("unknown")] = 1
    votes[train[::40]] = 0
    votes[train[::40], FERPLUS_VOTES.index("NF")] = 10
    return dataclasses.replace(faces, labels=labels, votes=votes, rows=np.arange(len(faces))), truth


@pytest.fixture(scope="module")
def found(flipped, tmp_path_factory):
    """Find the label errors once; return the table, the rows, the faces that each network was trained on, the runs."""
    trained, fit = [], finding.fit

    def watched(recipe, *arguments, faces, **options):
        run = fit(recipe, *arguments, faces=faces, **options)
        trained.append((faces, run))
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_KERAS_BUILD", str(tmp_path_factory.mktemp("build")))
        patch.setitem(MODELS, "tiny", tiny)
        patch.setattr(finding, "fit", watched)
        table, rows = finding.find_label_errors(TINY, faces=flipped[0], folds=2, verbose=0)
        yield table, rows, trained


def recorded_predictions():
    return read_table(finding.PREDICTIONS, folder=paths.build() / "results")


def test_flipped_labels_are_found(found, flipped):
    from sklearn.metrics import roc_auc_score

    table, rows, _ = found
    faces, truth = flipped
    wrong, train = faces.labels != truth, faces.split == "train"
    share, hits = wrong[train].mean(), wrong[rows.index]
    assert 0.19 < share < 0.21
    assert hits.mean() > 1.5 * share  # measured over seeds: 0.37 to 0.46
    assert hits.sum() > 0.5 * wrong.sum()  # 0.62 to 0.83
    arrays = recorded_predictions()
    believed = arrays["probabilities"][np.arange(len(arrays["labels"])), arrays["labels"]].astype(float)
    assert roc_auc_score(wrong[arrays["rows"]], -believed) > 0.7  # 0.77 to 0.80
    likely = np.array([CLASSES.index(name) for name in rows["likely"]])
    assert (likely == truth[rows.index])[hits].mean() > 0.6
    assert (likely != faces.labels[rows.index]).all()
    assert rows["quality"].is_monotonic_increasing
    assert share < table["noise"] < 1


def test_every_training_image_is_judged_once_by_a_network_that_has_not_seen_it(found, flipped):
    _, _, trained = found
    faces, arrays = flipped[0], recorded_predictions()
    train = faces.select(splits=("train",))
    np.testing.assert_array_equal(arrays["rows"], train.rows)
    np.testing.assert_array_equal(arrays["labels"], train.labels)
    assert set(arrays["fold"]) == {0, 1}
    assert len(trained) == 2
    elsewhere = faces.select(splits=("validation", "test")).digests
    for number, (seen, run) in enumerate(trained):
        held_out = arrays["fold"] == number
        assert not set(seen.digests) & set(train.digests[held_out])
        assert not set(seen.digests) & set(elsewhere)
        assert set(seen.rows) == set(train.rows[~held_out])
        assert set(seen.split) == {"train", "validation"}
        assert set(run.metrics) == {"train", "validation"}
        network = load_network(run)
        images = train.images[held_out][:20].astype(np.float32)
        both = (network.predict(images, verbose=0) + network.predict(images[:, :, ::-1], verbose=0)) / 2
        np.testing.assert_allclose(arrays["probabilities"][held_out][:20], both, atol=2e-3)


def test_asked_again_nothing_is_trained(found, flipped, monkeypatch):
    table, rows, _ = found
    monkeypatch.setattr(trainer, "train", None)  # would fail if it was called
    again, same = finding.find_label_errors(TINY, faces=flipped[0], folds=2, verbose=0)
    assert again == table
    pd.testing.assert_frame_equal(rows, same)


def test_votes_of_ferplus_are_compared_with_the_likely_errors(found, flipped):
    table, rows, _ = found
    faces, truth = flipped
    arrays = recorded_predictions()
    flagged, judged = np.isin(arrays["rows"], rows.index), faces.votes[arrays["rows"], FERPLUS_VOTES.index("NF")] == 0
    wrong = (faces.labels != truth)[arrays["rows"]]
    crowd = table["crowd"]
    for name, mask in (("all", judged), ("flagged", judged & flagged), ("unflagged", judged & ~flagged)):
        assert crowd[name]["judged"] == mask.sum()
        assert crowd[name]["disputed"] == (mask & wrong).sum()
        assert crowd[name]["disputed_share"] == pytest.approx(wrong[mask].mean(), abs=1e-6)
        assert crowd[name]["unsupported_share"] == crowd[name]["disputed_share"]
    assert crowd["non_faces"] == {"images": (~judged).sum(), "flagged": (~judged & flagged).sum()}
    assert crowd["flagged"]["disputed_share_low"] > crowd["unflagged"]["disputed_share_high"]
    parts = [one["disputed"] for one in crowd["per_class"].values()]
    assert sum(parts) == crowd["flagged"]["disputed"]
    assert sum(map(sum, table["flagged"])) == len(rows) == sum(one["flagged"] for one in table["per_class"].values())
    points = crowd["in_order"]
    assert points[-1]["images"] == judged.sum()
    assert points[-1]["disputed_share"] == crowd["all"]["disputed_share"]
    assert points[0]["disputed_share"] > 1.5 * points[-1]["disputed_share"]


def test_what_is_recorded_can_be_left_out(found, flipped):
    faces, _ = flipped
    rows = read_table(finding.ROWS, folder=paths.build() / "results")
    kept = faces.take(~np.isin(faces.rows, rows.index))
    assert len(kept) == len(faces) - len(rows)
    assert (kept.split == "train").sum() == (faces.split == "train").sum() - len(rows)


def test_the_least_believed_faces_are_drawn_where_nobody_publishes(found, flipped):
    path = finding.gallery(flipped[0], found[1])
    assert path == paths.build() / "private" / "label-errors.png"
    assert path.is_file()


def test_what_was_found_is_tabulated(found, own_folders):
    table, rows, _ = found
    write_table(finding.TABLE, table)
    by_class, groups = label_error_table().set_index("label"), label_error_groups().set_index("group")
    assert by_class.index.tolist() == list(CLASSES)
    assert by_class["flagged"].sum() == groups.loc["flagged", "images"] == len(rows)
    assert groups.loc["all", "images"] == table["num_images"]
    assert groups["disputed_of_judged"].to_dict() == {
        name: table["crowd"][name]["disputed_share"] for name in ("all", "flagged", "unflagged")
    }
    assert table["crowd"]["in_order"][-1]["disputed_share"] == table["crowd"]["all"]["disputed_share"]


def test_folds_are_stratified_and_keep_duplicates_together():
    faces = drawn_faces(14, seed=2, size=16)
    repeated = faces.take(np.r_[np.arange(len(faces)), np.repeat(np.arange(30), 3)])
    repeated = dataclasses.replace(repeated, rows=np.arange(len(repeated)))
    fold = finding.assign_folds(repeated, 3, seed=0)
    assert pd.Series(fold).groupby(repeated.digests).nunique().max() == 1
    counts = pd.crosstab(fold[: len(faces)], faces.labels)
    assert counts.shape == (3, 7)
    assert counts.min(axis=None) >= 4
    assert (finding.assign_folds(repeated, 3, seed=0) == fold).all()
    assert (finding.assign_folds(repeated, 3, seed=1) != fold).any()
    for number in (1, 15):
        with pytest.raises(ValueError, match=rf"2 at least, and 14 at most.*Received: {number}\."):
            finding.assign_folds(repeated, number, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_recipe": "fer-small"}, "which has start recipe"),
        ({"teachers": (("fer-base", "0", 0),)}, "which has teachers"),
        ({"model": "ensemble", "members": (("fer-base", "0"),), "rule": "mean"}, "which has members"),
        ({"targets": "votes"}, "learns from the votes"),
        ({"data": "ferplus8"}, "learns from the votes"),
    ],
    ids=["start", "teachers", "members", "votes", "ferplus"],
)
def test_what_may_know_a_fold_from_elsewhere_is_refused(changes, message):
    recipe = dataclasses.replace(RECIPES[finding.RECIPE], **changes)
    with pytest.raises(ValueError, match=message):
        finding.out_of_fold(recipe, faces=drawn_faces(3, size=16))


def test_without_cleanlab_nothing_is_trained(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(finding, "out_of_fold", None)
    monkeypatch.setattr("fer_keras.training.data.load_recipe_data", lambda recipe, path: drawn_faces(3, size=16))
    assert main(["label-errors"]) == 2
    assert "pip install 'fer_keras[labels]'" in capsys.readouterr().err


def test_votes_that_name_no_emotion_judge_nothing(flipped):
    faces = flipped[0].select(splits=("train",))
    votes = np.zeros_like(faces.votes)
    votes[:, FERPLUS_VOTES.index("unknown")] = 10
    found = errors.LabelErrors(np.zeros(len(faces), bool), faces.labels, np.ones(len(faces)), np.eye(3) / 3)
    assert finding.crowd_table(dataclasses.replace(faces, votes=votes), found) is None
    assert finding.crowd_table(dataclasses.replace(faces, votes=None), found) is None


def test_labels_that_are_all_believed_are_tabulated_too(found, own_folders):
    none = {"flagged": 0, "images": 9, "named": 9, "said": 9, "noise": 0.0}
    crowd = found[0]["crowd"] | {"flagged": errors.against_crowd([], [], [], [])}
    changes = {"flagged": [[0] * 3] * 3, "per_class": dict.fromkeys(CLASSES, none), "crowd": crowd}
    write_table(finding.TABLE, found[0] | changes)
    assert label_error_table()["likely"].isna().all()
    assert (
        label_error_groups()
        .set_index("group")
        .loc["flagged", ["disputed_of_judged", "disputed_of_images"]]
        .isna()
        .all()
    )


def noisy(total=3000, *, num_classes=4, share=0.15, seed=0):
    """Return labels with errors, well-meant probabilities of the true ones, and which labels are wrong."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, num_classes, total)
    scores = generator.normal(size=(total, num_classes))
    scores[np.arange(total), truth] += 3
    wrong = generator.random(total) < share
    labels = np.where(wrong, (truth + generator.integers(1, num_classes, total)) % num_classes, truth)
    return labels, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), wrong


def test_the_share_of_wrong_labels_is_estimated():
    labels, probabilities, wrong = noisy()
    found = errors.label_errors(labels, probabilities, "abcd")
    assert wrong[found.flagged].mean() > 0.8
    assert found.noise == pytest.approx(wrong.mean(), abs=0.05)
    np.testing.assert_allclose(found.joint.sum(axis=1), np.bincount(labels) / len(labels), atol=2e-3)
    summary = errors.by_class(found, labels, "abcd")
    assert sum(map(sum, summary["flagged"])) == found.flagged.sum()
    assert all(summary["flagged"][i][i] == 0 for i in range(4))
    counts = [(one["images"], one["named"], one["said"]) for one in summary["per_class"].values()]
    assert np.sum(counts, axis=0).tolist() == [len(labels), (found.likely == labels).sum(), len(labels)]
    weighted = sum(one["noise"] * one["images"] for one in summary["per_class"].values()) / len(labels)
    assert weighted == pytest.approx(summary["noise"], abs=2e-3)
    clean = errors.label_errors(*noisy(share=0)[:2], "abcd")
    assert clean.noise < 0.5 * found.noise


@given(
    st.lists(
        st.tuples(*[st.sampled_from(CLASSES)] * 2, st.sampled_from(("happy", "neutral", "contempt", ""))), min_size=1
    )
)
def test_every_judged_image_counts_once(rows):
    labels, predicted, crowd = zip(*rows, strict=True)
    counts = errors.label_crowd_agreement(labels, predicted, crowd)
    assert counts["agreed"] + counts["disputed"] == sum(name != "" for name in crowd)
    assert counts["with_label"] + counts["with_crowd"] + counts["with_neither"] == counts["disputed"]
    assert counts["right"] <= counts["agreed"]
    assert counts["with_crowd"] == sum(guess == most != label for label, guess, most in rows)


def test_a_class_without_images_is_refused():
    labels, probabilities, _ = noisy()
    with pytest.raises(ValueError, match=r"none of 'd'"):
        errors.label_errors(np.minimum(labels, 2), probabilities, "abcd")


def test_an_order_is_as_good_as_what_stands_first():
    disputed = np.arange(1000) < 200
    points = errors.in_order(np.arange(1000.0), disputed)
    assert {point["disputed_share"] for point in points if point["images"] <= 200} == {1.0}
    assert points[-1] == {"images": 1000, **errors.share_of(disputed, "disputed_share")}


def test_what_is_recorded_is_what_the_recorded_predictions_say():
    arrays, table = find_table(finding.PREDICTIONS), find_table(finding.TABLE)
    if table is None:
        pytest.skip("no label errors are recorded yet")
    found = errors.label_errors(arrays["labels"], arrays["probabilities"], table["classes"])
    rows = read_table(finding.ROWS)
    ours, recorded = set(arrays["rows"][found.flagged]), set(rows.index)
    assert len(ours ^ recorded) <= few(recorded)
    summary = errors.by_class(found, arrays["labels"].astype(int), table["classes"])["per_class"]
    assert summary.keys() == table["per_class"].keys()
    for name, values in summary.items():
        assert values == pytest.approx(table["per_class"][name], abs=few(recorded)), name
        assert values["noise"] == pytest.approx(table["per_class"][name]["noise"], abs=1e-3), name


def few(rows):
    """Return how many of some images may fall on the other side of a threshold by rounding: one in a thousand."""
    return 1 + len(rows) // 1000


def test_the_recorded_comparison_with_the_voters_is_theirs(fer2013_path):
    from fer_keras.data import load_fer7

    arrays, table = find_table(finding.PREDICTIONS), find_table(finding.TABLE)
    faces = load_fer7(fer2013_path).select(splits=("train",))
    if table is None or faces.votes is None:
        pytest.skip("no label errors are recorded yet, or FER+'s votes are not at hand")
    assert (arrays["rows"] == faces.rows).all()
    found = errors.label_errors(faces.labels, arrays["probabilities"], faces.classes)
    recorded = found._replace(flagged=np.isin(faces.rows, read_table(finding.ROWS).index))
    assert finding.crowd_table(faces, recorded) == table["crowd"]
    assert (recorded.flagged ^ found.flagged).sum() <= few(np.flatnonzero(recorded.flagged))
