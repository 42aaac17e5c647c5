"""From a picture to named faces: what is found, how sure it is, and what comes of odd pictures."""

import io
import socket
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

import fer_keras
from fer_keras.data import DataError
from fer_keras.evaluation import with_temperature
from fer_keras.labels import FER7
from fer_keras.recognition import photos
from fer_keras.recognition.detectors import Detection, shared
from fer_keras.recognition.recognizer import UNCERTAIN, Face, Recognizer, recognizer

NETWORK = "mini-xception"
HER_FACE = (173, 60, 100, 110)
QUARTERS = [(0, 0, 20, 20), (20, 0, 20, 20), (0, 20, 20, 20), (20, 20, 20, 20)]


class Brightness:
    """A stand-in for a network: the brighter a crop, the likelier "high"; remembers its batches."""

    name, classes, size, temperature, card = "brightness", ("low", "high"), (8, 8), 1.0, {}

    def __init__(self, temperature=1.0):
        self.batches, self.temperature = [], temperature

    def predict(self, images):
        self.batches.append(images)
        high = images.reshape(len(images), 64).mean(axis=1) / 255
        return np.stack([1 - high, high], axis=1).astype(np.float32)


class Quarters:
    """A stand-in for a detector: the first `count` quarters of a picture, whose red is how many."""

    def detect(self, rgb):
        return [Detection(box, 1 - 0.1 * number) for number, box in enumerate(QUARTERS[: rgb[0, 0, 0]])]


def quarters(count):
    picture = np.zeros((40, 40, 3), np.uint8)
    for value, (left, top, width, height) in zip((0, 90, 170, 255), QUARTERS, strict=True):
        picture[top : top + height, left : left + width] = value
    picture[0, 0] = count
    return picture


@pytest.fixture(scope="module")
def astronaut():
    return np.asarray(skimage.data.astronaut())


def assert_same(faces, others):
    """Check that faces are those of another batch or thread, but for rounding."""
    assert [(face.box, face.emotion) for face in faces] == [(face.box, face.emotion) for face in others]
    for face, other in zip(faces, others, strict=True):
        assert face.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        values = (other.confidence, other.detector_score)
        assert (face.confidence, face.detector_score) == pytest.approx(values, abs=1e-5)


@pytest.fixture(scope="module")
def real():
    return Recognizer(NETWORK)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_the_astronaut_is_happy_and_no_socket_is_opened(astronaut):
    (face,) = fer_keras.recognize(astronaut, network=NETWORK)
    assert isinstance(face, Face)
    assert face.emotion == "happy"
    assert face.confidence == max(face.probabilities.values()) > 0.9
    assert tuple(face.probabilities) == FER7
    assert sum(face.probabilities.values()) == pytest.approx(1)
    assert 0.5 < face.detector_score <= 1
    assert shared(face.box, HER_FACE) > 0.9
    assert all(type(value) is float for value in (face.confidence, face.detector_score, *face.probabilities.values()))


def test_a_photo_that_was_taken_sideways_has_boxes_as_one_sees_it(astronaut, real):
    (plain,) = real.recognize(astronaut)
    for number, quarter in ((6, 1), (8, -1), (3, 2)):
        stream, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = number
        Image.fromarray(np.rot90(astronaut, quarter)).save(stream, "PNG", exif=exif)
        assert real.recognize(stream.getvalue()) == [plain]


def test_boxes_of_a_reduced_jpeg_are_those_of_the_whole(astronaut, real, monkeypatch):
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    upright = np.pad(astronaut, ((0, 0), (0, 100), (0, 0)), mode="edge")
    Image.fromarray(np.rot90(upright)).resize((2048, 2448)).save(stream, "JPEG", quality=90, exif=exif)
    sizes = []
    detect = real.detect
    monkeypatch.setattr(photos, "ENOUGH_SIDE", 1000)
    monkeypatch.setattr(real, "detect", lambda rgb: sizes.append(rgb.shape) or detect(rgb))
    (face,) = real.recognize(stream.getvalue())
    assert sizes == [(1024, 1224, 3)]
    assert shared(face.box, [4 * value for value in HER_FACE]) > 0.9
    assert face.emotion == "happy"


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (30, 2), (48, 48), (480, 640)], ids=str)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_without_a_face_gives_an_empty_list(real, size, value):
    assert real.recognize(np.full(size, value, np.uint8)) == []


def test_without_a_detector_every_picture_is_one_face(astronaut):
    whole = Recognizer(NETWORK, detector=None, min_confidence=0)
    left, top, width, height = HER_FACE
    face = astronaut[top : top + height, left : left + width]
    (found,) = whole.recognize(face)
    assert (found.box, found.detector_score, found.emotion) == ((0, 0, width, height), 1.0, "happy")
    (single,) = whole.recognize(np.zeros((1, 1), np.uint8))
    assert single.box == (0, 0, 1, 1)


def test_a_face_of_the_networks_size_reaches_it_pixel_by_pixel():
    network, face = Brightness(), np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Recognizer(network, detector=None).recognize(face)
    np.testing.assert_array_equal(network.batches, [[face[..., None]]])


class LeftHalf(Brightness):
    """A stand-in for a network that looks at the left half alone."""

    def predict(self, images):
        return super().predict(np.repeat(images[:, :, :4], 2, axis=2))


