"""The cache of parsed data: quick, checked, whole or not at all."""

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from data_files import REAL_DATA, csv_lines, fer_table, needs_real_data, parquet_frame, write_csv, write_parquet

from fer_keras.data import FaceDataset, cache, fer2013_tables, load_fer7
from fer_keras.data.dataset import Problems
from fer_keras.labels import SPLITS

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def file(tmp_path, table):
    return write_csv(tmp_path / "data", csv_lines(table))


@pytest.fixture
def parses(monkeypatch):
    """Count how often files are parsed, and how often digested."""
    count = {"parse": 0, "digest": 0}

    def counted(kind, function):
        def call(*args):
            count[kind] += 1
            return function(*args)

        return call

    monkeypatch.setattr("fer_keras.data.fer2013_tables.parse_csv", counted("parse", fer2013_tables.parse_csv))
    monkeypatch.setattr("fer_keras.data.fer2013_tables.read_table", counted("parse", fer2013_tables.read_table))
    monkeypatch.setattr(cache, "digest_of", counted("digest", cache.digest_of))
    return count


def entry():
    (found,) = (path.parent for path in cache.folder().glob("*/entry.json"))
    return found


def test_the_second_read_neither_parses_nor_digests(file, parses):
    first, second = load_fer7(file), load_fer7(file)
    assert parses == {"parse": 1, "digest": 1}
    assert first.fingerprint == second.fingerprint
    for name in ("images", "labels", "split", "rows"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in ("classes", "source", "protocol", "votes", "skipped"):
        assert getattr(first, name) == getattr(second, name)


def test_parquet_is_kept_with_its_votes(tmp_path, table, parses):
    folder = write_parquet(tmp_path / "data", parquet_frame(table))
    first, second = load_fer7(folder), load_fer7(folder)
    assert parses == {"parse": 3, "digest": 1}
    np.testing.assert_array_equal(first.votes, second.votes)
    frame = parquet_frame(fer_table(42, seed=1))
    frame[frame["Usage"] == "PrivateTest"].to_parquet(folder / "fer2013-privatetest.parquet")
    assert load_fer7(folder).fingerprint != first.fingerprint


def test_images_are_mapped_from_the_file_not_read(file):
    images = load_fer7(file).images
    base = images
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            break
        base = base.base
    assert isinstance(base, np.memmap)
    assert not images.flags.writeable


def test_a_file_touched_or_moved_is_digested_but_not_parsed_again(file, parses, tmp_path):
    load_fer7(file)
    os.utime(file, (1, 1))
    load_fer7(file)
    assert parses == {"parse": 1, "digest": 2}
    load_fer7(file)
    assert parses == {"parse": 1, "digest": 2}
    load_fer7(file.rename(tmp_path / "elsewhere.csv"))
    assert parses == {"parse": 1, "digest": 3}


def test_another_content_is_parsed_again(file, table, parses):
    before = load_fer7(file)
    lines = csv_lines(table)
    lines[1] = lines[1].replace("0,", "6,", 1)  # of the same size
    write_csv(file.parent, lines)
    os.utime(file, (1, 1))
    after = load_fer7(file)
    assert parses["parse"] == 2
    assert after.labels[0] == 6 != before.labels[0]
    assert before.images[0].sum() == after.images[0].sum()


def flip(path):
    content = bytearray(path.read_bytes())
    content[-7] ^= 16
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def other_json(path):
    path.write_text("[]")


def other_version(path):
    path.write_text(path.read_text().replace(f'"version": {cache.VERSION}', '"version": 0'))


@pytest.mark.parametrize(
    ("name", "fault"),
    [(f"{array}.npy", fault) for array in ("images", "labels", "split", "rows") for fault in (flip, cut, remove)]
    + [("entry.json", fault) for fault in (cut, empty, remove, other_json, other_version)],
)
def test_a_broken_entry_is_made_again(file, table, parses, name, fault):
    load_fer7(file)
    fault(entry() / name)
    faces = load_fer7(file)
    assert parses["parse"] == 2
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    np.testing.assert_array_equal(faces.labels, table["emotion"])
    load_fer7(file)
    assert parses["parse"] == 2


@pytest.mark.parametrize("fault", [cut, empty, other_json, other_version])
def test_a_broken_note_costs_a_digest(file, parses, fault):
    load_fer7(file)
    (note,) = cache.folder().glob("*.json")
    fault(note)
    load_fer7(file)
    load_fer7(file)
    assert parses == {"parse": 1, "digest": 2}


def test_writing_that_fails_leaves_nothing_and_is_said(file, table, monkeypatch):
    saved = []

    def full(path, values):
        if len(saved) == 2:
            raise OSError(28, "No space left on device")
        saved.append(path)
        path.write_bytes(b"half")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.warns(UserWarning, match=r"cannot be written .*No space left.* Set FER_KERAS_CACHE"):
            faces = load_fer7(file)
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    assert not list(cache.folder().glob("*/*"))
    assert not list(cache.folder().glob(".*.tmp"))


def test_a_cache_that_cannot_be_is_said(file, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "a file"))
    with pytest.warns(UserWarning, match="cannot be written"):
        assert len(load_fer7(file)) == 42


