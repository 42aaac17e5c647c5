"""What all networks share: checked input, first layers, starting weights, and the count of their work."""

import math
import os
import zipfile
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

import keras
from keras import layers

SHAPE = (48, 48, 1)
Shape = tuple[int, int, int]
Weights = str | os.PathLike | None


def check_input(num_classes: int, input_shape: Shape, *, least: int = 8, side: int | None = None) -> None:
    """Check the arguments of a network whose input, or the `side` that it is resized to, has at least `least` pixels.

    `least` is the smallest side that the network can halve as often as it does.
    """
    for name, value, bound in (("side", least if side is None else side, least), ("num_classes", num_classes, 2)):
        if not isinstance(value, Integral) or value < bound:
            raise ValueError(f"`{name}` must be an integer of at least {bound}. Received: {value!r}.")
    shape, least = tuple(input_shape) if isinstance(input_shape, Iterable) else (), least if side is None else 8
    is_whole = len(shape) == 3 and all(isinstance(each, Integral) for each in shape)
    if not is_whole or shape[2] != 1 or min(shape[:2]) < least:
        raise ValueError(
            f"`input_shape` must be (height, width, 1), grey, with sides of at least {least} pixels. "
            f"Received: {input_shape}. Colour pictures are made grey before they come here."
        )


def three_channels(input_shape: Shape) -> keras.Sequential:
    """Repeat the one grey channel three times, by built-in layers without parameters."""
    height, width, _ = input_shape
    repeat = [layers.Reshape((height * width, 1)), layers.UpSampling1D(3), layers.Reshape((height, width, 3))]
    return keras.Sequential([layers.Input(input_shape), *repeat], name="three_channels")


def resize(input_shape: Shape, height: int, width: int) -> keras.Model:
    """Resize pictures bilinearly, by a built-in layer without parameters.

    `Resizing` calls itself a training step where nobody says what it is, and Keras hands that on to the layers after
    it: `model(x)` would drop out and move the statistics of batch normalisation. Hence `training=False`.
    """
    inputs = keras.Input(input_shape)
    outputs = layers.Resizing(height, width, data_format="channels_last")(inputs, training=False)
    return keras.Model(inputs, outputs, name="resize")


def every_other(x: keras.KerasTensor) -> keras.KerasTensor:
    """Take every other row and column, which turns a 1x1 convolution after it into one at stride 2.

    As one layer, such a convolution's gradient on a batch of odd size writes outside its memory in TensorFlow 2.21 on
    CPUs (oneDNN), and 28,709 images end on such a batch.
    """
    return layers.MaxPooling2D(1, strides=2, padding="same", data_format="channels_last")(x)


def start_from(model: keras.Model, weights: Weights, *, backbone: keras.Model | None = None) -> keras.Model:
    """Give a network the weights of a file: `.keras`, `.h5` or `.weights.h5` of its own, or `.keras` of its `backbone`.

    None leaves it at random initialisation; a `ValueError` if there is no such file, or its weights do not fit.
    """
    if weights is None:
        return model
    path, targets = Path(weights), [model] if backbone is None else [model, backbone]
    if not path.is_file() or path.suffix not in (".keras", ".h5"):
        raise ValueError(
            f"`weights` of {targets[-1].name} must be None or the path of an existing .keras or .h5 file. Received: "
            f"{str(weights)!r}. Only the networks of `models.transfer` have 'imagenet'."
        )
    try:
        if path.suffix == ".h5":
            model.load_weights(path)
            return model
        if not zipfile.is_zipfile(path):  # of which Keras says that there is no such file
            raise ValueError("Received: a file that was cut, or another kind of file.")
        values = keras.saving.load_model(path, compile=False, safe_mode=True).get_weights()
        shapes = [value.shape for value in values]
        target = next((each for each in targets if shapes == [tuple(w.shape) for w in each.weights]), None)
        if target is None:
            raise ValueError(f"Received: {len(values)} arrays. Expected: {len(model.weights)} of other shapes.")
    except Exception as error:  # Keras, h5py and zipfile raise errors of any kind on broken files
        names = ", nor those of ".join(each.name for each in targets)
        raise ValueError(f"{path} does not hold the weights of {names}, of this input and classes. {error}") from error
    set_values(target, values)
    return model


def set_values(layer: layers.Layer, values: list) -> None:
    """Set the weights of a layer or model; `Normalization` computes from a copy of its own, which is made anew."""
    layer.set_weights(values)
    for each in leaves(layer):
        if isinstance(each, layers.Normalization):
            each.finalize_state()


def leaves(layer: layers.Layer) -> list[layers.Layer]:
    """List the layers of a model, those of nested models too; for a layer, itself."""
    return [x for each in layer.layers for x in leaves(each)] if isinstance(layer, keras.Model) else [layer]


def multiply_adds(model: keras.Model | layers.Layer) -> int:
    """Count the multiply-adds of a pass of one image through a built network, or a layer of one, of fixed input size.

    Those of convolutions and dense layers, nested ones too, and of no others, as in the tables of most papers.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, padding="same")])
    >>> multiply_adds(model)
    288
    """
    total, names = 0, ("kernel", "depthwise_kernel", "pointwise_kernel")
    for layer in leaves(model):
        kernels = [getattr(layer, name).shape for name in names if hasattr(layer, name)]
        size = layer.output.shape[1:-1] if kernels else ()
        if None in size:
            raise ValueError(f"Layer {layer.name} has an open output size {size}. Build it with a fixed `input_shape`.")
        total += math.prod(size) * sum(map(math.prod, kernels))
    return total
