"""The model in training: batches, augmentation, precision, fused batch normalisation, macro metrics."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.metrics import precision_score, recall_score
from small_networks import small

from fer_keras.data.augmentation import Augmentation
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.models import build
from fer_keras.models.inputs import leaves
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, load_network, trainer, training_model
from fer_keras.training.training_model import (
    Batches,
    DrawEpochs,
    MacroMetric,
    TrainingModel,
    augment,
    computing_in,
    fused_batch_norm,
)

INPUTS = {"index": np.arange(10, dtype=np.int32), "box": np.arange(50, dtype=np.float32).reshape(10, 5)}
TARGETS, WEIGHTS = np.eye(10, dtype=np.float32), np.linspace(0, 1, 10, dtype=np.float32)
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.uniform(0, 255, (24, 48, 48, 1)).astype(np.float32)


@pytest.mark.parametrize("arrays", [(INPUTS, TARGETS), (INPUTS, TARGETS, WEIGHTS)])
@pytest.mark.parametrize("batch_size", [4, 5, 16])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_batches_hold_every_row_once_and_in_order(arrays, batch_size, backend, monkeypatch):
    monkeypatch.setattr(training_model.keras.backend, "backend", lambda: backend)

    def batches(images=None):
        made = Batches(arrays, batch_size, images)
        data = made.feed()
        made.arrays = keras.tree.map_structure(lambda rows: rows[::-1], arrays)  # arrays may be replaced
        found = [data[i] for i in range(len(data))] if backend == "jax" else list(data.as_numpy_iterator())
        assert len(found) == len(data) == -(-10 // batch_size)
        return found

    found, images = batches(), RANDOM.integers(0, 256, (10, 3, 3, 1), dtype=np.uint8)
    assert all(len(batch[0]["index"]) == batch_size for batch in found[:-1])
    joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts)[::-1], *found)
    keras.tree.map_structure(np.testing.assert_array_equal, joined, arrays)
    assert [part.dtype for part in keras.tree.flatten(joined)] == [part.dtype for part in keras.tree.flatten(arrays)]
    pixels = np.concatenate([inputs for inputs, *_ in batches(images)])
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, images[::-1])


def test_an_epoch_is_drawn_from_seed_and_number_alone():
    network = keras.Sequential([keras.Input((3,)), layers.Dropout(0.5)])
    how = {"seed": 3, "batch_size": 4, "augmentation": (Augmentation(rotation_degrees=9, mixup_alpha=0.3), (48, 48))}
    first, second = (DrawEpochs(network, (np.arange(2, 10), TARGETS, None), **how) for _ in range(2))
    second.draw(0)
    one, two = first.draw(1), second.draw(1)
    keras.tree.map_structure(np.testing.assert_array_equal, one, two)
    assert not np.array_equal(one[0]["index"], first.draw(2)[0]["index"])
    assert sorted(one[0]["index"]) == list(range(2, 10))
    assert one[0]["partner"].max() < 4


def test_teachers_see_the_augmented_images():
    """The loss of a step by hand: a quarter of each target is the teachers' mean for the augmented, mixed image."""
    keras.utils.set_random_seed(5)
    faces = make_faces(6, classes=FER4, seed=1)
    network, *teachers = (build("capstone-model-1", 4) for _ in range(3))
    model = TrainingModel(network, faces.images, teachers=teachers, share=0.25, temperature=2.0)
    model.compile(loss="categorical_crossentropy")
    one_hot = np.eye(4, dtype=np.float32)[faces.labels]
    augmentation = (Augmentation(rotation_degrees=10, mixup_alpha=0.2), (48, 48))
    draw = DrawEpochs(network, (np.arange(16), one_hot, None), seed=3, batch_size=16, augmentation=augmentation)
    inputs, targets = draw.draw(0)
    answers = np.full((16, 4), [0.4, 0.3, 0.2, 0.1], np.float32)
    pixels = augment(faces.images[inputs["index"]].astype(np.float32), inputs)
    softened = np.sqrt(np.mean([teacher(pixels, training=False) for teacher in teachers], axis=0))
    mixed = 0.75 * targets + 0.25 * softened / softened.sum(axis=1, keepdims=True)
    for training, expected in ((True, mixed), (False, targets)):
        loss = model.compute_loss(inputs, targets, answers, training=training)
        assert float(loss) == pytest.approx(-(expected * np.log(answers)).sum(axis=1).mean(), rel=1e-4)
    assert len(model.trainable_variables) == len(network.trainable_variables)


@pytest.mark.parametrize("name", ["emovision-vgg-draft", "efficientnet"])
def test_all_layers_but_the_last_compute_in_bfloat16_for_as_long_as_they_should(name):
    network, pixels = build(name, 4, weights=None), PIXELS[:2]
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


