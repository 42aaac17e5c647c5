"""Runs beside each other: the leaderboard, comparisons on the same images, levels, seeds, confusions, calibration."""

import dataclasses
import io

import made_up
import numpy as np
import pandas as pd
import pytest

from fer_keras import results
from fer_keras.evaluation import calibration_error, compare, summarise, with_temperature
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.results import find_run, leaderboard, read_runs, write_run
from fer_keras.results.leaderboard import COLUMNS, row_name


def write(name, *, epochs=12, **options):
    """Record a made-up run that trained for a number of epochs."""
    run, history, predictions = made_up.run(name, **options)
    run = dataclasses.replace(run, epochs_run=epochs, best_epoch=min(epochs, 9))
    return write_run(run, history[:epochs], predictions)


def scored(name, validation, test, **recipe):
    """A made-up run with these scores on validation and test."""
    run = made_up.run(name, **recipe)[0]
    given = {"validation": validation, "test": test}
    return dataclasses.replace(run, metrics={split: run.metrics[split] | given[split] for split in given})


# The leaderboard


def test_the_best_is_the_best_on_validation_inside_classes_and_protocol():
    four, six = {"data": "fer4", "model": "capstone-model-1"}, {"data": "ferplus6"}
    runs = [
        scored(name, {"accuracy": validation}, {"accuracy": test}, **recipe)
        for name, validation, test, recipe in (
            ("capstone-model-1", 0.5, 0.9, four),
            ("capstone-model-2", 0.6, 0.4, four),
            ("capstone-model-2@course", 0.8, 0.8, four | {"protocol": "course"}),
            ("mini-xception", 0.4, 0.4, {}),
            ("resnet18", 0.9, 0.9, six),
        )
    ]
    board = leaderboard(runs)
    names = ["mini-xception", "resnet18", "capstone-model-2", "capstone-model-1", "capstone-model-2@course"]
    assert board["recipe"].tolist() == names
    assert leaderboard(runs[::-1]).equals(board)


def test_scores_are_those_of_the_split_that_is_named_and_rows_are_called_after_what_limits_them(recorded_project):
    rows, runs = leaderboard().set_index("run"), read_runs()
    assert sorted(rows.index) == [run.run for run in runs]
    for run in runs:
        row, split = rows.loc[run.run], "test" if run.final else "validation"
        assert row["split"] == split
        for name in ("accuracy", "accuracy_without_copies_low"):
            assert row[name] == run.metrics[split][name]
        assert row["validation_accuracy"] == run.metrics["validation"]["accuracy"]
    assert rows.loc[rows["recipe"] == "emovision-baseline", "published"].tolist() == [pytest.approx(0.2471)]
    assert rows.loc[rows["recipe"] == "capstone-model-1", "published"].isna().all()
    names = {"mini-xception, seed 1", "mini-xception@no-flip, on validation"}
    assert names | {"capstone-model-1@course, stopped by time"} <= set(rows.apply(row_name, axis=1))
    table = pd.read_csv(io.StringIO(results.as_csv(runs)), dtype=str)
    assert tuple(table.columns) == COLUMNS
    assert table["accuracy"].str.fullmatch(r"0\.\d{4}").all()
    assert table["num_parameters"].eq("58423").all()
    assert results.as_csv([]) == ",".join(COLUMNS) + "\n"


