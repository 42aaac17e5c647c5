"""Trained networks for other runtimes: classes and preprocessing inside, compared with Keras before they are kept."""

import contextlib
import dataclasses
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers

from fer_keras import paths
from fer_keras.models.cards import digest_of
from fer_keras.models.inputs import leaves, set_values
from fer_keras.recognition import networks, onnx_files, parity, tensorflow_files


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file: its suffix, and functions that write one and run one."""

    suffix: str
    write: Callable
    run: Callable
    int8: bool = True


FORMATS = {
    "onnx": Format(".onnx", onnx_files.write, onnx_files.run),
    "litert": Format(".tflite", tensorflow_files.write_litert, tensorflow_files.run_litert),
    "savedmodel": Format("", tensorflow_files.write_saved_model, tensorflow_files.run_saved_model, int8=False),
}


def export(network, path=None, *, classes=None, format="onnx", quantize=None):
    """Write a trained network for a runtime other than Keras, or nothing at all.

    The file takes grey faces with pixels in [0, 255], float32 `(batch, height, width, 1)`, as many at once as one
    likes, and returns probabilities `(batch, classes)`. Its card (classes, size, temperature, terms, limits) travels
    along: inside an `.onnx` file, else beside the file, with `.json` added to its name. Before the file is kept, it
    is run on drawn faces, and on faces of FER-2013 where `FER_KERAS_DATA` is set, and compared with the Keras network.

    Args:
        network: as for `open_network`, but of Keras.
        path: of the file, or the folder of a SavedModel; default: the network's name in the working directory.
        classes: as for `open_network`.
        format: `"onnx"`, `"litert"` or `"savedmodel"`.
        quantize: None, or `"int8"` for a smaller file, faster for plain convolutions and slower for depthwise ones;
            what that costs stands in the card under `quantized`. ONNX is calibrated on Training faces of FER-2013, or
            on drawn ones.

    Returns:
        The path of the file.

    Raises:
        ValueError: if there is no such network or format, the path does not fit, or the file does not say what the
            Keras network says.
    """
    kind = find_format(format, quantize)
    network = networks.keras_network(network, classes=classes)
    called = f"{network.name}-{quantize}" if quantize else network.name
    path = checked_path(path or f"{called}{kind.suffix or '-savedmodel'}", kind)
    real = parity.real_faces(network)
    paths.sweep(path.parent)
    with paths.temporary_folder(path) as folder, temporary_files_in(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tf2onnx, of NumPy
        unfinished = folder / path.name
        images = [parity.calibration(network, real)] if quantize else []
        kind.write(plain(network.model), unfinished, *images)
        found = parity.compare(network, lambda images: kind.run(unfinished, images), real, quantize)
        card = {**network.card, "name": called, "size": list(network.size), **found}
        keep(unfinished, path, card)
    return path


@contextlib.contextmanager
def temporary_files_in(folder):
    """Let converters put their temporary files into a folder, where they are swept if this process is killed."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def find_format(name, quantize):
    """Return a `Format`; raise a `ValueError` on what cannot be written here."""
    if name not in FORMATS:
        raise ValueError(f"`format` must be one of: {', '.join(FORMATS)}. Received: {name!r}.")
    if quantize not in (None, "int8") or (quantize and not FORMATS[name].int8):
        able = ", ".join(each for each in FORMATS if FORMATS[each].int8)
        raise ValueError(f"`quantize` must be None, or 'int8' for {able}. Received: {quantize!r} for {name!r}.")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Networks are exported through TensorFlow. Received: Keras on {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow; the network is the same."
        )
    return FORMATS[name]


def checked_path(path, kind):
    """Return the path to write to; raise a `ValueError` if it does not fit the format, or other things lie there."""
    path = Path(path)
    if kind.suffix and path.suffix != kind.suffix:
        raise ValueError(f"Expected a path that ends in {kind.suffix}. Received: {path}.")
    if path.is_dir() if kind.suffix else path.exists() and not (path / "saved_model.pb").is_file():
        raise ValueError(f"Expected a free path, or an export to replace. Received: {path}, where other things lie.")
    return path


def plain(model):
    """Return a `keras.Model` that computes the same and converts well.

    Dense layers on `(batch, 1, 1, n)`, as squeeze-and-excitation has them, become 1x1 convolutions: converters wrap
    the former in transposes and reshapes. What `Normalization` subtracts and divides by becomes constants: tf2onnx
    takes tensors for further inputs of the network.
    """

    def copy(layer):
        if not on_maps(layer):
            return layer.__class__.from_config(layer.get_config())
        return layers.Conv2D(
            layer.units,
            1,
            data_format="channels_last",
            activation=layer.activation,
            use_bias=layer.use_bias,
            name=layer.name,
        )

    if any(map(on_maps, model.layers)):
        values, model = model.get_weights(), keras.models.clone_model(model, clone_function=copy)
        shaped = [value.reshape(weight.shape) for value, weight in zip(values, model.weights, strict=True)]
        set_values(model, shaped)
    for layer in leaves(model):
        if isinstance(layer, layers.Normalization):
            layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras converts only what has run
    return model


def on_maps(layer):
    """Tell whether a layer is a dense one on `(batch, height, width, n)`."""
    return isinstance(layer, layers.Dense) and len(layer.input.shape) == 4


def keep(unfinished, path, card):
    """Move a file to its place, with its card.

    A card beside the file is removed first and written last: an export that is stopped leaves a file without a card,
    never one with the card of another. There, `file_sha256` is the sum of the file itself.
    """
    card_path(path).unlink(missing_ok=True)
    if path.suffix == ".onnx":
        onnx_files.put_card(unfinished, card)
    if unfinished.is_file():
        card = card | {"file_sha256": digest_of(unfinished)}
    if path.is_dir():  # no folder is moved onto one that holds something
        os.replace(path, unfinished.with_name("replaced"))
    os.replace(unfinished, path)
    paths.write_whole(card_path(path), json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def card_path(path):
    """Where the card beside a file lies."""
    return path.with_name(f"{path.name}.json")


def read_card(path):
    """Return the card of an exported file, as a dict."""
    path = Path(path)
    if path.suffix == ".onnx":
        return networks.read_onnx(path).card
    text = card_path(path).read_text(encoding="utf-8") if card_path(path).is_file() else None
    return networks.read_card(text, card_path(path))
