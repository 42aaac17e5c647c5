"""The command line, as a user types it; most of all `fer-keras recognize`."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from unittest.mock import Mock

import data_files
import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from fer_keras import MODELS, paths
from fer_keras.__main__ import app, architecture_names, main
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.names import with_extra
from fer_keras.recipes import RECIPES, SPACES
from fer_keras.recognition.annotate import FORMATS
from fer_keras.recognition.recognizer import Recognizer
from fer_keras.results import find_run, read_runs

TRAINED = find_run("mini-xception", folder=paths.PACKAGE.parent / "reports" / "results")
GRID, FRAMES = pd.DataFrame({"validation": [0.51234]}), pd.DataFrame(columns=["time", "id", "detected", "calm"])
FRAMES.attrs |= {"frames": 0, "ended": "whole"}
COMMANDS = "train search label-errors evaluate ship data fetch models recipes recognize video demo export explain"
TYPOS = {
    "trian fer-small": "No such command 'trian'. Did you mean 'train'?",
    "train fer-small --epoch 2": "No such option: --epoch. Did you mean --epochs?",
    "train fer-smal": "There is no recipe 'fer-smal'. Did you mean 'fer-small'?",
    "train fer-small --precision mixed_float16": "Did you mean 'mixed_bfloat16'?",
    "train fer-small --devices al": "There is no choice of devices 'al'. Did you mean 'all'?",
    "search ingredient": "There is no search space 'ingredient'. Did you mean 'ingredients'?",
    "models vgg61": "There is no network 'vgg61'. Did you mean 'vgg16'?",
    "evaluate fer-smal": "There is no network 'fer-smal'. Did you mean 'fer-small'?",
    "evaluate fer-small --split tset": "There is no split 'tset'. Did you mean 'test'?",
    "recognize x.jpg --weights fer-smal": "There is no network 'fer-smal'. Did you mean 'fer-small'?",
    "recognize x.jpg --detector har": "There is no detector 'har'. Did you mean 'haar'?",
    "export fer-small --format onx": "There is no format 'onx'. Did you mean 'onnx'?",
    "export fer-small --quantize int4": "There is no quantization 'int4'. Did you mean 'int8'?",
    "train fer-small --epochs 0": "Invalid value for '--epochs'",
    "train fer-small --data a --folder b": "Expected --data or --folder. Received: both",
    "train": "Missing argument 'RECIPE'. See fer-keras train --help.",
    "search sep-reduced --workers 2": "--workers is for --ray. Add it.",
    "data /nowhere/fer2013.csv": "/nowhere/fer2013.csv",
}
TRY_ALL = f"""
import sys
from fer_keras.__main__ import main
for line in {list(TYPOS)}:
    assert main(line.split()) == 2
    assert not {{"keras", "tensorflow", "jax", "cv2", "onnxruntime", "gradio"}} & set(sys.modules), line
