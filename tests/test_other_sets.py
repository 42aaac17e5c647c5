"""CK+48 and RAF-DB, in the forms they are met in."""

import io

import data_files as files
import numpy as np
import pytest
from PIL import Image

from fer_keras.data import load_ckplus, load_fer7, load_rafdb
from fer_keras.labels import FER7


@pytest.fixture
def ckplus(tmp_path):
    return files.write_tree(tmp_path / "ck", files.ckplus_folders())


def test_ckplus_is_read_with_its_classes_in_the_order_of_fer_2013(ckplus, capsys):
    faces = load_ckplus(ckplus)
    assert faces.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    own = ("anger", "disgust", "fear", "happy", "sadness", "surprise", "contempt")
    found = {
        f"CK+48/{own[label]}/S{row // 10**11:03}_{row // 10**8 % 1000:03}_{row % 10**8:08}.png": image.tobytes()
        for row, label, image in zip(faces.rows, faces.labels, faces.images, strict=True)
    }
    assert found == {path: image.tobytes() for path, image in files.ckplus_folders().items()}
    assert (faces.protocol, faces.source) == ("own", "CK+48, split 80/10/10 by person, drawn with seed 0")
    assert capsys.readouterr().err == f"fer_keras: {ckplus}: {faces.source}\n"


