"""Zip archives: what they may hold, and what is refused before it does harm."""

import io
import os
import shutil
import stat
import struct
import zipfile

import data_files as files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_keras.data import DataError, archives, load_fer4, load_fer7
from fer_keras.data.dataset import Problems
from fer_keras.data.load import read_archive
from fer_keras.labels import FER4


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    """Give a test a cache and a folder of temporary files of its own, and check that it leaves none of these."""
    files.set_up(monkeypatch, tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    assert not list(temporary.iterdir())


def text(lines):
    return ("\n".join(lines) + "\n").encode()


def write_zip(file, entries, **options):
    """Write a zip of names to bytes and return its path."""
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


def zip_folder(file, folder):
    """Write a zip of a folder and all below it, and return its path."""
    files = {str(item.relative_to(folder.parent)): item.read_bytes() for item in folder.rglob("*") if item.is_file()}
    return write_zip(file, files)


@pytest.mark.parametrize(
    ("name", "entry", "lines"),
    [
        ("fer2013.csv.zip", "fer2013.csv", files.csv_lines),
        ("icml_face_data.csv.zip", "icml_face_data.csv", files.icml_lines),
        ("faces.ZIP", "data/some/faces of 2013.csv", files.csv_lines),
    ],
)
def test_a_zip_of_any_csv_is_read_and_cached(tmp_path, table, name, entry, lines, monkeypatch):
    file = write_zip(tmp_path / name, {entry: text(lines(table))})
    files.expect(load_fer7(file), table)
    monkeypatch.setattr(archives, "unpack", None)  # the second read comes from the cache
    files.expect(load_fer7(file.rename(tmp_path / "moved.zip")), table)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cache", "moved.zip", "temporary"]


def test_the_challenges_archive_gives_the_official_split(tmp_path, table):
    entries = {
        "icml_face_data.csv": text(files.icml_lines(table)),
        "train.csv": text(files.challenge_lines(table)),
        "test.csv": text(files.challenge_lines(table, labels=False)),
        "example_submission.csv": b"emotion\n0\n0\n",
        "__MACOSX/._icml_face_data.csv": b"\x00\x05",
    }
    files.expect(load_fer7(write_zip(tmp_path / "archive.zip", entries)), table)


def test_a_zip_of_train_csv_gets_a_split_of_our_own(tmp_path, table, capsys):
    entries = {
        "train.csv": text(files.challenge_lines(table)),
        "test.csv": text(files.challenge_lines(table, labels=False)),
    }
    file = write_zip(tmp_path / "archive.zip", entries)
    for _ in range(2):
        assert load_fer7(file).protocol == "own"
        assert "split 80/10/10" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"archive\.zip: Expected the official split"):
        load_fer7(file, protocol="official")
    with pytest.raises(DataError, match=r"archive\.zip.*test\.csv, line 1: .* no emotion"):
        load_fer7(write_zip(file, {"test.csv": text(files.challenge_lines(table, labels=False))}))


def test_votes_in_the_archive_are_joined(tmp_path, table):
    entries = {"a/fer2013.csv": text(files.csv_lines(table)), "a/fer2013new.csv": text(files.ferplus_lines(table))}
    np.testing.assert_array_equal(load_fer7(write_zip(tmp_path / "a.zip", entries)).votes, table["votes"])


def test_zips_of_folders_are_read_like_the_folders(tmp_path, table):
    parquet = files.write_parquet(tmp_path / "p", files.parquet_frame(table))
    assert load_fer7(zip_folder(tmp_path / "p.zip", parquet)).fingerprint == load_fer7(parquet).fingerprint
    for tree in (files.named_folders(table), files.validated_folders(table)):
        folder = files.write_tree(tmp_path / "archive", tree)
        faces, zipped = load_fer7(folder), load_fer7(zip_folder(tmp_path / "f.zip", folder))
        assert (zipped.protocol, zipped.fingerprint) == (faces.protocol, faces.fingerprint)
        shutil.rmtree(folder)
    listing = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
    course = files.write_course(tmp_path / "c", table["images"], listing)
    file = zip_folder(tmp_path / "c.zip", course)
    for _ in range(2):
        faces = load_fer4(file)
        assert (faces.protocol, faces.fingerprint) == ("course", load_fer4(course).fingerprint)
    with pytest.raises(DataError, match=r"c\.zip: Expected the classes angry"):
        load_fer7(file)


