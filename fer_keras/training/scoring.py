"""Score networks: those of a run for its record, and any network on any data set."""

import dataclasses
import functools
import os
import platform
import subprocess
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import keras
import numpy as np

from fer_keras import paths
from fer_keras.data import FaceDataset, load_faces
from fer_keras.data.dataset import say
from fer_keras.evaluation import calibration_error, summarise, with_temperature
from fer_keras.labels import SPLITS
from fer_keras.models import weights
from fer_keras.ray_cluster import num_cores, num_threads
from fer_keras.recipes import RECIPES
from fer_keras.results import Run, find_own_run, is_final, network_path, runs
from fer_keras.training.data import load_recipe_data

BATCH = 256


def evaluate(
    network: weights.Network | keras.Model | str | os.PathLike,
    faces: FaceDataset | str | os.PathLike,
    *,
    split: str = "test",
    classes: Sequence[str] | None = None,
    flip: bool = False,
) -> dict:
    """Score a network on a split of any data set; across data sets too.

    Images of classes that the network does not know are left out; probabilities of classes that the data set does not
    have are left out and the others scaled to sum to 1. Both are counted, and so are images that the network was
    trained on, as far as its training data is at hand.

    Args:
        network: a `models.Network`, a `keras.Model`, the name of a shipped network or of a recipe that was trained on
            this machine, or the path of a `.keras` file.
        faces: a `FaceDataset`, or the path of a data set in any form that `data.load_faces` reads.
        split: `"train"`, `"validation"` or `"test"`.
        classes: class names in the order of the outputs, for a model or file that does not carry them.
        flip: average over each image and its mirror image.

    Returns:
        dict of `evaluation.summarise` (`accuracy` with its 95 % interval, `macro_f1`, `per_class`, ...), and
        `calibration_error`, `network`, `source`, `classes`, `images_left_out`, `classes_left_out`, `training_images`
        (None if unknown).

    Raises:
        ValueError: if the network or the data is not there, they share fewer than two classes, or the split is empty.
    """
    network = as_network(network, classes)
    faces = faces if isinstance(faces, FaceDataset) else load_faces(faces)
    shared = tuple(name for name in network.classes if name in faces.classes)
    if split not in SPLITS or len(shared) < 2:
        words = f"Expected a split out of {SPLITS} and a data set with two of the network's classes {network.classes}"
        raise ValueError(f"{words}. Received: {split!r} and {faces.classes} from {faces.source}.")
    part = faces.select(splits=(split,))
    asked = part if part.classes == shared else part.select(classes=shared)
    if not len(asked):
        raise ValueError(f"Expected {split} images of {shared}. Received: {faces.source}, which has none.")
    images = asked.images
    if images.shape[1:3] != tuple(network.size):
        cuts = (cut.astype("float32") for cut in np.split(images, range(BATCH, len(images), BATCH)))
        resized = [keras.ops.image.resize(cut, network.size, antialias=True) for cut in cuts]
        images = np.concatenate([keras.ops.convert_to_numpy(cut) for cut in resized]).clip(0, 255)
    found = np.mean(both_views(network.predict, images), axis=0) if flip else network.predict(images)
    found = found[:, [network.classes.index(name) for name in shared]]
    found = np.maximum(found, np.finfo(np.float32).tiny)  # of a saturated softmax, all that are shared may be 0
    probabilities = with_temperature(found / found.sum(axis=1, keepdims=True), network.temperature)
    trained_on = training_digests(network.card, faces)
    copies = None if trained_on is None or split == "train" else np.isin(asked.digests, trained_on)
    how = {"split": split, "copies": copies, "views": "flip" if flip else "single"}
    if copies is not None and copies.any():
        say(f"{copies.sum():,} of {len(asked):,} images are among the training images of {network.name}")
    return summarise(asked.labels, probabilities, shared, **how) | {
        "calibration_error": round(float(calibration_error(asked.labels, probabilities)), 6),
        "network": network.name,
        "source": faces.source,
        "classes": list(shared),
        "images_left_out": len(part) - len(asked),
        "classes_left_out": [name for name in network.classes if name not in shared],
        "training_images": None if copies is None else int(copies.sum()),
    }


