"""The records of runs: one JSON a run, its history as CSV, its predictions as NPZ; written once, and read back."""

import dataclasses
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.recipes import RECIPES
from fer_keras.reporting.files import write_whole

SCHEMA = 1
HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
# Macro precision and recall, which histories carry since they are computed at every epoch.
MACRO_COLUMNS = ("precision", "recall", "val_precision", "val_recall")
# What may differ between two runs of the same recipe, seed and data without making them different runs.
CIRCUMSTANCES = ("commit", "device", "resumed", "seconds", "seconds_per_epoch", "versions")


class Predictions(NamedTuple):
    """What a network said of one split: `rows`, `labels` and `copies` `(n,)`, `probabilities` `(n, classes)`."""

    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    copies: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training: its recipe, where and on what it ran, and its metrics; the fields are those of its JSON.

    Fractions lie in [0, 1]; `metrics` has an entry for each split, as `evaluation.summarise` returns it,
    and `validation_flip` and `test_flip` where mirror images were looked at too.
    """

    run: str
    recipe: dict
    recipe_name: str
    recipe_digest: str
    seed: int
    classes: tuple
    data: dict
    versions: dict
    device: str
    seconds: float
    seconds_per_epoch: float
    commit: str
    num_parameters: int
    multiply_adds: int
    epochs_run: int
    best_epoch: int
    stopped: str
    resumed: int
    metrics: dict
    schema: int = SCHEMA
    folder: Path | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        expected = run_id(self.recipe_name, self.recipe_digest, self.seed)
        if self.schema != SCHEMA or self.run != expected:
            raise ValueError(
                f"A record must have schema {SCHEMA} and be named after its recipe, digest and seed, {expected!r}. "
                f"Received: schema {self.schema}, name {self.run!r}."
            )
        if {"test", "test_flip"} & set(self.metrics) and not self.final:
            raise ValueError(
                f"Only recipes marked `final` are scored on the test split. Received: test metrics in {self.run!r}. "
                "Choose on validation, then mark the recipe final."
            )

    @property
    def final(self):
        """True if the recipe is marked final: everything was chosen before the test split was looked at."""
        return bool(self.recipe["final"])

    @property
    def cut_short(self):
        """True if the run was stopped from outside, before its recipe's end."""
        return self.stopped == "cut short"

    @property
    def protocol(self):
        """Whose splits the run was trained and scored on, e.g. `"official"`."""
        return self.data["protocol"]

    @property
    def scores(self):
        """The metrics that the run is judged by: those of test for a final recipe, else those of validation."""
        return self.metrics.get("test") or self.metrics["validation"]

    def history(self):
        """Return the history as a `pandas.DataFrame`: a row an epoch, counted from 1."""
        return pd.read_csv(self.place("histories", ".csv"))

    def predictions(self, split):
        """Return the `Predictions` on one split, probabilities as float32.

        Raises:
            ValueError: if none were recorded for that split.
        """
        path = self.place("predictions", f"-{split}.npz")
        if not path.is_file():
            raise ValueError(
                f"Run {self.run!r} has no recorded predictions on {split!r}. Recorded metrics: {list(self.metrics)}. "
                "Test predictions are recorded for final recipes only."
            )
        with np.load(path) as arrays:
            found = Predictions(**{name: arrays[name] for name in Predictions._fields})
        return found._replace(probabilities=found.probabilities.astype(np.float32))

    def place(self, kind, suffix):
        """Return the path of one of the run's files below its folder of results."""
        return Path(self.folder or paths.results()) / kind / f"{self.run}{suffix}"

    def to_json(self):
        """Return the record as text: sorted keys, a line a value, so that a diff can be read."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "folder"}
        return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False) + "\n"


def run_id(recipe_name, recipe_digest, seed):
    """Return the name of a run's files.

    Example:

    >>> run_id("mini-xception", "0123456789ab", 1)
    'mini-xception-01234567-s1'
    """
    return f"{recipe_name}-{recipe_digest[:8]}-s{seed}"


def read_run(path):
    """Read one record.

    Raises:
        ValueError: if the file holds no record of this schema; the message names file and fields.
    """
    path = Path(path)
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")), folder=path.parent.parent)
    except (TypeError, ValueError) as error:  # JSONDecodeError is a ValueError, a wrong field a TypeError.
        raise ValueError(f"{path} is not the record of a run: {error}") from error


def read_runs(folder=None):
    """Read every record below a folder of results (default: `paths.results()`), sorted by name.

    Raises:
        ValueError: if a file there holds no record.
    """
    return [read_run(path) for path in sorted(Path(folder or paths.results()).glob("runs/*.json"))]


def find_run(recipe, seed=0, *, folder=None):
    """Return the record of a recipe and seed, or None if it was never trained.

    Args:
        recipe: a `Recipe`, whose digest must match the record's; or its name. Of several records with that name, e.g.
            of a recipe trained for fewer epochs too, the one of the recipe as it stands in `RECIPES` is meant.
        seed: int.
        folder: folder of results; default `paths.results()`.

    Raises:
        ValueError: if a name alone finds several records, none of them of the recipe as it is today.
    """
    folder = Path(folder or paths.results())
    if not isinstance(recipe, str):
        path = folder / "runs" / f"{run_id(recipe.name, recipe.digest, seed)}.json"
        return read_run(path) if path.is_file() else None
    found = [run for run in read_runs(folder) if (run.recipe_name, run.seed) == (recipe, seed)]
    if len(found) > 1 and recipe in RECIPES:
        found = [run for run in found if run.recipe_digest == RECIPES[recipe].digest] or found
    if len(found) > 1:
        raise ValueError(
            f"Expected one record of {recipe!r} with seed {seed}. Received: {', '.join(run.run for run in found)}. "
            "Pass the recipe itself, or remove the records of its older versions."
        )
    return found[0] if found else None


def write_run(run, history, predictions, *, folder=None, force=False):
    """Write a run's history and predictions and, last, its record; each file appears whole or not at all.

    Results are append-only: where the record exists and says the same (time, machine and versions apart) it is kept.

    Args:
        run: the `Run`.
        history: `pandas.DataFrame` with the columns of `HISTORY_COLUMNS`, a row an epoch.
        predictions: dict from split to `Predictions`.
        folder: folder of results; default `paths.results()`.
        force: True overwrites a record that says something else.

    Returns:
        The `Run` as it now stands in the folder.

    Raises:
        ValueError: if another record stands there, if columns are missing, or if a recipe that is not final brings
            predictions on the test split.
    """
    run = dataclasses.replace(run, folder=Path(folder or paths.results()))
    missing = [name for name in HISTORY_COLUMNS if name not in history.columns]
    if missing or len(history) != run.epochs_run:
        raise ValueError(
            f"`history` must have the columns {HISTORY_COLUMNS} and a row for each of the {run.epochs_run} epochs. "
            f"Received: {len(history)} rows, without {missing}."
        )
    if set(predictions) - set(run.metrics):
        raise ValueError(f"Predictions need metrics of the same split. Received: {list(predictions)}, {run.run!r}.")
    record = run.place("runs", ".json")
    if record.is_file() and not force:
        standing = read_run(record)
        if essence(standing) == essence(run):
            return standing
        raise ValueError(
            f"{record} holds another result of the same recipe and seed, and results are append-only. "
            "Pass force (--force) to overwrite it."
        )
    columns = [*HISTORY_COLUMNS, *(name for name in MACRO_COLUMNS if name in history.columns)]
    table = history[columns].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_whole(run.place("histories", ".csv"), table)
    for split, arrays in predictions.items():
        write_whole(run.place("predictions", f"-{split}.npz"), packed(arrays))
    write_whole(record, run.to_json())
    return read_run(record)


def essence(run):
    """Return what makes a run the run that it is, as text: its record without time, machine and versions."""
    return dataclasses.replace(run, **dict.fromkeys(CIRCUMSTANCES)).to_json()


def packed(predictions):
    """Return `Predictions` as the bytes of an NPZ file, in small types."""
    dtypes = Predictions(np.int32, np.int8, np.float16, bool)
    named = zip(Predictions._fields, predictions, dtypes, strict=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array, dtype) for name, array, dtype in named})
    return buffer.getvalue()
