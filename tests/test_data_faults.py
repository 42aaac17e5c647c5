"""Faults that data was seen to have: what differs from what was published is named, and nothing wrong is read."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import data_files as files
import numpy as np
import pytest

from fer_keras.data import DataError, load_faces, load_fer4, load_fer7, load_ferplus, load_folder, load_rafdb
from fer_keras.labels import FER7, FERPLUS8

REAL = Path(files.REAL_DATA or "")


pytestmark = pytest.mark.usefixtures("own_cache")


def pictures(folder, names, count=3, suffix=".png", side=48):
    images = iter(np.resize(files.noise(len(names) * count), (len(names) * count, side, side)))
    return files.write_tree(folder, {f"{name}/{n}{suffix}": next(images) for name in names for n in range(count)})


# FER-2013 that is none


def real_frames():
    import pandas as pd

    names = [REAL / f"fer2013-{usage.lower()}.parquet" for usage in files.USAGES]
    return {usage: pd.read_parquet(name) for usage, name in zip(files.USAGES, names, strict=True)}


def exchanged(frames):
    frames["PublicTest"], frames["PrivateTest"] = frames["PrivateTest"], frames["PublicTest"]


def halved(frames):
    frames["Training"] = frames["Training"].iloc[::2]


def relabelled(frames):
    frames["Training"].loc[[0, 3], "emotion"] = frames["Training"].loc[[3, 0], "emotion"].to_numpy()


def repainted(frames):
    frames["Training"].at[0, "png"] = files.png(np.zeros((48, 48), np.uint8))


def revoted(frames):
    frames["Training"].loc[0, ["ferplus_anger", "ferplus_NF"]] = [0, 5]
    frames["Training"].loc[0, "ferplus_NF"] = 10 - frames["Training"].loc[0].filter(like="ferplus_").iloc[:9].sum()


@files.needs_real_data
@pytest.mark.parametrize("change", [exchanged, halved, relabelled, repainted, revoted])
def test_altered_parquet_is_named_and_never_official(change, tmp_path, capsys):
    frames = real_frames()
    change(frames)
    for usage, file_usage in zip(frames, files.USAGES, strict=True):
        frame = frames[usage].assign(Usage=file_usage)
        frame.to_parquet(tmp_path / f"fer2013-{file_usage.lower()}.parquet", index=False)
    faces = load_fer7(tmp_path)
    assert "not FER-2013 as it was published" in capsys.readouterr().err
    assert "not as published" in faces.source
    assert faces.difference
    assert faces.select(classes=("happy", "sad")).difference == faces.difference


@files.needs_real_data
def test_one_parquet_three_times_is_refused_and_the_published_one_is_not_remarked_on(tmp_path, capsys):
    assert load_fer7(REAL).difference == load_fer4(REAL, protocol="course").difference == ""
    assert capsys.readouterr().err == ""
    frame = real_frames()["PrivateTest"]
    for usage in files.USAGES:
        frame.to_parquet(tmp_path / f"fer2013-{usage.lower()}.parquet")
    with pytest.raises(DataError, match=r"training\.parquet, row 32298: Expected the Usage Training in this file"):
        load_fer7(tmp_path)


def test_a_part_trains_as_ones_own_and_is_never_final(tmp_path, table, own_folders, capsys):
    from fer_keras.training import fit

    files.set_up(pytest.MonkeyPatch(), tmp_path)
    file = files.write_csv(tmp_path / "data", files.csv_lines(files.fer_table(84)))
    faces = load_fer7(file)
    assert (faces.protocol, bool(faces.difference)) == ("official", True)
    run = fit("mini-xception", epochs=1, faces=faces, verbose=0)
    assert (run.recipe_name, run.protocol, run.final) == ("mini-xception@epochs-1@own", "own", False)
    assert "test" not in run.metrics


def test_a_csv_cut_at_a_line_end_is_named(tmp_path, table):
    lines = files.csv_lines(table)[:-4]
    assert "train: expected 3,995 angry" in load_fer7(files.write_csv(tmp_path / "data", lines)).difference


@pytest.mark.parametrize("write", [files.icml_lines, files.challenge_lines])
@pytest.mark.parametrize("digits", [1, 2])
def test_a_csv_cut_inside_its_last_number_is_refused(write, digits, tmp_path, table):
    table["images"][-1, -1, -1] = 131
    content = ("\n".join(write(table))).encode().removesuffix(b'"')
    file = tmp_path / "data" / ("icml_face_data.csv" if write is files.icml_lines else "train.csv")
    file.parent.mkdir()
    file.write_bytes(content[:-digits])
    with pytest.raises(DataError, match=r"line 43: Expected a line break at the end of the file"):
        load_fer7(file)
    assert len(load_fer7(file, on_error="skip")) == 41


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
    import pandas as pd

    frame = pd.read_parquet(file)
    values = [value if index == 3 else each for index, each in enumerate(frame[column])]
    frame[column] = [[each] if isinstance(value, list) and isinstance(each, str) else each for each in values]
    frame.to_parquet(file)
    with pytest.raises(DataError, match=rf"training\.parquet, .*{message}"):
        load_fer7(folder)
    assert len(load_fer7(folder, on_error="skip")) == (28 if isinstance(value, list) else 41)


def test_an_emotion_of_many_bytes_and_huge_numbers_are_named(tmp_path, table):
    lines = files.csv_lines(table)
    lines[3] = "€€€€€€€€" + lines[3][1:]
    lines[4] = lines[4].replace(" ", " 99999999999999999999 ", 1)
    lines[5] = lines[5].replace(" ", "\0", 1)
    faces = load_fer7(files.write_csv(tmp_path / "data", lines), on_error="skip")
    assert [text.partition(", ")[2][:6] for text in faces.skipped] == ["line 4", "line 5", "line 6"]


# Pictures in folders


def test_a_huge_number_and_an_id_under_two_labels_are_refused(tmp_path, table):
    tree = files.validated_folders(table)
    place = files.write_tree(tmp_path / "a", tree | {f"images/train/sad/{'9' * 20}.jpg": table["images"][0]})
    with pytest.raises(DataError, match=r"99\.jpg: Expected a name N\.jpg"):
        load_fer7(place)
    assert len(load_fer7(place, on_error="skip")) == 42
    place = files.write_tree(tmp_path / "b", files.named_folders(table))
    (first, *_) = (place / "train" / "angry").iterdir()
    files.write_tree(place / "train" / "happy", {first.name: table["images"][0]})
    with pytest.raises(DataError, match=r"Expected each number under one label\. Received: that of .*angry"):
        load_fer7(place)


def write_ferplus(folder, table):
    """FER+'s own folders, as its script writes them."""
    names = dict(zip(files.USAGES, ("FER2013Train", "FER2013Valid", "FER2013Test"), strict=True))
    for row, (usage, image, votes) in enumerate(zip(table["Usage"], table["images"], table["votes"], strict=True)):
        files.write_tree(folder, {f"{names[usage]}/fer{row:07}.png": image})
        with open(folder / names[usage] / "label.csv", "a") as stream:
            stream.write(f'fer{row:07}.png,"(0, 0, 48, 48)",{",".join(map(str, votes))}\n')
    return folder


