"""Faults that data was seen to have: what differs from what was published is named, and nothing wrong is read."""

import dataclasses
import os
from pathlib import Path

import data_files as files
import numpy as np
import pandas as pd
import pytest

from fer_keras.data import load_faces, load_fer4, load_fer7, load_ferplus, load_folder, load_rafdb
from fer_keras.data.load import compare
from fer_keras.labels import FERPLUS8

pytestmark = pytest.mark.usefixtures("own_cache")


def pictures(folder, names, count=3, suffix=".png"):
    images = iter(files.noise(len(names) * count))
    return files.write_tree(folder, {f"{name}/{n}{suffix}": next(images) for name in names for n in range(count)})


@pytest.mark.parametrize("name", ["labels", "images", "votes", "split"])
def test_faces_of_the_published_numbers_with_two_exchanged_are_not_as_published(name, fer2013):
    faces = load_fer7(fer2013)
    first, other = (("validation", 3), ("test", 3)) if name == "split" else (("train", 0), ("train", 3))
    places = [np.flatnonzero((faces.split == split) & (faces.labels == label))[0] for split, label in (first, other)]
    array = getattr(faces, name).copy()
    array[places] = array[places[::-1]]
    assert faces.difference == ""
    assert compare(dataclasses.replace(faces, **{name: array})).difference


def test_exchanged_and_repeated_parquet_files_are_named_and_the_published_are_not(tmp_path, capsys, fer2013):
    assert load_fer7(fer2013).difference == load_fer4(fer2013, protocol="course").difference == ""
    assert capsys.readouterr().err == ""
    frames = {usage: pd.read_parquet(fer2013 / f"fer2013-{usage.lower()}.parquet") for usage in files.USAGES}
    frames["PublicTest"], frames["PrivateTest"] = frames["PrivateTest"], frames["PublicTest"]
    frames["Training"] = frames["Training"].iloc[::9]
    files.write_parquet(tmp_path, pd.concat([frame.assign(Usage=usage) for usage, frame in frames.items()]))
    faces = load_fer7(tmp_path)
    assert "not FER-2013 as it was published" in capsys.readouterr().err
    assert "not as published" in faces.source
    assert faces.select(classes=("happy", "sad")).difference == faces.difference != ""
    frames["PublicTest"].to_parquet(tmp_path / "fer2013-training.parquet")
    files.refused(r"training\.parquet, row 32298: Expected the Usage Training in this file", load_fer7, tmp_path)


def test_a_part_trains_as_ones_own_and_is_never_final(tmp_path, own_folders, monkeypatch):
    import keras

    from fer_keras.training import fit, trainer

    layers = [keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Dense(7, activation="softmax")]
    monkeypatch.setattr(trainer, "build", lambda *_, **__: keras.Sequential(layers))
    faces = load_fer7(files.write_csv(tmp_path / "data", files.csv_lines(files.fer_table(84))))
    assert (faces.protocol, bool(faces.difference)) == ("official", True)
    run = fit("mini-xception", epochs=1, faces=faces, verbose=0)
    assert (run.recipe_name, run.protocol, run.final) == ("mini-xception@epochs-1@own", "own", False)
    assert "test" not in run.metrics


def test_a_csv_cut_at_a_line_end_is_named(tmp_path, table):
    lines = files.csv_lines(table)[:-4]
    assert "train: expected 3,995 angry" in load_fer7(files.write_csv(tmp_path / "data", lines)).difference


CELLS = {
    "votes": ("ferplus_fear", -3, "Expected 1 to 10 votes"),
    "many-votes": ("ferplus_fear", 1e9, "Expected 1 to 10 votes"),
    "no-votes": ("ferplus_fear", np.nan, "Expected 1 to 10 votes"),
    "row": ("row", np.nan, "row 3 of the file: Expected a row number"),
    "row-twice": ("row", 2, "row 2: Expected each row number once"),
    "row-beyond": ("row", 35887, "row 3 of the file: Expected a row number in 0..35886"),
    "usage": ("Usage", ["Training"], "Expected a Usage of Training"),
    "other-file": ("Usage", "PrivateTest", "Expected the Usage Training in this file"),
    "emotion": ("emotion", 2.5, "Expected an emotion in 0..6"),
    "label": ("emotion", 7, r"emotion in 0\.\.6. Received: 7"),
    "other-usage": ("Usage", "Dev", "row 3: Expected a Usage of Training, .* Received: 'Dev'"),
    "size": ("png", files.png(np.zeros((48, 47), np.uint8)), "row 3: Expected 48x48 pixels. Received: 48x47"),
    "cut": ("png", files.png(files.noise(1)[0])[:900], "row 3: Expected a whole picture"),
    "missing": ("png", None, "row 3: Expected the bytes of a PNG"),
    "absurd": ("png", files.claimed(60_000, 1_000), "at most 50,000,000 pixels. Received: 60000x1000"),
}


@pytest.mark.parametrize(("column", "value", "message"), CELLS.values(), ids=CELLS)
def test_a_bad_cell_of_parquet_is_named_and_can_be_skipped(column, value, message, tmp_path, table):
    folder = files.write_parquet(tmp_path / "data", files.parquet_frame(table))
    file = folder / "fer2013-training.parquet"
    frame = pd.read_parquet(file)
    values = [value if index == 3 else each for index, each in enumerate(frame[column])]
    frame[column] = [[each] if isinstance(value, list) and isinstance(each, str) else each for each in values]
    frame.to_parquet(file)
    files.refused(rf"training\.parquet, .*{message}", load_fer7, folder)
    assert len(load_fer7(folder, on_error="skip")) == (28 if isinstance(value, list) else 41)


