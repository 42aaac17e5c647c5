"""SEP-CVDL's networks from scratch: four convolutions, plain, with squeeze-and-excitation, and in residual blocks."""

import keras
from keras import layers

from fer_keras.models import stages
from fer_keras.models.resnet import residual_block


def sep_baseline(num_classes, *, input_shape=(48, 48, 1), weights=None, side=64):
    """Build the SEP-CVDL baseline: four 3x3 convolutions, each with batch normalisation, pooling and dropout.

    2,608,006 parameters and 235 M multiply-adds for six classes.

    Reference: Jaschkowitz, Kawka, Mohammadi and Wang, "Emotion Recognition From Facial Expressions: A Preliminary
    Report", LMU Munich; their report gives four convolutions and three dense layers.

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 8; repeated to three channels inside.
        weights: None for random values, or the path of a `.keras` or `.weights.h5` file of this network.
        side: int, at least 16; the picture is resized to `side` x `side` inside.

    Returns:
        A `keras.Sequential` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities
        `(batch, num_classes)`.

    Raises:
        ValueError: on an input it cannot be built for, or weights that do not fit.
    """
    stages.check_input(num_classes, input_shape, side=side, least=16)
    model = keras.Sequential([layers.Input(input_shape), *entrance(input_shape, side)], name="sep_baseline")
    for filters in (64, 128, 256, 512):
        for layer in (*convolution(filters), *reduction()):
            model.add(layer)
    for layer in head(num_classes):
        model.add(layer)
    return stages.start_from(model, weights)


def sep_se(num_classes, *, input_shape=(48, 48, 1), weights=None, side=64):
    """Build the SEP-CVDL network with squeeze-and-excitation after each convolution.

    2,651,526 parameters and 235 M multiply-adds for six classes.

    Reference: Jaschkowitz et al.; Hu, Shen, Albanie, Sun and Wu, "Squeeze-and-Excitation Networks", 2018,
    arXiv:1709.01507. Args, Returns and Raises as in `sep_baseline`; not Sequential.
    """
    stages.check_input(num_classes, input_shape, side=side, least=16)
    inputs = keras.Input(input_shape)
    x = through(entrance(input_shape, side), inputs)
    for filters in (64, 128, 256, 512):
        x = squeeze_and_excite(through(convolution(filters), x))
        x = through(reduction(), x)
    return stages.start_from(keras.Model(inputs, through(head(num_classes), x), name="sep_se"), weights)


def sep_se_residual(num_classes, *, input_shape=(48, 48, 1), weights=None, side=64):
    """Build the SEP-CVDL network with squeeze-and-excitation whose later convolutions are residual blocks.

    5,926,406 parameters and 184 M multiply-adds for six classes. Each of the last three convolutions with its pool
    becomes a block of two, the first at stride 2, with squeeze-and-excitation on its branch as in SE-ResNet.

    Reference: Jaschkowitz et al., who say no more than that residual connections were added; Hu et al., 2018,
    arXiv:1709.01507. Args, Returns and Raises as in `sep_baseline`; not Sequential.
    """
    stages.check_input(num_classes, input_shape, side=side, least=16)
    inputs = keras.Input(input_shape)
    x = squeeze_and_excite(through((*entrance(input_shape, side), *convolution(64)), inputs))
    x = through(reduction(), x)
    for filters in (128, 256, 512):
        x = residual_block(x, filters, strides=2, attention=squeeze_and_excite)
        x = layers.Dropout(0.2)(x)
    outputs = through(head(num_classes), x)
    return stages.start_from(keras.Model(inputs, outputs, name="sep_se_residual"), weights)


def squeeze_and_excite(x, *, reduction=16, least=1, use_bias=False):
    """Scale each channel by a gate in [0, 1] that two dense layers read off the means of all channels.

    Args:
        x: `(batch, height, width, channels)`.
        reduction: how many times fewer units than channels the first dense layer has.
        least: the fewest units that it has.
        use_bias: whether the dense layers have biases.

    Returns:
        A tensor of the same shape.
    """
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Dense(max(least, channels // reduction), activation="relu", use_bias=use_bias)(gate)
    gate = layers.Dense(channels, activation="sigmoid", use_bias=use_bias)(gate)
    return layers.Multiply()([x, gate])


def entrance(input_shape, side):
    """Return the layers that make of grey pixels three equal channels in [0, 1] of the size the network works at."""
    return stages.resize(input_shape, side, side), stages.three_channels((side, side, 1)), stages.to_unit()


def convolution(filters):
    """Return a 3x3 convolution with batch normalisation and ReLU."""
    return layers.Conv2D(filters, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()


def reduction():
    """Return a halving max pool and dropout."""
    return layers.MaxPooling2D(2), layers.Dropout(0.2)


def head(num_classes):
    """Return global average pooling, Dense 1024, dropout .5, Dense 512 and the softmax."""
    return (
        layers.GlobalAveragePooling2D(),
        layers.Dense(1024, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(512, activation="relu"),
        layers.Dense(num_classes, activation="softmax"),
    )


def through(steps, x):
    """Return `x` after each of these layers in turn."""
    for layer in steps:
        x = layer(x)
    return x
