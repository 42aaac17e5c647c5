"""Where faces are: on the real photo of scikit-image, upright and turned, and what detectors do with odd pictures."""

import hashlib
import http.client
import importlib.util
import io
import json
import os
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from fer_keras import paths
from fer_keras.__main__ import main
from fer_keras.data import DataError
from fer_keras.recognition import detectors
from fer_keras.recognition.detectors import Detection, Framing, crop, find_detector, shared, to_square
from fer_keras.recognition.recognizer import Recognizer
from fer_keras.results import read_table

ASTRONAUT = skimage.data.astronaut()
HER_FACE = (173, 60, 100, 110)  # from the eye: brow to chin, ear to ear
FOLDERS = [Path(os.environ[name]) for name in ("FER_KERAS_DATA", "FER_KERAS_YUNET") if os.environ.get(name)]
FILES = [path / name if path.is_dir() else path for path in FOLDERS for name in detectors.YUNET_FILES]
YUNET = next((f"yunet:{file}" for file in FILES if file.is_file() and file.suffix == ".onnx"), None)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The cache, in which there is no file of YuNet, and no line printed so far."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_KERAS_YUNET", raising=False)
    detectors.say_once.cache_clear()
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["haar", "mtcnn", YUNET])
def test_the_astronauts_face_is_found_and_happy_at_any_size_and_nothing_else(name):
    if name is None or (name == "mtcnn" and not importlib.util.find_spec(name)):
        pytest.skip("needs its package, or YuNet's file in FER_KERAS_DATA or as FER_KERAS_YUNET")
    recognizer = Recognizer("mini-xception", detector=name)
    large = np.asarray(Image.fromarray(ASTRONAUT).resize((3072, 2560)))
    for picture, factors in ((ASTRONAUT, (1, 1, 1, 1)), (large, (6, 5, 6, 5))):
        (found,) = recognizer.detect(picture)
        assert shared(found.box, np.multiply(HER_FACE, factors)) > 0.85
        assert (found.score > 0.9, abs(found.angle) < 8) == (True, True)
        assert [type(value) for value in (*found.box, found.score, found.angle)] == 4 * [int] + 2 * [float]
        assert recognizer.recognize(picture)[0].emotion == "happy"
    for size in ((1, 1), (1, 700), (2, 3), (19, 19), (48, 48), (64, 2000)):
        assert recognizer.detect(np.full((*size, 3), 200, np.uint8)) == []
    for clockwise in (-30, 30) if "yunet" in name else ():
        turned = Image.fromarray(ASTRONAUT).rotate(-clockwise, center=(223, 115))
        (found,) = recognizer.detect(np.asarray(turned))
        assert found.angle == pytest.approx(clockwise, abs=17), "its eyes lie nearer to upright"


@pytest.mark.parametrize("name", ["haar", YUNET])
def test_every_face_in_a_long_and_narrow_picture_is_found_once_and_happy(name):
    if name is None:
        pytest.skip("needs YuNet's file in FER_KERAS_DATA or as FER_KERAS_YUNET")
    wide = np.concatenate([ASTRONAUT] * 9, axis=1)
    Image.fromarray(wide).save(stream := io.BytesIO(), "JPEG", quality=95)
    for axis, source, share in ((0, stream.getvalue(), None), (1, np.concatenate([ASTRONAUT] * 9), 0.018)):
        recognizer = Recognizer("mini-xception", detector=name, min_size=share)
        faces = sorted(recognizer.recognize(source), key=lambda face: face.box[axis])
        assert [face.emotion for face in faces] == ["happy"] * 9
        for number, face in enumerate(faces):
            expected = (*(value + 512 * number * (axis == place) for place, value in enumerate(HER_FACE[:2])), 100, 110)
            assert shared(face.box, expected) > 0.85
    assert Recognizer("mini-xception", detector=name, min_size=0.05).recognize(wide) == [], "smaller than 230 pixels"