def test_all_recipes_of_a_system_have_a_row_recorded_or_not(recorded_project):
    table = results.accuracy_table(["C", "mini-xception@64x64"]).set_index("recipe")
    system = [recipe.name for recipe in RECIPES.values() if recipe.system == "C"]
    assert table.index.tolist() == [*system, "mini-xception@64x64"]
    run, row = find_run("capstone-model-1"), table.loc["capstone-model-1"]
    assert (row["recorded"], row["best_epoch"], row["epochs_run"], row["epochs"]) == (True, 9, 12, 12)
    for split, end in (("validation", ""), ("validation", "_low"), ("test", ""), ("test", "_high")):
        assert row[f"{split}_accuracy{end}"] == run.metrics[split][f"accuracy{end}"]
    assert pd.isna(row["train_accuracy"])
    assert table.loc["vgg16", ["recorded", "starts_from", "protocol"]].tolist() == [False, "ImageNet", "official"]
    assert table.loc["vgg16@finetuned", "starts_from"] == "vgg16"
    assert table.loc["vgg16", "test_accuracy_low":"test_accuracy_high"].isna().all()
    assert table.loc["capstone-model-1@course", ["protocol", "stopped"]].tolist() == ["course", "cut short"]
    with pytest.raises(ValueError, match="no recipe 'Z'"):
        results.accuracy_table(["Z"])
    shares = pd.DataFrame({"f1": [0.5, None], "f1_low": [0.45, None], "f1_high": [0.551, None]})
    assert results.with_interval(shares, "f1").tolist() == ["50.0 (45.0 to 55.1)", "-"]


# Comparisons


def test_runs_are_compared_on_the_same_images(recorded_project):
    first, second = (find_run(name) for name in ("emovision-baseline", "mini-xception"))
    for split in ("validation", "test"):
        ours, theirs = first.predictions(split), second.predictions(split)
        expected = compare(ours.labels, ours.probabilities, theirs.probabilities)
        assert results.compare_runs(first, "mini-xception", split=split) == expected
    assert results.compare_runs(first, second) == expected, "final recipes are judged by test"
    table = results.comparison_table([(first, second), (second, first), (first, first), ("mini-xception", "fer-base")])
    assert table["verdict"].tolist()[:3] == ["better", "worse", "no difference"]
    assert tuple(table.loc[0, ["difference", "low", "high"]]) == dataclasses.astuple(expected)
    about = [first.label, second.label, "test", 240]
    assert table.loc[0, ["first", "second", "split", "num_images"]].tolist() == about
    assert table.iloc[3, 2:].isna().all(), "fer-base is not recorded"
    for other in ("capstone-model-1", "mini-xception@no-flip"):
        with pytest.raises(ValueError, match=r"on the same images\. Received: .* on test, .*`split`"):
            results.compare_runs("mini-xception", other)
    assert not results.compare_runs("mini-xception", "mini-xception@no-flip", split="validation").no_difference


@pytest.mark.parametrize(
    ("lengths", "stopped", "verdict"),
    [
        ((1, 2), ("cut short", "cut short"), "none"),
        ((2, 2), ("cut short", "cut short"), "better"),
        ((2, 12), ("cut short", "early stop"), "none"),
        ((12, 2), ("early stop", "cut short"), "none"),
        ((9, 12), ("early stop", "epochs"), "better"),
    ],
)
def test_there_is_no_verdict_where_time_stopped_a_run_of_another_length(own_folders, lengths, stopped, verdict):
    for name, skill, epochs, how in zip(("sep-se", "resnet18"), (0.3, 2.0), lengths, stopped, strict=True):
        write(name, epochs=epochs, stopped=how, skill=skill, data="ferplus6")
    table = results.comparison_table([("sep-se", "resnet18")])
    assert table["verdict"].fillna("none").tolist() == [verdict]
    assert table.loc[0, "low"] > 0


@pytest.mark.parametrize(
    ("high", "stopped", "verdicts"),
    [
        (0.55, "early stop", ["above", "below", "below"]),
        (0.66, "early stop", ["above", "no difference", "below"]),
        (0.55, "cut short", ["above", "below", "none"]),
    ],
)
def test_a_run_is_held_against_levels(high, stopped, verdicts):
    """40 % were published for validation, where the run has 30 %."""
    validation = {"accuracy": 0.3, "accuracy_low": 0.25, "accuracy_high": 0.35}
    test = {"accuracy": 0.5, "accuracy_low": 0.45, "accuracy_high": high}
    run = scored("level", validation, test, published=40.0, published_split="validation", stopped=stopped)
    table = results.level_table([run])
    assert table["level"].tolist() == ["majority", "human", "published"]
    assert table["verdict"].fillna("none").tolist() == verdicts
    assert table["split"].tolist() == ["test", "test", "validation"]
    assert table["level_accuracy"].tolist()[1:] == [0.65, 0.4]
    assert table.loc[2, ["difference", "low", "high"]].tolist() == pytest.approx([-0.1, -0.15, -0.05])


