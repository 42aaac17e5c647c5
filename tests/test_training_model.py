"""The parts of a training: batches, optimiser, precision, fused batch normalisation, metrics, backbones' features."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.metrics import precision_score, recall_score
from small_networks import nested, small

from fer_keras import paths
from fer_keras.data.augmentation import Augmentation
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.models import build, fine_tune
from fer_keras.models.inputs import leaves
from fer_keras.recipes import RECIPES
from fer_keras.training import features, fit, load_network, trainer, training_model
from fer_keras.training.callbacks import make_optimizer
from fer_keras.training.training_model import DrawEpochs, computing_in, fused_batch_norm

INPUTS = {"index": np.arange(10, dtype=np.int32), "box": np.arange(50, dtype=np.float32).reshape(10, 5)}
ARRAYS = (INPUTS, np.eye(10, dtype=np.float32), np.linspace(0, 1, 10, dtype=np.float32))
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.uniform(0, 255, (24, 48, 48, 1)).astype(np.float32)
PLAIN = {field.name: field.default for field in dataclasses.fields(Augmentation)}
FROZEN = dataclasses.replace(
    RECIPES["vgg16"], **PLAIN, name="vgg16@features", weights=None, frozen_body=True, epochs=2, batch_size=8
)


@pytest.mark.parametrize("batch_size", [4, 5, 16])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_batches_hold_every_row_once_and_in_order(batch_size, backend, monkeypatch):
    monkeypatch.setattr(training_model.keras.backend, "backend", lambda: backend)

    def batches(images=None):
        made = training_model.Batches(ARRAYS, batch_size, images)
        data = made.feed()
        made.arrays = keras.tree.map_structure(lambda rows: rows[::-1], ARRAYS)  # arrays may be replaced
        found = [data[i] for i in range(len(data))] if backend == "jax" else list(data.as_numpy_iterator())
        assert [len(targets) for _, targets, _ in found] == {4: [4, 4, 2], 5: [5, 5], 16: [10]}[batch_size]
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts)[::-1], *found)

    joined, images = batches(), RANDOM.integers(0, 256, (10, 3, 3, 1), dtype=np.uint8)
    keras.tree.map_structure(np.testing.assert_array_equal, joined, ARRAYS)
    assert [part.dtype for part in keras.tree.flatten(joined)] == [part.dtype for part in keras.tree.flatten(ARRAYS)]
    pixels = batches(images)[0]
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, images)


def test_each_epoch_is_drawn_anew_and_holds_every_image_once():
    draw = DrawEpochs(small("", 4), (np.arange(2, 10), np.eye(10), None), seed=3, batch_size=4)
    first, second = (draw.draw(epoch)[0]["index"].tolist() for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(2, 10))


def test_teachers_see_the_augmented_images():
    """The loss of a step by hand: a quarter of each target is the teachers' mean for the augmented, mixed image."""
    keras.utils.set_random_seed(5)
    faces, (network, *teachers) = make_faces(6, classes=FER4, seed=1), (nested("", 4) for _ in range(3))
    model = training_model.TrainingModel(network, faces.images, teachers=teachers, share=0.25, temperature=2.0)
    model.compile(loss="categorical_crossentropy")
    one_hot = np.eye(4, dtype=np.float32)[faces.labels]
    augmentation = (Augmentation(rotation_degrees=10, mixup_alpha=0.2), (48, 48))
    draw = DrawEpochs(network, (np.arange(16), one_hot, None), seed=3, batch_size=16, augmentation=augmentation)
    inputs, targets = draw.draw(0)
    answers = np.full((16, 4), [0.4, 0.3, 0.2, 0.1], np.float32)
    pixels = training_model.augment(faces.images[inputs["index"]].astype(np.float32), inputs)
    softened = np.sqrt(np.mean([teacher(pixels, training=False) for teacher in teachers], axis=0))
    mixed = 0.75 * targets + 0.25 * softened / softened.sum(axis=1, keepdims=True)
    for training, expected in ((True, mixed), (False, targets)):
        loss = model.compute_loss(inputs, targets, answers, training=training)
        assert float(loss) == pytest.approx(-(expected * np.log(answers)).sum(axis=1).mean(), rel=1e-4)
    assert len(model.trainable_variables) == len(network.trainable_variables)


