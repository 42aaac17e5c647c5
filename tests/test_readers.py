"""The readers of FER-2013's forms and of the course set."""

import gzip
import sys

import numpy as np
import pytest
from data_files import (
    REAL_DATA,
    USAGES,
    claimed,
    csv_lines,
    csv_row,
    fer_table,
    needs_real_data,
    noise,
    parquet_frame,
    png,
    set_up,
    write_course,
    write_csv,
    write_parquet,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_keras.data import DataError, load_fer4, load_fer7
from fer_keras.data.pixel_text import parse_batch, parse_field
from fer_keras.data.problems import Problems
from fer_keras.labels import FER4, FER7, USAGE_TO_SPLIT

SKIP_REASON = "on_error='skip'"
COURSE = [
    ("train", "happy", 3),
    ("train", "neutral", 6),
    ("train", "sad", 4),
    ("train", "surprise", 5),
    ("train", "surprise", 12),
    ("validation", "happy", 10),
    ("validation", "neutral", 13),
    ("validation", "sad", 11),
    ("validation", "surprise", 19),
    ("test", "happy", 17),
    ("test", "neutral", 20),
    ("test", "sad", 18),
    ("test", "surprise", 0),  # row 0 is angry in FER-2013: the course set has labels of its own
]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    set_up(monkeypatch, tmp_path)


@pytest.fixture
def table():
    return fer_table(42)


def expect(faces, table):
    """Check that `faces` holds just the rows of a table."""
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    np.testing.assert_array_equal(faces.labels, table["emotion"])
    assert faces.split.tolist() == [USAGE_TO_SPLIT[usage] for usage in table["Usage"]]
    assert faces.classes == FER7
    assert faces.protocol == "official"
    assert faces.skipped == ()


def nothing_cached(tmp_path):
    return not list((tmp_path / "cache").rglob("*.npy")) and not list((tmp_path / "cache").rglob("*.json"))


# fer2013.csv


def test_csv_is_read_pixel_by_pixel(tmp_path, table):
    file = write_csv(tmp_path / "data", csv_lines(table))
    expect(load_fer7(file), table)
    expect(load_fer7(str(tmp_path / "data")), table)
    assert load_fer7(file).rows.tolist() == list(range(42))


def test_csv_in_the_folder_of_the_challenges_archive_is_found(tmp_path, table):
    write_csv(tmp_path / "data" / "fer2013", csv_lines(table))
    expect(load_fer7(tmp_path / "data"), table)


def rearranged(lines):
    return [",".join((line.split(",") * 2)[1:4]) for line in lines]


def quoted(lines):
    return [lines[0], *(",".join(f'"{field}"' for field in line.split(",")) for line in lines[1:])]


@pytest.mark.parametrize(
    "change",
    [
        rearranged,
        quoted,
        lambda lines: [line + "\r" for line in lines],
        lambda lines: [*lines, "", ""],
        lambda lines: ["\ufeff" + lines[0], *lines[1:]],
        lambda lines: [f"{number},{line}" for number, line in enumerate(lines)],
        lambda lines: [line.replace(",", ", ") for line in lines],
        lambda lines: [line.replace(" ", "  ") for line in lines],
        lambda lines: [line.replace(",Usage", ",Usage ").replace("emotion", " emotion") for line in lines],
    ],
    ids=["other-order", "quotes", "crlf", "blank-lines", "bom", "index-column", "blanks", "two-spaces", "header"],
)
def test_csv_written_in_other_ways_means_the_same(tmp_path, table, change):
    expect(load_fer7(write_csv(tmp_path / "data", change(csv_lines(table)))), table)


def test_csv_without_a_last_newline_is_whole(tmp_path, table):
    file = write_csv(tmp_path / "data", csv_lines(table))
    file.write_bytes(file.read_bytes().removesuffix(b"\n"))
    expect(load_fer7(file), table)


def test_csv_of_more_than_one_batch_keeps_its_order(tmp_path, table, monkeypatch):
    monkeypatch.setattr("fer_keras.data.fer2013_csv.BATCH", 5)
    lines = csv_lines(table)
    expect(load_fer7(write_csv(tmp_path / "data", lines)), table)
    lines[23] = lines[23].replace(" ", " -", 1)
    faces = load_fer7(write_csv(tmp_path / "bad", lines), on_error="skip")
    assert faces.rows.tolist() == [row for row in range(42) if row != 22]
    np.testing.assert_array_equal(faces.images[..., 0], np.delete(table["images"], 22, axis=0))


BAD_ROWS = {
    "2303": (lambda row: row[:2] + row[2:].split(" ", 1)[1], "Expected 2304 pixels. Received: 2303"),
    "2305": (lambda row: row[:2] + "9 " + row[2:], "Expected 2304 pixels. Received: 2305"),
    "no-pixels": (lambda row: "3,,Training", "Expected 2304 pixels. Received: 0"),
    "256": (lambda row: row[:2] + "256 " + row[2:].split(" ", 1)[1], r"pixels in 0\.\.255. Received: '256'"),
    "1000": (lambda row: row[:2] + "1000 " + row[2:].split(" ", 1)[1], r"pixels in 0\.\.255. Received: '1000'"),
    "negative": (lambda row: row[:2] + "-1 " + row[2:].split(" ", 1)[1], r"pixels in 0\.\.255. Received: '-1'"),
    "fraction": (lambda row: row[:2] + "1.5 " + row[2:].split(" ", 1)[1], r"pixels in 0\.\.255. Received: '1.5'"),
    "word": (lambda row: row[:2] + "ab " + row[2:].split(" ", 1)[1], r"pixels in 0\.\.255. Received: 'ab'"),
    "label-7": (lambda row: "7" + row[1:], r"emotion in 0\.\.6. Received: '7'"),
    "label-name": (lambda row: "happy" + row[1:], r"emotion in 0\.\.6. Received: 'happy'"),
    "label-missing": (lambda row: row[1:], r"emotion in 0\.\.6. Received: ''"),
    "usage": (lambda row: row.rsplit(",", 1)[0] + ",Testing", "Usage of Training, .* Received: 'Testing'"),
    "usage-case": (lambda row: row.rsplit(",", 1)[0] + ",training", "Usage of Training, .* Received: 'training'"),
    "a-field-more": (lambda row: row + ",1", "Expected 3 fields. Received: 4"),
    "not-utf-8": (lambda row: row + "\udcff", "Expected UTF-8 text. Received: byte 0xff"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named_and_can_be_skipped(tmp_path, table, spoil, message):
    lines = csv_lines(table)
    lines[30] = spoil(lines[30])
    file = tmp_path / "fer2013.csv"
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=rf"fer2013\.csv, line 31: .*{message}.*{SKIP_REASON}"):
        load_fer7(file)
    assert nothing_cached(tmp_path)
    faces = load_fer7(file, on_error="skip")
    assert faces.rows.tolist() == [row for row in range(42) if row != 29]
    np.testing.assert_array_equal(faces.images[..., 0], np.delete(table["images"], 29, axis=0))
    np.testing.assert_array_equal(faces.labels, np.delete(table["emotion"], 29))
    assert len(faces.skipped) == 1
    assert "line 31" in faces.skipped[0]
    assert "1 skipped" in repr(faces)
    assert nothing_cached(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(USAGES)), min_size=1, max_size=6), st.integers(0, 999))
