"""Where faces are: on the real photo of scikit-image, among drawn faces, and what detectors do with odd pictures."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from moving import emotion_face
from PIL import Image

from fer_keras import paths
from fer_keras.data import DataError
from fer_keras.recognition import boxes, detectors
from fer_keras.recognition.detectors import finished, shared, smallest_side
from fer_keras.recognition.crops import Framing, crop, framed
from fer_keras.recognition.detectors import Detection, find_detector
from fer_keras.recognition.neural_detectors import Mtcnn
from fer_keras.results import read_table

HER_FACE = (173, 60, 100, 110)  # from the eye: brow to chin, ear to ear
SIZES = [(1, 1), (1, 700), (700, 1), (2, 3), (19, 19), (41, 39), (48, 48), (64, 2000)]


@pytest.fixture(scope="module")
def astronaut():
    return np.asarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def haar():
    return find_detector("haar")


def on(picture, *faces):
    """Return a copy of a picture with grey faces at `(left, top, side)`."""
    picture = picture.copy()
    for face, (left, top, side) in faces:
        small = Image.fromarray(face.squeeze()).resize((side, side), Image.Resampling.BICUBIC)
        picture[top : top + side, left : left + side] = np.asarray(small)[..., None]
    return picture


def test_haar_finds_the_astronauts_face_and_nothing_else(haar, astronaut):
    (found,) = haar.detect(astronaut)
    assert shared(found.box, HER_FACE) > 0.9
    assert found.score > 0.9
    assert all(isinstance(value, int) for value in found.box)
    assert isinstance(found.score, float)


def test_haar_finds_several_faces_in_one_picture_the_best_first(haar):
    places = [(30, 40, 120), (330, 20, 200), (200, 280, 150)]
    emotions = ("happy", "neutral", "surprise")
    faces = [emotion_face(emotion, seed=seed, size=200) for seed, emotion in enumerate(emotions)]
    found = haar.detect(on(np.full((480, 640, 3), 90, np.uint8), *zip(faces, places, strict=True)))
    assert len(found) == 3
    for left, top, side in places:
        assert max(shared(detection.box, (left, top, side, side)) for detection in found) > 0.9
    assert [detection.score for detection in found] == sorted((each.score for each in found), reverse=True)


def test_a_huge_picture_is_searched_at_a_bounded_size_and_its_boxes_are_its_own(haar, astronaut, monkeypatch):
    searched = []

    class Spy:
        def detectMultiScale3(self, grey, *arguments, **options):
            searched.append((grey.shape, options["minSize"]))
            return haar.cascade.detectMultiScale3(grey, *arguments, **options)

    spied = detectors.Haar()
    spied.cascade = Spy()
    large = np.asarray(Image.fromarray(astronaut).resize((3072, 2560)))
    (found,) = spied.detect(large)
    expected = [value * factor for value, factor in zip(HER_FACE, (6, 5, 6, 5), strict=True)]
    assert shared(found.box, expected) > 0.85
    ((shape, least),) = searched
    assert max(shape) == boxes.LONGEST_SIDE
    assert least == (51, 51), "a twentieth of the longer side"


def test_smaller_faces_are_found_when_asked_for(astronaut):
    small = np.full((700, 900, 3), 120, np.uint8)
    small[100:228, 300:428] = np.asarray(Image.fromarray(astronaut).resize((128, 128)))
    assert find_detector("haar").detect(small) == []
    (found,) = find_detector("haar", min_size=0.02).detect(small)
    assert shared(found.box, (343, 115, 25, 27)) > 0.8
    assert find_detector("haar", min_size=0.9).detect(astronaut) == []


def test_the_smallest_side_is_a_share_but_fits_small_pictures():
    for shape, expected in (((480, 640), 48), ((3000, 4000), 200), ((60, 80), 30), ((1, 1), 1)):
        assert smallest_side(np.zeros((*shape, 3))) == expected
    assert smallest_side(np.zeros((480, 640, 3)), 0.1) == 64


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_picture_without_a_face_gives_an_empty_list(haar, size):
    assert haar.detect(np.full((*size, 3), 200, np.uint8)) == []


@pytest.mark.parametrize("name", ["brick", "coffee", "rocket", "text"])
def test_pictures_that_show_nobody(haar, name):
    picture = Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")
    assert haar.detect(np.asarray(picture)) == []


def test_boxes_are_cut_to_the_picture_and_of_one_face_the_best_stays():
    picture = np.zeros((100, 80, 3), np.uint8)
    found = [(-5, -5, 40, 40), (0, 0, 38, 38), (10, 10, 8, 8), (60.4, 70, 30, 60), (90, 10, 5, 5), (44, 4, 30, 30)]
    kept = finished(found, [0.5, 0.9, 0.8, 1.2, 0.99, np.float64(0.4)], picture)
    assert kept == [((60, 70, 20, 30), 1.0), ((0, 0, 38, 38), 0.9), ((44, 4, 30, 30), 0.4)]
    assert finished([(10, 20, 30, 40)], [0.5], picture, factor=0.5) == [((20, 40, 60, 60), 0.5)]
    assert finished([], [], picture) == []


def test_without_cascades_there_is_a_clear_error_and_all_else_works(monkeypatch, astronaut):
    monkeypatch.delattr(cv2, "CascadeClassifier")  # as in OpenCV 5
    with pytest.raises(ImportError, match=r"'opencv-python-headless<5'.*'mtcnn', 'yunet:PATH', or None"):
        find_detector("haar")
    assert find_detector(None).detect(astronaut) == [Detection((0, 0, 512, 512), 1.0)]


def test_without_opencv_there_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in ("haar", "yunet:model.onnx"):
        with pytest.raises(ImportError, match="needs OpenCV"):
            find_detector(name)


def test_a_cascade_file_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(ImportError, match=r"haarcascade_frontalface_alt2\.xml"):
        find_detector("haar")


@pytest.mark.parametrize("name", ["", "yolo", "yunet", 3, object()], ids=["none", "yolo", "yunet", "number", "object"])
def test_an_unknown_detector(name):
    with pytest.raises(ValueError, match="must be 'haar', 'mtcnn', 'yunet:PATH'"):
        find_detector(name)


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
def test_a_share_out_of_range(share):
    with pytest.raises(ValueError, match="must be a share"):
        find_detector("haar", min_size=share)


def test_mtcnn_finds_the_astronauts_face_at_any_size(astronaut):
    pytest.importorskip("mtcnn")
    detector = find_detector("mtcnn")
    large = np.asarray(Image.fromarray(astronaut).resize((2048, 2048)))
    for picture, factor in ((astronaut, 1), (large, 4)):
        (found,) = detector.detect(picture)
        assert shared(found.box, [factor * value for value in HER_FACE]) > 0.85
        assert found.score > 0.95
    for size in SIZES:
        assert detector.detect(np.full((*size, 3), 200, np.uint8)) == []


def test_mtcnn_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    with pytest.raises(ImportError, match=r"pip install fer_keras\[mtcnn\]"):
        find_detector("mtcnn")


def test_yunet_is_run_on_bgr_and_its_boxes_scaled_back(tmp_path):
    file = tmp_path / "finds red.onnx"
    write_network_that_finds_red(file)
    detector = find_detector(f"yunet:{file}", min_size=0.1)
    picture = np.zeros((600, 800, 3), np.uint8)  # searched at a quarter: the smallest face sought has 80 pixels
    picture[320:352, 480:512] = (255, 0, 0)
    (found,) = detector.detect(picture)
    assert found.box == (432, 272, 128, 128)
    assert found.score == pytest.approx(1, abs=0.1)
    assert detector.detect(picture[..., ::-1]) == []
    for size in SIZES:
        assert detector.detect(np.zeros((*size, 3), np.uint8)) == []


def test_yunets_file_is_missing_or_another(tmp_path):
    with pytest.raises(ValueError, match=r"no\.onnx: Expected YuNet's \.onnx file.*no file there"):
        find_detector(f"yunet:{tmp_path / 'no.onnx'}")
    (tmp_path / "words.onnx").write_text("I am no network")
    for other in (tmp_path / "words.onnx", paths.PACKAGE / "weights" / "mini-xception.onnx"):
        with pytest.raises(ValueError, match=rf"{other.name}: Expected YuNet's"):
            find_detector(f"yunet:{other}")


def write_network_that_finds_red(file):
    """Write a network with YuNet's inputs and outputs: each red square of 8 pixels is a face of 32."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, outputs = [], []
    bias = {"cls": [0.0], "obj": [0.0], "bbox": [0.5, 0.5, np.log(4), np.log(4)], "kps": [0.0] * 10}
    constants = {"red": np.float32([-1, -1, 1]).reshape(1, 3, 1, 1) / 255}  # OpenCV gives blue, green, red
    nodes.append(helper.make_node("Conv", ["input", "red"], ["redness"], kernel_shape=[1, 1]))
    nodes.append(helper.make_node("Relu", ["redness"], ["only red"]))
    for stride in (8, 16, 32):
        size = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", ["only red"], [f"cells_{stride}"], **size))
        for name, values in bias.items():
            output, depth, counts = f"{name}_{stride}", len(values), name in ("cls", "obj") and stride == 8
            constants[f"{output} weight"] = np.full((depth, 1, 1, 1), counts, np.float32)
            constants[f"{output} bias"] = np.float32(values)
            constants[f"{output} shape"] = np.array([1, -1, depth])
            inputs = [f"cells_{stride}", f"{output} weight", f"{output} bias"]
            nodes += [
                helper.make_node("Conv", inputs, [f"{output} map"], kernel_shape=[1, 1]),
                helper.make_node("Transpose", [f"{output} map"], [f"{output} last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{output} last", f"{output} shape"], [output]),
            ]
            outputs.append((output, depth))
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, depth]) for name, depth in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), file)


