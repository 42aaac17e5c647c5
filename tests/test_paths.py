"""Files appear whole or not at all; what a killed process left is removed at the next start, a live one's never."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import made_up
import pytest

from fer_keras import paths
from fer_keras.results import write_run, write_table

WRITER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which background jobs ignore
import time
from fer_keras import paths
with paths.replacing("record.json") as file, paths.temporary_folder("made") as folder:
    file.write_bytes(b"half")
    (folder / "part").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_a_live_process_writes_stays_and_a_killed_one_left_goes_and_a_stopped_one_leaves_nothing(number, tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        temporary = {f".made.2.{writer.pid}.tmp", f".record.json.1.{writer.pid}.tmp"}
        paths.sweep(tmp_path)
        assert set(os.listdir(tmp_path)) == temporary, "it is still being written"
        writer.send_signal(number)
    assert set(os.listdir(tmp_path)) == (temporary if number == signal.SIGKILL else set())
    paths.sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == set()


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("é" * 125 + ".csv")
    paths.write_whole(path, "whole")
    assert (path.read_text(), paths.partial(path).write_text("")) == ("whole", 0)
    assert paths.partial(path) != paths.partial(path.with_name("é" * 124 + "a.csv"))


def test_threads_that_write_one_file_leave_one_of_theirs_whole(tmp_path):
    contents = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: paths.write_whole(tmp_path / "a", content), contents * 10))
    assert ((tmp_path / "a").read_text() in contents, os.listdir(tmp_path)) == (True, ["a"])


def test_what_a_link_leads_to_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    for name in ("far/old.csv", "far/new.csv"):  # new.csv is not there
        (tmp_path / "far/old.csv").write_text("old")
        (link := tmp_path / "link.csv").unlink(missing_ok=True)
        link.symlink_to(name)
        for write in (paths.write_whole, paths.write_changed, lambda path, text: write_rows(path, text)):
            paths.check_writable(link, paths.TABLES)
            write(link, str(write))
            assert (link.is_symlink(), (tmp_path / name).read_text()) == (True, str(write))
    assert sorted(os.listdir(tmp_path / "far")) == ["new.csv", "old.csv"]


def write_rows(path, text):
    with paths.unfinished(path) as beside:
        beside.write_text(text)


def test_a_home_is_expanded_in_the_names_of_folders_and_its_lack_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("cache", "results", "figures", "build"):
        monkeypatch.setenv(f"FER_KERAS_{name.upper()}", f"~/{name}")
        assert getattr(paths, name)() == tmp_path / name
    for name in ("FER_KERAS_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # of a user that nobody knows
    with pytest.raises(ValueError, match="Set FER_KERAS_CACHE to a folder"):
        paths.cache()


def test_only_temporaries_are_swept_and_only_those_of_the_record_that_is_written(tmp_path):
    with subprocess.Popen(["true"]) as process:
        dead = f"{process.pid}.tmp"
    kept = {".note.tmp", f"note.{dead}", f".note.{process.pid}", f".note.{dead}.txt", ".note.0.tmp", ".note.007.tmp"}
    kept |= {".note.99999999999999999999.tmp", f".mine.{os.getpid()}.tmp", ".init.1.tmp"}
    for name in {*kept, f".note.{dead}"}:
        (tmp_path / name).write_text("")
    (tmp_path / "precious" / "folder").mkdir(parents=True)
    (tmp_path / f".link.{dead}").symlink_to(tmp_path / "precious")
    paths.sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == kept | {"precious"}
    assert set(os.listdir(tmp_path / "precious")) == {"folder"}
    paths.sweep(tmp_path / "not there")

    made, others = made_up.run("fer-small", skill=1.0), {f"runs/.other-s0.json.{dead}", f"tables/.other.json.{dead}"}
    gone = [f"{kind}/.{made[0].run}.json.{dead}" for kind in ("runs", "histories", "predictions")]
    for name in (*gone, f"tables/.explain.json.{dead}", *others):
        (tmp_path / "precious" / name).mkdir(parents=True)
    write_run(*made, folder=tmp_path / "precious")
    write_table("explain", {"a": 1}, folder=tmp_path / "precious")
    left = {path.relative_to(tmp_path / "precious").as_posix() for path in tmp_path.glob("precious/*/.*.tmp")}
    assert left == others, "they may be of another machine, which writes them at this moment"
