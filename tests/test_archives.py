"""Zip archives: what they may hold, and what is refused before it does harm."""

import io
import os
import re
import stat
import struct
import tarfile
import zipfile

import data_files as files
import numpy as np
import pytest
from data_files import text, write_zip

from fer_keras.data import archives, load_faces, load_fer4, load_fer7
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


OTHERS = {"train.csv": TRAIN, "test.csv": TEST, "example_submission.csv": b"emotion\n0\n0\n", "__MACOSX/._a.csv": b"\0"}
ZIPS = {
    "fer2013.csv.zip": {"fer2013.csv": CSV},
    "faces.ZIP": {"data/some/faces of 2013.csv": CSV},
    "challenge.zip": {"icml_face_data.csv": ICML} | OTHERS,
}


@pytest.mark.parametrize(("name", "entries"), ZIPS.items(), ids=ZIPS)
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
    files.refused(r"archive\.zip: Expected the official split", load_fer7, archive, protocol="official")


def test_votes_and_the_course_set_in_a_zip_are_read(tmp_path, archive, table):
    write_zip(archive, {"a/fer2013.csv": CSV, "a/fer2013new.csv": text(files.ferplus_lines(table))})
    np.testing.assert_array_equal(load_fer7(archive).votes, table["votes"])
    listing = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
    file = files.as_zip(files.write_course(tmp_path / "course", table["images"], listing))
    for _ in range(2):
        assert load_fer4(file).protocol == "course"
    files.refused(r"faces\.zip: Expected the classes angry", load_fer7, file)


def test_bad_rows_and_votes_in_a_zip_are_named_by_the_zip_and_can_be_skipped(tmp_path, archive, table):
    lines, votes = files.csv_lines(table), files.ferplus_lines(table)
    lines[30], votes[31] = "7" + lines[30][1:], "Dev" + votes[31][votes[31].index(",") :]
    write_zip(archive, {"fer2013.csv": text(lines), "fer2013new.csv": text(votes)})
    files.refused(rf"^{archive}.fer2013\.csv, line 31: Expected an emotion.*{files.SKIP_REASON}", load_fer7, archive)
    faces = load_fer7(archive, on_error="skip")
    assert len(faces) == 41
    row, vote = faces.skipped
    assert row.startswith(f"{archive}{os.sep}fer2013.csv, line 31")
    assert vote.startswith(f"{archive}{os.sep}fer2013new.csv, line 32: Expected a Usage")
    assert files.nothing_cached(tmp_path)


SEVERAL = {
    "two-tables": ({"a/fer2013.csv": CSV, "b/fer2013.csv": CSV}, r"Received: a.fer2013\.csv, b.fer2013\.csv"),
    "official-twice": (
        {"fer2013.csv": CSV, "icml_face_data.csv": ICML},
        r"one data set .*: fer2013\.csv, icml_face",
    ),
    "only-test": ({"test.csv": TEST}, r"test\.csv, line 1: .* no emotion"),
    "nothing-known": ({"notes.txt": b"nothing"}, "Expected one of the following. Received: a folder"),
    "nothing": ({}, "Received: an empty folder"),
    "one-other-csv": ({"fer.csv": CSV.replace(b"pixels", b"pixel")}, r"fer\.csv, line 1: .* Add or rename pixels"),
    "twice": ({"FER2013.csv": CSV, "fer2013.csv": CSV}, "which it holds twice"),
}


@pytest.mark.parametrize(("entries", "message"), SEVERAL.values(), ids=SEVERAL)
def test_a_zip_that_does_not_say_what_is_meant_is_refused(tmp_path, archive, entries, message):
    files.refused(rf"archive\.zip.*{message}", load_fer7, write_zip(archive, entries))
    assert files.nothing_cached(tmp_path)


OUTSIDE = ["../fer2013.csv", "a/../../fer2013.csv", "/tmp/fer2013.csv", "C:/fer2013.csv", "..\\fer2013.csv", "C:x.csv"]
OUTSIDE += ["fer\x002013.csv", "\\\\server\\fer2013.csv"]
DEEP = "a/" * 1900 + "1.png"
ZIP_ENTRIES = [(DEEP, stat.S_IFREG), *((name, stat.S_IFREG) for name in OUTSIDE)]
ZIP_ENTRIES += [("fer2013.csv", kind) for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR)]
TAR_ENTRIES = [(DEEP, b"0"), ("../1.csv", b"0"), ("/1.csv", b"0"), ("1.csv", b"2"), ("1.csv", b"6")]


@pytest.mark.parametrize(("name", "kind"), [*ZIP_ENTRIES, *TAR_ENTRIES])
def test_an_entry_that_climbs_out_or_lies_deep_or_is_no_plain_file_is_refused(tmp_path, archive, name, kind):
    if isinstance(kind, bytes):
        with tarfile.open(archive := tmp_path / "archive.tgz", "w:gz") as file:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            file.addfile(entry, io.BytesIO())
    else:
        entry = zipfile.ZipInfo("placeholder.csv")
        entry.filename = entry.orig_filename = name  # as another program may write it
        entry.external_attr = (kind | 0o777) << 16
        write_zip(archive, {entry: CSV})
    what = "leads out" if kind in (b"0", stat.S_IFREG) else "a link or a special file"
    expected = "16 folders deep" if name == DEEP else f"Expected plain files inside the archive.*entry .*{what}"
    before = set(tmp_path.rglob("*"))
    for load in (load_fer7, load_faces):
        files.refused(expected, load, archive)
    assert set(tmp_path.rglob("*")) == before


def test_what_a_killed_process_unpacked_is_swept(tmp_path, archive):
    (tmp_path / "temporary" / ".fer_keras-abc.999999.tmp").mkdir()
    load_fer7(write_zip(archive, {"fer2013.csv": CSV}))


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
    files.refused(rf"archive\.zip: .*{message}", load_fer7, archive, on_error=on_error)
    assert files.nothing_cached(tmp_path)


def test_an_absurd_ratio_is_refused_before_anything_is_written(archive, monkeypatch):
    write_zip(archive, {"fer2013.csv": bytes(3 * archives.FREE_BYTES)})
    monkeypatch.setattr("zipfile.ZipFile.open", None)
    files.refused(r"Expected at most 1,048,576 bytes unpacked .* Received: 3,145,728 or more", load_fer7, archive)


def test_real_bytes_are_counted_whatever_the_archive_says(archive, monkeypatch):
    """An archive that hides how large its entries are: each says that it is empty."""
    write_zip(archive, {f"{number}.csv": bytes(2**20) for number in range(4)})
    monkeypatch.setattr("zipfile.ZipFile.open", lambda archive, entry: io.BytesIO(bytes(2**20)))
    spoil(archive, -24, bytes(4))
    files.refused(r"Received: 2,097,152 or more", load_fer7, archive)


def test_the_limits_hold_for_size_and_number(archive, monkeypatch):
    write_zip(archive, {"fer2013.csv": CSV, "b.txt": b""})
    for limit, value, expected in (("MAX_BYTES", 1000, "1,000 bytes unpacked"), ("MAX_ENTRIES", 1, "1 entries")):
        with monkeypatch.context() as patch:
            patch.setattr(archives, limit, value)
            files.refused(f"Expected at most {expected}", load_fer7, archive)
