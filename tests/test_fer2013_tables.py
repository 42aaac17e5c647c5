"""FER-2013 as tables: fer2013.csv, icml_face_data.csv, the challenge's train.csv, and Parquet files."""

import gzip
import sys

import data_files as files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_keras.data import DataError, load_fer7

pytestmark = pytest.mark.usefixtures("own_cache")


WRITTEN = {
    "other-order": lambda lines: [",".join((line.split(",") * 2)[1:4]) for line in lines],
    "quotes": lambda lines: [lines[0], *(",".join(f'"{field}"' for field in line.split(",")) for line in lines[1:])],
    "crlf": lambda lines: [line + "\r" for line in lines],
    "blank-lines": lambda lines: [*lines, "", ""],
    "bom": lambda lines: ["\ufeff" + lines[0], *lines[1:]],
    "index-column": lambda lines: [f"{number},{line}" for number, line in enumerate(lines)],
    "blanks": lambda lines: [line.replace(",", ", ") for line in lines],
    "two-spaces": lambda lines: [line.replace(" ", "  ") for line in lines],
    "header": lambda lines: [line.replace(",Usage", ",Usage ").replace("emotion", " emotion") for line in lines],
    "no-last-newline": lambda lines: lines,
}


@pytest.mark.parametrize("change", WRITTEN)
def test_csv_written_in_other_ways_means_the_same(tmp_path, table, change):
    file = files.write_csv(tmp_path / "data", WRITTEN[change](files.csv_lines(table)))
    if change == "no-last-newline":
        file.write_bytes(file.read_bytes().removesuffix(b"\n"))
    files.expect(load_fer7(file), table)


def test_each_row_of_a_csv_keeps_its_pixels(tmp_path, table):
    lines = files.csv_lines(table)
    lines[22] = lines[22].replace(" ", " 1 ", 1)  # one more, and the next one less
    lines[23] = lines[23].replace(" ", "", 1)
    faces = load_fer7(files.write_csv(tmp_path / "bad", lines), on_error="skip")
    assert faces.rows.tolist() == [*range(21), *range(23, 42)]
    np.testing.assert_array_equal(faces.images[..., 0], np.delete(table["images"], [21, 22], axis=0))


def first_pixel(text):
    return lambda row: row[:2] + text + row[2:].split(" ", 1)[1]


BAD_ROWS = {
    "2303": (first_pixel(""), "Expected 2304 pixels. Received: 2303"),
    "2305": (first_pixel("9 9 "), "Expected 2304 pixels. Received: 2305"),
    "no-pixels": (lambda row: "3,,Training", "Expected 2304 pixels. Received: 0"),
    **{text: (first_pixel(text + " "), rf"pixels in 0\.\.255. Received: '{text}'") for text in
       ("256", "1000", "-1", "1.5", "ab")},
    "label-7": (lambda row: "7" + row[1:], r"emotion in 0\.\.6. Received: '7'"),
    "label-name": (lambda row: "happy" + row[1:], r"emotion in 0\.\.6. Received: 'happy'"),
    "label-missing": (lambda row: row[1:], r"emotion in 0\.\.6. Received: ''"),
    "usage": (lambda row: row.rsplit(",", 1)[0] + ",Testing", "Usage of Training, .* Received: 'Testing'"),
    "usage-case": (lambda row: row.rsplit(",", 1)[0] + ",training", "Usage of Training, .* Received: 'training'"),
    "a-field-more": (lambda row: row + ",1", r"Expected [23] fields. Received: [34]"),
    "label-of-many-bytes": (lambda row: "€€€€€€€€" + row[1:], r"emotion in 0\.\.6"),
    "huge": (first_pixel(20 * "9" + " "), r"pixels in 0\.\.255"),
    "null": (lambda row: row.replace(" ", "\0", 1), "Expected "),
    "not-utf-8": (lambda row: row + "\udcff", "Expected UTF-8 text. Received: byte 0xff"),
    "cut": (lambda row: row[:4000], "Expected (2304 pixels|3 fields)"),
}  # fmt: skip
FORMS = {"fer2013.csv": files.csv_lines, "icml_face_data.csv": files.icml_lines, "train.csv": files.challenge_lines}
CASES = [
    *(("fer2013.csv", *case) for case in BAD_ROWS.values()),
    *((name, *BAD_ROWS[case]) for name in list(FORMS)[1:] for case in ("label-7", "a-field-more", "not-utf-8", "cut")),
]


