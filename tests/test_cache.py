"""The cache of parsed data: quick, checked, whole or not at all."""

import itertools
import os
import subprocess
import sys
import textwrap
import time
from unittest import mock

import numpy as np
import pytest
from data_files import csv_lines, fer_table, parquet_frame, write_csv, write_parquet

from fer_keras.data import cache, fer2013_tables, load_fer7
from fer_keras.data.dataset import Problems

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def file(tmp_path, table):
    return write_csv(tmp_path / "data", csv_lines(table))


@pytest.fixture
def count(monkeypatch):
    """How often files are parsed, and how often digested, so far."""
    parse, digest = mock.Mock(wraps=fer2013_tables.assemble), mock.Mock(wraps=cache.digest_of)
    monkeypatch.setattr(fer2013_tables, "assemble", parse)
    monkeypatch.setattr(cache, "digest_of", digest)
    return lambda: (parse.call_count, digest.call_count)


def entry():
    (found,) = (path.parent for path in cache.folder().glob("*/entry.json"))
    return found


def test_the_second_read_neither_parses_nor_digests_and_maps_the_images(file, table, tmp_path, count):
    folder = write_parquet(tmp_path / "parquet", parquet_frame(table))
    for number, path in enumerate((file, folder), start=1):
        first, second = load_fer7(path), load_fer7(path)
        assert count() == (number, number)
        for name in ("images", "labels", "split", "rows", "votes", "classes", "source", "protocol", "skipped"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        base = second.images
        while not isinstance(base, np.memmap):
            base = base.base
            assert base is not None
        assert not second.images.flags.writeable
    frame = parquet_frame(fer_table(42, seed=1))
    frame[frame["Usage"] == "PrivateTest"].to_parquet(folder / "fer2013-privatetest.parquet")
    assert load_fer7(folder).fingerprint != first.fingerprint


def test_a_file_touched_or_moved_is_digested_and_one_of_another_content_parsed_again(file, table, count, tmp_path):
    load_fer7(file)
    os.utime(file, (1, 1))
    for _ in range(2):
        load_fer7(file)
        assert count() == (1, 2)
    (tmp_path / "elsewhere").mkdir()
    load_fer7(file.rename(tmp_path / "elsewhere" / file.name))
    assert count() == (1, 3)
    lines = csv_lines(table)
    lines[1] = lines[1].replace("0,", "6,", 1)  # of the same size
    os.utime(write_csv(file.parent, lines), (2, 2))
    assert load_fer7(file).labels[0] == 6
    assert count() == (2, 4)


FAULTS = {
    "flip": lambda content: content[:-7] + bytes([content[-7] ^ 16]) + content[-6:],
    "cut": lambda content: content[:-1],
    "remove": None,
    "empty": lambda content: b"",
    "other JSON": lambda content: b"[]",
    "other version": lambda content: content.replace(b'"version": %d' % cache.VERSION, b'"version": 0'),
}


def spoil(path, fault):
    path.write_bytes(FAULTS[fault](path.read_bytes())) if FAULTS[fault] else path.unlink()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *itertools.product(("images.npy", "labels.npy", "split.npy", "rows.npy"), ("flip", "cut", "remove")),
        *itertools.product(("entry.json", "../*.json"), list(FAULTS)[1:]),
    ],
)
def test_a_broken_entry_is_made_again_and_a_broken_note_costs_a_digest(file, table, count, name, fault):
    load_fer7(file)
    (path,) = entry().parent.glob(name[3:]) if name[0] == "." else (entry() / name,)
    spoil(path, fault)
    for _ in range(2):
        faces = load_fer7(file)
        assert count() == ((1, 2) if name[0] == "." else (2, 1))
        np.testing.assert_array_equal(faces.images[..., 0], table["images"])
        np.testing.assert_array_equal(faces.labels, table["emotion"])


def test_writing_that_fails_leaves_nothing_and_is_announced(file, table, tmp_path, monkeypatch):
    def full(path, values):
        path.write_bytes(b"half")
        if path.stem == "split":
            raise OSError(28, "No space left on device")

    (cache.folder() / ".abc.999999.tmp").mkdir(parents=True)  # what a killed process left
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.warns(UserWarning, match=r"cannot be written .*No space left.* Set FER_KERAS_CACHE"):
            faces = load_fer7(file)
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    assert not list(cache.folder().glob("*/*"))
    assert not list(cache.folder().glob(".*.tmp"))
    monkeypatch.setenv("FER_KERAS_CACHE", str(file))
    with pytest.warns(UserWarning, match="cannot be written"):
        assert len(load_fer7(file)) == 42


def test_a_file_that_changes_while_it_is_read_is_not_kept(file):
    def parse():
        faces = fer2013_tables.parse_csv(file, fer2013_tables.COLUMNS, Problems())
        file.write_bytes(file.read_bytes() + b"\n")
        return faces

    assert len(cache.cached("fer2013-csv", (file,), parse)) == 42
    assert not cache.folder().exists()


def start(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


RACE = """
    import pathlib, sys, time
    from fer_keras.data import load_fer7
    rename = pathlib.Path.rename
    def meet(unfinished, entry):
        here = pathlib.Path(sys.argv[2])
        (here / sys.argv[3]).touch()
        while len(list(here.iterdir())) < 2:  # until both have written theirs
            time.sleep(0.001)
        rename(unfinished, entry)
    pathlib.Path.rename = meet
    print(load_fer7(sys.argv[1]).fingerprint)
"""


@pytest.mark.parametrize("broken", [False, True])
def test_two_processes_at_once_give_one_good_entry(file, tmp_path, table, broken):
    if broken:
        load_fer7(file)
        spoil(entry() / "images.npy", "flip")
    (tmp_path / "meeting").mkdir()
    both = [start(RACE, file, tmp_path / "meeting", name) for name in "ab"]
    prints = {process.communicate(timeout=50)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    faces = cache.load(entry().name)
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    assert prints == {faces.fingerprint}
    assert not list(cache.folder().glob(".*.tmp"))


def test_the_second_read_of_the_real_data_takes_less_than_half_a_second(fer2013):
    load_fer7(fer2013)
    start = time.process_time()
    assert len(load_fer7(fer2013)) == 35_887
    assert time.process_time() - start < 0.5
