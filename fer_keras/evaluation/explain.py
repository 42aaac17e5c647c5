"""Saliency maps of a network: Grad-CAM, Grad-CAM++ and occlusion; run a model layer by layer.

Packages that were tried on Keras 3.15 do not: tf-explain 0.3.1 failed on the three networks tried, tf-keras-vis 0.8.7
on Sequential and nested ones, Xplique 2.0.2 on a nested one.
"""

import inspect
import itertools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike
from PIL import Image

METHODS = ("grad-cam", "grad-cam++", "occlusion")
BATCH = 64
OCCLUSION_BATCH = 128  # always as many at once, so that one shape is compiled
PATCHES = 6  # that fit side by side; each is half its side further than the one before
# Of the map that is looked at, where there is one so large. mini-xception's last is 3x3, and what Grad-CAM marks there
# matters to it no more than what chance marks: see reports/results/tables/explain.json.
MIN_SIDE = 6
SMALLEST = 1e-30  # probability, before a logarithm is taken
# By the name of the last activation. The logarithms of probabilities are logits too.
OUTPUTS = {"softmax": "softmax", "sigmoid": "sigmoid"} | dict.fromkeys(
    ("linear", "log_softmax", "logsoftmax"), "logits"
)
# Layers after which logits are logits still.
RESHAPING = (layers.Dropout, layers.Flatten, layers.GlobalAveragePooling2D, layers.Identity, layers.Reshape)


class LayerCall(NamedTuple):
    """A layer as it was run: its path, itself, the shape of its output, whether all that follows rests on that."""

    path: str
    layer: layers.Layer
    shape: tuple[int, ...]
    is_cut: bool


def explain(
    model: keras.Model,
    images: ArrayLike,
    *,
    method: str = "grad-cam",
    target_class: int | ArrayLike | None = None,
    layer: str | None = None,
) -> np.ndarray:
    """Map for each face what speaks for a class: 1 at the strongest place, 0 where nothing does.

    What is explained is the logarithm of the odds of the class, its probability over that of all others, which does not
    go flat where a network is sure. Grad-CAM weighs the channels of a layer's map by the mean of their gradients,
    Grad-CAM++ so that a feature which shows in several places counts in each. Occlusion covers one patch after the
    other and asks how far the odds fall: finer and slower.

    The network may end in softmax, in sigmoids or in logits; of a single unit, 1 is its class and 0 the complement.
    Networks of mixed precision are explained in float32.

    A map's cells are laid evenly on the picture; strides with padding let what they really see lie up to half a cell
    further to the lower right.

    Reference:
        Selvaraju et al. (2017), Grad-CAM, arXiv:1610.02391; Chattopadhay et al. (2018), Grad-CAM++, arXiv:1710.11063;
        Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks, arXiv:1311.2901, section 4.2.

    Args:
        model: a Sequential or functional `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to
            `(batch, classes)`; others may be nested in it.
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
    model, trace, output = to_explainable(model)
    targets = check_targets(model, images, target_class)
    if not len(images):
        return np.zeros(images.shape[:3], np.float32)
    if method == "occlusion":
        maps = occlusion(
            lambda faces, classes: log_odds(model.predict_on_batch(faces), classes, output), images, targets
        )
    else:
        path = find_layer(trace, model.name, layer)
        activation = class_activation(model, images, targets, output, path, plus=method == "grad-cam++")
        maps = enlarge(activation, trace, images.shape[1:3])
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)


def feature_maps(model: keras.Model, images: ArrayLike, layer: str | None = None) -> np.ndarray:
    """Output of a layer for faces, float32 `(n, rows, columns, channels)`; arguments and errors as for `explain`."""
    images = check_images(model, images)
    trace = layer_trace(model)
    path = find_layer(trace, model.name, layer)
    parts = [ops.cast(layer_output(model, part, path), "float32") for part in in_parts(images)]
    shape = next(call.shape for call in trace if call.path == path)
    return np.concatenate([np.zeros((0, *shape), np.float32), *map(ops.convert_to_numpy, parts)])


def map_layers(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Layers that can be named: a dict from path to `(rows, columns, channels)`, in the order they run in.

    A layer of a nested model has a path like `"vgg16/block5_conv3"`; its last part will do if no other has it.
    """
    check_model(model)
    return {call.path: call.shape for call in map_calls(layer_trace(model))}


