"""Trained networks for other runtimes: classes and preprocessing inside, compared with Keras before they are kept."""

import contextlib
import io
import itertools
import json
import os
import tempfile
import types
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers

from fer_keras import data, paths
from fer_keras.cards import check_card, digest_of, read_dict
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import wilson
from fer_keras.labels import FER7, FERPLUS8
from fer_keras.models.inputs import leaves, set_values
from fer_keras.recognition import networks

INPUT = "pixels"  # name of the input in an .onnx file
SAVED_MODEL = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}  # what TensorFlow writes
FORMATS = {"onnx": ".onnx", "litert": ".tflite", "savedmodel": ""}


def export(
    network: Any, path: str | os.PathLike | None = None, *, classes: Sequence[str] | None = None, format: str = "onnx",
    quantize: str | None = None,
) -> Path:  # fmt: skip
    """Write a trained network for a runtime other than Keras, or nothing at all.

    The file takes grey faces with pixels in [0, 255], float32 `(batch, height, width, 1)`, and returns probabilities
    `(batch, classes)`. Its card lies beside it, with `.json` added to its name, and inside an `.onnx` file, too. Before
    the file is kept, its predictions on synthetic faces, and on faces of FER-2013 where `FER_KERAS_DATA` is set, are
    compared with those of the Keras network.

    Args:
        network: as for `open_network`, but of Keras, as are `classes`.
        path: of the file, or the folder of a SavedModel; default: the network's name in the working directory.
        format: `"onnx"`, `"litert"` or `"savedmodel"`.
        quantize: None, or `"int8"` for a smaller file, quicker for plain convolutions, slower for depthwise ones, with
            scales chosen on Training or synthetic faces; what that costs stands in the card under `quantized`.

    Raises:
        ValueError: if there is no such network or format, the path does not fit, or the file's predictions differ.
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of: {', '.join(FORMATS)}. Received: {format!r}.")
    if quantize not in (None, "int8") or (quantize and format == "savedmodel"):
        raise ValueError(f"`quantize` must be None, or 'int8' for onnx, litert. Received: {quantize!r} for {format!r}.")
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ValueError(f"Expected Keras on TensorFlow. Received: Keras on {backend!r}. Set KERAS_BACKEND=tensorflow.")
    network, suffix = networks.keras_network(network, classes=classes), FORMATS[format]
    called = f"{network.name}-{quantize}" if quantize else network.name
    path = Path(path or f"{called}{suffix or '-savedmodel'}")
    if suffix and path.suffix != suffix:
        raise ValueError(f"Expected a path that ends in {suffix}. Received: {path}.")
    others = path.is_dir() if suffix else path.exists()
    if others and not suffix and path.is_dir():  # an empty folder, or an earlier export and nothing else, is replaced
        others = {each.name for each in path.iterdir()}
        others -= SAVED_MODEL if "saved_model.pb" in others else set()
    if others:
        raise ValueError(f"Expected a free path, or an export to replace. Received: {path}, where other things lie.")
    paths.check_writable(path if suffix else path / "file")
    scaling, *compared = choose_faces(network, quantize)
    paths.sweep(path.parent)
    with paths.temporary_folder(path) as folder, warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore", FutureWarning)  # tf2onnx, of NumPy
        stack.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = str(folder)  # converters' own files are swept with it if this process is killed
        try:
            write(plain(network.model), unfinished := folder / path.name, format, scaling if quantize else None)
        except Exception as error:  # of a layer that a converter does not know, each raises its own
            what = f"a network that can be converted to {format}. Received: {' '.join(str(error).split())[:300]}"
            raise ValueError(f"{network.name}: Expected {what}. Nothing was written.") from error
        found = compare(network, unfinished, *compared, quantize)
        keep(unfinished, path, {**network.card, "name": called, "size": list(network.size), **found})
    return path


def plain(model):
    """A `keras.Model` that computes the same and converts well."""
    # Dense layers on (batch, 1, 1, n) become 1x1 convolutions, which converters do not wrap in transposes.
    on_maps = [layer for layer in model.layers if isinstance(layer, layers.Dense) and len(layer.input.shape) == 4]

    def copy(layer):
        if layer not in on_maps:
            return layer.__class__.from_config(layer.get_config())
        options = {"activation": layer.activation, "use_bias": layer.use_bias, "name": layer.name}
        return layers.Conv2D(layer.units, 1, data_format="channels_last", **options)

    if on_maps:
        values, model = model.get_weights(), keras.models.clone_model(model, clone_function=copy)
        set_values(model, [value.reshape(new.shape) for value, new in zip(values, model.weights, strict=True)])
    for layer in leaves(model):
        if isinstance(layer, layers.Normalization):  # constants: tf2onnx takes tensors for inputs of the network
            layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    inputs = keras.Input(model.input_shape[1:])
    model = keras.Model(inputs, model(inputs, training=False))  # else layers of augmentation take it for training
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras converts only what has run
    return model


def write(model, path, format, images=None):
    """Write a built `keras.Model`; with images in int8, with scales that fit them or that LiteRT finds at run time."""
    import tensorflow as tf

    options = {"optimizations": [tf.lite.Optimize.DEFAULT]} if images is not None and format == "litert" else {}
    model.export(path, format="tf_saved_model" if format == "savedmodel" else format, verbose=False, **options)
    if format != "onnx":
        return
    proto = onnx.load(path)
    reshape_first(proto)
    ends = (proto.graph.input[0], proto.graph.output[0])
    names = dict(zip((each.name for each in ends), (INPUT, "probabilities"), strict=True))
    for tensors in (each for node in proto.graph.node for each in (node.input, node.output)):
        tensors[:] = [names.get(name, name) for name in tensors]
    for each in ends:
        each.name, each.type.tensor_type.shape.dim[0].dim_param = names[each.name], "batch"
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    if images is None:
        return
    networks.runtime()
    from onnxruntime import quantization

    parts = iter([{INPUT: images[start : start + networks.BATCH]} for start in range(0, len(images), networks.BATCH)])
    reader = types.SimpleNamespace(get_next=lambda: next(parts, None))
    # ONNX Runtime is quick with int8 weights, a scale for each channel, and uint8 activations only. Weights use 7 bits:
    # without VNNI (AVX2 only), it adds pairs of products in 16 bits, which saturate if weights use all 8, see
    # https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    options = {"per_channel": True, "reduce_range": True, "calibrate_method": quantization.CalibrationMethod.Percentile}
    prepared = path.with_name("prepared.onnx")
    with contextlib.redirect_stdout(io.StringIO()):  # where each step is reported
        quantization.quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(prepared, path, reader, **kinds, **options)


def reshape_first(proto):
    """Reshape pixels before they are scaled, and drop idle reshapes: both save time. `onnxslim` does the second."""
    graph, source, kept = proto.graph, {}, []
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    kinds = {each.name: each.type.tensor_type for each in onnx.shape_inference.infer_shapes(proto).graph.value_info}
    shapes = {name: [side.dim_value or -1 for side in kind.shape.dim] for name, kind in kinds.items()}
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
    chain = all(node.op_type in {"Add", "Div", "Mul", "Sub"} and len({*node.input} - numbers) == 1 for node in scaling)
    if scaling and chain and all(readers[name] == 1 for name in (pixels, *(node.output[0] for node in scaling))):
        scaling[0].input[:] = ["reshaped" if name == pixels else name for name in scaling[0].input]
        scaling[-1].output[0], reshape.input[0], reshape.output[0] = reshape.output[0], pixels, "reshaped"
        kept.insert(0, kept.pop(first))
    read = {name for node in kept for name in node.input}
    initializers = [each for each in graph.initializer if each.name in read]
    graph.CopyFrom(onnx.helper.make_graph(kept, graph.name, graph.input, graph.output, initializers, graph.doc_string))


def run(path, images):
    """Predict with an exported file, float32 `(batch, height, width, 1)` to `(batch, classes)`."""
    if path.is_dir():
        import tensorflow as tf

        loaded = tf.saved_model.load(path)  # its function does not hold on to the values
        return loaded.serve(images).numpy()
    if path.suffix == ".onnx":
        return networks.new_session(path).run(None, {INPUT: images})[0]
    from ai_edge_litert.interpreter import Interpreter

    serve = Interpreter(str(path), num_threads=1).get_signature_runner()
    (name,) = serve.get_input_details()
    return serve(**{name: images}).popitem()[1]


def choose_faces(network, quantize):
    """Faces to choose scales on and to compare on, labels, source: FER-2013's where they are and fit, or synthetic."""
    made = make_faces(6, size=max(network.size)).images[:, : network.size[0], : network.size[1]]
    scaling, compared, labels, source, classes = made, made, None, "synthetic faces", network.classes
    if os.environ.get("FER_KERAS_DATA") and network.size == (48, 48) and set(classes) <= set(FERPLUS8):
        is_fer7 = set(classes) <= set(FER7)
        faces = data.load_fer7().select(classes=classes) if is_fer7 else data.load_ferplus(classes=classes)
        if faces.protocol == "official" and not faces.difference:
            scaling, (compared, labels), source = faces["train"][0], faces["validation"], faces.source
            compared = compared if quantize else np.concatenate([made, compared[:256]])
    chosen = np.random.default_rng(0).permutation(len(scaling))[:512]
    return scaling[np.sort(chosen)].astype(np.float32), compared, labels, source


