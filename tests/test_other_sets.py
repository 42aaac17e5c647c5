"""CK+48 and RAF-DB, in the forms they are met in."""

import io

import numpy as np
import pytest
from data_files import ckplus_folders, noise, png, rafdb_faces, write_rafdb_folders, write_rafdb_list, write_tree
from PIL import Image

from fer_keras.data import DataError, load_ckplus, load_fer7, load_rafdb
from fer_keras.labels import CKPLUS7, FER7

# CK+48


@pytest.fixture
def ckplus(tmp_path):
    return write_tree(tmp_path / "ck", ckplus_folders())


def test_ckplus_is_read_with_its_classes_in_the_order_of_fer_2013(ckplus, capsys):
    faces = load_ckplus(ckplus)
    assert faces.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    own = ("anger", "disgust", "fear", "happy", "sadness", "surprise", "contempt")
    found = {
        f"CK+48/{own[label]}/S{row // 10**11:03}_{row // 10**8 % 1000:03}_{row % 10**8:08}.png": image.tobytes()
        for row, label, image in zip(faces.rows, faces.labels, faces.images, strict=True)
    }
    assert found == {path: image.tobytes() for path, image in ckplus_folders().items()}
    assert faces.protocol == "own"
    assert faces.source == "CK+48, split 80/10/10 by person, drawn with seed 0"
    assert capsys.readouterr().err == f"fer_keras: {ckplus}: {faces.source}\n"


def test_no_person_of_ckplus_is_in_two_splits(tmp_path):
    root = write_tree(tmp_path / "ck", ckplus_folders(118))  # so many people show emotions in CK+
    faces = load_ckplus(root)
    persons = faces.rows // 10**11
    people = {split: set(persons[faces.split == split].tolist()) for split in ("train", "validation", "test")}
    assert len(people["train"] | people["validation"] | people["test"]) == sum(map(len, people.values())) == 118
    share = faces.counts() / faces.counts().sum()
    for split, wanted in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        np.testing.assert_allclose(share.loc[split], wanted, atol=0.04)
    np.testing.assert_array_equal(load_ckplus(root / "CK+48").split, faces.split)


FACE, LARGE = png(noise(1)[0]), png(np.zeros((490, 640), np.uint8))
FAULTS = [
    ("fear/fear1.png", FACE, "Expected a name like S010_004_00000017"),
    ("fear/S999_001_00000001.png", FACE[:400], "Expected a whole picture"),
    ("fear/S999_001_00000001.png", LARGE, "Expected 48x48 pixels. Received: 490x640"),
    ("neutral", None, "Expected a folder of one of angry, .* Received: another class"),
]


@pytest.mark.parametrize(("name", "content", "message"), FAULTS)
def test_a_fault_in_ckplus_is_named_and_can_be_skipped(ckplus, name, content, message):
    place = ckplus / "CK+48" / name
    place.write_bytes(content) if content else place.mkdir()
    with pytest.raises(DataError, match=rf"{place.name}: {message}.*on_error='skip'"):
        load_ckplus(ckplus)
    faces = load_ckplus(ckplus, on_error="skip")
    assert len(faces) == len(ckplus_folders())
    assert len(faces.skipped) == 1
    assert "1 skipped" in faces.source


def test_an_empty_class_of_ckplus_is_named_and_can_be_skipped(ckplus):
    for file in (ckplus / "CK+48" / "contempt").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"contempt: Expected pictures. Received: none"):
        load_ckplus(ckplus)
    faces = load_ckplus(ckplus, on_error="skip")
    assert faces.classes == CKPLUS7
    assert faces.counts()["contempt"].sum() == 0
    assert faces.to_classes(FER7).classes == FER7


def test_what_is_not_ckplus_is_refused(tmp_path, ckplus):
    with pytest.raises(DataError, match=r"load_folder\(path\), for CK\+48 load_ckplus"):
        load_fer7(ckplus)
    for place in ("nowhere", "empty"):
        with pytest.raises(DataError, match=rf"{place}: Expected CK\+48"):
            load_ckplus(tmp_path / place)
        (tmp_path / "empty").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match="`on_error` must be one of"):
        load_ckplus(ckplus, on_error="ignore")


# RAF-DB

# Labels 1..7 by the paper's numbering, written out here once more: a slip in the package shows.
PAPER = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
FACES = rafdb_faces()
WRITERS = {"list": write_rafdb_list, "folders": write_rafdb_folders}


@pytest.fixture(params=WRITERS)
def rafdb(request, tmp_path):
    return WRITERS[request.param](tmp_path / "raf", FACES)


