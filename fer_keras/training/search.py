"""Walk a grid of settings: each cell is a training, chosen on validation; stopped at any moment, it goes on."""

import contextlib
import dataclasses

import pandas as pd

from fer_keras import paths
from fer_keras.recipes import find_recipe
from fer_keras.results import write_table
from fer_keras.training.data import load_recipe_data
from fer_keras.training.trainer import fit

SCORES = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss")
EFFORT = ("best_epoch", "epochs_run", "seconds", "device")


def search(
    space,
    seed=0,
    *,
    faces=None,
    path=None,
    minutes=None,
    results=None,
    verbose="auto",
    precision="float32",
    ray=None,
    workers=None,
):
    """Train the cells of a grid that are not trained yet, and return the table of all that are.

    Optuna keeps the book of the cells, `fit` trains them: stopped or killed, the same call goes on in the epoch where
    it was. The test split is never looked at. The table is recorded as `search-<space>`, of what is done when stopped.

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
        ray: train several cells at once on Ray Tune: True starts a Ray on this machine, a string is the address of one
            that runs, whose machines must share `paths.build()`. None trains one cell after the other, here.
        workers: with `ray`, how many cells are trained at once; None is one a GPU, or one a processor.

    Returns:
        A `pandas.DataFrame`, the best cell first: the settings, validation scores, images, epochs, seconds and device.

    Raises:
        ValueError: if the grid has a field that recipes lack, or the data does not fit; with `ray`, when all others
            are trained, if some cells failed.
        ImportError: if Optuna is not installed, or Ray is asked for and not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("Searching needs Optuna. Install it: pip install 'fer_keras[search]'") from error
    recipe = find_recipe(space.recipe)
    faces = load_recipe_data(recipe, path) if faces is None else faces
    if results is None and faces.protocol == "drawn":
        results = paths.build() / "results"
    folder = paths.build() / "searches" / f"{space.name}-{recipe.digest[:8]}-s{seed}-{faces.fingerprint[:8]}"
    study = open_study(optuna, folder)

    def cell_of(trial):
        chosen = {name: trial.suggest_categorical(name, values) for name, values in space.grid.items()}
        return variant(space, recipe, chosen), chosen.get("seed", seed)

    waiting, failed = enqueue(study, space), {}
    how = {"faces": faces, "minutes": minutes, "path": path, "precision": precision}
    try:
        if waiting and ray:
            how |= {"address": None if ray is True else ray, "workers": workers, "folder": folder}
            failed = train_on_ray(study, [study.ask() for _ in range(waiting)], cell_of, verbose=verbose, **how)
        elif waiting:
            with quiet(optuna):
                train_here(study, waiting, cell_of, verbose=verbose, results=folder / "results", **how)
    finally:  # also when it is stopped
        table = as_table(study, space)
        if len(table):
            write_table(f"search-{space.name}", table, folder=results)
    if failed:
        lines = [f"{name}: {error}" for name, error in sorted(failed.items())]
        raise ValueError(
            f"{len(failed)} trainings failed; the others, {len(table)} cells, are in the table, and the same command "
            "tries again:\n" + "\n".join(lines)
        )
    return table


def train_here(study, waiting, cell_of, *, minutes, **options):
    """Train the cells that wait, one after the other."""

    def train_cell(trial):
        return note(trial, fit(*cell_of(trial), **options))

    study.optimize(train_cell, n_trials=waiting, timeout=minutes and 60 * minutes)


def train_on_ray(study, trials, cell_of, *, verbose, **how):
    """Train the cells of trials, several at once; return what failed, by name. What did not begin waits again."""
    from fer_keras.training.ray_search import fit_all

    def told(number, run):
        study.tell(trials[number], note(trials[number], run))
        if verbose:
            accuracy = run.metrics["validation"]["accuracy"]
            print(f"{run.run}: validation {accuracy:.4f}, {run.seconds:.0f} s", flush=True)

    return fit_all([cell_of(trial) for trial in trials], told, verbose=0, **how)


def note(trial, run):
    """Write a cell's outcome into the book; return its score."""
    for name, value in outcome(run).items():
        trial.set_user_attr(name, value)
    return run.metrics["validation"]["accuracy"]


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
    """Return the study kept in a folder, with nothing running or queued, so that what was stopped can come first."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    folder.mkdir(parents=True, exist_ok=True)
    file = str(folder / "journal.log")
    storage = JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
    with quiet(optuna):
        study = optuna.create_study(study_name=folder.name, storage=storage, direction="maximize", load_if_exists=True)
    state = optuna.trial.TrialState
    for _ in study.get_trials(states=(state.WAITING,)):
        study.ask()  # a queued cell can't be taken back, but one that runs can fail
    for trial in study.get_trials(states=(state.RUNNING,)):
        study.tell(trial.number, state=state.FAIL)
    return study


def enqueue(study, space):
    """Queue the cells that are not done, in the order of the grid; return how many there are."""
    from optuna.trial import TrialState
    from sklearn.model_selection import ParameterGrid

    done = [trial.params for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    waiting = [cell for cell in ParameterGrid(space.grid) if cell not in done]
    for cell in waiting:
        study.enqueue_trial(cell)
    return len(waiting)


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
