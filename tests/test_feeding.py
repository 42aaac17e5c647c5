"""What `fit` is fed with: every row once, in order, on any backend."""

import keras
import numpy as np
import pytest

from fer_keras.training import feeding
from fer_keras.training.feeding import feed

INPUTS = {"index": np.arange(10, dtype=np.int32), "box": np.arange(50, dtype=np.float32).reshape(10, 5)}
TARGETS, WEIGHTS = np.eye(10, dtype=np.float32), np.linspace(0, 1, 10, dtype=np.float32)


@pytest.mark.parametrize(("targets", "weights"), [(None, None), (TARGETS, None), (TARGETS, WEIGHTS)])
@pytest.mark.parametrize("batch_size", [4, 5, 16])
def test_batches_hold_every_row_once_and_in_order(targets, weights, batch_size):
    data = feed(batch_size, INPUTS, targets, weights)["x"]
    batches = list(data.as_numpy_iterator())
    assert len(batches) == len(data) == -(-10 // batch_size)
    assert all(len(batch[0]["index"]) == batch_size for batch in batches[:-1])
    given = tuple(arrays for arrays in (INPUTS, targets, weights) if arrays is not None)
    joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    keras.tree.map_structure(np.testing.assert_array_equal, joined, given)
    assert {part.dtype for part in keras.tree.flatten(joined)} == {part.dtype for part in keras.tree.flatten(given)}


def test_no_thread_tunes_them():
    assert feed(4, INPUTS)["x"].options().autotune.enabled is False


def test_other_backends_get_the_arrays(monkeypatch):
    monkeypatch.setattr(feeding.keras.backend, "backend", lambda: "jax")
    assert feed(4, INPUTS) == {"x": INPUTS, "batch_size": 4}
    assert feed(4, INPUTS, TARGETS, WEIGHTS) == {
        "x": INPUTS,
        "y": TARGETS,
        "sample_weight": WEIGHTS,
        "batch_size": 4,
    }


def test_a_model_says_of_them_what_it_says_of_arrays():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(10, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    pixels = INPUTS["box"] / 50
    expected = model.evaluate(pixels, TARGETS, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.evaluate(**feed(4, pixels, TARGETS), verbose=0), expected, rtol=1e-5)
    expected = model.predict(pixels, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.predict(**feed(4, pixels), verbose=0), expected, rtol=1e-5)