def test_the_folders_of_ferplus_are_read_as_ferplus(tmp_path, table):
    place = write_ferplus(tmp_path / "plus", table)
    known = load_ferplus(files.write_parquet(tmp_path / "p", files.parquet_frame(table)))
    for load in (load_ferplus, load_faces):
        faces = load(place)
        assert (faces.classes, faces.protocol, bool(faces.difference)) == (FERPLUS8, "official", True)
        assert faces.fingerprint == known.fingerprint
    for load in (load_fer7, load_folder):
        with pytest.raises(DataError, match="load_ferplus"):
            load(place)
    label = place / "FER2013Train" / "label.csv"
    label.write_text(label.read_text().replace(",", ",99,", 1).replace("fer0000001.png", "../1.png"))
    with pytest.raises(DataError, match=r"label\.csv, line 1"):
        load_ferplus(place)
    assert len(load_ferplus(place, on_error="skip").skipped) == 2


@pytest.mark.parametrize(
    "names", ["train test", "FER2013Train FER2013Valid FER2013Test", "train_set val-data test set"]
)
def test_flat_folders_named_after_splits_are_no_classes(names, tmp_path):
    for load in (load_folder, load_faces):
        with pytest.raises(DataError, match="Expected class folders in the folder of a split"):
            load(pictures(tmp_path / "flat", names.split(" ", 2)))


