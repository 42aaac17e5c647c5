"""Trained networks for other runtimes: classes and preprocessing inside, compared with Keras before they are kept."""

import contextlib
import io
import itertools
import json
import os
import tempfile
import warnings
from collections import Counter, namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers

from fer_keras import data, paths
from fer_keras.cards import digest_of
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import wilson
from fer_keras.labels import FER7, FERPLUS8
from fer_keras.models.inputs import leaves, set_values
from fer_keras.recognition import networks

INPUT, OUTPUT, BATCH = "pixels", "probabilities", "batch"
BY_A_NUMBER = ("Add", "Div", "Mul", "Sub")
TOLERANCE, INT8_TOLERANCE = 1e-4, 0.05  # largest difference of a probability from Keras'; of an int8 file, the mean
FACES_PER_CLASS, MOST_FACES, CALIBRATION = 6, 256, 512  # an int8 file is compared on all of PublicTest
BOUNDS = ("accuracy_low", "accuracy_high")
AGREEMENT = "share of images with the same likeliest class as the float32 network, to which `metrics` belong"


def export(
    network: Any, path: str | os.PathLike | None = None, *, classes: Sequence[str] | None = None, format: str = "onnx",
    quantize: str | None = None,
) -> Path:  # fmt: skip
    """Write a trained network for a runtime other than Keras, or nothing at all.

    The file takes grey faces with pixels in [0, 255], float32 `(batch, height, width, 1)`, as many at once as one
    likes, and returns probabilities `(batch, classes)`. Its card lies beside the file, with `.json` added to its name,
    and inside an `.onnx` file, too. Before the file is kept, it is run on synthetic faces, and on faces of FER-2013
    where `FER_KERAS_DATA` is set, and compared with the Keras network.

    Args:
        network: as for `open_network`, but of Keras.
        path: of the file, or the folder of a SavedModel; default: the network's name in the working directory.
        classes: as for `open_network`.
        format: `"onnx"`, `"litert"` or `"savedmodel"`.
        quantize: None, or `"int8"` for a smaller file, quicker for plain convolutions, slower for depthwise ones, with
            scales chosen on Training or synthetic faces; what that costs stands in the card under `quantized`.

    Raises:
        ValueError: if there is no such network or format, the path does not fit, or the file's predictions differ.
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of: {', '.join(FORMATS)}. Received: {format!r}.")
    kind = FORMATS[format]
    if quantize not in (None, "int8") or (quantize and not kind.int8):
        able = ", ".join(each for each in FORMATS if FORMATS[each].int8)
        raise ValueError(f"`quantize` must be None, or 'int8' for {able}. Received: {quantize!r} for {format!r}.")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Networks are exported through TensorFlow. Received: Keras on {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow; the network is the same."
        )
    network = networks.keras_network(network, classes=classes)
    called = f"{network.name}-{quantize}" if quantize else network.name
    path = Path(path or f"{called}{kind.suffix or '-savedmodel'}")
    if kind.suffix and path.suffix != kind.suffix:
        raise ValueError(f"Expected a path that ends in {kind.suffix}. Received: {path}.")
    if path.is_dir() if kind.suffix else path.exists() and not (path / "saved_model.pb").is_file():
        raise ValueError(f"Expected a free path, or an export to replace. Received: {path}, where other things lie.")
    real = real_faces(network)
    paths.sweep(path.parent)
    before = tempfile.tempdir
    with paths.temporary_folder(path) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tf2onnx, of NumPy
        unfinished, images = folder / path.name, None
        if quantize:
            images = synthetic_faces(network) if real is None else real["train"][0]
            chosen = np.random.default_rng(0).permutation(len(images))[:CALIBRATION]
            images = images[np.sort(chosen)].astype(np.float32)
        try:
            tempfile.tempdir = str(folder)  # converters' own files are swept with it if this process is killed
            kind.write(plain(network.model), unfinished, images)
        finally:
            tempfile.tempdir = before
        found = compare(network, lambda images: kind.run(unfinished, images.astype(np.float32)), real, quantize)
        keep(unfinished, path, {**network.card, "name": called, "size": list(network.size), **found})
    return path


def plain(model):
    """A `keras.Model` that computes the same and converts well.

    Dense layers on `(batch, 1, 1, n)` become 1x1 convolutions, which converters do not wrap in transposes; what
    `Normalization` subtracts and divides by becomes constants: tf2onnx takes tensors for inputs of the network.
    """

    def is_on_maps(layer):
        return isinstance(layer, layers.Dense) and len(layer.input.shape) == 4

    def copy(layer):
        if not is_on_maps(layer):
            return layer.__class__.from_config(layer.get_config())
        options = {"activation": layer.activation, "use_bias": layer.use_bias, "name": layer.name}
        return layers.Conv2D(layer.units, 1, data_format="channels_last", **options)

    if any(map(is_on_maps, model.layers)):
        values, model = model.get_weights(), keras.models.clone_model(model, clone_function=copy)
        shaped = [value.reshape(weight.shape) for value, weight in zip(values, model.weights, strict=True)]
        set_values(model, shaped)
    for layer in leaves(model):
        if isinstance(layer, layers.Normalization):
            layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras converts only what has run
    return model


def write_onnx(model, path, images=None):
    """Write a built `keras.Model` as an ONNX file without a card; with images, in int8 with scales that fit them."""
    model.export(path, format="onnx", verbose=False)
    proto = onnx.load(path)
    reshape_first(proto)
    graph = proto.graph
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    for tensors in (each for node in graph.node for each in (node.input, node.output)):
        tensors[:] = [names.get(name, name) for name in tensors]
    for each in (graph.input[0], graph.output[0]):
        each.name, each.type.tensor_type.shape.dim[0].dim_param = names[each.name], BATCH
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    if images is not None:
        quantize_onnx(path, images)


def reshape_first(proto):
    """Reshape the pixels before they are scaled, and drop reshapes to the same shape: both cost ONNX Runtime time.

    `onnxslim` does the second only: its files take a tenth more time for fer-small, a fifth more for mini-Xception.
    """
    graph, source, kept = proto.graph, {}, []
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    shapes = {
        each.name: [side.dim_value or -1 for side in each.type.tensor_type.shape.dim]
        for each in onnx.shape_inference.infer_shapes(proto).graph.value_info
    }
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
        is_idle = node.op_type == "Reshape" and node.input[1] in constants and node.output[0] != graph.output[0].name
        if is_idle and constants[node.input[1]].tolist() == shapes.get(node.input[0]):
            source[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    first = next((index for index, node in enumerate(kept) if node.op_type == "Reshape"), 0)
    scaling, reshape, pixels = kept[:first], kept[first], graph.input[0].name
    readers = Counter(name for node in kept for name in node.input)
    numbers = {name for name, value in constants.items() if value.size == 1}
    is_chain = all(node.op_type in BY_A_NUMBER and len({*node.input} - numbers) == 1 for node in scaling)
    if scaling and is_chain and all(readers[name] == 1 for name in (pixels, *(node.output[0] for node in scaling))):
        scaling[0].input[:] = ["reshaped" if name == pixels else name for name in scaling[0].input]
        scaling[-1].output[0], reshape.input[0], reshape.output[0] = reshape.output[0], pixels, "reshaped"
        kept.insert(0, kept.pop(first))
    read = {name for node in kept for name in node.input}
    initializers = [each for each in graph.initializer if each.name in read]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]  # `kept` lie in the list
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)


def quantize_onnx(path, images):
    """Make an ONNX file's convolutions and matrix products int8, scaled for the activations that images cause.

    On x86 processors, ONNX Runtime is quick with int8 weights, a scale for each channel, and uint8 activations only.
    Weights use 7 of the 8 bits: without VNNI (AVX2 only), that code adds pairs of products in 16 bits, which saturate
    if weights use them all.

    Reference:
        https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (`reduce_range`)
    """
    networks.runtime()
    from onnxruntime import quantization

    parts = iter([{INPUT: images[start : start + networks.BATCH]} for start in range(0, len(images), networks.BATCH)])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(parts, None)

    kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    kinds["calibrate_method"] = quantization.CalibrationMethod.Percentile
    prepared = path.with_name("prepared.onnx")
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of each step
        quantization.quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(prepared, path, Reader(), per_channel=True, reduce_range=True, **kinds)


def run_onnx(path, images):
    """Predict with an ONNX file."""
    return networks.new_session(path).run(None, {INPUT: images})[0]


def write_litert(model, path, images=None):
    """Write a built `keras.Model` as a LiteRT file; with images, in int8, with scales that LiteRT finds at run time."""
    import tensorflow as tf

    options = {} if images is None else {"optimizations": [tf.lite.Optimize.DEFAULT]}
    model.export(path, format="litert", verbose=False, **options)


def run_litert(path, images):
    """Predict with a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


