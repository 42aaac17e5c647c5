"""A network in a few lines: its stages along the main path, to be listed and drawn."""

import math

import keras
from keras import layers

from fer_keras.models.counting import multiply_adds, of_layer

# What begins a stage, in one word.
WORDS = {
    layers.Resizing: "resized",
    layers.Cropping2D: "cropped",
    layers.Conv2D: "conv",
    layers.SeparableConv2D: "separable",
    layers.DepthwiseConv2D: "depthwise",
    layers.MaxPooling2D: "max",
    layers.AveragePooling2D: "mean",
    layers.GlobalMaxPooling2D: "max of all",
    layers.GlobalAveragePooling2D: "mean of all",
    layers.Dense: "dense",
}
KINDS = {"resized": "input", "cropped": "input", "dense": "dense"}


def outline(model):
    """Return the stages of a network, from its input to its probabilities.

    A stage begins with the input, a convolution, a pooling, a dense layer or a nested backbone; normalisation,
    activation, dropout and what lies on side branches (shortcuts, squeeze-and-excitation) are counted with it.

    Args:
        model: a built `keras.Model` with a fixed input size.

    Returns:
        A list of dicts: `kind` ("input", "convolution", "pooling", "dense" or "backbone"), `label` (str), `shape` of
        the output without the batch (list of int), `parameters` (int), `multiply_adds` (int), `marks` (list of str:
        "SE" where channels are weighed, "+" where a shortcut is added).

    Example:

    >>> model = keras.Sequential([layers.Input((4, 4, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
    >>> [(stage["kind"], stage["label"], stage["parameters"]) for stage in outline(model)]
    [('input', 'pixels', 0), ('convolution', 'conv 3x3', 20), ('dense', 'dense', 27)]
    """
    sources = sources_of(model)
    path = main_path(model, sources)
    stages = [stage("input", "pixels", model.input_shape[1:])]
    for layer in model.layers:
        found = kind_and_label(layer) if layer.name in path else None
        if found:
            stages.append(stage(*found, layer.output.shape[1:]))
        last = stages[-1]
        last["parameters"] += layer.count_params()
        last["multiply_adds"] += multiply_adds(layer) if isinstance(layer, keras.Model) else of_layer(layer)
        if isinstance(layer, (layers.Add, layers.Multiply)):
            last["marks"].append("+" if isinstance(layer, layers.Add) else "SE")
    return stages


def stage(kind, label, shape):
    """Return a stage without parameters."""
    shape = [int(size) for size in shape]
    return {"kind": kind, "label": label, "shape": shape, "parameters": 0, "multiply_adds": 0, "marks": []}


def kind_and_label(layer):
    """Return what a layer on the main path begins, or None if it belongs to the stage before it."""
    if isinstance(layer, keras.Model) and layer.weights:
        return "backbone", layer.name
    if isinstance(layer, keras.Model):
        return next(filter(None, map(kind_and_label, layer.layers)), None)
    word = next((word for kind, word in WORDS.items() if isinstance(layer, kind)), None)
    if word is None:
        return None
    if word == "depthwise" and layer.kernel_size == layer.input.shape[1:3]:
        return "pooling", "weights of all"
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", ())
    kind = "convolution" if hasattr(layer, "kernel_size") else KINDS.get(word, "pooling")
    return kind, f"{word} {'x'.join(map(str, size))}".strip()


def main_path(model, sources):
    """Return the names of the layers between input and output, without side branches.

    Where branches are added, the one with more layers is the main one; where they are multiplied, the larger one.
    """
    depth = {}
    for layer in model.layers:
        depth[layer.name] = 1 + max((depth.get(name, 0) for name in sources[layer.name]), default=0)
    sizes = {layer.name: math.prod(layer.output.shape[1:]) for layer in model.layers}
    path, name = set(), model.layers[-1].name
    while name:
        path.add(name)
        multiplied = isinstance(model.get_layer(name), layers.Multiply)
        name = max(sources[name], key=(sizes if multiplied else depth).get, default=None)
    return path


def sources_of(model):
    """Return which layers each layer takes its input from, by name."""
    if isinstance(model, keras.Sequential):
        names = [layer.name for layer in model.layers]
        return dict(zip(names, [[], *([name] for name in names)], strict=False))
    return {entry["name"]: histories(entry["inbound_nodes"][:1]) for entry in model.get_config()["layers"]}


def histories(config):
    """Return the names of all layers whose tensors appear in the configuration of a call."""
    if isinstance(config, dict):
        if "keras_history" in config:
            return [config["keras_history"][0]]
        return histories(list(config.values()))
    if isinstance(config, (list, tuple)):
        return [name for part in config for name in histories(part)]
    return []