def test_whatever_is_written_comes_back(tmp_path, rows, seed):
    emotion, usage = (np.array(column) for column in zip(*rows, strict=True))
    table = {"emotion": emotion, "Usage": usage, "images": noise(len(rows), seed=seed)}
    expect(load_fer7(write_csv(tmp_path / "data", csv_lines(table))), table)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.sampled_from([b",", b" ", b"-", b"x", b"\xff", b"\n", b"\x00", b"", b"9", b'"']))
def test_a_file_damaged_anywhere_never_gives_other_faces(tmp_path, place, put):
    """One byte replaced: the other rows stay what they were; the row itself is left out, or what is now written."""
    table = fer_table(3)
    lines = csv_lines(table)
    content = "\n".join(lines).encode()
    place = len(lines[0]) + 1 + place % (len(content) - len(lines[0]) - 1)
    damaged = content[:place] + put + content[place + 1 :]
    file = tmp_path / "fer2013.csv"
    file.write_bytes(damaged)
    hit = content[:place].count(b"\n") - 1
    faces = load_fer7(file, on_error="skip")
    touched = {hit, hit + 1} if content[place : place + 1] == b"\n" else {hit}
    shift = damaged.count(b"\n") - content.count(b"\n")
    for index, row in enumerate(faces.rows):
        origin = row if row <= hit else row - shift
        if origin in touched or row in touched:
            written = damaged.split(b"\n")[row + 1].split(b",")
            assert [int(value) for value in written[1].strip(b'" ').split()] == faces.images[index].ravel().tolist()
            assert faces.labels[index] == int(written[0].strip(b'" '))
        else:
            np.testing.assert_array_equal(faces.images[index, ..., 0], table["images"][origin])
            assert faces.labels[index] == table["emotion"][origin]
    assert len(faces) >= 3 - len(touched)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.integers(0, 299).map(str), st.sampled_from(["", "-1", "1.5", "0007", "x", "\t3"]))).map(
            " ".join
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 4),
)
def test_the_fast_parse_agrees_with_the_plain_one_or_declines(fields, num_pixels):
    fields = [field.encode() for field in fields]
    fast = parse_batch(fields, num_pixels)
    try:
        plain = np.stack([parse_field(field, num_pixels) for field in fields])
    except DataError:
        assert fast is None
    else:
        if fast is not None:
            np.testing.assert_array_equal(fast, plain)