def write_saved_model(model, path, images=None):
    """Write a built `keras.Model` as the folder of a SavedModel, with one endpoint, `serve`."""
    model.export(path, format="tf_saved_model", verbose=False)


def run_saved_model(path, images):
    """Predict with a SavedModel."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # its function does not hold on to the values
    return loaded.serve(images).numpy()


# How to write and to run a kind of file, and whether with int8 values.
Format = namedtuple("Format", "suffix write run int8")
FORMATS = {
    "onnx": Format(".onnx", write_onnx, run_onnx, int8=True),
    "litert": Format(".tflite", write_litert, run_litert, int8=True),
    "savedmodel": Format("", write_saved_model, run_saved_model, int8=False),
}


def real_faces(network):
    """The train and validation faces of FER-2013 in a network's classes; None where there are none that fit."""
    classes = network.classes
    if not os.environ.get("FER_KERAS_DATA") or network.size != (48, 48) or not set(classes) <= set(FERPLUS8):
        return None
    is_fer7 = set(classes) <= set(FER7)
    faces = data.load_fer7().select(classes=classes) if is_fer7 else data.load_ferplus(classes=classes)
    published = faces.protocol == "official" and not faces.difference
    return faces.select(splits=("train", "validation")) if published else None


def synthetic_faces(network):
    """Synthetic faces of a network's input size, `(n, height, width, 1)`."""
    return make_faces(FACES_PER_CLASS, size=max(network.size)).images[:, : network.size[0], : network.size[1]]