def class_activation(model, images, targets, output, path, *, plus):
    """Grad-CAM, or Grad-CAM++, in the cells of a layer's map: float32 `(n, rows, columns)`, 0 and above."""
    result = []
    for part, classes in zip(in_parts(images), in_parts(targets), strict=True):
        maps = layer_output(model, part, path)

        def score(values, part=part, classes=classes):
            outputs = run_layers(model, part, lambda name, layer, inputs, was: values if name == path else was)
            return ops.sum(log_odds(outputs, classes, output))

        slopes, maps = ops.convert_to_numpy(gradients(score, maps)), ops.convert_to_numpy(maps)
        weights = slopes.mean(axis=(1, 2), keepdims=True)
        if plus:  # equation 19 of its reference, of the odds themselves
            maps = np.maximum(maps, 0)  # its derivation takes maps for what a ReLU leaves; not every layer has one
            rising = np.maximum(slopes, 0)
            below = 2 + maps.sum(axis=(1, 2), keepdims=True) * rising
            weights = (rising / below).sum(axis=(1, 2), keepdims=True)
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
    sides = [max(1, round(side / PATCHES)) for side in size]
    spans = [
        [slice(start, start + side) for start in sorted({*range(0, whole - side, max(1, side // 2)), whole - side})]
        for whole, side in zip(size, sides, strict=True)
    ]
    return list(itertools.product(*spans))


def log_odds(outputs, targets, output):
    """Logarithm of a class' probability over that of all others, a tensor `(n,)`: it goes on where 1 is reached.

    `outputs`, `(n, units)`, are probabilities (`output` is `"softmax"`), `"logits"`, or logits of classes each on its
    own (`"sigmoid"`); a single unit is a logit.
    """
    logits = ops.cast(outputs, "float32")
    if output == "softmax":
        logits = ops.log(ops.maximum(logits, SMALLEST))
    if logits.shape[-1] == 1:
        return ops.where(ops.equal(targets, 1), logits[:, 0], -logits[:, 0])
    own = ops.equal(np.arange(logits.shape[-1]), np.asarray(targets)[:, None])
    chosen = ops.sum(ops.where(own, logits, 0.0), axis=-1)
    return chosen if output == "sigmoid" else chosen - ops.logsumexp(ops.where(own, -1e30, logits), axis=-1)


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
    """Run a model layer by layer, those of nested models too, in inference.

    Args:
        model: a Sequential or functional model.
        x: tensor or array `(batch, height, width, channels)`.
        hook: function of a layer's path, the layer, the list of its inputs and its output, that returns what is to be
            handed on instead.
        prefix: of all paths.

    Returns:
        The model's output.
    """

    def call(layer, *args, **options):
        if is_graph(layer):
            return run_layers(layer, args[0], hook, f"{prefix}{layer.name}/")
        if "training" in inspect.signature(layer.call).parameters:
            options["training"] = False
        return hook(prefix + layer.name, layer, keras.tree.flatten((args, options)), layer(*args, **options))

    x = keras.tree.map_structure(ops.convert_to_tensor, x)
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            x = call(layer, x)
        return x
    # No public way leads into a nested model with a change on the way; this one is Keras' own for running and cloning.
    outputs = model._run_through_graph(x, call_fn=call)
    flat = keras.tree.flatten(outputs)
    return flat[0] if len(flat) == 1 else outputs


def layer_output(model, images, path):
    """Output, as a tensor, of the layer at a path."""
    outputs = {}

    def hook(name, layer, inputs, output):
        outputs[name] = output
        return output

    run_layers(model, images, hook)
    return outputs[path]


def layer_trace(model: keras.Model) -> list[LayerCall]:
    """The layers of a model in the order they run in, found by running it once."""
    blank = ops.zeros((1, *model.inputs[0].shape[1:]))
    last_use, calls = {id(blank): 0}, []

    def hook(path, layer, inputs, output):
        outputs = keras.tree.flatten(output)
        last_use.update((id(tensor), len(calls)) for tensor in inputs)
        for tensor in outputs:
            last_use.setdefault(id(tensor), len(calls))
        calls.append((path, layer, outputs))  # keeps the tensors, so that no other takes their number
        return output

    run_layers(model, blank, hook)
    trace, pending = [], {id(blank)}
    for number, (path, layer, outputs) in enumerate(calls):
        # All rests on an output where nothing that was there before it is used after it.
        new = {id(tensor) for tensor in outputs}
        pending = {tensor for tensor in pending if last_use[tensor] > number} - new
        shape = tuple(outputs[0].shape[1:]) if len(outputs) == 1 else ()
        trace.append(LayerCall(path, layer, shape, not pending))
        pending |= new
    return trace


def map_calls(trace):
    """The layers that return a map of more than one place; one that runs twice has two outputs, and is left out."""
    paths = [call.path for call in trace]
    return [call for call in trace if len(call.shape) == 3 and min(call.shape[:2]) > 1 and paths.count(call.path) == 1]


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
    top, bottom, left, right = 0.0, 1.0, 0.0, 1.0  # shares
    for call in trace:
        if isinstance(call.layer, layers.Cropping2D):
            (above, below), (before, after) = call.layer.cropping
            rows, columns = call.shape[0] + above + below, call.shape[1] + before + after
            height, width = bottom - top, right - left
            top, bottom = top + height * above / rows, bottom - height * below / rows
            left, right = left + width * before / columns, right - width * after / columns
    top, bottom, left, right = (
        round(share * side) for share, side in zip((top, bottom, left, right), np.repeat(size, 2), strict=True)
    )
    result = np.zeros((len(maps), *size), np.float32)
    for one, cells in zip(result, maps, strict=True):
        whole = Image.fromarray(cells).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        one[top:bottom, left:right] = np.asarray(whole)
    return result


def to_explainable(model):
    """The model, or a copy that computes in float32 and without last sigmoids; its trace; and its `output_kind`.

    Sigmoids are flat where a network is sure, and half precision is soon 0.
    """
    # A functional model may take and return lists or dicts of one tensor.
    if not isinstance(model, keras.Sequential) and any(map(keras.tree.is_nested, (model.input, model.output))):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    trace = layer_trace(model)
    output, last = output_kind(model, trace)
    half = any(getattr(call.layer, "compute_dtype", None) in ("float16", "bfloat16") for call in trace)
    if not half and output != "sigmoid":
        return model, trace, output

    def clone(layer):
        config = layer.get_config()
        if layer is last and output == "sigmoid":
            if "activation" not in config:
                return layers.Identity(name=layer.name, dtype="float32")
            config["activation"] = "linear"
        if "dtype" in config:
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    # Keras would compile the copy of a compiled model; this one is not.
    model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy, layer_trace(copy), output


def output_kind(model, trace):
    """What a model returns, a value of `OUTPUTS`, and the last layer that changes it."""
    pooled = False
    for call in reversed(trace):
        last = call.layer
        activation = getattr(last, "activation", last)
        name = getattr(activation, "__name__", type(activation).__name__).lower()
        if not isinstance(last, RESHAPING) and not (isinstance(last, layers.Activation) and name == "linear"):
            break
        pooled |= isinstance(last, layers.GlobalAveragePooling2D)
    kind = OUTPUTS.get(name)
    if kind == "logits" or (kind and not pooled):
        return kind, last
    noise = np.random.default_rng(0).uniform(0, 255, (8, *model.inputs[0].shape[1:])).astype(np.float32)
    values = ops.convert_to_numpy(ops.cast(model(noise, training=False), "float32"))
    if values.min() >= 0 and np.allclose(values.sum(axis=-1), 1, atol=0.01):
        return "softmax", last
    raise ValueError(
        f"`model` must end in softmax, in sigmoids or in a linear layer, whose outputs are logits. Received: "
        f"{model.name}, which ends in {name} (layer {last.name!r}). Append what turns its outputs into probabilities."
    )


def is_graph(layer):
    """True for a Sequential or functional model that runs as Keras runs one; what overrides `call` is one layer."""
    owner = next(kind for kind in type(layer).__mro__ if "call" in vars(kind))
    known = isinstance(layer, keras.Sequential) or hasattr(layer, "_run_through_graph")
    return isinstance(layer, keras.Model) and known and owner.__module__.startswith("keras.") and layer.built


def check_model(model):
    """Raise a `ValueError` on a model that cannot be explained."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a keras.Model; a loaded network has it as `.model`. Received: {type(model).__name__}."
        )
    if not is_graph(model):
        raise ValueError(
            "`model` must be a built Sequential or functional keras.Model, whose layers are known. Received: "
            f"{model.name}, a {type(model).__name__}. Build it as keras.Model(inputs, outputs)."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        shapes = [tuple(tensor.shape) for tensor in model.outputs]
        raise ValueError(
            "`model` must have one input and one output of shape (batch, classes). "
            f"Received: {model.name} with {len(model.inputs)} inputs and outputs {shapes}. "
            "Make one of them a model of its own: keras.Model(model.inputs, model.outputs[0])."
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
    if images.size and not (images.min() >= 0 and images.max() <= 255):
        raise ValueError(f"`images` must have values in [0, 255]. Received: {images.min()} to {images.max()}.")
    return images.astype(np.float32)


def check_targets(model, images, target_class):
    """The class of each image, int `(n,)`: the one asked for, or the likeliest of a model of `to_explainable`."""
    units = model.outputs[0].shape[-1]
    if target_class is None:
        outputs = [ops.convert_to_numpy(model(part, training=False)) for part in in_parts(images)]
        outputs = np.concatenate([np.zeros((0, units), np.float32), *outputs])
        return outputs.argmax(axis=-1) if units > 1 else (outputs[:, 0] > 0).astype(np.int64)
    classes, target = max(units, 2), np.asarray(target_class)
    if target.shape not in ((), (len(images),)) or not np.issubdtype(target.dtype, np.integer):
        raise ValueError(
            f"`target_class` must be an int or one for each of the {len(images)} images. Received: {target}."
        )
    if target.size and not (target.min() >= 0 and target.max() < classes):
        raise ValueError(f"`target_class` must lie in 0..{classes - 1}. Received: {target}.")
    return np.broadcast_to(target, len(images)).astype(np.int64)


def in_parts(array):
    """Parts of at most `BATCH` rows."""
    return [array[start : start + BATCH] for start in range(0, len(array), BATCH)]
