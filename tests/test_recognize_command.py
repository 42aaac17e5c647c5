"""`fer-keras recognize`, as a user types it."""

import hashlib
import json
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

import fer_keras
from fer_keras.__main__ import main
from fer_keras.recognition import listing
from fer_keras.recognition.recognizer import Recognizer

WITH = ["--weights", "mini-xception"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working directory: a photo with a face, and a folder with one of each kind."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    astronaut = Image.fromarray(np.asarray(skimage.data.astronaut()))
    astronaut.save(tmp_path / "astronaut.png")
    astronaut.save(folder / "more" / "astronaut.png")
    Image.new("RGB", (90, 60)).save(folder / "blank.jpg")
    (folder / "words.png").write_text("I am no picture")
    return tmp_path


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("picture", "options", "line"),
    [
        ("astronaut.png", [], "astronaut.png: face 1 happy 0.9"),
        ("astronaut.png", ["--min-confidence", "1"], "astronaut.png: face 1 uncertain happy? 0.9"),
        ("astronaut.png", ["--detector", "none", "--min-confidence", "0"], "512x512 at (0, 0)\n"),
        ("\x1b[31mred\n.png", [], "?[31mred?.png: no face\n"),  # a name cannot steer the terminal
    ],
)
def test_a_line_a_face(photos, capsys, picture, options, line):
    Image.new("L", (50, 50)).save(photos / "\x1b[31mred\n.png")
    assert main(["recognize", picture, *options, *WITH]) == 0
    printed = capsys.readouterr()
    assert line in printed.out
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_a_folder_goes_on_after_a_file_that_cannot_be_read(photos, capsys):
    assert main(["recognize", "photos", *WITH]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "photos/blank.jpg: no face"
    assert printed.out.splitlines()[1].startswith("photos/more/astronaut.png: face 1 happy")
    assert printed.err.startswith("error: photos/words.png: Expected a whole picture")


@pytest.mark.parametrize("bad", ["photos/words.png", "nothing.jpg", "nothing.zip", "photos/nothing"])
def test_a_named_path_that_cannot_be_read_gives_status_2_and_the_rest_goes_on(photos, capsys, bad):
    assert main(["recognize", bad, "astronaut.png", *WITH]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("astronaut.png: face 1 happy")
    assert printed.err.startswith(f"error: {bad}: Expected")
    assert "Traceback" not in printed.err


def test_json_has_an_object_a_picture(photos, capsys):
    assert main(["recognize", "photos", "--json", *WITH]) == 0
    blank, astronaut, words = map(json.loads, capsys.readouterr().out.splitlines())
    assert blank == {"picture": "photos/blank.jpg", "faces": [], "error": None}
    (face,) = astronaut["faces"]
    assert face["emotion"] == "happy"
    assert len(face["box"]) == 4
    assert sum(face["probabilities"].values()) == pytest.approx(1)
    assert words["faces"] is None
    assert "Expected a whole picture" in words["error"]


def test_a_table_is_written_whole(photos, capsys):
    assert main(["recognize", "photos", "astronaut.png", "--csv", "out/faces.csv", *WITH]) == 0
    table = pd.read_csv("out/faces.csv")
    names = ["photos/blank.jpg", "photos/more/astronaut.png", "photos/words.png", "astronaut.png"]
    assert table.picture.to_list() == names
    assert table.emotion.fillna("").to_list() == ["no face", "happy", "", "happy"]
    assert table.columns[-1] == "error"
    assert [path.name for path in (photos / "out").iterdir()] == ["faces.csv"]


def test_copies_have_the_named_faces_and_no_picture_changes(photos, capsys):
    before = digests(photos)
    assert main(["recognize", "photos", "astronaut.png", "--out", "named", *WITH]) == 0
    after = digests(photos)
    assert {name: after.pop(name) for name in before} == before
    assert sorted(map(str, after)) == ["named/astronaut.png", "named/blank.jpg", "named/more/astronaut.png"]
    original, copy = (np.asarray(Image.open(photos / name)) for name in ("astronaut.png", "named/astronaut.png"))
    assert copy.shape == original.shape
    changed = (copy != original).any(axis=-1)
    assert 0.002 < changed.mean() < 0.1


def test_copies_in_the_folder_of_the_pictures_do_not_count_the_next_time(photos, capsys):
    for _ in range(2):
        assert main(["recognize", "photos", "--out", "photos/named", *WITH]) == 0
    assert sorted(path.name for path in (photos / "photos" / "named").rglob("*.*")) == ["astronaut.png", "blank.jpg"]


def test_copies_of_one_name_do_not_take_each_others_place(photos, capsys):
    (photos / "astronaut.GIF").write_bytes(b"")
    Image.new("L", (50, 50)).save(photos / "astronaut.GIF")
    Image.new("L", (50, 50)).save(photos / "photos" / "Astronaut.png")
    paths = ["astronaut.png", "photos/more/astronaut.png", "photos/Astronaut.png", "astronaut.GIF", "astronaut.png"]
    assert main(["recognize", *paths, "--out", "named", *WITH]) == 0
    written = sorted(path.name for path in (photos / "named").iterdir())
    assert written == ["Astronaut-3.png", "astronaut-2.png", "astronaut.GIF.png", "astronaut.png"]


@pytest.mark.parametrize(
    "options",
    [
        ["astronaut.png", "--out", "."],
        ["photos", "--out", "photos"],
        ["link/blank.jpg", "--out", "photos"],
        ["astronaut.png", "--csv", "astronaut.png"],
    ],
    ids=" ".join,
)
def test_no_picture_is_written_over(photos, capsys, options):
    (photos / "link").symlink_to(photos / "photos")
    before = digests(photos)
    assert main(["recognize", *options, *WITH]) == 2
    assert "which would be lost" in capsys.readouterr().err
    assert digests(photos) == before


def test_a_zip_is_a_folder(photos, capsys):
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("astronaut.png", "below/astronaut.png")
    assert main(["recognize", "photos.zip", "--out", "named", *WITH]) == 0
    assert capsys.readouterr().out.startswith("photos.zip/below/astronaut.png: face 1 happy")
    assert (photos / "named" / "below" / "astronaut.png").is_file()


def test_mirror_images_too(photos, capsys):
    said = []
    for more in ([], ["--mirrored"]):
        assert main(["recognize", "astronaut.png", "--json", "--detector", "none", *more, *WITH]) == 0
        said.append(json.loads(capsys.readouterr().out)["faces"][0]["probabilities"])
    first, second = said
    assert first != second
    assert sum(second.values()) == pytest.approx(1, abs=1e-4)
    picture = photos / "astronaut.png"
    (face,) = fer_keras.recognize(picture, network="mini-xception", detector=None, mirrored=True)
    assert face.probabilities == pytest.approx(second, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--min-confidence", "2"], "`min_confidence` must be in [0, 1]"),
        (["--detector", "yolo"], "no detector 'yolo'. Expected one of: haar, mtcnn, yunet:FILE, none."),
        (["--weights", "no.onnx"], "no.onnx: Expected an .onnx file"),
    ],
)
def test_a_wrong_option(photos, capsys, options, words):
    assert main(["recognize", "astronaut.png", *WITH, *options]) == 2
    assert words in capsys.readouterr().err


def test_stopped_it_keeps_the_table_of_what_was_done(photos, capsys, monkeypatch):
    see, seen = Recognizer.see, []

    def stopping(recognizer, source):
        seen.append(source)
        if len(seen) > 2:
            raise KeyboardInterrupt
        return see(recognizer, source)

    monkeypatch.setattr(Recognizer, "see", stopping)
    monkeypatch.setattr("fer_keras.recognition.folders.MOST_PICTURES", 1)
    paths = ["astronaut.png", "photos/blank.jpg", "photos/more/astronaut.png"]
    assert main(["recognize", *paths, "--csv", "faces.csv", *WITH]) == 130
    assert pd.read_csv("faces.csv").picture.to_list() == paths[:2]
    assert capsys.readouterr().err == "stopped\n"


def test_a_copy_that_cannot_be_made_is_an_error_and_the_rest_goes_on(photos, capsys, monkeypatch):
    read = listing.read_photo

    def refuse(file):
        return read(file if file.name == "astronaut.png" else "gone.jpg")

    monkeypatch.setattr(listing, "read_photo", refuse)
    assert main(["recognize", "photos", "--out", "named", *WITH]) == 2
    assert "gone.jpg" in capsys.readouterr().err
    assert (photos / "named" / "more" / "astronaut.png").is_file()


def test_the_command_starts_without_keras(photos):
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", "recognize", "astronaut.png", *WITH]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("astronaut.png: face 1 happy")
    assert not {"keras", "tensorflow", "pandas"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


@pytest.fixture
def plain_file(photos):
    """A Keras file without a card, of two classes."""
    import keras

    layers = [keras.Input((48, 48, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")]).save(photos / "mine.keras")
    return "mine.keras"


def test_a_keras_file_without_a_card_is_used_with_its_classes(photos, plain_file, capsys):
    command = ["recognize", "astronaut.png", "--json", "--weights", plain_file]
    assert main([*command, "--classes", "calm, excited"]) == 0
    (face,) = json.loads(capsys.readouterr().out)["faces"]
    assert list(face["probabilities"]) == ["calm", "excited"]
    assert main(["explain", "astronaut.png", "--weights", plain_file, "--classes", "calm,excited"]) == 0
    assert capsys.readouterr().out.startswith(("calm", "excited", "uncertain"))
    assert main(["export", plain_file, "--classes", "calm,excited"]) == 0
    assert capsys.readouterr().out.startswith("mine.onnx\n")
    assert main(command) == 2
    assert "classes" in capsys.readouterr().err
    assert main([*command, "--classes", "calm"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("command", "function"),
    [
        (["video", "clip.mp4"], "fer_keras.recognition.video.recognize_video"),
        (["webcam"], "fer_keras.recognition.webcam.watch"),
        (["demo"], "fer_keras.recognition.page_server.serve"),
    ],
)
def test_classes_reach_what_shows_moving_pictures(command, function, monkeypatch):
    seen = []

    def stand_in(*arguments, **options):
        seen.append(options)
        table = pd.DataFrame(columns=["time", "id", "detected", "calm", "excited"])
        table.attrs.update(frames=0, ended="whole")
        return table

    monkeypatch.setattr(function, stand_in)
    assert main([*command, "--weights", "mine.keras", "--classes", "calm,excited", "--detector", "none"]) == 0
    assert seen[0]["network"] == "mine.keras"
    assert seen[0]["classes"] == ["calm", "excited"]
    assert seen[0]["detector"] is None
