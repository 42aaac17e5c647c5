"""Benchmarks run quickly, and record and print what they measured against what; other packages are made-up ones."""

import sys

import made_up
import numpy as np
import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

from fer_keras.labels import FER7
from fer_keras.recognition.ray_folders import MOST_PICTURES
from fer_keras.results import write_table


@pytest.fixture
def module(monkeypatch):
    """Import a benchmark."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return pytest.importorskip


@pytest.mark.parametrize(
    ("name", "ratios", "goals", "against"),
    [
        ("training", 4, 2, {"bare step", "ImageDataGenerator", "float32 matrix product"}),
        ("loading", 7, 2, {"bytes", "pandas and fromstring", "split in Python", "first load", "0.5 s"}),
        ("features", 2, 0, {"through the backbone"}),
        ("video", 4, 1, {"every 1", "every 1, and written"}),
        ("recognition_speed", 8, 3, {"published, same runtime", "exported by Keras alone", "1 ms", "1 s"}),
    ],
)
def test_a_benchmark_prints_and_records_its_ratios(name, ratios, goals, against, tmp_path):
    (tmp_path / "record.json").write_text('{"of another benchmark": {}}')
    record, _ = run_benchmark(name, tmp_path)
    assert record.pop("of another benchmark") == {}
    assert (len(record), sum(entry["goal"] is not None for entry in record.values())) == (ratios, goals)
    assert {entry["against"] for entry in record.values()} == against
    assert all(entry["ratio"] > 0 for entry in record.values())


def test_rounds_take_turns_and_the_fastest_decide_whether_a_goal_is_met(module):
    ratios, calls = module("ratios"), []
    ratios.seconds_in_turn({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab", "once untimed"
    ratio = ratios.Ratio("this", "that", [1, 6], [2, 3], 10)
    assert (ratio.rounds, ratio.value) == ([5, 20], 10 * 1 / 2)
    for goal, at_most, met in ((2, True, True), (2, False, True), (1, True, False), (3, False, False)):
        assert ratios.Ratio("this", "that", [9, 2, 4], [5, 8, 1], goal=goal, at_most=at_most).met is met


def test_the_usual_ways_of_loading_read_the_same_pixels(module, tmp_path):
    loading = module("loading")
    images, labels, split = loading.content(quick=True)
    file = loading.write_csv(tmp_path / "fer2013.csv", images, labels, split)
    pieces = loading.csv_pieces(file, tmp_path, few=5)
    assert np.array_equal(pieces[loading.PANDAS](), images.reshape(len(images), -1))
    assert np.array_equal(pieces[loading.NAIVE](), images[:5].reshape(5, -1))


PACKAGES = {
    "fer/fer.py": f"""
class FER:
    def detect_emotions(self, picture, face_rectangles=((5, 5, 99, 99),)):
        return [{{"box": box, "emotions": dict.fromkeys({FER7}, 0.14)}} for box in face_rectangles]

    def _classify_emotions(self, faces):
        return faces
""",
    "deepface/commons.py": """
class weight_utils:
    def download_weights_if_necessary(**_):
        raise OSError("there is no network here")
""",
    "deepface/modules.py": """
import os
import pathlib
from deepface.commons import weight_utils

class modeling:
    def __init__(self):
        self.model = self
        if os.environ["DEEPFACE_BACKEND_ENGINE"] == "onnx":
            place = pathlib.Path(os.environ["DEEPFACE_HOME"], ".deepface", "weights")
            assert (place / "facial_expression_model_weights.onnx").read_text() == "exported"
        else:
            weight_utils.download_weights_if_necessary(file_name="it", source_url="there")

    def build_model(task, model_name):
        return modeling()

    def export(self, path, format, verbose):
        pathlib.Path(path).write_text("exported")

    def _predict_internal(self, faces):
        return faces

class demography:
    def analyze(picture, **_):
        faces = [{"emotion": {"happy": 100.0}}]
        return [faces for _ in picture] if isinstance(picture, list) else faces
