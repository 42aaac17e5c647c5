"""Walk a grid of settings: each cell is a training, chosen on validation; stopped at any moment, it goes on."""

import contextlib
import dataclasses

import pandas as pd

from fer_keras import paths
from fer_keras.recipes import find_recipe
from fer_keras.reporting.tables import write_table
from fer_keras.training.material import load
from fer_keras.training.trainer import fit

SCORES = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss")
EFFORT = ("best_epoch", "epochs_run", "seconds", "device")


def search(space, seed=0, *, faces=None, path=None, minutes=None, results=None, verbose="auto", precision="float32"):
    """Train the cells of a grid that are not trained yet, and return the table of all that are.

    Optuna keeps the book of the cells, `fit` trains them: stopped or killed, the same call goes on in the epoch where
    it was. The test split is never looked at. The table is recorded as `search-<space>`.

    Args:
        space: a `recipes.spaces.Space`.
        seed: int, of every cell, unless the grid has seeds of its own.
        faces: a `FaceDataset`; None loads what the recipe names.
        path: where the data lies, as for `fit`.
        minutes: begin no cell after so many minutes; None walks the whole grid.
        results: folder of results for the table; None is `paths.results()`, or for drawn faces a folder below
            `paths.build()`.
        verbose: as for `fit`.
        precision: as for `fit`, of every cell.

    Returns:
        A `pandas.DataFrame`, the best cell first: the settings, validation scores, images, epochs, seconds and device.

    Raises:
        ValueError: if the grid has a field that recipes lack, or the data does not fit.
        ImportError: if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("Searching needs Optuna. Install it: pip install 'fer_keras[search]'") from error
    recipe = find_recipe(space.recipe)
    faces = load(recipe, path) if faces is None else faces
    if results is None and faces.protocol == "drawn":
        results = paths.build() / "results"
    folder = paths.build() / "searches" / f"{space.name}-{recipe.digest[:8]}-s{seed}-{faces.fingerprint[:8]}"
    study = open_study(optuna, folder)

    def train_cell(trial):
        chosen = {name: trial.suggest_categorical(name, values) for name, values in space.grid.items()}
        cell = variant(space, recipe, chosen)
        own_seed = chosen.get("seed", seed)
        options = {"results": folder / "results", "verbose": verbose, "precision": precision}
        run = fit(cell, own_seed, faces=faces, path=path, **options)
        for name, value in outcome(run).items():
            trial.set_user_attr(name, value)
        return run.metrics["validation"]["accuracy"]

    waiting = enqueue(study, space)
    if waiting:
        with quiet(optuna):
            study.optimize(train_cell, n_trials=waiting, timeout=minutes and 60 * minutes)
    table = as_table(study, space)
    write_table(f"search-{space.name}", table, folder=results)
    return table


def variant(space, recipe, chosen):
    """Return the recipe of one cell; its name tells what differs."""
    named = {name: value for name, value in chosen.items() if name != "seed"}
    words = ",".join(f"{name}={value}" for name, value in sorted(named.items()))
    changes = {**space.variants.get(named.pop("variant", None), {}), **named}
    unknown = set(changes) - {field.name for field in dataclasses.fields(recipe)}
    if unknown:
        raise ValueError(f"A grid varies fields of a recipe. Received: {', '.join(sorted(unknown))}.")
    return dataclasses.replace(recipe, name=f"{recipe.name}@{words.replace(' ', '-')}", final=False, **changes)


def outcome(run):
    """Return what the table says of a cell beside its settings."""
    scores = {name: run.metrics["validation"][name] for name in SCORES}
    images = {f"{split}_images": run.data["num_images"][split] for split in ("train", "validation")}
    return {**scores, **images, **{name: getattr(run, name) for name in EFFORT}}


def open_study(optuna, folder):
    """Return the study kept in a folder; what was running when it was stopped counts as not done."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    folder.mkdir(parents=True, exist_ok=True)
    file = str(folder / "journal.log")
    storage = JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
    with quiet(optuna):
        study = optuna.create_study(study_name=folder.name, storage=storage, direction="maximize", load_if_exists=True)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def enqueue(study, space):
    """Queue the cells that are neither done nor queued, in the order of the grid; return how many wait now."""
    from optuna.trial import TrialState
    from sklearn.model_selection import ParameterGrid

    done = [trial.params for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    queued = [trial.system_attrs["fixed_params"] for trial in study.get_trials(states=(TrialState.WAITING,))]
    for cell in ParameterGrid(space.grid):
        if cell not in done and cell not in queued:
            study.enqueue_trial(cell)
            queued.append(cell)
    return len(queued)


def as_table(study, space):
    """Return the cells that are done, the best first."""
    from optuna.trial import TrialState

    rows = [{**trial.params, **trial.user_attrs} for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    columns = [*space.grid, *SCORES, "train_images", "validation_images", *EFFORT]
    table = pd.DataFrame(rows, columns=columns).sort_values(["accuracy", *space.grid], ascending=False)
    return table.reset_index(drop=True).rename_axis("place")


@contextlib.contextmanager
def quiet(optuna):
    """Let Optuna say only what is wrong."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