def test_a_huge_picture_is_searched_at_a_bounded_size_and_of_one_face_the_best_box_stays():
    for share, size, expected in ((None, (2560, 3072, 3), (1024, (51, 51))), (0.5, (256, 512, 3), (512, (256, 256)))):
        haar = find_detector("haar", min_size=share)
        haar.cascade = Mock(**{"detectMultiScale3.return_value": ((), (), ())})
        assert haar.detect(np.zeros(size, np.uint8)) == []
        (grey, *_), options = haar.cascade.detectMultiScale3.call_args
        assert (max(grey.shape), options["minSize"]) == expected
    picture = np.zeros((100, 80, 3), np.uint8)
    found = [(-5, -5, 40, 40), (0, 0, 38, 38), (10, 10, 8, 8), (60.4, 70, 30, 60), (90, 10, 5, 5), (44, 4, 30, 30)]
    scores = [0.5, 0.9, 0.8, 1.2, 0.99, np.float64(0.4)]
    kept = detectors.non_max_suppression(zip(found, scores, strict=True), picture)
    assert [each[:2] for each in kept] == [((60, 70, 20, 30), 1.0), ((0, 0, 38, 38), 0.9), ((44, 4, 30, 30), 0.4)]
    assert detectors.non_max_suppression([((10, 20, 30, 40), 0.5, 9)], picture, 0.5) == [((20, 40, 60, 60), 0.5, 9.0)]
    assert detectors.overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)


