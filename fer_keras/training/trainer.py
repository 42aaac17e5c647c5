"""`fit`: the only trainer. From a recipe and a seed to a recorded run."""

import dataclasses
import os
import platform
import subprocess
import sys
from importlib import metadata

import keras
import numpy as np
import pandas as pd

from fer_keras import data, paths
from fer_keras.data.votes import soft_targets
from fer_keras.evaluation import summarise
from fer_keras.models import build, multiply_adds
from fer_keras.recipes import RECIPES, find_recipe
from fer_keras.reporting import runs
from fer_keras.training.session import Session


def fit(recipe, seed=0, *, faces=None, path=None, force=False, results=None, verbose="auto", tensorboard=None):
    """Train a recipe to its end and record it; asked again, read the record.

    Killed at any moment and called again, it goes on from the last whole epoch and ends with the same record.

    Args:
        recipe: a `Recipe`, or the name of one.
        seed: int; initial values, order, dropout and augmentation follow from it.
        faces: a `FaceDataset`; None loads what the recipe names.
        path: where the data lies, if `faces` is None; None looks in `FER_KERAS_DATA`, the cache and Kaggle.
        force: train anew although there is a record, and overwrite it.
        results: folder of results; None is `paths.results()`, or for drawn faces a folder below `paths.build()`.
        verbose: as in `keras.Model.fit`.
        tensorboard: folder for TensorBoard's logs, or None.

    Returns:
        A `reporting.runs.Run`.

    Raises:
        ValueError: if the recipe is unknown, or the data has other classes than the recipe.
    """
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    faces = load(recipe, path) if faces is None else faces
    results = results or (paths.build() / "results" if faces.protocol == "drawn" else None)
    recorded = runs.find_run(recipe, seed, folder=results)
    if recorded and not force:
        return same_data(recorded, faces)
    check_faces(recipe, faces)
    where = circumstances()
    folder = run_folder(recipe, seed, faces)
    state = folder / "state.npz"
    if force:
        state.unlink(missing_ok=True)
    keras.utils.set_random_seed(seed)
    network = make_network(recipe, seed, faces, path, verbose)
    session = Session(recipe, network, faces, make_targets(recipe, faces), seed=seed, folder=folder)
    stopped = session.train(verbose=verbose, callbacks=board(tensorboard))
    network.save(folder / "model.keras")
    history = pd.DataFrame(session.history)
    metrics, predictions = score(recipe, session)
    run = runs.Run(
        **identity(recipe, seed, faces),
        **where,
        seconds=round(float(history.seconds.sum()), 1),
        seconds_per_epoch=round(float(history.seconds.median()), 2),
        num_parameters=network.count_params(),
        multiply_adds=multiply_adds(network),
        epochs_run=len(history),
        best_epoch=session.best["epoch"],
        stopped=stopped,
        resumed=session.resumed,
        metrics=metrics,
    )
    run = runs.write_run(run, history, predictions, folder=results, force=force)
    state.unlink()
    return run


def load(recipe, path=None):
    """Return the faces that a recipe names."""
    if recipe.data == "fer4":
        return data.load_fer4(path, protocol=recipe.protocol)
    if recipe.data == "own":
        return data.load_folder(path, classes=recipe.classes)
    return data.load_fer7(path)


def load_network(run):
    """Return the trained `keras.Model` of a run.

    Args:
        run: a `Run` that was trained on this machine.

    Raises:
        ValueError: if its network is not on this machine.
    """
    path = paths.build() / "runs" / folder_name(run.run, run.data["fingerprint"]) / "model.keras"
    if not path.is_file():
        raise ValueError(
            f"The network of run {run.run!r} is not on this machine: expected {path}. "
            f"Train it: python -m fer_keras train {run.recipe_name} --seed {run.seed} --force."
        )
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def same_data(run, faces):
    """Return the run; say so if it was trained on other data than what is at hand."""
    if run.data["fingerprint"] != faces.fingerprint:
        print(
            f"Run {run.run} is recorded on data with fingerprint {run.data['fingerprint']}; "
            f"the data at hand has {faces.fingerprint}. The record stands; --force trains anew.",
            file=sys.stderr,
        )
    return run


def check_faces(recipe, faces):
    """Raise a `ValueError` where faces do not fit the recipe."""
    if faces.classes != recipe.classes:
        raise ValueError(
            f"Recipe {recipe.name} expects the classes {recipe.classes}. Received: {faces.classes} from {faces.source}."
        )
    if faces.protocol in ("official", "course") and faces.protocol != recipe.protocol:
        raise ValueError(
            f"Recipe {recipe.name} is for the {recipe.protocol} split. Received: faces of the {faces.protocol} split."
        )
    empty = [split for split in ("train", "validation") if not (faces.split == split).any()]
    if empty:
        raise ValueError(
            f"Training needs train and validation images. Received: no {empty[0]} images in {faces.source}."
        )


