"""Records of runs, one JSON each with history and predictions beside it; recorded tables."""

import collections
import contextlib
import dataclasses
import glob
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_keras import cards, paths
from fer_keras.data import DataError, FaceDataset
from fer_keras.evaluation import wilson
from fer_keras.labels import SPLITS
from fer_keras.names import check_name
from fer_keras.recipes import RECIPES, Recipe, find_recipe
from fer_keras.recipes.recipe import has_type

SCHEMA = 1
HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
# Of one split: rows, labels and copies are arrays `(n,)`, probabilities `(n, classes)`.
Predictions = collections.namedtuple("Predictions", ("rows", "labels", "probabilities", "copies"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training: its recipe, where and on what it ran, and its metrics; the fields are those of its JSON.

    Fractions lie in [0, 1]; `metrics` has an entry for each split, as `evaluation.summarise` makes it, and
    `validation_flip` and `test_flip` where flip test-time augmentation was recorded too.
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
        is_tested = not {"test", "test_flip"}.isdisjoint(self.metrics)
        if (self.schema, self.run) != (SCHEMA, expected) or (is_tested and not self.final):
            raise ValueError(
                f"A record must have schema {SCHEMA}, be named after its recipe, digest and seed, {expected!r}, and "
                f"have metrics on test only if its recipe is marked `final`. Received: schema {self.schema}, "
                f"{self.run!r}, metrics on {', '.join(self.metrics)}. Choose on validation, then mark it final."
            )

    @property
    def final(self) -> bool:
        """True if the recipe is marked final: everything was chosen before the test split was looked at."""
        return bool(self.recipe["final"])

    @property
    def stopped_by_time(self) -> bool:
        """True if the run was stopped from outside, before its recipe's end."""
        return self.stopped == "cut short"

    @property
    def protocol(self) -> str:
        """The protocol whose splits the run was trained and scored on, e.g. `"official"`."""
        return self.data["protocol"]

    @property
    def scores(self) -> dict:
        """The metrics that the run is judged by: those of test for a final recipe, else those of validation."""
        return self.metrics.get("test") or self.metrics["validation"]

    @property
    def label(self) -> str:
        """A name for tables and legends: the recipe, the seed if not 0, and the epochs if stopped by time."""
        seed = f", seed {self.seed}" if self.seed else ""
        epochs = f", {self.epochs_run} of {self.recipe['epochs']} epochs" if self.stopped_by_time else ""
        return f"{self.recipe_name}{seed}{epochs}"

    def metrics_of(self, split: str | None = None) -> dict:
        """Metrics of one split, by default of the one that the run is judged by; a ValueError if it was not scored."""
        if split is not None:
            check_name(f"recorded split of {self.run}", split, self.metrics)
        return self.scores if split is None else self.metrics[split]

    def history(self) -> pd.DataFrame:
        """Loss, accuracy and learning rate by epoch, counted from 1; macro precision and recall where recorded."""
        path = self.place("histories", ".csv")
        with reading(path, f"the history of the run's {self.epochs_run} epochs"):
            table = pd.read_csv(path)
            missing = [name for name in HISTORY_COLUMNS if name not in table]
            if missing or len(table) != self.epochs_run:
                raise ValueError(f"{len(table)} rows without {missing}")
            return table

    def predictions(self, split: str) -> Predictions:
        """The recorded `Predictions` on one split, probabilities as float32; a ValueError if there are none."""
        path = self.place("predictions", f"-{split}.npz")
        if not path.is_file():
            expected = f"one of {list(self.metrics)} but train; those on test are recorded for final recipes only"
            raise ValueError(f"Run {self.run!r} has no recorded predictions on {split!r}. Expected {expected}.")
        with reading(path, f"the run's predictions on {split}"), open(path, "rb") as file, np.load(file) as arrays:
            found = Predictions(**{name: arrays[name] for name in Predictions._fields})
            return found._replace(probabilities=found.probabilities.astype(np.float32))

    def per_class(self, split: str | None = None) -> pd.DataFrame:
        """Precision, recall with its 95 % interval, F1 and support; the index is the class."""
        scores = self.metrics_of(split)["per_class"]
        table = pd.DataFrame([scores[name] for name in self.classes], index=pd.Index(self.classes, name="class"))
        pairs = zip(np.diag(self.confusion(split)), table["support"], strict=True)
        table[["recall_low", "recall_high"]] = [wilson(*pair) if pair[1] else (np.nan, np.nan) for pair in pairs]
        return table[["precision", "recall", "recall_low", "recall_high", "f1", "support"]]

    def confusion(self, split: str | None = None) -> pd.DataFrame:
        """Confusion matrix as counts: a row a true class, a column a predicted one."""
        index, columns = (pd.Index(self.classes, name=name) for name in ("true", "predicted"))
        return pd.DataFrame(self.metrics_of(split)["confusion"], index=index, columns=columns)

    def majority(self, split: str | None = None) -> float:
        """Share of the most frequent class of a split: the accuracy of predicting it for every image."""
        counts = self.confusion(split).sum(axis=1)
        return float(counts.max() / counts.sum())

    def place(self, kind: str, suffix: str) -> Path:
        """Path of one of the run's files below its folder of results."""
        return paths.results(self.folder) / kind / f"{self.run}{suffix}"

    def to_json(self) -> str:
        """The record as text: sorted keys, a line a value, so that a diff can be read."""
        fields = {name: getattr(self, name) for name in KINDS}
        return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False) + "\n"


KINDS = {field.name: field.type for field in dataclasses.fields(Run) if field.name != "folder"}
IN_DATA = {"source", "protocol", "fingerprint", "train_digest", "num_images"}
IN_METRICS = {"split", "num_images", "views", "accuracy", "accuracy_low", "accuracy_high", "per_class", "confusion"}


@contextlib.contextmanager
def reading(path, expected):
    """Name a file, what it must hold and what to do in the error of whatever is wrong with it."""
    try:
        yield
    except Exception as error:  # NumPy, pandas, Keras, zipfile and json raise errors of any kind on broken files
        received = str(error).rstrip(".") if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        advice = "Restore it, or train anew with force=True (--force)."
        raise ValueError(f"{path}: Expected {expected}. Received: {received}. {advice}") from error


def run_id(recipe_name: str, recipe_digest: str, seed: int) -> str:
    """Name of a run's files."""
    return f"{recipe_name}-{recipe_digest[:8]}-s{seed}"


def read_run(path: str | Path) -> Run:
    """Read one record; a ValueError if it has another schema, or its recipe is not the one that its digest is of.

    Fields that the recipe lacks, or that today's `Recipe` does not know, are at their defaults, which no digest counts.
    """
    path, known = Path(path), {field.name for field in dataclasses.fields(Recipe)}
    with reading(path, "the record of a run"):
        run = Run(**json.loads(path.read_text(encoding="utf-8")), folder=path.parent.parent)
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in run.recipe.items()}
        digest = Recipe(**{name: value for name, value in fields.items() if name in known}).digest
        kinds = {name for name, kind in KINDS.items() if not has_type(getattr(run, name), kind)}
        lacking = (IN_METRICS - {*each} for each in (run.metrics["validation"], *run.metrics.values()))
        if wrong := kinds.union(IN_DATA - {*run.data}, *lacking):
            raise ValueError(f"one whose {', '.join(sorted(wrong))} cannot be")
        if digest != run.recipe_digest:
            unknown = ", ".join(sorted(set(run.recipe) - known))
            newer = f"; a version of fer_keras that knows {unknown} may read it" if unknown else ""
            held = f"one that must hold the recipe of digest {run.recipe_digest}, and holds another of digest {digest}"
            raise ValueError(held + newer)
    return run


