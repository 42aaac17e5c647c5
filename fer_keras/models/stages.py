"""First stages: what turns grey pixels in [0, 255] into what a network was made for."""

from pathlib import Path

import keras
from keras import layers

from fer_keras.models.counting import leaves


def check_input(num_classes, input_shape, *, least=8, side=None):
    """Raise a `ValueError` unless a network can be built for these classes and this input.

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)` of the grey input.
        least: the smallest side in pixels that the network can halve as often as it does.
        side: the side it resizes the input to, or None if it takes it as it is.
    """
    if side is not None:
        if not isinstance(side, int) or side < least:
            raise ValueError(f"`side` must be an integer of at least {least} pixels. Received: {side!r}.")
        least = 8
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"`num_classes` must be an integer of at least 2. Received: {num_classes!r}.")
    shape = tuple(input_shape)
    if len(shape) != 3 or shape[2] != 1 or min(shape[:2]) < least:
        raise ValueError(
            f"`input_shape` must be (height, width, 1), grey, with sides of at least {least} pixels. "
            f"Received: {input_shape}. Colour pictures are made grey before they come here."
        )


def three_channels(input_shape):
    """Return a stage that repeats the one grey channel three times: built-in layers, no parameters.

    Input `(batch, height, width, 1)`, output `(batch, height, width, 3)`.
    """
    height, width, _ = input_shape
    return keras.Sequential(
        [
            layers.Input(input_shape),
            layers.Reshape((height * width, 1)),
            layers.UpSampling1D(3),
            layers.Reshape((height, width, 3)),
        ],
        name="three_channels",
    )


def resize(input_shape, height, width):
    """Return a stage that resizes pictures to `height` x `width`, bilinearly: a built-in layer, no parameters.

    `Resizing` calls itself a training step where nobody says what it is, and Keras hands that on to the layers after
    it: `model(x)` would drop out and move the statistics of batch normalisation. Hence the word here.
    """
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Resizing(height, width)(inputs, training=False), name="resize")


def every_other(x):
    """Return every other row and column of `x`, which turns a 1x1 convolution after it into one at stride 2.

    As one layer, such a convolution's gradient on a batch of odd size writes outside its memory in TensorFlow 2.21 on
    CPUs (oneDNN), and 28,709 images end on such a batch.
    """
    return layers.MaxPooling2D(1, strides=2, padding="same")(x)


def to_unit():
    """Return the scaling of pixels in [0, 255] to [0, 1]."""
    return layers.Rescaling(1 / 255, name="to_unit")


def to_signed():
    """Return the scaling of pixels in [0, 255] to [-1, 1]."""
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="to_signed")


def start_from(model, weights):
    """Return `model` with the values of a file, or as it is where `weights` is None.

    Args:
        model: a built `keras.Model`.
        weights: None, or the path of a `.keras` or `.weights.h5` file of the same network.

    Raises:
        ValueError: if there is no such file, or its values do not fit the network.
    """
    if weights is None:
        return model
    path = Path(weights)
    if not path.is_file() or not path.name.endswith((".keras", ".weights.h5")):
        raise ValueError(
            f"`weights` of {model.name} must be None or the path of an existing .keras or .weights.h5 file. "
            f"Received: {str(weights)!r}. This network was never trained on ImageNet."
        )
    try:
        if path.suffix == ".keras":
            set_values(model, keras.saving.load_model(path, compile=False, safe_mode=True).get_weights())
        else:
            model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} does not hold the weights of {model.name} for this input and these classes: {error}"
        ) from error
    return model


def set_values(layer, values):
    """Set the weights of a layer or a model, and let normalisations take them in.

    `Normalization` computes from a copy of its weights, which `set_weights` alone leaves as it was.
    """
    layer.set_weights(values)
    for each in leaves(layer) if isinstance(layer, keras.Model) else [layer]:
        if isinstance(each, layers.Normalization):
            each.finalize_state()