@pytest.mark.parametrize("numbers", [range(1, 8), range(7), range(8), range(1, 4), range(12)])
def test_numbered_class_folders_are_classes_in_numeric_order(numbers, tmp_path, capsys):
    names = tuple(map(str, numbers))
    place = pictures(tmp_path / "mine", [f"{split}/{name}" for split in ("train", "test") for name in names])
    faces = load_faces(place)
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


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".avif", ".JPG"])
def test_pictures_of_every_suffix_are_read(suffix, tmp_path):
    place = pictures(tmp_path / "mine", ["happy", "sad"], suffix=suffix)
    assert len(load_folder(place)) == 6


def test_pictures_in_deeper_folders_are_read_and_other_files_counted(tmp_path, capsys):
    place = pictures(tmp_path / "mine", ["happy/ann", "happy/bob", "sad/ann/2020", "angry "])
    (place / "happy" / "film.heic").write_bytes(b"")
    faces = load_folder(place)
    assert faces.classes == ("angry", "happy", "sad")
    assert np.bincount(faces.labels).tolist() == [3, 6, 3]
    assert "happy: 1 files of other kinds are left out, such as film.heic" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_never_opened(tmp_path, table):
    place = pictures(tmp_path / "mine", ["happy", "sad"])
    os.mkfifo(place / "happy" / "9.jpg")
    with pytest.raises(DataError, match=r"9\.jpg: Expected a regular file"):
        load_folder(place)
    assert len(load_folder(place, on_error="skip")) == 6
    os.mkfifo(tmp_path / "fer2013.csv")
    for path in (tmp_path / "fer2013.csv", tmp_path):
        with pytest.raises(DataError, match="Expected"):
            load_fer7(path)


# Places


def as_tar(folder, name, mode="w:gz"):
    with tarfile.open(folder.parent / name, mode) as archive:
        archive.add(folder, folder.name)
    return folder.parent / name


def as_zip(folder):
    with zipfile.ZipFile(folder.parent / "faces.zip", "w") as archive:
        for item in folder.rglob("*"):
            archive.write(item, item.relative_to(folder.parent))
    return folder.parent / "faces.zip"


@pytest.mark.parametrize(
    "name", ["Data/fer2013.csv", "FER2013.csv", "fer2013.csv/fer2013.csv", "a/b/ICML_face_data.csv"]
)
def test_tables_are_found_in_folders_and_archives_whatever_their_case(name, tmp_path, table):
    lines = files.icml_lines(table) if "ICML" in name else files.csv_lines(table)
    file = files.write_csv((tmp_path / "data" / name).parent, lines, Path(name).name)
    (tmp_path / "data" / "other").mkdir()
    places = [tmp_path / "data", as_tar(tmp_path / "data", "d.tar.gz"), as_tar(tmp_path / "data", "d.TGZ")]
    for place in [*places, as_zip(tmp_path / "data"), file]:
        for load in (load_fer7, load_faces):
            files.expect(load(place), table)


def test_a_home_is_expanded_and_not_needed(tmp_path, table, monkeypatch, recwarn):
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
    with pytest.raises(DataError, match="Expected a path"):
        load_fer7("~/data")


OWN = {
    "contempt": lambda folder: pictures(folder, [f"{s}/{n}" for s in ("train", "test") for n in FERPLUS8]),
    "sizes": lambda folder: pictures(folder, [f"{s}/{n}" for s in ("train", "test") for n in FER7], side=60),
    "names": lambda folder: pictures(
        folder, [f"{s}/{n}" for s in ("train", "validation") for n in FER7], suffix="x.png"
    ),
    "classes": lambda folder: pictures(folder, ["cat", "dog"]),
    "CK+48": lambda folder: files.write_tree(folder, files.ckplus_folders()),
    "RAF-DB": lambda folder: files.write_rafdb_list(folder, files.rafdb_faces()),
}


