import numpy as np
import pytest
from benchmark_runs import BENCHMARKS, run_benchmark

ROWS = {
    "training": [
        *(
            f"{recipe}: {what}"
            for recipe in ("capstone-model-2", "mini-xception")
            for what in (
                "real path / bare step",
                "real path / ImageDataGenerator",
                "multiply-adds, bare step / float32 matrix product",
                "multiply-adds, forward pass / float32 matrix product",
            )
        )
    ],
    "loading": [
        "CSV: strict parse / bytes",
        "CSV: first load / bytes",
        "CSV: strict parse / pandas and fromstring",
        "CSV: strict parse / split in Python",
        "CSV: second load / bytes",
        "CSV: second load / first load",
        "CSV: second load / 0.5 s",
    ],
    "features": [
        f"{network}: {what} / through the backbone"
        for network in ("vgg16", "efficientnet")
        for what in ("20 head epochs, features and all", "head epoch on features")
    ],
    "video": [*(f"every {rest} / every 1" for rest in (2, 5, 10)), "every 5, and written / every 1, and written"],
}
GOALS = {"training": 4, "loading": 3, "features": 0, "video": 1}


@pytest.mark.parametrize("name", ROWS)
def test_a_benchmark_prints_and_records_each_of_its_ratios(name, tmp_path):
    record = tmp_path / "speed.json"
    record.write_text('{"of another benchmark": {}}')
    entries, printed = run_benchmark(name, tmp_path)
    assert entries.pop("of another benchmark") == {}
    assert sorted(entries) == sorted(ROWS[name])
    for key, entry in entries.items():
        assert 0 < entry["ratio_low"] <= entry["ratio_high"], key
        assert entry["ratio"] > 0, key
        assert entry["ratio_by_processor"] is None or entry["ratio_by_processor"] > 0, key
        what, _, against = key.partition(" / ")
        assert any(line.startswith(what) and f"  {against}  " in line for line in printed.splitlines()), key
    verdicts = [line for line in printed.splitlines() if line.startswith(("met: ", "NOT MET: "))]
    assert len(verdicts) == GOALS[name] == sum(entry["goal"] is not None for entry in entries.values())
    for verdict in verdicts:
        key = verdict.partition(": ")[2].partition(" is ")[0]
        assert entries[key]["met"] == verdict.startswith("met")


@pytest.fixture
def loading(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return pytest.importorskip("loading")


def test_all_ways_of_loading_read_the_same_pixels(loading, own_folders):
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


def test_rounds_take_turns_and_ratios_are_of_the_same_round(loading):
    import ratios

    calls = []
    seconds = ratios.seconds_in_turn({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert all(len(values) == 3 for values in seconds.values())
    ratio = ratios.Ratio("this", "that", [1, 6], [2, 3], 10)
    assert ratio.rounds == [5, 20]
    assert ratio.value == 10 * 1 / 2, "the fastest against the fastest"
    assert ratio.by_processor is None
    above, below = ratios.Seconds([1, 6]), ratios.Seconds([2, 3])
    above.processor, below.processor = 6, 4
    assert ratios.Ratio("this", "that", above, below, 10).by_processor == 15


@pytest.mark.parametrize(
    ("goal", "at_most", "met"), [(2, True, True), (2, False, True), (1, True, False), (3, False, False)]
)
def test_the_fastest_rounds_decide_whether_a_goal_is_met(loading, goal, at_most, met):
    import ratios

    assert ratios.Ratio("this", "that", [9, 2, 4], [5, 8, 1], goal=goal, at_most=at_most).met is met
