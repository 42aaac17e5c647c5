"""What lies at a path, with whose split; four classes and the course set; where data is looked for.

No test reaches a network.
"""

import sys
import time
import zipfile

import data_files as files
import numpy as np
import pytest

from fer_keras.__main__ import main
from fer_keras.data import DataError, FaceDataset, audit, cache, load_faces, load_fer4, load_fer7
from fer_keras.data.dataset import Problems
from fer_keras.data.load import KAGGLE
from fer_keras.labels import FER4, FER7, PUBLISHED_COUNTS, SPLITS, USAGE_TO_SPLIT

ROWS = {
    "train": {3: "happy", 6: "neutral", 4: "sad", 5: "surprise", 12: "surprise"},
    "validation": {10: "happy", 13: "neutral", 11: "sad", 19: "surprise"},
    "test": {17: "happy", 20: "neutral", 18: "sad", 0: "surprise"},  # row 0 is angry in FER-2013
}
COURSE = [(split, name, row) for split, rows in ROWS.items() for row, name in rows.items()]


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """Send whatever asks for Kaggle to a port of this machine where nobody listens."""
    files.set_up(monkeypatch, tmp_path)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))


def test_another_on_error_is_refused(tmp_path, table):
    with pytest.raises(ValueError, match=r"`on_error` must be one of .* Received: 'ignore'"):
        load_fer7(files.write_csv(tmp_path, files.csv_lines(table)), on_error="ignore")
    with pytest.raises(ValueError, match="on_error"):
        Problems(None)


def test_what_is_nothing_known_is_refused_with_the_forms(tmp_path):
    for load in (load_fer7, load_faces):
        with pytest.raises(DataError, match=r"nowhere: Expected data here. Received: no such file or folder"):
            load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Received: an empty folder.(?s:.*)icml_face_data\.csv \(columns"):
        load_fer7(tmp_path / "empty")
    with pytest.raises(DataError, match="Expected"):
        load_faces(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"Received: a folder with notes\.txt"):
        load_fer7(tmp_path / "empty")
    for load in (load_fer7, load_faces):
        with pytest.raises(DataError, match="Received: a file of another kind"):
            load(tmp_path / "empty" / "notes.txt")


COUNT = 70


def course(folder):
    names = [(split, name) for split in SPLITS for name in FER4]
    return files.write_course(folder, files.noise(12), [(split, name, row) for row, (split, name) in enumerate(names)])


def zipped(folder):
    file = files.write_csv(folder, files.icml_lines(files.fer_table(COUNT)), "icml_face_data.csv")
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, file.name)
    file.unlink()
    return folder / "archive.zip"


def tree(make):
    return lambda folder: files.write_tree(folder, make(files.fer_table(COUNT)))


def csv(lines, name):
    return lambda folder: files.write_csv(folder, lines(files.fer_table(COUNT)), name)


def parquet(folder):
    return files.write_parquet(folder, files.parquet_frame(files.fer_table(COUNT)))


def own(folder):
    return files.write_tree(
        folder, {f"{name}/{n}.png": files.noise(1)[0] for name in ("happy", "bored") for n in range(9)}
    )


