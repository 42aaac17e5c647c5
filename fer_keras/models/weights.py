"""Trained networks as files that carry their classes and preprocessing: `.keras`, and beside it a card."""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np

from fer_keras import paths
from fer_keras.data.images import as_batch
from fer_keras.labels import check_classes, check_same_classes
from fer_keras.models.adapter import adapt

# What a card must say. `metrics` are `evaluation.summarise`'s, by split; `terms` are those of the data.
FIELDS = ("name", "classes", "input", "recipe", "data", "terms", "metrics", "intended_use", "limits", "sha256")
SUFFIXES = (".keras", ".h5")
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
    def classes(self) -> tuple:
        """Class names, in the order of the probabilities."""
        return tuple(self.card["classes"])

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.card["name"]

    @property
    def size(self) -> tuple:
        """`(height, width)` of the faces that it takes, in pixels."""
        return self.model.input_shape[1:3]

    @property
    def temperature(self) -> float:
        """Divisor of the probabilities' logarithms that calibrates them; 1.0 if it is unknown."""
        return float(self.card.get("temperature", 1.0))

    def predict(self, images) -> np.ndarray:
        """Predict the probabilities of grey faces, float32 `(n, classes)`.

        Args:
            images: array `(n, height, width, 1)` or `(n, height, width)` of the network's input size, values in
                [0, 255].

        Raises:
            ValueError: on images of another size or range.
        """
        images = as_batch(images, self.size)
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        rows = [self.model.predict_on_batch(padded(part))[: len(part)] for part in parts]
        return np.concatenate(rows or [np.zeros((0, len(self.classes)))]).astype(np.float32, copy=False)


def load(name: str | os.PathLike, *, classes=None) -> Network:
    """Load a trained network by its name among those that are shipped, or from the path of a file of anyone's.

    A `.keras` or `.h5` file without a card becomes a `Network` once its classes are named. Colour input, logits (a last
    layer whose activation is linear) and one sigmoid for two classes are adapted, see `adapter.adapt`: whatever the
    file holds, the network takes grey faces with pixels in [0, 255] and predicts a probability for each class.

    No code that a file may hold is run, and nothing is unpickled.

    Args:
        name: such as `"fer-small"`, or a path; a card lies beside the file, with the suffix `.json`.
        classes: sequence of class names in the order of the outputs; one sigmoid is the probability of the second of
            two. Needed for a file without a card, else it must agree with the card.

    Raises:
        ValueError: if there is no such network, its card is missing or not whole, the file is not the one that the
            card describes, or `classes` are missing or do not fit.

    Example:

    >>> load("fer-small-4").classes
    ('happy', 'sad', 'surprise', 'neutral')
    """
    path = Path(name)
    if path.suffix not in SUFFIXES:
        path = folder() / f"{name}.keras"
    if not path.is_file():
        raise ValueError(
            f"There is no network {str(name)!r}. Expected the path of a .keras or .h5 file, or one of: "
            f"{', '.join(shipped()) or 'none are shipped yet'}."
        )
    card = find_card(path, classes)
    if card is None:
        return as_network(read_model(path), classes, name=path.stem, digest=digest_of(path))
    check_same_classes(classes, card["classes"], str(path))
    found = digest_of(path)
    if found != card["sha256"]:
        raise ValueError(
            f"{path}: Expected the file that its card describes, SHA-256 {card['sha256'][:12]}. "
            f"Received: {found[:12]}. It was changed, is damaged, or its writing was stopped: fetch it again, or write "
            "both again with `python -m fer_keras ship`."
        )
    model = read_model(path)
    if model.output_shape != (None, len(card["classes"])):
        raise ValueError(f"{path}: Expected an output for each class of its card. Received: {model.output_shape}.")
    return Network(model, card)


