"""From pictures to faces and their expressions: one picture, several, or a folder with whatever else lies there."""

import copy
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError
from fer_keras.labels import FER7
from fer_keras.recognition import folders, photos
from fer_keras.recognition.detectors import Detection, shared
from fer_keras.recognition.folders import COLUMNS, NO_FACE, list_faces, recognize_each
from fer_keras.recognition.recognizer import UNCERTAIN, Recognizer, recognizer

NETWORK = "mini-xception"
HAAR = {"network": NETWORK, "detector": "haar"}
WITH = ["--weights", NETWORK, "--detector", "haar"]
ASTRONAUT = skimage.data.astronaut()
HER_FACE = (173, 60, 100, 110)
QUARTERS = [(0, 0, 20, 20), (20, 0, 20, 20), (0, 20, 20, 20), (20, 20, 20, 20)]
FORMATS = "apng avif bmp gif ICO jfif jp2 jpe JPEG jpx mpo pcx qoi png ppm sgi tga tif TIFF webp"
ODD = "ümläut 'quoted', name.webp"


class Brightness:
    """A stand-in for a network: the brighter the left half of a crop, the likelier "high"; remembers its batches."""

    name, classes, size, card = "brightness", ("low", "high"), (8, 8), {}

    def __init__(self, temperature=1.0):
        self.batches, self.temperature = [], temperature

    def predict(self, images):
        self.batches.append(images)
        high = images[:, :, :4].reshape(len(images), 32).mean(axis=1) / 255
        return np.stack([1 - high, high], axis=1).astype(np.float32)


class Quarters:
    """A stand-in for a detector: the first `count` quarters of a picture, whose red is how many."""

    def detect(self, rgb):
        return [Detection(box, 1 - 0.1 * number) for number, box in enumerate(QUARTERS[: rgb[0, 0, 0]])]


def quarters(count):
    grey = np.kron(np.uint8([[0, 90], [170, 255]]), np.ones((20, 20), np.uint8))
    picture = grey[..., None].repeat(3, axis=2)
    picture[0, 0] = count
    return picture


def test_the_astronaut_is_happy_and_no_socket_is_opened(monkeypatch):
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, lambda *_, **__: pytest.fail("a socket was opened"))
    (face,) = fer_keras.recognize(ASTRONAUT, **HAAR)
    assert face.emotion == "happy"
    assert face.confidence == max(face.probabilities.values()) > 0.9
    assert tuple(face.probabilities) == FER7
    assert sum(face.probabilities.values()) == pytest.approx(1)
    assert all(type(value) is float for value in (face.confidence, face.detector_score, *face.probabilities.values()))


def test_boxes_of_a_reduced_or_turned_photo_are_those_of_the_upright_whole(monkeypatch):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    upright = np.pad(ASTRONAUT, ((0, 0), (0, 100), (0, 0)), mode="edge")
    Image.fromarray(np.rot90(upright)).resize((2048, 2448)).save(stream, "JPEG", quality=90, exif=exif)
    sizes, detect = [], Recognizer.detect
    for module in (photos, sys.modules[Recognizer.__module__]):
        monkeypatch.setattr(module, "ENOUGH_SIDE", 1000)
    monkeypatch.setattr(Recognizer, "detect", lambda self, rgb: sizes.append(rgb.shape) or detect(self, rgb))
    (face,) = fer_keras.recognize(stream.getvalue(), **HAAR)
    assert (sizes, face.emotion) == ([(1024, 1224, 3)], "happy")
    assert shared(face.box, [4 * value for value in HER_FACE]) > 0.9


def test_without_a_detector_every_picture_is_one_face_that_reaches_the_network_pixel_by_pixel():
    network, face = Brightness(), np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    (found,) = Recognizer(network, detector=None).recognize(face)
    assert (found.box, found.detector_score) == ((0, 0, 8, 8), 1.0)
    np.testing.assert_array_equal(network.batches, [[face[..., None]]])


