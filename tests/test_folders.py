"""FER-2013 as folders of pictures, in the forms of Kaggle; `load_folder`: anyone's own pictures."""

import subprocess
import sys

import data_files as files
import numpy as np
import pytest
from PIL import Image

from fer_keras.data import DataError, load_fer4, load_fer7, load_folder
from fer_keras.labels import FER4, FER7, USAGE_TO_SPLIT

NUM_ROWS = 210  # 30 of each class, 70 of each Usage

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def table():
    return files.fer_table(NUM_ROWS)


def expect_rows(faces, table, rows):
    """Check that the faces are those rows of the table, as JPEG, with their labels."""
    assert sorted(rows.tolist()) == list(range(NUM_ROWS))
    assert faces.classes == FER7
    np.testing.assert_array_equal(faces.labels, table["emotion"][rows])
    for row, image in zip(rows, faces.images[..., 0], strict=True):
        np.testing.assert_array_equal(image, files.as_jpeg(table["images"][row]))


def test_the_names_of_the_files_give_the_official_split_and_what_archives_leave_does_not_count(tmp_path, table, capsys):
    tree = {path.replace("/happy/", "/Happiness/"): image for path, image in files.named_folders(table).items()}
    left = dict.fromkeys(("__MACOSX/train/sad/1.jpg", "train/.ipynb_checkpoints/1.jpg"), table["images"][0])
    folder = files.write_tree(tmp_path / "fer", tree | left)
    for name in ("._Training_1.jpg", "Thumbs.db"):
        (folder / "train" / "sad" / name).write_bytes(b"left by another system")
    faces = load_fer7(folder)
    rows = faces.rows // 10**6
    expect_rows(faces, table, rows)
    assert [USAGE_TO_SPLIT[usage] for usage in table["Usage"][rows]] == faces.split.tolist()
    assert (faces.protocol, faces.fer2013_rows) == ("official", 0)  # ids, which only rise with the rows here
    assert faces.source == "FER-2013, folders, not as published"
    assert "fer: this is not FER-2013 as it was published: train: expected 3,995" in capsys.readouterr().err
    four = load_fer4(folder)
    assert four.counts()["total"].tolist() == [40, 40, 40]
    assert [FER4[label] for label in four.labels] == [FER7[label] for label in table["emotion"][four.rows // 10**6]]


def test_without_usage_a_validation_set_is_drawn_and_announced(tmp_path, table, capsys):
    folder = files.write_tree(tmp_path / "fer", files.unnamed_folders(table))
    faces = load_fer7(folder)
    assert faces.protocol == "own"
    assert faces.counts().to_numpy().tolist() == [[9] * 7 + [63], [1] * 7 + [7], [20] * 7 + [140]]
    assert "a tenth of train drawn as validation with seed 0" in faces.source
    assert capsys.readouterr().err == f"fer_keras: {folder}: {faces.source}\n"
    usage = {image.tobytes(): usage for image, usage in zip(table["images"], table["Usage"], strict=True)}
    found = [usage[image.tobytes()] for image in faces.images]
    assert [side == "test" for side in faces.split] == [each != "Training" for each in found]
    np.testing.assert_array_equal(faces.split, load_fer7(folder).split)
    files.refused(r"Expected the official split\. .* \('own'\)", load_fer7, folder, protocol="official")


@pytest.mark.parametrize("above", ["", "images", "archive"])
def test_train_and_validation_are_kept_as_given(tmp_path, table, above):
    place = tmp_path / "fer"
    files.write_tree(place / above, files.validated_folders(table))
    if above == "images":  # an archive that holds its tree twice
        files.write_tree(place, files.validated_folders(table))
    faces = load_fer7(place)
    expect_rows(faces, table, faces.rows)
    assert faces.split.tolist() == ["train" if row % 10 > 1 else "validation" for row in faces.rows]
    assert (faces.protocol, faces.fer2013_rows) == ("folders", 35_887)
    assert "ignore the official split; no test split" in faces.source
    files.refused(r"Expected the official split\. .* \('folders'\)", load_fer7, place, protocol="official")
    own = load_folder(place)
    assert (own.protocol, own.fingerprint) == ("own", faces.fingerprint)


def test_folders_of_other_classes_or_splits_lead_to_load_folder(tmp_path, table):
    named = files.named_folders(table)
    trees = {
        "six": {path: image for path, image in named.items() if "/fear/" not in path},
        "own": {path.replace("/fear/", "/bored/"): image for path, image in named.items()},
        "unsplit": {path.partition("/")[2]: image for path, image in named.items()},
        "three": named | {path.replace("test/", "validation/"): image for path, image in named.items()},
        "course": {f"{split}/{name}/1.jpg": table["images"][0] for split in ("train", "test") for name in FER4},
    }
    for name, tree in trees.items():
        folder = files.write_tree(tmp_path / name, tree)
        with pytest.raises(DataError, match=r"(?s)Received: a folder with .*load_folder\(path\)"):
            (load_fer4 if name == "course" else load_fer7)(folder)
        assert len(load_folder(folder)) == len(tree)
    faces = load_folder(files.write_tree(tmp_path / "named", named))
    assert (faces.classes, faces.counts()["total"].tolist()) == (FER7, [70, 0, 140])


def write(folder, images):
    """Write pictures whose order is that of their numbers, not of their names."""
    return files.write_tree(folder, {f"{number}.png": image for number, image in enumerate(images, start=5)})


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(("sad", "Happy", "bored")):
        write(tmp_path / "faces" / name, files.noise(10, seed=number))
    return tmp_path / "faces"


def test_class_folders_get_a_split_that_is_announced_and_classes_can_be_chosen_and_ordered(root, capsys):
    faces = load_folder(root)
    assert (faces.classes, faces.protocol) == (("happy", "sad", "bored"), "own")
    assert capsys.readouterr().err == f"fer_keras: {root}: {faces.source}\n"
    assert faces.counts()["total"].tolist() == [24, 3, 3]
    assert faces.source == "class folders faces, split 80/10/10 by resplit(seed=0)"
    chosen = load_folder(root, classes=("bored", "happy"))
    assert chosen.classes == ("bored", "happy")
    for each, seeds in ((faces, (1, 0, 2)), (chosen, (2, 1))):
        for label, seed in enumerate(seeds):
            np.testing.assert_array_equal(each.images[each.labels == label, ..., 0], files.noise(10, seed=seed))
    files.refused(r"fear: Expected pictures. Received: no such folder", load_folder, root, classes=("happy", "fear"))


def test_emotions_get_their_names_and_order_of_fer_2013_and_others_keep_theirs(tmp_path):
    names = ("Sadness", "Bored", "contempt", "anger", "HAPPY", "fearful")
    for number, name in enumerate(names):
        write(tmp_path / "faces" / name, files.noise(2, seed=number))
    faces = load_folder(tmp_path / "faces")
    assert faces.classes == ("angry", "fear", "happy", "sad", "contempt", "Bored")
    for label, seed in enumerate((3, 5, 4, 0, 2, 1)):
        np.testing.assert_array_equal(faces.images[faces.labels == label, ..., 0], files.noise(2, seed=seed))
    assert load_folder(tmp_path / "faces", classes=("Sadness", "happy")).classes == ("Sadness", "happy")


def test_folders_of_splits_are_kept_as_they_are(tmp_path):
    for number, (split, count) in enumerate([("Train", 4), ("val", 2), ("test", 1)]):
        for label, name in enumerate(("happy", "sad")):
            write(tmp_path / "faces" / "only" / split / name, files.noise(count, seed=10 * number + label))
    faces = load_folder(tmp_path / "faces")
    assert faces.counts()["total"].tolist() == [8, 4, 2]
    np.testing.assert_array_equal(faces["validation"][0][:2, ..., 0], files.noise(2, seed=10))
    assert "resplit" not in faces.source


def test_any_picture_becomes_grey_and_of_one_size_and_is_turned_as_its_camera_says(tmp_path):
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[:30, :, 1] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for name in ("happy", "sad"):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("a.PNG", "b.jpeg", "c.bmp"):
            Image.fromarray(picture[::-1]).save(folder / file)
        Image.fromarray(picture[::-1]).convert("RGBA").save(folder / "d.png")
        Image.fromarray(picture).save(folder / "e.jpg", exif=exif, quality=95)
        (folder / "Thumbs.db").write_bytes(b"no picture")
    images = load_folder(tmp_path).images
    assert images.shape == (10, 48, 48, 1)
    np.testing.assert_allclose(images[:, 28:], 0.587 * 200, atol=6)  # the luma of green
    assert images[:, :20].max() < 6
    assert load_folder(tmp_path, image_size=(64, 32)).images.shape == (10, 64, 32, 1)


NO_CLASSES = {
    "one": (["happy"], r"at least two class folders. Received: happy"),
    "mixed": (["happy", "train/happy"], "Expected folders of classes, or of splits with train among them"),
    "no train": (["val/happy", "val/sad"], "with train among them"),
    "val twice": (["train/happy", "val/happy", "valid/happy"], r"one folder a split. Received: val and valid"),
    "nothing": ([], "no such folder"),
}


@pytest.mark.parametrize(("names", "message"), NO_CLASSES.values(), ids=NO_CLASSES)
def test_what_is_no_folder_of_classes_is_refused(tmp_path, names, message):
    for name in names:
        write(tmp_path / "faces" / name, files.noise(2))
    files.refused(message, load_folder, tmp_path / "faces")


def test_the_real_data_comes_back_from_its_folders(tmp_path, fer2013):
    script = fer2013 / "export_fer2013.py"
    if not script.is_file():
        pytest.skip("no export_fer2013.py")
    command = [sys.executable, "-B", script, "folders", tmp_path / "fer", "--limit", "400"]
    subprocess.run(command, check=True)
    faces, known = load_fer7(tmp_path / "fer"), load_fer7(fer2013)
    known = known.take(np.argsort(known.rows))
    assert faces.counts()["total"].tolist() == [400, 400, 400]
    np.testing.assert_array_equal(faces.labels, known.labels[faces.rows])
    np.testing.assert_array_equal(faces.split, known.split[faces.rows])
    distance = np.abs(faces.images.astype(int) - known.images[faces.rows]).mean(axis=(1, 2, 3))
    assert distance.max() < 4  # JPEG at quality 95