def as_network(network, classes=None):
    """The `models.Network` of whatever names one."""
    if isinstance(network, weights.Network):
        return network
    if isinstance(network, keras.Model):
        return weights.as_network(network, classes)
    name = str(network)
    if Path(name).suffix in (".keras", ".h5") or name in weights.shipped():
        return weights.load(network, classes=classes)
    run = find_own_run(name)
    if run is None:
        expected = f"a shipped network ({', '.join(weights.shipped())}), a recipe that was trained on this machine"
        raise ValueError(f"Expected {expected}, or the path of a .keras file. Received: {name!r}.")
    found = weights.as_network(load_network(run), run.classes, name=name)
    return dataclasses.replace(found, card=found.card | {"recipe": name, "data": run.data})


def training_digests(card, faces):
    """Digests of the images that a network was trained on, if `faces` hold them or the data is at hand; else None."""
    data, recipe = card.get("data"), card.get("recipe")
    expected = data.get("train_digest") if isinstance(data, dict) else None
    name = recipe["name"] if isinstance(recipe, dict) else recipe
    training = faces.select(splits=("train",))
    if expected and training.fingerprint != expected and name in RECIPES and os.environ.get("FER_KERAS_DATA"):
        training = load_recipe_data(RECIPES[name]).select(splits=("train",))
    return training.digests if expected and training.fingerprint == expected else None


def load_network(run: Run) -> keras.Model:
    """Load the trained `keras.Model` of a run that was trained on this machine, or whose network ships."""
    path = network_path(run)
    with runs.reading(path, "a whole network of Keras' own or registered layers"):
        if not zipfile.is_zipfile(path):
            raise ValueError("a damaged file")
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def predictor(model):
    """A function that predicts images with a `keras.Model`, silently."""
    return functools.partial(model.predict, batch_size=BATCH, verbose=0)


def both_views(predict, images):
    """Probabilities of images and of their mirror images, a list of two arrays."""
    return [predict(view) for view in (images, images[:, :, ::-1])]


def score(recipe, faces, predict, inputs, splits=SPLITS):
    """Metrics and predictions of splits, dicts by split and `<split>_flip`; test for a final recipe only."""
    trained_on, metrics, found = faces.digests[faces.split == "train"], {}, {}
    for split in splits:
        mask = faces.split == split
        if not mask.any() or (split == "test" and not is_final(recipe)):
            continue
        copies = None if split == "train" else np.isin(faces.digests[mask], trained_on)
        both = recipe.flip_view and split != "train"
        answers = both_views(predict, inputs[mask]) if both else [predict(inputs[mask])]
        means = {"single": answers[0], **({"flip": np.mean(answers, axis=0)} if both else {})}
        for views, probabilities in means.items():
            given = runs.Predictions(faces.rows[mask], faces.labels[mask], probabilities, copies)
            name = split + "_flip" * (views == "flip")
            metrics[name], found[name] = as_recorded(given, faces.classes, split=split, views=views)
    found.pop("train", None)
    return metrics, found


def as_recorded(found, classes, **how):
    """Metrics of predictions, and these rounded as a record has them: whoever reads them finds the same metrics."""
    found = found._replace(probabilities=found.probabilities.astype(np.float16).astype(np.float32))
    return summarise(found.labels, found.probabilities, classes, copies=found.copies, **how), found


def environment(precision="float32", devices=""):
    """The fields of a record about where it was trained: versions, device and precision, commit."""
    versions = {"python": platform.python_version(), "backend": keras.backend.backend()}
    versions |= {name: metadata.version(name) for name in ("keras", versions["backend"], "numpy", "fer_keras")}
    command = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(command, cwd=paths.project(), capture_output=True, text=True, check=False).stdout.strip()
    accelerators = [name for name in keras.distribution.list_devices() if not name.startswith("cpu")]
    cores = min(num_cores(), num_threads("TF_NUM_INTRAOP_THREADS"))
    where = f"{len(accelerators)} accelerators" if accelerators else f"cpu, {cores} core{'s' * (cores > 1)}"
    device = ", ".join(filter(None, [where, devices, "" if precision == "float32" else precision]))
    return {"versions": versions, "device": device, "commit": commit or "unknown"}