def compare(network, path, images, labels, source, quantize):
    """Compare the predictions of a file with its network's; what its card is to hold of that."""
    wanted, starts = network.predict(images), [0, *range(1, len(images), 256), len(images)]  # one face, then many
    parts = (images[start:stop].astype(np.float32) for start, stop in itertools.pairwise(starts))
    got = np.concatenate([run(path, part) for part in parts])
    difference = np.abs(got - wanted)
    worst, allowed = (difference.mean(), 0.05) if quantize else (difference.max(), 1e-4)
    if not worst <= allowed:  # also where it is no number
        what = f"as the Keras network, within {allowed}, on {len(images)} faces. Received: a difference of {worst:.2g}"
        raise ValueError(f"{network.name}: Expected a file that predicts the same {what}. Nothing was written.")
    if not quantize:
        return {"parity": {"num_images": len(images), "largest_difference": float(f"{worst:.2g}")}}
    answers, expected = got.argmax(axis=1), wanted.argmax(axis=1)
    found = {"kind": quantize, "num_images": len(images), "source": source, "agreement": np.mean(answers == expected)}
    meaning = "share of images with the same likeliest class as the float32 network, to which `metrics` belong"
    found["agreement_is"] = meaning
    if labels is not None:
        low, high = wilson(int((answers == labels).sum()), len(labels))
        found |= {"split": "validation", "accuracy": np.mean(answers == labels), "accuracy_low": low}
        found |= {"accuracy_high": high, "accuracy_float32": np.mean(expected == labels)}
    return {"quantized": {key: round(float(x), 4) if isinstance(x, float) else x for key, x in found.items()}}


def keep(unfinished, path, card):
    """Move a file to its place, the card beside it removed first and written last: no stop leaves another file's."""
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
    if Path(path).suffix == ".onnx":
        return networks.read_onnx(path).card
    return check_card(read_dict(Path(f"{path}.json")), f"{path}.json")
