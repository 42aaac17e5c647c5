"""Random pictures and values under which a deep network says something."""

import keras
import numpy as np

from fer_keras.models.inputs import leaves


def pictures(count, shape, *, seed=0):
    """Random pictures of 8x8-pixel squares, float32 `(count, *shape)`: finer noise all looks alike from afar."""
    height, width, channels = shape
    squares = np.random.default_rng(seed).integers(0, 256, (count, -(-height // 8), -(-width // 8), channels))
    return squares.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width].astype("float32")


def lively(model):
    """Give the batch normalisation of a random network the statistics of 16 random pictures; return the network.

    A hundred random layers without them answer everything alike, or overflow: then any two of them agree. With those of
    three pictures, rounding grows from layer to layer until no two of them agree.
    """
    normalisations = [layer for layer in leaves(model) if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in normalisations]
    for layer in normalisations:
        layer.momentum, layer.trainable = 0.0, True
    model(pictures(16, model.input_shape[1:], seed=1), training=True)
    for layer, (momentum, trainable) in zip(normalisations, before, strict=True):
        layer.momentum, layer.trainable = momentum, trainable
    return model
