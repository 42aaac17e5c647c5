"""Every network at a glance: stages, parameters, multiply-adds, source; recorded, so that listing them builds none."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fer_keras.models import BUILDERS, build, builder
from fer_keras.recipes import RECIPES
from fer_keras.results import find_table, write_table

if TYPE_CHECKING:  # Reading what is recorded needs no Keras.
    import keras

# What begins a stage, in one word.
WORDS = {
    "Resizing": "resized", "Cropping2D": "cropped", "Conv2D": "conv", "SeparableConv2D": "separable",
    "DepthwiseConv2D": "depthwise", "MaxPooling2D": "max", "AveragePooling2D": "mean",
    "GlobalMaxPooling2D": "max of all", "GlobalAveragePooling2D": "mean of all", "Dense": "dense",
}  # fmt: skip
KINDS = {"resized": "input", "cropped": "input", "dense": "dense"}
MARKS = {"Add": "+", "Multiply": "SE"}


def outline(model: "keras.Model") -> list[dict]:
    """List the stages of a network, from its input to its probabilities.

    A stage begins with the input, a convolution, a pooling, a dense layer or a nested backbone; what follows, and what
    lies on side branches (shortcuts, squeeze-and-excitation), is counted with it.

    Returns:
        A list of dicts: `kind` ("input", "convolution", "pooling", "dense" or "backbone"), `label` (str), `shape` of
        the output without the batch (list of int), `parameters` (int), `multiply_adds` (int), `marks` (list of str:
        "SE" where channels are weighed, "+" where a shortcut is added).

    Example:

    >>> import keras
    >>> layers = [keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
    >>> [(stage["kind"], stage["label"], stage["parameters"]) for stage in outline(keras.Sequential(layers))]
    [('input', 'pixels', 0), ('convolution', 'conv 3x3', 20), ('dense', 'dense', 27)]
    """
    from fer_keras.models.inputs import multiply_adds

    path, stages = main_path(model), []
    for layer in (None, *model.layers):
        found = ("input", "pixels") if layer is None else layer.name in path and kind_and_label(layer)
        if found:
            shape = [int(size) for size in (model.input_shape if layer is None else layer.output.shape)[1:]]
            stages.append(dict(zip(("kind", "label"), found, strict=True)) | {"shape": shape})
            stages[-1] |= {"parameters": 0, "multiply_adds": 0, "marks": []}
        if layer is not None:
            stages[-1]["parameters"] += layer.count_params()
            stages[-1]["multiply_adds"] += multiply_adds(layer)
            stages[-1]["marks"] += [mark for kind, mark in MARKS.items() if type(layer).__name__ == kind]
    return stages


def kind_and_label(layer):
    """The kind and the label of the stage that a layer begins; None if it belongs to the stage before it."""
    if hasattr(layer, "layers"):  # a nested model
        inside = filter(None, map(kind_and_label, layer.layers))
        return ("backbone", layer.name) if layer.weights else next(inside, None)
    word = WORDS.get(type(layer).__name__)
    if word is None:
        return None
    if word == "depthwise" and layer.kernel_size == layer.input.shape[1:3]:
        return "pooling", "weights of all"
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", ())
    kind = "convolution" if hasattr(layer, "kernel_size") else KINDS.get(word, "pooling")
    return kind, f"{word} {'x'.join(map(str, size))}".strip()


def main_path(model):
    """Names of the layers between input and output, without side branches.

    Where branches are added, the one with more layers is the main one; where they are multiplied, the larger one.
    """
    sources, depth, previous = {}, {}, []
    entries = {entry.get("name"): entry for entry in model.get_config()["layers"]}
    for layer in model.layers:  # those of a Sequential follow one another
        calls = entries.get(layer.name, {}).get("inbound_nodes")
        histories = re.findall(r'"keras_history": \["([^"]*)"', json.dumps(calls and calls[0]))
        sources[layer.name] = previous if calls is None else histories
        depth[layer.name] = 1 + max((depth.get(name, 0) for name in sources[layer.name]), default=0)
        previous = [layer.name]
    path, name = set(), model.layers[-1].name
    while name:
        path.add(name)
        sizes = {each: math.prod(model.get_layer(each).output.shape[1:]) for each in sources[name]}
        multiplied = type(model.get_layer(name)).__name__ == "Multiply"
        name = max(sources[name], key=(sizes if multiplied else depth).get, default=None)
    return path


def describe_network(
    name: str, num_classes: int | None = None, *, input_shape: tuple[int, int, int] = (48, 48, 1)
) -> dict:
    """Describe a network before it is trained, from the record; one that is not recorded so is built.

    Without `num_classes`, it has those of its recipes, or 7. The dict has `num_classes`, `input` (list), `parameters`,
    `multiply_adds`, `source` (str) and `stages`, as `outline` lists them.
    """
    recorded = find_table("networks")["networks"].get(name) if networks_are_recorded() else None
    default = next((len(recipe.classes) for recipe in RECIPES.values() if recipe.model == name), 7)
    asked = {"num_classes": num_classes or default, "input": list(input_shape)}
    if recorded and asked.items() <= recorded.items():
        order = ("kind", "label", "shape", "parameters", "multiply_adds", "marks")  # JSON's keys are sorted
        stages = [{key: stage[key] for key in order} for stage in recorded["stages"]]
        return asked | {key: recorded[key] for key in ("parameters", "multiply_adds", "source")} | {"stages": stages}
    stages = outline(build(name, asked["num_classes"], input_shape=input_shape, weights=None))
    counts = {key: sum(stage[key] for stage in stages) for key in ("parameters", "multiply_adds")}
    reference = re.search(r"Reference: (.*?)(\n\n|$)", builder(name).__doc__ or "", re.DOTALL)
    source = " ".join(reference[1].split()) if reference else ""
    return asked | counts | {"source": source, "stages": stages}


def record_networks() -> None:
    """Record the description of every network (table `networks`), unless it is recorded as the code stands."""
    if not networks_are_recorded():
        networks = {name: describe_network(name) for name in BUILDERS}
        write_table("networks", {"sources": digest_of_sources(), "networks": networks})


def networks_are_recorded(*, folder: str | Path | None = None) -> bool:
    """Whether the recorded descriptions were made from the code of this folder as it stands."""
    return (find_table("networks", folder=folder) or {}).get("sources") == digest_of_sources()


def digest_of_sources() -> str:
    """Digest of the code that builds and describes networks, 16 hex characters."""
    parts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")) if path.stem != "weights"]
    return hashlib.sha256(b"".join(parts).replace(b"\r\n", b"\n")).hexdigest()[:16]