def test_the_cosine_warms_up_and_ends_at_zero_and_weight_decay_spares_biases_and_normalisation():
    how = {"optimizer": "sgd", "weight_decay": 0.5, "learning_rate": 0.4, "epochs": 10, "reduce_patience_epochs": 0}
    recipe = dataclasses.replace(FROZEN, **how)
    rate = make_optimizer(dataclasses.replace(recipe, schedule="cosine", warmup_epochs=2.0), 5)._learning_rate
    assert [float(rate(step)) for step in (0, 5, 10, 30, 50)] == pytest.approx([0, 0.2, 0.4, 0.2, 0], abs=1e-6)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = make_optimizer(recipe, 1)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    found = {v.name: float(np.mean(v)) for v in model.trainable_variables}
    assert found == {"kernel": pytest.approx(0.8), "bias": 1, "gamma": 1, "beta": 1}


def test_all_layers_but_the_last_compute_in_bfloat16_for_as_long_as_they_should():
    network, pixels = build("efficientnet", 4, weights=None), PIXELS[:2]
    before = keras.ops.convert_to_numpy(network(pixels))
    with computing_in(network, "mixed_bfloat16"):
        assert {layer.compute_dtype for layer in leaves(network) if layer is not network.layers[-1]} == {"bfloat16"}
        halved = network(pixels)
    assert keras.backend.standardize_dtype(halved.dtype) == "float32"
    assert not np.array_equal(halved, before)
    np.testing.assert_allclose(halved, before, atol=0.02)
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(pixels)), before)


def test_a_run_begun_in_bfloat16_is_resumed_in_it_and_recorded_in_float32(faces, own_folders, monkeypatch):
    used, fused = [], training_model.normalise
    monkeypatch.setattr(training_model, "normalise", lambda *given, **how: used.append(1) or fused(*given, **how))
    monkeypatch.setattr(trainer, "build", small)
    recipe = dataclasses.replace(RECIPES["capstone-model-2"], name="halves", epochs=2, batch_size=32, final=False)
    options = {"faces": faces, "verbose": 0, "precision": "mixed_bfloat16"}
    assert fit(recipe, minutes=1e-9, **options).stopped_by_time
    with pytest.raises(ValueError, match=r"begun in mixed_bfloat16\. Received: float32"):
        fit(recipe, **options | {"precision": None})
    run = fit(recipe, **options)
    assert (run.epochs_run, run.resumed) == (2, 1)
    assert used, "batch normalisation is fused"
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


@pytest.mark.parametrize(
    ("size", "mean", "precision"),
    [(size, 3, "float32") for size in ((16, 6, 6, 5), (1, 3, 3, 5), (4, 1, 1, 5))]
    + [((16, 6, 6, 5), 1000, "mixed_bfloat16")],
)
def test_fused_normalisation_gives_the_outputs_gradients_and_statistics_of_keras(size, mean, precision):
    """In float32 also of what comes in bfloat16, in whose steps values around 1000 lie far apart."""
    pixels, wanted = (tf.constant(RANDOM.normal(around, 2, size), tf.float32) for around in (mean, 3))
    found, tolerance = [], 1e-4 if precision == "float32" else 2**-7
    for context in (fused_batch_norm, contextlib.nullcontext):
        normalisation = layers.BatchNormalization(momentum=0.9)
        network = keras.Sequential([keras.Input(size[1:]), normalisation, layers.Activation("linear")])
        network.set_weights([np.linspace(0.5, 2, 5), np.linspace(-1, 1, 5), np.full(5, 2.0), np.full(5, 3.0)])
        with computing_in(network, precision), context(network), tf.GradientTape() as tape:
            tape.watch(pixels)
            outputs = network(pixels, training=True)
            loss = tf.reduce_sum(outputs * wanted)
        gradients = tape.gradient(loss, [pixels, *network.trainable_variables])
        found.append([outputs.numpy(), *(gradient.numpy() for gradient in gradients), *network.get_weights()])
    for given, expected in zip(*found, strict=True):
        np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max()))


def test_it_ends_with_its_context_and_leaves_to_keras_what_it_cannot_do(monkeypatch):
    network = build("mini-xception", 7, weights=None)
    expected = keras.ops.convert_to_numpy(network(PIXELS, training=False))
    assert len(replaced(network)) == 14
    with fused_batch_norm(network):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(PIXELS, training=False)), expected)
    assert not [layer for layer in leaves(network) if "call" in vars(layer)]
    options = ({"synchronized": True}, {"axis": 1}, {"scale": False}, {"renorm": True})
    others = [layers.BatchNormalization(**each) for each in options]
    for layer in [*others, layers.LayerNormalization()]:
        assert not replaced(keras.Sequential([keras.Input((4, 4, 3)), layer]))
    assert not replaced(keras.Sequential([keras.Input((5,)), layers.BatchNormalization()])), "vectors"
    monkeypatch.setattr(training_model.keras.backend, "backend", lambda: "jax")
    assert not replaced(network)


