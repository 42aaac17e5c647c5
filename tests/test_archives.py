"""Archives: what they may hold, and what is refused before it does harm."""

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
TEST = text(files.csv_lines(files.fer_table(42), "pixels"))


@pytest.fixture(autouse=True)
def archive(own_cache, monkeypatch, tmp_path):
    """The path of an archive to write, and a folder of temporary files in which nothing may be left."""
    temporary = tmp_path / "temporary"
    (temporary / ".fer_keras-abc.999999.tmp").mkdir(parents=True)  # what a killed process unpacked
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
    (tmp_path / "moved").mkdir()
    files.expect(load_fer7(file.rename(tmp_path / "moved" / name)), table)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", "moved", "temporary"]


def test_a_split_of_our_own_is_announced_and_votes_and_the_course_set_are_read(tmp_path, archive, table, capsys):
    write_zip(archive, {"a/fer2013.csv": CSV, "a/fer2013new.csv": text(files.ferplus_lines(table))})
    np.testing.assert_array_equal(load_fer7(archive).votes, table["votes"])
    write_zip(archive, {"train.csv": TRAIN, "test.csv": TEST})
    listing = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
    course = files.as_zip(files.write_course(tmp_path / "course", table["images"], listing))
    for _ in range(2):  # the second from the cache
        assert load_fer7(archive).protocol == "own"
        assert "split 80/10/10" in capsys.readouterr().err
        assert load_fer4(course).protocol == "course"
    files.refused(r"archive\.zip: Expected the official split", load_fer7, archive, protocol="official")
    files.refused(r"faces\.zip: Expected the classes angry", load_fer7, course)


def test_bad_rows_and_votes_in_a_zip_are_named_by_the_zip_and_can_be_skipped(tmp_path, archive, table):
    lines, votes = files.csv_lines(table), files.ferplus_lines(table)
    lines[30], votes[31] = "7" + lines[30][1:], "Dev" + votes[31][votes[31].index(",") :]
    write_zip(archive, {"fer2013.csv": text(lines), "fer2013new.csv": text(votes)})
    faces = files.skipped(rf"^{archive}.fer2013\.csv, line 31: Expected an emotion", load_fer7, archive)
    table["votes"][30] = 0
    np.testing.assert_array_equal(faces.votes, np.delete(table["votes"], 29, axis=0))
    row, vote = faces.skipped
    assert row.startswith(f"{archive}{os.sep}fer2013.csv, line 31")
    assert vote.startswith(f"{archive}{os.sep}fer2013new.csv, line 32: Expected a Usage")


def spoil(file, place, content):
    """Put bytes into a file; a place below 0 counts from each entry of the archive's central directory."""
    data = bytearray(file.read_bytes())
    entries = [found.start() for found in re.finditer(rb"PK\x01\x02", data)]
    for at in [place] if place >= 0 else [entry - place for entry in entries]:
        data[at : at + len(content)] = content
    file.write_bytes(data)


def rename(file, name, new):
    file.write_bytes(file.read_bytes().replace(name, new))


def both(at, in_directory, content):
    """A function that puts bytes where an entry's own header and the central directory say a thing."""
    return lambda file: (spoil(file, at, content), spoil(file, -in_directory, content))


ONE = {"fer2013.csv": CSV}
BAD = {
    # What does not say what is meant.
    "two tables": ({"a/fer2013.csv": CSV, "b/fer2013.csv": CSV}, None, r"Received: a.fer2013\.csv, b.fer2013\.csv"),
    "official twice": (ONE | {"icml_face_data.csv": ICML}, None, r"one data set .*: fer2013\.csv, icml_face"),
    "only test": ({"test.csv": TEST}, None, r"test\.csv, line 1: .* no emotion"),
    "nothing known": ({"notes.txt": b"nothing"}, None, "Expected one of the following. Received: a folder"),
    "nothing": ({}, None, "Received: an empty folder"),
    "another CSV": ({"a.csv": CSV.replace(b"pixels", b"pixel")}, None, r"a\.csv, line 1: .* Add or rename pixels"),
    "twice": ({"fer2013.csx": CSV} | ONE, lambda file: rename(file, b"fer2013.csx", b"fer2013.csv"), "holds twice"),
    # What is no whole archive.
    "encrypted": (ONE, both(6, 8, b"\x01"), "the entry 'fer2013.csv', which is encrypted"),
    "cut": (ONE, lambda file: file.write_bytes(file.read_bytes()[:-200]), "a whole zip archive. Received: BadZipFile"),
    "no zip": (ONE, lambda file: file.write_bytes(TEST[:500]), "a whole zip archive. Received: BadZipFile"),
    "empty": (ONE, lambda file: file.write_bytes(b""), "Expected a whole zip archive"),
    "broken": (ONE, lambda file: spoil(file, 5000, b"\xff" * 50), "Expected a whole zip archive"),
    "a file and a folder": (ONE | {"fer2013.csv/a": b""}, None, r"File exists: '[^']*/archive\.zip/fer2013\.csv'"),
    "method": (ONE, both(8, 10, struct.pack("<H", 97)), "a whole zip archive. Received: NotImplementedError"),
    "absurd": ({"a.csv": bytes(3 * 2**20)}, None, "at most 1,048,576 bytes unpacked .* Received: 3,145,728 or more"),
    # Smaller than it is: what is beyond is never read, and the sum is wrong.
    "understated": (ONE, both(22, 24, struct.pack("<L", 100)), "Bad CRC-32"),
    "overstated": (ONE, both(22, 24, struct.pack("<L", 2**31)), r"at most [\d,]+ bytes .* Received: 2,147,483,648 or"),
}  # fmt: skip


