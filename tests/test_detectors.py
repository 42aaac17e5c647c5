"""Where faces are: on the real photo of scikit-image, upright and turned, and what detectors do with odd pictures."""

import hashlib
import http.client
import io
import json
import os
import pickle
import sys
import urllib.request
from pathlib import Path

import cv2
import numpy as np
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

HER_FACE = (173, 60, 100, 110)  # from the eye: brow to chin, ear to ear
SIZES = [(1, 1), (1, 700), (2, 3), (19, 19), (48, 48), (64, 2000)]
FOLDERS = [Path(os.environ[name]) for name in ("FER_KERAS_DATA", "FER_KERAS_YUNET") if os.environ.get(name)]
FILES = [path / name if path.is_dir() else path for path in FOLDERS for name in detectors.YUNET_FILES]
YUNET = next((f"yunet:{file}" for file in FILES if file.is_file() and file.suffix == ".onnx"), None)
with_yunet = pytest.mark.skipif(YUNET is None, reason="needs YuNet's file, in FER_KERAS_DATA or as FER_KERAS_YUNET")
ALL = ["haar", "mtcnn", pytest.param(YUNET, id="yunet", marks=with_yunet)]


@pytest.fixture(scope="module")
def astronaut():
    return np.asarray(skimage.data.astronaut())


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch, tmp_path):
    """No file of YuNet, and nothing said so far."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_KERAS_YUNET", raising=False)
    detectors.say_once.cache_clear()


@pytest.mark.parametrize("name", ALL)
def test_the_astronauts_face_is_found_and_happy_at_any_size_and_nothing_else(name, astronaut):
    if name == "mtcnn":
        pytest.importorskip("mtcnn")
    recognizer = Recognizer("mini-xception", detector=name)
    large = np.asarray(Image.fromarray(astronaut).resize((3072, 2560)))
    for picture, factors in ((astronaut, (1, 1, 1, 1)), (large, (6, 5, 6, 5))):
        (found,) = recognizer.detect(picture)
        assert shared(found.box, np.multiply(HER_FACE, factors)) > 0.85
        assert found.score > 0.9
        assert abs(found.angle) < 8
        assert [type(value) for value in (*found.box, found.score, found.angle)] == 4 * [int] + 2 * [float]
        assert recognizer.recognize(picture)[0].emotion == "happy"
    for size in SIZES:
        assert recognizer.detect(np.full((*size, 3), 200, np.uint8)) == []


@with_yunet
def test_yunet_finds_the_angle_of_a_turned_face(astronaut):
    detector = find_detector(YUNET)
    for clockwise in (-30, 30):
        turned = np.asarray(Image.fromarray(astronaut).rotate(-clockwise, center=(223, 115)))
        (found,) = detector.detect(turned)
        assert found.angle == pytest.approx(clockwise, abs=17)  # its eyes lie nearer to upright
    assert pickle.loads(pickle.dumps(detector)).detect(turned) == [found]


def test_a_huge_picture_is_searched_at_a_bounded_size_for_faces_of_a_share():
    searched, haar = [], find_detector("haar")

    class Spy:
        def detectMultiScale3(self, grey, *arguments, **options):
            searched.append((max(grey.shape), options["minSize"]))
            return (), (), ()

    haar.cascade = Spy()
    assert haar.detect(np.zeros((2560, 3072, 3), np.uint8)) == []
    haar.min_size = 0.5
    assert haar.detect(np.zeros((256, 512, 3), np.uint8)) == []
    assert searched == [(detectors.LONGEST_SIDE, (51, 51)), (512, (256, 256))], "by default a twentieth"


def test_boxes_are_cut_to_the_picture_and_of_one_face_the_best_stays():
    picture = np.zeros((100, 80, 3), np.uint8)
    found = [(-5, -5, 40, 40), (0, 0, 38, 38), (10, 10, 8, 8), (60.4, 70, 30, 60), (90, 10, 5, 5), (44, 4, 30, 30)]
    scores = [0.5, 0.9, 0.8, 1.2, 0.99, np.float64(0.4)]
    kept = detectors.non_max_suppression(zip(found, scores, strict=True), picture)
    assert [each[:2] for each in kept] == [((60, 70, 20, 30), 1.0), ((0, 0, 38, 38), 0.9), ((44, 4, 30, 30), 0.4)]
    assert detectors.non_max_suppression([((10, 20, 30, 40), 0.5, 9)], picture, 0.5) == [((20, 40, 60, 60), 0.5, 9.0)]
    assert detectors.overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)


def test_what_is_missing_is_said(monkeypatch, tmp_path, astronaut):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(ImportError, match=r"haarcascade_frontalface_alt2\.xml"):
        find_detector("haar")
    monkeypatch.delattr(cv2, "CascadeClassifier")  # as in OpenCV 5
    for name in ("haar", "auto"):
        with pytest.raises(ImportError, match=r"fetch yunet.*'opencv-python-headless<5'.*'mtcnn'.*or None"):
            find_detector(name)
    assert find_detector(None).detect(astronaut) == [Detection((0, 0, 512, 512), 1.0)]
    for name in ("cv2", "mtcnn"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("haar", "yunet", "mtcnn"):
        with pytest.raises(ImportError, match=r"needs (OpenCV|its package: pip install fer_keras\[mtcnn\])"):
            find_detector(name)


def test_an_unknown_detector_or_a_share_out_of_range():
    for name in ("", "yolo", 3, object()):
        with pytest.raises(ValueError, match="must be 'auto', 'haar', 'mtcnn', 'yunet', 'yunet:PATH'"):
            find_detector(name)
    for share in (0, -1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="must be a share"):
            find_detector("haar", min_size=share)


def test_auto_is_yunet_if_its_file_is_at_hand_and_says_once_which_it_is(monkeypatch, tmp_path, capsys):
    assert [detectors.choose_detector(), detectors.choose_detector()] == ["haar", "haar"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "Haar" in line
    assert line.endswith("python -m fer_keras fetch yunet")
    (tmp_path / "cache").mkdir()
    for name in reversed(detectors.YUNET_FILES):  # the best last
        (tmp_path / "cache" / name).write_bytes(b"")
        assert detectors.choose_detector() == f"yunet:{tmp_path / 'cache' / name}"
    monkeypatch.setenv("FER_KERAS_YUNET", str(tmp_path / "own.onnx"))
    assert detectors.choose_detector() == "haar", "it points to no file"
    (tmp_path / "own.onnx").write_bytes(b"")
    assert detectors.choose_detector() == f"yunet:{tmp_path / 'own.onnx'}"
    assert "YuNet" in capsys.readouterr().err.splitlines()[-1]


def test_yunets_file_is_fetched_whole_or_not_at_all(monkeypatch, tmp_path, capsys):
    content, asked = b"a network", []

    def answer(address, timeout):
        asked.append(address)
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert main(["fetch", "yunet"]) == 2
    assert "Expected YuNet's file, whose SHA-256 is ebafce4e" in capsys.readouterr().err
    monkeypatch.setitem(detectors.YUNET_FILES, "known.onnx", hashlib.sha256(content).hexdigest())
    assert not (tmp_path / "cache").exists()
    assert main(["fetch", "yunet"]) == 0
    assert capsys.readouterr().out.strip() == str(detectors.yunet_file()) == str(tmp_path / "cache" / "known.onnx")
    assert detectors.yunet_file().read_bytes() == content
    assert set(asked) == {
        "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2026may.onnx"
    }
    for error in (OSError("no network"), http.client.IncompleteRead(b"a net")):
        monkeypatch.setattr(urllib.request, "urlopen", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        with pytest.raises(ValueError, match="add --from PATH"):
            detectors.fetch_yunet()
    detectors.yunet_file().rename(tmp_path / "copy")
    assert main(["fetch", "yunet", "--from", str(tmp_path / "copy")]) == 0
    assert detectors.yunet_file().read_bytes() == content
    assert main(["fetch", "yolo"]) == main(["fetch", "yunet", "--from", str(tmp_path / "none")]) == 2


class FindsRed:
    """A stand-in for OpenCV's YuNet: what is red, or as light as red, is a face; it is sure of large ones only."""

    create = classmethod(lambda cls, *_, **__: cls())
    sure = 0.7

    def setInputSize(self, size):
        self.size = size

    def detect(self, bgr):
        assert bgr.shape[1::-1] == self.size
        rows, columns = np.nonzero(bgr[..., 2] > 70)
        if not len(rows):
            return 0, None
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        return 1, np.float32([[*box, *range(10), self.sure if max(box[2:]) > 50 else 0.3]])