def test_the_fast_parse_declines_pixels_shared_out_wrongly():
    assert parse_batch([b"1 2 3", b"4"], 2) is None


def test_the_fast_parse_takes_every_value():
    values = np.arange(256, dtype=np.uint8)
    fields = [b" ".join(b"%d" % value for value in order) for order in (values, values[::-1])]
    np.testing.assert_array_equal(parse_batch(fields, 256), [values, values[::-1]])


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.999])
def test_a_csv_cut_in_the_middle_of_a_row_is_refused(tmp_path, table, cut):
    content = "\n".join(csv_lines(table)).encode()
    end = content.index(b"\n", int(cut * len(content)) - 9000) + 5000 if cut < 0.9 else len(content) - 3
    file = tmp_path / "fer2013.csv"
    file.write_bytes(content[:end])
    line = content[:end].count(b"\n") + 1
    with pytest.raises(DataError, match=rf"fer2013\.csv, line {line}: "):
        load_fer7(file)
    assert nothing_cached(tmp_path)
    faces = load_fer7(file, on_error="skip")
    assert len(faces) == line - 2
    assert len(faces.skipped) == 1


HEADERS = {
    "missing": ("emotion,Usage", "line 1: Expected the columns .* Received: emotion,Usage. Add or rename pixels"),
    "other-name": ("label,pixels,Usage", "Add or rename emotion"),
    "twice": ("emotion,pixels,Usage,pixels", "each once"),
    "none": ("0,1 2 3,Training", "line 1: Expected the columns"),
    "empty": ("", "an empty file or line"),
    "only-header": ("emotion,pixels,Usage", "Expected rows below the header"),
}


@pytest.mark.parametrize(("header", "message"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_wrong_header_is_refused_either_way(tmp_path, header, message, on_error):
    file = tmp_path / "fer2013.csv"
    file.write_text(header)
    with pytest.raises(DataError, match=rf"fer2013\.csv.*{message}"):
        load_fer7(file, on_error=on_error)
    assert nothing_cached(tmp_path)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"emotion,pixels,Usage\n"), "emotion,pixels,Usage\n".encode("utf-16"), "émotion,".encode("latin-1")],
    ids=["gzip", "utf-16", "latin-1"],
)
def test_what_is_not_utf_8_text_is_refused(tmp_path, content):
    file = tmp_path / "fer2013.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"fer2013\.csv: Expected UTF-8 text .* compressed or binary"):
        load_fer7(file, on_error="skip")