def run_folder(recipe, seed, faces):
    """Return the folder of a run's state and network."""
    name = runs.run_id(recipe.name, recipe.digest, seed)
    return paths.build() / "runs" / folder_name(name, faces.fingerprint)


def folder_name(run_name, fingerprint):
    """Return the name of a run's folder: other data, other folder."""
    return f"{run_name}-{fingerprint[:8]}"


def make_network(recipe, seed, faces, path, verbose):
    """Build the recipe's network, starting from another recipe's best epoch if it says so."""
    options = dict(recipe.model_options)
    if recipe.trainable_from:
        options["trainable_from"] = recipe.trainable_from
    weights = recipe.weights
    if recipe.start_recipe:
        started = fit(recipe.start_recipe, seed, path=path, verbose=verbose)
        weights = paths.build() / "runs" / folder_name(started.run, started.data["fingerprint"]) / "model.keras"
        keras.utils.set_random_seed(seed)
    return build(recipe.model, len(recipe.classes), input_shape=faces.images.shape[1:], weights=weights, **options)


def make_targets(recipe, faces):
    """Return the target distribution of every image, float32 `(n, classes)`.

    Raises:
        ValueError: if the recipe learns from votes and the faces have none.
    """
    labels = np.eye(len(faces.classes), dtype=np.float32)[faces.labels]
    if recipe.targets == "labels":
        return labels
    if faces.votes is None:
        raise ValueError(f"Recipe {recipe.name} learns from FER+ votes. Received: {faces.source}, which has none.")
    votes = soft_targets(faces.votes, faces.classes)
    use = (votes.sum(axis=1) > 0) & (faces.split == "train")
    return np.where(use[:, None], votes, labels)


def score(recipe, session):
    """Return metrics of each split, and predictions of all but train; test only for a final recipe, as published."""
    faces = session.faces
    splits = ["train", "validation"]
    if recipe.final and RECIPES.get(recipe.name) == recipe and (faces.split == "test").any():
        splits.append("test")
    trained_on = faces.digests[faces.split == "train"]
    metrics, predictions = {}, {}
    for split in splits:
        mask = faces.split == split
        # As recorded: whoever reads the predictions back finds the very same metrics.
        probabilities = session.predict(split).astype(np.float16).astype(np.float32)
        copies = None if split == "train" else np.isin(faces.digests[mask], trained_on)
        metrics[split] = summarise(faces.labels[mask], probabilities, faces.classes, split=split, copies=copies)
        if split != "train":
            predictions[split] = runs.Predictions(faces.rows[mask], faces.labels[mask], probabilities, copies)
    return metrics, predictions


def identity(recipe, seed, faces):
    """Return the fields of a record that say what was trained on what."""
    counts = {split: int((faces.split == split).sum()) for split in ("train", "validation", "test")}
    return {
        "run": runs.run_id(recipe.name, recipe.digest, seed),
        "recipe": dataclasses.asdict(recipe) | {"final": recipe.final and RECIPES.get(recipe.name) == recipe},
        "recipe_name": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": seed,
        "classes": faces.classes,
        "data": {
            "source": faces.source,
            "protocol": faces.protocol,
            "fingerprint": faces.fingerprint,
            "train_digest": faces.select(splits=("train",)).fingerprint,
            "num_images": counts,
        },
    }


def circumstances():
    """Return the fields of a record that say where and with what it was trained."""
    names = ("keras", keras.backend.backend(), "numpy", "fer_keras")
    versions = {name: metadata.version(name) for name in names}
    root = paths.project()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return {
        "versions": {"python": platform.python_version(), "backend": keras.backend.backend(), **versions},
        "device": device(),
        "commit": commit.stdout.strip() or "unknown",
    }


def device():
    """Return what the network was trained on, in words."""
    kinds = keras.distribution.list_devices()
    accelerators = [name for name in kinds if not name.startswith("cpu")]
    return f"{len(accelerators)} accelerators" if accelerators else f"cpu, {os.cpu_count()} cores"


def board(folder):
    """Return TensorBoard's callback for a folder, or nothing; imported only when asked for."""
    return [keras.callbacks.TensorBoard(log_dir=str(folder), profile_batch=0)] if folder else []
