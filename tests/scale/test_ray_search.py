"""A search on Ray: the same table as without it, resumed after a kill; a cell that fails stops no other."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from process_tree import below

import fer_keras.training.trainer  # noqa: F401 (imports Keras, which prints, before output is captured)
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recipes import Space
from fer_keras.results import comparable_fields, read_runs, read_table
from fer_keras.training.search import search

ray = pytest.importorskip("ray")
SMALL = Space("small", "capstone-model-1", {"learning_rate": [0.01, 0.0001], "epochs": [2]}, "a test")
KILLED = Space("killed", "capstone-model-1", {"epochs": [1, 60], "stop_patience_epochs": [0]}, "a test")
SCRIPT = f"""
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import Space
from fer_keras.training.search import search
search({KILLED}, faces=make_faces(12, classes=FER4, seed=1), ray=True, verbose=0)
"""


@pytest.fixture(scope="module")
def faces():
    return make_faces(12, classes=FER4, seed=1)


@pytest.fixture(scope="module")
def ray_of_two():
    with ray_cluster(cores=2):
        yield


def records(folder):
    return {run.run: run for run in read_runs(next(Path(folder).glob("searches/*/results")))}


def assert_same(run, other):
    """Check that two runs are one: a worker may add in another order, and one answer may be a tie."""
    apart = {"metrics": {}, "best_epoch": 0, "epochs_run": 0}
    first, second = (comparable_fields(dataclasses.replace(each, **apart)) for each in (run, other))
    assert first == second
    found, expected = run.predictions("validation"), other.predictions("validation")
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=5e-3)


def test_several_at_once_end_as_one_after_the_other(faces, ray_of_two, own_folders, monkeypatch, capfd):
    assert len(search(SMALL, faces=faces, ray=True, minutes=1e-6)) == 0
    table = search(SMALL, faces=faces, ray=True)
    printed = capfd.readouterr()
    assert (len(printed.out.splitlines()), printed.err) == (2, ""), "a line a cell, each trained once; nothing of Ray's"
    assert ray.is_initialized(), "whoever started a Ray ends it"
    on_ray = records(own_folders / "build")
    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "here"))
    here = search(SMALL, faces=faces, verbose=0)
    found = records(own_folders / "here")
    assert (len(found), found.keys()) == (2, on_ray.keys())
    for name, run in found.items():
        assert_same(run, on_ray[name])
    exact = [*SMALL.grid, "train_images", "validation_images"]
    here, table = (each.sort_values("learning_rate", ignore_index=True) for each in (here, table))
    assert here.columns.equals(table.columns)
    assert here[exact].equals(table[exact])
    np.testing.assert_allclose(here["accuracy"], table["accuracy"], atol=1.5 / here["validation_images"].min())


def test_what_fails_is_reported_and_stops_no_other(faces, ray_of_two, own_folders, monkeypatch, capsys):
    monkeypatch.setenv("FER_KERAS_DATA", str(own_folders / "nowhere"))  # where mini-xception's seven classes are sought
    grid = {"start_recipe": [None, "mini-xception", "capstone-model-1"], "epochs": [1]}
    with pytest.raises(ValueError, match=r"every training of odd to end\. Received: 1 that failed; 2") as error:
        search(Space("odd", "capstone-model-1", grid, "a test"), faces=faces, ray=True, workers=1)
    assert re.search("epochs=1,start_recipe=mini-xception.*: DataError: ", str(error.value))
    assert capsys.readouterr().out.count("validation 0.") == 2
    table = read_table("search-odd", folder=own_folders / "build" / "results")
    assert sorted(table["start_recipe"].fillna("none")) == ["capstone-model-1", "none"]


def test_a_worker_that_is_killed_is_started_once_more_and_all_that_is_killed_goes_on_in_its_epoch(faces, own_folders):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def epochs(trained=False):
        """How many epochs of the long training are done, once the short one is `trained`."""
        assert process.poll() is None, process.communicate()[0].decode()
        states = list(own_folders.glob("build/runs/*epochs=60,*/history.csv"))
        ready = any(own_folders.glob("build/searches/*/results/runs/*epochs=1,*.json"))
        return len(states[0].read_text().splitlines()) - 1 if states and ready else 0

    wait_for(epochs)
    (worker,) = [child for child in below(process.pid) if "train_cell" in Path(f"/proc/{child}/cmdline").read_text()]
    os.kill(worker, signal.SIGKILL)
    before = epochs()
    wait_for(lambda: epochs() > before)
    children = below(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))  # no Ray is left over
    table = search(KILLED, faces=faces, verbose=0)
    assert sorted(table["epochs"]) == [1, 60]
    runs = {run.epochs_run: run for run in records(own_folders / "build").values()}
    assert (runs[1].resumed, runs[60].resumed) == (0, 2)


def wait_for(condition, seconds=500):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
