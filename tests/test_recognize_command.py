"""`fer-keras recognize`, as a user types it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
        ("astronaut.png", ["--min-confidence", "0", "--mirrored"], "astronaut.png: face 1 happy 0.9"),
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


def test_a_named_path_that_cannot_be_read_gives_status_2_and_the_rest_goes_on(photos, capsys):
    bad = ["photos/words.png", "nothing.jpg", "nothing.zip", "photos/nothing"]
    assert main(["recognize", *bad, "astronaut.png", *WITH]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("astronaut.png: face 1 happy")
    assert {line.split(": Expected")[0] for line in printed.err.splitlines()} == {f"error: {path}" for path in bad}


def test_a_folder_goes_on_after_a_file_that_cannot_be_read(photos, capsys):
    assert main(["recognize", "photos", *WITH]) == 0
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
    before = digests(photos)
    assert main(["recognize", "photos", "astronaut.png", "--csv", "out/faces.csv", "--out", "named", *WITH]) == 0
    assert main(["recognize", archive, "--out", "unpacked", *WITH]) == 0
    assert Path("unpacked/astronaut.png").read_bytes() == Path("named/astronaut.png").read_bytes()
    table = pd.read_csv("out/faces.csv")
    names = ["photos/blank.jpg", "photos/more/astronaut.png", "photos/words.png", "astronaut.png"]
    assert table.picture.to_list() == names
    assert table.status.to_list() == ["no face", "ok", "error", "ok"]
    assert table.emotion.fillna("").to_list() == ["", "happy", "", "happy"]
    after = digests(photos)
    assert {name: after.pop(name) for name in before} == before
    named = ["named/astronaut.png", "named/blank.jpg", "named/more/astronaut.png"]
    assert sorted(map(str, after)) == [*named, "out/faces.csv", "unpacked/astronaut.png"]
    original, copy = (np.asarray(Image.open(photos / name)) for name in ("astronaut.png", "named/astronaut.png"))
    assert 0.002 < (copy != original).any(axis=-1).mean() < 0.1


def test_copies_take_no_others_place_and_do_not_count_the_next_time(photos, capsys):
    Image.new("L", (50, 50)).save(photos / "astronaut.GIF")
    Image.new("L", (50, 50)).save(photos / "photos" / "Astronaut.png")
    paths = ["astronaut.png", "photos", "astronaut.GIF", "astronaut.png"]
    for _ in range(2):
        assert main(["recognize", *paths, "--out", "photos/named", *WITH]) == 0
    written = sorted(path.name for path in (photos / "photos" / "named").rglob("*.*"))
    assert written == ["Astronaut-2.png", "astronaut.GIF.png", "astronaut.png", "astronaut.png", "blank.jpg"]


def test_no_picture_is_written_over(photos, capsys):
    (photos / "link").symlink_to(photos / "photos")
    before = digests(photos)
    outs = ["astronaut.png --out .", "photos --out photos", "link/blank.jpg --out photos"]
    for options in (*outs, "astronaut.png --csv astronaut.png"):
        assert main(["recognize", *options.split(), *WITH]) == 2
        assert "which would be lost" in capsys.readouterr().err
        assert digests(photos) == before


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
    script = (
        "import sys; sys.stdout = sys.stderr = None; from fer_keras.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
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
    [
        ("video clip.mp4", "fer_keras.recognition.video.recognize_video"),
        ("demo", "fer_keras.recognition.page.serve"),
        ("recognize clip.png", "fer_keras.recognition.folders.list_faces"),
    ],
)
def test_options_reach_the_recognizer(command, function, monkeypatch):
    seen = []

    def stand_in(*arguments, **options):
        seen.append(options)
        table = pd.DataFrame(columns=["time", "id", "detected", "calm", "excited"])
        table.attrs.update(frames=0, ended="whole")
        return table if command.startswith("video") else 0

    monkeypatch.setattr(function, stand_in)
    options = "--weights mine.keras --classes calm,excited --detector none --mirrored --min-confidence 0.3"
    assert main(f"{command} {options}".split()) == 0
    expected = {"network": "mine.keras", "classes": ["calm", "excited"], "detector": None, "mirrored": True}
    assert seen[0].items() >= (expected | {"min_confidence": 0.3}).items()
