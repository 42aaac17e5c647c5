"""Folders of pictures: FER-2013 in the forms of Kaggle, anyone's own, CK+48 and RAF-DB."""

import errno
import os
import subprocess
import sys
from functools import partial

import data_files as files
import numpy as np
import pytest
from PIL import Image

from fer_keras.__main__ import main
from fer_keras.data import load_ckplus, load_faces, load_fer4, load_fer7, load_folder, load_rafdb
from fer_keras.labels import FER4, FER7, USAGE_TO_SPLIT

NUM_ROWS = 210  # 30 of each class, 70 of each Usage

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def table():
    return files.fer_table(NUM_ROWS)


def expect_rows(faces, table, rows):
    """Check that the faces are those rows of the table, as JPEG, with their labels."""
    assert sorted(rows.tolist()) == list(range(NUM_ROWS))
    assert faces.classes == FER7
    np.testing.assert_array_equal(faces.labels, table["emotion"][rows])
    np.testing.assert_array_equal(faces.images[..., 0], [files.as_jpeg(table["images"][row]) for row in rows])


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


def test_without_usage_a_validation_set_is_drawn_and_announced(tmp_path, table, capsys, monkeypatch):
    folder = files.write_tree(tmp_path / "fer", files.unnamed_folders(table))
    faces = load_fer7(folder)
    assert faces.protocol == "own"
    assert faces.counts().to_numpy().tolist() == [[9] * 7 + [63], [1] * 7 + [7], [20] * 7 + [140]]
    given = "train and test as given, a tenth of train drawn as validation with seed 0"
    assert faces.source == f"class folders fer, {given}"
    assert capsys.readouterr().err == f"fer_keras: {folder}: {faces.source}\n"
    test = table["images"][table["Usage"] != "Training"]
    assert {image.tobytes() for image in faces["test"][0]} == {image.tobytes() for image in test}
    files.refused(r"Expected the official split\. .* \('own'\)", load_fer7, folder, protocol="official")
    monkeypatch.setattr("fer_keras.data.fer2013_folders.NUM_TRAINING", 70)
    monkeypatch.setattr("fer_keras.data.fer2013_folders.NUM_IMAGES", 210)
    assert load_fer7(folder).source == f"FER-2013, folders {given}"
    few = load_fer7(files.write_tree(tmp_path / "few", files.unnamed_folders(files.fer_table(42))))
    assert "0 of 14 images of train drawn as validation" in few.source


def test_train_and_validation_are_kept_as_given(tmp_path, table):
    place = files.write_tree(tmp_path / "fer", files.validated_folders(table))
    files.write_tree(place / "images", files.validated_folders(table))  # as an archive that holds its tree twice
    faces = load_fer7(place)
    expect_rows(faces, table, faces.rows)
    assert faces.split.tolist() == ["train" if row % 10 > 1 else "validation" for row in faces.rows]
    assert (faces.protocol, faces.fer2013_rows) == ("folders", 35_887)
    assert "ignore the official split; no test split" in faces.source
    files.refused(r"Expected the official split\. .* \('folders'\)", load_fer7, place, protocol="official")
    own = load_folder(place)
    assert (own.protocol, own.fingerprint) == ("own", faces.fingerprint)


def test_folders_of_other_classes_or_splits_lead_to_load_folder(tmp_path):
    named = files.named_folders(files.fer_table(42))
    trees = {
        "six": {path: image for path, image in named.items() if "/fear/" not in path},
        "own": {path.replace("/fear/", "/bored/"): image for path, image in named.items()},
        "unsplit": {path.partition("/")[2]: image for path, image in named.items()},
        "three": named | {path.replace("test/", "validation/"): image for path, image in named.items()},
        "course": {f"{split}/{name}/1.jpg": files.noise(1)[0] for split in ("train", "test") for name in FER4},
    }
    for name, tree in trees.items():
        folder = files.write_tree(tmp_path / name, tree)
        load = load_fer4 if name == "course" else load_fer7
        files.refused(r"(?s)Received: a folder with .*load_folder\(path\)", load, folder)
        assert len(load_folder(folder)) == len(tree)


def test_an_id_under_two_labels_is_refused(tmp_path, table):
    place = files.write_tree(tmp_path, files.named_folders(table))
    (first, *_) = (place / "train" / "angry").iterdir()
    first.rename(place / "train" / "happy" / next((place / "train" / "sad").iterdir()).name)
    files.refused(r"Expected each number under one label\. Received: that of .*happy", load_fer7, place)