def test_macro_metrics_are_scikit_learns_also_where_a_class_is_never_met():
    labels, probabilities = RANDOM.integers(0, 4, 90), RANDOM.dirichlet(np.ones(5), 90)
    probabilities[:, 4], targets = 0, 0.8 * np.eye(5)[labels] + 0.04
    for axis, score in enumerate((precision_score, recall_score)):
        metric = training_model.MacroMetric(5, name="macro", axis=axis)
        for rows in (slice(0, 50), slice(50, 90)):
            metric.update_state(targets[rows], probabilities[rows])
        expected = score(labels, probabilities.argmax(1), labels=range(5), average="macro", zero_division=0)
        assert float(keras.ops.convert_to_numpy(metric.result())) == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def backbone(own_folders, monkeypatch):
    """A frozen backbone, whose output of 32 images is a chunk."""
    monkeypatch.setattr(features, "CHUNK", 32)
    return features.split_backbone(FROZEN, nested("", 4))[0]


def test_only_a_backbone_that_is_frozen_and_sees_each_image_once_is_split_off():
    network, mirrored = nested("", 4), dataclasses.replace(FROZEN, flip_view=True)
    assert features.split_backbone(RECIPES["vgg16"], network) is None, "its recipe augments the images"
    assert features.split_backbone(mirrored, network) is None, "it scores mirror images"
    assert features.split_backbone(FROZEN, fine_tune(network, "second")) is None
    assert features.split_backbone(FROZEN, small("", 4)) is None


def test_training_on_features_is_training_the_whole_network(faces, own_folders, monkeypatch):
    monkeypatch.setattr(trainer, "build", nested)
    run = fit(FROZEN, faces=faces, verbose=0)
    assert list((paths.build() / "features").iterdir())
    network, history = load_network(run), run.history()
    monkeypatch.setattr(trainer, "split_backbone", lambda *arguments: None)
    whole = fit(FROZEN, faces=faces, verbose=0, force=True)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    np.testing.assert_allclose(history[columns], whole.history()[columns], rtol=1e-3, atol=1e-4)
    assert (run.num_parameters, run.multiply_adds) == (whole.num_parameters, whole.multiply_adds)
    predictions = [model.predict(faces.images, verbose=0) for model in (network, load_network(whole))]
    np.testing.assert_allclose(*predictions, atol=1e-3)


def test_features_are_computed_once_a_backbone_and_data_set(backbone, faces, monkeypatch):
    cached = features.backbone_features(backbone, faces, verbose=0)
    assert cached.shape == (len(faces), 2, 2, 6)
    np.testing.assert_allclose(cached, backbone.predict(faces.images, verbose=0), rtol=1e-4, atol=1e-4)
    with monkeypatch.context() as patched:
        patched.setattr(features, "compute", None)  # would fail if it was called
        np.testing.assert_array_equal(features.backbone_features(backbone, faces, verbose=0), cached)
    features.backbone_features(backbone, faces.take(np.arange(8)), verbose=0)
    backbone.set_weights([values + 1 for values in backbone.get_weights()])
    features.backbone_features(backbone, faces, verbose=0)
    assert len(list((paths.build() / "features").glob("*.npy"))) == 3


def test_a_computation_that_was_stopped_is_resumed(backbone, faces, monkeypatch):
    answers = [np.ones((32, 2, 2, 6), np.float32)]
    monkeypatch.setattr(backbone, "predict_on_batch", lambda images: answers.pop())
    with pytest.raises(IndexError):
        features.backbone_features(backbone, faces, verbose=0)
    assert not list((paths.build() / "features").glob("*.npy")), "half a file must not be taken for a whole one"
    monkeypatch.setattr(backbone, "predict_on_batch", lambda images: np.full((len(images), 2, 2, 6), 2, np.float32))
    cached = features.backbone_features(backbone, faces, verbose=0)[:, 0, 0, 0]
    assert (set(cached[:32].tolist()), set(cached[32:].tolist())) == ({1}, {2})


def test_processes_may_compute_the_same_features_at_once(backbone, faces, monkeypatch):
    def compute(images):
        return np.ones((len(images), 2, 2, 6), np.float32)

    def overtaken(images):
        monkeypatch.setattr(backbone, "predict_on_batch", compute)
        features.backbone_features(backbone, faces, verbose=0)  # what another process does in the meantime
        return compute(images)

    monkeypatch.setattr(backbone, "predict_on_batch", overtaken)
    cached = features.backbone_features(backbone, faces, verbose=0)
    assert (len(cached), cached.min(), cached.max()) == (len(faces), 1, 1)
    assert [path.suffix for path in (paths.build() / "features").iterdir()] == [".npy"]