def test_no_person_of_ckplus_is_in_two_splits(tmp_path):
    root = files.write_tree(tmp_path / "ck", files.ckplus_folders(118))  # so many people show emotions in CK+
    faces = load_ckplus(root)
    people = [set((faces.rows // 10**11)[faces.split == split]) for split in ("train", "validation", "test")]
    assert len(set.union(*people)) == sum(map(len, people)) == 118
    share = faces.counts() / faces.counts().sum()
    np.testing.assert_allclose(share.sub([0.8, 0.1, 0.1], axis=0), 0, atol=0.04)
    np.testing.assert_array_equal(load_ckplus(root / "CK+48").split, faces.split)


def test_what_is_not_ckplus_is_refused(tmp_path, ckplus):
    files.refused(r"load_folder\(path\), for CK\+48 load_ckplus", load_fer7, ckplus)
    for place in ("nowhere", "empty"):
        files.refused(rf"{place}: Expected CK\+48", load_ckplus, tmp_path / place)
        (tmp_path / "empty").mkdir(exist_ok=True)


# Labels 1..7 by the paper's numbering, written out here once more: a slip in the package shows.
PAPER = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
FACES = files.rafdb_faces()
WRITERS = {"list": files.write_rafdb_list, "folders": files.write_rafdb_folders}


@pytest.fixture(params=WRITERS)
def rafdb(request, tmp_path):
    return WRITERS[request.param](tmp_path / "raf", FACES)


@pytest.fixture
def listed(tmp_path):
    return files.write_rafdb_list(tmp_path / "list", FACES)


@pytest.fixture
def numbered(tmp_path):
    return files.write_rafdb_folders(tmp_path / "folders", FACES)


def as_grey(picture, size=(48, 48)):
    """A colour picture as a JPEG holds it, grey and resized, in bytes."""
    held = Image.open(io.BytesIO(files.jpeg(picture))).convert("L")
    return np.asarray(held.resize(size, Image.Resampling.BILINEAR)).tobytes()


def by_pixels(faces):
    """Label name and split of each face by its pixels."""
    rows = zip(faces.images, faces.labels, faces.split.tolist(), strict=True)
    return {image.tobytes(): (faces.classes[label], split) for image, label, split in rows}


def test_rafdb_is_read_with_the_labels_of_the_paper_and_a_validation_set_that_is_announced(rafdb, capsys, monkeypatch):
    faces = load_rafdb(rafdb)
    assert (faces.classes, faces.protocol, faces.images.shape) == (FER7, "raf-db", (84, 48, 48, 1))
    found = by_pixels(faces)
    for name, label, picture in FACES:
        emotion, split = found[as_grey(picture)]
        assert emotion == PAPER[label - 1]
        assert split in ({"test"} if name.startswith("test") else {"train", "validation"})
    assert faces.counts().to_numpy().tolist() == [[9] * 7 + [63], [1] * 7 + [7], [2] * 7 + [14]]
    assert faces.source == (
        "RAF-DB, 70 train and 14 test images (published: 12,271 train and 3,068 test), "
        "a tenth of train drawn as validation with seed 0"
    )
    assert capsys.readouterr().err == f"fer_keras: {rafdb}: {faces.source}\n"
    monkeypatch.setattr("fer_keras.data.other_sets.PUBLISHED", {"train": 70, "test": 14})
    again = load_rafdb(rafdb)
    assert again.source.startswith("RAF-DB, 70 train and 14 test images, a tenth")
    np.testing.assert_array_equal(faces.split, again.split)


def test_both_forms_of_rafdb_hold_the_same_also_from_their_inner_folders_and_without_tables(listed, numbered):
    known = by_pixels(load_rafdb(listed))
    assert load_rafdb(listed).rows.tolist() == list(range(84))
    for place in (listed / "basic", numbered, numbered / "DATASET"):
        assert by_pixels(load_rafdb(place)) == known
    for split in ("train", "test"):
        (numbered / f"{split}_labels.csv").unlink()
    assert by_pixels(load_rafdb(numbered)) == known


def test_rafdb_comes_in_the_size_asked_for(listed):
    faces = load_rafdb(listed, image_size=(100, 100))
    assert faces.images.shape == (84, 100, 100, 1)
    assert as_grey(FACES[0][2], (100, 100)) in by_pixels(faces)
    assert load_rafdb(listed, image_size=(64, 32)).images.shape == (84, 64, 32, 1)


def edit(file, place, *lines):
    """Put lines in place of one of a file."""
    held = file.read_text().splitlines()
    held[place : place + 1] = lines
    file.write_text("\n".join(held))


PICTURE = r"Expected a picture and a label in 1\.\.7"
LINES = {
    "label-8": ("train_00003.jpg 8", PICTURE + ". Received: 'train_00003"),
    "no-label": ("train_00003.jpg", PICTURE),
    "list-twice": ("train_00002.jpg 3", r"Expected each picture once. Received: train_00002\.jpg again"),
    "missing": ("train_00903.jpg 3", r"Expected its picture in Image/aligned. Received: none"),
    "split": ("valid_00003.jpg 3", r"Expected a name train_N\.jpg or test_N\.jpg. Received: valid_00003\.jpg"),
    "contradiction": ("train_00003_aligned.jpg,4", "Expected the label 3, as of its folder"),
    "label-9": ("train_00003_aligned.jpg,9", PICTURE),
    "blanks": ("train_00003_aligned.jpg 3", PICTURE),
    "twice": ("train_00002_aligned.jpg,3", "Expected each picture once"),
    "other": ("train_00903_aligned.jpg,3", r"train_00003_aligned\.jpg: Expected its label in train_labels\.csv"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_bad_line_of_rafdbs_lists_is_named_and_can_be_skipped(listed, numbered, case):
    line, message = LINES[case]
    place, name, number = numbered, "train_labels.csv", 4
    if "aligned" not in line:
        place, name, number = listed, "basic/EmoLabel/list_patition_label.txt", 3
    edit(place / name, number - 1, line)
    where = "" if case == "other" else rf"{name}, line {number}: "
    faces = files.skipped(rf"{where}{message}.*on_error='skip'", load_rafdb, place)
    assert len(faces) == 83
    assert as_grey(FACES[2][2]) not in by_pixels(faces)
    # the line, and the picture that is left without a label
    assert len(faces.skipped) == (1 if case == "contradiction" else 2)
    if place == listed:
        assert faces.rows.tolist() == [row for row in range(84) if row != 2]
        assert "69 train and 14 test" in faces.source
        assert "2 skipped" in faces.source


def test_rows_and_pictures_without_each_other_and_another_header_are_named(listed, numbered):
    edit(listed / "basic" / "EmoLabel" / "list_patition_label.txt", 2)
    files.refused(r"train_00003_aligned\.jpg: Expected its label in list_patition_label\.txt", load_rafdb, listed)
    table = numbered / "test_labels.csv"
    edit(table, 15, "test_0900_aligned.jpg,5")
    files.refused(r"test_labels\.csv, line 16: Expected a picture test_0900_aligned\.jpg", load_rafdb, numbered)
    edit(table, 0)
    header = r"test_labels\.csv, line 1: Expected the header image,label. Received: 'test_0001"
    files.refused(header, load_rafdb, numbered, on_error="skip")


def test_a_bad_picture_of_rafdb_is_named_and_can_be_skipped(rafdb):
    (file,) = rafdb.rglob("test_0003_aligned.jpg")
    file.write_bytes(file.read_bytes()[:500])
    files.refused(r"test_0003_aligned\.jpg: Expected a whole picture", load_rafdb, rafdb)
    assert load_rafdb(rafdb, on_error="skip").counts()["total"].tolist() == [63, 7, 13]


def test_what_is_not_rafdb_is_refused(tmp_path, listed, numbered):
    for place in (listed, numbered):
        files.refused("for RAF-DB load_rafdb", load_fer7, place)
    files.refused("nowhere: Expected RAF-DB", load_rafdb, tmp_path / "nowhere")
    (listed / "basic" / "EmoLabel" / "list_patition_label.txt").write_bytes(b"\xff\xfe\x00")
    files.refused(r"list_patition_label\.txt: Expected UTF-8 text", load_rafdb, listed)
    (listed / "basic" / "Image" / "aligned").rename(listed / "basic" / "Image" / "original")
    files.refused(r"aligned: Expected the aligned pictures. Received: no such folder", load_rafdb, listed)
