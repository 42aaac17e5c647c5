"""Training in bfloat16: what computes in it, and that nothing recorded does."""

import dataclasses

import keras
import numpy as np
import pytest

from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.models import build
from fer_keras.models.counting import leaves
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, load_network
from fer_keras.training.precision import computing_in

SHORT = dataclasses.replace(RECIPES["capstone-model-2"], name="halves", epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def faces():
    return drawn_faces(30, classes=FER4, seed=1)


@pytest.mark.parametrize("name", ["emovision-vgg-draft", "efficientnet"])
def test_all_layers_but_the_last_compute_in_bfloat16_for_as_long_as_they_should(name):
    network = build(name, 4, weights=None)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 1)).astype(np.float32)
    before = keras.ops.convert_to_numpy(network(pixels))
    with computing_in(network, "mixed_bfloat16"):
        assert {layer.compute_dtype for layer in leaves(network) if layer is not network.layers[-1]} == {"bfloat16"}
        halved = network(pixels)
    assert keras.backend.standardize_dtype(halved.dtype) == "float32"
    assert not np.array_equal(halved, before)
    np.testing.assert_allclose(halved, before, atol=0.02)
    assert {layer.compute_dtype for layer in leaves(network)} == {"float32"}
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(pixels)), before)


def test_a_run_trained_in_bfloat16_says_so_and_is_recorded_in_float32(faces, tmp_path):
    run = fit(SHORT, faces=faces, results=tmp_path, verbose=0, precision="mixed_bfloat16")
    assert run.device.endswith("mixed_bfloat16")
    network = load_network(run)
    assert {layer.compute_dtype for layer in leaves(network)} == {"float32"}
    images, _ = faces["validation"]
    said = network.predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(run.predictions("validation").probabilities, said, atol=1e-3)
    plain = fit(SHORT, faces=faces, results=tmp_path / "plain", verbose=0, force=True)
    assert "bfloat16" not in plain.device
    assert not np.array_equal(plain.history().loss, run.history().loss)


def test_a_run_goes_on_in_the_precision_it_was_begun_in(faces, tmp_path):
    options = {"faces": faces, "results": tmp_path, "verbose": 0, "minutes": 1e-9}
    recipe = dataclasses.replace(SHORT, name="halves-cut-short")
    assert fit(recipe, precision="mixed_bfloat16", **options).stopped_by_time
    with pytest.raises(ValueError, match=r"begun in mixed_bfloat16\. Received: float32"):
        fit(recipe, **options | {"minutes": None})
    assert fit(recipe, precision="mixed_bfloat16", **options | {"minutes": None}).epochs_run == 2


def test_an_unknown_precision_is_refused(faces):
    with pytest.raises(ValueError, match=r"must be one of float32, mixed_bfloat16\. Received: 'float64'"):
        fit(SHORT, faces=faces, precision="float64")