def read_runs(folder: str | Path | None = None) -> list[Run]:
    """Read every record below a folder of results (default: `paths.results()`), sorted by name; see `read_run`."""
    return [read_run(path) for path in sorted(paths.results(folder).glob("runs/*.json"))]


def find_run(recipe: str | Recipe, seed: int = 0, *, folder: str | Path | None = None) -> Run | None:
    """Read the record of a recipe and seed, and no other; None if it was never trained.

    Of a `Recipe`, the digest must match the record's. Of several records of a name, e.g. of a recipe that was trained
    for fewer epochs too, that of the recipe as it stands in `RECIPES` is meant; a ValueError if there is none of that.
    """
    name, digest = (recipe, "[0-9a-f]" * 8) if isinstance(recipe, str) else (recipe.name, recipe.digest[:8])
    found = sorted(paths.results(folder).glob(f"runs/{glob.escape(name)}-{digest}-s{seed}.json"))
    if len(found) > 1 and name in RECIPES:
        today = run_id(name, RECIPES[name].digest, seed)
        found = [path for path in found if path.stem == today] or found
    if len(found) > 1:
        words = f"Expected one record of {name!r} with seed {seed}. Received: {', '.join(path.stem for path in found)}"
        raise ValueError(f"{words}. Pass the recipe itself, or remove the records of its older versions.")
    return read_run(found[0]) if found else None