def compare(network, run, real, quantize):
    """Compare the predictions of a file, by `run`, with its network's; return what the card says of it."""
    images, labels = (synthetic_faces(network), None) if real is None else real["validation"]
    if real is not None and not quantize:
        images = np.concatenate([synthetic_faces(network), images[:MOST_FACES]])
    wanted, starts = network.predict(images), [0, *range(1, len(images), MOST_FACES), len(images)]  # one, then many
    got = np.concatenate([run(images[start:stop]) for start, stop in itertools.pairwise(starts)])
    difference = np.abs(got - wanted)
    worst, allowed = (difference.mean(), INT8_TOLERANCE) if quantize else (difference.max(), TOLERANCE)
    if not worst <= allowed:  # also where it is no number
        raise ValueError(
            f"{network.name}: Expected a file that predicts what the Keras network predicts, within {allowed} on "
            f"{len(images)} faces. Received: a difference of {worst:.2g}. Nothing was written."
        )
    if not quantize:
        return {"parity": {"num_images": len(images), "largest_difference": float(f"{worst:.2g}")}}
    agreement = float((got.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    found = {"kind": quantize, "num_images": len(images), "source": "synthetic faces"}
    found |= {"agreement": round(agreement, 4), "agreement_is": AGREEMENT}
    if real is not None:
        right = got.argmax(axis=1) == labels
        scores = {"accuracy": right.mean(), **dict(zip(BOUNDS, wilson(int(right.sum()), len(labels)), strict=True))}
        scores["accuracy_float32"] = (wanted.argmax(axis=1) == labels).mean()
        found |= {"source": real.source, "split": "validation"}
        found |= {name: round(float(value), 4) for name, value in scores.items()}
    return {"quantized": found}


def keep(unfinished, path, card):
    """Move a file to its place, with its card, in which `file_sha256` is the sum of the file itself.

    The card beside it is removed first and written last: whoever stops between leaves none, and never another file's.
    """
    beside = path.with_name(f"{path.name}.json")
    beside.unlink(missing_ok=True)
    if path.suffix == ".onnx":
        proto = onnx.load(unfinished)
        onnx.helper.set_model_props(proto, {networks.CARD: json.dumps(card, ensure_ascii=False)})
        onnx.save(proto, unfinished)
    if unfinished.is_file():
        card = card | {"file_sha256": digest_of(unfinished)}
    if path.is_dir():  # no folder is moved onto one that holds something
        os.replace(path, unfinished.with_name("replaced"))
    os.replace(unfinished, path)
    paths.write_whole(beside, json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def read_card(path) -> dict:
    """The card of an exported file."""
    beside = Path(f"{path}.json")
    if Path(path).suffix == ".onnx":
        return networks.read_onnx(path).card
    return networks.read_card(beside.read_text(encoding="utf-8") if beside.is_file() else None, beside)
