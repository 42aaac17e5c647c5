"""Saliency maps of a network, also Sequential and nested (no package explains these); run a model layer by layer."""

import inspect
import itertools
import math
from collections import namedtuple
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike
from PIL import Image

from fer_keras.data.images import as_batch
from fer_keras.evaluation import heatmaps
from fer_keras.evaluation.intervals import mean_with_interval

METHODS = ("grad-cam", "grad-cam++", "occlusion")
IMAGES_PER_CLASS = 100  # correctly classified images of each class that are measured, at most
LAST_MAP = "grad-cam on the last map"  # however coarse that is
BATCH = 64
OCCLUSION_BATCH = 128  # always as many at once, so that one shape is compiled
# Layers behind the last activation that leave logits logits, and probabilities probabilities.
NEUTRAL = (layers.Dropout, layers.Flatten, layers.GlobalAveragePooling2D, layers.Identity, layers.Reshape)
# A layer as it was run; whether all that follows rests on its output, and whether that has more than one place.
LayerCall = namedtuple("LayerCall", "path layer output is_cut is_map")


def explain(
    model: keras.Model, images: ArrayLike, *, method: str = "grad-cam", target_class: int | ArrayLike | None = None,
    layer: str | None = None,
) -> np.ndarray:  # fmt: skip
    """Map for each face what speaks for a class: 1 at the strongest place, 0 where nothing does.

    What is explained is the logarithm of the class's probability over that of all others. Grad-CAM weighs the channels
    of a layer's map by the mean of their gradients, Grad-CAM++ so that a feature which shows in several places counts
    in each; occlusion covers one patch after the other, which is finer and slower.

    Reference:
        Selvaraju et al. (2017), Grad-CAM, arXiv:1610.02391; Chattopadhay et al. (2018), Grad-CAM++, arXiv:1710.11063;
        Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks, arXiv:1311.2901, section 4.2.

    Args:
        model: a Sequential or functional `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to
            probabilities or logits, `(batch, classes)`, or to one sigmoid or logit of the second of two classes.
        images: one face, `(height, width)` or `(height, width, 1)`, or several, `(n, height, width, 1)`, in [0, 255].
        method, target_class: one of `METHODS`; int, int array `(n,)`, or None for each face's likeliest class.
        layer: a path of `map_layers`, or its last part, for Grad-CAM; None takes the last layer on which all that
            follows rests, of the size of the last convolution's map, or of the last one of 6x6 or more.

    Returns:
        float32 `(n, height, width)`, values in [0, 1]; all 0 for a face in which nothing speaks for the class.

    Raises:
        ValueError: on an unknown method, class or layer, a network of another form, or images that it does not take.
    """
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r}. Expected one of: {', '.join(METHODS)}.")
    images, targets = check_faces(model, images, target_class)
    model = to_probabilities(model)
    # In half precision gradients vanish.
    if any(getattr(call.layer, "compute_dtype", "float32") != "float32" for call in layer_trace(model)):
        model = copy_with(model, lambda layer: {"dtype": "float32"} if isinstance(layer, layers.Layer) else {})
    maps = np.zeros(images.shape[:3], np.float32)
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        outputs = model(images[part], training=False) if targets is None else None
        classes = targets[part] if outputs is None else ops.convert_to_numpy(outputs).argmax(axis=-1)
        if method == "occlusion":
            maps[part] = occlusion(model, images[part], classes)
        else:
            maps[part] = grad_cam(model, images[part], classes, layer, plus=method == "grad-cam++")
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)


def feature_maps(model: keras.Model, images: ArrayLike, layer: str | None = None) -> np.ndarray:
    """Output of a layer for faces, float32 `(n, rows, columns, channels)`; arguments and errors as for `explain`."""
    images, _ = check_faces(model, images)
    traces = (layer_trace(model, images[start : start + BATCH]) for start in range(0, len(images), BATCH))
    outputs = [ops.cast(find_layer(trace, model.name, layer).output, "float32") for trace in traces]
    return np.concatenate([ops.convert_to_numpy(output) for output in outputs])


