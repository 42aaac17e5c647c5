"""Comparisons of runs: the same images, no verdict where lengths differ, numbers as worked by hand or by SciPy."""

import dataclasses

import made_up
import numpy as np
import pytest

from fer_keras import results
from fer_keras.evaluation import calibration_error, compare, summarise, with_temperature
from fer_keras.labels import FER4
from fer_keras.results import find_run, write_run


def write(name, *, epochs=12, **options):
    """Record a made-up run that trained for a number of epochs."""
    run, history, predictions = made_up.run(name, **options)
    run = dataclasses.replace(run, epochs_run=epochs, best_epoch=min(epochs, 9))
    return write_run(run, history[:epochs], predictions)


def test_runs_are_compared_on_the_same_images(recorded_project):
    first, second = (find_run(name) for name in ("emovision-baseline", "mini-xception"))
    for split in ("validation", "test"):
        ours, theirs = first.predictions(split), second.predictions(split)
        expected = compare(ours.labels, ours.probabilities, theirs.probabilities)
        assert results.compare_runs(first, "mini-xception", split=split) == expected
    assert results.compare_runs(first, second) == expected, "final recipes are judged by test"
    table = results.comparison_table([(first, second), (second, first), (first, first), ("mini-xception", "fer-base")])
    assert table["verdict"].tolist()[:3] == ["better", "worse", "no difference"]
    row = table.iloc[0]
    assert (row["difference"], row["low"], row["high"]) == dataclasses.astuple(expected)
    assert (row["first"], row["second"], row["split"], row["num_images"]) == (first.label, second.label, "test", 240)
    assert table.iloc[3, 2:].isna().all(), "fer-base is not recorded"


def test_other_images_are_not_compared(recorded_project):
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
    (row,) = results.comparison_table([("sep-se", "resnet18")]).fillna({"verdict": "none"}).to_dict("records")
    assert (row["verdict"], row["no_difference"]) == (verdict, False)
    assert row["low"] > 0


@pytest.mark.parametrize(
    ("change", "stopped", "verdicts"),
    [
        ({}, "early stop", ["above", "below", "below"]),
        ({"accuracy_high": 0.66}, "early stop", ["above", "no difference", "below"]),
        ({}, "cut short", ["above", "below", "none"]),
    ],
)
def test_a_run_is_held_against_levels(change, stopped, verdicts):
    """40 % were published for validation, where the run has 30 %."""
    run = made_up.run("level", published=40.0, published_split="validation", stopped=stopped)[0]
    scores = {"test": {"accuracy": 0.5, "accuracy_low": 0.45, "accuracy_high": 0.55} | change}
    scores["validation"] = {"accuracy": 0.3, "accuracy_low": 0.25, "accuracy_high": 0.35}
    metrics = {split: run.metrics[split] | scores[split] for split in scores}
    table = results.level_table([dataclasses.replace(run, metrics=metrics)])
    assert table["level"].tolist() == ["majority", "human", "published"]
    assert table["verdict"].fillna("none").tolist() == verdicts
    assert table["split"].tolist() == ["test", "test", "validation"]
    assert table["level_accuracy"].tolist()[1:] == [0.65, 0.4]
    assert table["difference"].tolist()[1:] == pytest.approx([-0.15, -0.1])
    assert table.loc[2, ["low", "high"]].tolist() == pytest.approx([-0.15, -0.05])


def test_a_run_has_only_the_levels_that_there_are(recorded_project):
    table = results.level_table(["capstone-model-1", "fer-base"])
    assert table["level"].tolist() == ["majority"], "nothing was published, people were not asked about four classes"
    counts = np.sum(find_run("capstone-model-1").metrics["test"]["confusion"], axis=1)
    assert table["level_accuracy"].tolist() == [counts.max() / 240]
    assert results.majority_level("test") == 879 / 3589
    assert results.majority_level("validation", classes=FER4) == 895 / 2570


def test_confusions_are_ordered_by_their_share_of_the_true_class():
    run = made_up.run("capstone-final", data="fer4")[0]
    # happy, sad, surprise, neutral: 8 mistakes, 7 of them with neutral, 6 between sad and neutral.
    confusion = [[9, 0, 1, 0], [0, 5, 0, 4], [0, 0, 9, 0], [1, 2, 0, 9]]
    run = dataclasses.replace(run, metrics={"validation": {}, "test": {"confusion": confusion}})
    table = results.confusion_pairs(run)
    expected = "sad neutral 4, neutral sad 2, happy surprise 1, neutral happy 1"
    assert ", ".join(f"{row.true} {row.predicted} {row.count}" for row in table.itertuples(index=False)) == expected
    assert table["share_of_true"].tolist() == [4 / 9, 2 / 12, 1 / 10, 1 / 12]
    assert table["share_of_mistakes"].tolist() == [0.5, 0.25, 0.125, 0.125]
    nothing = dataclasses.replace(run, metrics={"test": {"confusion": np.eye(4, dtype=int).tolist()}})
    assert len(results.confusion_pairs(nothing)) == 0


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
    assert table.groupby("seed").size().tolist() == [2, 2, 3]
    views = [["validation", "single"], ["test", "single"], ["test", "flip"]]
    assert table.query("seed == 2")[["split", "views"]].to_numpy().tolist() == views
    for end in ("", "_low", "_high"):
        found = table.query("split == 'test' and seed < 2")[f"accuracy{end}"].tolist()
        assert found == [run.metrics["test"][f"accuracy{end}"] for run in runs]


def test_falls_of_the_learning_rate_are_read_from_the_history(own_folders):
    run = write("mini-xception")
    assert results.rate_falls(run) == results.rate_falls("mini-xception") == [10]
    run.history().assign(learning_rate=1e-3).to_csv(run.place("histories", ".csv"), index=False)
    assert results.rate_falls(run) == []
    assert results.rate_falls(write("fer-small", schedule="cosine")) == [], "it falls all the time"