def write(folder, names, count=2, suffix=".png"):
    """Write so many pictures, `files.noise` of the name's place, in each folder, in the order of their numbers."""
    for seed, name in enumerate(names):
        images = files.noise(count, seed=seed)
        files.write_tree(folder / name, {f"{number}{suffix}": image for number, image in enumerate(images, start=5)})
    return folder


def expect_seeds(faces, *seeds, count=2):
    """Check that the faces of each label are those written from that seed."""
    for label, seed in enumerate(seeds):
        np.testing.assert_array_equal(faces.images[faces.labels == label, ..., 0], files.noise(count, seed=seed))


def test_class_folders_get_a_split_that_is_announced_and_classes_can_be_chosen_and_ordered(tmp_path, capsys):
    root = write(tmp_path / "faces", ("sad", "Happy", "bored"), count=10)
    faces = load_folder(root)
    assert (faces.classes, faces.protocol) == (("happy", "sad", "bored"), "own")
    assert capsys.readouterr().err == f"fer_keras: {root}: {faces.source}\n"
    assert faces.counts()["total"].tolist() == [24, 3, 3]
    assert faces.source == "class folders faces, split 80/10/10 by resplit(seed=0)"
    expect_seeds(faces, 1, 0, 2, count=10)
    chosen = load_folder(root, classes=("bored", "happy"))
    assert chosen.classes == ("bored", "happy")
    expect_seeds(chosen, 2, 1, count=10)
    files.refused(r"fear: Expected pictures. Received: no such folder", load_folder, root, classes=("happy", "fear"))


def test_emotions_get_their_names_and_order_of_fer_2013_and_others_keep_theirs(tmp_path):
    faces = load_folder(write(tmp_path, ("Sadness", "Bored", "contempt", "anger ", "HAPPY", "fearful")))
    assert faces.classes == ("angry", "fear", "happy", "sad", "contempt", "Bored")
    expect_seeds(faces, 3, 5, 4, 0, 2, 1)
    assert load_folder(tmp_path, classes=("Sadness", "happy")).classes == ("Sadness", "happy")


@pytest.mark.parametrize("numbers", [range(1, 8), range(7), range(8), range(1, 4), range(12)])
def test_numbered_class_folders_are_classes_in_numeric_order(numbers, tmp_path):
    names = tuple(map(str, numbers))
    faces = load_faces(write(tmp_path, [f"{split}/{name}" for split in ("train", "test") for name in names]))
    assert (faces.classes, faces.protocol) == (names, "own")
    assert faces.counts()["total"].tolist() == [2 * len(names), 0, 2 * len(names)]


def test_folders_of_splits_are_kept_as_they_are(tmp_path):
    root = write(tmp_path, [f"only/{split}/{name}" for split in ("Train", "val", "test") for name in ("happy", "sad")])
    faces = load_folder(root)
    assert faces.counts()["total"].tolist() == [4, 4, 4]
    np.testing.assert_array_equal(faces["validation"][0][:2, ..., 0], files.noise(2, seed=2))
    assert "resplit" not in faces.source


NAMED = ["{}_48x48", "x_{}", "my {}", "{} (1)", "1_{}", "FERPlus{}", "{}Set", "dataset_{}"]
NAMED = [[name.format(split) for split in ("Train", "Val", "Test")] for name in NAMED]


@pytest.mark.parametrize("names", [*NAMED, ["train", "dev", "eval"], ["Training", "Public_Test", "PrivateTest"]])
def test_one_word_of_a_split_tells_it_whatever_else_a_name_says(names, tmp_path):
    faces = load_faces(write(tmp_path, [f"{each}/{emotion}" for each in names for emotion in ("happy", "sad")]))
    assert (faces.classes, faces.counts()["total"].tolist()) == (("happy", "sad"), [4, 4, 4])


@pytest.mark.parametrize("names", [("before test", "after test"), ("contest", "latest"), ("test fear", "train anger")])
def test_words_of_splits_in_another_sense_name_classes(names, tmp_path):
    assert load_faces(write(tmp_path, names)).classes == tuple(sorted(names))
    for pair in (("valid", "invalid"), ("dev", "ops")):
        for load in (load_folder, load_faces):
            files.refused(
                rf"classes=\({sorted(pair)[0]!r}, {sorted(pair)[1]!r}\)", load, write(tmp_path / pair[0], pair)
            )
        assert load_folder(tmp_path / pair[0], classes=pair).classes == pair


