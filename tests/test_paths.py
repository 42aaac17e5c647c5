"""Files appear whole or not at all; what a killed process left is removed at the next start, a live one's never."""

import os
import signal
import subprocess
import sys

import made_up
import pytest

from fer_keras import paths
from fer_keras.results import write_run, write_table

WRITER = """
import sys, time
from fer_keras import paths

with paths.replacing("record.json") as file, paths.temporary_folder("made") as folder:
    file.write_bytes(b"half")
    (folder / "inside").mkdir()
    (folder / "inside" / "part").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_a_live_process_writes_stays_and_a_killed_one_left_goes_and_a_stopped_one_leaves_nothing(number, tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        temporary = [f".made.{writer.pid}.tmp", f".record.json.{writer.pid}.tmp"]
        paths.sweep(tmp_path)
        assert names(tmp_path) == temporary, "it is still being written"
        writer.send_signal(number)
    assert names(tmp_path) == (temporary if number == signal.SIGKILL else [])
    paths.sweep(tmp_path)
    assert names(tmp_path) == []


@pytest.fixture(scope="module")
def dead():
    """The number of a process that no longer runs."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_only_temporaries_are_swept(tmp_path, dead):
    kept = [".note.tmp", f"note.{dead}.tmp", f".note.{dead}", f".note.{dead}.tmp.txt", ".note.0.tmp", ".note.007.tmp"]
    kept += [".note.99999999999999999999.tmp", f".mine.{os.getpid()}.tmp", ".init.1.tmp"]
    for name in (*kept, f".note.{dead}.tmp"):
        (tmp_path / name).write_text("")
    (tmp_path / "precious" / "folder").mkdir(parents=True)
    (tmp_path / f".link.{dead}.tmp").symlink_to(tmp_path / "precious")
    paths.sweep(tmp_path)
    assert names(tmp_path) == sorted([*kept, "precious"])
    assert names(tmp_path / "precious") == ["folder"]
    paths.sweep(tmp_path / "not there")


def test_a_record_is_swept_for_when_it_is_written_again_and_others_are_not(tmp_path, dead):
    run, history, predictions = made_up.run("fer-small", skill=1.0)
    for kind in ("runs", "histories", "predictions"):
        (tmp_path / kind / f".{run.run}.json.{dead}.tmp").mkdir(parents=True)
        (tmp_path / kind / f".other-s0.json.{dead}.tmp").mkdir()
    (tmp_path / "tables" / f".explain.json.{dead}.tmp").mkdir(parents=True)
    write_run(run, history, predictions, folder=tmp_path)
    write_table("explain", {"a": 1}, folder=tmp_path)
    left = {path.name for path in tmp_path.rglob("*.tmp")}
    assert left == {f".other-s0.json.{dead}.tmp"}, "it may be of another machine, which writes it at this moment"
