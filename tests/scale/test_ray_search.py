"""A search on Ray: the same table as without it, resumed after a kill; a cell that fails stops no other."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fer_keras.training.trainer  # noqa: F401 (imports Keras, which prints, before output is captured)
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recipes import Space
from fer_keras.results import comparable_fields, read_runs, read_table
from fer_keras.training.search import search

ray = pytest.importorskip("ray")
GRID = {"learning_rate": [0.01, 0.0001], "batch_size": [16, 32]}
SMALL = Space("small", "capstone-model-1", GRID | {"epochs": [2]}, "a test")
KILLED = Space("killed", "capstone-model-1", {"epochs": [1, 60], "stop_patience_epochs": [0]}, "a test")
FACES = "make_faces(12, classes=FER4, seed=1)"
SCRIPT = f"""
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import Space
from fer_keras.training.search import search
search({KILLED}, faces={FACES}, ray=True, verbose=0)
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
    said, others = run.predictions("validation"), other.predictions("validation")
    np.testing.assert_array_equal(said.labels, others.labels)
    np.testing.assert_allclose(said.probabilities, others.probabilities, atol=5e-3)


def test_several_at_once_end_as_one_after_the_other(faces, ray_of_two, own_folders, monkeypatch, capfd):
    assert len(search(SMALL, faces=faces, ray=True, minutes=1e-6)) == 0
    table = search(SMALL, faces=faces, ray=True)
    printed = capfd.readouterr()
    assert len(printed.out.splitlines()) == 4, "a line a cell, each trained once, and nothing of Ray's"
    assert printed.err == ""
    assert ray.is_initialized(), "whoever started a Ray ends it"
    on_ray = records(own_folders / "build")
    assert len(on_ray) == 4
    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "here"))
    here = search(SMALL, faces=faces, verbose=0)
    found = records(own_folders / "here")
    assert found.keys() == on_ray.keys()
    for name, run in found.items():
        assert_same(run, on_ray[name])
    exact = [*SMALL.grid, "train_images", "validation_images"]
    here, table = (each.sort_values(list(SMALL.grid), ignore_index=True) for each in (here, table))
    assert here.columns.equals(table.columns)
    assert here[exact].equals(table[exact])
    np.testing.assert_allclose(here["accuracy"], table["accuracy"], atol=1.5 / here["validation_images"].min())


def test_what_fails_is_reported_and_stops_no_other(faces, ray_of_two, own_folders, monkeypatch, capsys):
    monkeypatch.setenv("FER_KERAS_DATA", str(own_folders / "nowhere"))  # where mini-xception's seven classes are sought
    grid = {"start_recipe": [None, "mini-xception", "capstone-model-1"], "epochs": [1, 2]}
    with pytest.raises(
        ValueError, match=r"Expected every training of odd to end\. Received: 2 that failed; 4"
    ) as error:
        search(Space("odd", "capstone-model-1", grid, "a test"), faces=faces, ray=True, workers=1)
    for epochs, line in enumerate(str(error.value).splitlines()[1:], start=1):
        assert f"epochs={epochs},start_recipe=mini-xception" in line
        assert line.partition(": ")[2].startswith("DataError: ")
    assert capsys.readouterr().out.count("validation 0.") == 4
    table = read_table("search-odd", folder=own_folders / "build" / "results")
    assert table["start_recipe"].fillna("none").value_counts().to_dict() == {"none": 2, "capstone-model-1": 2}


def test_killed_it_goes_on_in_the_epoch_where_it_was(faces, own_folders):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: trained(own_folders, 1) and histories(own_folders, 60), process)
        children = below(process.pid)
        assert len(children) > 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_for(lambda: not any(alive(child) for child in children))  # no Ray is left over
    (state,) = histories(own_folders, 60)
    before = len(state.read_text().splitlines()) - 1
    assert 0 < before < 60
    table = search(KILLED, faces=faces, verbose=0)
    assert sorted(table["epochs"]) == [1, 60]
    runs = {run.epochs_run: run for run in records(own_folders / "build").values()}
    assert (runs[1].resumed, runs[60].resumed) == (0, 1)


def test_a_worker_that_is_killed_is_started_once_more(own_folders):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(lambda: trained(own_folders, 1) and histories(own_folders, 60), process)
    for child in below(process.pid):
        if "train_cell" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(child, signal.SIGKILL)
    printed, _ = process.communicate()
    assert process.returncode == 0, printed.decode()
    runs = {run.epochs_run: run for run in records(own_folders / "build").values()}
    assert (runs[1].resumed, runs[60].resumed) == (0, 1)


def trained(folder, epochs):
    return list(folder.glob(f"build/searches/*/results/runs/*epochs={epochs},*.json"))


def histories(folder, epochs):
    return list(folder.glob(f"build/runs/*epochs={epochs},*/history.csv"))


def wait_for(condition, process=None, seconds=500):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def below(pid):
    """Return the numbers of all processes that a process has started, and those that they have."""
    parents = {int(path.parent.name): parent_of(path) for path in Path("/proc").glob("[0-9]*/stat")}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def parent_of(stat):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return None


def alive(pid):
    return parent_of(Path(f"/proc/{pid}/stat")) is not None
