"""Trained networks' cards, names and common attributes, whatever runs the networks; nothing here imports Keras."""

import hashlib
import json
import os
from collections.abc import Iterable
from numbers import Real
from pathlib import Path

import numpy as np

from fer_keras import paths
from fer_keras.data.images import as_batch
from fer_keras.evaluation.calibration import fit_temperature
from fer_keras.names import check_name

SUFFIXES = (".keras", ".h5")
EXPORTED = ("name", "classes", "size", "sha256")  # what the card of an exported network must say
# How the values of a card are checked.
USABLE = {
    "name": lambda value: isinstance(value, str) and bool(value),
    "classes": lambda value: (
        isinstance(value, list | tuple)
        and all(isinstance(name, str) and name.strip() for name in value)
        and len(set(value)) == len(value) > 1
    ),
    "size": lambda value: type(value) in (list, tuple) and [*map(type, value)] == [int, int] and min(value) > 0,
    "card": lambda value: isinstance(value, dict),  # of a network of one's own
    "sha256": lambda value: isinstance(value, str),
    "temperature": lambda value: isinstance(value, Real) and 0.01 <= value <= 100,
}
USABLE["temperature_mirrored"] = USABLE["temperature"]


class BaseNetwork:
    """A trained network with its card; a subclass has `card`, `size`, `batch` and `run(images)`, a batch's output."""

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.card["name"]

    @property
    def classes(self) -> tuple:
        """Class names, in the order of the probabilities."""
        return tuple(self.card["classes"])

    @property
    def temperature(self) -> float:
        """Divisor of the probabilities' logarithms that calibrates them; 1.0 if it is unknown."""
        return float(self.card.get("temperature", 1.0))

    def predict(self, images) -> np.ndarray:
        """Predict the probabilities, float32 `(n, classes)`, of grey faces `(n, height, width[, 1])` in [0, 255].

        A `ValueError` refuses faces of another size or other values, and a network whose output is not finite.
        """
        images, rows = as_batch(images, self.size), [np.zeros((0, len(self.classes)))]
        rows += [self.run(images[start : start + self.batch]) for start in range(0, len(images), self.batch)]
        found = np.concatenate(rows).astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError(f"{self.name}: Expected finite probabilities. Received: NaN. Its weights are broken.")
        return found


def check_predictions(network, images: np.ndarray) -> np.ndarray:
    """Predict with any object that `open_network` takes; a `ValueError` if it gives no probabilities."""
    found, shape = np.asarray(network.predict(images)), (len(images), len(network.classes))
    is_right = found.shape == shape and found.dtype.kind == "f" and found.min(initial=0) > -0.01
    if not (is_right and np.abs(found.sum(axis=1) - 1).max(initial=0) < 0.05):  # also where it is no number
        what = f"{found.dtype}, {found.shape}, with values such as {found.ravel()[:3].tolist()}"
        expected = f"Expected probabilities of shape {shape}, whose rows sum to 1"
        raise ValueError(f"The network {network.name}: {expected}. Received: {what}.")
    return found


def make_card(run, input_shape: tuple, name: str) -> dict:
    """Card of a `results.Run`'s network, but for the sum of its file; metrics on validation only unless it is final."""
    source, disputed, licence = run.data["source"], "", "; whether their terms allow"
    framing, terms = f"as in its training images, {source}", f"The pictures that it was trained on ({source}) are not "
    if "FER-2013" in source:
        framing = "a face as FER-2013 cuts it: about square, from forehead to chin"
        terms = "FER-2013's pictures were collected from the web for research and are not "
        licence = ". The file is under this package's licence; whether the terms of the data allow"
        disputed = "FER+'s voters dispute many of FER-2013's labels, those of disgust and fear above all. "
    views = {"temperature": "validation", "temperature_mirrored": "validation_flip"}
    found = {key: run.predictions(split)[1:3] for key, split in views.items() if split in run.metrics}
    shape = f"(batch, {', '.join(map(str, input_shape[1:]))})"
    return {
        "name": name,
        "classes": list(run.classes),
        "input": {"shape": shape, "values": "grey, [0, 255]; the network scales them itself", "framing": framing},
        **{key: getattr(run, key) for key in ("recipe", "run", "data")},
        "terms": f"{terms}part of this file, which holds trained values only{licence} a use is the user's to check.",
        "metrics": {split: run.metrics[split] for split in run.metrics if run.final or split.startswith("validation")},
        **{key: round(fit_temperature(labels, given), 4) for key, (labels, given) in found.items()},
        "parameters": run.num_parameters,
        **{key: getattr(run, key) for key in ("multiply_adds", "versions")},
        "intended_use": "Naming the expression of a face that was cut out of a photo, for study, teaching and software "
        "that the people pictured agreed to.",
        "limits": f"It names what strangers would call an expression, not what a person feels. {disputed}Ages, genders "
        "and origins of the faces were never counted. Not for judging or watching people: not in hiring, schools, "
        "policing or at borders.",
    }


def check_card(card, place, fields: Iterable[str] = EXPORTED) -> dict:
    """Check that a card, as it was read from JSON, can be used; a `ValueError` names the place and what is wrong."""
    known = card if isinstance(card, dict) else {}
    wrong = [name for name in fields if name not in known]
    wrong += [name for name, is_usable in USABLE.items() if name in known and not is_usable(known[name])]
    if wrong:
        received = f"one without a usable {', '.join(wrong)}" if known else "none"
        again = "Write the network again, with fer_keras.export or `python -m fer_keras ship`."
        raise ValueError(f"{place}: Expected a card with {', '.join(fields)}. Received: {received}. {again}")
    return card


def read_dict(content: str | bytes | Path | None) -> dict:
    """Read a dict, such as a card, from JSON or from a file of it; an empty one if there is none."""
    if isinstance(content, Path):
        content = content.read_bytes() if content.is_file() else None
    try:
        found = json.loads(content or "null")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def check_network(name: str | os.PathLike, known: Iterable[str]) -> None:
    """Check that the file of a network is there, or that its name is one of those that are known."""
    if Path(name).suffix not in SUFFIXES or not Path(name).is_file():
        check_name("network", str(name), ["the path of a .keras or .h5 file", *known])


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder() -> Path:
    """Folder of the networks that are shipped."""
    return paths.PACKAGE / "weights"


def shipped() -> list[str]:
    """Names of the networks that are shipped."""
    return sorted(path.stem for path in folder().glob("*.keras"))
