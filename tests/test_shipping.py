"""What ships is the network of a run with what its record says, whole or refused; and it is measured once a file."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from small_networks import small

import fer_keras
from fer_keras import cards, paths
from fer_keras.__main__ import main
from fer_keras.data import load_fer7
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import heatmaps
from fer_keras.evaluation.explain import LAST_MAP
from fer_keras.evaluation.robustness import CORRUPTIONS, robustness
from fer_keras.labels import FER4, FER7
from fer_keras.models import weights
from fer_keras.recipes import RECIPES
from fer_keras.recognition import networks
from fer_keras.results import read_run, read_table, write_table
from fer_keras.training import fit, load_network, shipping, trainer
from fer_keras.training.shipping import ship

TINY = dataclasses.replace(RECIPES["capstone-model-1"], name="tiny", epochs=1, final=True)
IMAGES = make_faces(4, classes=FER4, seed=2).images


@pytest.fixture
def trained(own_folders, monkeypatch, faces):
    """A final recipe, trained for one epoch on synthetic faces and recorded as if they were real."""
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    monkeypatch.setattr(trainer, "build", small)
    return fit(TINY, faces=faces, results=paths.results(), verbose=0)


def test_a_run_ships_with_its_record_and_an_onnx_file_of_the_same_network(trained, tmp_path, capsys):
    path, card = (tmp_path / "out" / f"fer-tiny.{suffix}" for suffix in ("keras", "json"))
    assert main(["ship", "tiny", "--out", str(path)]) == 0
    assert capsys.readouterr().out.split() == [str(path), str(card), str(path.with_suffix(".onnx"))]
    found = weights.load(path)
    assert (found.name, found.classes, found.size) == ("fer-tiny", FER4, (48, 48))
    assert (found.card["metrics"], found.card["data"]) == (trained.metrics, trained.data)
    assert "temperature_mirrored" not in found.card, "no mirror images were looked at"
    np.testing.assert_allclose(found.predict(IMAGES), load_network(trained).predict_on_batch(IMAGES), atol=5e-3)
    networks.open_network(path.with_suffix(".onnx"))
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"the network that fer-tiny\.json describes.*Export it again"):
        networks.open_network(path.with_suffix(".onnx"))


def test_what_may_not_ship_is_refused(trained, monkeypatch, tmp_path):
    short = {"stopped": "cut short", "recipe": trained.recipe | {"epochs": 5}}
    ensemble = {"recipe": trained.recipe | {"members": [["general", ""]]}, "data": {"fingerprint": "another"}}
    chosen = {"recipe": {"final": False}, "metrics": {"train": {}, "validation": {"accuracy": 0.5}}}
    monkeypatch.setattr(weights, "folder", lambda: tmp_path / "weights")
    elsewhere = r"Expected a final run for the package's own folder.*pass a path such as"
    for seed, changes, file, message in (
        (0, {}, "tiny.h5", r"to a \.keras file\. Received: .*tiny\.h5"),
        (7, {}, None, r"'tiny', seed 7, which has none\. Train it"),
        (0, short, "tiny.keras", r"trained to its end\. Received: 'tiny-.*', with 1 of 5 epochs\. The same"),
        (0, chosen, None, elsewhere),
        (0, chosen, "weights/other.keras", elsewhere),
        (0, chosen, "here/../weights/other.keras", elsewhere),
        (0, {}, "/proc/nope/tiny.keras", "Expected a place where a file can be written"),
        (0, ensemble, "tiny.keras", "An ensemble has no network of its own.*Take general"),
    ):
        run = None if seed else dataclasses.replace(trained, **changes)
        monkeypatch.setattr(shipping, "find_own_run", lambda *_, run=run: run)
        with pytest.raises(ValueError, match=message):
            ship("tiny", seed, path=file and tmp_path / file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "results"], "where it is trained"


def test_any_finished_run_of_ones_own_ships_elsewhere_with_metrics_on_validation(own_folders, faces, monkeypatch):
    monkeypatch.setattr(trainer, "build", small)
    recipe = dataclasses.replace(TINY, name="mine", final=False)
    run = fit(recipe, faces=faces, results=paths.build() / "results", verbose=0)
    found = fer_keras.load(ship("mine", path=own_folders / "mine.keras"))
    assert (found.name, found.classes) == ("mine", FER4)
    assert found.card["metrics"] == {"validation": run.metrics["validation"]}
    assert run.data["source"] in found.card["terms"]
    assert "FER-2013" not in found.card["terms"] + found.card["input"]["framing"] + found.card["limits"]
    assert sorted(path.name for path in own_folders.glob("mine*")) == ["mine.json", "mine.keras"]
    assert networks.open_network("mine").card["run"] == run.run, "it opens and exports by the name of its recipe, too"
    exported = networks.open_network(fer_keras.export("mine", own_folders / "exported.onnx"))
    np.testing.assert_allclose(exported.predict(IMAGES), load_network(run).predict_on_batch(IMAGES), atol=1e-5)


def test_a_run_that_was_trained_elsewhere_has_the_network_that_ships(own_folders):
    for name in weights.shipped():
        network = weights.load(name)
        run = read_run(paths.PACKAGE.parent / "reports" / "results" / "runs" / f"{network.card['run']}.json")
        assert all(map(np.array_equal, load_network(run).get_weights(), network.model.get_weights()))
    with pytest.raises(ValueError, match=r"Expected the network of run .* on this machine"):
        load_network(dataclasses.replace(run, data=run.data | {"fingerprint": "another"}))


def test_stopped_between_two_renames_a_network_is_refused_and_shipped_anew(trained, tmp_path, monkeypatch):
    def stop_at_card(source, target, replace=os.replace):
        replace(source, target if target.suffix == ".keras" else target / "not there")

    path = ship("tiny", path=tmp_path / "out" / "tiny.keras")
    card = json.loads(path.with_suffix(".json").read_text())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_at_card)
        with pytest.raises(OSError, match="not there"):
            weights.save(small("", 4), path, card)
    with pytest.raises(ValueError, match=r"its writing was stopped: .* write both again with `python -m"):
        weights.load(path)
    (path.parent / ".tiny.keras.4194305.tmp").mkdir()  # of a process that was killed
    ship("tiny", path=path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.json", "tiny.keras"]
    assert weights.load(path).card["run"] == trained.run


def test_what_ships_is_measured_once_a_file_on_what_was_published(own_folders, capsys, monkeypatch):
    """One network ships, few corruptions are tried, synthetic faces are FER-2013."""
    folder, seven, asked = own_folders / "weights", make_faces(14, seed=1), []
    folder.mkdir()
    for suffix in (".keras", ".json"):
        shutil.copy(weights.folder() / f"mini-xception{suffix}", folder)
    for module in (cards, weights):
        monkeypatch.setattr(module, "folder", lambda: folder)
    monkeypatch.setattr(shipping, "robustness", lambda *given: asked.append(len(given[2])) or [{"accuracy": 0.5}])
    monkeypatch.setattr(shipping, "load_fer7", lambda: seven)
    monkeypatch.setattr("fer_keras.evaluation.explain.IMAGES_PER_CLASS", 1)
    assert main(["explain", "--record"]) == 0
    assert "measured: mini-xception" in capsys.readouterr().out
    found, about = read_table("explain")["mini-xception"], weights.load("mini-xception").card
    assert (found["sha256"], found["split"], found["classes"]) == (about["sha256"], "validation", list(FER7))
    assert 0 < found["num_images"] <= 7
    for maps in (found["deletion"][fill] for fill in heatmaps.FILLS):
        assert set(maps) == {"occlusion", "grad-cam", "grad-cam++", LAST_MAP, "chance", "single pixels"}
        assert maps["occlusion"]["sooner_than"]["chance"]["mean"] > 0
    assert shipping.inspect(["mini-xception"]) == []
    assert asked == [len(seven["validation"][1])], "measured once"
    write_table("explain", {"mini-xception": {"sha256": "of another file"}})
    altered = dataclasses.replace(seven, difference="one label is another")
    monkeypatch.setattr(shipping, "load_fer7", lambda: altered)
    with pytest.raises(ValueError, match=r"as it was published\. Received: one label is another"):
        shipping.inspect(["mini-xception"])


def test_what_is_recorded_is_of_the_files_that_ship_and_of_todays_code():
    """Where a network was replaced, `python -m fer_keras explain --record` has to be run again."""
    shipped = {name: json.loads((weights.folder() / f"{name}.json").read_text("utf-8")) for name in weights.shipped()}
    for name, found in shipped.items():
        run = read_run(paths.results() / "runs" / f"{found['run']}.json")
        today = cards.make_card(run, (None, 48, 48, 1), name) | {"sha256": found["sha256"]}
        assert list(json.loads(json.dumps(today)).items()) == list(found.items())
        assert weights.digest_of(weights.folder() / f"{name}.keras") == found["sha256"]
    for kind in ("explain", "robustness"):
        assert "mini-xception" in read_table(kind)
        for name, found in read_table(kind).items():
            assert found["sha256"] == shipped.get(name, found)["sha256"], f"{kind}: {name} is another file now"
    for rows in (one["rows"] for one in read_table("robustness").values()):
        assert {row["kind"] for row in rows} == set(CORRUPTIONS)


def test_the_recorded_robustness_is_what_is_measured(fer2013_path):
    images, labels = load_fer7(fer2013_path)["validation"]
    found = robustness(weights.load("mini-xception").predict, images, labels, kinds=("mouth covered",))
    expected = [row for row in read_table("robustness")["mini-xception"]["rows"] if row["kind"] == "mouth covered"]
    assert [row["accuracy"] for row in found] == pytest.approx([row["accuracy"] for row in expected], abs=2e-3)
