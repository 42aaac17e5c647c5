"""`load_folder`: anyone's own pictures."""

import numpy as np
import pytest
from data_files import claimed, noise, png, set_up
from PIL import Image

from fer_keras.data import DataError, load_folder


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    set_up(monkeypatch, tmp_path)


def write(folder, images, *, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start=first):
        (folder / f"{number:03}.png").write_bytes(png(image))
    return folder


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(("sad", "Happy", "bored")):
        write(tmp_path / "faces" / name, noise(10, seed=number))
    return tmp_path / "faces"


def test_class_folders_get_a_split_that_source_mentions(root):
    faces = load_folder(root)
    assert faces.classes == ("happy", "sad", "bored")
    assert faces.protocol == "own"
    assert faces.counts()["total"].tolist() == [24, 3, 3]
    assert faces.source == "class folders faces, split 80/10/10 by resplit(seed=0)"
    for label, seed in enumerate((1, 0, 2)):
        np.testing.assert_array_equal(faces.images[faces.labels == label, ..., 0], noise(10, seed=seed))


def test_a_drawn_split_is_said(root, capsys):
    faces = load_folder(root)
    assert capsys.readouterr().err == f"fer_keras: {root}: {faces.source}\n"


def test_emotions_get_their_names_and_order_of_fer_2013_and_others_keep_theirs(tmp_path):
    names = ("Sadness", "Bored", "contempt", "anger", "HAPPY", "fearful")
    for number, name in enumerate(names):
        write(tmp_path / "faces" / name, noise(2, seed=number))
    faces = load_folder(tmp_path / "faces")
    assert faces.classes == ("angry", "fear", "happy", "sad", "contempt", "Bored")
    for label, seed in enumerate((3, 5, 4, 0, 2, 1)):
        np.testing.assert_array_equal(faces.images[faces.labels == label, ..., 0], noise(2, seed=seed))
    assert load_folder(tmp_path / "faces", classes=("Sadness", "happy")).classes == ("Sadness", "happy")


