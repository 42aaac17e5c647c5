"""Figures are written by one function, from recorded inputs, and only when those or the drawing code changed."""

import json

import made_up
import numpy as np
import pandas as pd
import pytest

from fer_keras import paths
from fer_keras.labels import FER7, SPLITS
from fer_keras.reporting import figures, networks, plotting
from fer_keras.reporting.catalogue import FIGURES, Entry
from fer_keras.reporting.catalogue.attention import SIX
from fer_keras.reporting.files import digest_of_code
from fer_keras.reporting.runs import write_run
from fer_keras.reporting.tables import write_table


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    for name in ("RESULTS", "FIGURES", "BUILD"):
        monkeypatch.setenv(f"FER_KERAS_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("FER_PROFILE", "full")
    monkeypatch.setitem(FIGURES, "sketch", Entry(9, "A figure that only its notebook can draw."))
    return tmp_path


def small():
    return plotting.bars({"happy": 3}, axis="images")


def state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_save_writes_the_figure_and_its_index(places):
    path = figures.save(small(), "sketch", inputs={"happy": 3})
    assert path == places / "figures" / "sketch.png"
    entry = json.loads((places / "figures" / "index.json").read_text())["sketch"]
    assert entry == {
        "digest": figures.digest([figures.drawing_code(), {"happy": 3}]),
        "notebook": 9,
        "alt": FIGURES["sketch"].alt,
    }


def test_the_same_inputs_leave_the_files_alone_and_others_do_not(places):
    figures.save(small(), "sketch", inputs={"happy": 3})
    before = state(places / "figures")
    figures.save(plotting.bars({"happy": 9}, axis="images"), "sketch", inputs={"happy": 3.00000000001})
    assert state(places / "figures") == before
    figures.save(plotting.bars({"happy": 9}, axis="images"), "sketch", inputs={"happy": 9})
    assert state(places / "figures")["sketch.png"] != before["sketch.png"]


def test_the_quick_profile_never_touches_the_report(places, monkeypatch):
    monkeypatch.setenv("FER_PROFILE", "quick")
    assert figures.save(small(), "sketch", inputs={}) == places / "build" / "figures" / "sketch.png"
    assert not (places / "figures").exists()


def test_private_figures_go_to_the_build_folder_only(places):
    path = figures.save_private(small(), "faces")
    assert path == places / "build" / "private" / "faces.png"
    assert path.is_file()
    assert not (places / "figures").exists()


def test_an_id_outside_the_catalogue_is_refused(places):
    with pytest.raises(ValueError, match=r"no figure 'copy'.*catalogue/"):
        figures.save(small(), "copy", inputs={})


def test_a_figure_of_the_records_is_not_saved_by_a_notebook(places):
    with pytest.raises(ValueError, match=r"'copies' is drawn from the records"):
        figures.save(small(), "copies", inputs={})
    with pytest.raises(ValueError, match=r"'sketch' cannot be drawn.*notebook 09"):
        figures.draw("sketch")


def test_a_figure_that_is_too_large_is_refused_and_not_written(places):
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 48))
    with pytest.raises(ValueError, match="at most 200,000 bytes"):
        figures.save(plotting.gallery(noise, side=1.2), "sketch", inputs={})
    assert not (places / "figures").exists()


def audit_tables():
    """Record a made-up audit and mean faces."""
    counts = {split: {name: 10 + index for index, name in enumerate(FER7)} for split in SPLITS}
    found = {"counts": counts, "copies": {split: dict.fromkeys(SPLITS, 3) for split in SPLITS}}
    found["agreement"] = {split: dict.fromkeys((*FER7, "all"), 0.5) for split in SPLITS}
    write_table("audit", found)
    write_table("mean_faces", {name: np.full((48, 48), 99, np.uint8) for name in FER7})


def test_everything_is_redrawn_from_the_records_once(places):
    made_up.results(places / "results")
    audit_tables()
    stage = {"kind": "dense", "label": "dense", "parameters": 7, "multiply_adds": 7, "marks": []}
    stages = [{**stage, "shape": [units]} for units in range(7, 12)]
    drawn = [name.removeprefix("architecture-") for name in FIGURES if name.startswith("architecture-")]
    networks.write({name: {"stages": stages} for name in drawn})
    write_table("search-sep-reduced", pd.DataFrame({"learning_rate": [0.1], "batch_size": [8], "accuracy": [0.5]}))
    missing = {name for name, entry in FIGURES.items() if entry.inputs and entry.inputs() is None}
    assert {"confusion-capstone-model-2", "history-emovision-eyes"} <= missing
    of_runs = {name for name in missing if not name.startswith(("heat-", "regions-"))}  # those are in test_looks
    assert not {name for name in of_runs if name.endswith(("mini-xception", "capstone-model-1", "emovision-baseline"))}
    assert set(figures.redraw_all()) == set(FIGURES) - {"sketch"} - missing
    assert figures.stale() == []
    before = state(places / "figures")
    assert figures.redraw_all() == []
    assert state(places / "figures") == before
    assert all(path.stat().st_size <= figures.LARGEST_BYTES for path in (places / "figures").iterdir())
    image = figures.draw("class-counts")
    assert [axes.get_title(loc="left")[:5] for axes in image.axes] == ["train", "valid", "test:"]