def as_network(model: keras.Model, classes, *, name: str | None = None, digest: str | None = None) -> Network:
    """Make a `Network` of a trained Keras model of one's own.

    Args:
        model: as for `adapter.adapt`.
        classes: as for `load`.
        name: default: the model's.
        digest: SHA-256 of its file; default: that of its layers and values.

    Raises:
        ValueError: if the classes are missing or no names, or the model is not one that can be adapted.
    """
    name = name or getattr(model, "name", type(model).__name__)
    if classes is None:
        raise ValueError(
            f"{name}: Expected the names of its classes. Received: none, and no card. Pass classes=['happy', ...] "
            "(--classes), in the order of the network's outputs."
        )
    classes = check_classes(classes)
    adapted = adapt(model, len(classes), name=name)
    if digest is None:
        values = [model.to_json().encode(), *(np.ascontiguousarray(value).tobytes() for value in model.get_weights())]
        digest = hashlib.sha256(b"".join(values)).hexdigest()
    height, width = adapted.input_shape[1:3]
    card = {
        "name": name,
        "classes": list(classes),
        "input": {"shape": f"(batch, {height}, {width}, 1)", "values": "grey, [0, 255]", "framing": "unknown"},
        "recipe": {"name": "own"},
        "data": {"source": "unknown data"},
        "terms": "unknown",
        "metrics": {},
        "intended_use": "unknown",
        "limits": "Nothing is recorded of how this network was trained, and of how often it is right.",
        "sha256": digest,
    }
    return Network(adapted, card)


def read_model(path):
    """Load the model in a `.keras` or `.h5` file; whatever Keras finds wrong with it becomes a `ValueError`."""
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and zipfile raise errors of any kind on damaged files
        reason = str(error).rpartition("Exception encountered: ")[2].strip()
        raise ValueError(
            f"{path}: Expected a whole network of Keras' own layers, with its layers and not its weights alone. "
            f"Received: {reason[:300]} Save it with model.save('{path.stem}.keras')."
        ) from error


def save(model: keras.Model, path: str | os.PathLike, card: dict, *, half: bool = True) -> dict:
    """Write a network and its card: first the file, then the card with its sum.

    Stopped between the two, `load` refuses the file, since its sum is not the card's.

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
    with paths.temporary_folder(path) as unfinished:
        whole, text = unfinished / path.name, unfinished / "card.json"
        model.save(whole)
        if half:
            rewrite_halved(whole)
        card = {**card, "sha256": digest_of(whole)}
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
    """Convert the float32 values in the bytes of an HDF5 file of weights to float16."""
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
    """Convert float32 values to float16, no others; a `ValueError` where one is too large."""
    if values.dtype != np.float32:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name}: Expected values that float16 can hold. Received: up to {np.abs(values).max():g}.")
    return half


def find_card(path, classes):
    """Read the card beside a network's file; None if there is none and the `classes` are named instead.

    Where they are, a `.json` file beside it that is no card at all, such as the model's layers, is left alone.
    """
    place = path.with_suffix(".json")
    if place.exists():
        return None if classes is not None and is_no_card(place) else read_card(place)
    if classes is not None:
        return None
    raise ValueError(
        f"{place}: Expected the card of the network beside it. Received: no file there. Pass "
        f"classes=['happy', ...] (--classes), in the order of the outputs of {path.name}."
    )


def is_no_card(path):
    """True of a JSON file that has none of a card's own keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not (isinstance(content, dict) and {"classes", "sha256"} & set(content))


def read_card(path):
    """Read a card; a `ValueError` if it is not whole."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: Expected the card of the network beside it. Received: {error}") from error
    missing = [name for name in FIELDS if not isinstance(card, dict) or name not in card]
    if missing:
        raise ValueError(f"{path}: Expected a card with {', '.join(FIELDS)}. Received: one without {missing}.")
    return card


def digest_of(path):
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder():
    """Folder of the networks that are shipped."""
    return paths.PACKAGE / "weights"


def shipped():
    """Names of the networks that are shipped."""
    return sorted(path.stem for path in folder().glob("*.keras"))


def padded(images):
    """Repeat the last image up to a power of two, so that few shapes are ever compiled."""
    size = 1 << (len(images) - 1).bit_length()
    return np.concatenate([images, images[-1:].repeat(size - len(images), axis=0)])
