"""Metrics, rankings and intervals against scikit-learn, textbook values and counting by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from fer_keras.evaluation import Comparison, compare, summarise, wilson
from fer_keras.evaluation.intervals import mean_with_interval
from fer_keras.evaluation.metrics import average_precisions, bootstrap_macro_f1, compare_precision, one_vs_rest
from fer_keras.labels import FER7, REST


def guesses(seed=0, total=500, classes=7, skill=1.5):
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, total, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    scores = generator.normal(size=(total, classes))
    scores[np.arange(total), labels] += skill
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return labels, probabilities


def test_agrees_with_scikit_learn_and_is_plain_json_that_repeats():
    labels, probabilities = guesses()
    scores = summarise(labels, probabilities, FER7, split="validation")
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = reference.precision_recall_fscore_support(labels, predicted, labels=range(7))
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted), abs=1e-6)
    assert scores["macro_f1"] == pytest.approx(f1.mean(), abs=1e-6)
    assert scores["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities), abs=1e-6)
    assert scores["confusion"] == reference.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    for index, name in enumerate(FER7):
        expected = {"precision": precision[index], "recall": recall[index], "f1": f1[index], "support": support[index]}
        assert scores["per_class"][name] == pytest.approx(expected, abs=1e-6)
    for name in ("accuracy", "macro_f1"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    small = labels.astype(np.int8), probabilities.astype(np.float16)
    rounded = summarise(*small, FER7, split="test", views="flip")
    assert json.loads(json.dumps(rounded)) == rounded == summarise(*small, FER7, split="test", views="flip")
    assert (rounded["views"], rounded["num_images"]) == ("flip", 500)
    assert rounded["log_loss"] == pytest.approx(scores["log_loss"], abs=0.001)


def test_a_class_never_predicted_or_never_met_scores_zero_without_a_warning():
    probabilities = np.tile([0.7, 0.2, 0.1], (4, 1))
    scores = summarise([0, 0, 1, 1], probabilities, ("sad", "happy", "neutral"), split="test")
    assert scores["per_class"]["happy"] == {"precision": 0, "recall": 0, "f1": 0, "support": 2}
    assert scores["per_class"]["neutral"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert scores["macro_f1"] == pytest.approx(2 / 9, abs=1e-6)


def test_wilson_gives_the_published_intervals_and_refuses_impossible_counts():
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}  # Newcombe (1998), table I, method 3
    for counts, expected in (published | {(0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}).items():
        assert wilson(*counts) == pytest.approx(expected, abs=5e-5)
    for counts in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match=r"Received: -?\d of \d"):
            wilson(*counts)


def test_bootstrap_agrees_with_resampling_images_one_by_one():
    labels, probabilities = guesses(total=300)
    predicted, drawn = probabilities.argmax(axis=1), np.random.default_rng(3).integers(0, 300, (1000, 300))
    true, found = (each[drawn][..., None] == np.arange(7) for each in (labels, predicted))
    f1 = 2 * (true & found).sum(axis=1) / (true.sum(axis=1) + found.sum(axis=1))
    one = reference.f1_score(labels[drawn[0]], predicted[drawn[0]], average="macro", labels=range(7))
    assert f1[0].mean() == pytest.approx(one)
    expected = np.quantile(f1.mean(axis=1), (0.025, 0.975))
    assert bootstrap_macro_f1(reference.confusion_matrix(labels, predicted)) == pytest.approx(expected, abs=0.012)


def test_the_score_without_copies_counts_the_others_only():
    labels, probabilities = guesses(total=200)
    right, copies = probabilities.argmax(axis=1) == labels, np.arange(200) < 30
    scores = summarise(labels, probabilities, FER7, split="test", copies=copies)
    assert scores["num_copies"] == 30
    found = [scores[f"accuracy_without_copies{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx([right[30:].mean(), *wilson(int(right[30:].sum()), 170)], abs=1e-6)
    assert scores["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    assert "num_copies" not in summarise(labels, probabilities, FER7, split="test")
    every = summarise(labels, probabilities, FER7, split="test", copies=np.ones(200, bool))
    assert (every["num_copies"], every["accuracy_without_copies"]) == (200, None)


def test_bad_input_is_named():
    for labels, probabilities, message in (
        ([], np.zeros((0, 2)), "one at least"),
        ([0, 1], [[0.5, 0.5]], "a row for each"),
        ([0], [[0.2, 0.3, 0.5]], "a column for each class"),
        ([2], [[0.5, 0.5]], r"integers in 0\.\.1.*labels of int64, \[2\]"),
        ([-1], [[0.5, 0.5]], r"integers in 0\.\.1"),
        ([0.0], [[0.5, 0.5]], "integers.*labels of float64"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "row 1.*diverge"),
        ([0], [[0.0, 0.0]], "not all 0"),
        ([0], [[-0.5, 1.5]], "0 or more"),
    ):
        for function, options in ((summarise, {"split": "test"}), (one_vs_rest, {})):
            with pytest.raises(ValueError, match=message):
                function(labels, probabilities, ("sad", "happy"), **options)
    with pytest.raises(ValueError, match=r"each of the 1 labels.*\(2,\)"):
        summarise([0], [[0.5, 0.5]], ("sad", "happy"), split="test", copies=[True, False])
    with pytest.raises(ValueError, match="2 labels, 2 and 3 predictions"):
        compare([0, 1], np.eye(2), np.ones((3, 2)))
    with pytest.raises(ValueError, match="one value at least"):
        mean_with_interval([])


def test_compare_finds_a_difference_only_where_there_is_one():
    labels, weak = guesses(seed=1, total=2000, skill=0.5)
    _, strong = guesses(seed=1, total=2000, skill=2.5)
    result, none = compare(labels, weak, strong), compare(labels, weak, weak)
    assert 0 < result.low < result.difference < result.high
    assert str(result).startswith("+")
    assert none.no_difference > result.no_difference
    assert str(none).startswith("no difference: +0.0 points")
    # By hand: ten gained and four lost, each with one more, of 100 and two more.
    first, second = np.tile([1.0, 0.0], (100, 1)), np.tile([1.0, 0.0], (100, 1))
    first[:10], second[10:14] = [0.0, 1.0], [0.0, 1.0]
    result, gain, loss = compare(np.zeros(100, int), first, second), 11 / 102, 5 / 102
    half = 1.96 * np.sqrt((gain + loss - (gain - loss) ** 2) / 102)
    expected = 0.06, 6 / 102 - half, 6 / 102 + half
    assert (result.difference, result.low, result.high) == pytest.approx(expected, abs=1e-4)


def test_the_interval_of_a_mean_holds_it():
    scores = mean_with_interval(np.random.default_rng(1).normal(0.3, 1, 900))
    assert scores["low"] < scores["mean"] < scores["high"]
    assert scores["high"] - scores["low"] == pytest.approx(2 * 1.96 / 30, rel=0.15)


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
    # Of two classes it finds what is predicted, even where float16 ties.
    found, labels = np.array([[0.5, 0.5], [0.4998, 0.5], [0.3, 0.7]], np.float16), np.array([1, 1, 0])
    rest = one_vs_rest(labels, found, (REST, "happy"))["happy"]
    assert rest["accuracy"] == summarise(labels, found, (REST, "happy"), split="test")["accuracy"]


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