"""
HAAR = "--weights mini-xception --detector haar"
MINE = "--weights mine.keras --classes calm,excited --detector none --mirrored --min-confidence 0.3"
WITH = dict(network="mine.keras", classes=["calm", "excited"], detector=None, mirrored=True, min_confidence=0.3)
TRAIN, SEARCH = "train mini-xception", "search sep-reduced"
RECORD = {"results": paths.results()}
MADE = paths.PACKAGE / "weights" / "fer-small.onnx"
# A command, the function that it calls, what that returns, its options, and what is printed.
PASSED_ON = [
    (f"{TRAIN} --data d --seed 3 --epochs 2 --minutes 1.5 --force --precision mixed_bfloat16 --devices 2",
     "training.fit", TRAINED, {"args": ("mini-xception", 3), "faces": "d", "epochs": 2, "minutes": 1.5, "force": True,
     "precision": "mixed_bfloat16", "devices": 2, "results": None, "verbose": 2}, "validation 0."),
    (f"{TRAIN} --record --devices all", "training.fit", TRAINED, RECORD | {"faces": None, "devices": "all"}, "epoch"),
    (f"{SEARCH} --seed 1", "training.search.search", GRID, {"args": ("sep-reduced", 1), "ray": None}, "0.5123"),
    (f"{SEARCH} --ray auto", "training.search.search", GRID, {"ray": "auto", "results": None}, ""),
    (f"{SEARCH} --ray --minutes 2 --record", "training.search.search", GRID, RECORD | {"ray": True, "minutes": 2}, ""),
    (f"recognize a.png {MINE}", "recognition.folders.list_faces", 0, WITH, ""),
    (f"video a.mp4 {MINE}", "recognition.video.recognize_video", FRAMES, WITH, "a.mp4: 0 frames"),
    (f"demo {MINE}", "recognition.page.serve", 0, WITH, ""),
    (f"explain a.png {MINE}", "recognition.annotate.explain_picture", [], WITH, "a-explained.png"),
    ("export mine.keras --classes calm,excited", "recognition.export.export", MADE, {"classes": WITH["classes"]}, ""),
]  # fmt: skip


@pytest.fixture
def run(capsys):
    """A function that runs a line, and words that may hold blanks; it returns status, output and errors."""

    def typed(line, *words):
        status = main([*line.split(), *words])
        return (status, *capsys.readouterr())

    return typed


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working directory: a photo with a face, and a folder with one of each kind."""
    monkeypatch.chdir(tmp_path)
    astronaut, blank = skimage.data.astronaut(), np.zeros((60, 90, 3), np.uint8)
    tree = {"astronaut.png": astronaut, "photos/more/astronaut.png": astronaut, "photos/blank.jpg": blank}
    data_files.write_tree(tmp_path, tree)
    (tmp_path / "photos" / "words.png").write_text("I am no picture")
    return tmp_path


def test_every_command_has_plain_help_and_help_loads_nothing_heavy(run):
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"keras.src", "numpy"} & set(re.findall(r"[\w.]+$", done.stderr, re.MULTILINE))
    for name in COMMANDS.split():
        assert re.search(rf"^  {name}  +\w.*\.$", done.stdout, re.MULTILINE), f"{name} has a sentence of its own"
        status, printed, _ = run(f"{name} --help")
        assert (status, printed.startswith(f"Usage: fer-keras {name} ")) == (0, True)
    assert len(app.registered_commands) == len(COMMANDS.split())


