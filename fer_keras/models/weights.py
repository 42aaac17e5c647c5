"""Trained networks as files with a card of their classes beside them; anyone's own model as one of them."""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence

import h5py
import keras
import numpy as np

from fer_keras import paths
from fer_keras.cards import SUFFIXES, BaseNetwork, check_card, check_network, digest_of, folder, shipped
from fer_keras.evaluation.explain import to_probabilities
from fer_keras.labels import check_classes, check_same_classes
from fer_keras.models.inputs import three_channels

# What a card must say. `metrics` are `evaluation.summarise`'s, by split; `terms` are those of the data.
FIELDS = ("name", "classes", "input", "recipe", "data", "terms", "metrics", "intended_use", "limits", "sha256")
MAX_UNPACKED = 2**30  # bytes
PASS_CLASSES = "Pass classes=['happy', ...] (--classes), in the order of the network's outputs."
VALUES = "model.weights.h5"  # inside a .keras file


@dataclasses.dataclass(frozen=True)
class Network(BaseNetwork):
    """A trained network, from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities, and its card."""

    model: keras.Model
    card: dict  # with the keys `FIELDS`
    batch = 256

    @property
    def size(self) -> tuple:
        """`(height, width)` of the faces that it takes, in pixels."""
        return self.model.input_shape[1:3]

    def run(self, images: np.ndarray) -> np.ndarray:
        """Predict one batch, filled up to a power of two by its last image, so that few shapes are compiled."""
        filled = (1 << (len(images) - 1).bit_length()) - len(images)
        return self.model.predict_on_batch(np.pad(images, [(0, filled), *[(0, 0)] * 3], mode="edge"))[: len(images)]


def load(name: str | os.PathLike, *, classes: Sequence[str] | None = None) -> Network:
    """Load a trained network by its name among those that are shipped, or from the path of a file of anyone's.

    A `.keras` or `.h5` file without a card becomes a `Network` once its classes are named. Whatever it holds, the
    network takes grey faces with pixels in [0, 255] and predicts a probability for each class: colour input, logits (a
    last layer whose activation is linear) and one sigmoid for two classes are adapted. No code in a file is run.

    Args:
        name: such as `"fer-small"`, or a path; a card lies beside the file, with the suffix `.json`.
        classes: sequence of class names in the order of the outputs; one sigmoid is the probability of the second of
            two. Needed for a file without a card, else it must agree with the card.

    Raises:
        ValueError: if there is no such network, it or its card is missing or broken, or `classes` do not fit.

    Example:

    >>> load("fer-small-4").classes
    ('happy', 'sad', 'surprise', 'neutral')
    """
    path = paths.expand(name)
    check_network(path, shipped())
    path = path if path.suffix in SUFFIXES else folder() / f"{name}.keras"
    card, found = find_card(path, classes), digest_of(path)
    if card:
        check_same_classes(classes, card["classes"], str(path))
    if card and found != card["sha256"]:
        raise ValueError(
            f"{path}: Expected the file that its card describes, SHA-256 {card['sha256'][:12]}. Received: {found[:12]}."
            " It was changed, or its writing was stopped: fetch it or write both again with `python -m fer_keras ship`."
        )
    try:
        check_unpacked_size(path)
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and zipfile raise errors of any kind on broken files
        reason = str(error).rpartition("Exception encountered: ")[2].strip()
        raise ValueError(
            f"{path}: Expected a whole network of Keras' own layers, with its layers and not its weights alone. "
            f"Received: {reason[:300]} Save it with model.save('{path.stem}.keras')."
        ) from error
    if not all(np.isfinite(value).all() for value in model.get_weights()):
        raise ValueError(f"{path}: Expected finite weights. Received: NaN or infinity. Train the network again.")
    if card is None:
        return as_network(model, classes, name=path.stem, digest=found)
    if model.output_shape != (None, len(card["classes"])):
        raise ValueError(f"{path}: Expected an output for each class of its card. Received: {model.output_shape}.")
    return Network(model, card)


def as_network(model: keras.Model, classes, *, name: str | None = None, digest: str | None = None) -> Network:
    """Make a `Network` of a trained Keras model of one's own.

    Args:
        model: a built Sequential or Functional `keras.Model` of one input, `(batch, height, width, 1)` or
            `(batch, height, width, 3)`, pixels in [0, 255], and one output.
        classes: as for `load`.
        name, digest: of the network, and SHA-256 of its file; default: the model's, and that of its layers and values.
    """
    name = name or getattr(model, "name", type(model).__name__)
    if classes is None:
        raise ValueError(f"{name}: Expected the names of its classes. Received: none, and no card. {PASS_CLASSES}")
    classes = check_classes(classes)
    adapted = adapt(model, len(classes), name=name)
    if digest is None:
        values = [model.to_json().encode(), *(np.ascontiguousarray(value).tobytes() for value in model.get_weights())]
        digest = hashlib.sha256(b"".join(values)).hexdigest()
    shape = "(batch, {}, {}, 1)".format(*adapted.input_shape[1:3])
    card = {"name": name, "classes": list(classes)}
    card["input"] = {"shape": shape, "values": "grey, [0, 255]", "framing": "unknown"}
    card |= {"recipe": {"name": "own"}, "data": {"source": "unknown data"}, "terms": "unknown", "metrics": {}}
    limits = "Nothing is recorded of how this network was trained, and of how often it is right."
    return Network(adapted, card | {"intended_use": "unknown", "limits": limits, "sha256": digest})