def test_a_new_run_makes_its_figures_stale_and_no_others(places, monkeypatch):
    small = {
        name: entry
        for name, entry in FIGURES.items()
        if name not in ("drawn-faces", "transforms", "history-mini-xception")
    }
    monkeypatch.setattr(figures, "FIGURES", small)
    made_up.results(places / "results")
    figures.redraw_all()
    write_run(*made_up.run("capstone-model-2", data="fer4", model="capstone-model-2"))
    named = {
        "curves-four",
        "recall-four",
        "curves-final",
        "recall-final",
        "history-capstone-model-2",
        "confusion-capstone-model-2",
        "leaderboard",
    }
    assert {message.split(".png")[0].rsplit("/")[-1] for message in figures.stale()} == named
    assert set(figures.redraw_all()) == named
    assert figures.stale() == []


def test_a_change_of_the_drawing_code_makes_every_figure_stale(places, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {name: FIGURES[name] for name in ("leaderboard", "cost")})
    made_up.results(places / "results")
    first = figures.redraw_all()
    assert figures.stale() == []
    (places / "figures" / "leaderboard.png").write_bytes(b"in another style")
    assert figures.redraw_all() == [], "the style is the code's"
    monkeypatch.setattr(figures, "drawing_code", lambda: "changed")
    assert [message.split(".png")[0].rsplit("/")[-1] for message in figures.stale()] == sorted(first)
    assert figures.redraw_all() == first
    assert (places / "figures" / "leaderboard.png").read_bytes()[:4] == b"\x89PNG"
    assert figures.stale() == []


def test_the_digest_of_code_is_of_every_module(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    for folder, name in (("one", "a.py"), ("one", "b.py"), ("two", "c.py")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(name)
    before = digest_of_code("one", "two")
    (tmp_path / "one" / "notes.txt").write_text("no code")
    (tmp_path / "one" / "a.py").write_bytes(b"a.py")
    assert digest_of_code("one", "two") == before != digest_of_code("one")
    (tmp_path / "two" / "c.py").write_text("c.py changed")
    assert digest_of_code("one", "two") != before


def test_what_does_not_belong_is_named(places):
    figures.redraw_all()  # only the drawn faces need no record
    folder = places / "figures"
    (folder / "sneaked.png").write_bytes(b"x" * 200_001)
    (folder / "transforms.png").unlink()
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "gone": {}}))
    messages = "\n".join(figures.stale())
    for expected in (
        "sneaked.png is in no index",
        "sneaked.png is larger",
        "transforms.png is missing",
        "no such figure",
    ):
        assert expected in messages


def test_a_figure_without_its_record_is_none(places):
    assert figures.draw("leaderboard") is None
    assert figures.draw("mean-faces") is None
    assert figures.draw("drawn-faces") is not None


def test_the_digest_sees_what_matters_and_nothing_else():
    table = pd.DataFrame({"a": [1, 2], "b": [0.1 + 0.2, float("nan")], "c": ["x", "y"]})
    same = pd.DataFrame({"a": [1, 2], "b": [0.3, float("nan")], "c": ["x", "y"]})
    assert figures.digest(table) == figures.digest(same)
    others = [same.assign(a=[1, 3]), same.rename(columns={"a": "z"}), same[["b", "a", "c"]], same.assign(b=[0.3, 0.4])]
    assert len({figures.digest(value) for value in (same, *others)}) == 5
    arrays = [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), np.ones((2, 3), np.uint8)]
    assert len({figures.digest({"x": value}) for value in arrays}) == 3
    assert figures.digest(arrays[0]) == figures.digest(arrays[0].astype(np.int64))
    assert figures.digest(["1"]) != figures.digest([1]) != figures.digest([True])
    with pytest.raises(ValueError, match="Received: <class 'set'>"):
        figures.digest({1, 2})


def test_every_entry_has_a_notebook_and_an_alternative_text():
    for name, entry in FIGURES.items():
        assert 1 <= entry.notebook <= 11, name
        assert entry.alt.endswith("."), name
        assert (entry.inputs is None) == (entry.plot is None), name


def test_show_says_which_figure_is_not_recorded_yet(places, capsys):
    made_up.results(places / "results")
    figures.show("curves-four", "confusion-capstone-model-2")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Figure(")
    assert "Markdown" in second


def test_the_figures_of_six_classes_and_of_the_final_network_follow_their_runs(places):
    names = [name for name in FIGURES if name.endswith(("-six", "capstone-final", "capstone-final@course", *SIX))]
    names = [name for name in names if not name.startswith("architecture-")]
    assert len(names) == 3 + 2 * (2 + len(SIX))
    assert all(figures.draw(name) is None for name in names)
    for name in SIX:
        write_run(*made_up.run(name, data="ferplus6", system="E", model=name))
    for name, protocol in (("capstone-final", "official"), ("capstone-final@course", "course")):
        write_run(*made_up.run(name, data="fer4", system="C", model="capstone-final", protocol=protocol))
    assert all(figures.draw(name) is not None for name in names)
    (axes,) = figures.draw("cost-six").axes
    assert {text.get_text() for text in axes.texts} == set(SIX)