@pytest.mark.parametrize(("name", "spoil", "message"), CASES)
def test_a_bad_row_is_named_and_can_be_skipped(tmp_path, table, name, spoil, message):
    lines = FORMS[name](table)
    lines[30] = spoil(lines[30])
    file = tmp_path / name
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    faces = files.skipped(rf"{name}, line 31: .*{message}.*{files.SKIP_REASON}", load_fer7, file)
    assert faces.rows.tolist() == [row for row in range(42) if row != 29]
    np.testing.assert_array_equal(faces.images[..., 0], np.delete(table["images"], 29, axis=0))
    np.testing.assert_array_equal(faces.labels, np.delete(table["emotion"], 29))
    assert len(faces.skipped) == 1
    assert "line 31" in faces.skipped[0]
    assert "1 skipped" in repr(faces)
    assert files.nothing_cached(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.sampled_from([b",", b" ", b"-", b"x", b"\xff", b"\n", b"\x00", b"", b"9", b'"']))
def test_a_file_broken_anywhere_never_gives_other_faces(tmp_path, place, put):
    """One byte replaced: the other rows stay what they were; the row itself is left out, or what is now written."""
    table = files.fer_table(3)
    lines = files.csv_lines(table)
    content = "\n".join(lines).encode()
    place = len(lines[0]) + 1 + place % (len(content) - len(lines[0]) - 1)
    broken = content[:place] + put + content[place + 1 :]
    file = tmp_path / "fer2013.csv"
    file.write_bytes(broken)
    hit = content[:place].count(b"\n") - 1
    touched = {hit, hit + 1} if content[place : place + 1] == b"\n" else {hit}
    shift = broken.count(b"\n") - content.count(b"\n")
    faces = load_fer7(file, on_error="skip")
    assert len(faces) >= 3 - len(touched)
    for index, row in enumerate(faces.rows):
        origin = row if row <= hit else row - shift
        if origin in touched or row in touched:
            label, pixels, *_ = (field.strip(b'" ') for field in broken.split(b"\n")[row + 1].split(b","))
            expected = int(label), [int(value) for value in pixels.split()]
        else:
            expected = table["emotion"][origin], table["images"][origin].ravel().tolist()
        assert (faces.labels[index], faces.images[index].ravel().tolist()) == expected


