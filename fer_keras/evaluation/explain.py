"""Saliency maps of a network: Grad-CAM, Grad-CAM++ and occlusion; run a model layer by layer.

tf-explain, tf-keras-vis and Xplique were tried on Keras 3.15; none of them explains Sequential and nested networks.
"""

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike
from PIL import Image

from fer_keras.data.images import check_pixels
from fer_keras.evaluation import heatmaps
from fer_keras.evaluation.intervals import mean_with_interval

METHODS = ("grad-cam", "grad-cam++", "occlusion")
IMAGES_PER_CLASS = 100  # correctly classified images of each class that are measured, at most
LAST_MAP = "grad-cam on the last map"  # however coarse that is
REGION_METHODS = ("grad-cam++", "occlusion")  # methods whose heatmaps are averaged by emotion and region
BATCH = 64
OCCLUSION_BATCH = 128  # always as many at once, so that one shape is compiled
PATCHES = 6  # that fit side by side; each is half its side further than the one before
MIN_SIDE = 6  # of the map that is taken, where one is so large; what a coarser one marks matters no more than chance
SMALLEST = 1e-30  # probability, before a logarithm is taken
# Layers behind the last activation that leave logits logits, and probabilities probabilities.
NEUTRAL = (layers.Dropout, layers.Flatten, layers.GlobalAveragePooling2D, layers.Identity, layers.Reshape)


