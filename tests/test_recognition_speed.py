import os

import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

QUICK = [
    *(
        f"{network}, {number}, {runtime} / published, same runtime"
        for network in ("fer-small", "mini-Xception")
        for number in ("one face", "64 faces")
        for runtime in ("ONNX Runtime", "tf.function")
    ),
    *(
        f"{network}, {number}, ONNX Runtime / exported by Keras alone"
        for network in ("fer-small", "published")
        for number in ("one face", "64 faces")
    ),
    "fer-small, one face, ONNX Runtime / 1 ms",
    "start-up and one face, ONNX Runtime / 1 s",
]
SLOW = [
    *(
        f"{network}, {number}, LiteRT / published, same runtime"
        for network in ("fer-small", "mini-Xception")
        for number in ("one face", "64 faces")
    ),
    *(
        f"fer-small, {number}, {runtime} int8 / float32"
        for number in ("one face", "64 faces")
        for runtime in ("ONNX Runtime", "LiteRT")
    ),
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
    runtimes = (benchmark.ONNX, benchmark.LITERT, benchmark.FUNCTION)
    keys = [(name, runtime, number) for name in benchmark.NETWORKS for runtime in runtimes for number in (1, 64)]
    keys += [(benchmark.OURS, runtime, number) for runtime in benchmark.INT8.values() for number in (1, 64)]
    keys += [(name, benchmark.ALONE, n) for name in (benchmark.OURS, benchmark.PUBLISHED) for n in (1, 64)]
    keys += [(benchmark.START_UP, runtime, 1) for runtime in benchmark.OPENING]
    seconds = {key: [0.3, 0.2] for key in keys}
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