def test_an_id_under_two_labels_is_refused(tmp_path, table):
    place = files.write_tree(tmp_path / "b", files.named_folders(table))
    (first, *_) = (place / "train" / "angry").iterdir()
    files.write_tree(place / "train" / "happy", {first.name: table["images"][0]})
    files.refused(r"Expected each number under one label\. Received: that of .*angry", load_fer7, place)


def test_the_folders_of_ferplus_are_read_as_ferplus(tmp_path, table):
    place = files.write_ferplus(tmp_path / "plus", table)
    known = load_ferplus(files.write_parquet(tmp_path / "p", files.parquet_frame(table)))
    for load in (load_ferplus, load_faces):
        faces = load(place)
        assert (faces.classes, faces.protocol, bool(faces.difference)) == (FERPLUS8, "official", True)
        assert faces.fingerprint == known.fingerprint
    for load in (load_fer7, load_folder):
        files.refused("load_ferplus", load, place)
    label = place / "FER2013Train" / "label.csv"
    label.write_text(label.read_text().replace(",", ",99,", 1).replace("fer0000001.png", "../1.png"))
    files.refused(r"label\.csv, line 1", load_ferplus, place)
    assert len(load_ferplus(place, on_error="skip").skipped) == 2


@pytest.mark.parametrize("names", ["train test", "FER2013Train FER2013Test", "train_set val-data test set"])
def test_flat_folders_named_after_splits_are_no_classes(names, tmp_path):
    place = pictures(tmp_path / "flat", names.split(" ", 2))
    for load in (load_folder, load_faces):
        files.refused("Expected class folders in the folder of a split", load, place)


@pytest.mark.parametrize("numbers", [range(1, 8), range(7), range(8), range(1, 4), range(12)])
def test_numbered_class_folders_are_classes_in_numeric_order(numbers, tmp_path):
    names = tuple(map(str, numbers))
    faces = load_faces(pictures(tmp_path, [f"{split}/{name}" for split in ("train", "test") for name in names]))
    assert (faces.classes, faces.protocol) == (names, "own")
    assert faces.counts()["total"].tolist() == [3 * len(names), 0, 3 * len(names)]


def test_the_validation_part_of_rafdb_is_used(tmp_path):
    place = files.write_rafdb_folders(tmp_path / "raf", files.rafdb_faces())
    pictures(place / "DATASET" / "val", list("1234567"), count=2)
    for load in (load_rafdb, load_faces):
        faces = load(place)
        assert faces.counts()["total"].tolist() == [70, 14, 14]
        assert "14 validation" in faces.source
        assert "drawn" not in faces.source


def test_pictures_of_every_suffix_and_in_deeper_folders_are_read_and_other_files_counted(tmp_path, capsys):
    place = pictures(tmp_path / "mine", ["happy/ann", "happy/bob", "sad/ann/2020", "angry "])
    for suffix in (".jfif", ".jpe", ".avif", ".JPG"):
        pictures(place, ["sad"], suffix=suffix)
    (place / "happy" / "film.heic").write_bytes(b"")
    faces = load_folder(place)
    assert faces.classes == ("angry", "happy", "sad")
    assert np.bincount(faces.labels).tolist() == [3, 6, 3 + 4 * 3]
    assert "happy: 1 files of other kinds are left out, such as film.heic" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_never_opened(tmp_path):
    place = pictures(tmp_path / "mine", ["happy", "sad"])
    os.mkfifo(place / "happy" / "9.jpg")
    files.refused(r"9\.jpg: Expected a regular file", load_folder, place)
    assert len(load_folder(place, on_error="skip")) == 6
    os.mkfifo(tmp_path / "fer2013.csv")
    for path in (tmp_path / "fer2013.csv", tmp_path):
        files.refused("Expected", load_fer7, path)


@pytest.mark.parametrize("name", ["Data/fer2013.csv", "FER2013.csv", "fer2013.csv/fer2013.csv", "a/ICML_face_data.csv"])
def test_tables_are_found_in_folders_and_archives_whatever_their_case(name, tmp_path, table):
    lines, place = files.icml_lines(table) if "ICML" in name else files.csv_lines(table), tmp_path / "data"
    file = files.write_csv((place / name).parent, lines, Path(name).name)
    (place / "other").mkdir()
    for path in (place, files.as_tar(place), files.as_tar(place, "d.TGZ"), files.as_zip(place), file):
        for load in (load_fer7, load_faces):
            files.expect(load(path), table)


def test_a_home_is_expanded_and_not_needed(tmp_path, table, monkeypatch):
    files.write_csv(tmp_path / "data", files.csv_lines(table))
    monkeypatch.setenv("HOME", str(tmp_path))
    for load in (load_fer7, load_faces):
        files.expect(load("~/data"), table)

    def no_home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", lambda path: no_home() if str(path)[0] == "~" else path)
    monkeypatch.setattr(Path, "home", no_home)
    for name in ("FER_KERAS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "data"))
    with pytest.warns(UserWarning, match="Could not determine home"):
        files.expect(load_fer7(), table)
    files.refused("Expected a path", load_fer7, "~/data")
