"""The benchmark beside other packages, with made-up ones in their place: none of them needs to be installed."""

import io
import json
import sys

import numpy as np
import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

from fer_keras.labels import FER7

OUR_OWN = [
    "recognition of arrays / its detector and network",
    "recognition of files / its detector and network",
    "memory at the end / soon after the start",
]
WITH_BOXES = ["one face, a picture of 48x48", "one face, box given", "64 faces, boxes given"]
NETWORKS = ["bare network, one face", "bare network, 64 faces"]

FER = f"""
import numpy as np

class FER:
    def __init__(self, offsets=(10, 10)):
        self.offsets = offsets

    def detect_emotions(self, picture, face_rectangles=None):
        boxes = [(5, 5, 99, 99)] if face_rectangles is None else face_rectangles
        return [{{"box": np.array(box), "emotions": dict.fromkeys({FER7}, 0.14)}} for box in boxes]

    def _classify_emotions(self, faces):
        return np.zeros((len(faces), 7))
"""
DOWNLOAD = """
from unittest.mock import Mock

download_weights_if_necessary = load_model_weights = Mock(side_effect=OSError("there is no network here"))
"""
BUILD = """
import functools
import os
import pathlib

from deepface.commons import weight_utils

class Client:
    ran = False

    def __init__(self):
        self.model = self
        if os.environ["DEEPFACE_BACKEND_ENGINE"] == "onnx":
            import onnxruntime

            place = pathlib.Path(os.environ["DEEPFACE_HOME"], ".deepface", "weights")
            assert (place / "facial_expression_model_weights.onnx").read_text() == "exported"
            assert onnxruntime.SessionOptions().intra_op_num_threads == 1
        else:
            weights = weight_utils.download_weights_if_necessary(file_name="it", source_url="there")
            assert weight_utils.load_model_weights(model=self, weight_file=weights) is self

    def export(self, path, format, verbose):
        assert self.ran, "Keras converts only what has run"
        pathlib.Path(path).write_text("exported")

    def _predict_internal(self, faces):
        self.ran = True
        return faces[:, 0, 0, 0]

@functools.cache
def build_model(task, model_name):
    assert (task, model_name) == ("facial_attribute", "Emotion")
    return Client()
"""
ANALYZE = """
def analyze(picture, actions, detector_backend, enforce_detection, silent):
    assert (actions, detector_backend) == (["emotion"], "skip")
    if isinstance(picture, list):
        return [analyze(each, actions, detector_backend, enforce_detection, silent) for each in picture]
    assert min(picture.shape) == 3
    return [{"emotion": {"happy": 100.0}}]
"""