def test_when_no_row_is_left_skipping_is_an_error_too(tmp_path):
    with pytest.raises(DataError, match="none that can be read"):
        load_fer7(write_csv(tmp_path, ["emotion,pixels,Usage", "1,2 3,Training"]), on_error="skip")


def test_another_on_error_is_refused(tmp_path, table):
    with pytest.raises(ValueError, match=r"`on_error` must be one of .* Received: 'ignore'"):
        load_fer7(write_csv(tmp_path, csv_lines(table)), on_error="ignore")
    with pytest.raises(ValueError, match="on_error"):
        Problems(None)


def test_what_is_nothing_known_is_refused_with_the_forms(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: Expected data here. Received: no such file or folder"):
        load_fer7(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Received: an empty folder.(?s:.*)fer2013\.csv \(columns"):
        load_fer7(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"Received: a folder with notes\.txt"):
        load_fer7(tmp_path / "empty")
    with pytest.raises(DataError, match="Received: a file of another kind"):
        load_fer7(tmp_path / "empty" / "notes.txt")


# Parquet


def test_parquet_is_read_with_its_votes(tmp_path, table):
    faces = load_fer7(write_parquet(tmp_path / "data", parquet_frame(table)))
    order = np.argsort(faces.rows)
    expect(faces.take(order), table)
    np.testing.assert_array_equal(faces.votes[order], table["votes"])
    assert faces.votes.dtype == np.float32
    assert "FER+" in faces.source


def test_parquet_without_votes_has_none(tmp_path, table):
    frame = parquet_frame(table)
    faces = load_fer7(write_parquet(tmp_path, frame[["row", "Usage", "emotion", "png"]]))
    assert faces.votes is None
    assert "FER+" not in faces.source


BAD_CELLS = {
    "label": ("emotion", 7, r"emotion in 0\.\.6. Received: 7"),
    "usage": ("Usage", "Dev", "Usage of Training, .* Received: 'Dev'"),
    "size": ("png", png(np.zeros((48, 47), np.uint8)), "Expected 48x48 pixels. Received: 48x47"),
    "cut": ("png", png(noise(1)[0])[:900], "Expected a whole picture"),
    "no-picture": ("png", b"nothing", "Expected a whole picture"),
    "missing": ("png", None, "Expected the bytes of a PNG"),
    "absurd": ("png", claimed(60_000, 1_000), "Expected a picture of at most 50,000,000 pixels. Received: 60000x1000"),
}


@pytest.mark.parametrize(("column", "value", "message"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_bad_row_of_parquet_is_named_and_can_be_skipped(tmp_path, table, column, value, message):
    frame = parquet_frame(table)
    frame[column] = [*frame[column][:3], value, *frame[column][4:]]
    write_parquet(tmp_path / "data", frame)
    with pytest.raises(DataError, match=rf"fer2013-training\.parquet, row 3: .*{message}"):
        load_fer7(tmp_path / "data")
    assert nothing_cached(tmp_path)
    faces = load_fer7(tmp_path / "data", on_error="skip")
    assert sorted(faces.rows) == [row for row in range(42) if row != 3]
    np.testing.assert_array_equal(faces.votes, table["votes"][faces.rows])
    np.testing.assert_array_equal(faces.images[..., 0], table["images"][faces.rows])
    np.testing.assert_array_equal(faces.labels, table["emotion"][faces.rows])
    assert len(faces.skipped) == 1
    assert nothing_cached(tmp_path)


def test_parquet_with_a_column_missing_or_cut_short_is_refused(tmp_path, table):
    frame = parquet_frame(table)
    with pytest.raises(DataError, match=r"training\.parquet: Expected the columns .* without png"):
        load_fer7(write_parquet(tmp_path / "a", frame.drop(columns="png")))
    file = write_parquet(tmp_path / "b", frame) / "fer2013-publictest.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"publictest\.parquet: Expected a whole Parquet file"):
        load_fer7(tmp_path / "b")
    assert nothing_cached(tmp_path)


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, table, monkeypatch):
    write_parquet(tmp_path, parquet_frame(table))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'fer_keras\[data\]'"):
        load_fer7(tmp_path)


# Four classes


def test_four_classes_of_the_official_split_keep_its_order_of_classes(tmp_path, table):
    faces = load_fer4(write_csv(tmp_path, csv_lines(table)))
    assert faces.classes == FER4 == ("happy", "sad", "surprise", "neutral")
    assert faces.protocol == "official"
    kept = np.isin(table["emotion"], [3, 4, 5, 6])
    np.testing.assert_array_equal(faces.images[..., 0], table["images"][kept])
    np.testing.assert_array_equal(faces.labels, table["emotion"][kept] - 3)


@pytest.fixture
def course_folder(tmp_path, table):
    table["images"] //= 2  # so that a JPEG at quality 95 stays near
    return write_course(tmp_path / "course", table["images"], COURSE)


def test_course_folders_are_read_with_their_rows(course_folder, table):
    faces = load_fer4(course_folder)
    assert faces.protocol == "course"
    assert faces.classes == FER4
    found = zip(faces.split.tolist(), np.array(FER4)[faces.labels].tolist(), faces.rows.tolist(), strict=True)
    assert sorted(found) == sorted(COURSE)
    for row, image in zip(faces.rows, faces.images[..., 0], strict=True):
        distance = np.abs(image.astype(int) - table["images"]).mean(axis=(1, 2))
        assert distance.argmin() == row


def test_course_folders_in_one_more_folder_are_found(course_folder):
    assert len(load_fer4(course_folder.parent)) == len(COURSE)


def test_the_course_set_from_its_rows_equals_its_folders(tmp_path, course_folder, table):
    place = write_parquet(tmp_path / "fer", parquet_frame(table))
    (place / "adsp_rows.csv").write_text("split,class,row\n" + "".join(f"{s},{c},{r}\n" for s, c, r in COURSE))
    drawn, folders = load_fer4(place, protocol="course"), load_fer4(course_folder)
    order, other = np.argsort(drawn.rows), np.argsort(folders.rows)
    for name in ("rows", "labels", "split"):
        np.testing.assert_array_equal(getattr(drawn, name)[order], getattr(folders, name)[other])
    np.testing.assert_array_equal(drawn.images[order, ..., 0], table["images"][drawn.rows[order]])
    np.testing.assert_array_equal(drawn.votes, table["votes"][drawn.rows])
    assert drawn.protocol == folders.protocol == "course"
    assert load_fer4(place).protocol == load_fer4(place, protocol="official").protocol == "official"


BAD_LISTS = {
    "columns": ("class,split,row\nhappy,train,3\n", "Expected the columns split, class, row"),
    "class": (
        "split,class,row\ntrain,happy,3\ntrain,angry,0\n",
        r"adsp_rows\.csv, line 3: .* Received: train, angry, 0",
    ),
    "split": ("split,class,row\ndev,happy,3\n", r"adsp_rows\.csv, line 2"),
    "row": ("split,class,row\ntrain,happy,x\n", r"adsp_rows\.csv, line 2"),
    "absent": ("split,class,row\ntrain,happy,3\ntrain,sad,99\n", r"row 99, which it lacks \(1 such rows\)"),
    "empty": ("", "Expected a CSV of split, class, row"),
}


@pytest.mark.parametrize(("content", "message"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_bad_list_of_rows_is_refused(tmp_path, table, content, message):
    place = write_csv(tmp_path, csv_lines(table)).parent
    (place / "adsp_rows.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_fer4(place, protocol="course")


def test_a_protocol_that_the_source_lacks_is_refused(tmp_path, course_folder, table):
    with pytest.raises(DataError, match=r"Expected the official split\. .* Ask for protocol='course'"):
        load_fer4(course_folder, protocol="official")
    with pytest.raises(DataError, match=r"Expected the course set\. .* Put adsp_rows\.csv beside it"):
        load_fer4(write_csv(tmp_path / "fer", csv_lines(table)), protocol="course")
    with pytest.raises(DataError, match=r"Expected the classes angry, .* Use load_fer4"):
        load_fer7(course_folder)
    with pytest.raises(DataError, match=r"Expected the own split\. Received: fer2013\.csv .* \('official'\)"):
        load_fer7(tmp_path / "fer", protocol="own")
    with pytest.raises(DataError, match=r"Expected the course split"):
        load_fer7(tmp_path / "fer", protocol="course")
    with pytest.raises(ValueError, match=r"Unknown protocol 'public'\. Expected one of: official, course, "):
        load_fer4(course_folder, protocol="public")


def test_where_both_lie_the_protocol_decides(course_folder, table):
    write_csv(course_folder, csv_lines(table))
    assert load_fer4(course_folder).protocol == "official"
    assert load_fer4(course_folder, protocol="course").protocol == "course"


def spoil_name(folder):
    (folder / "train" / "sad" / "4.jpg").rename(folder / "train" / "sad" / "four.jpg")
    return r"sad.four\.jpg: Expected a name N\.jpg"


def spoil_picture(folder):
    (folder / "train" / "sad" / "4.jpg").write_bytes(png(noise(1)[0], "JPEG")[:400])
    return r"sad.4\.jpg: Expected a whole picture"


def spoil_size(folder):
    (folder / "train" / "sad" / "4.jpg").write_bytes(png(np.zeros((64, 48), np.uint8), "JPEG"))
    return r"sad.4\.jpg: Expected 48x48 pixels. Received: 64x48"


def spoil_class(folder):
    (folder / "train" / "sad" / "4.jpg").unlink()
    (folder / "train" / "sad" / "._4.jpg").write_bytes(b"left by another system")
    return r"train.sad: Expected pictures\. Received: none"


@pytest.mark.parametrize("spoil", [spoil_name, spoil_picture, spoil_size, spoil_class])
def test_a_bad_picture_or_empty_class_of_the_course_is_named_and_can_be_skipped(course_folder, spoil):
    message = spoil(course_folder)
    with pytest.raises(DataError, match=message):
        load_fer4(course_folder)
    faces = load_fer4(course_folder, on_error="skip")
    assert sorted(faces.rows) == sorted(row for *_, row in COURSE if row != 4)
    assert len(faces.skipped) == 1
    assert "1 skipped" in repr(faces)


# Real data


@needs_real_data
def test_the_real_data_has_its_published_counts():
    counts = load_fer7(REAL_DATA).counts()
    assert counts.to_numpy().tolist() == [
        [3995, 436, 4097, 7215, 4830, 3171, 4965, 28709],
        [467, 56, 496, 895, 653, 415, 607, 3589],
        [491, 55, 528, 879, 594, 416, 626, 3589],
    ]
    assert load_fer4(REAL_DATA, protocol="official").counts()["total"].tolist() == [20181, 2570, 2515]
    assert load_fer4(REAL_DATA, protocol="course").counts()["total"].tolist() == [15109, 4977, 128]


@needs_real_data
def test_the_real_data_comes_back_from_a_csv(tmp_path):
    faces = load_fer7(REAL_DATA).take(np.arange(0, 35887, 60))
    names = {split: usage for usage, split in USAGE_TO_SPLIT.items()}
    rows = zip(faces.labels, faces.images, faces.split.tolist(), strict=True)
    lines = ["emotion,pixels,Usage", *(csv_row(label, image, names[split]) for label, image, split in rows)]
    assert load_fer7(write_csv(tmp_path, lines)).fingerprint == faces.fingerprint