def test_any_picture_becomes_grey_and_of_one_size_and_is_turned_as_its_camera_says(tmp_path):
    picture, exif = np.zeros((60, 90, 3), np.uint8), Image.Exif()
    picture[:30, :, 1], exif[0x0112] = 200, 3  # upside down
    for name in ("happy", "sad"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture[::-1]).save(tmp_path / name / "a.PNG")
        Image.fromarray(picture).save(tmp_path / name / "b.jpg", exif=exif, quality=95)
    images = load_folder(tmp_path).images
    assert images.shape == (4, 48, 48, 1)
    np.testing.assert_allclose(images[:, 28:], 0.587 * 200, atol=6)  # the luma of green
    assert images[:, :20].max() < 6
    assert load_folder(tmp_path, image_size=(64, 32)).images.shape == (4, 64, 32, 1)


def test_pictures_of_every_suffix_and_in_deeper_folders_are_read_and_other_files_counted(tmp_path, capsys):
    write(tmp_path, ["happy/ann", "happy/bob", "sad/ann/2020"])
    for suffix in (".jfif", ".jpe", ".avif", ".JPG"):
        write(tmp_path, ["sad"], suffix=suffix)
    write(tmp_path, ["happy/@eaDir/1.jpg", "@eaDir", "$RECYCLE.BIN", "sad/lost+found", "System Volume Information"])
    (tmp_path / "happy" / "film.heic").write_bytes(b"")
    assert np.bincount(load_folder(tmp_path).labels).tolist() == [4, 2 + 4 * 2]
    assert "happy: 1 files of other kinds are left out, such as film.heic" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_loops_of_links_and_what_cannot_be_read_are_problems(tmp_path, monkeypatch):
    place = write(tmp_path / "mine", ["happy", "sad", "sad/sub"])
    os.symlink("loop", place / "loop")
    known = load_faces(place)
    os.symlink("9.png", place / "happy" / "9.png")
    for load in (load_folder, load_faces):
        assert len(files.skipped("9.png: Expected a regular file", load, place)) == len(known)
    (place / "happy" / "9.png").unlink()
    monkeypatch.setattr("fer_keras.data.images.MAX_BYTES", 10)
    files.refused("at most 10 bytes. Received: one of", load_folder, place)
    monkeypatch.undo()
    monkeypatch.setattr(os, "scandir", partial(locked, os.scandir, place / "sad" / "sub"))
    faces = files.skipped("sub: Expected a folder that can be read. Received: Permission denied", load_faces, place)
    assert len(faces) == len(known) - 2


def locked(scandir, place, path):
    """`os.scandir` where one folder is somebody else's."""
    if os.fspath(path) == str(place):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return scandir(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_names_in_other_bytes_can_be_printed_and_accents_written_either_way_are_one(tmp_path, capfd):
    write(
        tmp_path, [f"{split}/{os.fsdecode(name)}" for split in ("train", "test") for name in (b"fr\xf6h", b"tr\xfcb")]
    )
    assert main(["data", str(tmp_path)]) == 0
    assert r"fr\udcf6h" in capfd.readouterr().out
    write(tmp_path / "accents", ["train/fr\u00f6h", "train/tr\u00fcb", "test/fro\u0308h", "test/tru\u0308b"])
    assert load_folder(tmp_path / "accents").classes == ("fr\u00f6h", "tr\u00fcb")


@pytest.mark.parametrize(("name", "options", "message"), [
    ("classes", ("happy", "happy"), "one or more different names"),
    ("classes", ("Sadness", "sad"), "one or more different names"),
    ("classes", (1, 2), "one or more different names"),
    ("image_size", 48, r"`image_size` must be \(height, width\)"),
    ("image_size", (0, 0), r"`image_size` must be \(height, width\)"),
])  # fmt: skip
def test_classes_and_sizes_that_are_none_are_refused(name, options, message, tmp_path):
    write(tmp_path, ["happy", "Sadness"])
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path, **{name: options})
    assert load_folder(tmp_path, classes=np.array(["sad", "happy"])).classes == ("sad", "happy")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_never_opened(tmp_path):
    place = write(tmp_path / "mine", ["happy", "sad"])
    os.mkfifo(place / "happy" / "9.jpg")
    assert len(files.skipped(r"9\.jpg: Expected a regular file", load_folder, place)) == 4
    os.mkfifo(tmp_path / "fer2013.csv")
    for path in (tmp_path / "fer2013.csv", tmp_path):
        files.refused("Expected", load_fer7, path)


