"""Networks as ONNX files: converted by Keras and tf2onnx, tidied for speed, quantised by ONNX Runtime, with a card."""

import contextlib
import io
import json
from collections import Counter

import numpy as np

from fer_keras.recognition import networks

try:
    import onnx
    from onnx import numpy_helper, shape_inference
except ImportError as error:
    raise ImportError(
        f"Networks are exported with their own packages: pip install fer_keras[export]. ({error})"
    ) from error

INPUT, OUTPUT, BATCH = "pixels", "probabilities", "batch"
BY_A_NUMBER = ("Add", "Div", "Mul", "Sub")


def write(model, path, images=None):
    """Write a built `keras.Model` as an ONNX file without a card; with images, in int8 with scales that fit them."""
    model.export(path, format="onnx", verbose=False)
    onnx.save(tidied(onnx.load(path)), path)
    if images is not None:
        quantize(path, images)


def tidied(proto):
    """Return an ONNX model that computes the same, quicker on a CPU, with telling names for what goes in and out."""
    graph = proto.graph
    reshape_first(graph)
    drop_idle_reshapes(proto)
    read = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in read]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    rename(graph, {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT})
    for each in (graph.input[0], graph.output[0]):
        each.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.checker.check_model(proto, full_check=True)
    return proto


def reshape_first(graph):
    """Reshape before the additions and multiplications by one number that scale the pixels, instead of after them.

    ONNX Runtime takes `(batch, height, width, 1)` a pixel at a time there, `(batch, 1, height, width)` a row.
    """
    numbers = {each.name for each in graph.initializer if numpy_helper.to_array(each).size == 1}
    readers = Counter(name for node in graph.node for name in node.input)
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        while node.op_type == "Reshape" and node.input[0] in makers:
            maker, between, result = makers[node.input[0]], node.input[0], node.output[0]
            tensors = [name for name in maker.input if name not in numbers]
            if maker.op_type not in BY_A_NUMBER or len(tensors) != 1 or readers[between] != 1:
                break
            node.input[0], node.output[0] = tensors[0], between
            maker.input[list(maker.input).index(tensors[0])], maker.output[0] = between, result
            # In the list of nodes, too, the one that comes first now takes the place of the one that did.
            first = onnx.NodeProto()
            first.CopyFrom(node)
            node.CopyFrom(maker)
            maker.CopyFrom(first)
            makers[result], node = node, maker


def drop_idle_reshapes(proto):
    """Drop every Reshape to the shape that its input has already, which the squeezed channels go through."""
    graph = proto.graph
    constants = {each.name: numpy_helper.to_array(each).tolist() for each in graph.initializer if each.data_type == 7}
    known = shape_inference.infer_shapes(proto).graph
    shapes = {
        each.name: [side.dim_value or -1 for side in each.type.tensor_type.shape.dim]
        for each in (*known.input, *known.value_info)
    }
    idle = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Reshape" and constants.get(node.input[1], ()) == shapes.get(node.input[0])
    }
    kept = [node for node in graph.node if node.output[0] not in idle]
    del graph.node[:]
    graph.node.extend(kept)
    while idle.keys() & {name for node in graph.node for name in node.input}:
        rename(graph, idle)


def rename(graph, names):
    """Rename tensors wherever they stand, from the keys of `names` to its values."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for each in (*graph.input, *graph.output):
        each.name = names.get(each.name, each.name)


def put_card(path, card):
    """Write a card into an ONNX file, where `networks.open_network` looks for it."""
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, {networks.CARD: json.dumps(card, ensure_ascii=False)})
    onnx.save(proto, path)


def quantize(path, images):
    """Make the convolutions and matrix products of an ONNX file int8, scaled for the activations that images cause.

    Weights are int8, a scale for each channel; activations uint8, without their few highest and lowest values: on x86
    processors ONNX Runtime has quick code for this pair only. Scales found at run time make files slower than float32.
    Weights use 7 of the 8 bits: without VNNI (AVX2 only), that code adds pairs of products in 16 bits, which saturate
    if weights use them all, and the file predicts something else than on newer processors.

    Reference:
        https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When and why do I need to try
        reduce_range and per-channel quantization?"

    Args:
        path: of the file, which is replaced.
        images: float32 `(n, height, width, 1)` in [0, 255].
    """
    networks.runtime()
    from onnxruntime import quantization

    parts = iter([{INPUT: images[start : start + networks.BATCH]} for start in range(0, len(images), networks.BATCH)])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(parts, None)

    kinds = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    method = quantization.CalibrationMethod.Percentile
    prepared = path.with_name("prepared.onnx")
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of each step
        quantization.quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, path, Reader(), per_channel=True, reduce_range=True, calibrate_method=method, **kinds
        )
    prepared.unlink()


def run(path, images):
    """Return what an ONNX file says of images `(n, height, width, 1)`."""
    session = networks.new_session(path)
    return session.run(None, {INPUT: images.astype(np.float32)})[0]
