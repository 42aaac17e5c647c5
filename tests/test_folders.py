"""FER-2013 as folders of pictures, in the forms of Kaggle."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    REAL_DATA,
    as_jpeg,
    fer_table,
    named_folders,
    needs_real_data,
    noise,
    png,
    set_up,
    unnamed_folders,
    validated_folders,
    write_course,
    write_tree,
)

from fer_keras.data import DataError, load_fer4, load_fer7, load_folder
from fer_keras.labels import FER4, FER7, FERPLUS_VOTES, USAGE_TO_SPLIT, emotion

NUM_ROWS = 210  # 30 of each class, 70 of each Usage


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    set_up(monkeypatch, tmp_path)


@pytest.fixture
def table():
    return fer_table(NUM_ROWS)


def expect_rows(faces, table, rows):
    """Check that the faces are those rows of the table, as JPEG, with their labels."""
    assert sorted(rows.tolist()) == list(range(NUM_ROWS))
    assert faces.classes == FER7
    np.testing.assert_array_equal(faces.labels, table["emotion"][rows])
    for row, image in zip(rows, faces.images[..., 0], strict=True):
        np.testing.assert_array_equal(image, as_jpeg(table["images"][row]))


# Files named after their Usage


def test_the_names_of_the_files_give_the_official_split(tmp_path, table, capsys):
    faces = load_fer7(write_tree(tmp_path / "fer", named_folders(table)))
    rows = faces.rows // 10**6
    expect_rows(faces, table, rows)
    assert [USAGE_TO_SPLIT[usage] for usage in table["Usage"][rows]] == faces.split.tolist()
    assert (faces.protocol, faces.fer2013_rows) == ("official", 0)  # ids, which only rise with the rows here
    assert faces.source == "FER-2013, folders, not as published"
    assert "fer: this is not FER-2013 as it was published: train: expected 3,995" in capsys.readouterr().err


def test_folders_in_one_more_folder_are_found(tmp_path, table):
    write_tree(tmp_path / "fer" / "archive", named_folders(table))
    assert len(load_fer7(tmp_path / "fer")) == NUM_ROWS


def test_what_archives_leave_does_not_count(tmp_path, table):
    folder = write_tree(tmp_path / "fer", named_folders(table))
    write_tree(
        folder, {"__MACOSX/train/sad/1.jpg": table["images"][0], "train/.ipynb_checkpoints/1.jpg": table["images"][0]}
    )
    (folder / "train" / "sad" / "._Training_1.jpg").write_bytes(b"left by another system")
    (folder / "train" / "sad" / "Thumbs.db").write_bytes(b"left by another system")
    assert len(load_fer7(folder)) == NUM_ROWS


def test_four_classes_are_selected_from_folders(tmp_path, table):
    faces = load_fer4(write_tree(tmp_path / "fer", named_folders(table)))
    assert faces.classes == FER4
    assert faces.counts()["total"].tolist() == [40, 40, 40]
    assert [FER4[label] for label in faces.labels] == [FER7[label] for label in table["emotion"][faces.rows // 10**6]]


@pytest.mark.parametrize("name", ["Happy", "HAPPY", "happiness", "Happiness"])
def test_folders_may_have_other_names_of_the_emotions(tmp_path, table, name):
    tree = {path.replace("/happy/", f"/{name}/"): image for path, image in named_folders(table).items()}
    faces = load_fer7(write_tree(tmp_path / "fer", tree))
    expect_rows(faces, table, faces.rows // 10**6)


def test_each_emotion_has_one_name_here():
    assert [emotion(name) for name in ("anger", "Disgusted", "fearful", "sadness", "surprised", "NEUTRAL")] == [
        "angry",
        "disgust",
        "fear",
        "sad",
        "surprise",
        "neutral",
    ]
    assert [emotion(name) for name in FERPLUS_VOTES] == [
        *("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"),
        *(None, None),
    ]


def mixed(folder):
    (folder / "train" / "sad" / "12.jpg").write_bytes(png(noise(1)[0], "JPEG"))
    return r"train.sad.12\.jpg: Expected a name like the others'"


def misplaced(folder):
    (folder / "test" / "sad" / "Training_12.jpg").write_bytes(png(noise(1)[0], "JPEG"))
    return r"test.sad.Training_12\.jpg: Expected no Training picture in the folder of test"


def misplaced_test(folder):
    (folder / "train" / "sad" / "PrivateTest_12.jpg").write_bytes(png(noise(1)[0], "JPEG"))
    return r"train.sad.PrivateTest_12\.jpg: Expected no PrivateTest picture in the folder of train"


def corrupt(folder):
    (folder / "train" / "sad" / "Training_12.jpg").write_bytes(png(noise(1)[0], "JPEG")[:400])
    return r"train.sad.Training_12\.jpg: Expected a whole picture"


def large(folder):
    (folder / "train" / "sad" / "Training_12.jpg").write_bytes(png(np.zeros((64, 48), np.uint8), "JPEG"))
    return r"train.sad.Training_12\.jpg: Expected 48x48 pixels. Received: 64x48"


def unknown_class(folder):
    write_tree(folder, {"test/bored/PublicTest_12.jpg": noise(1)[0]})
    return r"test.bored: Expected a folder of one of angry, .* Received: another class"


FAULTS = [mixed, misplaced, misplaced_test, corrupt, large, unknown_class]


@pytest.mark.parametrize("spoil", FAULTS)
def test_a_fault_in_the_folders_is_named_and_can_be_skipped(tmp_path, table, spoil):
    folder = write_tree(tmp_path / "fer", named_folders(table))
    message = spoil(folder)
    with pytest.raises(DataError, match=rf"{message}.*on_error='skip'"):
        load_fer7(folder)
    faces = load_fer7(folder, on_error="skip")
    expect_rows(faces, table, faces.rows // 10**6)
    assert len(faces.skipped) == 1
    assert faces.source == "FER-2013, folders, 1 skipped, not as published"


def test_an_empty_or_missing_class_folder_is_named_and_can_be_skipped(tmp_path, table):
    tree = {path: image for path, image in named_folders(table).items() if not path.startswith("test/fear/")}
    folder = write_tree(tmp_path / "fer", tree)
    for received in ("no such folder", "none"):
        with pytest.raises(DataError, match=rf"test.fear: Expected pictures. Received: {received}"):
            load_fer7(folder)
        assert load_fer7(folder, on_error="skip").counts()["fear"].tolist() == [10, 0, 0]
        (folder / "test" / "fear").mkdir(exist_ok=True)


# Files with other names


def test_without_usage_a_validation_set_is_drawn_and_said(tmp_path, table, capsys):
    folder = write_tree(tmp_path / "fer", unnamed_folders(table))
    faces = load_fer7(folder)
    assert faces.protocol == "own"
    assert faces.counts().to_numpy().tolist() == [[9] * 7 + [63], [1] * 7 + [7], [20] * 7 + [140]]
    assert "a tenth of train drawn as validation with seed 0" in faces.source
    assert capsys.readouterr().err == f"fer_keras: {folder}: {faces.source}\n"
    for split, usages in (("test", ("PublicTest", "PrivateTest")), ("train", ("Training",))):
        wanted = [image.tobytes() for image in table["images"][np.isin(table["Usage"], usages)]]
        assert {image.tobytes() for image in faces[split][0]} <= set(wanted)
    np.testing.assert_array_equal(faces.split, load_fer7(folder).split)


def test_copies_in_train_stay_on_one_side_of_the_validation_set(tmp_path, table):
    training = np.flatnonzero(table["Usage"] == "Training")
    table["images"][training[::2]] = table["images"][training[0]]
    faces = load_fer7(write_tree(tmp_path / "fer", unnamed_folders(table)))
    copies = faces.digests == faces.digests[(faces.images[..., 0] == table["images"][training[0]]).all(axis=(1, 2))][0]
    assert copies.sum() == 35
    assert len(set(faces.split[copies])) == 1


def test_the_official_split_is_not_made_up_for_other_names(tmp_path, table):
    with pytest.raises(DataError, match=r"Expected the official split\. .* \('own'\)"):
        load_fer7(write_tree(tmp_path / "fer", unnamed_folders(table)), protocol="official")


# Train and validation


@pytest.mark.parametrize("above", ["", "images", "archive"])
def test_train_and_validation_are_kept_as_given(tmp_path, table, above):
    faces = load_fer7(write_tree(tmp_path / "fer" / above, validated_folders(table)) and tmp_path / "fer")
    expect_rows(faces, table, faces.rows)
    assert faces.split.tolist() == ["train" if row % 10 > 1 else "validation" for row in faces.rows]
    assert (faces.protocol, faces.fer2013_rows) == ("folders", 35_887)
    assert "ignore the official split; no test split" in faces.source
    with pytest.raises(DataError, match=r"Expected the official split\. .* \('folders'\)"):
        load_fer7(tmp_path / "fer", protocol="official")


def test_an_archive_that_holds_its_tree_twice_is_read_once(tmp_path, table):
    write_tree(tmp_path / "fer", validated_folders(table))
    write_tree(tmp_path / "fer" / "images", validated_folders(table))
    for load in (load_fer7, load_folder):
        assert load(tmp_path / "fer").counts()["total"].tolist() == [168, 42, 0]


def test_a_name_that_is_no_row_is_refused(tmp_path, table):
    folder = write_tree(tmp_path / "fer", validated_folders(table))
    (folder / "images" / "train" / "sad" / "copy of 4.jpg").write_bytes(png(noise(1)[0], "JPEG"))
    with pytest.raises(DataError, match=r"train.sad.copy of 4\.jpg: Expected a name N\.jpg"):
        load_fer7(folder)
    assert len(load_fer7(folder, on_error="skip")) == NUM_ROWS


# What is none of them


def test_folders_of_other_classes_or_splits_lead_to_load_folder(tmp_path, table):
    named = named_folders(table)
    trees = {
        "six": {path: image for path, image in named.items() if "/fear/" not in path},
        "own": {path.replace("/fear/", "/bored/"): image for path, image in named.items()},
        "unsplit": {path.partition("/")[2]: image for path, image in named.items()},
        "three": named | {path.replace("test/", "validation/"): image for path, image in named.items()},
    }
    for name, tree in trees.items():
        folder = write_tree(tmp_path / name, tree)
        with pytest.raises(DataError, match=r"(?s)Received: a folder with .*load_folder\(path\)"):
            load_fer7(folder)
        assert len(load_folder(folder)) == len(tree)


def test_the_course_folders_are_not_taken_for_these(tmp_path, table):
    listing = [(split, name, row) for row, (split, name) in enumerate((s, n) for s in ("train", "test") for n in FER4)]
    course = write_course(tmp_path / "course", table["images"], listing)
    with pytest.raises(DataError, match=r"load_folder\(path\)"):
        load_fer4(course)
    write_course(course, table["images"], [("validation", name, 20 + row) for row, name in enumerate(FER4)])
    assert load_fer4(course).protocol == "course"


def test_load_folder_reads_the_published_trees_too(tmp_path, table):
    named = load_folder(write_tree(tmp_path / "named", named_folders(table)))
    assert named.classes == FER7
    assert named.counts()["total"].tolist() == [70, 0, 140]
    unnamed = load_folder(write_tree(tmp_path / "unnamed", unnamed_folders(table)))
    assert unnamed.classes == FER7
    assert sorted(unnamed.digests) == sorted(load_fer7(tmp_path / "unnamed").digests)
    validated = load_folder(write_tree(tmp_path / "validated", validated_folders(table)))
    assert validated.fingerprint == load_fer7(tmp_path / "validated").fingerprint
    assert validated.protocol == "own"


# Real data


@needs_real_data
@pytest.mark.skipif(not (Path(REAL_DATA or "") / "export_fer2013.py").is_file(), reason="no export_fer2013.py")
def test_the_real_data_comes_back_from_its_folders(tmp_path):
    script = Path(REAL_DATA) / "export_fer2013.py"
    subprocess.run(
        [sys.executable, script, "folders", tmp_path / "fer", "--limit", "400"],
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    faces, known = load_fer7(tmp_path / "fer"), load_fer7(REAL_DATA)
    known = known.take(np.argsort(known.rows))
    assert faces.counts()["total"].tolist() == [400, 400, 400]
    np.testing.assert_array_equal(faces.labels, known.labels[faces.rows])
    np.testing.assert_array_equal(faces.split, known.split[faces.rows])
    distance = np.abs(faces.images.astype(int) - known.images[faces.rows]).mean(axis=(1, 2, 3))
    assert distance.max() < 4  # JPEG at quality 95
