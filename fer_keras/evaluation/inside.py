"""A network from the inside: its layers in the order they run in, and what each says of pictures."""

import inspect
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

# Of the map that is looked at, where there is one so large. mini-xception's last is 3x3, and what Grad-CAM marks there
# matters to it no more than what chance marks: see reports/results/tables/explain.json.
LEAST_SIDE = 6


class Stop(NamedTuple):
    """A layer on the way through a network: its path, itself, the shape of what it says, whether all rests on that."""

    path: str
    layer: layers.Layer
    shape: tuple
    is_cut: bool


def find_layer(stops, network, name=None):
    """Return the path of the layer of a name or path; without one, of the layer that `explain` takes."""
    maps = [stop for stop in stops if is_map(stop)]
    names = ", ".join(stop.path for stop in maps) or "none, as no layer says maps"
    if name is not None:
        found = [stop.path for stop in maps if name in (stop.path, stop.path.rpartition("/")[2])]
        if len(found) != 1:
            raise ValueError(f"{network} has {len(found)} layers {name!r} that say maps. Expected one of: {names}.")
        return found[0]
    sizes = [stop.shape[:2] for stop in maps if hasattr(stop.layer, "kernel_size")]
    sizes = [size for size in sizes if min(size) >= LEAST_SIDE] or sizes
    found = [stop.path for stop in maps if sizes and stop.is_cut and stop.shape[:2] == sizes[-1]]
    if not found:
        raise ValueError(
            f"{network} has no convolution that says maps on which its answer rests. Pass as `layer` one of: {names}; "
            "or method='occlusion', which needs none."
        )
    return found[-1]


def is_map(stop):
    """Tell whether a layer says maps of more than one place."""
    return len(stop.shape) == 3 and min(stop.shape[:2]) > 1


def window(stops, size):
    """Return the part of a picture that a network does not cut away, `(top, bottom, left, right)` in pixels."""
    top, bottom, left, right = 0.0, 1.0, 0.0, 1.0
    for stop in stops:
        if isinstance(stop.layer, layers.Cropping2D):
            (above, below), (before, after) = stop.layer.cropping
            rows, columns = stop.shape[0] + above + below, stop.shape[1] + before + after
            height, width = bottom - top, right - left
            top, bottom = top + height * above / rows, bottom - height * below / rows
            left, right = left + width * before / columns, right - width * after / columns
    return tuple(
        round(share * side) for share, side in zip((top, bottom, left, right), np.repeat(size, 2), strict=True)
    )


def way(model):
    """Return the `Stop`s on the way through a network, found by running it once, layer by layer."""
    blank = ops.convert_to_tensor(np.zeros((1, *model.input_shape[1:]), np.float32))
    kept, last_use, run = [blank], {id(blank): 0}, []

    def listen(path, layer, given, said):
        last_use.update((id(tensor), len(run)) for tensor in given)
        last_use.setdefault(id(said), len(run))
        run.append((path, layer, tuple(said.shape[1:]), id(said)))
        kept.append(said)  # so that no other tensor takes its number
        return said

    answer(model, blank, listen)
    stops, waiting = [], {id(blank)}
    for number, (path, layer, shape, said) in enumerate(run):
        # All rests on what was just said where nothing that was said before it is used after it.
        waiting = {tensor for tensor in waiting if last_use[tensor] > number and tensor != said}
        stops.append(Stop(path, layer, shape, not waiting))
        waiting.add(said)
    return stops


def answer(model, pixels, listen, prefix=""):
    """Return what a network says, run layer by layer, those of nested models too, and not in training.

    Args:
        model: a Sequential or Functional model.
        pixels: tensor `(batch, height, width, channels)`.
        listen: function of a layer's path, the layer, the list of tensors it was given and what it said of them, that
            returns what is to be handed on instead.
        prefix: str, of all paths.
    """

    def call(layer, *args, **options):
        if isinstance(layer, keras.Model):
            return answer(layer, args[0], listen, f"{prefix}{layer.name}/")
        if "training" in inspect.signature(layer.call).parameters:
            options["training"] = False
        return listen(prefix + layer.name, layer, keras.tree.flatten(args), layer(*args, **options))

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            pixels = call(layer, pixels)
        return pixels
    # No public way leads into a nested model with a change on the way; this one is Keras' own for running and cloning.
    return keras.tree.flatten(model._run_through_graph(pixels, call_fn=call))[0]


def heard(model, images, path):
    """Return the tensor that the layer at a path says of images."""
    found = {}

    def listen(name, layer, given, said):
        found[name] = said
        return said

    answer(model, ops.convert_to_tensor(images), listen)
    return found[path]