@pytest.mark.parametrize("card", [{}, {"temperature_mirrored": 0.5}], ids=["", "with a temperature of its own"])
def test_mirrored_takes_the_mean_over_both_views(card):
    face = np.zeros((8, 8), np.uint8)
    face[:, :4], face[:, 4:] = 204, 51  # as shares of 255: .8 and .2
    single, both = (Recognizer(LeftHalf(2.0), detector=None, mirrored=mirrored) for mirrored in (False, True))
    both.network.card = card
    low, high = np.sqrt(0.2), np.sqrt(0.8)  # the temperature of 2
    assert single.recognize(face)[0].probabilities["high"] == pytest.approx(high / (low + high), abs=1e-4)
    assert both.recognize(face)[0].probabilities["high"] == pytest.approx(0.5, abs=1e-4)
    assert [batch.shape for batch in both.network.batches] == [(2, 8, 8, 1)]
    face[:, 4:] = 102  # the mean of .8 and .4 is .6
    odds = (0.6 / 0.4) ** (1 / card.get("temperature_mirrored", 2.0))
    assert both.recognize(face)[0].probabilities["high"] == pytest.approx(odds / (1 + odds), abs=1e-4)
    (alone,) = both.recognize_batch([face])
    for found in both.recognize_batch([face, face]):
        assert_same(found, alone)
    nobody = Recognizer(LeftHalf(), detector=Quarters(), mirrored=True)
    assert nobody.recognize(quarters(0)) == []


def test_what_is_empty_or_no_picture_is_an_error(real):
    for source in (np.zeros((0, 0, 3), np.uint8), b"words", "no such file.jpg", None):
        with pytest.raises(DataError):
            real.recognize(source)


def test_the_faces_of_several_pictures_are_one_batch():
    network = Brightness()
    many = Recognizer(network, detector=Quarters(), min_confidence=0)
    counts = [2, 0, 4, 1, 0]
    found = many.recognize_batch([quarters(count) for count in counts])
    assert [len(faces) for faces in found] == counts
    (batch,) = network.batches
    assert batch.shape == (7, 8, 8, 1)
    assert [face.box for face in found[2]] == QUARTERS
    assert [face.emotion for face in found[2]] == ["low", "low", "high", "high"]
    assert found == [many.recognize(quarters(count)) for count in counts]
    assert many.recognize_batch([]) == []
    assert many.recognize_batch([quarters(0)]) == [[]]


def test_probabilities_are_calibrated_by_the_temperature_of_the_network():
    boxes = [Detection(box, 1.0) for box in QUARTERS[1:3]]
    plain = Recognizer(Brightness(), detector=Quarters())
    mild = Recognizer(Brightness(temperature=2.5), detector=Quarters())
    before, after = plain.probabilities(quarters(4), boxes), mild.probabilities(quarters(4), boxes)
    np.testing.assert_allclose(after, with_temperature(before, 2.5), rtol=1e-5)
    assert after.dtype == np.float32
    assert after.max() < before.max()
    assert plain.probabilities(quarters(4), []).shape == (0, 2)


def test_below_the_least_confidence_the_answer_is_uncertain_and_the_probabilities_stay():
    emotions = []
    for least in (0.0, 0.6, 0.9, 1.0):
        one = Recognizer(Brightness(), detector=Quarters(), min_confidence=least)
        face = one.recognize(quarters(2))[1]
        emotions.append(face.emotion)
        assert face.confidence == face.probabilities["low"] == pytest.approx(1 - 90 / 255, abs=1e-3)
    assert emotions == ["low", "low", UNCERTAIN, UNCERTAIN]


def test_ones_own_detector_may_be_careless():
    class Careless:
        def detect(self, rgb):
            return [(np.array([-5.0, 2, 20, 20]), 0.2), ([30.4, 30, 100, 100], 3), ((50, 50, 9, 9), 0.7)]

    found = Recognizer(Brightness(), detector=Careless()).recognize(quarters(0))
    assert [(face.box, face.detector_score) for face in found] == [((30, 30, 10, 10), 1.0), ((0, 2, 15, 20), 0.2)]


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_confidence_out_of_range(least):
    with pytest.raises(ValueError, match=r"`min_confidence` must be in \[0, 1\]"):
        Recognizer(Brightness(), min_confidence=least)


def test_an_unknown_network_or_option():
    with pytest.raises(ValueError, match=r"nonsense\.onnx: Expected an \.onnx file"):
        Recognizer("nonsense.onnx")
    with pytest.raises(TypeError, match="colour"):
        fer_keras.recognize(np.zeros((9, 9), np.uint8), network=NETWORK, colour=True)


def test_asked_again_the_same_parts_are_used(tmp_path):
    first, second = (recognizer(NETWORK, min_confidence=least) for least in (0.1, 0.9))
    assert first.network is second.network
    assert first.detector is second.detector
    assert first.min_confidence == 0.1
    assert recognizer(NETWORK, min_size=0.2).detector.min_size == 0.2

    file = tmp_path / "own.onnx"
    file.write_bytes((fer_keras.paths.PACKAGE / "weights" / f"{NETWORK}.onnx").read_bytes())
    kept = recognizer(file).network
    assert recognizer(str(file)).network is kept
    file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"own\.onnx"):
        recognizer(file)


def test_a_face_is_found_without_keras_pandas_or_opencvs_windows():
    script = (
        "import sys, numpy, fer_keras; from skimage.data import astronaut;"
        f"print(fer_keras.recognize(numpy.asarray(astronaut()), network='{NETWORK}')[0].emotion,"
        "sorted({'keras', 'tensorflow', 'torch', 'jax', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "happy []"
    assert done.stderr == ""


def test_threads_share_one_recognizer(astronaut, real):
    from concurrent.futures import ThreadPoolExecutor

    pictures = [astronaut, np.zeros_like(astronaut), astronaut[:300], astronaut[:, :400]] * 3
    expected = [real.recognize(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(real.recognize, pictures))
    for faces, same in zip(found, expected, strict=True):
        assert_same(faces, same)