def test_a_square_is_framed_around_the_middle_of_a_box():
    assert framed((10, 20, 30, 30), Framing()) == (10, 20, 30, 30)
    assert framed((10, 20, 30, 30), Framing(scale=2.0, down=0.5)) == (-5, 20, 60, 60)
    assert framed((10, 20, 20, 40), Framing()) == (5, 25, 30, 30)


def test_a_grey_face_of_the_right_size_comes_back_pixel_by_pixel():
    face = np.random.default_rng(0).integers(0, 256, (48, 48, 1), np.uint8)
    np.testing.assert_array_equal(crop(face.repeat(3, axis=-1), (0, 0, 48, 48), (48, 48)), face)


def test_colour_becomes_the_luma_of_the_package():
    colour = np.zeros((20, 20, 3), np.uint8) + np.uint8([200, 100, 50])
    assert np.unique(crop(colour, (3, 4, 10, 12), (8, 6))).tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]


def test_shrinking_averages():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = crop(stripes, (0, 0, 96, 96), (12, 12))[1:-1, 1:-1]
    np.testing.assert_allclose(inner, 127.5, atol=6)


def test_beyond_the_edge_the_outermost_pixels_go_on():
    rows, columns = np.mgrid[0:30, 0:40]
    picture = np.repeat((rows * 5 + columns)[..., None], 3, axis=-1).astype(np.uint8)
    wide = np.pad(picture[..., 0], 20, mode="edge")
    for box in ((-20, -20, 80, 70), (-7, 3, 20, 20), (30, 25, 17, 9), (5, -6, 10, 50)):
        left, top, width, height = box
        expected = wide[top + 20 : top + 20 + height, left + 20 : left + 20 + width]
        np.testing.assert_array_equal(crop(picture, box, (height, width))[..., 0], expected)
    for box in ((40, 0, 5, 5), (-5, 0, 5, 5), (0, 30, 9, 9), (3, 3, 0, 5)):
        with pytest.raises(DataError, match="Expected a box on a picture of 40x30"):
            crop(picture, box, (48, 48))


