"""Zip archives: what they may hold, and what is refused before it does harm."""

import io
import os
import re
import stat
import struct
import zipfile

import data_files as files
import numpy as np
import pytest
from data_files import as_zip, text, write_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_keras.data import DataError, archives, load_fer4, load_fer7
from fer_keras.data.dataset import Problems
from fer_keras.data.load import read_archive
from fer_keras.labels import FER4

CSV = text(files.csv_lines(files.fer_table(42)))
ICML = text(files.icml_lines(files.fer_table(42)))
TRAIN = text(files.challenge_lines(files.fer_table(42)))
TEST = text(files.challenge_lines(files.fer_table(42), labels=False))


@pytest.fixture(autouse=True)
def archive(own_cache, monkeypatch, tmp_path):
    """The path of an archive to write, and a folder of temporary files in which nothing may be left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield tmp_path / "archive.zip"
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("fer2013.csv.zip", {"fer2013.csv": CSV}),
        ("icml_face_data.csv.zip", {"icml_face_data.csv": ICML}),
        ("faces.ZIP", {"data/some/faces of 2013.csv": CSV}),
        (
            "challenge.zip",
            {"icml_face_data.csv": ICML, "train.csv": TRAIN, "test.csv": TEST}
            | {"example_submission.csv": b"emotion\n0\n0\n", "__MACOSX/._icml_face_data.csv": b"\x00\x05"},
        ),
    ],
)
def test_a_zip_of_any_csv_is_read_and_cached(tmp_path, table, name, entries, monkeypatch):
    file = write_zip(tmp_path / name, entries)
    files.expect(load_fer7(file), table)
    monkeypatch.setattr(archives, "unpack", None)  # the second read comes from the cache
    files.expect(load_fer7(file.rename(tmp_path / "moved.zip")), table)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", "moved.zip", "temporary"]


def test_a_zip_of_train_csv_gets_a_split_of_our_own(archive, capsys):
    write_zip(archive, {"train.csv": TRAIN, "test.csv": TEST})
    for _ in range(2):
        assert load_fer7(archive).protocol == "own"
        assert "split 80/10/10" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"archive\.zip: Expected the official split"):
        load_fer7(archive, protocol="official")


def test_zips_with_votes_and_of_folders_are_read_like_the_folders(tmp_path, archive, table):
    write_zip(archive, {"a/fer2013.csv": CSV, "a/fer2013new.csv": text(files.ferplus_lines(table))})
    np.testing.assert_array_equal(load_fer7(archive).votes, table["votes"])
    for tree in (files.named_folders(table), files.validated_folders(table)):
        folder = files.write_tree(tmp_path / f"of {len(list(tmp_path.iterdir()))}", tree)
        faces, zipped = load_fer7(folder), load_fer7(as_zip(folder))
        assert (zipped.protocol, zipped.fingerprint) == (faces.protocol, faces.fingerprint)
    listing = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
    course = files.write_course(tmp_path / "c", table["images"], listing)
    file = as_zip(course, "c.zip")
    for _ in range(2):
        faces = load_fer4(file)
        assert (faces.protocol, faces.fingerprint) == ("course", load_fer4(course).fingerprint)
    with pytest.raises(DataError, match=r"c\.zip: Expected the classes angry"):
        load_fer7(file)


def test_bad_rows_and_votes_in_a_zip_are_named_by_the_zip_and_can_be_skipped(tmp_path, archive, table):
    lines, votes = files.csv_lines(table), files.ferplus_lines(table)
    lines[30], votes[31] = "7" + lines[30][1:], "Dev" + votes[31][votes[31].index(",") :]
    write_zip(archive, {"fer2013.csv": text(lines), "fer2013new.csv": text(votes)})
    with pytest.raises(DataError, match=rf"^{archive}.fer2013\.csv, line 31: Expected an emotion.*{files.SKIP_REASON}"):
        load_fer7(archive)
    faces = load_fer7(archive, on_error="skip")
    assert len(faces) == 41
    row, vote = faces.skipped
    assert row.startswith(f"{archive}{os.sep}fer2013.csv, line 31")
    assert vote.startswith(f"{archive}{os.sep}fer2013new.csv, line 32: Expected a Usage")
    assert files.nothing_cached(tmp_path)


SEVERAL = {
    "two-tables": (
        {"a/fer2013.csv": CSV, "b/fer2013.csv": CSV},
        r"one data set in the archive. Received: a.fer2013\.csv, b.fer2013\.csv",
    ),
    "official-twice": (
        {"fer2013.csv": CSV, "icml_face_data.csv": ICML},
        r"Received: fer2013\.csv, icml_face_data\.csv",
    ),
    "only-test": ({"test.csv": TEST}, r"test\.csv, line 1: .* no emotion"),
    "nothing-known": ({"notes.txt": b"nothing"}, "Expected one of the following. Received: a folder"),
    "nothing": ({}, "Received: an empty folder"),
    "one-other-csv": ({"fer.csv": CSV.replace(b"pixels", b"pixel")}, r"fer\.csv, line 1: .* Add or rename pixels"),
    "twice": ({"FER2013.csv": CSV, "fer2013.csv": CSV}, "which it holds twice"),
}


@pytest.mark.parametrize(("entries", "message"), SEVERAL.values(), ids=SEVERAL)
def test_a_zip_that_does_not_say_what_is_meant_is_refused(tmp_path, archive, entries, message):
    with pytest.raises(DataError, match=rf"archive\.zip.*{message}"):
        load_fer7(write_zip(archive, entries))
    assert files.nothing_cached(tmp_path)


OUTSIDE = ["../fer2013.csv", "a/../../fer2013.csv", "/tmp/fer2013.csv", "C:/fer2013.csv", "..\\fer2013.csv", "C:x.csv"]


@pytest.mark.parametrize("name", [*OUTSIDE, "fer\x002013.csv", "\\\\server\\fer2013.csv"])
def test_an_entry_that_climbs_out_is_refused(tmp_path, archive, name):
    entry = zipfile.ZipInfo("placeholder.csv")
    entry.filename = entry.orig_filename = name  # as another program may write it
    write_zip(archive, {entry: CSV})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"Expected plain files inside the archive\. Received: the entry .* leads out"):
        load_fer7(archive)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(archive, kind):
    entry = zipfile.ZipInfo("fer2013.csv")
    entry.external_attr = (kind | 0o777) << 16
    with pytest.raises(DataError, match=r"the entry 'fer2013\.csv', a link or a special file"):
        load_fer7(write_zip(archive, {entry: b"/etc/passwd"}))


def spoil(file, place, content):
    """Put bytes into a file; a place below 0 counts from each entry of the archive's central directory."""
    data = bytearray(file.read_bytes())
    entries = [found.start() for found in re.finditer(rb"PK\x01\x02", data)]
    for at in [place] if place >= 0 else [entry - place for entry in entries]:
        data[at : at + len(content)] = content
    file.write_bytes(data)


