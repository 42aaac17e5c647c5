"""Residual blocks of two 3x3 convolutions, and ResNet-18 of them."""

import keras
from keras import layers

from fer_keras.models import stages


def resnet18(num_classes, *, input_shape=(48, 48, 1), weights=None, side=64):
    """Build ResNet-18, from random values: Keras publishes no ImageNet weights of it.

    11,189,190 parameters and 148 M multiply-adds for six classes.

    Reference: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385; among the
    networks of Jaschkowitz, Kawka, Mohammadi and Wang, "Emotion Recognition From Facial Expressions".

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 8; repeated to three channels inside.
        weights: None for random values, or the path of a `.keras` or `.weights.h5` file of this network.
        side: int, at least 32; the picture is resized to `side` x `side` inside.

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities `(batch, num_classes)`.

    Raises:
        ValueError: on an input it cannot be built for, or weights that do not fit.
    """
    stages.check_input(num_classes, input_shape, side=side, least=32)
    inputs = keras.Input(input_shape)
    x = stages.resize(input_shape, side, side)(inputs)
    x = stages.to_unit()(stages.three_channels((side, side, 1))(x))
    x = layers.Conv2D(64, 7, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for filters, strides in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = residual_block(x, filters, strides=strides)
        x = residual_block(x, filters)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(num_classes, activation="softmax")(x)
    return stages.start_from(keras.Model(inputs, outputs, name="resnet18"), weights)


def residual_block(x, filters, *, strides=1, attention=None):
    """Two 3x3 convolutions with batch normalisation, added to the input or to a 1x1 convolution of it, then ReLU.

    Args:
        x: `(batch, height, width, channels)`.
        filters: channels of the output.
        strides: 1, or 2 to halve the sides.
        attention: what is done to the branch before it is added, from tensor to tensor, or None.

    Returns:
        `(batch, height / strides, width / strides, filters)`.
    """
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = stages.every_other(x) if strides == 2 else x
        shortcut = layers.Conv2D(filters, 1, use_bias=False)(shortcut)
        shortcut = layers.BatchNormalization()(shortcut)
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = attention(x) if attention else x
    return layers.ReLU()(layers.Add()([shortcut, x]))