# Form: how it is written, and the classes, protocol and number of images that are to be found.
FORMS = {
    "fer2013.csv": (csv(files.csv_lines, "fer2013.csv"), FER7, "official", COUNT),
    "train.csv": (csv(files.challenge_lines, "train.csv"), FER7, "own", COUNT),
    "zip": (zipped, FER7, "official", COUNT),
    "Parquet": (parquet, FER7, "official", COUNT),
    "course": (course, FER4, "course", 12),
    "named folders": (tree(files.named_folders), FER7, "official", COUNT),
    "unnamed folders": (tree(files.unnamed_folders), FER7, "own", COUNT),
    "validated folders": (tree(files.validated_folders), FER7, "folders", COUNT),
    "RAF-DB, folders": (lambda folder: files.write_rafdb_folders(folder, files.rafdb_faces()), FER7, "raf-db", 84),
    "own folders": (own, ("happy", "bored"), "own", 18),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_out(form, tmp_path):
    write, classes, protocol, count = FORMS[form]
    place = tmp_path / "data"
    place.mkdir()
    faces = load_faces(write(place) or place)
    assert (faces.classes, faces.protocol, len(faces)) == (classes, protocol, count)


def test_the_command_says_what_it_is_and_lists_every_fault_when_asked(tmp_path, capsys):
    place = files.write_tree(tmp_path / "CK", files.ckplus_folders())
    assert main(["data", str(place)]) == 0
    assert "240" in capsys.readouterr().out
    bad = [place / "CK+48" / "anger" / name for name in ("notes.png", "S999_001_00000001.png")]
    for file in bad:
        file.write_bytes(b"no picture")
    assert main(["data", str(place)]) == 2
    assert "notes.png" in capsys.readouterr().err
    assert main(["data", str(place), "--skip"]) == 0
    printed = capsys.readouterr().out
    assert "2 skipped" in printed
    assert all(file.name in printed for file in bad)


# Four classes


def test_four_classes_of_the_official_split_keep_its_order_of_classes(tmp_path, table):
    faces = load_fer4(files.write_csv(tmp_path, files.csv_lines(table)))
    assert faces.classes == FER4 == ("happy", "sad", "surprise", "neutral")
    assert faces.protocol == "official"
    kept = np.isin(table["emotion"], [3, 4, 5, 6])
    np.testing.assert_array_equal(faces.images[..., 0], table["images"][kept])
    np.testing.assert_array_equal(faces.labels, table["emotion"][kept] - 3)


@pytest.fixture
def course_folder(tmp_path, table):
    table["images"] //= 2  # so that a JPEG at quality 95 stays near
    return files.write_course(tmp_path / "course", table["images"], COURSE)


def test_course_folders_are_read_with_their_rows(course_folder, table):
    faces = load_fer4(course_folder)
    assert faces.protocol == "course"
    assert faces.classes == FER4
    found = zip(faces.split.tolist(), np.array(FER4)[faces.labels].tolist(), faces.rows.tolist(), strict=True)
    assert sorted(found) == sorted(COURSE)
    for row, image in zip(faces.rows, faces.images[..., 0], strict=True):
        distance = np.abs(image.astype(int) - table["images"]).mean(axis=(1, 2))
        assert distance.argmin() == row


def test_the_course_set_from_its_rows_equals_its_folders(tmp_path, course_folder, table):
    place = files.write_parquet(tmp_path / "fer", files.parquet_frame(table))
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
    place = files.write_csv(tmp_path, files.csv_lines(table)).parent
    (place / "adsp_rows.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_fer4(place, protocol="course")


def test_a_protocol_that_the_source_lacks_is_refused(tmp_path, course_folder, table):
    with pytest.raises(DataError, match=r"Expected the official split\. .* Ask for protocol='course'"):
        load_fer4(course_folder, protocol="official")
    with pytest.raises(DataError, match=r"Expected the course set\. .* Put adsp_rows\.csv beside it"):
        load_fer4(files.write_csv(tmp_path / "fer", files.csv_lines(table)), protocol="course")
    with pytest.raises(DataError, match=r"Expected the classes angry, .* Use load_fer4"):
        load_fer7(course_folder)
    with pytest.raises(DataError, match=r"Expected the own split\. Received: fer2013\.csv .* \('official'\)"):
        load_fer7(tmp_path / "fer", protocol="own")
    with pytest.raises(DataError, match=r"Expected the course split"):
        load_fer7(tmp_path / "fer", protocol="course")
    with pytest.raises(ValueError, match=r"Unknown protocol 'public'\. Expected one of: official, course, "):
        load_fer4(course_folder, protocol="public")


def test_where_both_lie_the_protocol_decides(course_folder, table):
    files.write_csv(course_folder, files.csv_lines(table))
    assert load_fer4(course_folder).protocol == "official"
    assert load_fer4(course_folder, protocol="course").protocol == "course"


def spoil_name(folder):
    (folder / "train" / "sad" / "4.jpg").rename(folder / "train" / "sad" / "four.jpg")
    return r"sad.four\.jpg: Expected a name N\.jpg"


def spoil_size(folder):
    (folder / "train" / "sad" / "4.jpg").write_bytes(files.png(np.zeros((64, 48), np.uint8), "JPEG"))
    return r"sad.4\.jpg: Expected 48x48 pixels. Received: 64x48"


def spoil_class(folder):
    (folder / "train" / "sad" / "4.jpg").unlink()
    (folder / "train" / "sad" / "._4.jpg").write_bytes(b"left by another system")
    return r"train.sad: Expected pictures\. Received: none"


@pytest.mark.parametrize("spoil", [spoil_name, spoil_size, spoil_class])
def test_a_bad_picture_or_empty_class_of_the_course_is_named_and_can_be_skipped(course_folder, spoil):
    message = spoil(course_folder)
    with pytest.raises(DataError, match=message):
        load_fer4(course_folder)
    faces = load_fer4(course_folder, on_error="skip")
    assert sorted(faces.rows) == sorted(row for *_, row in COURSE if row != 4)
    assert len(faces.skipped) == 1
    assert "1 skipped" in repr(faces)


# Places


def lay_out(tmp_path, lines):
    """Lay out a finished download as kagglehub does."""
    owner, name, _, version = KAGGLE.split("/")
    folder = tmp_path / "kagglehub" / "datasets" / owner / name
    file = files.write_csv(folder / "versions" / version, lines)
    (folder / f"{version}.complete").touch()
    return file


def publish(monkeypatch, *numbers, protocol="official"):
    """Let the published set have so many images of each class in the training, validation and test split."""
    monkeypatch.setitem(PUBLISHED_COUNTS, protocol, tuple((number,) * 7 for number in numbers))


def keep_whole(*, votes, value, difference=""):
    """Put a made-up whole FER-2013 (of tiny faces) into the cache."""
    counts = np.array(PUBLISHED_COUNTS["official"])
    labels = np.concatenate([np.repeat(np.arange(7), row) for row in counts])
    split = np.repeat(SPLITS, counts.sum(axis=1))
    images = np.full((len(labels), 1, 1, 1), value, np.uint8)
    votes = np.ones((len(labels), 10), np.float32) if votes else None
    about = {"votes": votes, "difference": difference}
    cache.store(f"whole-{value}", FaceDataset(images, labels, split, FER7, "FER-2013", "official", **about))


def test_a_download_that_kagglehub_holds_is_used_without_a_network(tmp_path, monkeypatch):
    publish(monkeypatch, 1, 1, 1)
    lay_out(tmp_path, files.csv_lines(files.fer_table(21)))
    faces = load_fer7()
    np.testing.assert_array_equal(faces.images[..., 0], files.fer_table(21)["images"])
    assert len(load_fer4()) == 12


def test_a_download_without_the_file_or_with_a_bad_one_is_refused(tmp_path):
    file = lay_out(tmp_path, ["emotion,pixels,Usage", "1,2 3,Training"])
    with pytest.raises(DataError, match=r"fer2013\.csv, line 2: Expected 2304 pixels"):
        load_fer7()
    file.rename(file.with_name("notes.txt"))
    with pytest.raises(DataError, match=r"Expected one of the following\. Received: a folder with notes\.txt"):
        load_fer7()


def test_a_download_with_other_counts_is_refused_and_not_kept(tmp_path, monkeypatch):
    lay_out(tmp_path, files.csv_lines(files.fer_table(21)))
    message = r"1: Expected deadskull7/.* Received other images\. train: expected 3,995 angry, .*; received 1 angry, 1 "
    with pytest.raises(DataError, match=message):
        load_fer7()
    publish(monkeypatch, 1, 1, 2)
    with pytest.raises(DataError, match=r"images\. test: expected 2 angry, .* 2 neutral; received 1 angry, [^;]*$"):
        load_fer4()
    assert files.nothing_cached(tmp_path)


@pytest.mark.parametrize(("protocol", "total"), [("official", [28709, 3589, 3589]), ("folders", [28821, 7066, 0])])
def test_the_published_counts_are_those_of_the_same_faces(protocol, total):
    assert np.sum(PUBLISHED_COUNTS[protocol], axis=1).tolist() == total
    assert np.sum(PUBLISHED_COUNTS[protocol], axis=0).tolist() == np.sum(PUBLISHED_COUNTS["official"], axis=0).tolist()


def test_ones_own_part_is_read_but_not_called_complete(tmp_path, monkeypatch):
    faces = load_fer7(files.write_csv(tmp_path / "part", files.csv_lines(files.fer_table(21))))
    assert "This is not the complete FER-2013. train: expected 3,995 angry, " in str(audit(faces))
    publish(monkeypatch, 1, 1, 1)
    assert "not the complete" not in str(audit(faces))
    assert "not the complete" not in str(audit(faces.select(classes=("sad", "happy"))))
    assert "not the complete" not in str(audit(faces.resplit(seed=0)))


@pytest.mark.parametrize("load", [load_fer7, load_fer4])
def test_without_data_one_error_says_the_ways_within_seconds(load):
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        load()
    assert time.perf_counter() - start < 10
    message = str(caught.value)
    for words in ("FER_KERAS_DATA", "kagglehub.login()", "Pass its path", "fer2013.csv", "--data PATH", KAGGLE):
        assert words in message


def test_without_kagglehub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"FER-2013 is not here(?s:.*)kagglehub is not installed: pip install"):
        load_fer7()


def test_the_places_are_asked_in_order(tmp_path, monkeypatch):
    lay_out(tmp_path, files.csv_lines(files.fer_table(7)))
    with monkeypatch.context() as patch:
        publish(patch, 1, 0, 0)
        assert len(load_fer7()) == 7
    keep_whole(votes=False, value=1)
    assert len(load_fer7()) == 35_887
    variable = files.write_csv(tmp_path / "variable", files.csv_lines(files.fer_table(14)))
    monkeypatch.setenv("FER_KERAS_DATA", str(variable.parent))
    assert len(load_fer7()) == 14
    assert len(load_fer7(files.write_csv(tmp_path / "path", files.csv_lines(files.fer_table(21))))) == 21


def test_only_a_whole_copy_in_the_cache_is_taken_and_rather_one_with_votes(tmp_path):
    load_fer7(files.write_csv(tmp_path / "part", files.csv_lines(files.fer_table(7))))
    keep_whole(votes=True, value=3, difference="one image less")
    with pytest.raises(DataError, match="FER-2013 is not here"):
        load_fer7()
    keep_whole(votes=True, value=1)
    keep_whole(votes=False, value=2)
    assert load_fer7().images.max() == 1
    with pytest.raises(DataError, match=r"The cached FER-2013: Expected the course set"):
        load_fer4(protocol="course")
    with pytest.raises(DataError, match=r"The cached FER-2013: Expected the own split"):
        load_fer7(protocol="own")


def test_a_variable_that_points_nowhere_is_said(tmp_path, monkeypatch):
    lay_out(tmp_path, files.csv_lines(files.fer_table(7)))
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"FER_KERAS_DATA=.*nowhere: Expected FER-2013 there"):
        load_fer7()


# Real data


@files.needs_real_data
def test_the_real_data_has_its_published_counts():
    counts = load_fer7(files.REAL_DATA).counts()
    assert counts.to_numpy().tolist() == [
        [3995, 436, 4097, 7215, 4830, 3171, 4965, 28709],
        [467, 56, 496, 895, 653, 415, 607, 3589],
        [491, 55, 528, 879, 594, 416, 626, 3589],
    ]
    assert load_fer4(files.REAL_DATA, protocol="official").counts()["total"].tolist() == [20181, 2570, 2515]
    assert load_fer4(files.REAL_DATA, protocol="course").counts()["total"].tolist() == [15109, 4977, 128]


@files.needs_real_data
def test_the_real_data_comes_back_from_a_csv(tmp_path):
    faces = load_fer7(files.REAL_DATA).take(np.arange(0, 35887, 60))
    names = {split: usage for usage, split in USAGE_TO_SPLIT.items()}
    rows = zip(faces.labels, faces.images, faces.split.tolist(), strict=True)
    lines = ["emotion,pixels,Usage", *(files.csv_row(label, image, names[split]) for label, image, split in rows)]
    assert load_fer7(files.write_csv(tmp_path, lines)).fingerprint == faces.fingerprint