def as_grey(picture, size=(48, 48)):
    """Return a colour picture as a JPEG holds it, grey and resized."""
    held = Image.open(io.BytesIO(png(picture, "JPEG", quality=95))).convert("L")
    return np.asarray(held.resize(size, Image.Resampling.BILINEAR))


def by_pixels(faces):
    """Return label name and split of each face by its pixels."""
    rows = zip(faces.images, faces.labels, faces.split.tolist(), strict=True)
    return {image.tobytes(): (faces.classes[label], split) for image, label, split in rows}


def test_rafdb_is_read_with_the_labels_of_the_paper(rafdb):
    faces = load_rafdb(rafdb)
    assert faces.classes == FER7
    assert faces.images.shape == (84, 48, 48, 1)
    found = by_pixels(faces)
    for name, label, picture in FACES:
        emotion, split = found[as_grey(picture).tobytes()]
        assert emotion == PAPER[label - 1]
        assert split in ({"test"} if name.startswith("test") else {"train", "validation"})


def test_a_validation_set_of_rafdb_is_drawn_and_said(rafdb, capsys):
    faces = load_rafdb(rafdb)
    assert faces.protocol == "raf-db"
    assert faces.counts().to_numpy().tolist() == [[9] * 7 + [63], [1] * 7 + [7], [2] * 7 + [14]]
    assert faces.source == (
        "RAF-DB, 70 train and 14 test images (published: 12,271 train and 3,068 test), "
        "a tenth of train drawn as validation with seed 0"
    )
    assert capsys.readouterr().err == f"fer_keras: {rafdb}: {faces.source}\n"
    np.testing.assert_array_equal(faces.split, load_rafdb(rafdb).split)


def test_rafdb_of_the_published_size_is_not_remarked_on(rafdb, monkeypatch):
    monkeypatch.setattr("fer_keras.data.other_sets.PUBLISHED", {"train": 70, "test": 14})
    assert load_rafdb(rafdb).source.startswith("RAF-DB, 70 train and 14 test images, a tenth")


def test_rafdb_comes_in_the_size_asked_for(rafdb):
    faces = load_rafdb(rafdb, image_size=(100, 100))
    assert faces.images.shape == (84, 100, 100, 1)
    assert as_grey(FACES[0][2], (100, 100)).tobytes() in by_pixels(faces)
    assert load_rafdb(rafdb, image_size=(64, 32)).images.shape == (84, 64, 32, 1)


def test_both_forms_of_rafdb_hold_the_same(tmp_path):
    forms = [by_pixels(load_rafdb(write(tmp_path / name, FACES))) for name, write in WRITERS.items()]
    assert forms[0] == forms[1]


def test_rafdb_is_found_from_its_inner_folders(tmp_path):
    listed = write_rafdb_list(tmp_path / "list", FACES)
    numbered = write_rafdb_folders(tmp_path / "folders", FACES)
    assert len(load_rafdb(listed / "basic")) == len(load_rafdb(numbered / "DATASET")) == 84
    assert load_rafdb(listed).rows.tolist() == list(range(84))


def edit(file, change):
    lines = file.read_text().splitlines()
    change(lines)
    file.write_text("\n".join(lines))


LIST_LINES = {
    "label-8": ("train_00003.jpg 8", r"line 3: Expected a picture and a label in 1\.\.7. Received: 'train_00003"),
    "no-label": ("train_00003.jpg", r"line 3: Expected a picture and a label in 1\.\.7"),
    "twice": ("train_00002.jpg 3", r"line 3: Expected each picture once. Received: train_00002\.jpg again"),
    "missing": ("train_00903.jpg 3", r"line 3: Expected its picture in Image/aligned. Received: none"),
    "split": ("valid_00003.jpg 3", r"line 3: Expected a name train_N\.jpg or test_N\.jpg. Received: valid_00003\.jpg"),
}


@pytest.mark.parametrize(("line", "message"), LIST_LINES.values(), ids=LIST_LINES)
def test_a_bad_line_of_rafdbs_list_is_named_and_can_be_skipped(tmp_path, line, message):
    root = write_rafdb_list(tmp_path / "raf", FACES)
    edit(root / "basic" / "EmoLabel" / "list_patition_label.txt", lambda lines: lines.__setitem__(2, line))
    with pytest.raises(DataError, match=rf"list_patition_label\.txt, {message}.*on_error='skip'"):
        load_rafdb(root)
    faces = load_rafdb(root, on_error="skip")
    assert faces.rows.tolist() == [row for row in range(84) if row != 2]
    assert len(faces.skipped) == 2  # the line, and the picture that is left without a label
    assert "69 train and 14 test" in faces.source
    assert "2 skipped" in faces.source


