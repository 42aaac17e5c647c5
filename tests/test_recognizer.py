"""From a picture to faces and their expressions: what is found, how sure it is, and what comes of odd pictures."""

import copy
import io
import os
import pickle
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

import fer_keras
from fer_keras.labels import FER7
from fer_keras.recognition import photos
from fer_keras.recognition.detectors import Detection, shared
from fer_keras.recognition.recognizer import UNCERTAIN, Recognizer, recognizer

NETWORK = "mini-xception"
HER_FACE = (173, 60, 100, 110)
QUARTERS = [(0, 0, 20, 20), (20, 0, 20, 20), (0, 20, 20, 20), (20, 20, 20, 20)]


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
    picture = (
        np.array([[0, 90], [170, 255]], np.uint8).repeat(20, axis=0).repeat(20, axis=1)[..., None].repeat(3, axis=2)
    )
    picture[0, 0] = count
    return picture


@pytest.fixture(scope="module")
def astronaut():
    return np.asarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def real():
    return Recognizer(NETWORK, detector="haar")


def assert_same(faces, others):
    """Check that faces are those of another batch, thread or copy, but for rounding."""
    assert [(face.box, face.emotion) for face in faces] == [(face.box, face.emotion) for face in others]
    for face, other in zip(faces, others, strict=True):
        assert face.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert face.detector_score == pytest.approx(other.detector_score, abs=1e-5)


def test_the_astronaut_is_happy_and_no_socket_is_opened(astronaut, monkeypatch):
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, lambda *_, **__: pytest.fail("a socket was opened"))
    (face,) = fer_keras.recognize(astronaut, network=NETWORK, detector="haar")
    assert face.emotion == "happy"
    assert face.confidence == max(face.probabilities.values()) > 0.9
    assert tuple(face.probabilities) == FER7
    assert sum(face.probabilities.values()) == pytest.approx(1)
    assert 0.5 < face.detector_score <= 1
    assert shared(face.box, HER_FACE) > 0.9
    assert all(type(value) is float for value in (face.confidence, face.detector_score, *face.probabilities.values()))


def test_boxes_of_a_reduced_or_turned_photo_are_those_of_the_upright_whole(astronaut, real, monkeypatch):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    upright = np.pad(astronaut, ((0, 0), (0, 100), (0, 0)), mode="edge")
    Image.fromarray(np.rot90(upright)).resize((2048, 2448)).save(stream, "JPEG", quality=90, exif=exif)
    sizes, detect = [], real.detect
    for module in (photos, sys.modules[Recognizer.__module__]):
        monkeypatch.setattr(module, "ENOUGH_SIDE", 1000)
    monkeypatch.setattr(real, "detect", lambda rgb: sizes.append(rgb.shape) or detect(rgb))
    (face,) = real.recognize(stream.getvalue())
    assert (sizes, face.emotion) == ([(1024, 1224, 3)], "happy")
    assert shared(face.box, [4 * value for value in HER_FACE]) > 0.9


def test_without_a_detector_every_picture_is_one_face_that_reaches_the_network_pixel_by_pixel():
    network, face = Brightness(), np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    whole = Recognizer(network, detector=None)
    (found,) = whole.recognize(face)
    assert (found.box, found.detector_score) == ((0, 0, 8, 8), 1.0)
    np.testing.assert_array_equal(network.batches, [[face[..., None]]])
    assert whole.recognize(np.zeros((1, 1), np.uint8))[0].box == (0, 0, 1, 1)


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
    assert [len(batch) for batch in found.network.batches] == ([2, 4] if mirrored else [1, 2])
    none = found.probabilities(quarters(0), [])
    assert (none.shape, none.dtype) == ((0, 2), np.float32)


def test_the_faces_of_several_pictures_are_one_batch():
    network, counts = Brightness(), [2, 0, 4, 1, 0]
    many = Recognizer(network, detector=Quarters(), min_confidence=0)
    found = many.recognize_batch([quarters(count) for count in counts])
    assert [len(faces) for faces in found] == counts
    assert network.batches[0].shape == (7, 8, 8, 1)
    assert [face.box for face in found[2]] == QUARTERS
    assert [face.emotion for face in found[2]] == ["low", "low", "high", "high"]
    assert found == [many.recognize(quarters(count)) for count in counts]
    assert (many.recognize_batch([]), many.recognize_batch([quarters(0)])) == ([], [[]])


def test_below_the_least_confidence_the_answer_is_uncertain_and_the_probabilities_stay():
    for least, emotion in ((0.0, "low"), (0.6, "low"), (0.9, UNCERTAIN), (1.0, UNCERTAIN)):
        face = Recognizer(Brightness(), detector=Quarters(), min_confidence=least).recognize(quarters(2))[1]
        assert face.emotion == emotion
        assert face.confidence == face.probabilities["low"] == pytest.approx(1 - 90 / 255, abs=1e-3)
    for least in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"`min_confidence` must be in \[0, 1\]"):
            Recognizer(Brightness(), min_confidence=least)


def test_ones_own_detector_may_be_careless():
    boxes = [(np.array([-5.0, 2, 20, 20]), 0.2), ([30.4, 30, 100, 100], 3), ((50, 50, 9, 9), 0.7)]
    detector = SimpleNamespace(detect=lambda rgb: boxes)
    found = Recognizer(Brightness(), detector=detector).recognize(quarters(0))
    assert [(face.box, face.detector_score) for face in found] == [((30, 30, 10, 10), 1.0), ((0, 2, 15, 20), 0.2)]


def test_asked_again_the_same_parts_are_used(tmp_path):
    first, second = (recognizer(NETWORK, detector="haar", min_confidence=least) for least in (0.1, 0.9))
    assert (first.network, first.detector) == (second.network, second.detector)
    file = tmp_path / "own.onnx"
    file.write_bytes((fer_keras.paths.PACKAGE / "weights" / f"{NETWORK}.onnx").read_bytes())
    assert recognizer(str(file), detector=None).network is recognizer(file, detector=None).network
    file.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"own\.onnx"):
        recognizer(file, detector=None)


def test_a_face_is_found_without_keras_pandas_or_opencvs_windows_and_nothing_is_left_anywhere(tmp_path):
    """ONNX Runtime would keep what it reports to its makers in the home and temporary folders."""
    script = (
        "import sys, numpy, fer_keras.recognition.video; from skimage.data import astronaut;"
        f"print(fer_keras.recognize(numpy.asarray(astronaut()), network='{NETWORK}', detector='haar')[0].emotion,"
        "sorted({'keras', 'tensorflow', 'torch', 'jax', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    environment = os.environ | {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout.strip(), done.stderr) == ("happy []", "")
    assert list(tmp_path.rglob("*")) == []


def test_threads_share_one_recognizer_and_copies_agree_with_it(astronaut, real):
    pictures = [astronaut[:300], np.zeros_like(astronaut), astronaut[:, :400]]
    expected = [real.recognize(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for faces, same in zip(pool.map(real.recognize, pictures * 3), expected * 3, strict=True):
            assert_same(faces, same)
    for other in (pickle.loads(pickle.dumps(real)), copy.deepcopy(real)):
        assert other.detector.cascade is not real.detector.cascade
        assert_same(other.recognize(pictures[0]), expected[0])
