"""What a frozen backbone says of every image, computed once: the head then trains on that alone."""

import hashlib
import os

import keras
import numpy as np

from fer_keras import paths
from fer_keras.data.transforms import Augmentation
from fer_keras.models.transfer import backbones_in

CHUNK = 256  # images computed and written at once


def split_backbone(recipe, network):
    """Return a network's frozen part and its head, as two models that share its layers.

    Args:
        recipe: a `Recipe`.
        network: a built `keras.Model`.

    Returns:
        `(trunk, head)`, or None if there is no nested backbone that is frozen as a whole, or if the recipe changes the
        images, or scores their mirror images, so that the backbone sees more than each of them once.
    """
    nested = backbones_in(network)
    if len(nested) != 1 or recipe.flip_view or recipe.augmentation != Augmentation():
        return None
    seam = network.layers[network.layers.index(nested[0]) + 1].input
    trunk = keras.Model(network.input, seam)
    if trunk.trainable_weights:
        return None
    return trunk, keras.Model(seam, network.output, name=f"{network.name}_head")


def backbone_features(trunk, faces, *, verbose="auto"):
    """Return what a trunk says of every image, float32 `(n, ...)`, from the cache where it was computed before.

    The cache is a file a trunk and data set below `paths.build()`, keyed by the trunk's layers and values and by the
    images. A computation that was stopped goes on where it was.

    Args:
        trunk: a `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`.
        faces: a `FaceDataset`.
        verbose: 0 prints nothing.
    """
    folder = paths.build() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{trunk.name}-{digest(trunk, faces)}.npy"
    if not path.is_file():
        compute(trunk, faces.images, path, verbose)
    return np.load(path, mmap_mode="r")


def digest(trunk, faces):
    """Return a hex digest of all that decides the features."""
    total = hashlib.sha256(repr([layer.get_config() for layer in trunk.layers]).encode())
    for values in trunk.get_weights():
        total.update(np.ascontiguousarray(values).tobytes())
    total.update(faces.digests.tobytes())
    return total.hexdigest()[:16]


def compute(trunk, images, path, verbose):
    """Write the features of all images to `path`, chunk by chunk; the file gets its name when it is whole."""
    shape = (len(images), *trunk.output_shape[1:])
    unfinished = path.with_suffix(".part")
    if unfinished.is_file():
        features = np.lib.format.open_memmap(unfinished, mode="r+")
    else:
        features = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=shape)
        features[:] = np.nan  # not computed yet
    chunks = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
    missing = [chunk for chunk in chunks if np.isnan(features[chunk]).any()]
    progress = keras.utils.Progbar(len(chunks), unit_name="chunk", verbose=0 if verbose == 0 else 1)
    for number, chunk in enumerate(missing, start=len(chunks) - len(missing) + 1):
        features[chunk] = trunk.predict_on_batch(padded(images[chunk]))[: len(images[chunk])]
        progress.update(number)
    features.flush()
    os.replace(unfinished, path)


def padded(images):
    """Return images with copies of the last one up to a whole chunk, so that one compiled function does for all."""
    return np.concatenate([images, images[-1:].repeat(CHUNK - len(images), axis=0)])