@pytest.mark.parametrize(
    ("mirrored", "card", "share", "temperature"),
    [(False, {}, 0.8, 2.0), (True, {}, 0.6, 2.0), (True, {"temperature_mirrored": 0.5}, 0.6, 0.5)],
)
def test_probabilities_are_calibrated_and_mirrored_the_mean_over_both_views(mirrored, card, share, temperature):
    face = np.repeat(np.array([[204, 102]], np.uint8), 4, axis=1).repeat(8, axis=0)  # of 255: 0.8 and 0.4
    found = Recognizer(Brightness(2.0), detector=None, mirrored=mirrored)
    found.network.card = card
    odds = (share / (1 - share)) ** (1 / temperature)
    for faces in (*found.recognize_batch([face]), *found.recognize_batch([face, face])):
        assert faces[0].probabilities["high"] == pytest.approx(odds / (1 + odds), abs=1e-4)


def test_below_the_least_confidence_the_answer_is_uncertain_and_ones_own_detector_may_be_careless():
    for least, emotion in ((0.0, "low"), (0.6, "low"), (0.9, UNCERTAIN), (1.0, UNCERTAIN)):
        face = Recognizer(Brightness(), detector=Quarters(), min_confidence=least).recognize(quarters(2))[1]
        assert face.emotion == emotion
        assert face.confidence == face.probabilities["low"] == pytest.approx(1 - 90 / 255, abs=1e-3)
    for least in (-0.1, 1.1, float("nan"), "0.5", None):
        with pytest.raises(ValueError, match=r"`min_confidence` must be in \[0, 1\]"):
            Recognizer(Brightness(), min_confidence=least)
    boxes = [(np.array([-5.0, 2, 20, 20]), 0.2), ([30.4, 30, 100, 100], 3), ((50, 50, 9, 9), 0.7)]
    found = Recognizer(Brightness(), detector=SimpleNamespace(detect=lambda rgb: boxes)).recognize(quarters(0))
    assert [(face.box, face.detector_score) for face in found] == [((30, 30, 10, 10), 1.0), ((0, 2, 15, 20), 0.2)]


@pytest.mark.parametrize(
    "found",
    [
        None,
        5,
        np.array([[0, 0, 9, 9, 0.5]]),
        [{"box": (1, 2, 3, 4)}],
        [((0, 0, np.nan, 9), 0.5)],
        [((0, 0, 9, 9), np.nan)],
        KeyError("k"),
    ],
)
def test_a_detector_that_fails_at_a_picture_is_an_error_of_this_picture(found, tmp_path):
    detector = SimpleNamespace(detect=Mock(side_effect=[found, []]))
    for name in ("a.png", "b.png"):
        Image.fromarray(quarters(0)).save(tmp_path / name)
    table = fer_keras.recognize_folder(tmp_path, network=Brightness(), detector=detector)
    assert table.status.to_list() == ["error", NO_FACE]
    expected = "The detector SimpleNamespace: Expected `Detection`s or `(box, score)` of finite numbers. Received: "
    assert table.error[0].startswith(expected)


@pytest.mark.parametrize("rows", [[[3.0, -2.0]], [[np.nan, 0.5]], [[0.2, 0.2]], [[0.2, 0.3, 0.5]], [0.5, 0.5], None])
def test_a_network_that_gives_no_probabilities_is_refused_by_its_name(rows):
    network = Brightness()
    network.predict = lambda images: rows
    with pytest.raises(ValueError, match=r"The network brightness: Expected probabilities of shape \(1, 2\)"):
        Recognizer(network, detector=None).recognize(quarters(1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None),
        ("classes", "ab"),
        ("size", None),
        ("size", (8, 8, 3)),
        ("size", 8),
        ("temperature", None),
        ("card", 0),
    ],
)
def test_a_network_of_ones_own_that_lacks_something_is_refused_at_the_start(name, value):
    network = Brightness(np.float32(1.5))
    assert Recognizer(network, detector=None).network is network
    setattr(network, name, value)
    with pytest.raises(ValueError, match=rf"Expected a network with `name`.*dict\. Received: {name} = "):
        Recognizer(network, detector=None)