def test_a_picture_that_rafdbs_list_lacks_is_named(tmp_path):
    root = write_rafdb_list(tmp_path / "raf", FACES)
    edit(root / "basic" / "EmoLabel" / "list_patition_label.txt", lambda lines: lines.pop(2))
    with pytest.raises(DataError, match=r"train_00003_aligned\.jpg: Expected its label in list_patition_label\.txt"):
        load_rafdb(root)


TABLE_LINES = {
    "contradiction": (
        "train_00003_aligned.jpg,4",
        "train_labels.csv, line 4: Expected the label 3, as of its folder",
        1,
    ),
    "label": ("train_00003_aligned.jpg,9", r"train_labels.csv, line 4: Expected a picture and a label in 1\.\.7", 2),
    "blanks": ("train_00003_aligned.jpg 3", r"train_labels.csv, line 4: Expected a picture and a label in 1\.\.7", 2),
    "twice": ("train_00002_aligned.jpg,3", "train_labels.csv, line 4: Expected each picture once", 2),
    "other": ("train_00903_aligned.jpg,3", r"3.train_00003_aligned.jpg: Expected its label in train_labels\.csv", 2),
}


@pytest.mark.parametrize(("line", "message", "faults"), TABLE_LINES.values(), ids=TABLE_LINES)
def test_a_table_that_disagrees_with_rafdbs_folders_is_refused(tmp_path, line, message, faults):
    root = write_rafdb_folders(tmp_path / "raf", FACES)
    edit(root / "train_labels.csv", lambda lines: lines.__setitem__(3, line))
    with pytest.raises(DataError, match=rf"{message}.*on_error='skip'"):
        load_rafdb(root)
    faces = load_rafdb(root, on_error="skip")
    assert len(faces) == 83
    assert as_grey(FACES[2][2]).tobytes() not in by_pixels(faces)
    assert len(faces.skipped) == faults


def test_a_row_of_the_table_without_a_picture_is_named(tmp_path):
    root = write_rafdb_folders(tmp_path / "raf", FACES)
    edit(root / "test_labels.csv", lambda lines: lines.append("test_0900_aligned.jpg,5"))
    with pytest.raises(DataError, match=r"test_labels\.csv, line 16: Expected a picture test_0900_aligned\.jpg"):
        load_rafdb(root)


def test_a_table_with_another_header_is_refused(tmp_path):
    root = write_rafdb_folders(tmp_path / "raf", FACES)
    edit(root / "test_labels.csv", lambda lines: lines.pop(0))
    with pytest.raises(
        DataError, match=r"test_labels\.csv, line 1: Expected the header image,label. Received: 'test_0001"
    ):
        load_rafdb(root, on_error="skip")


def test_rafdbs_folders_do_without_the_tables(tmp_path):
    root = write_rafdb_folders(tmp_path / "raf", FACES)
    known = by_pixels(load_rafdb(root))
    for split in ("train", "test"):
        (root / f"{split}_labels.csv").unlink()
    assert by_pixels(load_rafdb(root)) == known


def test_a_bad_picture_of_rafdb_is_named_and_can_be_skipped(rafdb):
    (file,) = rafdb.rglob("test_0003_aligned.jpg")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match=r"test_0003_aligned\.jpg: Expected a whole picture"):
        load_rafdb(rafdb)
    assert load_rafdb(rafdb, on_error="skip").counts()["total"].tolist() == [63, 7, 13]


def test_an_empty_or_unknown_class_of_rafdb_is_named(tmp_path):
    root = write_rafdb_folders(tmp_path / "raf", FACES)
    (root / "DATASET" / "test" / "8").mkdir()
    with pytest.raises(DataError, match=r"test.8: Expected a folder of one of 1, 2, .* Received: another class"):
        load_rafdb(root)
    (root / "DATASET" / "test" / "8").rmdir()
    for file in (root / "DATASET" / "train" / "2").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"train.2: Expected pictures. Received: none"):
        load_rafdb(root)


def test_what_is_not_rafdb_is_refused(tmp_path, rafdb):
    with pytest.raises(DataError, match="for RAF-DB load_rafdb"):
        load_fer7(rafdb)
    with pytest.raises(DataError, match="nowhere: Expected RAF-DB"):
        load_rafdb(tmp_path / "nowhere")
    listed = write_rafdb_list(tmp_path / "list", FACES)
    (listed / "basic" / "Image" / "aligned").rename(listed / "basic" / "Image" / "original")
    with pytest.raises(DataError, match=r"aligned: Expected the aligned pictures. Received: no such folder"):
        load_rafdb(listed)
    (listed / "basic" / "Image" / "original").rename(listed / "basic" / "Image" / "aligned")
    (listed / "basic" / "EmoLabel" / "list_patition_label.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"list_patition_label\.txt: Expected UTF-8 text"):
        load_rafdb(listed)