NO_CLASSES = [
    (["happy"], r"at least two class folders. Received: happy"),
    (["happy", "train/happy"], "Expected folders of classes, or of splits with train among them"),
    (["val/happy", "val/sad"], "with train among them"),
    (["train/happy", "val/happy", "valid/happy"], r"one folder a split. Received: val and valid"),
    ([], "no such (file or )?folder"),
    (["train", "test"], "Expected class folders in the folder of a split"),
    (["FER2013Train", "FER2013Test"], "Expected class folders in the folder of a split"),
    (["train_set", "val-data", "test set"], "Expected class folders in the folder of a split"),
    (["train_48x48", "test_48x48"], "Expected class folders in the folder of a split"),
    (["set1/happy", "set1/sad", "set2/sad"], "Received: set1, set2, with class folders in them"),
]


@pytest.mark.parametrize(("names", "message"), NO_CLASSES)
def test_what_is_no_folder_of_classes_is_refused(tmp_path, names, message):
    for load in (load_folder, load_faces):
        files.refused(message, load, write(tmp_path / "faces", names))


def test_ckplus_is_read_with_its_classes_in_the_order_of_fer_2013(tmp_path, capsys):
    tree = files.ckplus_folders()
    faces = load_ckplus(files.write_tree(tmp_path, tree))
    assert faces.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")
    own = ("anger", "disgust", "fear", "happy", "sadness", "surprise", "contempt")
    found = {
        f"CK+48/{own[label]}/S{row // 10**11:03}_{row // 10**8 % 1000:03}_{row % 10**8:08}.png": image.tobytes()
        for row, label, image in zip(faces.rows, faces.labels, faces.images, strict=True)
    }
    assert found == {path: image.tobytes() for path, image in tree.items()}
    people = [set((faces.rows // 10**11)[faces.split == split]) for split in ("train", "validation", "test")]
    assert len(set.union(*people)) == sum(map(len, people)) == 40, "no one is in two splits"
    assert (faces.protocol, faces.source) == ("own", "CK+48, split 80/10/10 by person, drawn with seed 0")
    assert capsys.readouterr().err == f"fer_keras: {tmp_path}: {faces.source}\n"


def test_few_persons_of_ckplus_fill_every_split_or_are_refused(tmp_path):
    names = ("anger", "disgust", "fear", "happy", "sadness", "surprise", "contempt")
    paths = [f"CK+48/{name}/S{n:03}_{k:03}_00000009.png" for n in range(3) for k, name in enumerate(names)]
    tree = dict(zip(paths, files.noise(21), strict=True))
    few = load_faces(files.write_tree(tmp_path / "few", tree))
    assert (few.counts()["total"].tolist(), few.source) == ([7, 7, 7], "CK+48, split by person, drawn with seed 0")
    for load in (load_ckplus, load_faces):
        with pytest.raises(ValueError, match=r"two: Expected CK\+48 of 3 persons at least.*load_folder\(path\)"):
            load(files.write_tree(tmp_path / "two", {path: tree[path] for path in paths[:14]}))


# Labels 1..7 by the paper's numbering, written out here once more: a slip in the package shows.
PAPER = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
FACES = files.rafdb_faces()


@pytest.fixture
def places(tmp_path):
    """RAF-DB as its list, and as numbered folders."""
    return files.write_rafdb_list(tmp_path / "list", FACES), files.write_rafdb_folders(tmp_path / "folders", FACES)


def by_pixels(faces):
    """Label name and split of each face by its pixels."""
    rows = zip(faces.images, faces.labels, faces.split.tolist(), strict=True)
    return {image.tobytes(): (faces.classes[label], split) for image, label, split in rows}


def test_rafdb_is_read_with_the_labels_of_the_paper_and_a_validation_set_that_is_announced(places, capsys, monkeypatch):
    for place in places:
        faces = load_rafdb(place)
        assert (faces.classes, faces.protocol, faces.images.shape) == (FER7, "raf-db", (84, 48, 48, 1))
        found = by_pixels(faces)
        for name, label, picture in FACES:
            emotion, split = found[files.as_jpeg(picture).tobytes()]
            assert emotion == PAPER[label - 1]
            assert split in ({"test"} if name.startswith("test") else {"train", "validation"})
        assert faces.counts().to_numpy().tolist() == [[9] * 7 + [63], [1] * 7 + [7], [2] * 7 + [14]]
        drawn = "a tenth of train drawn as validation with seed 0"
        published = "(published: 12,271 train and 3,068 test)"
        assert faces.source == f"RAF-DB, 70 train and 14 test images {published}, {drawn}"
        assert capsys.readouterr().err == f"fer_keras: {place}: {faces.source}\n"
    monkeypatch.setattr("fer_keras.data.other_sets.PUBLISHED", {"train": 70, "test": 14})
    assert load_rafdb(place).source == f"RAF-DB, 70 train and 14 test images, {drawn}"


def test_both_forms_of_rafdb_hold_the_same_also_from_their_inner_folders_and_without_tables(places):
    listed, numbered = places
    known = load_rafdb(listed)
    assert known.rows.tolist() == list(range(84))
    for place in (listed / "basic", numbered, numbered / "DATASET"):
        assert by_pixels(load_rafdb(place)) == by_pixels(known)
    for split in ("train", "test"):
        (numbered / f"{split}_labels.csv").unlink()
    assert by_pixels(load_rafdb(numbered)) == by_pixels(known)
    large = load_rafdb(listed, image_size=(100, 64))
    assert files.as_jpeg(FACES[0][2], (64, 100)).tobytes() in by_pixels(large)


def test_what_is_almost_published_is_read_as_class_folders(tmp_path, places, capsys):
    (tmp_path / "ck").mkdir()
    ck = files.write_tree(tmp_path / "ck", files.ckplus_folders(8))
    write(ck / "CK+48", ["neutral"])
    large = files.write_tree(
        tmp_path / "large", {path: np.tile(face, (2, 2)) for path, face in files.ckplus_folders(8).items()}
    )
    write(places[1] / "DATASET" / "train", ["1"], count=1)
    for place, num_classes, count in ((ck, 8, 50), (large, 7, 48), (places[1], 7, 85)):
        faces = load_faces(place)
        assert (len(faces.classes), len(faces), faces.protocol) == (num_classes, count, "own")
        assert f"{place}: not read as a published set. " in capsys.readouterr().err


def test_the_splits_of_rafdb_may_be_in_capitals(places):
    known = by_pixels(load_rafdb(places[1]))
    for split in ("train", "test"):
        (places[1] / "DATASET" / split).rename(places[1] / "DATASET" / split.title())
    for load in (load_rafdb, load_faces):
        assert by_pixels(load(places[1])) == known


def test_the_validation_part_of_rafdb_is_used(places):
    files.write_tree(places[1] / "DATASET" / "val", {f"{1 + n % 7}/{n}.png": files.noise(14)[n] for n in range(14)})
    for load in (load_rafdb, load_faces):
        faces = load(places[1])
        assert faces.counts()["total"].tolist() == [70, 14, 14]
        assert "14 validation" in faces.source
        assert "drawn" not in faces.source


def test_what_is_not_ckplus_or_rafdb_is_refused(tmp_path, places):
    listed, numbered = places
    for place in (listed, numbered):
        files.refused(r"load_folder\(path\), for CK\+48 load_ckplus, for RAF-DB load_rafdb", load_fer7, place)
    for load, name in ((load_ckplus, r"CK\+48"), (load_rafdb, "RAF-DB"), (load_folder, "at least two class folders")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        files.refused(f"empty: Expected {name}", load, tmp_path / "empty")
        files.refused("nowhere: Expected a folder of pictures. Received: no such folder", load, tmp_path / "nowhere")
        files.refused("a file. Pass a folder; load_faces", load, numbered / "train_labels.csv")
    for load in (load_ckplus, load_rafdb, load_folder, load_fer7, load_faces):
        for path in ("", b"faces", 1, *([None] if load not in (load_fer7, load_faces) else [])):
            with pytest.raises(ValueError, match=f"Expected as `path` that of a file or folder.*Received: {path!r}"):
                load(path)
    (listed / "basic" / "Image" / "aligned").rename(listed / "basic" / "Image" / "original")
    files.refused(r"aligned: Expected the aligned pictures. Received: no such folder", load_rafdb, listed)


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
