"""Batch normalisation in one operation: the same training as with Keras' own, and only where it belongs."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.models import build
from fer_keras.models.counting import leaves
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, normalising
from fer_keras.training.normalising import normalising_at_once
from fer_keras.training.precision import computing_in

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.uniform(0, 255, (24, 48, 48, 1)).astype(np.float32)
TARGETS = np.eye(7, dtype=np.float32)[RANDOM.integers(0, 7, 24)]


def replaced(network):
    """Return the layers whose call is another than their class's."""
    return [layer for layer in leaves(network) if "call" in vars(layer)]


def nothing(network):
    """Return a context that changes nothing."""
    return contextlib.nullcontext()


def flat(network):
    """Return all values of a network in one array."""
    return np.concatenate([values.ravel() for values in network.get_weights()])


def trained(name, context, *, freeze, epochs):
    """Return a network after some epochs of three steps, inside a context."""
    keras.utils.set_random_seed(1)
    network = build(name, 7, weights=None)
    for layer in list(leaves(network))[:freeze]:
        layer.trainable = False
    with context(network):
        network.compile(keras.optimizers.SGD(0.05), "categorical_crossentropy", jit_compile=False)
        network.fit(PIXELS, TARGETS, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return network


@pytest.mark.parametrize("size", [(16, 6, 6, 5), (1, 3, 3, 5), (4, 1, 1, 5)])
def test_a_layer_gives_the_outputs_gradients_and_statistics_of_keras(size):
    pixels, wanted = (tf.constant(RANDOM.normal(3, 2, size), tf.float32) for _ in range(2))
    found = []
    for context in (normalising_at_once, nothing):
        inputs = keras.Input(size[1:])
        network = keras.Model(inputs, layers.BatchNormalization(momentum=0.9)(inputs))
        network.set_weights([np.linspace(0.5, 2, 5), np.linspace(-1, 1, 5), np.full(5, 2.0), np.full(5, 3.0)])
        with context(network), tf.GradientTape() as tape:
            tape.watch(pixels)
            outputs = network(pixels, training=True)
            loss = tf.reduce_sum(outputs * wanted)
        gradients = tape.gradient(loss, [pixels, *network.trainable_variables])
        found.append([outputs.numpy(), *(gradient.numpy() for gradient in gradients), *network.get_weights()])
    for given, expected in zip(*found, strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("freeze", [0, 12])
def test_it_trains_as_keras_does(freeze):
    start, own, expected = (
        flat(trained("fer-small", context, freeze=freeze, epochs=epochs))
        for context, epochs in ((nothing, 0), (normalising_at_once, 2), (nothing, 2))
    )
    # Rounding may turn a ReLU here or there, and grows from step to step.
    assert np.linalg.norm(own - expected) < 0.05 * np.linalg.norm(expected - start)


def test_it_normalises_in_float32_what_comes_in_bfloat16():
    inputs = keras.Input((4, 4, 3))
    network = keras.Model(inputs, layers.Activation("linear")(layers.BatchNormalization()(inputs)))
    pixels = (1000 + RANDOM.standard_normal((64, 4, 4, 3))).astype(np.float32)
    with computing_in(network, "mixed_bfloat16"):
        expected = network(keras.ops.cast(pixels, "bfloat16"), training=True)
        network.layers[1].moving_mean.assign(np.zeros(3))
        with normalising_at_once(network):
            given = network(keras.ops.cast(pixels, "bfloat16"), training=True)
    one_step = 2**-7  # of a bfloat16, relative
    np.testing.assert_allclose(np.asarray(given, np.float32), np.asarray(expected, np.float32), rtol=one_step)
    np.testing.assert_allclose(network.layers[1].moving_mean.numpy(), 10, rtol=0.01)


def test_it_ends_with_its_context_and_a_network_saves_as_ever(tmp_path):
    network = build("mini-xception", 7, weights=None)
    with normalising_at_once(network):
        assert len(replaced(network)) == 14
    assert not replaced(network)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_array_equal(again.predict(PIXELS, verbose=0), network.predict(PIXELS, verbose=0))


def test_outside_of_training_it_uses_the_moving_statistics():
    network = build("fer-small", 7, weights=None)
    expected = keras.ops.convert_to_numpy(network(PIXELS, training=False))
    with normalising_at_once(network):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(PIXELS, training=False)), expected)


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(synchronized=True),
        layers.BatchNormalization(axis=1),
        layers.BatchNormalization(scale=False),
        layers.BatchNormalization(renorm=True),
        layers.LayerNormalization(),
    ],
    ids=["synchronized", "first axis", "no scale", "renorm", "layer normalisation"],
)
def test_what_it_cannot_do_is_left_to_keras(layer):
    network = keras.Sequential([keras.Input((4, 4, 3)), layer])
    with normalising_at_once(network):
        assert not replaced(network)


def test_vectors_and_other_backends_are_left_to_keras(monkeypatch):
    vectors = keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])
    with normalising_at_once(vectors):
        assert not replaced(vectors)
    monkeypatch.setattr(normalising.keras.backend, "backend", lambda: "jax")
    network = build("mini-xception", 7, weights=None)
    with normalising_at_once(network):
        assert not replaced(network)


def test_a_training_uses_it(monkeypatch, tmp_path):
    used = set()

    def normalise(layer, *args, **options):
        used.add(id(layer))
        return layers.BatchNormalization.call(layer, *args, **options)

    monkeypatch.setattr(normalising, "normalise", normalise)
    recipe = dataclasses.replace(RECIPES["capstone-model-2"], name="at-once", epochs=1, batch_size=32)
    fit(recipe, faces=drawn_faces(20, classes=FER4, seed=1), results=tmp_path, verbose=0)
    assert len(used) == 4
