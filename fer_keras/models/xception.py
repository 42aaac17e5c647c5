"""mini-Xception: depthwise-separable convolutions in residual modules."""

import keras
from keras import layers, regularizers

from fer_keras.models import stages


def mini_xception(num_classes, *, input_shape=(48, 48, 1), weights=None, l2=0.01, side=None):
    """Build mini-Xception, the network of about 60,000 parameters that face packages ship.

    58,423 parameters for seven classes, at any input size.

    Reference: Arriaga, Valdenegro-Toro and Plöger, "Real-time Convolutional Neural Networks for Emotion and Gender
    Classification", 2017, arXiv:1710.07557.

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 24, or of at least 8 with `side`.
        weights: None for random values, or the path of a `.keras` or `.weights.h5` file of this network.
        l2: float, the L2 penalty on the kernels of all but the residual and the last convolution.
        side: int, at least 24, to resize the picture to `side` x `side` inside; None takes it as it is.

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities `(batch, num_classes)`.

    Raises:
        ValueError: on an input it cannot be built for, or weights that do not fit.
    """
    stages.check_input(num_classes, input_shape, side=side, least=24)
    inputs = keras.Input(input_shape)
    x = inputs if side is None else stages.resize(input_shape, side, side)(inputs)
    x = stages.to_signed()(x)
    for _ in range(2):
        x = layers.Conv2D(8, 3, use_bias=False, kernel_regularizer=regularizers.L2(l2))(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    for filters in (16, 32, 64, 128):
        x = separable_module(x, filters, l2)
    x = layers.Conv2D(num_classes, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Softmax()(x)
    return stages.start_from(keras.Model(inputs, outputs, name="mini_xception"), weights)


def separable_module(x, filters, l2):
    """Two separable 3x3 convolutions and a halving max pool, added to a strided 1x1 convolution of the input."""
    residual = layers.Conv2D(filters, 1, use_bias=False)(stages.every_other(x))
    residual = layers.BatchNormalization()(residual)
    for last in (False, True):
        penalty = regularizers.L2(l2)
        x = layers.SeparableConv2D(
            filters, 3, padding="same", use_bias=False, depthwise_regularizer=penalty, pointwise_regularizer=penalty
        )(x)
        x = layers.BatchNormalization()(x)
        x = x if last else layers.ReLU()(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return layers.Add()([x, residual])
