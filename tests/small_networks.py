"""Networks that compile quickly, in the place of those that recipes name; and a stop like a kill."""

import keras
import numpy as np
from keras import layers

from fer_keras.models import fine_tune


def small(_, num_classes, *, rate=0.3, momentum=0.5, channels=1, activation="softmax", **__):
    """With a random state, moving means and a penalty; its first weights are the same on every backend."""
    inputs = keras.Input((48, 48, channels))
    pixels = [layers.Rescaling(1 / 255), layers.AveragePooling2D(6), layers.Conv2D(6, 3)]
    convolution = [layers.BatchNormalization(momentum=momentum), layers.ReLU(), layers.Flatten(), layers.Dropout(rate)]
    how = {"kernel_regularizer": keras.regularizers.L2(0.01), "dtype": "float32"}
    dense = layers.Dense(num_classes, activation=activation, **how)
    network, generator = keras.Sequential([inputs, *pixels, *convolution, dense]), np.random.default_rng(0)
    for layer in (pixels[-1], dense):
        layer.kernel.assign(generator.normal(0, 0.1, layer.kernel.shape))
    return network


def nested(_, num_classes, *, trainable_from=None, **__):
    """With a nested backbone of two convolutions, of which nothing is trained, or the rest from a layer on."""
    inputs = keras.Input((48, 48, 1))
    steps = [layers.Conv2D(4, 3, strides=8, name="first"), layers.Conv2D(6, 3, name="second")]
    backbone = keras.Sequential([keras.Input((48, 48, 1)), *steps, layers.MaxPooling2D(2)], name="backbone")
    outputs = layers.Flatten()(backbone(layers.Rescaling(1 / 255)(inputs)))
    outputs = layers.Dense(num_classes, activation="softmax")(layers.Dropout(0.2)(outputs))
    return fine_tune(keras.Model(inputs, outputs, name="nested"), trainable_from)


class Kill(keras.callbacks.Callback):
    """Ends the work as a kill would, at the end of an epoch or of one of its batches."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == (self.epoch, self.batch):
            raise KeyboardInterrupt