def test_yunet_is_run_on_bgr_and_looks_again_at_small_faces(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "FaceDetectorYN", FindsRed)
    (tmp_path / "yunet.onnx").write_bytes(b"")
    detector = find_detector(f"yunet:{tmp_path / 'yunet.onnx'}", min_size=0.12)
    picture = np.zeros((600, 800, 3), np.uint8)  # searched at a half: the smallest face sought has 96 pixels
    picture[320:384, 480:544] = (255, 0, 0)
    (found,) = detector.detect(picture)
    assert found == ((480, 320, 64, 64), pytest.approx(0.7), 45.0), "score and angle are those of the second look"
    assert detector.detect(picture[..., ::-1]) == []
    monkeypatch.setattr(FindsRed, "sure", 0.4)
    assert detector.detect(picture) == [], "both looks were unsure"


def test_yunets_file_is_missing_or_another(tmp_path):
    for name in ("yunet", f"yunet:{tmp_path / 'no.onnx'}"):
        with pytest.raises(ValueError, match=r"\.onnx: Expected YuNet's \.onnx file.*no file there.*fetch yunet"):
            find_detector(name)
    with pytest.raises(ValueError, match=r"mini-xception\.onnx: Expected YuNet's"):
        find_detector(f"yunet:{paths.PACKAGE / 'weights' / 'mini-xception.onnx'}")


