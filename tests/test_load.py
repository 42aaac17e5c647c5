"""What lies at a path, with whose split; four classes and the course set; where data is looked for.

No test reaches a network.
"""

import dataclasses
import re
import sys
import time
from pathlib import Path

import data_files as files
import numpy as np
import pytest

from fer_keras import data
from fer_keras.__main__ import main
from fer_keras.data import DataError, FaceDataset, audit, cache, load_faces, load_fer4, load_fer7
from fer_keras.data.load import KAGGLE, compare
from fer_keras.labels import FER4, FER7, FERPLUS8, PUBLISHED_COUNTS, SPLITS, USAGE_TO_SPLIT

ROWS = {
    "train": {3: "happy", 6: "neutral", 4: "sad", 5: "surprise", 12: "surprise"},
    "validation": {10: "happy", 13: "neutral", 11: "sad", 19: "surprise"},
    "test": {17: "happy", 20: "neutral", 18: "sad", 0: "surprise"},  # row 0 is angry in FER-2013
}
COURSE = [(split, name, row) for split, rows in ROWS.items() for row, name in rows.items()]


@pytest.fixture(autouse=True)
def _offline(own_cache, monkeypatch, tmp_path):
    """Send whatever asks for Kaggle to a port of this machine where nobody listens."""
    for scheme in ("https", "http", "all", "no"):
        for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY"):
            monkeypatch.setenv(name, "" if scheme == "no" else "http://127.0.0.1:9")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))


def test_what_is_nothing_known_is_refused_with_the_forms(tmp_path):
    folder, notes = tmp_path / "empty", tmp_path / "empty" / "notes.txt"
    for load in (load_fer7, load_faces):
        files.refused("empty: Expected data here. Received: no such file or folder", load, folder)
    folder.mkdir()
    files.refused(r"Received: an empty folder.(?s:.*)icml_face_data\.csv \(columns", load_fer7, folder)
    files.refused("Expected", load_faces, folder)
    notes.write_text("nothing")
    files.refused(r"Received: a folder with notes\.txt", load_fer7, folder)
    for load in (load_fer7, load_faces):
        files.refused("Received: a file of another kind", load, notes)


TABLE = files.fer_table(21)


def tree(paths, side=48):
    """A writer of pictures at some paths."""
    images = np.resize(files.noise(len(paths)), (len(paths), side, side))
    return lambda folder: files.write_tree(folder, dict(zip(paths, images, strict=True)))


def fer_tree(make, count=21):
    return lambda folder: files.write_tree(folder, make(files.fer_table(count)))


def csv(lines, name="fer2013.csv"):
    return lambda folder: files.write_csv((folder / name).parent, lines(TABLE), Path(name).name)


def split_paths(splits, names, suffix=".png"):
    return [f"{split}/{name}/{n}{suffix}" for split in splits.split() for name in names for n in range(3)]


