"""What ships is the network of a final run, with what its record says."""

import dataclasses

import made_up
import numpy as np
import pytest

from fer_keras import recipes
from fer_keras.__main__ import main
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation import fit_temperature, with_temperature
from fer_keras.labels import FER4
from fer_keras.models import weights
from fer_keras.recipes import RECIPES
from fer_keras.results import find_run, write_run
from fer_keras.training import fit, load_network, shipping
from fer_keras.training.shipping import ship


@pytest.fixture
def trained(own_folders, monkeypatch):
    """Train a final recipe for one epoch on drawn faces, recorded as if it were real."""
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


@pytest.mark.parametrize(
    "change", [{"stopped": "cut short"}, {"recipe": {"final": False}, "metrics": {"validation": {}}}]
)
def test_a_run_that_is_not_final_or_not_whole_does_not_ship(trained, monkeypatch, change, tmp_path):
    run = dataclasses.replace(trained, **change)
    monkeypatch.setattr("fer_keras.training.shipping.find_run", lambda recipe, seed: run)
    with pytest.raises(ValueError, match="a final run that was trained to its end"):
        ship("tiny", path=tmp_path / "tiny.keras")
    assert list(tmp_path.glob("tiny*")) == []


def test_only_a_keras_file_is_written(trained, tmp_path):
    with pytest.raises(ValueError, match=r"to a \.keras file\. Received: .*tiny\.h5"):
        ship("tiny", path=tmp_path / "tiny.h5")


def test_what_was_never_trained_does_not_ship(own_folders):
    with pytest.raises(ValueError, match=r"'fer-small', seed 7, which has none\. Train it"):
        ship("fer-small", 7)
