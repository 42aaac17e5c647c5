"""`fer-keras recognize`, as a user types it."""

import json
import os
import shutil
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from fer_keras.__main__ import main
from fer_keras.recognition.recognizer import Recognizer

WITH = ["--weights", "mini-xception", "--detector", "haar"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working directory: a photo with a face, and a folder with one of each kind."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for path in (tmp_path / "astronaut.png", folder / "more" / "astronaut.png"):
        Image.fromarray(skimage.data.astronaut()).save(path)
    Image.new("RGB", (90, 60)).save(folder / "blank.jpg")
    (folder / "words.png").write_text("I am no picture")
    return tmp_path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("picture", "options", "line"),
    [
        ("astronaut.png", [], "astronaut.png: face 1 happy 0.9"),
        ("astronaut.png", ["--min-confidence", "1"], "astronaut.png: face 1 uncertain happy? 0.9"),
        ("astronaut.png", ["--min-confidence", "0", "--mirrored"], "astronaut.png: face 1 happy 0.9"),
        ("\x1b[31mred\n.png", [], "?[31mred?.png: no face\n"),  # a name cannot steer the terminal
    ],
)
def test_a_line_a_face(photos, capsys, picture, options, line):
    Image.new("L", (50, 50)).save(photos / "\x1b[31mred\n.png")
    assert main(["recognize", picture, *options, *WITH]) == 0
    printed = capsys.readouterr()
    assert line in printed.out
    assert (printed.out.count("\n"), printed.err) == (1, "")