def test_a_run_begun_in_bfloat16_is_resumed_in_it_and_recorded_in_float32(own_folders, monkeypatch):
    used, fused = set(), training_model.normalise

    def normalise(layer, *args, **options):
        used.add(id(layer))
        return fused(layer, *args, **options)

    monkeypatch.setattr(training_model, "normalise", normalise)
    monkeypatch.setattr(trainer, "build", small)
    faces = make_faces(30, classes=FER4, seed=1)
    recipe = dataclasses.replace(RECIPES["capstone-model-2"], name="halves", epochs=2, batch_size=32, final=False)
    options = {"faces": faces, "verbose": 0, "precision": "mixed_bfloat16"}
    assert fit(recipe, minutes=1e-9, **options).stopped_by_time
    with pytest.raises(ValueError, match=r"begun in mixed_bfloat16\. Received: float32"):
        fit(recipe, **options | {"precision": None})
    run = fit(recipe, **options)
    assert (run.epochs_run, run.resumed, len(used)) == (2, 1, 2), "batch normalisation is fused"
    assert run.device.endswith("mixed_bfloat16")
    network = load_network(run)
    assert {layer.compute_dtype for layer in leaves(network)} == {"float32"}
    found = network.predict(faces["validation"][0].astype(np.float32), verbose=0)
    np.testing.assert_allclose(run.predictions("validation").probabilities, found, atol=1e-3)
    history, plain = run.history(), fit(recipe, force=True, **options | {"precision": "float32"})
    assert "bfloat16" not in plain.device
    assert not np.array_equal(plain.history().loss, history.loss)


def replaced(network):
    """The layers whose call is another than their class's, while batch normalisation is fused."""
    with fused_batch_norm(network):
        return [layer for layer in leaves(network) if "call" in vars(layer)]


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("size", [(16, 6, 6, 5), (1, 3, 3, 5), (4, 1, 1, 5)])
def test_a_layer_gives_the_outputs_gradients_and_statistics_of_keras(size, trainable):
    pixels, wanted = (tf.constant(RANDOM.normal(3, 2, size), tf.float32) for _ in range(2))
    found = []
    for context in (fused_batch_norm, contextlib.nullcontext):
        inputs = keras.Input(size[1:])
        network = keras.Model(inputs, layers.BatchNormalization(momentum=0.9, trainable=trainable)(inputs))
        network.set_weights([np.linspace(0.5, 2, 5), np.linspace(-1, 1, 5), np.full(5, 2.0), np.full(5, 3.0)])
        with context(network), tf.GradientTape() as tape:
            tape.watch(pixels)
            outputs = network(pixels, training=True)
            loss = tf.reduce_sum(outputs * wanted)
        gradients = tape.gradient(loss, [pixels, *network.trainable_variables])
        found.append([outputs.numpy(), *(gradient.numpy() for gradient in gradients), *network.get_weights()])
    for given, expected in zip(*found, strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max()))


def test_it_normalises_in_float32_what_comes_in_bfloat16():
    inputs = keras.Input((4, 4, 3))
    network = keras.Model(inputs, layers.Activation("linear")(layers.BatchNormalization()(inputs)))
    pixels = (1000 + RANDOM.standard_normal((64, 4, 4, 3))).astype(np.float32)
    with computing_in(network, "mixed_bfloat16"):
        expected = network(keras.ops.cast(pixels, "bfloat16"), training=True)
        network.layers[1].moving_mean.assign(np.zeros(3))
        with fused_batch_norm(network):
            given = network(keras.ops.cast(pixels, "bfloat16"), training=True)
    one_step = 2**-7  # of a bfloat16, relative
    np.testing.assert_allclose(np.asarray(given, np.float32), np.asarray(expected, np.float32), rtol=one_step)
    np.testing.assert_allclose(network.layers[1].moving_mean.numpy(), 10, rtol=0.01)


def test_it_ends_with_its_context_and_outside_of_training_uses_the_moving_statistics(tmp_path, monkeypatch):
    network = build("mini-xception", 7, weights=None)
    expected = keras.ops.convert_to_numpy(network(PIXELS, training=False))
    assert len(replaced(network)) == 14
    with fused_batch_norm(network):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(PIXELS, training=False)), expected)
    assert not [layer for layer in leaves(network) if "call" in vars(layer)]
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(PIXELS, training=False)), expected)
    monkeypatch.setattr(training_model.keras.backend, "backend", lambda: "jax")
    assert not replaced(network)


def test_what_it_cannot_do_is_left_to_keras():
    options = ({"synchronized": True}, {"axis": 1}, {"scale": False}, {"renorm": True})
    others = [layers.BatchNormalization(**each) for each in options]
    for layer in [*others, layers.LayerNormalization()]:
        assert not replaced(keras.Sequential([keras.Input((4, 4, 3)), layer]))
    assert not replaced(keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])), "vectors"


@pytest.mark.parametrize("missing", [False, True])
def test_macro_metrics_are_scikit_learns(missing):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4 if missing else 5, 90)
    probabilities = generator.dirichlet(np.ones(5), 90)
    if missing:
        probabilities[:, 4] = 0  # never met, never predicted
    targets = 0.8 * np.eye(5)[labels] + 0.04
    for axis, score in enumerate((precision_score, recall_score)):
        metric = MacroMetric(5, name="macro", axis=axis)
        for start in range(0, 90, 32):
            metric.update_state(targets[start : start + 32], probabilities[start : start + 32])
        expected = score(labels, probabilities.argmax(1), labels=range(5), average="macro", zero_division=0)
        assert float(keras.ops.convert_to_numpy(metric.result())) == pytest.approx(expected, abs=1e-6)
        metric.reset_state()
        assert float(keras.ops.convert_to_numpy(metric.result())) == 0
