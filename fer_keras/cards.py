"""Trained networks' cards, names and common attributes, whatever runs the networks; nothing here imports Keras."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fer_keras import paths
from fer_keras.data.images import as_batch
from fer_keras.names import closest

SUFFIXES = (".keras", ".h5")
EXPORTED = ("name", "classes", "size", "sha256")  # what the card of an exported network must say


def is_classes(value) -> bool:
    """True for a list of different names, two at least."""
    is_named = isinstance(value, list) and all(isinstance(name, str) and name.strip() for name in value)
    return is_named and len(set(value)) == len(value) > 1


def is_temperature(value) -> bool:
    """True for a number by which logarithms can be divided."""
    return isinstance(value, int | float) and 0.01 <= value <= 100


# How the values of a card are checked.
USABLE = {
    "name": lambda value: isinstance(value, str) and bool(value),
    "classes": is_classes,
    "size": lambda value: isinstance(value, list) and [type(side) for side in value] == [int, int] and min(value) > 0,
    "sha256": lambda value: isinstance(value, str),
    "temperature": is_temperature,
    "temperature_mirrored": is_temperature,
}


class BaseNetwork:
    """A trained network with its card; a subclass has `card`, `size`, `batch` and `run(images)`, a batch's output."""

    card: dict
    batch = 64

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
        """Predict the probabilities of grey faces, float32 `(n, classes)`.

        Images are `(n, height, width, 1)` or `(n, height, width)` of the network's input size, with values in [0, 255];
        others are refused by a `ValueError`, as is a network whose output is not finite.
        """
        images, rows = as_batch(images, self.size), [np.zeros((0, len(self.classes)))]
        rows += [self.run(images[start : start + self.batch]) for start in range(0, len(images), self.batch)]
        found = np.concatenate(rows).astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError(f"{self.name}: Expected finite probabilities. Received: NaN. Its weights are broken.")
        return found


def check_card(card, place, fields: Iterable[str] = EXPORTED) -> dict:
    """Check that a card, as it was read from JSON, can be used; a `ValueError` names the place and what is wrong."""
    known = card if isinstance(card, dict) else {}
    wrong = [name for name in fields if name not in known]
    wrong += [name for name, is_usable in USABLE.items() if name in known and not is_usable(known[name])]
    if wrong:
        raise ValueError(
            f"{place}: Expected a card with {', '.join(fields)}. Received: "
            f"{'one without a usable ' + ', '.join(wrong) if known else 'none'}. Write the network again, with "
            "fer_keras.export or `python -m fer_keras ship`."
        )
    return card


def read_card(text: str | bytes | None, place) -> dict:
    """Read the card of an exported network from JSON, and check it."""
    try:
        return check_card(json.loads(text or "null"), place)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return check_card(None, place)


def check_network(name: str | os.PathLike, known: Iterable[str]) -> None:
    """Check that the file of a network is there, or that its name is one of those that are known."""
    if Path(name).is_file() if Path(name).suffix in SUFFIXES else str(name) in known:
        return
    near = closest(name, known)
    expected = f"Expected the path of a .keras or .h5 file, or one of: {', '.join(known) or 'none are shipped yet'}."
    raise ValueError(f"There is no network {str(name)!r}. {f'Did you mean {near!r}?' if near else expected}")


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder() -> Path:
    """Folder of the networks that are shipped."""
    return paths.PACKAGE / "weights"


def shipped() -> list[str]:
    """Names of the networks that are shipped."""
    return sorted(path.stem for path in folder().glob("*.keras"))