def both(at, in_directory, content):
    """A function that puts bytes where an entry's own header and the central directory say a thing."""
    return lambda file: (spoil(file, at, content), spoil(file, -in_directory, content))


BAD = {
    "encrypted": (both(6, 8, b"\x01"), "the entry 'fer2013.csv', which is encrypted"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-200]), "a whole zip archive. Received: BadZipFile"),
    "no zip": (lambda file: file.write_bytes(b"emotion,pixels\n" * 30), "a whole zip archive. Received: BadZipFile"),
    "empty": (lambda file: file.write_bytes(b""), "Expected a whole zip archive"),
    "broken": (lambda file: spoil(file, 5000, b"\xff" * 50), "Expected a whole zip archive"),
    "method": (both(8, 10, struct.pack("<H", 97)), "Expected a whole zip archive. Received: NotImplementedError"),
    # Smaller than it is: what is beyond is never read, and the sum is wrong.
    "understated": (both(22, 24, struct.pack("<L", 100)), "Bad CRC-32"),
    "overstated": (both(22, 24, struct.pack("<L", 2**31)), r"at most [\d,]+ bytes .* Received: 2,147,483,648 or more"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_bad_archive_is_refused_either_way(tmp_path, archive, change, message, on_error):
    change(write_zip(archive, {"fer2013.csv": CSV}))
    with pytest.raises(DataError, match=rf"archive\.zip: .*{message}"):
        load_fer7(archive, on_error=on_error)
    assert files.nothing_cached(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_archive_broken_anywhere_never_gives_other_faces(archive, data):
    table = files.fer_table(2)
    write_zip(archive, {"d/fer2013.csv": text(files.csv_lines(table)), "d/notes.txt": b"nothing"})
    end = archive.stat().st_size
    for _ in range(data.draw(st.integers(1, 3))):
        headers = st.one_of(st.integers(0, 60), st.integers(end - 260, end - 1), st.integers(0, end - 1))
        spoil(archive, data.draw(headers), bytes([data.draw(st.integers(0, 255))]))
    try:
        faces = read_archive((archive,), Problems())
    except DataError:
        return
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    assert faces.labels.tolist() == [0, 1]


def test_an_absurd_ratio_is_refused_before_anything_is_written(archive, monkeypatch):
    write_zip(archive, {"fer2013.csv": bytes(3 * archives.FREE_BYTES)})
    monkeypatch.setattr("zipfile.ZipFile.open", None)
    with pytest.raises(DataError, match=r"Expected at most 1,048,576 bytes unpacked .* Received: 3,145,728 or more"):
        load_fer7(archive)


def test_real_bytes_are_counted_whatever_the_archive_says(archive, monkeypatch):
    """An archive that hides how large its entries are: each says that it is empty."""
    write_zip(archive, {f"{number}.csv": bytes(2**20) for number in range(4)})
    monkeypatch.setattr("zipfile.ZipFile.open", lambda archive, entry: io.BytesIO(bytes(2**20)))
    spoil(archive, -24, bytes(4))
    with pytest.raises(DataError, match=r"Received: 2,097,152 or more"):
        load_fer7(archive)


@pytest.mark.parametrize(
    ("limit", "value", "expected"), [("BYTES", 1000, "1,000 bytes unpacked"), ("ENTRIES", 1, "1 entries")]
)
def test_the_limits_hold_for_size_and_number(archive, monkeypatch, limit, value, expected):
    write_zip(archive, {"fer2013.csv": CSV, "b.txt": b""})
    monkeypatch.setattr(archives, f"MAX_{limit}", value)
    with pytest.raises(DataError, match=f"Expected at most {expected}"):
        load_fer7(archive)