@pytest.mark.parametrize("lines", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("cut", [1, 2, 3000, 6000])
def test_a_csv_cut_in_its_last_row_even_in_its_last_number_is_refused(tmp_path, table, lines, cut):
    table["images"][-1, -1, -1] = 131
    file = files.write_csv(tmp_path / "data", lines(table))
    file.write_bytes(file.read_bytes().rstrip(b'"\n')[:-cut])
    expected = "Expected a line break at the end of the file" if cut < 3 and lines != files.csv_lines else "Expected "
    faces = files.skipped(rf"fer2013\.csv, line 43: {expected}", load_fer7, file)
    assert (len(faces), len(faces.skipped)) == (41, 1)
    assert files.nothing_cached(tmp_path)


UTF_8 = ": Expected UTF-8 text .* compressed or binary"
HEADERS = {
    "missing": ("emotion,Usage", "line 1: Expected the columns .* Received: emotion,Usage. Add or rename pixels"),
    "other-name": ("label,pixels,Usage", "Add or rename emotion"),
    "twice": ("emotion,pixels,Usage,pixels", "each once"),
    "none": ("0,1 2 3,Training", "line 1: Expected the columns"),
    "empty": ("", "an empty file or line"),
    "only-header": ("emotion,pixels,Usage", "Expected faces. Received: none that can be read"),
    "misspelt-usage": ("emotion, Use, pixels", "Received: emotion,Use,pixels. Add or rename Usage"),
    "other-label": ("label,pixels", "Add or rename emotion, Usage"),
    "train-twice": ("emotion,pixels,pixels", "Expected the columns emotion,pixels, each once"),
    "only-train-header": ("emotion,pixels", "Expected faces. Received: none that can be read"),
    "cut-in-the-header": ("emotion,pix", "Expected the columns emotion,pixels,Usage"),
    "gzip": (gzip.compress(b"emotion,pixels,Usage\n"), UTF_8),
    "utf-16": ("emotion,pixels,Usage\n".encode("utf-16"), UTF_8),
    "latin-1": ("émotion,".encode("latin-1"), UTF_8),
}


@pytest.mark.parametrize(("header", "message"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_wrong_header_is_refused_either_way(tmp_path, header, message, on_error):
    file = tmp_path / "fer2013.csv"
    file.write_bytes(header if isinstance(header, bytes) else header.encode())
    files.refused(rf"fer2013\.csv.*{message}", load_fer7, file, on_error=on_error)
    assert files.nothing_cached(tmp_path)


def test_when_no_row_is_left_skipping_is_an_error_too(tmp_path):
    with pytest.raises(DataError, match="none that can be read"):
        load_fer7(files.write_csv(tmp_path, ["emotion,pixels,Usage", "1,2 3,Training"]), on_error="skip")


def test_train_csv_gets_a_split_of_our_own_which_is_announced(tmp_path, capsys):
    table = files.fer_table(140)
    table["images"][70:] = table["images"][:70]  # a copy of each face, under the same label
    file = files.write_csv(tmp_path / "data", files.challenge_lines(table), "train.csv")
    faces = load_fer7(file)
    announced = "no Usage: split 80/10/10 by class, copies kept together (seed 0)"
    assert announced in faces.source
    assert capsys.readouterr().err == f"fer_keras: {file}: {faces.source}\n"
    assert (faces.protocol, faces.fer2013_rows) == ("own", 0)
    assert faces.counts()["total"].tolist() == [112, 14, 14]
    assert (faces.counts().loc["test", list(faces.classes)] == 2).all()
    np.testing.assert_array_equal(faces.split[:70], faces.split[70:])
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    np.testing.assert_array_equal(faces.labels, table["emotion"])
    assert load_fer7(tmp_path / "data", protocol="own").fingerprint == faces.fingerprint
    assert announced in capsys.readouterr().err  # from the cache, too


def test_in_the_challenges_folder_the_official_split_is_preferred_and_test_csv_is_refused(tmp_path, table, capsys):
    folder = tmp_path / "data"
    test = files.write_csv(folder, files.challenge_lines(table, labels=False), "test.csv")
    for path in (test, folder):
        files.refused(r"test\.csv, line 1: .* no emotion, .* Pass its train\.csv", load_fer7, path)
    files.write_csv(folder, files.challenge_lines(table), "train.csv")
    assert load_fer7(folder).protocol == "own"
    with pytest.raises(DataError, match=r"Expected the official split\. Received: the challenge's train\.csv"):
        load_fer7(folder, protocol="official")
    capsys.readouterr()
    files.write_csv(folder, files.icml_lines(table), "icml_face_data.csv")
    files.expect(load_fer7(folder), table)
    assert "split 80/10/10" not in capsys.readouterr().err
    assert load_fer7(folder, protocol="own").protocol == "own"


def test_parquet_is_read_with_its_votes_where_it_has_them(tmp_path, table):
    frame = files.parquet_frame(table)
    faces = load_fer7(files.write_parquet(tmp_path / "data", frame))
    order = np.argsort(faces.rows)
    files.expect(faces.take(order), table)
    np.testing.assert_array_equal(faces.votes[order], table["votes"])
    assert faces.votes.dtype == np.float32
    assert "FER+" in faces.source
    faces = load_fer7(files.write_parquet(tmp_path / "none", frame[["row", "Usage", "emotion", "png"]]))
    assert faces.votes is None
    assert "FER+" not in faces.source


def test_parquet_with_a_column_missing_or_cut_or_without_pyarrow_is_refused(tmp_path, table, monkeypatch):
    frame = files.parquet_frame(table)
    with pytest.raises(DataError, match=r"training\.parquet: Expected the columns .* without png"):
        load_fer7(files.write_parquet(tmp_path / "a", frame.drop(columns="png")))
    file = files.write_parquet(tmp_path / "b", frame) / "fer2013-publictest.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    files.refused(r"publictest\.parquet: Expected a whole Parquet file", load_fer7, tmp_path / "b")
    assert files.nothing_cached(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'fer_keras\[data\]'"):
        load_fer7(tmp_path / "b")