def find_own_run(recipe: str | Recipe, seed: int = 0, *, folder: str | Path | None = None) -> Run | None:
    """Find the record of a run in a folder, by default that of one's own results; None if there is none.

    One's own results and the recorded ones stand in for each other; into those, what was trained to its end is copied.
    """
    own, folder = paths.own_results(), paths.own_results(folder)
    found = find_run(recipe, seed, folder=folder)
    if found is None and folder == own:
        return find_run(recipe, seed)
    if found is None and folder == paths.results():
        run = find_run(recipe, seed, folder=own)
        if run and not run.stopped_by_time:
            predictions = {split: run.predictions(split) for split in run.metrics if split != "train"}
            return write_run(run, run.history(), predictions, folder=folder)
    return found


def find_seeds(name: str) -> list[Run]:
    """Read the recorded runs of a recipe, in the order of its seeds."""
    return [run for seed in sorted(find_recipe(name).seeds) if (run := find_run(name, seed))]


def as_runs(runs: Iterable[Run | str]) -> list[Run]:
    """Read runs by the names of their recipes (seed 0), or pass them through; what is not recorded is left out."""
    found = (find_run(run) if isinstance(run, str) else run for run in as_list(runs))
    return [run for run in found if run]


def as_list(several: Iterable) -> list:
    """Several runs, or names of recipes, as a list; a `ValueError` for one alone, which has letters to iterate over."""
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise ValueError(f"Expected a list of runs, or of names of recipes. Received: {several!r:.99}. Put it into [].")
    return list(several)


def as_run(run: Run | str) -> Run:
    """Read a run by the name of its recipe (seed 0), or pass it through; a ValueError if it is not recorded."""
    if found := as_runs([run]):
        return found[0]
    words = f"Expected a recorded run. Received: {run!r}, which has none in {paths.results()}"
    raise ValueError(f"{words}. Train it: python -m fer_keras train {run}")


def run_folder(name: str, fingerprint: str) -> Path:
    """Folder of a run's state and network: other data, other folder."""
    return paths.build() / "runs" / f"{name}-{fingerprint[:8]}"


def network_path(run: Run) -> Path:
    """Path of a run's network, as it was trained on this machine or as it ships (float16); else a ValueError."""
    path = run_folder(run.run, run.data["fingerprint"]) / "model.keras"
    if not path.is_file():
        for each in map(cards.folder().joinpath, cards.shipped()):
            card = cards.read_dict(each.with_suffix(".json").read_bytes())
            if (card["run"], card["data"]["fingerprint"]) == (run.run, run.data["fingerprint"]):
                return each.with_suffix(".keras")
        command = f": python -m fer_keras train {run.recipe_name} --seed {run.seed} --force"
        advice = f"Train it{command if run.recipe_name in RECIPES else ' again with force=True'}."
        if names := ", ".join(name for name, *_ in run.recipe.get("members", ())):
            advice = f"An ensemble has no network of its own, it combines its members' predictions. Take {names}."
        expected = f"Expected the network of run {run.run!r} on this machine, {path}"
        raise ValueError(f"{expected}. Received: its record only. {advice}")
    return path


def is_final(recipe: Recipe) -> bool:
    """True if a recipe is final as it stands in `RECIPES`: a variant made on the way never is."""
    return recipe.final and RECIPES.get(recipe.name) == recipe


def identity(recipe: Recipe, seed: int, faces: FaceDataset) -> dict[str, Any]:
    """The fields of a record about what was trained on what."""
    data = {name: getattr(faces, name) for name in ("source", "protocol", "fingerprint")}
    data["train_digest"] = faces.select(splits=("train",)).fingerprint
    data["num_images"] = {split: int((faces.split == split).sum()) for split in SPLITS}
    fields = {"run": run_id(recipe.name, recipe.digest, seed), "seed": seed, "classes": faces.classes, "data": data}
    fields |= {"recipe_name": recipe.name, "recipe_digest": recipe.digest}
    return fields | {"recipe": dataclasses.asdict(recipe) | {"final": is_final(recipe)}}