def test_a_bad_row_in_a_zip_is_named_by_the_zip_and_can_be_skipped(tmp_path, table):
    lines = files.csv_lines(table)
    lines[30] = "7" + lines[30][1:]
    file = write_zip(tmp_path / "archive.zip", {"fer2013.csv": text(lines)})
    with pytest.raises(DataError, match=rf"^{file}.fer2013\.csv, line 31: Expected an emotion.*{files.SKIP_REASON}"):
        load_fer7(file)
    faces = load_fer7(file, on_error="skip")
    assert len(faces) == 41
    assert faces.skipped[0].startswith(f"{file}{os.sep}fer2013.csv, line 31")
    assert files.nothing_cached(tmp_path)


def test_bad_votes_in_a_zip_are_named_by_the_zip_and_not_kept(tmp_path, table):
    votes = files.ferplus_lines(table)
    votes[30] = votes[30].replace("Training", "Dev").replace("PublicTest", "Dev")
    entries = {"fer2013.csv": text(files.csv_lines(table)), "fer2013new.csv": text(votes)}
    file = write_zip(tmp_path / "archive.zip", entries)
    (skipped,) = load_fer7(file, on_error="skip").skipped
    assert skipped.startswith(f"{file}{os.sep}fer2013new.csv, line 31: Expected a Usage")
    assert files.nothing_cached(tmp_path)


SEVERAL = {
    "two-tables": (
        lambda table: {"a/fer2013.csv": text(files.csv_lines(table)), "b/fer2013.csv": text(files.csv_lines(table))},
        r"one data set in the archive. Received: a.fer2013\.csv, b.fer2013\.csv",
    ),
    "official-twice": (
        lambda table: {
            "fer2013.csv": text(files.csv_lines(table)),
            "icml_face_data.csv": text(files.icml_lines(table)),
        },
        r"Received: fer2013\.csv, icml_face_data\.csv",
    ),
    "nothing-known": (lambda table: {"notes.txt": b"nothing"}, "Expected one of the following. Received: a folder"),
    "nothing": (lambda table: {}, "Received: an empty folder"),
    "one-other-csv": (
        lambda table: {"fer.csv": text(["emotion,pixel,Usage", *files.csv_lines(table)[1:]])},
        r"fer\.csv, line 1: .* Add or rename pixels",
    ),
}


@pytest.mark.parametrize(("entries", "message"), SEVERAL.values(), ids=SEVERAL)
def test_a_zip_that_does_not_say_what_is_meant_is_refused(tmp_path, table, entries, message):
    with pytest.raises(DataError, match=rf"archive\.zip.*{message}"):
        load_fer7(write_zip(tmp_path / "archive.zip", entries(table)))
    assert files.nothing_cached(tmp_path)


OUTSIDE = ["../fer2013.csv", "a/../../fer2013.csv", "/tmp/fer2013.csv", "C:/fer2013.csv", "..\\fer2013.csv", "C:x.csv"]