def adapt(model: keras.Model, num_classes: int, *, name: str) -> keras.Model:
    """Wrap a network so that it takes grey faces and gives a probability for each class; as it is where it does so.

    A `ValueError` names what is subclassed, unbuilt, or of other inputs or outputs.
    """
    inputs, outputs = (getattr(model, each, None) or [] for each in ("inputs", "outputs"))
    shape, found = (tuple(each[0].shape) if each else () for each in (inputs, outputs))
    wanted = None
    if not isinstance(model, keras.Model) or not inputs:
        advice = "Begin it with keras.Input((height, width, 1)); a subclassed model cannot be used here"
        wanted = "a keras.Model, a built Sequential or Functional model", type(model), advice
    elif (len(inputs), len(outputs)) != (1, 1):
        advice = "Build one of the output of the emotion: keras.Model(model.input, model.outputs[0])"
        wanted = "one input and one output", f"{len(inputs)} and {len(outputs)}", advice
    elif len(shape) != 4 or shape[0] is not None or None in shape[1:] or shape[3] not in (1, 3):
        advice = "Begin the network with keras.Input((height, width, 1))"
        wanted = "an input of (batch, height, width, 1) or (batch, height, width, 3) of a fixed size", shape, advice
    elif found != (None, num_classes) and (found, num_classes) != ((None, 1), 2):
        size = f"an output of (batch, {num_classes}){', or (batch, 1) with one sigmoid,' * (num_classes == 2)}"
        wanted = f"{size} for {num_classes} classes", found, "Name as many classes as it has outputs"
    if wanted:
        raise ValueError("{}: Expected {}. Received: {}. {}.".format(name, *wanted))
    model, pixels = to_probabilities(model, name), keras.Input((*shape[1:3], 1))
    if shape[3] == 1:
        return model
    return keras.Model(pixels, model(three_channels(pixels.shape[1:])(pixels)), name=model.name)


def save(model: keras.Model, path: str | os.PathLike, card: dict, *, half: bool = True) -> dict:
    """Write a network and its card: first the file, then the card with its SHA-256, without which `load` refuses it.

    Args:
        model: a built `keras.Model` of built-in layers.
        path: of the `.keras` file.
        card: dict with the keys `FIELDS`, without `sha256`; the whole one is returned.
        half: keep values as float16, which halves the file; they are float32 again when it is loaded.
    """
    path = paths.expand(path)
    missing = [name for name in FIELDS if name not in card and name != "sha256"]
    if missing:
        raise ValueError(f"A card needs {', '.join(FIELDS[:-1])}. Received: one without {', '.join(missing)}.")
    with paths.temporary_folder(path) as unfinished:
        whole, text = unfinished / path.name, unfinished / "card.json"
        model.save(whole)
        if half:
            halve(whole)
        card = {**card, "sha256": digest_of(whole)}
        text.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(whole, path)
        os.replace(text, path.with_suffix(".json"))
    return card


def halve(path):
    """Rewrite a `.keras` file with its float32 values as float16."""

    def take(name, item):
        if isinstance(item, h5py.Group):
            made.require_group(name)
        else:
            values = item[()]
            made[name] = values.astype(np.float16) if values.dtype == np.float32 else values
            if np.isinf(made[name]).any():
                largest = np.abs(values).max()
                raise ValueError(f"{name}: Expected values that float16 can hold. Received: up to {largest:g}.")
        made[name].attrs.update(item.attrs)

    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    target = io.BytesIO()
    with h5py.File(io.BytesIO(parts[VALUES])) as source, h5py.File(target, "w") as made, np.errstate(over="ignore"):
        source.visititems(take)
        made.attrs.update(source.attrs)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (parts | {VALUES: target.getvalue()}).items():
            archive.writestr(name, content)


def find_card(path, classes):
    """Read the card beside a network's file; None if none or no card lies there and the `classes` are named instead."""
    place = path.with_suffix(".json")
    if classes is not None and not place.exists():
        return None
    try:
        card = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{place}: Expected the card of the network beside it. Received: {error}. Without a card: {PASS_CLASSES}"
        ) from error
    is_other = isinstance(card, dict) and not {"classes", "sha256"} & card.keys()  # such as Keras' layers as JSON
    return None if classes is not None and is_other else check_card(card, place, FIELDS)


def check_unpacked_size(path):
    """Check that a file's values, unpacked, fit into `MAX_UNPACKED` bytes."""
    size, values = 0, path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            values = io.BytesIO(archive.read(VALUES)) if size <= MAX_UNPACKED else None
    if values:
        with h5py.File(values) as file:
            sizes = []
            file.visititems(lambda _, item: sizes.append(getattr(item, "nbytes", 0)))
            size = sum(sizes)
    if size > MAX_UNPACKED:
        raise ValueError(f"{size:,} bytes of unpacked values, of at most {MAX_UNPACKED:,}.")
