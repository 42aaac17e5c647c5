"""The Sequential networks that the student projects trained from scratch."""

import keras
from keras import layers

from fer_keras.models import stages


def capstone_model_1(num_classes, *, input_shape=(48, 48, 1), weights=None):
    """Build the capstone's first network: three 2x2 convolutions with pooling and dropout, one dense layer.

    605,572 parameters for four classes at 48x48.

    Reference: Palacios Boyce, "Deep Learning Methods for Facial Emotion Recognition", capstone project, 2022.

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 8; repeated to three channels inside.
        weights: None for random values, or the path of a `.keras` or `.weights.h5` file of this network.

    Returns:
        A `keras.Sequential` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities
        `(batch, num_classes)`.

    Raises:
        ValueError: on an input it cannot be built for, or weights that do not fit.
    """
    stages.check_input(num_classes, input_shape)
    model = keras.Sequential(
        [layers.Input(input_shape), stages.three_channels(input_shape), stages.to_unit()], name="capstone_model_1"
    )
    for filters in (64, 32, 32):
        model.add(layers.Conv2D(filters, 2, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Dropout(0.2))
    model.add(layers.Flatten())
    model.add(layers.Dense(512, activation="relu"))
    model.add(layers.Dropout(0.4))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def capstone_model_2(num_classes, *, input_shape=(48, 48, 1), weights=None):
    """Build the capstone's second network: four 2x2 convolutions with batch normalisation, two dense layers.

    391,652 parameters for four classes at 48x48. ReLU, batch normalisation and LeakyReLU follow one another: so it was.

    Reference: Palacios Boyce, 2022. Args, Returns and Raises as in `capstone_model_1`; sides of at least 16.
    """
    stages.check_input(num_classes, input_shape, least=16)
    model = keras.Sequential(
        [layers.Input(input_shape), stages.three_channels(input_shape), stages.to_unit()], name="capstone_model_2"
    )
    for filters in (256, 128, 64, 32):
        add_capstone_block(model, filters)
    model.add(layers.Flatten())
    model.add(layers.Dense(512, activation="relu"))
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def capstone_final(num_classes, *, input_shape=(48, 48, 1), weights=None, dropout=0.2):
    """Build the capstone's final network: five 2x2 convolutions and two dense layers, on the grey channel itself.

    1,782,340 parameters for four classes at 48x48.

    Reference: Palacios Boyce, 2022. Args, Returns and Raises as in `capstone_model_1`; sides of at least 32;
    `dropout` is the rate after each block and each dense layer.
    """
    stages.check_input(num_classes, input_shape, least=32)
    model = keras.Sequential([layers.Input(input_shape), stages.to_unit()], name="capstone_final")
    for filters in (64, 128, 512, 512, 128):
        add_capstone_block(model, filters)
        model.add(layers.Dropout(dropout))
    model.add(layers.Flatten())
    for units in (256, 512):
        model.add(layers.Dense(units))
        add_normalised_relu(model)
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def add_capstone_block(model, filters):
    """Add a 2x2 convolution with ReLU, batch normalisation, LeakyReLU(.1) and a halving max pool."""
    model.add(layers.Conv2D(filters, 2, padding="same", activation="relu"))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU(negative_slope=0.1))
    model.add(layers.MaxPooling2D(2))


def scratch_four_conv(num_classes, *, input_shape=(48, 48, 1), weights=None, dropout=0.25):
    """Build the four-convolution network that Kaggle's face expression notebooks share, with two dense layers.

    4,478,727 parameters and 290 M multiply-adds for seven classes at 48x48.

    Reference: Assefa, Burrell and Gomtsyan, "Facial Expression Recognition", who print it. Args, Returns and Raises as
    in `capstone_model_1`; sides of at least 16; `dropout` is the rate after each block and each dense layer.
    """
    stages.check_input(num_classes, input_shape, least=16)
    model = keras.Sequential([layers.Input(input_shape), stages.to_unit()], name="scratch_four_conv")
    for filters, size in ((64, 3), (128, 5), (512, 3), (512, 3)):
        model.add(layers.Conv2D(filters, size, padding="same"))
        add_normalised_relu(model)
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Dropout(dropout))
    model.add(layers.Flatten())
    for units in (256, 512):
        model.add(layers.Dense(units))
        add_normalised_relu(model)
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def light(num_classes, *, input_shape=(48, 48, 1), weights=None, dropout=0.25):
    """Build the light network of the ensemble study: three 3x3 convolutions, one dense layer.

    The same network takes all classes (`general`) or two, the rest and one emotion (`one-vs-rest`), so that ensembles
    of both compare what was asked and not who was asked. 684,583 parameters and 22 M multiply-adds for seven classes at
    48x48. The published text says only that there was one network an emotion and one for all: the layers are ours.

    Reference: Assefa, Burrell and Gomtsyan, "Facial Expression Recognition". Args, Returns and Raises as in
    `capstone_model_1`; `dropout` is the rate after the dense layer.
    """
    stages.check_input(num_classes, input_shape)
    model = keras.Sequential([layers.Input(input_shape), stages.to_unit()], name="light")
    for filters in (32, 64, 128):
        model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        add_normalised_relu(model)
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    # Without this normalisation, and with a dropout of .5, its training stood still at the commonest class.
    model.add(layers.Dense(128, use_bias=False))
    add_normalised_relu(model)
    model.add(layers.Dropout(dropout))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def add_normalised_relu(model):
    """Add batch normalisation and ReLU."""
    model.add(layers.BatchNormalization())
    model.add(layers.ReLU())
