"""Records of runs: written whole and once, read back as they were, checked against their recipe and predictions."""

import dataclasses
import json
import subprocess
import sys

import made_up
import numpy as np
import pandas as pd
import pytest

from fer_keras import paths
from fer_keras.evaluation import summarise, wilson
from fer_keras.recipes import RECIPES, Recipe
from fer_keras.results import find_run, find_seeds, read_run, read_runs, read_table, runs, write_run, write_table

COMMITTED = paths.PACKAGE.parent / "reports" / "results"


@pytest.mark.parametrize("name", [path.stem for path in sorted(COMMITTED.glob("runs/*.json"))])
def test_committed_metrics_are_those_of_the_committed_predictions_and_histories_fit(name):
    run = read_run(COMMITTED / "runs" / f"{name}.json")
    history = run.history()
    assert tuple(history.columns[: len(runs.HISTORY_COLUMNS)]) == runs.HISTORY_COLUMNS
    assert history["epoch"].tolist() == list(range(1, run.epochs_run + 1))
    assert 0 <= run.best_epoch <= run.epochs_run <= max(run.recipe["epochs"], run.epochs_run)
    assert "validation" in run.metrics
    for split in set(run.metrics) - {"train"}:
        found, recorded = run.predictions(split), run.metrics[split]
        options = {"split": recorded["split"], "views": recorded["views"], "copies": found.copies}
        again = summarise(found.labels, found.probabilities, run.classes, **options)
        assert again.keys() == recorded.keys()
        assert again.pop("log_loss") == pytest.approx(recorded["log_loss"], abs=3e-5)  # of half precision
        for key, value in again.items():
            assert recorded[key] == (pytest.approx(value, abs=2e-6) if isinstance(value, float) else value)


@pytest.fixture
def written(tmp_path):
    """A made-up run that stands in a folder of its own."""
    return write_run(*made_up.run(), folder=tmp_path / "results")


def test_a_run_comes_back_as_it_was_written_and_the_same_bytes_when_written_again(written, tmp_path):
    run, history, predictions = made_up.run()
    (back,) = read_runs(written.folder)
    assert back == written == run
    assert back.folder == tmp_path / "results"
    pd.testing.assert_frame_equal(back.history(), history, rtol=1e-5)
    for split in ("validation", "test"):
        for mine, given in zip(back.predictions(split), predictions[split], strict=True):
            np.testing.assert_array_equal(mine, given)
    again = write_run(run, history, predictions, folder=tmp_path / "again")
    contents = [{path.name: path.read_bytes() for path in each.folder.rglob("*.*")} for each in (written, again)]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 4


def test_a_record_of_something_else_is_refused_unless_forced_and_the_same_result_keeps_the_standing_one(written):
    run, history, predictions = made_up.run()
    slower = dataclasses.replace(run, seconds=9999.0, commit="f" * 40, resumed=2)
    assert write_run(slower, history, predictions, folder=written.folder).resumed == 0
    other = dataclasses.replace(run, best_epoch=3)
    with pytest.raises(ValueError, match=r"append-only.*force"):
        write_run(other, history, predictions, folder=written.folder)
    assert read_runs(written.folder) == [run]
    write_run(other, history, predictions, folder=written.folder, force=True)
    assert read_runs(written.folder) == [other]


