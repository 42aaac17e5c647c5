"""What ships is the network of a run with what its record says, whole or refused; and it is measured once a file."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys

import made_up
import numpy as np
import pytest

import fer_keras
from fer_keras import paths, recipes
from fer_keras.__main__ import main
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation import fit_temperature, with_temperature
from fer_keras.evaluation.heatmaps import REGIONS
from fer_keras.evaluation.robustness import CORRUPTIONS
from fer_keras.labels import FER4, FER7
from fer_keras.models import weights
from fer_keras.recipes import RECIPES
from fer_keras.recognition import networks
from fer_keras.results import find_run, read_run, read_table, write_run, write_table
from fer_keras.training import fit, load_network, shipping
from fer_keras.training.shipping import ship


@pytest.fixture
def trained(own_folders, monkeypatch):
    """Train a final recipe for one epoch on synthetic faces, recorded as if it were real."""
    recipe = dataclasses.replace(RECIPES["fer-small@four"], name="tiny", epochs=1, final=True)
    monkeypatch.setitem(recipes.RECIPES, "tiny", recipe)
    return fit(recipe, faces=drawn_faces(12, classes=FER4, seed=1), results=own_folders / "results", verbose=0)


def test_a_run_ships_with_its_record(trained, tmp_path, capsys):
    path = tmp_path / "out" / "fer-tiny.keras"
    assert main(["ship", "tiny", "--out", str(path)]) == 0
    assert capsys.readouterr().out.split() == [str(path.with_suffix(suffix)) for suffix in (".keras", ".json", ".onnx")]
    found = weights.load(path)
    assert found.classes == FER4
    assert found.card["name"] == "fer-tiny"
    assert found.card["metrics"] == trained.metrics
    assert found.card["data"] == trained.data
    recorded = trained.predictions("validation")
    assert found.temperature == pytest.approx(fit_temperature(recorded.labels, recorded.probabilities), abs=1e-4)
    assert "temperature_mirrored" not in found.card, "no mirror images were looked at"
    assert (found.name, found.size) == ("fer-tiny", (48, 48))
    images = drawn_faces(4, classes=FER4, seed=2).images
    expected = load_network(trained).predict_on_batch(images)
    np.testing.assert_allclose(found.predict(images), expected, atol=5e-3)


def test_the_mean_with_the_mirror_image_has_a_temperature_of_its_own(own_folders):
    run, history, said = made_up.run("fer-small", skill=1.0)
    flatter = {
        **said,
        "validation_flip": said["validation"]._replace(
            probabilities=with_temperature(said["validation"].probabilities, 2.0)
        ),
    }
    run = dataclasses.replace(run, metrics={**run.metrics, "validation_flip": run.metrics["validation"]})
    write_run(run, history, flatter)
    found = shipping.temperatures(find_run("fer-small"))
    assert found["temperature_mirrored"] == pytest.approx(found["temperature"] / 2, rel=0.02)


def replaced(monkeypatch, run, **changes):
    """Let a run be found with other fields than it has."""
    changed = dataclasses.replace(run, **changes)
    monkeypatch.setattr(shipping, "find_own_run", lambda recipe, seed: changed)
    return changed


NOT_FINAL = {"recipe": {"final": False}, "metrics": {"train": {}, "validation": {"accuracy": 0.5}}}


def test_a_run_that_was_stopped_does_not_ship(trained, monkeypatch, tmp_path):
    replaced(monkeypatch, trained, stopped="cut short", recipe=trained.recipe | {"epochs": 5})
    with pytest.raises(ValueError, match=r"trained to its end\. Received: 'tiny-.*', with 1 of 5 epochs\. The same"):
        ship("tiny", path=tmp_path / "tiny.keras")
    assert list(tmp_path.glob("tiny*")) == []


def test_the_package_takes_final_runs_only(trained, monkeypatch, tmp_path):
    replaced(monkeypatch, trained, **NOT_FINAL)
    monkeypatch.setattr(weights, "folder", lambda: tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    for path in (None, tmp_path / "weights" / "other.keras", tmp_path / "here" / ".." / "weights" / "other.keras"):
        with pytest.raises(ValueError, match=r"Expected a final run for the package's own folder.*pass a path such as"):
            ship("tiny", path=path)
    assert list((tmp_path / "weights").iterdir()) == []


def test_any_finished_run_of_ones_own_ships_elsewhere_with_metrics_on_validation(own_folders, monkeypatch):
    recipe = dataclasses.replace(RECIPES["capstone-model-1"], name="mine", epochs=1, final=False)
    faces = drawn_faces(6, classes=FER4, seed=1)
    run = fit(recipe, faces=faces, results=paths.build() / "results", verbose=0)
    assert not paths.results().exists()
    path = ship("mine", path=own_folders / "mine.keras")
    found = fer_keras.load(path)
    assert (found.name, found.classes) == ("mine", FER4)
    assert set(found.card["metrics"]) == {"validation"}
    assert found.card["metrics"]["validation"] == run.metrics["validation"]
    for part in (found.card["terms"], found.card["input"]["framing"]):
        assert run.data["source"] in part
        assert "FER-2013" not in part
    assert "FER-2013" not in found.card["limits"]
    images = drawn_faces(3, classes=FER4, seed=2).images
    np.testing.assert_allclose(found.predict(images), load_network(run).predict_on_batch(images), atol=5e-3)
    assert networks.open_network("mine").card["run"] == run.run, "it opens by the name of its recipe, too"
    assert sorted(path.name for path in own_folders.glob("mine*")) == ["mine.json", "mine.keras"]


def killed_at(number, path):
    """Save a network in a process of its own that is killed before it moves its `number`-th file to its place."""
    script = f"""
