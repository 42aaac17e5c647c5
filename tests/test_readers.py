"""Which form is read, with whose split; four classes and the course set."""

import numpy as np
import pytest
from data_files import (
    REAL_DATA,
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

from fer_keras.data import DataError, load_fer4, load_fer7
from fer_keras.data.dataset import Problems
from fer_keras.labels import FER4, USAGE_TO_SPLIT

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


def test_another_on_error_is_refused(tmp_path, table):
    with pytest.raises(ValueError, match=r"`on_error` must be one of .* Received: 'ignore'"):
        load_fer7(write_csv(tmp_path, csv_lines(table)), on_error="ignore")
    with pytest.raises(ValueError, match="on_error"):
        Problems(None)


def test_what_is_nothing_known_is_refused_with_the_forms(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: Expected data here. Received: no such file or folder"):
        load_fer7(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Received: an empty folder.(?s:.*)icml_face_data\.csv \(columns"):
        load_fer7(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"Received: a folder with notes\.txt"):
        load_fer7(tmp_path / "empty")
    with pytest.raises(DataError, match="Received: a file of another kind"):
        load_fer7(tmp_path / "empty" / "notes.txt")


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
