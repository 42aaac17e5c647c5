"""One emotion against the rest: numbers as scikit-learn has them, and words that follow from them."""

import made_up
import numpy as np
import pytest
from sklearn import metrics

from fer_keras import paths
from fer_keras.evaluation import summarise, wilson
from fer_keras.evaluation.ranking import against_rest, average_precisions, compare_precision
from fer_keras.labels import FER7, REST
from fer_keras.recipes import RECIPES
from fer_keras.reporting import combinations, figures, one_against_rest, text
from fer_keras.reporting.runs import Predictions, find_run, write_run
from fer_keras.reporting.sentences import MISSING

TOTAL = 700
LABELS = np.arange(TOTAL) % 7
ENSEMBLES = ("ensemble-single", "ensemble-single-and-general", "stacking")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project without records."""
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    monkeypatch.delenv("FER_KERAS_RESULTS", raising=False)
    return tmp_path


def probabilities(skill, seed):
    """Return seven probabilities of each image: the higher the skill, the better; -1 is worse than guessing."""
    scores = np.random.default_rng(seed).normal(size=(TOTAL, 7))
    scores[np.arange(TOTAL), LABELS] += skill
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def record(name, labels, found, classes, **options):
    """Record a made-up run of a recipe with these predictions on validation and test."""
    recipe = RECIPES[name]
    made, history, _ = made_up.run(
        name,
        digest=recipe.digest,
        model=recipe.model,
        positive=recipe.positive,
        published=recipe.published,
        published_split=recipe.published_split,
        **options,
    )
    said = Predictions(np.arange(len(labels)), labels, found, np.zeros(len(labels), bool))
    for split in made.metrics:
        made.metrics[split] = summarise(labels, found.astype(np.float16), classes, split=split)
    write_run(made, history, dict.fromkeys(made.metrics, said))


def record_single(name, found, **options):
    """Record a made-up network that tells one emotion from the rest, from the probabilities of it."""
    labels = (FER7.index(name) == LABELS).astype(int)
    record(f"one-vs-rest-{name}", labels, np.stack([1 - found, found], axis=1), (REST, name), **options)


def record_all(*, single=2.0, general=2.0, ensembles=2.0):
    """Record all that notebook 07 shows, with these skills."""
    for index, name in enumerate(FER7):
        record_single(name, probabilities(single, seed=1)[:, index])
    record("general", LABELS, probabilities(general, seed=2), FER7)
    for name in ENSEMBLES:
        record(name, LABELS, probabilities(ensembles, seed=3), FER7)


def cells(block, *arguments):
    """Return the rows of a table, without its header."""
    lines = [line for line in text(block, *arguments).splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_what_accuracy_is_worth_on_a_rare_class():
    labels = np.array([0] * 98 + [1] * 2)
    never = against_rest(labels, np.tile([0.99, 0.01], (100, 1)), ("rest", "disgust"))["disgust"]
    assert (never["accuracy"], never["majority"], never["share"]) == (0.98, 0.98, 0.02)
    assert (never["accuracy_low"], never["accuracy_high"]) == pytest.approx(wilson(98, 100), abs=1e-6)
    assert (never["balanced_accuracy"], never["roc_auc"], never["average_precision"]) == (0.5, 0.5, 0.02)
    scores = np.where(labels == 1, 0.4, 0.1)
    ranked = against_rest(labels, np.stack([1 - scores, scores], axis=1), ("rest", "disgust"))["disgust"]
    assert (ranked["accuracy"], ranked["roc_auc"], ranked["average_precision"]) == (0.98, 1, 1)
    assert set(against_rest(labels, np.eye(3)[labels], ("a", "b", "c"))) == {"a", "b"}, "a class without images"


def test_a_network_of_two_classes_finds_what_it_names_even_where_float16_ties():
    found = np.array([[0.5, 0.5], [0.4998, 0.5], [0.3, 0.7]], np.float16)
    labels = np.array([1, 1, 0])
    told = against_rest(labels, found, (REST, "happy"))["happy"]
    assert told["accuracy"] == summarise(labels, found, (REST, "happy"), split="test")["accuracy"]


def test_average_precision_is_scikit_learns_with_ties_and_weights():
    generator = np.random.default_rng(0)
    truth, scores = generator.random(200) < 0.2, generator.integers(0, 12, 200) / 12
    times = np.stack([np.ones(200, int), generator.integers(0, 3, 200)])
    expected = [metrics.average_precision_score(truth, scores, sample_weight=weights) for weights in times]
    np.testing.assert_allclose(average_precisions(truth, scores, times), expected)


def test_rankings_are_compared_as_a_pair():
    generator = np.random.default_rng(1)
    truth = generator.random(400) < 0.3
    noise = generator.normal(size=400)
    better = compare_precision(truth, noise, noise + 2 * truth)
    expected = [metrics.average_precision_score(truth, scores) for scores in (noise, noise + 2 * truth)]
    assert better.difference == pytest.approx(expected[1] - expected[0])
    assert better.low > 0
    assert compare_precision(truth, noise + 2 * truth, noise).high < 0
    same = compare_precision(truth, noise, 3 * noise)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert compare_precision(truth, noise, generator.normal(size=400)).no_difference


def test_the_table_holds_what_scikit_learn_finds():
    found = probabilities(2.0, seed=5)[:, 3].astype(np.float16)
    record_single("happy", found)
    truth = LABELS == 3
    run = find_run("one-vs-rest-happy")
    rows = cells("ranking")
    assert [row[0] for row in rows] == list(FER7)
    _, share, accuracy, commoner, against, balanced, precision, area, published = rows[3]
    assert (share, commoner) == (f"{100 * truth.mean():.1f} %", f"{100 - 100 * truth.mean():.1f} %")
    assert accuracy.startswith(f"{100 * np.mean((found > 0.5) == truth):.1f} % (")
    assert accuracy.startswith(f"{100 * run.metrics['test']['accuracy']:.1f} % ("), "as the record has it"
    assert balanced == f"{100 * metrics.balanced_accuracy_score(truth, found > 0.5):.1f} %"
    assert precision == f"{100 * metrics.average_precision_score(truth, found):.1f} %"
    assert area == f"{metrics.roc_auc_score(truth, found):.3f}"
    assert published == f"{RECIPES['one-vs-rest-happy'].published:.2f} %"
    assert against == f"{100 * (np.mean((found > 0.5) == truth) - 6 / 7):+.1f} points"
    assert rows[0] == ["angry", MISSING, *["-"] * 7], "a network that is not recorded yet"
    assert f"On {TOTAL} test images, single view, seed 0." in text("ranking")


def test_one_network_is_taken_one_class_at_a_time():
    record("general", LABELS, probabilities(2.0, seed=2), FER7)
    rows = cells("ranking", "general")
    assert [row[0] for row in rows] == list(FER7)
    found = find_run("general").predictions("test").probabilities.astype(float)
    found /= found.sum(axis=1, keepdims=True)
    for index, row in enumerate(rows):
        assert len(row) == 8, "nothing was published of it"
        assert row[6] == f"{100 * metrics.average_precision_score(index == LABELS, found[:, index]):.1f} %"


def test_an_accuracy_is_held_against_the_commoner_answer_in_three_ways():
    record_single("happy", np.where(LABELS == 3, 0.9, 0.1))
    record_single("disgust", np.full(TOTAL, 0.1))
    record_single("fear", np.full(TOTAL, 0.9), stopped="cut short")
    expected = f"above it on happy {100 / 7:+.1f} points; no different on disgust; below it on fear -71.4 points; "
    assert text("lifted") == f"{expected}{MISSING}: angry, sad, surprise, neutral"
    rows = {row[0]: row[4] for row in cells("ranking")}
    assert rows["disgust"] == "no different"
    assert rows["fear, cut short"] == "-71.4 points"


def test_without_records_everything_is_missing():
    for block in (("ranking",), ("ranking", "general"), ("lifted",), ("answers",)):
        assert text(*block) == MISSING
    for block in (("ranks", "one-vs-rest", "general"), ("above-members", "stacking")):
        assert text(*block).endswith(f": {MISSING}.")
    assert [figures.draw(name) for name in ("one-against-rest", "precision-emotions", "ensembles")] == [None] * 3


def test_a_published_accuracy_is_held_against_its_own_split(monkeypatch):
    rows = {row[0]: row[1:] for row in cells("worth")}
    assert rows["disgust"] == ["98.43 %", "98.43 %", "98.47 %"]
    assert text("worthless") == "7 of 7"
    monkeypatch.setattr(one_against_rest, "printed", lambda name: 0.9)
    assert text("worthless") == "0 of 7"


def test_the_answers_of_seven_networks_are_counted():
    sure = np.array([[1, 0, 0, 0], [1, 0, 1, 0]])
    pairs = [np.stack([1 - found, found], axis=1) for found in sure]
    assert [mask.tolist() for mask in combinations.counted(pairs)] == [
        [False, True, False, True],
        [False, False, True, False],
        [True, False, False, False],
    ]
    for index, name in enumerate(FER7):
        record_single(name, np.where(index == LABELS, 0.9, 0.1) if index else np.full(TOTAL, 0.1))
    assert text("answers") == f"none says yes on {100 / 7:.1f} %, one alone on {600 / 7:.1f} %, more than one on 0.0 %"


def test_sources_are_ranked_in_both_directions():
    record_all(single=1.0, general=3.0)
    better, worse = text("ranks", "one-vs-rest", "general"), text("ranks", "general", "one-vs-rest")
    assert better.startswith("By average precision, `general` against the seven single networks: better on angry +")
    assert worse.startswith("By average precision, the seven single networks against `general`: worse on angry -")
    assert text("ranks", "stacking", "ensemble-single").endswith(f": no different on {', '.join(FER7)}.")
    gains = combinations.precision_gains("one-vs-rest", "general")
    assert str(gains["angry"]) in better


def test_sources_that_saw_other_images_are_not_compared():
    record_single("happy", np.full(TOTAL, 0.1))
    record("general", np.roll(LABELS, 1), probabilities(1.0, seed=2), FER7)
    assert text("ranks", "general", "general").endswith("neutral.")
    with pytest.raises(ValueError, match="the same images"):
        text("ranks", "one-vs-rest", "general")


def test_an_ensemble_is_above_its_members_or_not():
    record_all(single=1.0, general=1.0, ensembles=4.0)
    assert text("above-members", "stacking").startswith(
        "`stacking` is above all of its members. `stacking` is better than `general` on the same 700 test images: +"
    )
    assert "`general`" not in text("above-members", "ensemble-single"), "it is no member"


def test_an_ensemble_that_is_not_above_one_member_says_so():
    record_all(single=1.0, general=4.0, ensembles=4.0)
    assert text("above-members", "stacking").startswith("`stacking` is not above all of its members. There is no diff")
    assert text("above-members", "ensemble-single").startswith("`ensemble-single` is above all of its members. By av")


def test_rules_say_what_is_fitted_on_what():
    rows = cells("rules", *ENSEMBLES)
    assert [row[1] for row in rows] == ["7 x `one-vs-rest`"] + ["7 x `one-vs-rest`, `general`"] * 2
    assert [row[3].split(";")[0] for row in rows] == ["nothing", "nothing", "validation"]


def test_figures_show_what_is_recorded():
    record_single("happy", probabilities(2.0, seed=1)[:, 3])
    figure = figures.draw("one-against-rest")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["happy"]
    record_all()
    axes = figures.draw("precision-emotions").axes[0]
    legend = [entry.get_text() for entry in axes.get_legend().get_texts()]
    assert legend[1:] == ["one-vs-rest", "general", "ensemble-single-and-general", "stacking"]
    told = one_against_rest.told("general")
    dots = next(container.lines[0] for container in axes.containers if container.get_label() == "general")
    assert sorted(dots.get_xdata()) == sorted(values["average_precision"] for values in told.values())
    rows = figures.draw("ensembles").axes[0].get_yticklabels()
    assert {row.get_text() for row in rows} == {"general", *ENSEMBLES}


def test_a_combination_was_not_trained():
    record("stacking", LABELS, probabilities(2.0, seed=3), FER7, stopped="combined")
    assert text("stopping", "stacking") == "its members' answers were combined, no network was trained"
