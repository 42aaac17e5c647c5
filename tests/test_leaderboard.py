"""The leaderboard, best on validation first, and the table of training, validation and test accuracy."""

import dataclasses
import io

import made_up
import pandas as pd
import pytest

from fer_keras.recipes import RECIPES
from fer_keras.results import accuracy_table, as_csv, find_run, leaderboard, read_runs, row_name, with_interval
from fer_keras.results.leaderboard import COLUMNS


@pytest.fixture
def results(own_folders):
    return made_up.results(own_folders / "results")


def scored(name, validation, test, **recipe):
    """A made-up run with these accuracies on validation and test."""
    run = made_up.run(name, **recipe)[0]
    shares = {"validation": validation, "test": test}
    metrics = {split: run.metrics[split] | {"accuracy": share} for split, share in shares.items()}
    return dataclasses.replace(run, metrics=metrics)


def test_the_best_is_the_best_on_validation_inside_classes_and_protocol():
    four = {"data": "fer4", "model": "capstone-model-1"}
    runs = [
        scored("capstone-model-1", 0.5, 0.9, **four),
        scored("capstone-model-2", 0.6, 0.4, **four),
        scored("capstone-model-2@course", 0.8, 0.8, protocol="course", **four),
        scored("mini-xception", 0.4, 0.4),
        scored("resnet18", 0.9, 0.9, data="ferplus6"),
    ]
    board = leaderboard(runs)
    names = ["mini-xception", "resnet18", "capstone-model-2", "capstone-model-1", "capstone-model-2@course"]
    assert board["recipe"].tolist() == names
    assert leaderboard(runs[::-1]).equals(board)
    assert tuple(board.columns) == COLUMNS


def test_scores_are_those_of_the_split_that_is_named(results):
    rows = leaderboard().set_index("run")
    assert sorted(rows.index) == [run.run for run in read_runs(results)]
    for run in read_runs(results):
        row = rows.loc[run.run]
        assert row["split"] == ("test" if run.final else "validation")
        assert row["accuracy"] == run.metrics[row["split"]]["accuracy"]
        assert row["accuracy_without_copies_low"] == run.metrics[row["split"]]["accuracy_without_copies_low"]
        assert row["validation_accuracy"] == run.metrics["validation"]["accuracy"]
    assert rows.loc[rows["recipe"] == "emovision-baseline", "published"].tolist() == [pytest.approx(0.2471)]
    assert rows.loc[rows["recipe"] == "capstone-model-1", "published"].isna().all()


def test_the_csv_has_fixed_columns_and_four_digits_and_rows_are_called_after_what_limits_them(results):
    table = pd.read_csv(io.StringIO(as_csv(read_runs())), dtype=str)
    assert tuple(table.columns) == COLUMNS
    assert table["accuracy"].str.fullmatch(r"0\.\d{4}").all()
    assert table["num_parameters"].eq("58423").all()
    assert as_csv([]) == ",".join(COLUMNS) + "\n"
    names = {
        "mini-xception, seed 1",
        "mini-xception@no-flip, on validation",
        "capstone-model-1@course, stopped by time",
    }
    assert names <= set(leaderboard().apply(row_name, axis=1))


def test_intervals_are_written_in_percent():
    table = pd.DataFrame({"f1": [0.5, None], "f1_low": [0.45, None], "f1_high": [0.551, None]})
    assert with_interval(table, "f1").tolist() == ["50.0 (45.0 to 55.1)", "-"]


def test_all_recipes_of_a_system_have_a_row_recorded_or_not(results):
    table = accuracy_table(["C", "mini-xception@64x64"]).set_index("recipe")
    system = [recipe.name for recipe in RECIPES.values() if recipe.system == "C"]
    assert table.index.tolist() == [*system, "mini-xception@64x64"]
    run, row = find_run("capstone-model-1"), table.loc["capstone-model-1"]
    assert (row["recorded"], row["best_epoch"], row["epochs_run"], row["epochs"]) == (True, 9, 12, 12)
    for split in ("validation", "test"):
        assert row[f"{split}_num_images"] == 240
        ends = [row[f"{split}_accuracy{end}"] for end in ("", "_low", "_high")]
        assert ends == [run.metrics[split][f"accuracy{end}"] for end in ("", "_low", "_high")]
    assert pd.isna(row["train_accuracy"])
    assert table.loc["vgg16", ["recorded", "starts_from", "protocol"]].tolist() == [False, "ImageNet", "official"]
    assert table.loc["vgg16@finetuned", "starts_from"] == "vgg16"
    assert table.loc["vgg16", "test_accuracy_low":"test_accuracy_high"].isna().all()
    assert table.loc["capstone-model-1@course", ["protocol", "stopped"]].tolist() == ["course", "cut short"]
    with pytest.raises(ValueError, match="no recipe 'Z'"):
        accuracy_table(["Z"])