import os, signal
from fer_keras.models import build, weights

replace, moved = os.replace, []

def replace_or_die(source, target):
    moved.append(target)
    if len(moved) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = replace_or_die
card = {{name: name for name in weights.FIELDS if name != "sha256"}} | {{"classes": {list(FER4)}}}
weights.save(build("capstone-model-1", 4), {str(path)!r}, card)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_between_two_renames_a_network_is_refused_and_the_next_start_cleans_up(trained, tmp_path):
    path = tmp_path / "tiny.keras"
    assert ship("tiny", path=path) == path
    before = path.read_bytes()
    killed_at(1, path)
    assert path.read_bytes() == before
    assert weights.load(path).card["run"] == trained.run, "the earlier one, whole"
    killed_at(2, path)
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=r"its writing was stopped: .* write both again with `python -m"):
        weights.load(path)
    assert len(list(tmp_path.glob(".tiny.keras.*.tmp"))) == 2
    ship("tiny", path=path)
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith((".", "tiny"))) == [
        "tiny.json",
        "tiny.keras",
    ]
    assert weights.load(path).card["run"] == trained.run


def test_a_first_shipping_that_was_killed_leaves_no_network_without_its_card(trained, tmp_path):
    killed_at(2, tmp_path / "tiny.keras")
    with pytest.raises(ValueError, match=r"tiny\.json: Expected the card"):
        weights.load(tmp_path / "tiny.keras")


def test_an_onnx_file_of_another_network_than_the_card_beside_it_is_refused(trained, tmp_path):
    path = tmp_path / "tiny.keras"
    assert main(["ship", "tiny", "--out", str(path)]) == 0
    networks.open_network(path.with_suffix(".onnx"))
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"the network that tiny\.json describes.*Export it again.*or ship it again"):
        networks.open_network(path.with_suffix(".onnx"))
    card.write_text(json.dumps({"sha256": "of something else"}))
    networks.open_network(path.with_suffix(".onnx"))


def test_only_a_keras_file_is_written(trained, tmp_path):
    with pytest.raises(ValueError, match=r"to a \.keras file\. Received: .*tiny\.h5"):
        ship("tiny", path=tmp_path / "tiny.h5")


def test_what_was_never_trained_does_not_ship(own_folders):
    with pytest.raises(ValueError, match=r"'fer-small', seed 7, which has none\. Train it"):
        ship("fer-small", 7)