def write_run(
    run: Run, history: pd.DataFrame, predictions: dict, *, folder: str | Path | None = None, force: bool = False
) -> Run:
    """Write a run's history, a row an epoch, its predictions by split and, last, its record, each whole or not at all.

    Results are append-only: a record that holds the same, time, machine and versions apart, is kept and returned; one
    that holds something else is overwritten with `force` only. A ValueError too where history, predictions and metrics
    do not fit each other.
    """
    run = dataclasses.replace(run, folder=paths.results(folder))
    missing = [name for name in HISTORY_COLUMNS if name not in history]
    if missing or len(history) != run.epochs_run or set(predictions) - set(run.metrics):
        expected = f"a history of {run.epochs_run} epochs with the columns {HISTORY_COLUMNS}"
        splits = f"predictions on splits with metrics, {list(run.metrics)}"
        received = f"{len(history)} rows without {missing}, predictions on {list(predictions)}"
        raise ValueError(f"Expected {expected}, and {splits}. Received: {received}. Pass those of the run {run.run!r}.")
    record = run.place("runs", ".json")
    if record.is_file() and not force:
        standing = read_run(record)
        if comparable_fields(standing) == comparable_fields(run):
            return standing
        words = f"{record} holds another result of the same recipe and seed, and results are append-only"
        raise ValueError(f"{words}. Pass force (--force) to overwrite it.")
    for kind in ("runs", "histories", "predictions"):
        paths.sweep(run.folder / kind, f"{glob.escape(run.run)}*")
    macro = [name for name in ("precision", "recall", "val_precision", "val_recall") if name in history]
    table = history[[*HISTORY_COLUMNS, *macro]].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    paths.write_whole(run.place("histories", ".csv"), table)
    for split, found in predictions.items():
        small = {"rows": smallest(found.rows, np.int32), "labels": smallest(found.labels, np.int8)}
        small |= {"probabilities": found.probabilities.astype(np.float16), "copies": found.copies.astype(bool)}
        paths.write_whole(run.place("predictions", f"-{split}.npz"), as_npz(small))
    paths.write_whole(record, run.to_json())
    return read_run(record)


def comparable_fields(run: Run) -> str:
    """The record as text without time, machine and versions: equal for two runs of the same training."""
    others = ("commit", "device", "resumed", "seconds", "seconds_per_epoch", "versions")
    return dataclasses.replace(run, **dict.fromkeys(others)).to_json()


def smallest(integers: np.ndarray, least: type) -> np.ndarray:
    """Integers as an array of the smallest type, from the least on, that holds them all."""
    kinds = [kind for kind in (np.int8, np.int16, np.int32, np.int64) if np.can_cast(least, kind)]
    return next(small for kind in kinds if np.array_equal(small := np.asarray(integers).astype(kind), integers))


def as_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Pack arrays as the bytes of an NPZ file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def write_table(name: str, table: Any, *, folder: str | Path | None = None) -> Path:
    """Record a table below `tables` in a folder of results, unless it stands there already; return its path.

    A DataFrame is written as CSV with its index and floats as `%.4f`, a dict of arrays as NPZ, any other as JSON.
    """
    if isinstance(table, pd.DataFrame):
        suffix, content = ".csv", table.to_csv(float_format="%.4f", lineterminator="\n")
    elif isinstance(table, dict) and table and all(isinstance(value, np.ndarray) for value in table.values()):
        suffix, content = ".npz", as_npz(table)
    else:
        suffix, content = ".json", json.dumps(table, sort_keys=True, indent=1, allow_nan=False) + "\n"
    path = paths.results(folder) / "tables" / f"{name}{suffix}"
    paths.sweep(path.parent, path.name)
    paths.write_changed(path, content)
    return path


def read_table(name: str, *, folder: str | Path | None = None) -> Any:
    """Read a recorded table as it was given to `write_table`; a ValueError if there is none of that name."""
    found = find_table(name, folder=folder)
    if found is None:
        tables = paths.results(folder).glob("tables/*.*")
        check_name("recorded table", name, sorted(path.stem for path in tables))
    return found


def find_table(name: str, *, folder: str | Path | None = None) -> Any:
    """Read a recorded table as it was given to `write_table`; None if there is none of that name."""
    path = next(paths.results(folder).glob(f"tables/{name}.*"), None)
    if path is None:
        return None
    with reading(path, "a recorded table"):
        if path.suffix == ".csv":
            return pd.read_csv(path, index_col=0)
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        with open(path, "rb") as file, np.load(file) as arrays:
            return dict(arrays)


def as_published(faces: FaceDataset) -> FaceDataset:
    """Faces to record figures of; a `DataError` if they call themselves FER-2013 and are not what was published."""
    if faces.difference:
        raise DataError(f"Figures are recorded on FER-2013 as it was published. Received: {faces.difference}.")
    return faces