@pytest.mark.parametrize("name", [*OUTSIDE, "fer\x002013.csv", "\\\\server\\fer2013.csv"])
def test_an_entry_that_climbs_out_is_refused(tmp_path, table, name):
    file = tmp_path / "archive.zip"
    with zipfile.ZipFile(file, "w") as archive:
        entry = zipfile.ZipInfo("placeholder.csv")
        entry.filename = entry.orig_filename = name  # as another program may write it
        archive.writestr(entry, text(files.csv_lines(table)))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"Expected plain files inside the archive\. Received: the entry .* leads out"):
        load_fer7(file)
    assert set(tmp_path.rglob("*")) == before
    assert files.nothing_cached(tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("fer2013.csv")
    entry.external_attr = (kind | 0o777) << 16
    with pytest.raises(DataError, match=r"the entry 'fer2013\.csv', a link or a special file"):
        load_fer7(write_zip(tmp_path / "archive.zip", {entry: b"/etc/passwd"}))


def test_an_entry_that_is_there_twice_is_refused(tmp_path, table):
    entries = {"FER2013.csv": text(files.csv_lines(table)), "fer2013.csv": text(files.csv_lines(table))}
    with pytest.raises(DataError, match="which it holds twice"):
        load_fer7(write_zip(tmp_path / "archive.zip", entries))


def spoil(file, place, content):
    """Put bytes into a file; a place below 0 counts from the archive's central directory."""
    data = bytearray(file.read_bytes())
    place = place if place >= 0 else data.index(b"PK\x01\x02") - place
    data[place : place + len(content)] = content
    file.write_bytes(data)


def both(at, in_directory, content):
    """A function that puts bytes where an entry's own header and the central directory say a thing."""

    def change(file):
        spoil(file, at, content)
        spoil(file, -in_directory, content)

    return change


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
def test_a_bad_archive_is_refused_either_way(tmp_path, table, change, message, on_error):
    file = write_zip(tmp_path / "archive.zip", {"fer2013.csv": text(files.csv_lines(table))})
    change(file)
    with pytest.raises(DataError, match=rf"archive\.zip: .*{message}"):
        load_fer7(file, on_error=on_error)
    assert files.nothing_cached(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_archive_broken_anywhere_never_gives_other_faces(tmp_path, data):
    content = text(files.csv_lines(files.fer_table(2)))
    file = write_zip(tmp_path / "archive.zip", {"d/fer2013.csv": content, "d/notes.txt": b"nothing"})
    end = file.stat().st_size
    for _ in range(data.draw(st.integers(1, 3))):
        headers = st.one_of(st.integers(0, 60), st.integers(end - 260, end - 1), st.integers(0, end - 1))
        spoil(file, data.draw(headers), bytes([data.draw(st.integers(0, 255))]))
    try:
        faces = read_archive((file,), Problems())
    except DataError:
        return
    np.testing.assert_array_equal(faces.images[..., 0], files.fer_table(2)["images"])
    assert faces.labels.tolist() == [0, 1]


def test_an_absurd_ratio_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    file = write_zip(tmp_path / "archive.zip", {"fer2013.csv": bytes(3 * archives.FREE_BYTES)})
    monkeypatch.setattr("zipfile.ZipFile.open", None)
    with pytest.raises(DataError, match=r"Expected at most 1,048,576 bytes unpacked .* Received: 3,145,728 or more"):
        load_fer7(file)


def test_real_bytes_are_counted_whatever_the_archive_says(tmp_path, monkeypatch):
    """An archive that hides how large its entries are: each says that it is empty."""
    file = write_zip(tmp_path / "archive.zip", {f"{number}.csv": bytes(2**20) for number in range(4)})

    def swollen(archive, entry):
        return io.BytesIO(bytes(2**20))

    monkeypatch.setattr("zipfile.ZipFile.open", swollen)
    data = bytearray(file.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 24 : place + 28] = bytes(4)
        place = data.find(b"PK\x01\x02", place + 4)
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"Received: 2,097,152 or more"):
        load_fer7(file)


def test_the_limits_hold_for_size_and_number(tmp_path, monkeypatch, table):
    file = write_zip(tmp_path / "archive.zip", {"fer2013.csv": text(files.csv_lines(table)), "b.txt": b""})
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="Expected at most 1,000 bytes unpacked"):
        load_fer7(file)
    monkeypatch.setattr(archives, "MAX_BYTES", 10**9)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 1)
    with pytest.raises(DataError, match=r"Expected at most 1 entries"):
        load_fer7(file)
