import itertools
import os

import pytest
from benchmark_runs import BENCHMARKS, run_benchmark


def keys(networks, runtimes, against):
    """Keys of ratios of one face and of 64 faces."""
    parts = itertools.product(networks, ("one face", "64 faces"), runtimes)
    return [f"{network}, {number}, {runtime} / {against}" for network, number, runtime in parts]


QUICK = [
    *keys(["fer-small", "mini-Xception"], ["ONNX Runtime", "tf.function"], "published, same runtime"),
    *keys(["fer-small", "published"], ["ONNX Runtime"], "exported by Keras alone"),
    "fer-small, one face, ONNX Runtime / 1 ms",
    "start-up and one face, ONNX Runtime / 1 s",
]
SLOW = [
    *keys(["fer-small", "mini-Xception"], ["LiteRT"], "published, same runtime"),
    *keys(["fer-small"], ["ONNX Runtime int8", "LiteRT int8"], "float32"),
    "fer-small, one face, LiteRT / 1 ms",
    "start-up and one face, ONNX Runtime / Keras",
]


@pytest.fixture
def benchmark(monkeypatch):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield pytest.importorskip("recognition_speed")
    if cores:  # the benchmark holds its process on one
        os.sched_setaffinity(0, cores)


def test_it_prints_and_records_each_of_its_ratios(tmp_path):
    entries, _ = run_benchmark("recognition_speed", tmp_path)
    assert sorted(entries) == sorted(QUICK)
    for key, entry in entries.items():
        assert 0 < entry["ratio_low"] <= entry["ratio_high"], key
        assert entry["ratio"] > 0, key
        assert "one core, one thread" in entry["machine"]
    goals = {key for key, entry in entries.items() if entry["goal"] is not None}
    assert goals == {
        "fer-small, 64 faces, ONNX Runtime / published, same runtime",
        "fer-small, one face, ONNX Runtime / 1 ms",
        "start-up and one face, ONNX Runtime / 1 s",
    }


def test_ratios_are_of_time_a_face(benchmark):
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
