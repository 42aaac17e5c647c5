"""Cache the features of a frozen backbone, so that only the head is trained."""

import contextlib
import hashlib
import os
import shutil

import keras
import numpy as np

from fer_keras import paths
from fer_keras.data import FaceDataset
from fer_keras.data.augmentation import Augmentation
from fer_keras.models.transfer import backbones_in
from fer_keras.recipes import Recipe

CHUNK = 256  # images computed and written at once


def split_backbone(recipe: Recipe, network: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Split a network into its frozen backbone, with the layers before it, and its head, which share its layers.

    None if no nested backbone is frozen as a whole, or if it sees augmented or mirrored images too.
    """
    nested = backbones_in(network)
    if len(nested) != 1 or recipe.flip_view or recipe.augmentation != Augmentation():
        return None
    features = network.layers[network.layers.index(nested[0]) + 1].input
    backbone = keras.Model(network.input, features)
    head = keras.Model(features, network.output, name=f"{network.name}_head")
    return None if backbone.trainable_weights else (backbone, head)


def backbone_features(backbone: keras.Model, faces: FaceDataset, *, verbose: str | int = "auto") -> np.ndarray:
    """The backbone's output for every image, float32 `(n, ...)`, from the cache where it was computed before.

    The cache, below `paths.build()`, is keyed by the backbone and the images. A stopped computation is resumed.
    """
    total = hashlib.sha256(repr([layer.get_config() for layer in backbone.layers]).encode())
    for values in (*backbone.get_weights(), faces.digests):
        total.update(np.ascontiguousarray(values).tobytes())
    path = paths.build() / "features" / f"{backbone.name}-{total.hexdigest()[:16]}.npy"
    if not path.is_file():
        compute(backbone, faces.images, path, verbose)
    return np.load(path, mmap_mode="r")


def compute(backbone, images, path, verbose):
    """Write the features of all images to `path`, chunk by chunk; several processes may fill the same file."""
    unfinished = path.with_suffix(".unfinished")
    if not unfinished.is_dir():
        how = {"dtype": np.float32, "shape": (len(images), *backbone.output_shape[1:])}
        paths.sweep(path.parent, unfinished.name)
        with paths.temporary_folder(unfinished) as folder:
            np.lib.format.open_memmap(folder / path.name, mode="w+", **how)[:] = np.nan  # not computed yet
            with contextlib.suppress(OSError):  # another one was first
                folder.rename(unfinished)
    features = np.lib.format.open_memmap(unfinished / path.name, mode="r+")
    chunks = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
    progress = keras.utils.Progbar(len(chunks), unit_name="chunk", verbose=0 if verbose == 0 else 1)
    for number, chunk in enumerate(chunks, start=1):
        if np.isnan(features[chunk]).any():
            # Padded to a whole chunk, so that one compiled function does for all.
            pixels = np.concatenate([images[chunk], images[-1:].repeat(CHUNK - len(images[chunk]), axis=0)])
            features[chunk] = backbone.predict_on_batch(pixels)[: len(images[chunk])]
        progress.update(number)
    features.flush()
    with contextlib.suppress(FileNotFoundError):  # another one was first
        os.replace(unfinished / path.name, path)
    shutil.rmtree(unfinished, ignore_errors=True)