class LayerCall(NamedTuple):
    """A layer as it was run: its path, itself, its output, and whether all that follows rests on that."""

    path: str
    layer: layers.Layer
    output: Any
    is_cut: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output for one image."""
        return tuple(self.output.shape[1:])


def explain(
    model: keras.Model,
    images: ArrayLike,
    *,
    method: str = "grad-cam",
    target_class: int | ArrayLike | None = None,
    layer: str | None = None,
) -> np.ndarray:
    """Map for each face what speaks for a class: 1 at the strongest place, 0 where nothing does.

    What is explained is the logarithm of the class's probability over that of all others. Grad-CAM weighs the channels
    of a layer's map by the mean of their gradients, Grad-CAM++ so that a feature which shows in several places counts
    in each; occlusion covers one patch after the other, which is finer and slower. A map's cells are laid evenly on the
    picture, up to half a cell off where a network pads and strides.

    Reference:
        Selvaraju et al. (2017), Grad-CAM, arXiv:1610.02391; Chattopadhay et al. (2018), Grad-CAM++, arXiv:1710.11063;
        Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks, arXiv:1311.2901, section 4.2.

    Args:
        model: a Sequential or functional `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to
            probabilities or logits, `(batch, classes)`, or to one sigmoid or logit of the second of two classes.
        images: one face, `(height, width)` or `(height, width, 1)`, or several, `(n, height, width, 1)`, in [0, 255].
        method: `"grad-cam"`, `"grad-cam++"` or `"occlusion"`.
        target_class: int, or an int array `(n,)`; None takes each face's likeliest class.
        layer: a layer that `map_layers` lists, such as `"block5_conv3"`, for Grad-CAM; None takes the last one on which
            all that follows rests, of the size of the last convolution's map, or of the last one of 6x6 or more.

    Returns:
        float32 `(n, height, width)`, values in [0, 1]; all 0 for a face in which nothing speaks for the class.

    Raises:
        ValueError: on an unknown method, class or layer, a network of another form, or images that it does not take.
    """
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r}. Expected one of: {', '.join(METHODS)}.")
    images = check_images(model, images)
    targets = check_targets(model, images, target_class)
    if not len(images):
        return np.zeros(images.shape[:3], np.float32)
    model = in_float32(to_probabilities(model))
    if targets is None:
        probabilities = [ops.convert_to_numpy(model(part, training=False)) for part in in_parts(images)]
        targets = np.concatenate(probabilities).argmax(axis=-1)
    if method == "occlusion":
        maps = occlusion(lambda faces, classes: log_odds(model.predict_on_batch(faces), classes), images, targets)
    else:
        trace = layer_trace(model)
        path = find_layer(trace, model.name, layer)
        activation = class_activation(model, images, targets, path, plus=method == "grad-cam++")
        maps = enlarge(activation, trace, images.shape[1:3])
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)


def feature_maps(model: keras.Model, images: ArrayLike, layer: str | None = None) -> np.ndarray:
    """Output of a layer for faces, float32 `(n, rows, columns, channels)`; arguments and errors as for `explain`."""
    images = check_images(model, images)
    path = find_layer(layer_trace(model), model.name, layer)
    parts = [ops.cast(layer_output(model, part, path), "float32") for part in in_parts(images)]
    return np.concatenate([ops.convert_to_numpy(part) for part in parts])


def map_layers(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Layers that can be named: a dict from path to `(rows, columns, channels)`, in the order they run in.

    A layer of a nested model has a path like `"vgg16/block5_conv3"`; its last part will do if no other has it.
    """
    check_model(model)
    return {call.path: call.shape for call in map_calls(layer_trace(model))}


def class_activation(model, images, targets, path, *, plus):
    """Grad-CAM, or Grad-CAM++, in the cells of a layer's map: float32 `(n, rows, columns)`, 0 and above."""
    result = []
    for part, classes in zip(in_parts(images), in_parts(targets), strict=True):
        maps = layer_output(model, part, path)

        def score(values, part=part, classes=classes):
            outputs = run_layers(model, part, lambda name, layer, taken, output: values if name == path else output)
            return ops.sum(log_odds(outputs, classes))

        slopes, maps = ops.convert_to_numpy(gradients(score, maps)), ops.convert_to_numpy(maps)
        if plus:  # equation 19 of its reference, which takes maps for what a ReLU leaves
            maps, slopes = np.maximum(maps, 0), np.maximum(slopes, 0)
            below = 2 + maps.sum(axis=(1, 2), keepdims=True) * slopes
            weights = (slopes / below).sum(axis=(1, 2), keepdims=True)
        else:
            weights = slopes.mean(axis=(1, 2), keepdims=True)
        result.append(np.maximum((weights * maps).sum(axis=-1), 0))
    return np.concatenate(result)


def occlusion(score: Callable, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fall of a class' log odds where a patch of the picture's mean grey covers it.

    `score` is a function from float32 pictures `(OCCLUSION_BATCH, height, width, 1)` and their classes to log odds. At
    each pixel stands the mean fall over the patches that cover it, 0 where the odds rise.
    """
    boxes = [(slice(0), slice(0)), *patches(images.shape[1:3])]  # the first covers nothing
    numbers, places = np.divmod(np.arange(len(images) * len(boxes)), len(boxes))
    scores = []
    for start in range(0, len(numbers), OCCLUSION_BATCH):
        chosen, at = (np.resize(each[start : start + OCCLUSION_BATCH], OCCLUSION_BATCH) for each in (numbers, places))
        covered = images[chosen]
        for one, place in zip(covered, at, strict=True):
            one[boxes[place]] = one.mean()
        scores.append(ops.convert_to_numpy(score(covered, targets[chosen])))
    scores = np.concatenate(scores)[: len(numbers)].reshape(len(images), len(boxes))
    maps, times = np.zeros(images.shape[:3], np.float32), np.zeros(images.shape[1:3], np.float32)
    for box, fall in zip(boxes[1:], (scores[:, :1] - scores[:, 1:]).T, strict=True):
        maps[:, *box] += fall[:, None, None]
        times[box] += 1
    return np.maximum(maps / times, 0)


def patches(size):
    """Places of the patches on pictures of a size, as pairs of slices; together they cover all of it."""
    spans = []
    for whole in size:
        side = max(1, round(whole / PATCHES))
        starts = sorted({*range(0, whole - side, max(1, side // 2)), whole - side})
        spans.append([slice(start, start + side) for start in starts])
    return list(itertools.product(*spans))


def log_odds(probabilities, targets):
    """Logarithm of the probability of a class over that of all others, a tensor `(n,)`: not flat where 1 is reached."""
    logs = ops.log(ops.maximum(ops.cast(probabilities, "float32"), SMALLEST))
    own = ops.equal(np.arange(logs.shape[-1]), np.asarray(targets)[:, None])
    return ops.sum(ops.where(own, logs, 0.0), axis=-1) - ops.logsumexp(ops.where(own, -1e30, logs), axis=-1)


def gradients(function, at):
    """Gradient of a function from a tensor to one number, by whichever backend Keras runs on."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch(at)
            value = function(at)
        return tape.gradient(value, at)
    if backend == "jax":
        import jax

        return jax.grad(function)(at)
    raise ValueError(f"Grad-CAM needs Keras on TensorFlow or JAX. Received: {backend}. Take method='occlusion'.")


def run_layers(model: keras.Model, x, hook: Callable, prefix: str = ""):
    """Run a model layer by layer, those of nested models too, in inference, and return its output.

    `hook` is a function of a layer's path, the layer, the list of its inputs and its output, that returns what is to be
    handed on instead; `prefix` is that of all paths.
    """

    def call(layer, *args, **options):
        if is_graph(layer):
            return run_layers(layer, args[0], hook, f"{prefix}{layer.name}/")
        if "training" in inspect.signature(layer.call).parameters:
            options["training"] = False
        return hook(prefix + layer.name, layer, keras.tree.flatten((args, options)), layer(*args, **options))

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            x = call(layer, x)
        return x
    # No public way leads into a nested model with a change on the way; this one is Keras' own for running and cloning.
    return keras.tree.flatten(model._run_through_graph(x, call_fn=call))[0]


def layer_trace(model: keras.Model, images: ArrayLike | None = None) -> list[LayerCall]:
    """The layers of a model in the order they run in, found by running it on images or on one that is black."""
    x = ops.zeros((1, *model.inputs[0].shape[1:])) if images is None else ops.convert_to_tensor(images)
    calls, last_use = [], {}

    def hook(path, layer, taken, output):
        output = keras.tree.map_structure(ops.copy, output)  # some layers hand on the very tensor that they took
        last_use.update((id(tensor), len(calls)) for tensor in taken)
        calls.append((path, layer, keras.tree.flatten(output)))
        return output

    run_layers(model, x, hook)
    trace, reach = [], last_use[id(x)]  # the last call that takes what was there before this one
    for number, (path, layer, outputs) in enumerate(calls):
        trace.append(LayerCall(path, layer, outputs[0], len(outputs) == 1 and reach <= number))
        reach = max(reach, *(last_use.get(id(output), number) for output in outputs))
    return trace


def layer_output(model, images, path):
    """Output, as a tensor, of the layer at a path."""
    return {call.path: call.output for call in layer_trace(model, images)}[path]


def map_calls(trace):
    """The layers that return a map of more than one place."""
    return [call for call in trace if len(call.shape) == 3 and min(call.shape[:2]) > 1]


def find_layer(trace: list[LayerCall], network: str, name: str | None = None) -> str:
    """Path of the layer of a name or path; without one, of the layer that `explain` takes."""
    maps = map_calls(trace)
    names = ", ".join(call.path for call in maps) or "none, as no layer returns maps"
    if name is not None:
        same = [call.path for call in maps if name in (call.path, call.path.rpartition("/")[2])]
        if len(same) != 1:
            raise ValueError(f"{network} has {len(same)} layers {name!r} that return maps. Expected one of: {names}.")
        return same[0]
    sizes = [call.shape[:2] for call in maps if hasattr(call.layer, "kernel_size")]
    sizes = [size for size in sizes if min(size) >= MIN_SIDE] or sizes
    cuts = [call.path for call in maps if sizes and call.is_cut and call.shape[:2] == sizes[-1]]
    if not cuts:
        raise ValueError(
            f"{network} has no convolution with a map on which its output rests. Pass as `layer` one of: {names}; "
            "or method='occlusion', which needs none."
        )
    return cuts[-1]


def enlarge(maps, trace, size):
    """Lay maps `(n, rows, columns)` over the part of pictures that a network does not crop away."""
    edges = np.array([[0.0, 1.0], [0.0, 1.0]])  # of rows and columns, in shares
    for call in trace:
        if isinstance(call.layer, layers.Cropping2D):
            cropped = np.array(call.layer.cropping)
            share = np.diff(edges) / (np.array(call.shape[:2]) + cropped.sum(axis=1))[:, None]
            edges += cropped * share * (1, -1)
    (top, bottom), (left, right) = np.rint(edges * np.array(size)[:, None]).astype(int)
    result = np.zeros((len(maps), *size), np.float32)
    for one, cells in zip(result, maps, strict=True):
        whole = Image.fromarray(cells).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        one[top:bottom, left:right] = np.asarray(whole)
    return result


def to_probabilities(model: keras.Model, name: str | None = None) -> keras.Model:
    """Let a model end in a softmax of two classes or more: as it is if it does, else with one more layer.

    Logits go through a softmax; of one sigmoid or one logit, which stands for the second of two classes, both
    probabilities are made. `name` is the model's in the error that refuses all else.
    """
    # keras.Model(model.inputs, …) takes a list of one tensor.
    if not isinstance(model, keras.Sequential) and any(map(keras.tree.is_nested, (model.input, model.output))):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    units, (tensor, activation) = model.outputs[0].shape[-1], last_activation(model.outputs[0])
    last, one_value = tensor._keras_history[0], units == 1 and math.prod(tensor.shape[1:]) == 1
    expected = {"softmax": units > 1, "log_softmax": units > 1, "linear": True, "sigmoid": one_value}
    if not expected.get(activation):
        raise ValueError(
            f"{name or model.name}: Expected a last activation of softmax, linear (logits), or one sigmoid. Received: "
            f"{activation} of {units} output{'s' * (units > 1)}. End the network with "
            f"Dense({max(units, 2)}, activation='softmax')."
        )
    if activation == "softmax":
        return model
    if activation == "sigmoid":  # from its logit, as a sigmoid is 1 from about 17 on
        model = copy_with(model, lambda layer: {"activation": "linear"} if layer is last else {})
    options = {"dtype": "float32", "name": f"{model.name}_probabilities"}
    head = layers.Softmax(**options) if units > 1 else layers.Dense(2, "softmax", use_bias=False, **options)
    adapted = keras.Model(model.inputs[0], head(model.outputs[0]), name=model.name)
    if units == 1:  # softmax(0, z) is sigmoid(z)
        head.set_weights([np.array([[0.0, 1.0]])])
    return adapted


def last_activation(tensor):
    """The tensor that the last activation gives, and that one's name; nested networks are looked into."""
    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        return last_activation(operation.outputs[index])
    name = getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())
    is_neutral = isinstance(operation, NEUTRAL) or (isinstance(operation, layers.Activation) and name == "linear")
    given = operation._inbound_nodes[node].input_tensors
    return last_activation(given[0]) if is_neutral and given else (tensor, name)


def in_float32(model):
    """The model, or a copy that computes in float32 if it computes in half precision, in which gradients vanish."""
    if all(getattr(call.layer, "compute_dtype", "float32") == "float32" for call in layer_trace(model)):
        return model
    return copy_with(model, lambda layer: {"dtype": "float32"} if isinstance(layer, layers.Layer) else {})


def copy_with(model, changes):
    """Copy a model, with its weights; `changes` is a function from a layer to what differs in its configuration."""
    # Keras would compile the copy of a compiled model; this one is not.
    whole = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    copy = keras.models.clone_model(
        whole,
        clone_function=lambda layer: type(layer).from_config(layer.get_config() | changes(layer)),
        recursive=True,
    )
    copy.set_weights(model.get_weights())
    return copy


def is_graph(layer):
    """True for a Sequential or functional model that runs as Keras runs one; what overrides `call` is one layer."""
    known = isinstance(layer, keras.Sequential) or hasattr(layer, "_run_through_graph")
    return known and layer.built and len(layer.outputs) == 1 and type(layer).call.__module__.startswith("keras.")


def check_model(model):
    """Raise a `ValueError` on a model whose layers cannot be run one by one, or that is no classifier."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a keras.Model; a loaded network has it as `.model`. Received: {type(model).__name__}."
        )
    shapes = [[tuple(tensor.shape) for tensor in getattr(model, each, None) or ()] for each in ("inputs", "outputs")]
    if not is_graph(model) or len(model.inputs) != 1 or len(model.outputs[0].shape) != 2:
        raise ValueError(
            "`model` must be a built Sequential or functional keras.Model with one input and one output of shape "
            f"(batch, classes). Received: {model.name}, a {type(model).__name__} with inputs {shapes[0]} and outputs "
            f"{shapes[1]}. Build it as keras.Model(input, output)."
        )


def check_images(model, images):
    """Convert images to float32 `(n, height, width, 1)`; raise a `ValueError` on what the model does not take."""
    check_model(model)
    size, images = tuple(model.inputs[0].shape[1:]), np.asarray(images)
    if images.shape in (size, size[:2]):
        images = images.reshape(1, *size)
    if images.ndim != 4 or images.shape[1:] != size:
        raise ValueError(
            f"`images` must be grey faces of shape {size} or (n, {', '.join(map(str, size))}). "
            f"Received: shape {images.shape}. Cut out the face and resize it first."
        )
    check_pixels(images)
    return images.astype(np.float32)


def check_targets(model, images, target_class):
    """The class asked for of each image, int `(n,)`, or None; raise a `ValueError` on what is no class of the model."""
    if target_class is None:
        return None
    classes, target = max(model.outputs[0].shape[-1], 2), np.asarray(target_class)
    is_whole = target.shape in ((), (len(images),)) and np.issubdtype(target.dtype, np.integer)
    if not is_whole or ((target < 0) | (target >= classes)).any():
        raise ValueError(
            f"`target_class` must be an int in 0..{classes - 1}, or one for each of the {len(images)} images. "
            f"Received: {target}."
        )
    return np.broadcast_to(target, len(images)).astype(np.int64)


def in_parts(array):
    """Parts of at most `BATCH` rows."""
    return [array[start : start + BATCH] for start in range(0, len(array), BATCH)]


def measure_explanations(network, images: np.ndarray, labels: np.ndarray) -> tuple[dict, dict[str, np.ndarray]]:
    """The entry of the table `explain`, and mean heatmaps, of images that a network classifies correctly."""
    correct = network.predict(images).argmax(axis=1) == labels
    order = np.random.default_rng(0).permutation(np.flatnonzero(correct))
    chosen = [order[labels[order] == label][:IMAGES_PER_CLASS] for label in range(len(network.classes))]
    images, labels = images[np.concatenate(chosen)], labels[np.concatenate(chosen)]
    maps = {method: explain(network.model, images, method=method, target_class=labels) for method in METHODS}
    last = list(map_layers(network.model))[-1]
    if last != find_layer(layer_trace(network.model), network.name):
        maps[LAST_MAP] = explain(network.model, images, target_class=labels, layer=last)
    emotions, means = {method: {} for method in REGION_METHODS}, {}
    for method, label in itertools.product(REGION_METHODS, np.unique(labels)):
        emotion, chosen = network.classes[label], maps[method][labels == label]
        regions = {name: mean_with_interval(shares) for name, shares in heatmaps.region_shares(chosen).items()}
        emotions[method][emotion] = {"num_images": len(chosen), "regions": regions}
        mean = chosen.mean(axis=0)
        means[f"{method}/{emotion}"] = np.rint(255 * mean / max(mean.max(), 1e-9)).astype(np.uint8)
    curves = {fill: heatmaps.deletion_curves(network.predict, images, labels, maps, fill) for fill in heatmaps.FILLS}
    return {"num_images": len(images), "shares": list(heatmaps.SHARES), "deletion": curves, "emotions": emotions}, means