def test_a_square_is_framed_around_the_middle_of_a_box_and_turned_with_it():
    for box, framing, angle, expected in (
        ((10, 20, 20, 40), Framing(), 0, (5, 25, 30, 30)),
        ((10, 20, 30, 30), Framing(scale=2.0, down=0.5), 0, (-5, 20, 60, 60)),
        ((10, 20, 30, 30), Framing(scale=2.0, down=0.5), 90, (-20, 5, 60, 60)),
    ):
        assert to_square(Detection(box, 1.0, angle), framing) == (expected, 1.0, angle)


def test_a_crop_is_grey_averaged_when_shrunk_and_goes_on_beyond_the_edge():
    face = np.random.default_rng(0).integers(0, 256, (48, 48, 1), np.uint8)
    whole = Detection((0, 0, 48, 48), 1.0)
    np.testing.assert_array_equal(crop(face.repeat(3, axis=-1), whole, (48, 48)), face)
    colour = np.zeros((20, 20, 3), np.uint8) + np.uint8([200, 100, 50])
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert np.unique(crop(colour, Detection((3, 4, 10, 12), 1.0), (8, 6))).tolist() == [luma]
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(crop(stripes, whole, (6, 6))[1:-1, 1:-1], 127.5, atol=6)
    rows, columns = np.mgrid[0:30, 0:40]
    picture = np.repeat((rows * 5 + columns)[..., None], 3, axis=-1).astype(np.uint8)
    wide = np.pad(picture[..., 0], 20, mode="edge")
    for left, top, width, height in ((-20, -20, 80, 70), (-7, 3, 20, 20), (30, 25, 17, 9), (5, -6, 10, 50)):
        expected = wide[top + 20 : top + 20 + height, left + 20 : left + 20 + width]
        found = crop(picture, Detection((left, top, width, height), 1.0), (height, width))
        np.testing.assert_array_equal(found[..., 0], expected)
    with pytest.raises(DataError, match="Expected a box on a picture of 40x30"):
        crop(picture, Detection((40, 0, 5, 5), 1.0), (48, 48))


@pytest.mark.parametrize("angle", [20, -75])
def test_a_turned_face_is_cut_upright(astronaut, angle):
    turned = Image.fromarray(astronaut).rotate(-angle, Image.Resampling.BICUBIC, center=(223, 115))
    upright, found = (
        crop(np.asarray(picture), Detection((173, 65, 100, 100), 1.0, degrees), (48, 48)).astype(float)
        for picture, degrees in ((astronaut, 0), (turned, angle))
    )
    assert np.abs(upright - found).mean() < 4


def test_the_benchmark_finds_the_framing_gives_each_face_to_one_detection_and_records(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    detection = pytest.importorskip("detection")
    generator, truth = np.random.default_rng(0), Framing(scale=1.2, down=-0.06)
    found = [(*generator.integers(0, 300, 2).tolist(), *generator.integers(60, 200, 2).tolist()) for _ in range(200)]
    found = [Detection(box, 0.5) for box in found]
    hits = [detection.Match(None, each, to_square(each, truth).box, 0) for each in found]
    assert detection.best_framing(hits) == pytest.approx(truth, abs=0.011)
    assert detection.overlap(hits, truth) == 1
    scene = detection.Scene(None, [(0, 0, 50, 50), (100, 0, 60, 60)], [7, 9])
    found = [Detection(box, 1.0) for box in ((2, 1, 50, 50), (0, 0, 48, 50), (95, 5, 60, 60), (300, 0, 50, 50))]
    assert [match.row for match in detection.matched(scene, found, Framing())] == [7, None, 9, None]

    monkeypatch.setattr(sys, "argv", ["detection.py", "--quick", "--json", str(tmp_path / "detection.json")])
    detection.main()
    record = json.loads((tmp_path / "detection.json").read_text())
    assert "detectors: haar as usual\n" in capsys.readouterr().out
    values, photos, turned = record["detectors"]["haar"], record["photos"]["haar"], record["turned"]
    assert 0.8 < values["recall"] <= 1, "synthetic faces are easy"
    assert 0.7 < values["overlap"] <= 1
    assert shared(photos["astronaut"][0], HER_FACE) > 0.9
    assert turned["haar, 0 degrees"]["recall"] > 0.9 > 0.3 > turned["haar, 30 degrees"]["recall"]


def test_the_constants_of_the_package_are_those_that_were_measured():
    measured = read_table("detection", folder=Path(__file__).parents[1] / "reports" / "results")["detectors"]
    kinds = {"haar": detectors.Haar, "mtcnn": detectors.Mtcnn, "yunet": detectors.Yunet}
    slope_and_middle = [detectors.Haar.slope, detectors.Haar.middle]
    assert measured["haar"]["score slope and middle"] == pytest.approx(slope_and_middle, rel=0.05)
    for name, framing in ((name, kind.framing) for name, kind in kinds.items() if name in measured):
        assert measured[name]["framing"] == list(framing)
        for network in measured[name]["networks"].values():
            losses = {float(scale): loss for scale, loss in network["log loss by scale"].items()}
            assert min(losses, key=losses.get) <= framing.scale <= measured[name]["best framing"][0]
