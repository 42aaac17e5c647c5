"""Trained networks as files that carry their classes and preprocessing: `.keras`, and beside it a card."""

import dataclasses
import hashlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from fer_keras import paths
from fer_keras.data.pictures import as_batch

# What a card must say. `metrics` are `evaluation.summarise`'s, by split; `terms` are those of the data.
FIELDS = ("name", "classes", "input", "recipe", "data", "terms", "metrics", "intended_use", "limits", "sha256")
BATCH = 256
VALUES = "model.weights.h5"  # inside a .keras file


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network, and what one must know to use it.

    Args:
        model: the `keras.Model`, from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities.
        card: dict with the keys `FIELDS`.
    """

    model: keras.Model
    card: dict

    @property
    def classes(self):
        """The tuple of class names, in the order of the probabilities."""
        return tuple(self.card["classes"])

    @property
    def name(self):
        """What the network is called."""
        return self.card["name"]

    @property
    def size(self):
        """`(height, width)` of the faces that it takes, in pixels."""
        return self.model.input_shape[1:3]

    @property
    def temperature(self):
        """What its probabilities must be divided by, as logarithms, to mean what they say; 1.0 if that is unknown."""
        return float(self.card.get("temperature", 1.0))

    def predict(self, images):
        """Return the probabilities of grey faces, float32 `(n, classes)`.

        Args:
            images: array `(n, height, width, 1)` or `(n, height, width)` of the network's input size, values in
                [0, 255].

        Raises:
            ValueError: on images of another size or range.
        """
        images = as_batch(images, self.size)
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        found = [self.model.predict_on_batch(padded(part))[: len(part)] for part in parts]
        return np.concatenate(found) if found else np.zeros((0, len(self.classes)), np.float32)


def load(name):
    """Return a trained network by its name among those that are shipped, or from the path of a `.keras` file.

    Args:
        name: such as `"fer-small"`, or a path; the card lies beside the file, with the suffix `.json`.

    Returns:
        A `Network`.

    Raises:
        ValueError: if there is no such network, its card is missing or not whole, or the file is not the one that the
            card describes.
    """
    path = Path(name)
    if path.suffix != ".keras":
        path = folder() / f"{name}.keras"
    if not path.is_file():
        raise ValueError(
            f"There is no network {str(name)!r}. Expected the path of a .keras file, or one of: "
            f"{', '.join(shipped()) or 'none are shipped yet'}."
        )
    card, content = read_card(path.with_suffix(".json")), path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != card["sha256"]:
        raise ValueError(
            f"{path}: Expected the file that its card describes, SHA-256 {card['sha256'][:12]}. "
            f"Received: {found[:12]}. It was changed or is damaged: fetch it again."
        )
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if model.output_shape != (None, len(card["classes"])):
        raise ValueError(f"{path}: Expected an output for each class of its card. Received: {model.output_shape}.")
    return Network(model, card)


def save(model, path, card, *, half=True):
    """Write a network and its card: first the file, then the card with its sum.

    Args:
        model: a built `keras.Model` of built-in layers.
        path: where the `.keras` file is to lie.
        card: dict with the keys `FIELDS`, without `sha256`.
        half: keep values as float16, which halves the file; they are float32 again when it is loaded.

    Returns:
        The card with its sum.

    Raises:
        ValueError: if the card lacks a field, or a value is too large for float16.
    """
    path = Path(path)
    missing = [name for name in FIELDS if name not in card and name != "sha256"]
    if missing:
        raise ValueError(f"A card needs {', '.join(FIELDS[:-1])}. Received: one without {', '.join(missing)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
        whole, text = Path(unfinished) / path.name, Path(unfinished) / "card.json"
        model.save(whole)
        if half:
            rewrite_halved(whole)
        card = {**card, "sha256": hashlib.sha256(whole.read_bytes()).hexdigest()}
        text.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(whole, path)
        os.replace(text, path.with_suffix(".json"))
    return card


def rewrite_halved(path):
    """Rewrite a `.keras` file with its float32 values as float16."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[VALUES] = halved(parts[VALUES])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def halved(content):
    """Return the bytes of an HDF5 file of weights with float32 values as float16."""
    import h5py

    target = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(target, "w") as made:

        def take(name, item):
            if isinstance(item, h5py.Dataset):
                made[name] = as_half(name, item[()])
            else:
                made.require_group(name)
            made[name].attrs.update(item.attrs)

        source.visititems(take)
        made.attrs.update(source.attrs)
    return target.getvalue()


def as_half(name, values):
    """Return float32 values as float16, any others as they are; raise a `ValueError` where one is too large."""
    if values.dtype != np.float32:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name}: Expected values that float16 can hold. Received: up to {np.abs(values).max():g}.")
    return half


def read_card(path):
    """Return a card as a dict; raise a `ValueError` if it is not whole."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: Expected the card of the network beside it. Received: {error}") from error
    missing = [name for name in FIELDS if name not in card]
    if missing:
        raise ValueError(f"{path}: Expected a card with {', '.join(FIELDS)}. Received: one without {missing}.")
    return card


def folder():
    """Return the folder of the networks that are shipped."""
    return paths.PACKAGE / "weights"


def shipped():
    """Return the names of the networks that are shipped."""
    return sorted(path.stem for path in folder().glob("*.keras"))


def padded(images):
    """Return images with copies of the last one up to a power of two, so that few shapes are ever compiled."""
    size = 1 << (len(images) - 1).bit_length()
    return np.concatenate([images, images[-1:].repeat(size - len(images), axis=0)])