def test_a_file_that_changes_while_it_is_read_is_not_kept(file):
    def parse():
        faces = fer2013_tables.read_csv((file,), Problems())
        file.write_bytes(file.read_bytes() + b"\n")
        return faces

    assert len(cache.cached("fer2013-csv", (file,), parse)) == 42
    assert not cache.folder().exists()


def test_a_process_killed_while_writing_leaves_no_entry(file, table):
    code = f"""
        import os, signal
        import numpy as np
        from fer_keras.data import load_fer7
        save = np.save
        def kill(path, values):
            save(path, values)
            if path.name == "split.npy":
                os.kill(os.getpid(), signal.SIGKILL)
        np.save = kill
        load_fer7({str(file)!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -9
    assert list(cache.folder().glob(".*.tmp/images.npy"))
    assert not list(cache.folder().glob("*/entry.json"))
    np.testing.assert_array_equal(load_fer7(file).images[..., 0], table["images"])
    assert not list(cache.folder().glob(".*.tmp"))  # the next to write has swept it


RACE = """
    import pathlib, sys, time
    from fer_keras.data import cache, load_fer7
    put = cache.put
    def meet(unfinished, entry):
        here = pathlib.Path(sys.argv[2])
        (here / sys.argv[3]).touch()
        while len(list(here.iterdir())) < 2:  # until both have written theirs
            time.sleep(0.001)
        put(unfinished, entry)
    cache.put = meet
    print(load_fer7(sys.argv[1]).fingerprint)
"""


@pytest.mark.parametrize("broken", [False, True])
def test_two_processes_at_once_give_one_good_entry(file, tmp_path, table, broken):
    if broken:
        load_fer7(file)
        flip(entry() / "images.npy")
    (tmp_path / "meeting").mkdir()
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(RACE), str(file), str(tmp_path / "meeting")]
    both = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    prints = {process.communicate(timeout=50)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    faces = cache.load(entry().name)
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    assert prints == {faces.fingerprint}
    assert not list(cache.folder().glob(".*.tmp"))


def test_entries_of_a_size_are_listed_newest_first(file, tmp_path):
    load_fer7(file)
    first = entry().name
    os.utime(entry(), (1, 1))
    load_fer7(write_csv(tmp_path / "other", csv_lines(fer_table(42, seed=1))))
    load_fer7(write_csv(tmp_path / "small", csv_lines(fer_table(7))))
    assert len(cache.names(42)) == 2
    assert cache.names(42)[1] == first
    assert cache.names(41) == []


def test_an_entry_keeps_splits_of_any_order():
    split = np.array(["test", "train", "validation", "train"])
    images = np.zeros((4, 48, 48, 1), np.uint8)
    faces = FaceDataset(images, np.arange(4), split, ("a", "b", "c", "d"), "made up", "own", np.array([9, 3, 4, 1]))
    cache.store("made-up", faces)
    kept = cache.load("made-up")
    assert kept.split.tolist() == split.tolist()
    assert set(kept.split) == set(SPLITS)
    assert kept.rows.tolist() == [9, 3, 4, 1]
    assert kept.classes == ("a", "b", "c", "d")


@needs_real_data
def test_the_second_read_of_the_real_data_takes_less_than_half_a_second():
    load_fer7(REAL_DATA)
    start = time.perf_counter()
    faces = load_fer7(REAL_DATA)
    assert time.perf_counter() - start < 0.5
    assert len(faces) == 35_887