def test_what_cannot_be_read_is_an_error_and_the_rest_goes_on(photos, capsys):
    bad = ["photos/words.png", "nothing.jpg", "nothing.zip", "photos/nothing"]
    assert main(["recognize", *bad, "astronaut.png", *WITH]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("astronaut.png: face 1 happy")
    assert {line.split(": Expected")[0] for line in printed.err.splitlines()} == {f"error: {path}" for path in bad}
    assert main(["recognize", "photos", *WITH]) == 0, "one of a folder that was not named"
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "photos/blank.jpg: no face"
    assert lines[1].startswith("photos/more/astronaut.png: face 1 happy")
    assert printed.err.startswith("error: photos/words.png: Expected a whole picture")
    assert main(["recognize", "photos", "--json", *WITH]) == 0
    blank, astronaut, words = map(json.loads, capsys.readouterr().out.splitlines())
    assert blank == {"picture": "photos/blank.jpg", "faces": [], "error": None}
    (face,) = astronaut["faces"]
    assert (face["emotion"], len(face["box"])) == ("happy", 4)
    assert sum(face["probabilities"].values()) == pytest.approx(1)
    assert words["faces"] is None
    assert "Expected a whole picture" in words["error"]


def test_a_table_and_copies_with_emotions_are_written_and_no_picture_changes(photos, capsys):
    archive = shutil.make_archive("below", "zip", "photos/more")
    before = contents(photos)
    assert main(["recognize", "photos", "astronaut.png", "--csv", "out/faces.csv", "--out", "copies", *WITH]) == 0
    assert main(["recognize", archive, "--out", "unpacked", *WITH]) == 0
    table = pd.read_csv("out/faces.csv")
    names = ["photos/blank.jpg", "photos/more/astronaut.png", "photos/words.png", "astronaut.png"]
    assert table.picture.to_list() == names
    assert table.status.to_list() == ["no face", "ok", "error", "ok"]
    assert table.emotion.fillna("").to_list() == ["", "happy", "", "happy"]
    after = contents(photos)
    assert {name: after.pop(name) for name in before} == before
    copies = [f"copies/{name}" for name in ("astronaut.png", "blank.jpg", "more/astronaut.png")]
    assert sorted(after) == [*copies, "out/faces.csv", "unpacked/astronaut.png"]
    assert after["unpacked/astronaut.png"] == after["copies/astronaut.png"]
    original, copy = (np.asarray(Image.open(name)) for name in ("astronaut.png", "copies/astronaut.png"))
    assert 0.002 < (copy != original).any(axis=-1).mean() < 0.1


def test_copies_take_no_others_place_and_do_not_count_the_next_time_and_no_picture_is_written_over(photos, capsys):
    (photos / "link").symlink_to(photos / "photos")
    before = contents(photos)
    outs = ["astronaut.png --out .", "photos --out photos", "link/blank.jpg --out photos"]
    for options in (*outs, "astronaut.png --csv astronaut.png"):
        assert main(["recognize", *options.split(), *WITH]) == 2
        assert "which would be lost" in capsys.readouterr().err
        assert contents(photos) == before
    for name in ("astronaut.GIF", "photos/Astronaut.png"):
        Image.new("L", (50, 50)).save(photos / name)
    for _ in range(2):
        paths = ["astronaut.png", "photos", "astronaut.GIF", "astronaut.png"]
        assert main(["recognize", *paths, "--out", "photos/copies", *WITH]) == 0
    written = sorted(path.name for path in (photos / "photos" / "copies").rglob("*.*"))
    assert written == ["Astronaut-2.png", "astronaut.GIF.png", "astronaut.png", "astronaut.png", "blank.jpg"]


def test_stopped_it_keeps_the_table_of_what_was_done(photos, capsys, monkeypatch):
    seen = [Recognizer("mini-xception", detector=None).see(np.zeros((60, 60), np.uint8))] * 2
    monkeypatch.setattr(Recognizer, "see", Mock(side_effect=[*seen, KeyboardInterrupt]))
    monkeypatch.setattr("fer_keras.recognition.folders.MOST_PICTURES", 1)
    paths = ["astronaut.png", "photos/blank.jpg", "photos/more/astronaut.png"]
    assert main(["recognize", *paths, "--csv", "faces.csv", *WITH]) == 130
    assert pd.read_csv("faces.csv").picture.to_list() == paths[:2]
    assert capsys.readouterr().err == "stopped\n"


def test_the_command_starts_without_keras_and_prints_on_any_console_or_none(photos):
    os.replace("astronaut.png", "ö Привет 日本.png")
    names = ["ö Привет 日本.png", "日.png"]
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", "recognize", *names, "--csv", "t.csv", *WITH]
    console = {"capture_output": True, "encoding": "cp1252", "env": {**os.environ, "PYTHONIOENCODING": "cp1252"}}
    done = subprocess.run(command, check=False, **console)
    assert done.returncode == 2, "the second is not there"
    assert done.stdout.startswith("ö ?????? ??.png: face 1 happy")
    assert "error: \\u65e5.png: Expected the path of a picture" in done.stderr
    assert pd.read_csv("t.csv").picture.to_list() == names
    assert not {"keras", "tensorflow", "pandas"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    script = "import sys; sys.stdout = sys.stderr = None; from fer_keras.__main__ import main; sys.exit(main())"
    assert subprocess.run([sys.executable, "-c", script, *command[5:]], check=False).returncode == 2
    assert pd.read_csv("t.csv").picture.to_list() == names


def test_a_keras_file_without_a_card_is_used_with_its_classes(photos, capsys):
    import keras

    layers = [keras.Input((48, 48, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")]).save("mine.keras")
    command = ["recognize", "astronaut.png", "--json", "--weights", "mine.keras"]
    assert main([*command, "--classes", "calm, excited"]) == 0
    (face,) = json.loads(capsys.readouterr().out)["faces"]
    assert list(face["probabilities"]) == ["calm", "excited"]
    assert main(["explain", "astronaut.png", "--weights", "mine.keras", "--classes", "calm,excited"]) == 0
    assert capsys.readouterr().out.startswith(("calm", "excited", "uncertain"))
    assert main(["export", "mine.keras", "--classes", "calm,excited"]) == 0
    assert capsys.readouterr().out.startswith("mine.onnx\n")
    for more in ([], ["--classes", "calm"]):
        assert main([*command, *more]) == 2
        assert "classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "function"),
    [("video a.mp4", "video.recognize_video"), ("demo", "page.serve"), ("recognize a.png", "folders.list_faces")],
)
def test_options_reach_the_recognizer(command, function, monkeypatch):
    table = pd.DataFrame(columns=["time", "id", "detected", "calm", "excited"])
    table.attrs.update(frames=0, ended="whole")
    called = Mock(return_value=table if "video" in command else 0)
    monkeypatch.setattr(f"fer_keras.recognition.{function}", called)
    options = "--weights mine.keras --classes calm,excited --detector none --mirrored --min-confidence 0.3"
    assert main(f"{command} {options}".split()) == 0
    expected = {"network": "mine.keras", "classes": ["calm", "excited"], "detector": None, "mirrored": True}
    assert called.call_args.kwargs.items() >= (expected | {"min_confidence": 0.3}).items()
