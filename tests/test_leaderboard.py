"""The leaderboard: a row a run, comparable rows together, test scores of final recipes only."""

import io

import made_up
import pandas as pd
import pytest

from fer_keras.reporting.leaderboard import COLUMNS, as_csv, leaderboard, write_leaderboard
from fer_keras.reporting.runs import read_runs
from fer_keras.reporting.tables import read_table, write_table


@pytest.fixture
def results(tmp_path):
    return made_up.results(tmp_path)


def test_a_row_a_run_comparable_rows_together_best_first(results):
    table = leaderboard(read_runs(results))
    assert tuple(table.columns) == COLUMNS
    assert sorted(table["run"]) == [run.run for run in read_runs(results)]
    groups = list(dict.fromkeys(zip(table["num_classes"], table["protocol"], table["split"], strict=True)))
    assert groups == [
        (7, "official", "test"),
        (7, "official", "validation"),
        (4, "official", "test"),
        (4, "course", "test"),
    ]
    first = table[(table["num_classes"] == 7) & (table["split"] == "test")]
    assert first["accuracy"].is_monotonic_decreasing
    assert len(first) == 3


def test_scores_are_those_of_the_split_that_is_named(results):
    rows = leaderboard(read_runs(results)).set_index("run")
    for run in read_runs(results):
        row = rows.loc[run.run]
        assert row["split"] == ("test" if run.final else "validation")
        assert row["accuracy"] == run.metrics[row["split"]]["accuracy"]
        assert row["accuracy_without_copies_low"] == run.metrics[row["split"]]["accuracy_without_copies_low"]
        assert row["validation_accuracy"] == run.metrics["validation"]["accuracy"]


def test_the_published_number_stands_beside_as_a_fraction(results):
    rows = leaderboard(read_runs(results)).set_index("recipe")
    assert rows.loc["emovision-baseline", "published"] == pytest.approx(0.2471)
    assert rows.loc["emovision-baseline", "published_split"] == "test"
    assert pd.isna(rows.loc["capstone-model-1", "published"])
    assert rows.loc["capstone-model-1@course", "stopped"] == "cut short"


def test_the_csv_has_fixed_columns_and_four_digits(results):
    text = as_csv(read_runs(results))
    table = pd.read_csv(io.StringIO(text), dtype=str)
    assert tuple(table.columns) == COLUMNS
    assert table["accuracy"].str.fullmatch(r"0\.\d{4}").all()
    assert table["num_parameters"].eq("58423").all()
    assert as_csv(read_runs(results)[::-1]) == text


def test_without_runs_there_is_a_header(tmp_path):
    assert write_leaderboard(folder=tmp_path).read_text() == ",".join(COLUMNS) + "\n"


def test_an_unchanged_leaderboard_is_not_written(results):
    path = write_leaderboard(folder=results)
    before = path.stat().st_mtime_ns
    write_leaderboard(folder=results)
    assert path.stat().st_mtime_ns == before
    made = made_up.run("mini-xception", seed=2)
    made_up.write_run(*made, folder=results)
    write_leaderboard(folder=results)
    assert made[0].run in path.read_text()


def test_tables_come_back_as_they_were_given(tmp_path):
    counts = pd.DataFrame({"happy": [1, 2]}, index=pd.Index(["train", "test"], name="split"))
    write_table("counts", counts, folder=tmp_path)
    write_table("audit", {"copies": {"test": 288}, "groups": [1, 2]}, folder=tmp_path)
    faces = {"happy": counts.to_numpy(), "sad": counts.to_numpy() * 2}
    write_table("faces", faces, folder=tmp_path)
    pd.testing.assert_frame_equal(read_table("counts", folder=tmp_path), counts)
    assert read_table("audit", folder=tmp_path) == {"copies": {"test": 288}, "groups": [1, 2]}
    back = read_table("faces", folder=tmp_path)
    assert all((back[name] == faces[name]).all() for name in faces)


def test_a_table_that_is_not_there_is_named_with_those_that_are(tmp_path):
    write_table("audit", {"copies": 1}, folder=tmp_path)
    with pytest.raises(ValueError, match=r"no recorded table 'adit'.*one of: audit"):
        read_table("adit", folder=tmp_path)
