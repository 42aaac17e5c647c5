"""Where a network looks: Grad-CAM, Grad-CAM++ and occlusion for every network, and what its layers say of a face.

Packages that were tried on Keras 3.15 do not: tf-explain 0.3.1 failed on the three networks tried, tf-keras-vis 0.8.7
on Sequential and nested ones, Xplique 2.0.2 on a nested one.
"""

import keras
import numpy as np
from keras import ops
from PIL import Image

from fer_keras.evaluation.inside import answer, find_layer, heard, is_map, way, window
from fer_keras.evaluation.occlusion import LEAST_SHARE, occlusion

METHODS = ("grad-cam", "grad-cam++", "occlusion")
BATCH = 64


def explain(model, images, *, method="grad-cam", target_class=None, layer=None):
    """Return for each face where what speaks for a class lies: 1 at the strongest place, 0 where nothing does.

    What is explained is the logarithm of the odds of the class, its probability over that of all others, which does not
    go flat where a network is sure. Grad-CAM weighs the channels of a layer's map by the mean of their gradients,
    Grad-CAM++ so that a feature which shows in several places counts in each. Occlusion covers one patch after the
    other and asks how far the odds fall: finer and slower.

    A map's cells are laid evenly on the picture; strides with padding let what they really see lie up to half a cell
    further to the lower right.

    Reference:
        Selvaraju et al. (2017), Grad-CAM, arXiv:1610.02391; Chattopadhay et al. (2018), Grad-CAM++, arXiv:1710.11063.

    Args:
        model: a Sequential or Functional `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to
            probabilities; others may be nested in it.
        images: one face, `(height, width)` or `(height, width, 1)`, or several, `(n, height, width, 1)`, in [0, 255].
        method: `"grad-cam"`, `"grad-cam++"` or `"occlusion"`.
        target_class: int, or an int array `(n,)`; None takes each face's likeliest class.
        layer: a layer that `map_layers` lists, such as `"block5_conv3"`, for Grad-CAM; None takes the last one on which
            all that follows rests, of the size of the last convolution's map, or of the last one of 6x6 or more.

    Returns:
        float32 `(n, height, width)`, values in [0, 1]; all 0 for a face in which nothing speaks for the class.

    Raises:
        ValueError: on an unknown method, class or layer, or images that the network does not take.
    """
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r}. Expected one of: {', '.join(METHODS)}.")
    images = checked(model, images)
    targets = checked_targets(model, images, target_class)
    if not len(images):
        return np.zeros(images.shape[:3], np.float32)
    if method == "occlusion":
        maps = occlusion(model.predict_on_batch, images, targets)
    else:
        maps = class_activation(model, images, targets, layer, plus=method == "grad-cam++")
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0)


def feature_maps(model, images, layer=None):
    """Return what a layer says of faces, float32 `(n, rows, columns, channels)`.

    Args:
        model, images, layer: as for `explain`.

    Raises:
        ValueError: if the network has no such layer, or does not take such images.
    """
    images = checked(model, images)
    path = find_layer(way(model), model.name, layer)
    return np.concatenate([ops.convert_to_numpy(heard(model, part, path)) for part in parts(images)])


def map_layers(model):
    """Return the layers that can be named: a dict from path to `(rows, columns, channels)`, in the order they run in.

    A layer of a nested model has a path like `"vgg16/block5_conv3"`; its last part will do if no other has it.
    """
    return {stop.path: stop.shape for stop in way(model) if is_map(stop)}


def class_activation(model, images, targets, layer, *, plus):
    """Return the maps of Grad-CAM, or of Grad-CAM++, float32 `(n, height, width)`, 0 and above."""
    stops = way(model)
    path, (top, bottom, left, right) = find_layer(stops, model.name, layer), window(stops, images.shape[1:3])
    found = np.zeros(images.shape[:3], np.float32)
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        maps = heard(model, images[part], path)
        slopes = ops.convert_to_numpy(slopes_of(model, images[part], targets[part], path, maps))
        maps = ops.convert_to_numpy(maps)
        if plus:
            maps = np.maximum(maps, 0)  # its derivation takes maps for what a ReLU leaves; not every layer has one
        heat = np.maximum((channel_weights(maps, slopes, plus=plus) * maps).sum(axis=-1), 0)
        for number, each in enumerate(heat, start=start):
            whole = Image.fromarray(each).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
            found[number, top:bottom, left:right] = np.asarray(whole)
    return found


def channel_weights(maps, slopes, *, plus):
    """Return what each channel counts, `(n, 1, 1, channels)`, from maps and gradients `(n, rows, columns, channels)`.

    Grad-CAM++ is equation 19 of its reference, of the odds themselves; its maps must be nowhere negative.
    """
    if not plus:
        return slopes.mean(axis=(1, 2), keepdims=True)
    rising = np.maximum(slopes, 0)
    below = 2 + maps.sum(axis=(1, 2), keepdims=True) * rising
    return (rising / below).sum(axis=(1, 2), keepdims=True)


def slopes_of(model, images, targets, path, maps):
    """Return how the log odds of each image's class grow with each value of a layer's map, a tensor like `maps`."""
    own = ops.one_hot(targets, model.output_shape[-1])

    def odds(values):
        said = answer(
            model, ops.convert_to_tensor(images), lambda name, layer, given, was: values if name == path else was
        )
        mine, others = (ops.sum(said * mask, axis=-1) for mask in (own, 1 - own))
        return ops.sum(ops.log(ops.maximum(mine, LEAST_SHARE)) - ops.log(ops.maximum(others, LEAST_SHARE)))

    return gradient(odds, maps)


def gradient(function, at):
    """Return the gradient of a function from a tensor to one number, by whichever backend Keras runs on."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch(at)
            found = function(at)
        return tape.gradient(found, at)
    if backend == "jax":
        import jax

        return jax.grad(function)(at)
    raise ValueError(f"Grad-CAM needs Keras on TensorFlow or JAX. Received: {backend}. Take method='occlusion'.")


def parts(images):
    """Return images in parts of at most `BATCH`, one part at least."""
    return [images[start : start + BATCH] for start in range(0, max(len(images), 1), BATCH)]


def checked(model, images):
    """Return images as float32 `(n, height, width, 1)`; raise a `ValueError` on what the network does not take."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a keras.Model; a loaded network has it as `.model`. Received: {type(model).__name__}."
        )
    size, images = tuple(model.input_shape[1:]), np.asarray(images)
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


def checked_targets(model, images, target_class):
    """Return the class of each image, int `(n,)`: the one asked for, or the likeliest."""
    if target_class is None:
        said = [
            ops.convert_to_numpy(model(part, training=False)).argmax(axis=-1) for part in parts(images) if len(part)
        ]
        return np.concatenate([np.zeros(0, np.int64), *said]).astype(np.int64)
    classes, found = model.output_shape[-1], np.asarray(target_class)
    if found.shape not in ((), (len(images),)) or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"`target_class` must be an int or one for each of the {len(images)} images. Received: {found}."
        )
    if found.size and not (found.min() >= 0 and found.max() < classes):
        raise ValueError(f"`target_class` must lie in 0..{classes - 1}. Received: {found}.")
    return np.broadcast_to(found, len(images)).astype(np.int64)