def test_one_picture_is_no_batch_and_a_share_is_a_number(tmp_path):
    one = Recognizer(Brightness(), detector=None)
    for source in ("a.jpg", tmp_path, b"", bytearray(b"a"), io.BytesIO(), Image.new("L", (8, 8)), ASTRONAUT, None):
        with pytest.raises(ValueError, match=r"Expected several pictures.*Received: .*Pass \[picture\]"):
            one.recognize_batch(source)
    stack = np.stack([quarters(0)] * 2)
    for several in (stack, stack[..., 0], iter(stack), tuple(stack), pd.Series([*stack]).to_numpy()):
        assert len(one.recognize_batch(several)) == 2
    with pytest.raises(ValueError, match=r"`min_size` must be a share in .*\[0\.1\]"):
        fer_keras.recognize(ASTRONAUT, min_size=[0.1], **HAAR)
    assert len({*fer_keras.recognize(ASTRONAUT, **HAAR), *fer_keras.recognize(ASTRONAUT, **HAAR)}) == 1


@pytest.mark.parametrize("name", [UNCERTAIN, "left", "status"])
def test_classes_that_would_hide_a_column_are_refused_before_the_work(name, tmp_path, monkeypatch):
    Image.fromarray(quarters(0)).save(tmp_path / "a.png")
    monkeypatch.setattr(Recognizer, "see", Mock(side_effect=AssertionError))
    network = Brightness()
    network.classes = ("low", name)
    for call in (fer_keras.recognize_folder, lambda path, **how: list_faces([path], csv=tmp_path / "t.csv", **how)):
        with pytest.raises(ValueError, match=f"Expected classes .*'{name}'"):
            call(tmp_path, network=network, detector=None)


def test_asked_again_the_same_parts_are_used_unless_the_file_changed(tmp_path):
    first, second = (recognizer(**HAAR, min_confidence=least) for least in (0.1, 0.9))
    assert (first.network, first.detector) == (second.network, second.detector)
    file = tmp_path / "own.onnx"
    shutil.copy(fer_keras.paths.PACKAGE / "weights" / f"{NETWORK}.onnx", file)
    assert recognizer(str(file), detector=None).network is recognizer(file, detector=None).network
    file.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"own\.onnx"):
        recognizer(file, detector=None)


def test_threads_share_one_recognizer_and_copies_agree_with_it():
    real = Recognizer(**HAAR)
    pictures = [ASTRONAUT[:300], np.zeros_like(ASTRONAUT), ASTRONAUT[:, :400]]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(real.recognize, pictures * 3)]
    for other in (pickle.loads(pickle.dumps(real)), copy.deepcopy(real)):
        assert other.detector.cascade is not real.detector.cascade
        found += map(other.recognize, pictures)
    for faces, expected in zip(found, 5 * [*map(real.recognize, pictures)], strict=True):
        for face, same in zip(faces, expected, strict=True):
            assert (face.box, face.emotion) == (same.box, same.emotion)
            assert face.probabilities == pytest.approx(same.probabilities, abs=1e-5)


@pytest.fixture
def folder(tmp_path):
    """A folder as people have it: photos, sub-folders, and much that is none."""
    folder = tmp_path / "photos"
    for place in ("holidays/2 beach", "holidays/10 home", ".hidden", "__MACOSX", "empty", "../far/__old"):
        (folder / place).mkdir(parents=True)
    for name in ("img10.png", "img2.jpg", f"holidays/2 beach/{ODD}"):
        Image.fromarray(ASTRONAUT).save(folder / name, quality=95, compress_level=1)
    (folder / "far").symlink_to("../far")
    for name in ("holidays/10 home/a.png", "../far/__old/d.png", ".hidden/b.png", "__MACOSX/c.png", "._img2.jpg"):
        Image.new("RGB", (200, 100), "grey").save(folder / name)
    broken = {"cut.png": (folder / "img10.png").read_bytes()[:2000], "phone.heic": b"\0\0\0\x18ftypheic" + bytes(90)}
    for name, content in (broken | dict.fromkeys(("words.jpg", "notes.txt"), b"I am no picture")).items():
        (folder / name).write_bytes(content)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    return folder


