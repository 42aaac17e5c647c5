"""Records of runs: written whole and once, read back as they were."""

import dataclasses
import json
import subprocess
import sys
import types

import made_up
import numpy as np
import pandas as pd
import pytest

import fer_keras.reporting
from fer_keras.evaluation import summarise
from fer_keras.reporting import files
from fer_keras.reporting.runs import find_run, read_run, read_runs, write_run


def test_a_run_comes_back_as_it_was_written(tmp_path):
    run, history, predictions = made_up.run()
    written = write_run(run, history, predictions, folder=tmp_path)
    (back,) = read_runs(tmp_path)
    assert back == written == run
    assert back.folder == tmp_path
    pd.testing.assert_frame_equal(back.history(), history, rtol=1e-5)
    for split in ("validation", "test"):
        found = back.predictions(split)
        for name in ("rows", "labels", "probabilities", "copies"):
            np.testing.assert_array_equal(getattr(found, name), getattr(predictions[split], name))
        assert found.probabilities.dtype == np.float32


def test_recorded_metrics_can_be_computed_again_from_the_recorded_predictions(tmp_path):
    run = write_run(*made_up.run(), folder=tmp_path)
    said = run.predictions("test")
    again = summarise(said.labels, said.probabilities, run.classes, split="test", copies=said.copies)
    assert again == run.metrics["test"]


def test_the_json_is_sorted_and_ends_with_a_newline(tmp_path):
    run = write_run(*made_up.run(), folder=tmp_path)
    text = run.place("runs", ".json").read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"
    assert "folder" not in json.loads(text)


def test_the_files_are_the_same_bytes_when_written_again(tmp_path):
    paths = [write_run(*made_up.run(), folder=tmp_path / side).folder for side in "ab"]
    contents = [{path.name: path.read_bytes() for path in folder.rglob("*.*")} for folder in paths]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 4


def test_a_record_that_says_something_else_is_refused_unless_forced(tmp_path):
    run, history, predictions = made_up.run()
    write_run(run, history, predictions, folder=tmp_path)
    other = dataclasses.replace(run, best_epoch=3)
    with pytest.raises(ValueError, match=r"append-only.*force"):
        write_run(other, history, predictions, folder=tmp_path)
    assert read_runs(tmp_path) == [run]
    write_run(other, history, predictions, folder=tmp_path, force=True)
    assert read_runs(tmp_path) == [other]


def test_the_same_result_keeps_the_standing_record(tmp_path):
    run, history, predictions = made_up.run()
    write_run(run, history, predictions, folder=tmp_path)
    slower = dataclasses.replace(run, seconds=9999.0, commit="f" * 40, resumed=2)
    assert write_run(slower, history, predictions, folder=tmp_path).seconds == run.seconds
    assert read_runs(tmp_path)[0].resumed == 0


def test_only_final_recipes_may_bring_the_test_split(tmp_path):
    run, history, predictions = made_up.run()
    recipe = {**run.recipe, "final": False}
    with pytest.raises(ValueError, match="Only recipes marked `final`"):
        dataclasses.replace(run, recipe=recipe)
    chosen = dataclasses.replace(run, recipe=recipe, metrics={"validation": run.metrics["validation"]})
    with pytest.raises(ValueError, match="metrics of the same split"):
        write_run(chosen, history, predictions, folder=tmp_path)
    assert not list(tmp_path.rglob("*.*"))
    standing = write_run(chosen, history, {"validation": predictions["validation"]}, folder=tmp_path)
    assert standing.scores["split"] == "validation"
    with pytest.raises(ValueError, match="final recipes only"):
        standing.predictions("test")


def test_a_history_must_fit(tmp_path):
    run, history, predictions = made_up.run()
    with pytest.raises(ValueError, match=r"each of the 12 epochs.*11 rows, without \['seconds'\]"):
        write_run(run, history.iloc[1:].drop(columns="seconds"), predictions, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "mini-xception-s0"}, "named after its recipe"),
        ({"schema": 2}, "schema 1"),
        ({"accuracy": 0.9}, "accuracy"),
    ],
)
def test_a_file_that_holds_no_record_is_named(tmp_path, change, message):
    path = write_run(*made_up.run(), folder=tmp_path).place("runs", ".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"{path.name} is not the record of a run: .*{message}"):
        read_run(path)


def test_half_a_file_is_named(tmp_path):
    path = write_run(*made_up.run(), folder=tmp_path).place("runs", ".json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=path.name):
        read_runs(tmp_path)


def test_find_run_by_recipe_asks_for_its_digest(tmp_path):
    write_run(*made_up.run(), folder=tmp_path)
    recipe = types.SimpleNamespace(name="mini-xception", digest="0123456789ab")
    assert find_run(recipe, 0, folder=tmp_path).recipe_name == "mini-xception"
    assert find_run(recipe, 1, folder=tmp_path) is None
    recipe.digest = "ffffffffffff"
    assert find_run(recipe, 0, folder=tmp_path) is None


def test_find_run_by_name_refuses_to_guess(tmp_path):
    assert find_run("mini-xception", folder=tmp_path) is None
    write_run(*made_up.run(), folder=tmp_path)
    assert find_run("mini-xception", folder=tmp_path).seed == 0
    write_run(*made_up.run(digest="ffffffffffff"), folder=tmp_path)
    with pytest.raises(ValueError, match="older versions"):
        find_run("mini-xception", folder=tmp_path)


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    files.write_whole(path, "old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_whole(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_an_unchanged_file_is_not_written(tmp_path):
    path = tmp_path / "table.csv"
    assert files.write_changed(path, "a,b\n")
    before = path.stat().st_mtime_ns
    assert not files.write_changed(path, b"a,b\n")
    assert path.stat().st_mtime_ns == before
    assert files.write_changed(path, "a,c\n")


def test_records_are_read_and_written_without_keras_or_matplotlib():
    code = (
        "import sys; from fer_keras.reporting import Run, find_run, read_runs, write_run; import fer_keras.evaluation; "
        "print({'keras', 'tensorflow', 'matplotlib', 'sklearn', 'nbformat'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_the_room_names_what_it_does_not_have():
    with pytest.raises(AttributeError, match="no attribute 'leaderbord'"):
        fer_keras.reporting.leaderbord  # noqa: B018