@pytest.fixture
def module(monkeypatch):
    """Import a benchmark, or what it runs in each environment, or what it shows."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return pytest.importorskip


@pytest.fixture
def packages(tmp_path):
    """A folder with a made-up `fer` and a made-up `deepface`."""
    for path, text in {
        "fer/fer.py": FER,
        "deepface/commons/weight_utils.py": DOWNLOAD,
        "deepface/modules/modeling.py": BUILD,
        "deepface/modules/demography.py": ANALYZE,
        "fer-1.2.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: fer\nVersion: 1.2.3\n",
    }.items():
        file = tmp_path / "packages" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "packages"


def run(folder, *options, path=None):
    """Run the benchmark quickly in a folder of its own; its record, what it notes beside it, and what it printed."""
    folder.mkdir()
    record, printed = run_benchmark("peers", folder, *options, record="peers.json", path=path)
    return record, record.pop("about"), printed


def test_peers_that_are_not_there_are_named_and_left_out(tmp_path):
    record, about, printed = run(tmp_path / "run")
    assert sorted(record) == sorted(OUR_OWN)
    assert list(about["peers"]) == list(about["found in the film"]) == ["ours"]
    assert (about["accuracy"], len(about["MB held"])) == ({}, 20)
    assert "MB after 40 pictures against" in record[OUR_OWN[2]]["measured"]
    for name in ("fer", "deepface"):
        assert f"{name} is not measured: no --peer {name}=PYTHON was given." in printed
    assert "RANDOM" not in printed


def test_all_packages_do_the_same_and_are_compared(tmp_path, packages):
    options = [f"--peer={name}={sys.executable}" for name in ("fer", "deepface")]
    record, about, printed = run(tmp_path / "run", *options, path=packages)
    engines = [f"DeepFace on {engine}, random weights" for engine in ("TensorFlow", "ONNX Runtime")]
    names = [*WITH_BOXES, *NETWORKS, "start-up and one face"]
    expected = [*OUR_OWN, *(f"{name} / {peer}" for name in names for peer in ("fer", *engines))]
    expected += [f"{name}, int8 / fer" for name in (*WITH_BOXES, *NETWORKS)]
    assert sorted(record) == sorted([*expected, "pictures end to end / fer", "film / fer"])
    for key, entry in record.items():
        assert 0 <= entry["ratio_low"] <= entry["ratio"] <= entry["ratio_high"], key  # made-up ones take no time
        assert "one core, one thread" in entry["machine"]
    goals = {"film / fer": 3, "pictures end to end / fer": 1.5, OUR_OWN[0]: 1.1, OUR_OWN[2]: 1.05}
    goals |= {f"{name}{kind} / fer": 1 for name in WITH_BOXES for kind in ("", ", int8")}
    goals |= {f"{name} / {peer}": 5 for name in WITH_BOXES for peer in engines}
    assert {key: entry["goal"] for key, entry in record.items() if entry["goal"] is not None} == goals
    assert record["film / fer"]["measured"].endswith("ms a frame")
    assert about["peers"]["fer"]["fer"] == "1.2.3"
    assert about["peers"]["deepface-onnx"]["deepface"] == "unknown"
    found = about["found in pictures"]
    assert found["ours"]["recall"] > found["fer"]["recall"] == 0, "it looks in the corner only"
    assert found["fer"]["false alarms a picture"] == 1
    assert found["ours against fer"]["difference"] == found["ours"]["recall"]
    assert about["found in the film"]["fer"]["recall"] == 0
    assert "RANDOM weights" in printed


def test_a_peer_that_breaks_says_why_and_only_known_ones_with_a_python_are_taken(
    module, tmp_path, packages, monkeypatch
):
    peers = module("peers")
    (packages / "fer" / "fer.py").write_text("raise ImportError('this one needs setuptools<81')")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    with peers.Process([sys.executable, peers.WORKERS, "fer"], tmp_path) as process:
        process.running.wait()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="this one needs setuptools<81"):
                process.ask("network", number=1)
    for text in ("fer=nowhere/python", f"deepfake={sys.executable}", sys.executable, "fer="):
        with pytest.raises(peers.argparse.ArgumentTypeError, match="Expected fer=PYTHON or deepface=PYTHON"):
            peers.peer(text)


def test_a_worker_times_what_is_asked_so_often(module):
    workers = module("peer_workers")

    class Counting(workers.Worker):
        packages = ("numpy", "no such package")
        done = 0

        def work(self, step):
            def add():
                self.done += step
                return self.done

            return add, str

    requests = [{"work": "work", "times": 3, "step": 2}, {"work": "versions", "times": 1}]
    answers = io.StringIO()
    workers.serve(Counting(), map(json.dumps, requests), answers)
    first, second = map(json.loads, answers.getvalue().splitlines())
    assert first["answer"] == "6"
    assert first["seconds"] > 0
    assert first["processor"] >= 0
    assert second["answer"] == {"numpy": np.__version__, "no such package": "unknown"}


def test_a_ratio_is_their_time_over_ours(module):
    peers = module("peers")
    work = {peers.FACE: peers.Work("given", None, 10)}
    seconds = {"ours": [0.3, 0.2], "fer": [0.4, 0.6], "ours-int8": [0.1, 0.8]}
    found, int8 = peers.compared(work, {(peers.FACE, name): times for name, times in seconds.items()})
    assert (found.key, found.value, found.met) == ("one face, box given / fer", pytest.approx(2), True)
    assert found.scale == "20 against 40 ms a face"
    assert (int8.key, int8.value, int8.goal) == ("one face, box given, int8 / fer", pytest.approx(4), 1)


def test_faces_found_are_counted_as_pairs(module):
    pictures = module("peer_pictures")
    boxes = [(0, 0, 50, 50), (200, 0, 60, 60)]
    scenes = [pictures.detection.Scene(None, boxes, [3, 5]), pictures.detection.Scene(None, boxes[:1], [-1])]
    found = {
        "ours": [[[[0, 0, 50, 50], {}], [[200, 3, 60, 60], {}]], [[[0, 0, 52, 50], {}]]],
        "fer": [[[[0, 0, 50, 50], {}], [[400, 3, 60, 60], {}], [[300, 3, 60, 60], {}]], []],
    }
    answers = {peer: [faces[:1], faces[1:]] for peer, faces in found.items()}
    scores = pictures.in_pictures(scenes, answers)
    assert (scores["ours"]["recall"], scores["fer"]["recall"]) == (1, pytest.approx(1 / 3))
    assert (scores["ours"]["false alarms a picture"], scores["fer"]["false alarms a picture"]) == (0, 1)
    assert (scores["ours"]["faces"], scores["ours against fer"]["difference"]) == (3, pytest.approx(2 / 3))
    assert list(pictures.in_pictures(scenes, {"ours": answers["ours"]})) == ["ours"]

    places = [np.array([[0.0, 0, 40, 40], [100, 0, 40, 40]])] * 4  # of the film, by frame
    rows = [[frame, left, 0, 40, 40] for frame in range(4) for left in (0, 100)]
    scores = pictures.in_film(places, (4,), {"ours": [rows[2:]], "fer": [[*rows[:2], [3, 300, 0, 40, 40]]]})
    assert (scores["ours"]["recall"], scores["fer"]["recall"], scores["fer"]["false_alarms"]) == (0.75, 0.25, 0.25)


def test_accuracy_is_that_of_the_same_faces(module, tmp_path):
    pictures, labels = module("peer_pictures"), np.array([3, 4, 5, 3])

    class Package:
        def __init__(self, guesses):
            self.guesses = guesses

        def ask(self, work, *, faces, offsets=None):
            assert work == "cut_out"
            assert len(np.load(faces)) == len(labels)
            guesses = self.guesses if offsets is None else labels
            return {"answer": [[[None, {name: float(name == FER7[guess]) for name in FER7}]] for guess in guesses]}

    processes = {"ours": Package([3, 4, 5, 0]), "fer": Package([3, 0, 0, 0])}
    images = np.zeros((4, 48, 48, 1), np.uint8)
    found = pictures.accuracies(processes, tmp_path, images, labels)
    assert [found[name]["accuracy"] for name in ("ours", "fer", "fer without margins")] == [0.75, 0.25, 1.0]
    assert found["fer"]["ours against it"]["difference"] == 0.5
    assert found["fer without margins"]["ours against it"]["difference"] == -0.25
    assert found["chosen on"]["fer"] == "PublicTest and PrivateTest together"
    alone = pictures.accuracies({"ours": processes["ours"]}, tmp_path, images, labels)
    assert sorted(alone) == ["chosen on", "faces", "ours"]


def test_a_picture_of_many_shows_each_face_in_its_box(module):
    faces = np.arange(64, dtype=np.uint8)[:, None, None, None] * np.ones((1, 48, 48, 1), np.uint8)
    picture, boxes = module("peer_pictures").picture_of_many(faces)
    assert picture.shape == (480, 640, 3)
    assert [int(picture[top + 9, left + 9, 0]) for left, top, *_ in boxes] == list(range(64))
    assert all(left + width <= 640 and top + height <= 480 for left, top, width, height in boxes)