""",
    "fer-1.2.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: fer\nVersion: 1.2.3\n",
}


def test_all_packages_do_the_same_and_are_compared(tmp_path):
    for name, text in PACKAGES.items():
        file = tmp_path / "packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "run").mkdir()
    options = [f"--peer={name}={sys.executable}" for name in ("fer", "deepface")]
    record, printed = run_benchmark("peers", tmp_path / "run", *options, path=tmp_path / "packages")
    about = record.pop("about")
    engines = [f"DeepFace on {engine}, random weights" for engine in ("TensorFlow", "ONNX Runtime")]
    boxes = ["one face, a picture of 48x48", "one face, box given", "64 faces, boxes given"]
    networks, start = ["bare network, one face", "bare network, 64 faces"], "start-up and one face"
    expected = {f"{name} / {peer}" for name in [*boxes, *networks, start] for peer in ("fer", *engines)}
    expected |= {f"{name}, int8 / fer" for name in [*boxes, *networks]}
    expected |= {"pictures end to end / fer", "film / fer", "memory at the end / soon after the start"}
    expected |= {f"recognition of {what} / its detector and network" for what in ("arrays", "files")}
    assert record.keys() == expected
    assert record["film / fer"]["ratio"] < 1, "the made-up one takes no time"
    assert "RANDOM weights" in printed
    versions, found = about["peers"], about["found in pictures"]
    assert (versions["fer"]["fer"], versions["deepface-onnx"]["deepface"]) == ("1.2.3", "unknown")
    assert (found["fer"]["recall"], found["fer"]["false alarms a picture"]) == (0, 1), "it looks in the corner only"
    assert 0 < found["ours"]["recall"] == found["ours against fer"]["difference"]
    assert about["found in the film"]["fer"]["recall"] == 0


def test_a_package_that_breaks_says_why_and_those_that_are_not_given_are_named(module, tmp_path, monkeypatch, capsys):
    peers = module("peers")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "fer.py").write_text("raise ImportError('this one needs setuptools<81')")
    command, words = [sys.executable, peers.WORKERS, "fer"], "this one needs setuptools<81"
    with peers.Process(command, tmp_path) as process, pytest.raises(RuntimeError, match=words):
        process.ask("network", number=1)
    monkeypatch.setattr(sys, "argv", ["peers.py", f"--peer=fer={sys.executable}"])
    assert peers.arguments().peer == {"fer": sys.executable}
    assert capsys.readouterr().out == "deepface is not measured: no --peer deepface=PYTHON was given.\n"
    for text in ("fer=nowhere/python", f"deepfake={sys.executable}"):
        with pytest.raises(peers.argparse.ArgumentTypeError, match="Expected fer=PYTHON or deepface=PYTHON"):
            peers.peer(text)


def test_accuracy_is_that_of_the_same_faces(module, tmp_path):
    pictures, labels = module("peer_pictures"), np.array([3, 4, 5, 3])

    class Package:
        def __init__(self, guesses):
            self.guesses = guesses

        def ask(self, work, *, faces, offsets=None):
            guesses = self.guesses if offsets is None else labels
            return {"answer": [[[None, {name: float(name == FER7[guess]) for name in FER7}]] for guess in guesses]}

    processes = {"ours": Package([3, 4, 5, 0]), "fer": Package([3, 0, 0, 0])}
    found = pictures.accuracies(processes, tmp_path, np.zeros((4, 48, 48, 1), np.uint8), labels)
    assert [found[name]["accuracy"] for name in ("ours", "fer", "fer without margins")] == [0.75, 0.25, 1.0]
    assert found["fer"]["ours against it"]["difference"] == 0.5
    assert found["chosen on"]["fer"] == "PublicTest and PrivateTest together"


def test_what_millions_of_pictures_cost_follows_from_what_was_measured_and_assumed(module, recorded_project, capsys):
    costs = module("scale_costs")
    picture = {"network": "fer-small", "kind": "JPEG", "pictures": 100, "faces": 200}
    picture |= {"pictures a second and core": 25.0, "bytes in": 50_000.0, "bytes out": 500.0}
    stages = {"decode": 6.0, "detection": 30.0, "crop": 1.0, "network": 2.0, "rest": 1.0}
    figures = {"a picture": picture | {"milliseconds": stages}, "start-up": {"import": 0.5}}
    figures |= {"memory a worker in MB": {"recognition": {"pss": 256.0}}}
    measured = {"figures": figures, "recognition, two workers / one worker": {"ratio": 1.9}}
    assert costs.main() == 1
    assert "benchmarks/scale.py" in capsys.readouterr().out, "it says what to run first"
    write_table("scale", measured)
    write_table("networks", {"networks": {"fer-small": {"multiply_adds": 1_560_000}}})
    assert costs.main() == 0
    printed, (run, *_) = capsys.readouterr().out, made_up.run()
    expected = [*(site.name for site in costs.SITES), *(each.source for each in costs.ASSUMED.values())]
    expected += [costs.span(1e10 * run.seconds / run.data["num_images"]["train"] / run.epochs_run)]
    assert [words for words in expected if words not in printed] == []

    gpus = costs.Site("GPUs", 100, 2, ("decode", "detection in batches"))
    sites = (costs.Site("here", 2), costs.Site("slow storage", 2, reads=5e4), gpus)
    table = costs.costs(measured, 1_560_000, sites=sites)
    assert list(table["limited by"]) == ["cores: detection", "storage", "GPUs: detection in batches"]
    seconds = 0.006 / costs.ASSUMED["decode"].value + costs.ASSUMED["detection in batches"].value / 1000
    assert list(table["pictures a second"]) == pytest.approx([47.5, 1, 2 / seconds])
    assert list(table.loc["here", ["ten million", "ten billion"]]) == ["2.4 days", "6.7 years"]
    money = 1e10 / 47.5 / 3600 * 2 * costs.ASSUMED["core"].value
    assert table.loc["here", "dollars for ten billion"] == pytest.approx(money)
    needed = costs.storage(figures["a picture"])["ten billion"]
    assert needed[["pictures, TB", "files of faces"]].tolist() == pytest.approx([500, 1e10 / MOST_PICTURES])
    assert needed["faces of 48x48 as training holds them, GB"] == pytest.approx(23_040)