def test_what_is_missing_or_unknown_is_said(monkeypatch, tmp_path):
    for name in ("", "yolo", 3, object()):
        with pytest.raises(ValueError, match="must be 'auto', 'haar', 'mtcnn', 'yunet', 'yunet:PATH'"):
            find_detector(name)
    for share in (0, -1, 1.1, float("nan"), "0.5"):
        with pytest.raises(ValueError, match="must be a share"):
            find_detector("haar", min_size=share)
    for framing in ((1.2, 0.0), 1.2, (), Framing(float("nan")), Framing(0), Framing(1e4), Framing(1, 50)):
        with pytest.raises(ValueError, match=r"`framing` must be a `Framing` .* Received: "):
            find_detector(SimpleNamespace(detect=Mock(), framing=framing))
    for name in ("yunet", f"yunet:{tmp_path / 'no.onnx'}"):
        with pytest.raises(ValueError, match=r"\.onnx: Expected YuNet's \.onnx file.*no such file.*fetch yunet"):
            find_detector(name)
    if sys.platform == "linux":  # such a name would end the process in OpenCV
        (odd := tmp_path / os.fsdecode(b"y\xff.onnx")).write_bytes(b"")
        with pytest.raises(ValueError, match=r"y\\udcff\.onnx': Expected a name in UTF-8"):
            find_detector(f"yunet:{odd}")
    with pytest.raises(ValueError, match=r"mini-xception\.onnx: Expected YuNet's"):
        find_detector(f"yunet:{paths.PACKAGE / 'weights' / 'mini-xception.onnx'}")
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(ImportError, match=r"haarcascade_frontalface_alt2\.xml"):
        find_detector("haar")
    monkeypatch.delattr(cv2, "CascadeClassifier")  # as in OpenCV 5
    for name in ("haar", "auto"):
        with pytest.raises(ImportError, match=r"fetch yunet.*'opencv-python-headless<5'.*'mtcnn'.*or None"):
            find_detector(name)
    assert find_detector(None).detect(ASTRONAUT) == [Detection((0, 0, 512, 512), 1.0)]
    for name in ("cv2", "mtcnn"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("haar", "yunet", "mtcnn"):
        with pytest.raises(ImportError, match=r'needs OpenCV|pip install "fer_keras\[(recognition|mtcnn)\]"'):
            find_detector(name)


def test_auto_is_yunet_if_its_file_is_at_hand_and_says_once_which_it_is(monkeypatch, cache, capsys):
    assert [detectors.choose_detector(), detectors.choose_detector()] == ["haar", "haar"]
    (line,) = capsys.readouterr().err.splitlines()
    assert ("Haar" in line, "python -m fer_keras fetch yunet" in line) == (True, True)
    cache.mkdir()
    for name in reversed(detectors.YUNET_FILES):  # the best last
        (cache / name).write_bytes(b"")
        assert detectors.choose_detector() == f"yunet:{cache / name}"
        with pytest.raises(ValueError, match=f"{name}: Expected YuNet's .onnx file. Received: another file than"):
            find_detector("auto")
    monkeypatch.setenv("FER_KERAS_YUNET", str(cache / "own.onnx"))
    with pytest.raises(ValueError, match=r"FER_KERAS_YUNET=.*own\.onnx: Expected .* Received: no such file"):
        detectors.choose_detector()
    (cache / "own.onnx").write_bytes(b"")
    assert detectors.choose_detector() == f"yunet:{cache / 'own.onnx'}"
    assert "YuNet" in capsys.readouterr().err.splitlines()[-1]
    for name in ("FER_KERAS_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("no home folder")))
    assert detectors.choose_detector() == f"yunet:{cache / 'own.onnx'}"
    (cache / "own.onnx").unlink()
    with pytest.raises(ValueError, match="FER_KERAS_YUNET="):
        detectors.choose_detector()
    monkeypatch.delenv("FER_KERAS_YUNET")
    assert detectors.choose_detector() == "haar"


def test_yunets_file_is_fetched_whole_or_not_at_all(monkeypatch, cache, tmp_path, capsys):
    content, copy = b"a network", tmp_path / "copy"
    answer = Mock(side_effect=lambda *_, **__: io.BytesIO(content))
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert main(["fetch", "yunet"]) == 2
    assert "Expected YuNet's file, whose SHA-256 is ebafce4e" in capsys.readouterr().err
    assert answer.call_args.args[0].startswith("https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_y")
    assert not cache.exists()
    monkeypatch.setitem(detectors.YUNET_FILES, "known.onnx", hashlib.sha256(content).hexdigest())
    assert main(["fetch", "yunet"]) == 0
    assert capsys.readouterr().out.strip() == str(detectors.yunet_file()) == str(cache / "known.onnx")
    detectors.yunet_file().rename(copy)
    for error in (OSError("no network"), http.client.IncompleteRead(b"a net")):
        answer.side_effect = error
        with pytest.raises(ValueError, match="add --from PATH"):
            detectors.fetch_yunet()
    assert main(["fetch", "yunet", "--from", str(copy)]) == 0
    assert detectors.yunet_file().read_bytes() == content
    assert main(["fetch", "yolo"]) == main(["fetch", "yunet", "--from", str(tmp_path / "none")]) == 2


def test_yunet_is_run_on_bgr_and_looks_again_at_small_faces(tmp_path, monkeypatch):
    yunet, sure = Mock(), 0.7

    def detect(bgr):
        """What is red, or as light as red, is a face; it is sure of large ones only."""
        assert bgr.shape[1::-1] == yunet.setInputSize.call_args.args[0]
        rows, columns = np.nonzero(bgr[..., 2] > 70)
        if not len(rows):
            return 0, None
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        return 1, np.float32([[*box, *range(10), sure if max(box[2:]) > 50 else 0.3]])

    yunet.detect = detect
    monkeypatch.setattr(cv2, "FaceDetectorYN", Mock(**{"create.return_value": yunet}))
    (tmp_path / "yunet.onnx").write_bytes(b"")
    detector = find_detector(f"yunet:{tmp_path / 'yunet.onnx'}", min_size=0.12)
    picture = np.zeros((600, 800, 3), np.uint8)  # searched at a half: the smallest face sought has 96 pixels
    picture[320:384, 480:544] = (255, 0, 0)
    (found,) = detector.detect(picture)
    assert found == ((480, 320, 64, 64), pytest.approx(0.7), 45.0), "score and angle are those of the second look"
    assert detector.detect(picture[..., ::-1]) == []
    sure = 0.4
    assert detector.detect(picture) == [], "both looks were unsure"


def test_a_square_is_framed_around_a_box_and_cut_out_in_grey_averaged_when_shrunk_and_beyond_the_edge():
    larger = Framing(scale=2.0, down=0.5)
    assert to_square(Detection((10, 20, 20, 40), 1.0), Framing()).box == (5, 25, 30, 30)
    for angle, box in ((0, (-5, 20, 60, 60)), (90, (-20, 5, 60, 60))):
        assert to_square(Detection((10, 20, 30, 30), 1.0, angle), larger) == (box, 1.0, angle)
    colour = np.zeros((20, 20, 3), np.uint8) + np.uint8([200, 100, 50])
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert np.unique(crop(colour, Detection((3, 4, 10, 12), 1.0), (8, 6))).tolist() == [luma]
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(crop(stripes, Detection((0, 0, 48, 48), 1.0), (6, 6))[1:-1, 1:-1], 127.5, atol=6)
    rows, columns = np.mgrid[0:30, 0:40]
    picture = np.repeat((rows * 5 + columns)[..., None], 3, axis=-1).astype(np.uint8)
    wide = np.pad(picture[..., 0], 20, mode="edge")
    for left, top, width, height in ((0, 0, 40, 30), (-20, -20, 80, 70), (-7, 3, 20, 20), (30, 25, 17, 9)):
        expected = wide[top + 20 : top + 20 + height, left + 20 : left + 20 + width]
        found = crop(picture, Detection((left, top, width, height), 1.0), (height, width))
        np.testing.assert_array_equal(found[..., 0], expected)
    with pytest.raises(DataError, match="Expected a box on a picture of 40x30"):
        crop(picture, Detection((40, 0, 5, 5), 1.0), (48, 48))


@pytest.mark.parametrize("angle", [20, -75])
def test_a_turned_face_is_cut_upright(angle):
    turned = Image.fromarray(ASTRONAUT).rotate(-angle, Image.Resampling.BICUBIC, center=(223, 115))
    upright, found = (
        crop(np.asarray(picture), Detection((173, 65, 100, 100), 1.0, degrees), (48, 48)).astype(float)
        for picture, degrees in ((ASTRONAUT, 0), (turned, angle))
    )
    assert np.abs(upright - found).mean() < 4


def test_the_benchmark_finds_the_framing_and_records(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    detection = pytest.importorskip("detection")
    generator, truth = np.random.default_rng(0), Framing(scale=1.2, down=-0.06)
    boxes = np.hstack([generator.integers(0, 300, (200, 2)), generator.integers(60, 200, (200, 2))]).tolist()
    hits = [detection.Match(None, each, to_square(each, truth).box, 0) for each in (Detection(box, 1) for box in boxes)]
    assert detection.best_framing(hits) == pytest.approx(truth, abs=0.011)
    monkeypatch.setattr(sys, "argv", ["detection.py", "--quick", "--json", str(tmp_path / "detection.json")])
    detection.main()
    record = json.loads((tmp_path / "detection.json").read_text())
    assert "detectors: haar as usual\n" in capsys.readouterr().out
    values, turned = record["detectors"]["haar"], record["turned"]
    assert 0.8 < values["recall"] <= 1, "synthetic faces are easy"
    assert 0.7 < values["overlap"] <= 1
    assert shared(record["photos"]["haar"]["astronaut"][0], HER_FACE) > 0.9
    assert turned["haar, 0 degrees"]["recall"] > 0.9 > 0.3 > turned["haar, 30 degrees"]["recall"]
    assert turned["true place, 30 degrees"]["recall"] == 1


def test_the_constants_of_the_package_are_those_that_were_measured():
    measured = read_table("detection", folder=Path(__file__).parents[1] / "reports" / "results")["detectors"]
    slope_and_middle = [detectors.Haar.slope, detectors.Haar.middle]
    assert measured["haar"]["score slope and middle"] == pytest.approx(slope_and_middle, rel=0.05)
    kinds = {"haar": detectors.Haar, "mtcnn": detectors.Mtcnn, "yunet": detectors.Yunet}
    for name in kinds.keys() & measured.keys():
        framing = kinds[name].framing
        assert measured[name]["framing"] == list(framing)
        losses = pd.DataFrame([network["log loss by scale"] for network in measured[name]["networks"].values()])
        assert float(losses.mean().idxmin()) <= framing.scale <= measured[name]["best framing"][0]
