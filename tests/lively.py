"""Random pictures and values under which a deep network's outputs differ; its outputs, and what a step changes."""

import keras
import numpy as np

from fer_keras.models.inputs import leaves


def pictures(count, shape, *, seed=0):
    """Random pictures of 8x8-pixel squares, float32 `(count, *shape)`: finer noise all looks alike from afar."""
    height, width, channels = shape
    squares = np.random.default_rng(seed).integers(0, 256, (count, -(-height // 8), -(-width // 8), channels))
    return squares.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width].astype("float32")


def lively(model):
    """A random network whose batch normalisation has seen 16 pictures, as else it answers everything alike."""
    normalisations = [layer for layer in leaves(model) if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in normalisations]
    for layer in normalisations:
        layer.momentum, layer.trainable = 0.0, True
    model(pictures(16, model.input_shape[1:], seed=1), training=True)
    for layer, (momentum, trainable) in zip(normalisations, before, strict=True):
        layer.momentum, layer.trainable = momentum, trainable
    return model


def answers(model, faces, **options):
    """The outputs of a model that is called, as an array."""
    return keras.ops.convert_to_numpy(model(faces, **options))


def change_of_a_step(model, faces, *, of=None, **options):
    """Train a network on one batch; return the names of its layers, or of those of a part, whose values changed."""
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="categorical_crossentropy", **options)
    before = {layer: layer.get_weights() for layer in (of or model).layers}
    model.train_on_batch(faces, np.eye(model.output_shape[1], dtype="float32")[: len(faces)])
    return {layer.name for layer in before if not all(map(np.array_equal, before[layer], layer.get_weights()))}