def test_only_final_recipes_may_bring_the_test_split_and_a_history_must_fit(tmp_path):
    run, history, predictions = made_up.run()
    recipe = {**run.recipe, "final": False}
    with pytest.raises(ValueError, match="only if its recipe is marked `final`"):
        dataclasses.replace(run, recipe=recipe)
    chosen = dataclasses.replace(run, recipe=recipe, metrics={"validation": run.metrics["validation"]})
    short = history.iloc[1:].drop(columns="seconds")
    for given, rows, message in (
        (chosen, history, "splits with metrics"),
        (run, short, r"11 rows without \['seconds'"),
    ):
        with pytest.raises(ValueError, match=message):
            write_run(given, rows, predictions, folder=tmp_path)
    assert not list(tmp_path.rglob("*.*"))
    more = history.assign(val_recall=0.5, precision=0.25, note="x")  # macro columns are kept where there are any
    standing = write_run(chosen, more, {"validation": predictions["validation"]}, folder=tmp_path)
    assert list(standing.history().columns) == [*runs.HISTORY_COLUMNS, "precision", "val_recall"]
    assert standing.scores["split"] == "validation"
    with pytest.raises(ValueError, match="final recipes only"):
        standing.predictions("test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "mini-xception-s0"}, "is not the record of a run: .*named after its recipe"),
        ({"schema": 2}, "is not the record of a run: .*schema 1"),
        ({"accuracy": 0.9}, "is not the record of a run: .*accuracy"),
        ({"recipe": {}}, "is not the record of a run"),
        *(
            ({"recipe": made_up.RECIPE | {"name": "mini-xception"} | edited}, r"must hold .* of digest \w+\. .*Restore")
            for edited in ({"epochs": 13}, {"learning_rate": 0.5}, {"zoom": [0.5, 1.0]}, {"name": "vgg16"})
        ),
    ],
)
def test_a_file_that_holds_no_record_or_an_edited_one_is_named(written, change, message):
    path = written.place("runs", ".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"{path.name} {message}"):
        read_run(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=path.name):
        read_runs(written.folder)


def test_fields_that_a_recipe_gained_or_lost_do_not_matter_at_their_defaults(tmp_path):
    run, history, predictions = made_up.run(zoom=(0.9, 1.1))
    whole = json.loads(json.dumps(dataclasses.asdict(Recipe(**run.recipe))))
    for recipe in (run.recipe, whole, whole | {"from_the_future": 0}):
        written = write_run(dataclasses.replace(run, recipe=recipe), history, predictions, folder=tmp_path, force=True)
    path = written.place("runs", ".json")
    assert read_run(path).recipe_digest == Recipe(**run.recipe).digest
    path.write_text(path.read_text().replace(run.recipe_digest, run.recipe_digest[:8] + "ffff"))
    with pytest.raises(ValueError, match="a version of fer_keras that knows from_the_future"):
        read_run(path)


def test_a_run_is_found_by_name_or_recipe_without_reading_any_other(tmp_path, monkeypatch):
    made_up.results(tmp_path)
    read = []
    monkeypatch.setattr(runs, "read_run", lambda path: read.append(path.stem) or read_run(path))
    found = find_run("mini-xception", folder=tmp_path)
    assert (found.recipe_name, found.seed, read) == ("mini-xception", 0, [found.run])
    recipe = Recipe(**found.recipe)
    assert find_run(recipe, folder=tmp_path) == found
    missing = (("mini", 0), ("mini-xception", 7), ("mini-xception@*", 0), (recipe, 7))
    for name, seed in (*missing, (dataclasses.replace(recipe, epochs=99), 0)):
        assert find_run(name, seed, folder=tmp_path) is None
    assert len(read) == 2


def test_of_several_records_of_a_name_todays_recipe_is_meant_and_seeds_are_those_of_the_recipe(
    own_folders, monkeypatch
):
    first, second = (write_run(*made_up.run(epochs=epochs)) for epochs in (12, 13))
    with pytest.raises(ValueError, match="older versions"):
        find_run("mini-xception")
    for run in (first, second):
        monkeypatch.setitem(RECIPES, "mini-xception", Recipe(**run.recipe))
        assert find_run("mini-xception") == run
    for seed in (2, 0, 7):
        write_run(*made_up.run("fer-small", seed=seed))
    assert [run.seed for run in find_seeds("fer-small")] == [0, 2]
    with pytest.raises(ValueError, match=r"Received: 'fer-base'.*python -m fer_keras train fer-base"):
        runs.as_run("fer-base")


def test_confusion_per_class_and_majority_follow_from_the_record():
    run = dataclasses.replace(made_up.run("capstone-model-1", data="fer4", stopped="cut short")[0], metrics={})
    labels, predicted = np.repeat(range(4), (4, 3, 2, 1)), np.array([0, 0, 0, 1, 1, 1, 0, 2, 3, 3])
    run.metrics["test"] = summarise(labels, np.eye(4)[predicted], run.classes, split="test")
    confusion = run.confusion("test")
    assert (confusion.index.name, confusion.columns.name) == ("true", "predicted")
    assert confusion.loc["happy", "sad"] == confusion.loc["surprise", "neutral"] == 1
    assert (confusion.to_numpy().sum(), run.majority("test")) == (10, 0.4)
    table = run.per_class()
    assert table["support"].to_dict() == {"happy": 4, "sad": 3, "surprise": 2, "neutral": 1}
    assert table["recall"].tolist() == pytest.approx([3 / 4, 2 / 3, 1 / 2, 1], abs=1e-6)
    assert tuple(table.loc["happy", ["recall_low", "recall_high"]]) == pytest.approx(wilson(3, 4))
    assert run.label == "capstone-model-1, 12 of 12 epochs"
    with pytest.raises(ValueError, match=r"no recorded split of .* 'tset'\. Did you mean 'test'"):
        run.metrics_of("tset")


def test_tables_come_back_as_they_were_given(own_folders):
    counts = pd.DataFrame({"happy": [1, 2]}, index=pd.Index(["train", "test"], name="split"))
    tables = {"audit": {"copies": {"test": 288}, "groups": [1, 2]}, "faces": {"happy": np.eye(2), "sad": np.ones(3)}}
    for name, table in (tables | {"counts": counts}).items():
        write_table(name, table)
    pd.testing.assert_frame_equal(read_table("counts"), counts)
    np.testing.assert_equal({name: read_table(name) for name in tables}, tables)
    with pytest.raises(ValueError, match=r"no recorded table 'adit'\. Did you mean 'audit'"):
        read_table("adit")


def test_a_write_that_breaks_off_leaves_the_old_file_alone_and_an_unchanged_file_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    assert paths.write_changed(path, "a,b\n")
    before = path.stat().st_mtime_ns
    monkeypatch.delattr(paths.os, "fsync")
    assert not paths.write_changed(path, b"a,b\n")
    for write in (paths.write_whole, paths.write_changed):
        with pytest.raises(AttributeError, match="fsync"):
            write(path, "a,c\n")
    assert (path.read_text(), path.stat().st_mtime_ns) == ("a,b\n", before)
    assert list(tmp_path.iterdir()) == [path]


def test_results_are_read_and_written_without_keras_or_matplotlib():
    heavy = {"keras", "tensorflow", "matplotlib", "scipy", "sklearn", "nbformat"}
    code = f"import sys, fer_keras.results; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