@pytest.mark.parametrize("what", OWN)
def test_load_faces_reads_what_any_loader_reads_also_in_archives(what, tmp_path):
    place = OWN[what](tmp_path / "faces")
    faces = load_faces(place)
    assert faces.protocol in ("own", "raf-db")
    assert set(faces.classes) in (set(FERPLUS8), set(FER7), {"cat", "dog"}, set(FERPLUS8) - {"neutral"})
    assert "tmp" not in faces.source
    for archive in (as_zip(place), as_tar(place, "faces.tar.gz"), as_tar(place, "faces.tar", "w")):
        assert load_faces(archive).fingerprint == faces.fingerprint


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_1900_folders_is_refused_and_leaves_nothing(kind, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    name, file = "a/" * 1900 + "1.png", tmp_path / f"deep.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, b"")
    else:
        with tarfile.open(file, "w") as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    for load in (load_fer7, load_faces):
        with pytest.raises(DataError, match="more than 16 folders deep"):
            load(file)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("name", "kind"), [("../1.csv", b"0"), ("/1.csv", b"0"), ("1.csv", b"2"), ("1.csv", b"6")])
def test_a_tar_that_leads_out_or_links_is_refused(name, kind, tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry, io.BytesIO())
    with pytest.raises(DataError, match="Expected plain files inside the archive"):
        load_fer7(tmp_path / "a.tgz")


def test_what_a_killed_process_unpacked_is_swept(tmp_path, monkeypatch, table):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".fer_keras-abc.999999.tmp").mkdir()
    files.write_csv(tmp_path / "data", files.csv_lines(table))
    load_fer7(as_zip(tmp_path / "data"))
    assert not list(tmp_path.glob(".fer_keras-*"))


# Broken files

WRITERS = {
    "csv": lambda folder, table: files.write_csv(folder, files.csv_lines(table)).parent,
    "icml": lambda folder, table: files.write_csv(folder, files.icml_lines(table), "icml_face_data.csv").parent,
    "challenge": lambda folder, table: files.write_csv(folder, files.challenge_lines(table), "train.csv").parent,
    "parquet": lambda folder, table: files.write_parquet(folder, files.parquet_frame(table)),
    "named": lambda folder, table: files.write_tree(folder, files.named_folders(table)),
    "unnamed": lambda folder, table: files.write_tree(folder, files.unnamed_folders(table)),
    "validated": lambda folder, table: files.write_tree(folder, files.validated_folders(files.fer_table(70))),
    "ferplus": write_ferplus,
    "ck": lambda folder, table: files.write_tree(folder, files.ckplus_folders(8)),
    "rafdb-list": lambda folder, table: files.write_rafdb_list(folder, files.rafdb_faces(14, 7)),
    "rafdb-folders": lambda folder, table: files.write_rafdb_folders(folder, files.rafdb_faces(14, 7)),
    "zip": lambda folder, table: as_zip(files.write_csv(folder / "d", files.csv_lines(table)).parent),
    "tar": lambda folder, table: as_tar(files.write_csv(folder / "d", files.csv_lines(table)).parent, "d.tar.gz"),
}


def break_somewhere(content, generator):
    """Flip, cut, insert or blank bytes somewhere."""
    place, kind = int(generator.integers(len(content))), generator.integers(4)
    noise = generator.bytes(int(generator.integers(1, 9)))
    if kind == 0:
        return content[:place] + noise + content[place + len(noise) :]
    if kind == 1:
        return content[:place]
    return content[:place] + (noise if kind == 2 else bytes(4)) + content[place:]


@pytest.mark.parametrize("layout", WRITERS)
def test_a_break_anywhere_gives_an_error_or_is_said(layout, tmp_path, monkeypatch):
    """What is read after all is what was written but for the broken file, or says that it is not as published."""
    rounds = int(os.environ.get("FER_BREAKS", 6))
    generator = np.random.default_rng(0)
    place = WRITERS[layout](tmp_path / "data", files.fer_table(21))
    known = load_faces(place)
    intact = [path for path in ([place] if place.is_file() else sorted(place.rglob("*"))) if path.is_file()]
    for number in range(rounds):
        monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / f"cache{number}"))
        file = intact[generator.integers(len(intact))]
        content = file.read_bytes()
        file.write_bytes(break_somewhere(content, generator))
        for how in ("raise", "skip"):
            try:
                faces = load_faces(place, on_error=how)
            except DataError:
                assert not list((tmp_path / f"cache{number}").rglob("*.npy"))
                continue
            assert faces.skipped or faces.difference or faces.protocol in ("own", "raf-db")
            assert (~np.isin(faces.digests, known.digests)).sum() <= 2
        file.write_bytes(content)