def map_layers(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Layers that `explain` takes: a dict from path, as in `"vgg16/block5_conv3"`, to `(rows, columns, channels)`."""
    check_model(model)
    return {call.path: tuple(call.output.shape[1:]) for call in layer_trace(model) if call.is_map}


def grad_cam(model, images, targets, layer, *, plus):
    """Grad-CAM, or Grad-CAM++, of a batch of faces: float32 `(n, height, width)`, 0 and above."""
    trace = layer_trace(model, images)
    taken = find_layer(trace, model.name, layer)

    def score(values):
        outputs = run_layers(model, images, lambda path, layer, given, output: values if path == taken.path else output)
        return ops.sum(log_odds(outputs, targets))

    slopes, maps = (ops.convert_to_numpy(each) for each in (gradients(score, taken.output), taken.output))
    if plus:  # equation 19 of its reference, which takes maps for what a ReLU leaves
        maps, slopes = np.maximum(maps, 0), np.maximum(slopes, 0)
        below = 2 + maps.sum(axis=(1, 2), keepdims=True) * slopes
        weights = (slopes / below).sum(axis=(1, 2), keepdims=True)
    else:
        weights = slopes.mean(axis=(1, 2), keepdims=True)
    edges = np.array([[0.0, 1.0], [0.0, 1.0]])  # in shares of rows and of columns: what the network does not crop away
    for call in trace:
        if isinstance(call.layer, layers.Cropping2D):
            cropped = np.array(call.layer.cropping)
            share = np.diff(edges) / (np.array(call.output.shape[1:3]) + cropped.sum(axis=1))[:, None]
            edges += cropped * share * (1, -1)
    (top, bottom), (left, right) = np.rint(edges * np.array(images.shape[1:3])[:, None]).astype(int)
    result = np.zeros(images.shape[:3], np.float32)
    for one, cells in zip(result, np.maximum((weights * maps).sum(axis=-1), 0), strict=True):
        size = right - left, bottom - top
        one[top:bottom, left:right] = Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR)
    return result


def occlusion(model, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean fall of a class's log odds over the patches of mean grey that cover a pixel, 0 where they rise."""
    spans = []
    for whole in images.shape[1:3]:  # six patches side by side, and one between each two
        side = max(1, round(whole / 6))
        starts = sorted({*range(0, whole - side, max(1, side // 2)), whole - side})
        spans.append([slice(start, start + side) for start in starts])
    boxes = [(slice(0), slice(0)), *itertools.product(*spans)]  # the first covers nothing
    numbers, places = np.divmod(np.arange(len(images) * len(boxes)), len(boxes))
    scores = []
    for start in range(0, len(numbers), OCCLUSION_BATCH):
        chosen, at = (np.resize(each[start : start + OCCLUSION_BATCH], OCCLUSION_BATCH) for each in (numbers, places))
        covered = images[chosen]
        for one, place in zip(covered, at, strict=True):
            one[boxes[place]] = one.mean()
        scores.append(ops.convert_to_numpy(log_odds(model.predict_on_batch(covered), targets[chosen])))
    scores = np.concatenate(scores)[: len(numbers)].reshape(len(images), len(boxes))
    maps, times = np.zeros(images.shape[:3], np.float32), np.zeros(images.shape[1:3], np.float32)
    for box, fall in zip(boxes[1:], (scores[:, :1] - scores[:, 1:]).T, strict=True):
        maps[:, *box] += fall[:, None, None]
        times[box] += 1
    return np.maximum(maps / times, 0)


def log_odds(probabilities, targets):
    """Logarithm of the probability of a class over that of all others, a tensor `(n,)`: not flat where 1 is reached."""
    logs = ops.log(ops.maximum(ops.cast(probabilities, "float32"), 1e-30))
    own = ops.equal(np.arange(logs.shape[-1]), np.asarray(targets)[:, None])
    return ops.sum(ops.where(own, logs, 0.0), axis=-1) - ops.logsumexp(ops.where(own, -1e30, logs), axis=-1)


def gradients(function, at):
    """Gradient of a function from a tensor to one number, by whichever backend Keras runs on."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(at)
    import tensorflow

    with tensorflow.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at)


def run_layers(model: keras.Model, x, hook: Callable, prefix: str = ""):
    """A model's output in inference; `hook(path, layer, inputs, output)` of each layer, nested ones too, changes it."""

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
        is_map = len(outputs[0].shape) == 4 and min(outputs[0].shape[1:3]) > 1
        trace.append(LayerCall(path, layer, outputs[0], len(outputs) == 1 and reach <= number, is_map))
        reach = max(reach, *(last_use.get(id(output), number) for output in outputs))
    return trace


def find_layer(trace: list[LayerCall], network: str, name: str | None = None) -> LayerCall:
    """The layer of a name or path; without one, the layer that `explain` takes."""
    maps = [call for call in trace if call.is_map]
    if name is None:
        sizes = [call.output.shape[1:3] for call in maps if hasattr(call.layer, "kernel_size")]
        sizes = [size for size in sizes if min(size) >= 6] or sizes  # what coarser ones mark matters as chance does
        found = [call for call in maps if sizes and call.is_cut and call.output.shape[1:3] == sizes[-1]][-1:]
        fault = "no convolution with a map on which its output rests"
    else:
        found = [call for call in maps if name in (call.path, call.path.rpartition("/")[2])]
        fault = f"{len(found)} layers {name!r} that return maps"
    if len(found) != 1:
        names = ", ".join(call.path for call in maps) or "none, as no layer returns maps"
        action = f"Pass as `layer` one of: {names}; or method='occlusion', which needs none."
        raise ValueError(f"{network} has {fault}. {action}")
    return found[0]


def to_probabilities(model: keras.Model, name: str | None = None) -> keras.Model:
    """Let a model of logits, or of one sigmoid or logit for the second of two classes, end in a softmax."""
    # keras.Model(model.inputs, …) takes a list of one tensor.
    if not isinstance(model, keras.Sequential) and any(map(keras.tree.is_nested, (model.input, model.output))):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    units, (tensor, activation) = model.outputs[0].shape[-1], last_activation(model.outputs[0])
    last, one_value = tensor._keras_history[0], units == 1 and math.prod(tensor.shape[1:]) == 1
    if not {"softmax": units > 1, "log_softmax": units > 1, "linear": True, "sigmoid": one_value}.get(activation):
        expected = f"{name or model.name}: Expected a last activation of softmax, linear (logits), or one sigmoid"
        advice = f"End with Dense({max(units, 2)}, activation='softmax')."
        raise ValueError(f"{expected}. Received: {activation} of {units} output{'s' * (units > 1)}. {advice}")
    if activation == "softmax":
        return model
    if activation == "sigmoid":  # from its logit, as a sigmoid is 1 from about 17 on
        model = copy_with(model, lambda layer: {"activation": "linear"} if layer is last else {})
    how = {"dtype": "float32", "name": f"{model.name}_probabilities"}
    head = layers.Softmax(**how) if units > 1 else layers.Dense(2, "softmax", use_bias=False, **how)
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


def copy_with(model, changes):
    """Copy a model, with its weights; `changes` is a function from a layer to what differs in its configuration."""
    # Keras would compile the copy of a compiled model; this one is not.
    whole = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    how = {"clone_function": lambda layer: type(layer).from_config(layer.get_config() | changes(layer))}
    copy = keras.models.clone_model(whole, recursive=True, **how)
    copy.set_weights(model.get_weights())
    return copy


def is_graph(layer):
    """True for a Sequential or functional model that runs as Keras runs one; what overrides `call` is one layer."""
    known = isinstance(layer, keras.Sequential) or hasattr(layer, "_run_through_graph")
    return known and layer.built and len(layer.outputs) == 1 and type(layer).call.__module__.startswith("keras.")


def check_model(model):
    """Raise a `ValueError` on a model whose layers cannot be run one by one, or that is no classifier."""
    ends = [[tuple(each.shape) for each in getattr(model, name, None) or ()] for name in ("inputs", "outputs")]
    if not is_graph(model) or len(ends[0]) != 1 or len(ends[1][0]) != 2:
        expected = "`model` must be a built Sequential or functional keras.Model with one input and one output of shape"
        received = f"a {type(model).__name__} of inputs {ends[0]} and outputs {ends[1]}"
        advice = "(batch, classes); a loaded network has it as `.model`"
        raise ValueError(f"{expected} {advice}. Received: {received}. Build it as keras.Model(input, output).")


def check_faces(model, images, target_class=None):
    """Images as float32 `(n, height, width, 1)` and their classes as int `(n,)`, or None; a `ValueError` on others."""
    check_model(model)
    size, images = tuple(model.inputs[0].shape[1:]), np.asarray(images)
    images = as_batch(images[None] if images.shape in (size, size[:2]) else images, size).astype(np.float32)
    if target_class is None:
        return images, None
    classes, target = range(max(model.outputs[0].shape[-1], 2)), np.asarray(target_class)
    is_whole = target.shape in ((), (len(images),)) and np.issubdtype(target.dtype, np.integer)
    if not is_whole or not np.isin(target, classes).all():
        expected = f"`target_class` must be an int in 0..{classes[-1]}, or one for each of the {len(images)} images"
        raise ValueError(f"{expected}. Received: {target}. Leave it out for the likeliest class.")
    return images, np.broadcast_to(target, len(images)).astype(np.int64)


def measure_explanations(network, images: np.ndarray, labels: np.ndarray) -> tuple[dict, dict[str, np.ndarray]]:
    """The entry of the table `explain`, and mean heatmaps, of images that a network classifies correctly."""
    correct = network.predict(images).argmax(axis=1) == labels
    order = np.random.default_rng(0).permutation(np.flatnonzero(correct))
    chosen = [order[labels[order] == label][:IMAGES_PER_CLASS] for label in range(len(network.classes))]
    images, labels = images[np.concatenate(chosen)], labels[np.concatenate(chosen)]
    maps = {method: explain(network.model, images, method=method, target_class=labels) for method in METHODS}
    last = list(map_layers(network.model))[-1]
    if last != find_layer(layer_trace(network.model), network.name).path:
        maps[LAST_MAP] = explain(network.model, images, target_class=labels, layer=last)
    emotions, means = {method: {} for method in METHODS[1:]}, {}  # by emotion and region
    for method, label in itertools.product(emotions, np.unique(labels)):
        emotion, chosen = network.classes[label], maps[method][labels == label]
        regions = {name: mean_with_interval(shares) for name, shares in heatmaps.region_shares(chosen).items()}
        emotions[method][emotion] = {"num_images": len(chosen), "regions": regions}
        mean = chosen.mean(axis=0)
        means[f"{method}/{emotion}"] = np.rint(255 * mean / max(mean.max(), 1e-9)).astype(np.uint8)
    curves = {fill: heatmaps.deletion_curves(network.predict, images, labels, maps, fill) for fill in heatmaps.FILLS}
    return {"num_images": len(images), "shares": list(heatmaps.SHARES), "deletion": curves, "emotions": emotions}, means
