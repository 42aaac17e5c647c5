"""Metrics, rankings, intervals, calibration, corruptions against scikit-learn, textbook values and counting by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import Comparison, compare, summarise, wilson
from fer_keras.evaluation.calibration import calibration_error, fit_temperature, reliability, softmax, with_temperature
from fer_keras.evaluation.intervals import mean_with_interval
from fer_keras.evaluation.metrics import average_precisions, bootstrap_macro_f1, compare_precision, one_vs_rest
from fer_keras.evaluation.robustness import CENTRES, CORRUPTIONS, corrupt, robustness
from fer_keras.labels import FER7

FACES = make_faces(6, seed=4).images
PROBABILITIES = softmax(2 * np.random.default_rng(0).normal(size=(20_000, 7)))
# Labels drawn from probabilities: calibrated by construction.
DRAWN = (PROBABILITIES.cumsum(axis=1) < np.random.default_rng(1).random((20_000, 1))).sum(axis=1).clip(0, 6)


def guesses(seed=0, total=500, skill=1.5):
    generator = np.random.default_rng(seed)
    labels = generator.choice(7, total, p=np.arange(1, 8) / 28)
    return labels, softmax(generator.normal(size=(total, 7)) + skill * np.eye(7)[labels])


def test_agrees_with_scikit_learn_and_is_plain_json_that_repeats():
    labels, probabilities = guesses()
    scores = summarise(labels, probabilities, FER7, split="validation")
    predicted, order = probabilities.argmax(axis=1), range(7)
    columns = reference.precision_recall_fscore_support(labels, predicted, labels=order)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted), abs=1e-6)
    assert scores["macro_f1"] == pytest.approx(columns[2].mean(), abs=1e-6)
    assert scores["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities), abs=1e-6)
    assert scores["confusion"] == reference.confusion_matrix(labels, predicted, labels=order).tolist()
    for name, *values in zip(FER7, *columns, strict=True):
        expected = dict(zip(("precision", "recall", "f1", "support"), values, strict=True))
        assert scores["per_class"][name] == pytest.approx(expected, abs=1e-6)
    for name in ("accuracy", "macro_f1"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    small = labels.astype(np.int8), probabilities.astype(np.float16)
    rounded = summarise(*small, FER7, split="test", views="flip")
    assert json.loads(json.dumps(rounded)) == rounded == summarise(*small, FER7, split="test", views="flip")
    assert (rounded["views"], rounded["num_images"]) == ("flip", 500)


def test_a_class_never_predicted_or_never_met_scores_zero_without_a_warning():
    probabilities = np.tile([0.7, 0.2, 0.1], (4, 1))
    scores = summarise([0, 0, 1, 1], probabilities, ("sad", "happy", "neutral"), split="test")
    for name, support in (("happy", 2), ("neutral", 0)):
        assert scores["per_class"][name] == {"precision": 0, "recall": 0, "f1": 0, "support": support}
    assert scores["macro_f1"] == pytest.approx(2 / 9, abs=1e-6)


def test_wilson_gives_the_published_intervals_and_refuses_impossible_counts():
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}  # Newcombe (1998), table I, method 3
    for counts, expected in (published | {(0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}).items():
        assert wilson(*counts) == pytest.approx(expected, abs=5e-5)
    for counts in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=r"Received: -?\d of \d"):
            wilson(*counts)


def test_bootstraps_agree_with_resampling_one_by_one_and_with_theory():
    labels, probabilities = guesses(total=300)
    predicted, drawn = probabilities.argmax(axis=1), np.random.default_rng(3).integers(0, 300, (200, 300))
    f1 = [reference.f1_score(labels[each], predicted[each], average="macro", labels=range(7)) for each in drawn]
    found = bootstrap_macro_f1(reference.confusion_matrix(labels, predicted))
    assert found == pytest.approx(np.quantile(f1, (0.025, 0.975)), abs=0.025)
    scores = mean_with_interval(np.random.default_rng(1).normal(0.3, 1, 900))
    assert scores["low"] < scores["mean"] < scores["high"]
    assert scores["high"] - scores["low"] == pytest.approx(2 * 1.96 / 30, rel=0.15)


def test_the_score_without_copies_counts_the_others_only():
    labels, probabilities = guesses(total=200)
    right, copies = probabilities.argmax(axis=1) == labels, np.arange(200) < 30
    scores = summarise(labels, probabilities, FER7, split="test", copies=copies)
    found = [scores[f"accuracy_without_copies{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx([right[30:].mean(), *wilson(int(right[30:].sum()), 170)], abs=1e-6)
    assert (scores["num_copies"], scores["accuracy"]) == (30, pytest.approx(right.mean(), abs=1e-6))
    every = summarise(labels, probabilities, FER7, split="test", copies=np.ones(200, bool))
    assert (every["num_copies"], every["accuracy_without_copies"]) == (200, None)


def test_bad_input_is_named():
    for labels, probabilities, message in (
        ([], np.zeros((0, 2)), "one at least"),
        ([0, 1], [[0.5, 0.5]], "a row for each"),
        ([0], [[0.2, 0.3, 0.5]], "a column for each class"),
        ([2], [[0.5, 0.5]], r"integers in 0\.\.1.*labels of int64, \[2\]"),
        ([[0, 1], [1, 0]], [[0.5, 0.5]] * 2, r"integers in 0\.\.1.*shapes \(2, 2\) and \(2, 2\)"),
        ([-1], [[0.5, 0.5]], r"integers in 0\.\.1"),
        ([0.0], [[0.5, 0.5]], "integers.*labels of float64"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "row 1.*diverge"),
        ([0], [[0.0, 0.0]], "not all 0"),
        ([0], [[-0.5, 1.5]], "0 or more"),
    ):
        for function, options in ((summarise, {"split": "test"}), (one_vs_rest, {})):
            with pytest.raises(ValueError, match=message):
                function(labels, probabilities, ("sad", "happy"), **options)
    for call, message in (
        (
            lambda: summarise([0], [[1, 0]], ["a", "b"], split="test", copies=[True, False]),
            r"each of the 1 labels.*\(2,\)",
        ),
        (lambda: summarise([0, 1], np.eye(2), ("a", "a"), split="test"), "different names"),
        (lambda: compare([0, 1], np.eye(2), np.ones((3, 2))), r"the same images and classes.*\(2, 2\) and \(3, 2\)"),
        (lambda: compare([0, 1], np.eye(2), np.eye(3)[:2]), r"the same images and classes.*\(2, 2\) and \(2, 3\)"),
        (lambda: compare([0, 1], [0, 1], [1, 1]), "`labels` must be integers"),
        (lambda: compare(np.eye(2, dtype=int), np.eye(2), np.eye(2)), "`labels` must be integers"),
        (lambda: compare([0, 1], np.eye(2), [[np.nan, 1], [0, 1]]), "finite values"),
        (lambda: compare_precision([False, False], [1, 2], [2, 1]), "an image of the class"),
        (lambda: compare_precision([True, False], [np.nan, 2], [2, 1]), "two finite scores"),
        (lambda: compare_precision([True, False], [1], [2, 1]), "two finite scores"),
        *(
            (lambda bins=bins: calibration_error([0], [[0.9, 0.1]], bins=bins), "`bins`.*least 1")
            for bins in (0, -1, 1.5)
        ),
        (lambda: mean_with_interval([]), "one value at least"),
        (lambda: fit_temperature([0], [[np.nan, 1]]), "finite values"),
        (lambda: with_temperature([[1, 0]], 0), r"`temperature` must be above 0\. Received: 0"),
        (lambda: corrupt(FACES, "rain", 1), r"no corruption 'rain'\. Expected one of: blur"),
        (lambda: corrupt(FACES, "resolution", 0), r"in \[1, 1000\] \(how many times smaller.* and 0\."),
        (lambda: corrupt(FACES, "darkness", 2), r"in \[0, 1\] \(share of the light.* and 2\."),
        (lambda: corrupt(FACES, "blur", np.nan), r"in \[0, 1000\].* and nan\."),
        (lambda: corrupt(FACES / 255, "blur", 1), "Expected uint8.*Received: float64"),
        (lambda: corrupt(FACES[..., 0], "blur", 1), r"Expected uint8 \(n, height, width, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_compare_finds_a_difference_only_where_there_is_one():
    labels, weak = guesses(seed=1, total=2000, skill=0.5)
    result, none = compare(labels, weak, guesses(seed=1, total=2000, skill=2.5)[1]), compare(labels, weak, weak)
    assert 0 < result.low < result.difference < result.high
    assert (none.no_difference, result.no_difference) == (True, False)
    assert str(none).startswith("no difference")
    # By hand: ten gained and four lost, each with one more, of 100 and two more.
    first, second = np.tile([1.0, 0.0], (100, 1)), np.tile([1.0, 0.0], (100, 1))
    first[:10], second[10:14] = [0.0, 1.0], [0.0, 1.0]
    result, gain, loss = compare(np.zeros(100, int), first, second), 11 / 102, 5 / 102
    half = 1.96 * np.sqrt((gain + loss - (gain - loss) ** 2) / 102)
    expected = 0.06, 6 / 102 - half, 6 / 102 + half
    assert (result.difference, result.low, result.high) == pytest.approx(expected, abs=1e-4)


def test_what_accuracy_is_worth_on_a_rare_class():
    labels = np.array([0] * 98 + [1] * 2)
    never = one_vs_rest(labels, np.tile([0.99, 0.01], (100, 1)), ("rest", "disgust"))["disgust"]
    assert (never["accuracy"], never["majority"], never["share"]) == (0.98, 0.98, 0.02)
    assert (never["accuracy_low"], never["accuracy_high"]) == pytest.approx(wilson(98, 100), abs=1e-6)
    assert (never["balanced_accuracy"], never["roc_auc"], never["average_precision"]) == (0.5, 0.5, 0.02)
    scores = np.where(labels == 1, 0.4, 0.1)
    ranked = one_vs_rest(labels, np.stack([1 - scores, scores], axis=1), ("rest", "disgust"))["disgust"]
    assert (ranked["accuracy"], ranked["roc_auc"], ranked["average_precision"]) == (0.98, 1, 1)
    assert set(one_vs_rest(labels, np.eye(3)[labels], ("a", "b", "c"))) == {"a", "b"}, "a class without images"


def test_average_precision_is_scikit_learns_with_ties_and_weights_and_rankings_are_compared_as_a_pair():
    generator = np.random.default_rng(0)
    truth, scores = generator.random(200) < 0.2, generator.integers(0, 12, 200) / 12
    times = np.stack([np.ones(200, int), generator.integers(0, 3, 200)])
    expected = [reference.average_precision_score(truth, scores, sample_weight=weights) for weights in times]
    np.testing.assert_allclose(average_precisions(truth, scores, times), expected)
    truth, noise = generator.random(400) < 0.3, generator.normal(size=400)
    better = compare_precision(truth, noise, noise + 2 * truth)
    low, high = (reference.average_precision_score(truth, scores) for scores in (noise, noise + 2 * truth))
    assert better.difference == pytest.approx(high - low)
    assert better.low > 0 > compare_precision(truth, noise + 2 * truth, noise).high
    assert compare_precision(truth, noise, 3 * noise) == Comparison(0, 0, 0)
    assert compare_precision(truth, noise, generator.normal(size=400)).no_difference


def test_a_temperature_is_found_again_and_changes_no_answer():
    for temperature in (0.4, 1, 3):
        changed = with_temperature(PROBABILITIES, temperature)
        found = fit_temperature(DRAWN, changed)
        assert found == pytest.approx(1 / temperature, rel=0.05)
        calibrated = with_temperature(changed, found)
        assert calibration_error(DRAWN, calibrated) < 0.012
        np.testing.assert_array_equal(calibrated.argmax(axis=1), PROBABILITIES.argmax(axis=1))


def test_the_error_is_the_gap_between_confidence_and_accuracy_and_bins_hold_every_image_once():
    labels, probabilities = [0] * 6 + [1] * 4, [[0.9, 0.1]] * 10
    (row,) = reliability(labels, probabilities)
    assert (row["num_images"], row["accuracy"], round(row["confidence"], 9)) == (10, 0.6, 0.9)
    assert (row["accuracy_low"], row["accuracy_high"]) == wilson(6, 10)
    assert calibration_error(labels, probabilities) == pytest.approx(0.3)
    assert calibration_error([0, 1], [[0.95, 0.05], [0.45, 0.55]]) == pytest.approx((0.05 + 0.45) / 2)
    assert [row["num_images"] for row in reliability(DRAWN, np.eye(7)[DRAWN])] == [20_000], "also the surest"
    assert sum(row["num_images"] for row in reliability(DRAWN, PROBABILITIES, bins=4)) == 20_000
    # Sure and wrong is flattened as far as allowed, right and unsure sharpened.
    assert fit_temperature([0, 1], [[0, 1], [1, 0]]) == pytest.approx(20, rel=1e-3)
    assert fit_temperature([0, 1], [[0.6, 0.4], [0.4, 0.6]]) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_first_level_changes_nothing_and_each_further_one_more(kind):
    before, levels = FACES.astype(float), CORRUPTIONS[kind][1]
    worse = [corrupt(FACES, kind, level) for level in (*levels, levels[-1])]
    losses = [np.abs(each - before).mean() for each in worse]
    assert losses[0] == 0 < losses[1]
    assert losses == sorted(losses)
    assert (worse[-1].shape, worse[-1].dtype) == (before.shape, np.uint8)
    assert corrupt(FACES[:0], kind, levels[-1]).shape == (0, 48, 48, 1)
    np.testing.assert_array_equal(worse[-1], worse[-2])
    if kind in CENTRES:
        rows = np.flatnonzero((corrupt(FACES, kind, 0.2) != FACES).any(axis=(0, 2, 3)))
        assert rows.max() - rows.min() + 1 <= 11
        assert (rows.min() + rows.max()) / 2 == pytest.approx(48 * CENTRES[kind], abs=1.5)


def test_corruptions_have_their_size_and_accuracy_is_measured_at_every_level():
    point, places = np.zeros((1, 49, 49, 1), np.uint8), np.arange(49) - 24
    point[0, 24, 24] = 255
    spread = corrupt(point, "blur", 1)[0, :, :, 0].astype(float)
    assert (spread.sum(axis=0) * places**2).sum() / spread.sum() == pytest.approx(1, rel=0.1)
    noisy = corrupt(np.full((20, 48, 48, 1), 128, np.uint8), "noise", 16).astype(float)
    assert noisy.std() == pytest.approx(16, rel=0.02)
    checks = (np.indices((48, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)[None, :, :, None]
    assert np.ptp(corrupt(checks, "resolution", 2)) <= 1
    for image, turned in zip(FACES[:8], corrupt(FACES[:8], "rotation", 90), strict=True):
        assert any((turned == np.rot90(image, step)).all() for step in (1, 3))
    bright, labels = np.full((10, 8, 8, 1), 120, np.uint8), np.ones(10, int)
    rows = robustness(lambda images: np.eye(2)[1 * (images[:, 0, 0, 0] > 100)], bright, labels, kinds=("darkness",))
    expected = [(level, float(level == 0)) for level in CORRUPTIONS["darkness"][1]]
    assert [(row["level"], row["accuracy"]) for row in rows] == expected
    assert rows[0]["accuracy_low"] < 1 == rows[0]["accuracy_high"]