def test_a_folder_becomes_a_table_with_a_row_a_face(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    table = fer_keras.recognize_folder(folder, **HAAR)
    assert capsys.readouterr().err == "", "no progress bar without a terminal"
    assert list(table.columns) == [*COLUMNS, *FER7]
    assert all(isinstance(table[name].dtype, pd.Int64Dtype) for name, kind in COLUMNS.items() if kind is int)
    table = table.set_index("picture", drop=False)
    assert table.status.to_dict() == {
        "far/__old/d.png": NO_FACE, "cut.png": "error",
        f"holidays/2 beach/{ODD}": "ok", "holidays/10 home/a.png": NO_FACE,
        "img2.jpg": "ok", "img10.png": "ok", "loop.jpg": "error", "phone.heic": "error", "words.jpg": "error",
    }  # fmt: skip
    happy = table[table.status == "ok"]
    assert ((happy.face == 1) & (happy.emotion == "happy") & (happy.confidence == happy.happy)).all()
    (face,) = fer_keras.recognize(folder / "img10.png", **HAAR)
    last = table.loc["img10.png", ["left", "top", "width", "height", "confidence"]]
    assert last.to_list() == [*face.box, pytest.approx(face.confidence, rel=1e-5)]
    nobody = table.loc["holidays/10 home/a.png"].dropna()
    assert nobody.to_dict() == {"picture": "holidays/10 home/a.png", "status": NO_FACE, "face": 0}
    bad = table[table.status == "error"]
    assert bad[["face", "emotion"]].isna().all(axis=None)
    assert all(str(folder / name) in error for name, error in bad.error.items())
    assert "pip install pillow-heif" in bad.error["phone.heic"]


def test_a_bar_on_a_terminal_and_none_without_a_console(folder, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    for stream in (terminal, None):
        monkeypatch.setattr(sys, "stderr", stream)
        fer_keras.recognize_folder(folder / "holidays", network=Brightness(), detector=None)
    assert terminal.getvalue().count("2/2") == 1


def test_a_bad_place_is_an_error_before_the_work_and_on_a_full_disk_what_was_done_is_kept(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    csvs = ("notes.txt/faces.csv", "holidays", "img10.png", "faces", "t.tsv", "new.mp4", "-")
    for options in (*(f"--csv {name}" for name in csvs), "--out notes.txt", "--csv=", ""):
        assert main(["recognize", "img2.jpg", *(options.split() or [""]), *WITH]) == 2
        assert [text[:7] for text in capsys.readouterr()] == ["", "error: "]
    code = (  # no file may have more than 99,999 bytes, as if the disk were full from there on
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (99999, 99999));"
        "import fer_keras.recognition.video; from fer_keras.__main__ import main; status = main(sys.argv[1:]);"
        "print({'keras', 'tensorflow', 'torch', 'jax', 'pandas', 'matplotlib'} & set(sys.modules)); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "recognize", "img10.png", "holidays", "--out", "out", "--csv", "faces.csv"]
    environment = os.environ | dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(folder / "empty"))
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([*command, *WITH, "--bars"], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout.count("\n")) == (2, 4), "the rest goes on"
    assert done.stdout.endswith("set()\n"), "it needs none of these"
    assert [*(folder / "empty").rglob("*")] == [], "where ONNX Runtime would keep what it reports to its makers"
    assert done.stderr.startswith("error: out/img10.png: [Errno 27] File too large")
    assert sorted(path.name for path in (folder / "out").rglob("*.*")) == ["a.png", ODD]
    assert pd.read_csv(folder / "faces.csv").status.to_list() == ["ok", "ok", "no face"]
    command[2] = code.replace("99999", "99")
    done = subprocess.run([*command[:-4], "--csv", "new.csv", *WITH], capture_output=True, text=True, check=False)
    assert "error: [Errno 27] File too large: 'new.partial.csv, which holds what was written'" in done.stderr
    assert sorted(path.name for path in folder.glob("new*")) == ["new.partial.csv"]


def test_every_file_that_pillow_reads_is_read(tmp_path):
    for suffix in FORMATS.split():
        Image.new("RGB", (64, 64), "grey").save(tmp_path / f"a.{suffix}")
    table = fer_keras.recognize_folder(tmp_path, network=Brightness(), detector=None, min_confidence=0)
    assert table.status.to_list() == ["ok"] * len(FORMATS.split())


def test_a_zip_is_read_as_the_folder_that_it_holds(folder, tmp_path):
    plain, zipped = folder / "holidays", tmp_path / "holidays.ZIP"
    os.replace(shutil.make_archive(tmp_path / "holidays", "zip", plain), zipped)
    pd.testing.assert_frame_equal(*(fer_keras.recognize_folder(path, **HAAR) for path in (zipped, plain)))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4")
    for wrong in (None, b"photos", [folder]):
        with pytest.raises(ValueError, match=r"the path of a folder of pictures, or of a \.zip of one\. Received: "):
            fer_keras.recognize_folder(wrong, **HAAR)
        with pytest.raises(ValueError, match=r"the path of a folder or of a \.parquet file\. Received: "):
            fer_keras.recognize_on_ray(wrong, tmp_path / "out", **HAAR)
    refused = {"photos/empty": "none", "photos/cut.png": "a file", "no": "no such file", "cut.zip": ""}
    for name, received in refused.items():
        with pytest.raises(DataError, match=f"{name}: Expected .* Received: {received}"):
            fer_keras.recognize_folder(tmp_path / name, **HAAR)


def test_names_are_sorted_as_people_do_and_a_folder_that_cannot_be_read_is_a_warning(tmp_path, monkeypatch):
    names, scandir = ["9/a.png", "9/a1.png", "9/A2.png", "9/a10.png", "10/b.png", "x.png"], os.scandir
    for name in names[::-1]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "9" / "circle").symlink_to(tmp_path)
    (tmp_path / "8").symlink_to("9")
    options = {"network": Brightness(), "detector": None}
    assert fer_keras.recognize_folder(tmp_path, **options).picture.to_list() == names
    (tmp_path / "8").unlink()
    denied = Mock(side_effect=PermissionError(13, "Permission denied", "9"))
    monkeypatch.setattr(os, "scandir", lambda path: (denied if os.fspath(path).endswith("9") else scandir)(path))
    with pytest.warns(UserWarning, match="9: Expected a folder that can be read. Received: Permission denied"):
        assert fer_keras.recognize_folder(tmp_path, **options).picture.to_list() == names[4:]


def test_a_name_that_is_no_text(tmp_path, capsys):
    try:
        with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9 \n.png"), "wb") as file:
            Image.new("RGB", (60, 60)).save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes text only")
    assert main(["recognize", str(tmp_path), *WITH, "--csv", str(tmp_path / "faces.csv")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/caf? ?.png: no face\n"
    assert pd.read_csv(tmp_path / "faces.csv").picture[0] == f"{tmp_path}/caf\\udce9 \n.png"


def test_faces_of_many_pictures_are_batches_and_none_is_lost(monkeypatch):
    many = Recognizer(network := Brightness(), detector=Quarters(), min_confidence=0)
    one, two, four = many.recognize_batch([quarters(count) for count in (1, 0, 4)])
    assert (len(one), two, [face.box for face in four]) == (1, [], QUARTERS)
    assert [face.emotion for face in four] == ["low", "low", "high", "high"]
    assert network.batches[0].shape == (5, 8, 8, 1)
    assert (many.recognize_batch([]), many.recognize_batch([quarters(0)])) == ([], [[]])
    monkeypatch.setattr(folders, "MOST_FACES", 10)
    monkeypatch.setattr(folders, "MOST_PICTURES", 7)
    counts = [*np.random.default_rng(0).integers(0, 5, 40).tolist(), *[0] * 20, 4]
    pictures = [(f"{number}", b"bad" if number % 9 == 4 else quarters(count)) for number, count in enumerate(counts)]
    found, taken = [], []
    for each in recognize_each((taken.append(name) or (name, source) for name, source in pictures), many):
        assert len(taken) <= len(found) + 7, "memory does not grow with their number"
        found.append(each)
    assert max(map(len, network.batches)) < 10 + 4
    for (name, source), (same, faces, error) in zip(pictures, found, strict=True):
        assert (same, bool(error)) == (name, isinstance(source, bytes))
        assert faces == (None if error else many.recognize(source))