@pytest.fixture
def detection(monkeypatch):
    """The benchmark."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return pytest.importorskip("detection")


def test_the_benchmark_finds_the_framing_and_the_score_that_made_its_matches(detection, haar):
    generator = np.random.default_rng(0)
    truth = Framing(scale=1.2, down=-0.06)
    found = [(*generator.integers(0, 300, 2).tolist(), *generator.integers(60, 200, 2).tolist()) for _ in range(200)]
    hits = [detection.Match(None, Detection(box, 0.5), framed(box, truth), 0) for box in found]
    assert detection.best_framing(hits) == pytest.approx(truth, abs=0.011)
    assert detection.overlap(hits, truth) == 1
    assert detection.overlap(hits, Framing()) < 0.8

    weights = generator.uniform(50, 58, 4000)
    are_faces = generator.random(4000) < 1 / (1 + np.exp(-1.5 * (weights - 54)))
    scores = 1 / (1 + np.exp(-haar.slope * (weights - haar.middle)))
    matches = [
        detection.Match(None, Detection(None, score), None, 0 if is_face else None)
        for score, is_face in zip(scores, are_faces, strict=True)
    ]
    assert detection.logistic(matches, haar) == pytest.approx([1.5, 54], abs=0.15)


def test_the_benchmark_gives_each_face_to_one_detection(detection):
    scene = detection.Scene(None, [(0, 0, 50, 50), (100, 0, 60, 60)], [7, 9])
    found = [Detection(box, 1.0) for box in ((2, 1, 50, 50), (0, 0, 48, 50), (95, 5, 60, 60), (300, 0, 50, 50))]
    assert [match.row for match in detection.matched(scene, found, Framing())] == [7, None, 9, None]


def test_the_benchmark_measures_prints_and_records(detection, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["detection.py", "--quick", "--json", str(tmp_path / "detection.json")])
    detection.main()
    record = json.loads((tmp_path / "detection.json").read_text())
    printed = capsys.readouterr().out
    for name in ("haar", "haar as usual"):
        assert f"detectors: {name}\n" in printed
        values, photos = record["detectors"][name], record["photos"][name]
        assert 0.8 < values["recall"] <= 1, "drawn faces are easy"
        assert 0.7 < values["overlap"] <= 1
        assert values["ms a picture"] > 0
        assert values["networks"]["mini-xception"]["accuracy, crops"] > 1 / 7
        assert shared(photos["astronaut"][0], HER_FACE) > 0.9
        assert photos["lfw_subset, share of faces found"] > 0.8
        assert photos["lfw_subset, share of other patches found"] < 0.2
    ours, usual = (record["detectors"][name]["false alarms a background"] for name in ("haar", "haar as usual"))
    assert ours < usual


def test_the_constants_of_the_package_are_those_that_were_measured(haar):
    measured = read_table("detection", folder=Path(__file__).parents[1] / "reports" / "results")["detectors"]
    assert measured["haar"]["score slope and middle"] == pytest.approx([haar.slope, haar.middle], rel=0.05)
    for name, framing in (("haar", haar.framing), ("mtcnn", Mtcnn.framing)):
        assert measured[name]["framing"] == list(framing)
        for network in measured[name]["networks"].values():
            losses = {float(scale): loss for scale, loss in network["log loss by scale"].items()}
            assert min(losses, key=losses.get) <= framing.scale <= measured[name]["best framing"][0]