@pytest.mark.parametrize(("entries", "change", "message"), BAD.values(), ids=BAD)
def test_a_bad_archive_is_refused_either_way(tmp_path, archive, entries, change, message):
    write_zip(archive, entries)
    if change:
        change(archive)
    for on_error in ("raise", "skip"):
        files.refused(rf"archive\.zip.*{message}", load_fer7, archive, on_error=on_error)
    assert files.nothing_cached(tmp_path)


OUTSIDE = ["../fer2013.csv", "a/../../fer2013.csv", "/tmp/fer2013.csv", "..\\fer2013.csv", "fer\x002013.csv"]
OUTSIDE += ["\\\\server\\fer2013.csv", *["C:/fer2013.csv", "C:x.csv"] * (os.name == "nt")]
DEEP = "a/" * 1900 + "1.png"
ZIP_ENTRIES = [(DEEP, stat.S_IFREG), *((name, stat.S_IFREG) for name in OUTSIDE)]
ZIP_ENTRIES += [("fer2013.csv", kind) for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR)]
TAR_ENTRIES = [(DEEP, b"0"), ("../1.csv", b"0"), ("/1.csv", b"0"), ("1.csv", b"2"), ("1.csv", b"6"), ("1.csv", b"1")]


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
    expected = "'/etc/passwd' not found" if kind == b"1" else expected  # a second name is read from the archive alone
    for load in (load_fer7, load_faces):
        files.refused(expected, load, archive)
    assert sorted(item.name for item in tmp_path.iterdir()) == [archive.name, "temporary"]


ODD = ["3.45\u202fPM.png", "Foto\u00a01.png", "Icon\r", "A.PNG", "fr\udcf6h.png", "a 12:30.png"]


@pytest.mark.skipif(os.name == "nt", reason="not all names can be written there")
@pytest.mark.parametrize("name", ODD)
def test_harmless_names_and_second_names_of_a_file_and_the_folder_itself_are_read(name, tmp_path, archive, capsys):
    images = files.noise(4)
    paths = [f"{label}/{each}.png" for label in ("bored", "happy") for each in "ab"]
    place = files.write_tree(tmp_path / "own", dict(zip(paths, images, strict=True)))
    (place / "bored" / name).write_bytes((place / "bored" / "a.png").read_bytes())
    os.link(place / "bored" / "a.png", place / "happy" / "c.png")
    known = load_faces(place)
    with tarfile.open(tmp_path / "own.tar.gz", "w:gz") as file:
        file.add(place, ".")
    archived = [tmp_path / "own.tar.gz", *([] if "\udcf6" in name else [files.as_zip(place)])]
    for each in archived:
        capsys.readouterr()
        assert load_faces(each).fingerprint == known.fingerprint
        assert "temporary" not in capsys.readouterr().err, "it is gone when a reader could look"


def test_real_bytes_are_counted_whatever_the_archive_says(archive, monkeypatch):
    """An archive that hides how large its entries are: each says that it is empty."""
    write_zip(archive, {f"{number}.csv": bytes(2**20) for number in range(4)})
    monkeypatch.setattr("zipfile.ZipFile.open", lambda archive, entry: io.BytesIO(bytes(2**20)))
    spoil(archive, -24, bytes(4))
    files.refused(r"Received: 2,097,152 or more", load_fer7, archive)


def test_the_limits_hold_for_number_and_size(archive, monkeypatch):
    write_zip(archive, ONE | {"b.txt": b""})
    for limit, value, expected in (("MAX_ENTRIES", 1, "1 entries"), ("MAX_BYTES", 1000, "1,000 bytes unpacked")):
        monkeypatch.setattr(archives, limit, value)
        files.refused(f"Expected at most {expected}", load_fer7, archive)