def test_what_cannot_be_done_is_said_in_a_line_before_anything_heavy_is_imported():
    done = subprocess.run([sys.executable, "-c", TRY_ALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for line, message in zip(done.stderr.splitlines(), TYPOS.values(), strict=True):
        assert re.match(f"error: .*{re.escape(message)}", line)
    assert architecture_names() == sorted(MODELS)


def test_another_backend_of_keras_is_answered_with_those_that_work(monkeypatch):
    for backend, error in (("torch", "No module named 'torch'"), ("xyz", "Unable to import backend : xyz")):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        words = f"{error}. Set KERAS_BACKEND to one of tensorflow, jax, or unset it. Received: {backend!r}."
        assert with_extra(ValueError(error)) == words
        assert with_extra(ValueError("something else")) == "something else"


def test_recipes_are_a_table_and_one_is_shown_field_by_field_and_spaces_are_listed(run, monkeypatch, tmp_path):
    header, *lines = run("recipes")[1].splitlines()
    rows = {line.split()[0]: dict(zip(header.split(), re.split("  +", line), strict=True)) for line in lines}
    assert list(rows) == list(RECIPES)
    accuracy, minutes = 100 * TRAINED.metrics["validation"]["accuracy"], round(TRAINED.seconds / 60)
    expected = ["300", f"{accuracy:.2f}", f"{minutes // 60}:{minutes % 60:02}", "65.0 (validation)"]
    assert [rows["mini-xception"][name] for name in ("epochs", "validation", "time", "published")] == expected
    shown = run("recipes mini-xception")[1]
    assert re.search(rf"^epochs +300\n(?s:.*)^recorded, seed 0 .* on {TRAINED.device}$", shown, re.MULTILINE)
    assert len(run("search")[1].splitlines()) == len(SPACES)
    monkeypatch.setenv("FER_KERAS_RESULTS", str(tmp_path))
    assert re.search(r"^mini-xception .* 300 +- +- +65.0 \(validation\)$", run("recipes")[1], re.MULTILINE)
    stopped = dataclasses.replace(TRAINED, stopped="cut short", epochs_run=7)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{stopped.run}.json").write_text(stopped.to_json())
    assert re.search(rf"^mini-xception .* 7 of 300 +{accuracy:.2f} ", run("recipes")[1], re.MULTILINE)


@pytest.mark.parametrize(("command", "function", "value", "expected", "words"), PASSED_ON)
def test_options_reach_what_they_are_for(command, function, value, expected, words, monkeypatch, run):
    called = Mock(return_value=value)
    monkeypatch.setattr(f"fer_keras.{function}", called, raising=False)
    status, printed, _ = run(command)
    assert (status, words in printed) == (0, True)
    assert {"args": called.call_args.args, **called.call_args.kwargs}.items() >= expected.items()


def test_stopped_it_says_whether_the_same_command_goes_on(monkeypatch, run):
    for command, function, words in (
        ("train mini-xception", "training.fit", "; the same command goes on from the last whole epoch"),
        ("recognize x --ray --out-data y", "recognition.ray_folders.recognize_on_ray", "; the same command goes on"),
        ("data x", "data.load_faces", "\n"),
    ):
        monkeypatch.setattr(f"fer_keras.{function}", Mock(side_effect=KeyboardInterrupt), raising=False)
        status, _, error = run(command)
        assert (status, error.startswith(f"stopped{words}")) == (130, True)


def test_training_and_scoring_on_ones_own_folders(own_folders, run):
    faces = make_faces(30, classes=("happy", "sad"), seed=3)
    rows = enumerate(zip(faces.split, faces.labels, faces.images[..., 0], strict=True))
    tree = {f"{split}/{faces.classes[label]}/{row}.png": image for row, (split, label, image) in rows}
    pictures = data_files.write_tree(own_folders / "pictures", tree)
    command = f"train capstone-model-1 --folder {pictures} --epochs 1 --seed 5 --tensorboard {own_folders}/logs"
    command += f" --checkpoints {own_folders}/kept"
    assert "best epoch 1 of 1" in run(command)[1]
    (found,) = read_runs(own_folders / "build" / "results")
    assert (found.classes, found.seed, "test" in found.metrics) == (("happy", "sad"), 5, False)
    assert all(any((own_folders / name).iterdir()) for name in ("logs", "kept"))
    assert "--force" in run(command)[2], "asked again, the record is read"
    assert f"Did you mean '{found.recipe_name}'?" in run(f"ship {found.recipe_name[:-1]}")[2], "known by name"
    printed = run(f"evaluate fer-small-4 --data {pictures}")[1]
    assert re.match(r"fer-small-4 on .*, test: \d+ images\naccuracy +[01]\.\d{4} \([01]\.\d{4} to", printed)
    assert re.findall(r"^(?:happy|sad)", printed, re.MULTILINE) == ["happy", "sad"]


def test_a_reader_who_has_seen_enough_ends_it_quietly():
    command = [sys.executable, "-m", "fer_keras", "recipes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_table_is_written_whoever_reads_the_lines_and_what_is_closed(photos):
    command = f"{sys.executable} -m fer_keras recognize photos --csv t.csv {HAAR}"
    for words in (" >&-", " 2>&-", " <&- >&- 2>&-", " | head -0", " 2>&1 | head -0"):
        (photos / "t.csv").unlink(missing_ok=True)
        subprocess.run(["bash", "-c", f"set -o pipefail; {command}{words}"], check=True, capture_output=True)
        assert pd.read_csv("t.csv").status.to_list() == ["no face", "ok", "error"]


def test_tensorflow_prints_nothing_as_it_starts(own_folders, monkeypatch):
    """All in one process: the first imports it, the others start its converters."""
    data_files.write_csv(own_folders, data_files.csv_lines(data_files.fer_table(42)))
    commands = ["evaluate fer-small --data fer2013.csv"]
    commands += [f"export mini-xception --format {name}" for name in ("litert", "savedmodel", "onnx")]
    script = f"import sys; from fer_keras.__main__ import main\nfor line in {commands}:\n    "
    script += "status = main(line.split())\n    print(status, '=====', flush=True)\n    print('=====', file=sys.stderr)"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    done = subprocess.run([sys.executable, "-c", script], cwd=own_folders, capture_output=True, text=True, check=True)
    assert done.stdout.count("0 =====\n") == len(commands), done.stderr
    for noise in ("oneDNN", "cuda", "CUDA", "XNNPACK", "absl", "rebuild TensorFlow", "INFO", "0000 00:00"):
        assert noise not in done.stdout + done.stderr
    assert done.stderr.split("=====\n")[1] == "", "LiteRT's converter"


def test_a_line_a_face(photos, run):
    Image.new("L", (50, 50)).save(photos / "\x1b[31mred\n.png")
    for picture, options, line in (
        ("astronaut.png", "", "astronaut.png: face 1 happy 0.9"),
        ("astronaut.png", "--min-confidence 1", "astronaut.png: face 1 uncertain happy? 0.9"),
        ("astronaut.png", "--min-confidence 0 --mirrored", "astronaut.png: face 1 happy 0.9"),
        ("\x1b[31mred\n.png", "", "?[31mred?.png: no face\n"),  # a name cannot steer the terminal
    ):
        status, printed, error = run(f"recognize {HAAR} {options}", picture)
        assert (status, printed.count("\n"), error, line in printed) == (0, 1, "", True)


def test_what_cannot_be_read_is_an_error_and_the_rest_goes_on(photos, run):
    bad = ["photos/words.png", "nothing.jpg", "nothing.zip", "photos/nothing", "long" * 64]
    status, printed, error = run(f"recognize {HAAR} astronaut.png", *bad)
    assert (status, printed[:27]) == (2, "astronaut.png: face 1 happy")
    assert {line.split(": Expected")[0] for line in error.splitlines()} == {f"error: {path}" for path in bad}
    status, printed, error = run(f"recognize photos {HAAR}")
    assert status == 0, "one of a folder that was not named"
    assert re.match(r"photos/blank.jpg: no face\nphotos/more/astronaut.png: face 1 happy.*\n$", printed)
    assert error.startswith("error: photos/words.png: Expected a whole picture")
    blank, astronaut, words = map(json.loads, run(f"recognize photos --json {HAAR}")[1].splitlines())
    assert blank == {"picture": "photos/blank.jpg", "faces": [], "error": None}
    assert [face["emotion"] for face in astronaut["faces"]] == ["happy"]
    assert (words["faces"], "Expected a whole picture" in words["error"]) == (None, True)


def test_a_table_and_copies_are_written_and_no_picture_is_written_over(photos, run):
    def contents():
        return {path.relative_to(photos).as_posix(): path.read_bytes() for path in photos.rglob("*") if path.is_file()}

    (photos / "link").symlink_to(photos / "photos")
    for name in ("astronaut.GIF", "photos/Astronaut.png", "other/blank.jpg"):
        (photos / name).parent.mkdir(exist_ok=True)
        Image.new("L", (50, 50)).save(photos / name)
    before = contents()
    outs = ("astronaut.png --out .", "photos --out photos", "link/blank.jpg --out photos", "photos --out other")
    for options in (*outs, "astronaut.png --csv astronaut.png"):
        status, _, error = run(f"recognize {options} {HAAR}")
        assert (status, "which would be lost" in error, contents()) == (2, True, before)
    pictures = "astronaut.png photos astronaut.GIF astronaut.png"
    for _ in "once", "again":  # when the copies do not count, and are written over
        assert run(f"recognize {pictures} --csv out/faces.csv --out photos/copies {HAAR}")[0] == 0
    table = pd.read_csv("out/faces.csv", keep_default_na=False, index_col="picture")
    nobody, happy, bad = ("no face", ""), ("ok", "happy"), ("error", "")
    assert dict(zip(table.index, zip(table.status, table.emotion, strict=True), strict=True)) == {
        "astronaut.png": happy, "photos/Astronaut.png": nobody, "photos/blank.jpg": nobody,
        "photos/more/astronaut.png": happy, "photos/words.png": bad, "astronaut.GIF": nobody,
    }  # fmt: skip
    after = contents()
    assert {name: after.pop(name) for name in before} == before
    names = ("Astronaut-2.png", "astronaut.GIF.png", "astronaut.png", "blank.jpg", "more/astronaut.png")
    assert sorted(after) == ["out/faces.csv", *(f"photos/copies/{name}" for name in names)]
    original, copy = (np.asarray(Image.open(name)) for name in ("astronaut.png", "photos/copies/astronaut.png"))
    assert 0.002 < (copy != original).any(axis=-1).mean() < 0.1


def test_copies_of_every_format_are_known_again_and_other_pictures_are_not_written_over(photos, run):
    for suffix in FORMATS:
        Image.new("L", (60, 60)).save(photos / f"photos/a{suffix}")
    for _ in "once", "again":
        assert run(f"recognize photos --out copies {HAAR}")[0] == 0
    for suffix in FORMATS:
        content = (photos / f"copies/a{suffix}").read_bytes()
        Image.new("L", (50, 50)).save(other := photos / f"copies/a{suffix}")
        before = other.read_bytes()
        status, printed, error = run(f"recognize photos --out copies {HAAR}")
        assert (status, printed, other.read_bytes() == before) == (2, "", True)
        assert f"copies/a{suffix}: Expected another --out or --csv: here is a picture" in error
        other.write_bytes(content)


def test_stopped_it_keeps_the_table_of_what_was_done(photos, run, monkeypatch):
    seen = [Recognizer("mini-xception", detector=None).see(np.zeros((60, 60), np.uint8))] * 2
    monkeypatch.setattr(Recognizer, "see", Mock(side_effect=[*seen, KeyboardInterrupt]))
    monkeypatch.setattr("fer_keras.recognition.folders.MOST_PICTURES", 1)
    pictures = ["astronaut.png", "photos/blank.jpg", "photos/more/astronaut.png"]
    (photos / "faces.csv").write_text("earlier")
    status, _, error = run(f"recognize --csv faces.csv {HAAR}", *pictures)
    words = "stopped; faces.partial.csv holds what was written\n"
    assert (status, error, (photos / "faces.csv").read_text()) == (130, words, "earlier")
    assert pd.read_csv("faces.partial.csv").picture.to_list() == pictures[:2]


def test_recognize_starts_without_keras_and_prints_on_any_console_or_none(photos):
    os.replace("astronaut.png", "ö Привет 日本.png")
    words = ["recognize", "ö Привет 日本.png", "日.png", "--csv", "t.csv", *HAAR.split()]
    console = {"capture_output": True, "encoding": "cp1252", "env": {**os.environ, "PYTHONIOENCODING": "cp1252"}}
    command = [sys.executable, "-X", "importtime", "-m", "fer_keras", *words]
    done = subprocess.run(command, check=False, **console)
    assert done.returncode == 2, "the second is not there"
    assert done.stdout.startswith("ö ?????? ??.png: face 1 happy")
    assert "error: \\u65e5.png: Expected the path of a picture" in done.stderr
    assert pd.read_csv("t.csv").picture.to_list() == words[1:3]
    assert not {"keras", "tensorflow", "pandas"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    os.remove("t.csv")
    script = "import sys; sys.stdout = sys.stderr = None; from fer_keras.__main__ import main; sys.exit(main())"
    assert subprocess.run([sys.executable, "-c", script, *words], check=False).returncode == 2
    assert pd.read_csv("t.csv").picture.to_list() == words[1:3]
