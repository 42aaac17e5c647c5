"""The benchmark of scale: what it makes of measured seconds, and a quick run of all of it."""

from pathlib import Path

import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

pytest.importorskip("ray")

WORDS = ("", ", start of the workers included")
RATIOS = [f"{kind}, two workers{words} / one worker" for kind in ("recognition", "sweep") for words in WORDS]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the benchmark itself sets it
    monkeypatch.syspath_prepend(BENCHMARKS)
    return pytest.importorskip("scale")


def made_up(work, memory):
    return {"ray": 5.0, "workers": 3.0, "work": work, "whole": work + 3.0, "memory": {"Rss": memory, "Pss": 1.0}}


def test_ratios_and_figures_are_those_of_the_fastest_rounds(benchmark):
    seconds = {1: [10.0, 8.0], 2: [4.0, 6.0]}
    runs = {
        (kind, workers): [made_up(found[0], 100.0), made_up(found[1], 200.0)]
        for kind in (benchmark.RECOGNITION, benchmark.SWEEP)
        for workers, found in seconds.items()
    }
    found = {ratio.key: ratio for ratio in benchmark.compare(runs)}
    assert sorted(found) == sorted(RATIOS)
    one, whole = found[RATIOS[0]], found[RATIOS[3]]
    assert (one.value, one.met, whole.value, whole.goal) == (2.0, True, pytest.approx(11 / 7), None)
    figures, pictures = benchmark.summary(runs, {"start-up": {"import": 1.0}}, benchmark.FULL), benchmark.FULL.pictures
    assert figures["pictures a second"] == {"one worker": pictures / 8, "two workers": pictures / 4}
    shares = figures["start-up"]["share of pictures on two cores"]
    assert shares["10000"] == pytest.approx(8 / (8 + 10000 / (pictures / 4)))
    assert shares["10000000"] < shares["10000"] < 1
    assert figures["memory a worker in MB"]["recognition"] == {"rss": 200.0, "pss": 1.0}


def test_a_quick_run_measures_all_of_it(tmp_path):
    entries, _ = run_benchmark("scale", tmp_path, seconds=900)
    figures = entries.pop("figures")
    assert sorted(entries) == sorted(RATIOS)
    assert [key for key, entry in entries.items() if entry["goal"]] == sorted(RATIOS)[::2]
    picture = figures["a picture"]
    assert picture["pictures"] == picture["pictures a file of faces"] == 12
    assert 10 <= picture["faces"] <= 14
    stages = dict(picture["milliseconds"])
    assert sum(value for stage, value in stages.items() if stage != "whole") == pytest.approx(stages["whole"], abs=0.01)
    assert all(stages[stage] > 0 for stage in ("decode", "detection", "crop", "network"))
    assert picture["bytes in"] > 10_000 > picture["bytes out"] > 0
    assert all(figures["start-up"][part] > 0 for part in ("import", "network and detector", "ray", "workers"))
    if Path("/proc/self/smaps_rollup").exists():
        for kind, least in (("recognition", 50), ("sweep", 200)):
            memory = figures["memory a worker in MB"][kind]
            assert memory["rss"] > memory["pss"] > least