# Form: how it is written, and the classes, protocol and number of images that are to be found.
FORMS = {
    "fer2013.csv": (csv(files.csv_lines), FER7, "official", 21),
    "icml": (csv(files.icml_lines, "icml_face_data.csv"), FER7, "official", 21),
    "below": (csv(files.csv_lines, "Data/a/fer2013.csv"), FER7, "official", 21),
    "in its own name": (csv(files.csv_lines, "fer2013.csv/fer2013.csv"), FER7, "official", 21),
    "in capitals": (csv(files.icml_lines, "a/ICML_face_data.CSV"), FER7, "official", 21),
    "train.csv": (csv(files.challenge_lines, "train.csv"), FER7, "own", 21),
    "Parquet": (lambda folder: files.write_parquet(folder, files.parquet_frame(TABLE)), FER7, "official", 21),
    "course": (lambda folder: files.write_course(folder, TABLE["images"], COURSE), FER4, "course", 13),
    "named": (fer_tree(files.named_folders), FER7, "official", 21),
    "unnamed": (fer_tree(files.unnamed_folders), FER7, "own", 21),
    "validated": (fer_tree(files.validated_folders, 70), FER7, "folders", 70),
    "FER+": (lambda folder: files.write_ferplus(folder, TABLE), FERPLUS8, "official", 5),
    "CK+48": (lambda folder: files.write_tree(folder, files.ckplus_folders(8)), (*FER7[:6], "contempt"), "own", 48),
    "RAF-DB list": (lambda folder: files.write_rafdb_list(folder, files.rafdb_faces(14, 7)), FER7, "raf-db", 21),
    "RAF-DB folders": (lambda folder: files.write_rafdb_folders(folder, files.rafdb_faces(14, 7)), FER7, "raf-db", 21),
    "contempt": (tree(split_paths("train test", FERPLUS8)), (*FER7, "contempt"), "own", 48),
    "60x60": (tree(split_paths("train test", FER7), side=60), FER7, "own", 42),
    "other names": (tree(split_paths("train validation", FER7, "x.png")), FER7, "own", 42),
    "own classes": (tree(["happy/1.png", "happy/2.png", "bored/1.png", "bored/2.png"]), ("happy", "bored"), "own", 4),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_out_also_in_archives(form, tmp_path):
    write, classes, protocol, count = FORMS[form]
    place = tmp_path / "data"
    write(place)
    faces = load_faces(place)
    assert (faces.classes, faces.protocol, len(faces)) == (classes, protocol, count)
    assert "tmp" not in faces.source
    for archive in (files.as_zip(place), files.as_tar(place, "faces.TGZ"), files.as_tar(place, "faces.tar", "w")):
        archived = load_faces(archive)
        assert (archived.protocol, archived.fingerprint) == (faces.protocol, faces.fingerprint)


FACE, TALL, LARGE = (files.png(np.zeros(size, np.uint8)) for size in ((48, 48), (64, 48), (490, 640)))
LOADERS = {"named": load_fer7, "validated": load_fer7, "course": load_fer4, "CK+48": data.load_ckplus}
LOADERS |= {"own classes": data.load_folder, "RAF-DB folders": data.load_rafdb}
EMPTY = "Expected pictures. Received: none"
FAULTS = [
    ("named", "train/sad/12.jpg", FACE, "Expected a name like the others'"),
    ("named", "test/sad/Training_12.jpg", FACE, "Expected no Training picture in the folder of test"),
    ("named", "train/sad/PrivateTest_12.jpg", FACE, "Expected no PrivateTest picture in the folder of tr"),
    ("named", "train/sad/Training_12.jpg", FACE[:60], "Expected a whole picture"),
    ("named", "train/sad/Training_12.jpg", TALL, "Expected 48x48 pixels. Received: 64x48"),
    ("named", "test/bored/PublicTest_1.jpg", FACE, "Expected a folder of one of angry, .* another class"),
    ("validated", f"images/train/sad/{'9' * 20}.jpg", FACE, r"Expected a name N\.jpg"),
    ("CK+48", "CK+48/fear/fear1.png", FACE, "Expected a name like S010_004_00000017"),
    ("CK+48", "CK+48/fear/S999_001_00000001.png", LARGE, "Expected 48x48 pixels. Received: 490x640"),
    ("CK+48", "CK+48/neutral/S999_001_00000001.png", FACE, "Expected a folder of one of angry, .* another"),
    ("RAF-DB folders", "DATASET/test/8/test_0999_aligned.jpg", FACE, "Expected a folder of one of 1, 2, "),
    ("own classes", "happy/3.png", FACE[:60], "Expected a whole picture"),
    *(("named", "test/fear", None, EMPTY), ("course", "train/sad", None, EMPTY), ("own classes", "happy", None, EMPTY)),
    *(("CK+48", "CK+48/contempt", None, EMPTY), ("RAF-DB folders", "DATASET/train/2", None, EMPTY)),
]  # fmt: skip


@pytest.mark.parametrize(("form", "name", "content", "message"), FAULTS)
def test_a_fault_in_folders_is_named_and_can_be_skipped(form, name, content, message, tmp_path):
    """A file of some content, or without one a folder that is emptied."""
    place, load = tmp_path / "data", LOADERS[form]
    FORMS[form][0](place)
    known, at = load(place), place / name
    emptied = [] if content else list(at.iterdir())
    for file in emptied:
        file.unlink()
    if content:
        at.parent.mkdir(exist_ok=True)
        at.write_bytes(content)
    named = at.parent if "a folder" in message else at
    faces = files.skipped(rf"{re.escape(str(named))}: .*{message}", load, place)
    assert (len(faces), faces.classes) == (len(known) - len(emptied), known.classes)
    assert emptied or (faces.fingerprint, len(faces.skipped)) == (known.fingerprint, 1)
    assert " skipped" in faces.source


def break_somewhere(content, generator):
    """Flip, cut, insert or blank bytes somewhere, every other time near the end, where archives have their tables."""
    start = generator.choice([0, max(0, len(content) - 260)])
    place, noise = int(generator.integers(start, len(content))), generator.bytes(generator.integers(1, 6))
    before, after = content[:place], content[place:]
    return before + [noise + after[len(noise) :], b"", noise + after, bytes(4) + after][generator.integers(4)]


@pytest.mark.parametrize("form", [*FORMS, "zip", "tar"])
def test_a_break_anywhere_gives_an_error_or_is_announced(form, tmp_path, monkeypatch):
    """What is read after all is what was written but for the broken file, or says that it is not as published."""
    place, generator = tmp_path / "data", np.random.default_rng(0)
    FORMS.get(form, FORMS["fer2013.csv"])[0](place)
    place = {"zip": files.as_zip, "tar": files.as_tar}.get(form, lambda folder: folder)(place)
    known = load_faces(place)
    intact = [path for path in (place, *sorted(place.rglob("*"))) if path.is_file()]
    for number in range(60 if form == "zip" else 6):
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
            assert (~np.isin(faces.digests, known.digests)).sum() <= (0 if form == "zip" else 2)
        file.write_bytes(content)


def test_the_command_says_what_it_is_and_lists_every_fault_when_asked(tmp_path, capsys):
    place = files.write_tree(tmp_path / "CK", files.ckplus_folders())
    for name in ("notes.png", "S999_001_00000001.png"):
        (place / "CK+48" / "anger" / name).write_bytes(b"no picture")
    assert main(["data", str(place)]) == 2
    assert "notes.png" in capsys.readouterr().err
    assert main(["data", str(place), "--skip"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("240", "2 skipped", "notes.png", "S999_001_00000001.png"))


def test_a_home_is_expanded_and_not_needed(tmp_path, monkeypatch):
    def no_home(path="~"):
        if str(path)[0] == "~":
            raise RuntimeError("Could not determine home directory.")
        return path

    files.write_csv(tmp_path / "data", files.csv_lines(TABLE))
    monkeypatch.setenv("HOME", str(tmp_path))
    for load in (load_fer7, load_faces):
        files.expect(load("~/data"), TABLE)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setattr(Path, "home", no_home)
    for name in ("FER_KERAS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "data"))
    with pytest.warns(UserWarning, match="Could not determine home"):
        files.expect(load_fer7(), TABLE)
    files.refused("Expected data here", load_fer7, "~/data")


@pytest.fixture
def course_folder(tmp_path):
    return files.write_course(tmp_path / "course", TABLE["images"], COURSE)


def test_the_course_set_is_the_same_from_its_folders_and_from_its_rows(tmp_path, course_folder):
    faces = load_fer4(course_folder)
    faces = faces.take(np.argsort(faces.rows))
    found = zip(faces.split.tolist(), np.array(FER4)[faces.labels].tolist(), faces.rows.tolist(), strict=True)
    assert sorted(found) == sorted(COURSE)
    np.testing.assert_array_equal(faces.images[..., 0], [files.as_jpeg(TABLE["images"][row]) for row in faces.rows])
    place = files.write_parquet(tmp_path / "fer", files.parquet_frame(TABLE))
    lines = ["split,class,row", *(f"{split},{name},{row}" for split, name, row in COURSE)]
    files.write_csv(place, lines, "adsp_rows.csv")
    drawn = load_fer4(place, protocol="course")
    drawn = drawn.take(np.argsort(drawn.rows))
    for name in ("rows", "labels", "split"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(faces, name))
    for name, values in (("votes", drawn.votes), ("images", drawn.images[..., 0])):
        np.testing.assert_array_equal(values, TABLE[name][drawn.rows])
    assert drawn.protocol == faces.protocol == "course"
    assert load_fer4(place).protocol == load_fer4(place, protocol="official").protocol == "official"


def test_a_protocol_that_the_source_lacks_is_refused_and_decides_where_both_lie(tmp_path, course_folder):
    csv = files.write_csv(tmp_path / "fer", files.csv_lines(TABLE))
    for load, path, protocol, message in (
        (load_fer4, course_folder, "official", r"Expected the official split\. .* Ask for protocol='course'"),
        (load_fer4, csv, "course", r"Expected the course set\. .* Put adsp_rows\.csv beside it"),
        (load_fer7, course_folder, None, r"Expected the classes angry, .* Use load_fer4"),
        (load_fer7, csv.parent, "own", r"Expected the own split\. Received: fer2013\.csv .* \('official'\)"),
        (load_fer7, csv.parent, "course", r"Expected the course split"),
        (load_fer4, csv, "public", r"Unknown protocol 'public'\. Expected one of: official, course, "),
    ):
        with pytest.raises(ValueError, match=message):
            load(path, protocol=protocol)
    with pytest.raises(ValueError, match=r"Unknown on_error 'ignore'. Expected one of: raise, skip"):
        load_fer7(csv, on_error="ignore")
    csv.rename(course_folder / "fer2013.csv")
    assert load_fer4(course_folder).protocol == "official"
    assert load_fer4(course_folder, protocol="course").protocol == "course"


def lay_out(tmp_path, lines):
    """Lay out a finished download as kagglehub does."""
    owner, name, _, version = KAGGLE.split("/")
    folder = tmp_path / "kagglehub" / "datasets" / owner / name
    file = files.write_csv(folder / "versions" / version, lines)
    (folder / f"{version}.complete").touch()
    return file


def publish(monkeypatch, *numbers):
    """Let the published set have so many images of each class in the training, validation and test split."""
    monkeypatch.setitem(PUBLISHED_COUNTS, "official", tuple((number,) * 7 for number in numbers))


def keep_whole(value, votes=None, difference=""):
    """Put a made-up whole FER-2013 (of tiny faces) into the cache."""
    counts = np.array(PUBLISHED_COUNTS["official"])
    labels, split = np.concatenate([np.repeat(range(7), row) for row in counts]), np.repeat(SPLITS, counts.sum(axis=1))
    images = np.full((len(labels), 1, 1, 1), value, np.uint8)
    about = {"votes": votes and np.ones((len(labels), 10), np.float32), "difference": difference}
    cache.store(f"whole-{value}", FaceDataset(images, labels, split, FER7, "FER-2013", "official", **about))


def test_a_download_without_the_file_or_with_bad_rows_or_other_counts_is_refused_and_not_kept(tmp_path, monkeypatch):
    file = lay_out(tmp_path, ["emotion,pixels,Usage", "1,2 3,Training"])
    files.refused(r"fer2013\.csv, line 2: Expected 2304 pixels", load_fer7)
    file.rename(file.with_name("notes.txt"))
    files.refused(r"Expected one of the following\. Received: a folder with notes\.txt", load_fer7)
    lay_out(tmp_path, files.csv_lines(TABLE))
    files.refused("Expected deadskull7/.* other images. train: expected 3,995 angry, .*; received 1 angry", load_fer7)
    publish(monkeypatch, 1, 1, 2)
    files.refused(r"images\. test: expected 2 angry, .* 2 neutral; received 1 angry, [^;]*$", load_fer4)
    assert files.nothing_cached(tmp_path)


def test_the_published_counts_are_those_of_the_same_faces():
    official, folders = np.array(PUBLISHED_COUNTS["official"]), np.array(PUBLISHED_COUNTS["folders"])
    assert [official.sum(axis=1).tolist(), folders.sum(axis=1).tolist()] == [[28709, 3589, 3589], [28821, 7066, 0]]
    assert official.sum(axis=0).tolist() == folders.sum(axis=0).tolist()


def test_a_file_cut_at_a_line_end_is_not_called_complete(tmp_path, monkeypatch):
    faces = load_fer7(files.write_csv(tmp_path / "part", files.csv_lines(TABLE)))
    assert "train: expected 3,995 angry, " in faces.difference
    assert "This is not the complete FER-2013. train: expected 3,995 angry, " in str(audit(faces))
    assert faces.select(classes=("happy", "sad")).difference == faces.difference
    publish(monkeypatch, 1, 1, 1)
    for part in (faces, faces.select(classes=("sad", "happy")), faces.resplit(seed=0)):
        assert "not the complete" not in str(audit(part))


def test_a_part_trains_as_ones_own_and_is_never_final(tmp_path, own_folders, monkeypatch):
    from small_networks import small

    from fer_keras.training import fit, trainer

    monkeypatch.setattr(trainer, "build", small)
    faces = load_fer7(files.write_csv(tmp_path / "data", files.csv_lines(files.fer_table(84))))
    assert (faces.protocol, bool(faces.difference)) == ("official", True)
    run = fit("mini-xception", epochs=1, faces=faces, verbose=0)
    assert (run.recipe_name, run.protocol, run.final) == ("mini-xception@epochs-1@own", "own", False)
    assert "test" not in run.metrics


@pytest.mark.parametrize("load", [load_fer7, load_fer4])
def test_without_data_one_error_says_the_ways_within_seconds(load, monkeypatch):
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        load()
    assert time.perf_counter() - start < 10
    for words in ("FER_KERAS_DATA", "kagglehub.login()", "Pass its path", "fer2013.csv", "--data PATH", KAGGLE):
        assert words in str(caught.value)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    files.refused(r"FER-2013 is not here(?s:.*)kagglehub(?s:.*)Install it: pip install", load)


def test_the_places_are_asked_in_order_and_of_copies_a_whole_one_with_votes_is_taken(tmp_path, monkeypatch):
    load_fer7(files.write_csv(tmp_path / "part", files.csv_lines(files.fer_table(7))))
    keep_whole(3, votes=True, difference="one image less")
    files.refused("FER-2013 is not here", load_fer7)
    lay_out(tmp_path, files.csv_lines(TABLE))
    with monkeypatch.context() as patch:
        publish(patch, 1, 1, 1)
        np.testing.assert_array_equal(load_fer7().images[..., 0], TABLE["images"])
        assert len(load_fer4()) == 12
    keep_whole(1, votes=True)
    keep_whole(2)
    assert load_fer7().images.max() == 1
    files.refused(r"The cached FER-2013: Expected the course set", load_fer4, protocol="course")
    files.refused(r"The cached FER-2013: Expected the own split", load_fer7, protocol="own")
    monkeypatch.setenv("FER_KERAS_DATA", str(tmp_path / "variable"))
    files.refused(r"variable: Expected data here.*FER_KERAS_DATA", load_fer7)
    files.write_csv(tmp_path / "variable", files.csv_lines(files.fer_table(14)))
    assert len(load_fer7()) == 14
    assert len(load_fer7(tmp_path / "part")) == 7


def test_the_real_data_has_its_published_counts_and_comes_back_from_a_csv(tmp_path, fer2013, capsys):
    faces, course = load_fer7(fer2013), load_fer4(fer2013, protocol="course")
    assert faces.difference == course.difference == capsys.readouterr().err == ""
    assert faces.counts().to_numpy().tolist() == [
        [3995, 436, 4097, 7215, 4830, 3171, 4965, 28709],
        [467, 56, 496, 895, 653, 415, 607, 3589],
        [491, 55, 528, 879, 594, 416, 626, 3589],
    ]
    assert load_fer4(fer2013, protocol="official").counts()["total"].tolist() == [20181, 2570, 2515]
    assert course.counts()["total"].tolist() == [15109, 4977, 128]
    alike = dataclasses.replace(course, images=np.zeros_like(course.images))
    assert compare(alike).difference == "Expected 18,900 different images at least. Received: fewer"
    part = faces.take(np.arange(0, 35887, 60))
    usages = {split: usage for usage, split in USAGE_TO_SPLIT.items()}
    table = {"emotion": part.labels, "images": part.images, "Usage": [usages[split] for split in part.split.tolist()]}
    assert load_fer7(files.write_csv(tmp_path, files.csv_lines(table))).fingerprint == part.fingerprint


@pytest.mark.parametrize("name", ["labels", "images", "votes", "split"])
def test_faces_of_the_published_numbers_with_two_exchanged_are_not_as_published(name, fer2013):
    faces = load_fer7(fer2013)
    first, other = (("validation", 3), ("test", 3)) if name == "split" else (("train", 0), ("train", 3))
    places = [np.flatnonzero((faces.split == split) & (faces.labels == label))[0] for split, label in (first, other)]
    array = getattr(faces, name).copy()
    array[places] = array[places[::-1]]
    assert compare(dataclasses.replace(faces, **{name: array})).difference