def test_a_run_has_only_the_levels_that_there_are(recorded_project):
    table = results.level_table(["capstone-model-1", "fer-base"])
    assert table["level"].tolist() == ["majority"], "nothing was published, people were not asked about four classes"
    counts = np.sum(find_run("capstone-model-1").metrics["test"]["confusion"], axis=1)
    assert table["level_accuracy"].tolist() == [counts.max() / 240]
    assert results.majority_level("test") == 879 / 3589
    assert results.majority_level("validation", classes=FER4) == 895 / 2570


def test_confusions_are_ordered_by_their_share_of_the_true_class():
    # happy, sad, surprise, neutral: 8 mistakes, 7 of them with neutral, 6 between sad and neutral.
    confusion = [[9, 0, 1, 0], [0, 5, 0, 4], [0, 0, 9, 0], [1, 2, 0, 9]]
    table = results.confusion_pairs(scored("capstone-final", {}, {"confusion": confusion}, data="fer4"))
    expected = [("sad", "neutral", 4), ("neutral", "sad", 2), ("happy", "surprise", 1), ("neutral", "happy", 1)]
    assert list(table[["true", "predicted", "count"]].itertuples(index=False, name=None)) == expected
    assert table["share_of_true"].tolist() == [4 / 9, 2 / 12, 1 / 10, 1 / 12]
    assert table["share_of_mistakes"].tolist() == [0.5, 0.25, 0.125, 0.125]


def test_a_temperature_is_fitted_on_validation_and_judged_on_test(own_folders):
    run, history, sharp = made_up.run("fer-small", skill=1.0)  # calibrated: noise and signal of one unit
    for split, found in sharp.copy().items():
        sharp = sharp | {split: found._replace(probabilities=with_temperature(found.probabilities, 0.4))}
    write_run(run, history, sharp)
    write_run(*made_up.run("fer-small@mixup", final=False))
    (row,) = results.calibration_table(["fer-small", "fer-small@mixup", "fer-base"]).to_dict("records")
    assert 2 < row["temperature"] < 4, "probabilities sharpened by .4 need about 1 / .4"
    test = find_run("fer-small").predictions("test")
    scaled = with_temperature(test.probabilities, row["temperature"])
    assert row["calibration_error"] == calibration_error(test.labels, test.probabilities)
    assert row["calibration_error_scaled"] == calibration_error(test.labels, scaled) < row["calibration_error"] / 2
    assert row["log_loss"] > row["log_loss_scaled"]


def test_every_recorded_seed_and_view_has_its_row(own_folders):
    runs = [write("fer-small", seed=seed, skill=skill) for seed, skill in enumerate((1.2, 1.5))]
    run, history, found = made_up.run("fer-small", seed=2)
    flip = summarise(found["test"].labels, found["test"].probabilities, run.classes, split="test", views="flip")
    write_run(dataclasses.replace(run, metrics=run.metrics | {"test_flip": flip}), history, found)
    table = results.seed_table(["fer-small", "fer-base"])
    rows = [[seed, *row] for seed in range(3) for row in (["validation", "single"], ["test", "single"])]
    assert table[["seed", "split", "views"]].to_numpy().tolist() == [*rows, [2, "test", "flip"]]
    found = table.query("split == 'test' and seed < 2")["accuracy_low"].tolist()
    assert found == [run.metrics["test"]["accuracy_low"] for run in runs]


def test_falls_of_the_learning_rate_are_read_from_the_history(own_folders):
    run = write("mini-xception")
    assert results.rate_falls(run) == results.rate_falls("mini-xception") == [10]
    run.history().assign(learning_rate=1e-3).to_csv(run.place("histories", ".csv"), index=False)
    assert results.rate_falls(run) == []
    assert results.rate_falls(write("fer-small", schedule="cosine")) == [], "it falls all the time"