def test_the_only_folder_is_looked_into(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for name in ("happy", "sad"):
            write(tmp_path / "faces" / "archive" / split / name, noise(count))
    faces = load_folder(tmp_path / "faces")
    assert faces.counts()["total"].tolist() == [8, 0, 4]
    assert faces.source == "class folders faces"


def test_files_are_read_in_the_order_of_their_numbers(tmp_path):
    for name in ("happy", "sad"):
        for number, image in zip((2, 10, 1), noise(3), strict=True):
            write(tmp_path / name, [])
            (tmp_path / name / f"{number}.png").write_bytes(png(image))
    faces = load_folder(tmp_path)
    np.testing.assert_array_equal(faces.images[faces.labels == 0, ..., 0], noise(3)[[2, 0, 1]])


def test_folders_of_splits_are_kept_as_they_are(tmp_path):
    for number, (split, count) in enumerate([("Train", 4), ("val", 2), ("test", 1)]):
        for label, name in enumerate(("happy", "sad")):
            write(tmp_path / "faces" / split / name, noise(count, seed=10 * number + label))
    faces = load_folder(tmp_path / "faces")
    assert faces.counts()["total"].tolist() == [8, 4, 2]
    np.testing.assert_array_equal(faces["validation"][0][:2, ..., 0], noise(2, seed=10))
    assert "resplit" not in faces.source


def test_copies_of_a_picture_stay_on_one_side(root):
    write(root / "sad", noise(8, seed=1), first=50)  # those of the class happy, under another label
    faces = load_folder(root)
    sides = {digest: set(faces.split[faces.digests == digest]) for digest in faces.digests}
    assert len(sides) == 30
    assert all(len(side) == 1 for side in sides.values())


def test_classes_can_be_chosen_and_ordered(root):
    faces = load_folder(root, classes=("bored", "happy"))
    assert faces.classes == ("bored", "happy")
    np.testing.assert_array_equal(faces.images[faces.labels == 0, ..., 0], noise(10, seed=2))
    with pytest.raises(DataError, match=r"fear: Expected pictures. Received: no such folder"):
        load_folder(root, classes=("happy", "fear"))


def test_any_picture_becomes_grey_and_of_one_size(tmp_path):
    colour = np.zeros((60, 90, 3), np.uint8)
    colour[..., 1] = 200
    for name in ("happy", "sad"):
        folder = write(tmp_path / name, [])
        Image.fromarray(colour).save(folder / "a.PNG")
        Image.fromarray(colour).save(folder / "b.jpeg", quality=95)
        Image.fromarray(colour).save(folder / "c.bmp")
        Image.fromarray(colour).convert("RGBA").save(folder / "d.png")
        (folder / "Thumbs.db").write_bytes(b"no picture")
    faces = load_folder(tmp_path)
    assert faces.images.shape == (8, 48, 48, 1)
    np.testing.assert_allclose(faces.images, 0.587 * 200, atol=4)  # the luma of green
    assert load_folder(tmp_path, image_size=(64, 32)).images.shape == (8, 64, 32, 1)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    half = np.zeros((48, 48), np.uint8)
    half[:24] = 255
    for name in ("happy", "sad"):
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        Image.fromarray(half).convert("RGB").save(write(tmp_path / name, []) / "a.jpg", exif=exif, quality=100)
        Image.fromarray(half).save(tmp_path / name / "b.jpg", exif=exif, quality=100)
    images = load_folder(tmp_path).images
    assert images[:, :20].max() < 10
    assert images[:, 28:].min() > 245


BAD = {
    "cut": (png(noise(1)[0])[:500], "Expected a whole picture"),
    "empty": (b"", "Expected a whole picture"),
    "text": (b"not a picture at all", "Expected a whole picture"),
    "16-bit": (png(np.zeros((48, 48), np.uint16)), "8 bits a channel"),
    "absurd": (claimed(60_000, 1_000), "at most 50,000,000 pixels. Received: 60000x1000"),
    "suspect": (claimed(10_000, 10_000), "exceeds limit"),
    "bomb": (claimed(60_000, 60_000), "exceeds limit"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_a_bad_picture_is_named_and_can_be_skipped(root, content, message):
    (root / "sad" / "003.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"sad.003\.png: .*{message}.*on_error='skip'"):
        load_folder(root)
    faces = load_folder(root, on_error="skip")
    assert len(faces) == 29
    assert len(faces.skipped) == 1
    assert "1 skipped" in repr(faces)


def test_an_empty_class_folder_is_named_and_can_be_skipped(root):
    (root / "fear").mkdir()
    with pytest.raises(DataError, match=r"fear: Expected pictures. Received: none"):
        load_folder(root)
    faces = load_folder(root, on_error="skip")
    assert faces.classes == ("fear", "happy", "sad", "bored")
    assert len(faces) == 30


def test_what_is_no_folder_of_classes_is_refused(tmp_path, root):
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "nowhere")
    write(tmp_path / "one" / "happy", noise(2))
    with pytest.raises(DataError, match=r"at least two class folders. Received: happy"):
        load_folder(tmp_path / "one")
    write(root / "train" / "happy", noise(2))
    with pytest.raises(DataError, match="Expected folders of classes, or of splits with train among them"):
        load_folder(root)
    write(tmp_path / "two" / "val" / "happy", noise(2))
    with pytest.raises(DataError, match="with train among them"):
        load_folder(tmp_path / "two")
    for name in ("train", "val", "valid"):
        write(tmp_path / "three" / name / "happy", noise(2))
    with pytest.raises(DataError, match=r"one folder a split. Received: val and valid"):
        load_folder(tmp_path / "three")
    write(tmp_path / "four" / "happy", [])
    write(tmp_path / "four" / "sad", [])
    with pytest.raises(DataError, match="none that can be read"):
        load_folder(tmp_path / "four", on_error="skip")
    with pytest.raises(ValueError, match="on_error"):
        load_folder(root, on_error="ignore")
