import itertools
import os

import numpy as np
import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

PRODUCT = "float32 matrix product"


def speed_keys(networks, runtimes, against):
    """Keys of ratios of one face and of 64 faces."""
    parts = itertools.product(networks, ("one face", "64 faces"), runtimes)
    return [f"{network}, {number}, {runtime} / {against}" for network, number, runtime in parts]


QUICK = [
    *speed_keys(["fer-small"], ["ONNX Runtime", "tf.function"], "published, same runtime"),
    *speed_keys(["fer-small"], ["ONNX Runtime"], "exported by Keras alone"),
    "fer-small, one face, ONNX Runtime / 1 ms",
    "start-up and one face, ONNX Runtime / 1 s",
]
SLOW = [
    *speed_keys(["mini-Xception"], ["ONNX Runtime", "tf.function"], "published, same runtime"),
    *speed_keys(["fer-small", "mini-Xception"], ["LiteRT"], "published, same runtime"),
    *speed_keys(["published"], ["ONNX Runtime"], "exported by Keras alone"),
    *speed_keys(["fer-small"], ["ONNX Runtime int8", "LiteRT int8"], "float32"),
    "fer-small, one face, LiteRT / 1 ms",
    "start-up and one face, ONNX Runtime / Keras",
]
# The keys of each benchmark's ratios and how many of them have a goal.
KEYS = {
    "training": [
        "capstone-model-2: real path / bare step",
        "capstone-model-2: real path / ImageDataGenerator",
        f"capstone-model-2: multiply-adds, bare step / {PRODUCT}",
        f"capstone-model-2: multiply-adds, forward pass / {PRODUCT}",
    ],
    "loading": [
        *(f"CSV: strict parse / {what}" for what in ("bytes", "pandas and fromstring", "split in Python")),
        *(f"CSV: second load / {what}" for what in ("bytes", "first load", "0.5 s")),
        "CSV: first load / bytes",
    ],
    "features": [
        "vgg16: 20 head epochs, features and all / through the backbone",
        "vgg16: head epoch on features / through the backbone",
    ],
    "video": [*(f"every {rest} / every 1" for rest in (2, 5, 10)), "every 5, and written / every 1, and written"],
    "recognition_speed": QUICK,
}
GOALS = {"training": 2, "loading": 3, "features": 0, "video": 1, "recognition_speed": 3}


@pytest.mark.parametrize("name", KEYS)
def test_a_benchmark_prints_and_records_each_of_its_ratios(name, tmp_path):
    (tmp_path / "speed.json").write_text('{"of another benchmark": {}}')
    entries, printed = run_benchmark(name, tmp_path)
    assert entries.pop("of another benchmark") == {}
    assert sorted(entries) == sorted(KEYS[name])
    for key, entry in entries.items():
        assert 0 < entry["ratio_low"] <= entry["ratio_high"], key
        assert entry["ratio"] > 0, key
        assert entry["ratio_by_processor"] is None or entry["ratio_by_processor"] > 0, key
        assert name != "recognition_speed" or "one core, one thread" in entry["machine"]
        what, _, against = key.partition(" / ")
        assert any(line.startswith(what) and f"  {against}  " in line for line in printed.splitlines()), key
    verdicts = [line for line in printed.splitlines() if line.startswith(("met: ", "NOT MET: "))]
    assert len(verdicts) == GOALS[name] == sum(entry["goal"] is not None for entry in entries.values())
    for verdict in verdicts:
        key = verdict.partition(": ")[2].partition(" is ")[0]
        assert entries[key]["met"] == verdict.startswith("met")


@pytest.fixture
def module(monkeypatch):
    """Import a benchmark; one of them holds its process on one core."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield pytest.importorskip
    if cores:
        os.sched_setaffinity(0, cores)


def test_all_ways_of_loading_read_the_same_pixels(module, own_folders):
    loading = module("loading")
    images, labels, split = loading.content(quick=True)
    file = loading.write_csv(own_folders / "fer2013.csv", images, labels, split)
    pieces = loading.csv_pieces(file, own_folders, few=5)
    for name in (loading.PARSE, loading.FIRST, loading.SECOND):
        faces = pieces[name]()
        assert np.array_equal(faces.images, images), name
        assert np.array_equal(faces.labels, labels), name
        assert np.array_equal(faces.split, split), name
    assert np.array_equal(pieces[loading.PANDAS](), images.reshape(len(images), -1))
    assert np.array_equal(pieces[loading.NAIVE](), images[:5].reshape(5, -1))


def test_rounds_take_turns_and_the_fastest_decide_whether_a_goal_is_met(module):
    ratios, calls = module("ratios"), []
    seconds = ratios.seconds_in_turn({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert all(len(values) == 3 for values in seconds.values())
    ratio = ratios.Ratio("this", "that", [1, 6], [2, 3], 10)
    assert (ratio.rounds, ratio.value, ratio.by_processor) == ([5, 20], 10 * 1 / 2, None)
    above, below = ratios.Seconds([1, 6]), ratios.Seconds([2, 3])
    above.processor, below.processor = 6, 4
    assert ratios.Ratio("this", "that", above, below, 10).by_processor == 15
    for goal, at_most, met in ((2, True, True), (2, False, True), (1, True, False), (3, False, False)):
        assert ratios.Ratio("this", "that", [9, 2, 4], [5, 8, 1], goal=goal, at_most=at_most).met is met


def test_ratios_of_recognition_are_of_time_a_face(module):
    benchmark = module("recognition_speed")
    runtimes = (benchmark.ONNX, benchmark.LITERT, benchmark.FUNCTION, benchmark.ALONE, *benchmark.INT8.values())
    pieces = itertools.product([*benchmark.NETWORKS, benchmark.START_UP], runtimes, (1, 64))
    seconds = {piece: [0.3, 0.2] for piece in pieces}
    seconds[benchmark.OURS, benchmark.ONNX, 1] = [0.03, 0.06]
    found = {ratio.key: ratio for ratio in benchmark.compare(seconds)}
    assert sorted(found) == sorted(QUICK + SLOW)
    assert found["fer-small, one face, ONNX Runtime / published, same runtime"].value == pytest.approx(0.15)
    single = found["fer-small, one face, ONNX Runtime / 1 ms"]
    assert single.value == pytest.approx(0.03 / 60 / 0.001), "sixty calls are timed together"
    assert single.met
    assert "0.5 ms a face" in single.scale
    assert found["start-up and one face, ONNX Runtime / 1 s"].value == pytest.approx(0.2)
    assert "1.56 against 1.56 ms a face" in found["mini-Xception, 64 faces, LiteRT / published, same runtime"].scale