@pytest.fixture
def quickly(own_folders, monkeypatch):
    """Let one network ship, few corruptions be tried, and synthetic faces be FER-2013; return the numbers of images."""
    folder, asked = own_folders / "weights", []
    folder.mkdir()
    for suffix in (".keras", ".json"):
        shutil.copy(weights.folder() / f"mini-xception{suffix}", folder)
    monkeypatch.setattr(weights, "folder", lambda: folder)
    monkeypatch.setattr(shipping, "robustness", lambda *given: asked.append(len(given[2])) or [{"accuracy": 0.5}])
    monkeypatch.setattr(shipping, "load_fer7", lambda: drawn_faces(14, seed=1))
    monkeypatch.setattr(shipping, "IMAGES_PER_CLASS", 1)
    return asked


def test_what_ships_is_measured_once_a_file(quickly, capsys):
    faces = drawn_faces(14, seed=1)["validation"]
    assert main(["explain", "--record"]) == 0
    assert "measured: mini-xception" in capsys.readouterr().out
    assert quickly == [len(faces[1])]
    found = read_table("explain")["mini-xception"]
    card = weights.load("mini-xception").card
    assert (found["sha256"], found["split"], found["classes"]) == (card["sha256"], "validation", list(FER7))
    assert 0 < found["num_images"] <= 7
    for fill in shipping.FILLS:
        maps = found["deletion"][fill]
        assert set(maps) == {"occlusion", "grad-cam", "grad-cam++", shipping.LAST_MAP, "chance", "single pixels"}
        starts = [one["curve"][0] for one in maps.values()]
        assert max(starts) - min(starts) < 1e-5
        assert set(maps["occlusion"]["sooner_than"]) == {"chance", "another face", "single pixels"}
        assert maps["occlusion"]["sooner_than"]["chance"]["mean"] > 0
    regions = next(iter(found["emotions"]["occlusion"].values()))["regions"]
    assert sum(regions[name]["mean"] for name in REGIONS) == pytest.approx(1, abs=1e-4)
    assert all(mean.shape == (48, 48) and mean.max() == 255 for mean in read_table("mean_heat").values())
    assert main(["explain", "--record"]) == 0
    assert "measured: all was" in capsys.readouterr().out
    assert len(quickly) == 1
    write_table("explain", {"mini-xception": {"sha256": "of another file"}})
    assert shipping.inspect(["mini-xception"]) == ["mini-xception"]
    assert read_table("explain")["mini-xception"] == found


@pytest.mark.parametrize("name", weights.shipped())
def test_the_cards_that_ship_are_those_of_todays_code(name):
    network = weights.load(name)
    run = read_run(paths.results() / "runs" / f"{network.card['run']}.json")
    card = shipping.card(run, network.model.input_shape, name) | {"sha256": network.card["sha256"]}
    assert list(card) == list(network.card)
    assert json.loads(json.dumps(card)) == network.card


def test_what_is_recorded_is_of_the_files_that_ship():
    """Where a network was replaced, `python -m fer_keras explain --record` has to be run again."""
    for kind in ("explain", "robustness"):
        found = read_table(kind)
        assert "mini-xception" in found
        for name in set(found) & set(weights.shipped()):
            card = weights.read_card(weights.folder() / f"{name}.json")
            assert found[name]["sha256"] == card["sha256"], f"{kind}: {name} is another file now"
    for rows in (one["rows"] for one in read_table("robustness").values()):
        assert {row["kind"] for row in rows} == set(CORRUPTIONS)


def test_the_recorded_robustness_is_what_is_measured(fer2013_path):
    from fer_keras.data import load_fer7
    from fer_keras.evaluation.robustness import robustness

    network = weights.load("mini-xception")
    images, labels = load_fer7(fer2013_path)["validation"]
    found = robustness(network.predict, images, labels, kinds=("mouth covered",))
    expected = [row for row in read_table("robustness")["mini-xception"]["rows"] if row["kind"] == "mouth covered"]
    assert [row["accuracy"] for row in found] == pytest.approx([row["accuracy"] for row in expected], abs=2e-3)
