"""What a run's record holds beside its history: identity, circumstances, metrics."""

import dataclasses
import platform
import subprocess
from importlib import metadata

import keras
import numpy as np

from fer_keras import machines, paths
from fer_keras.data import FaceDataset
from fer_keras.evaluation import summarise
from fer_keras.labels import SPLITS
from fer_keras.recipes import RECIPES
from fer_keras.results import runs
from fer_keras.training.ensembles import combine


def score(recipe, session):
    """Return metrics of each split, and predictions of all but train; test only for a final recipe, as published."""
    faces = session.faces
    splits = ["train", "validation"]
    if is_final(recipe) and (faces.split == "test").any():
        splits.append("test")
    trained_on = faces.digests[faces.split == "train"]
    metrics, predictions = {}, {}
    for split in splits:
        mask = faces.split == split
        copies = None if split == "train" else np.isin(faces.digests[mask], trained_on)
        for name, views, probabilities in seen(recipe, session, split):
            # As recorded: whoever reads the predictions back finds the very same metrics.
            probabilities = probabilities.astype(np.float16).astype(np.float32)
            options = {"split": split, "copies": copies, "views": views}
            metrics[name] = summarise(faces.labels[mask], probabilities, faces.classes, **options)
            if split != "train":
                predictions[name] = runs.Predictions(faces.rows[mask], faces.labels[mask], probabilities, copies)
    return metrics, predictions


def seen(recipe, session, split):
    """Yield `(name, views, probabilities)` of a split: single views, and with mirror images if the recipe says so."""
    single = session.predict(split)
    yield split, "single", single
    if recipe.flip_view and split != "train":
        yield f"{split}_flip", "flip", (single + session.predict(split, mirrored=True)) / 2


@dataclasses.dataclass
class Scorer:
    """A trained network and its faces, as `score` asks a session for them."""

    network: keras.Model
    faces: FaceDataset

    def predict(self, split, *, mirrored=False):
        """Probabilities `(n, classes)` of a split's images, or of their mirror images."""
        images = self.faces.images[self.faces.split == split]
        return self.network.predict(images[:, :, ::-1] if mirrored else images, batch_size=256, verbose=0)


def with_test_scores(run, recipe, network, faces):
    """A finished run of a recipe that was marked final afterwards, with test metrics, and all of its predictions.

    Train and validation metrics stay as they are recorded.
    """
    metrics, predictions = score(recipe, Scorer(network, faces))
    added = {name: scores for name, scores in metrics.items() if name.startswith("test")}
    kept = {name: run.predictions(name) for name in run.metrics if name.startswith("validation")}
    predictions = kept | {name: predictions[name] for name in added}
    recipe = run.recipe | {"final": True}
    return dataclasses.replace(run, metrics=run.metrics | added, recipe=recipe), predictions


def score_ensemble(recipe, members, seed):
    """Return metrics and predictions of an ensemble on validation, and on test for a final recipe, as published."""
    metrics, predictions = {}, {}
    for split, (asked, probabilities) in combine(recipe, members, seed=seed).items():
        if split == "validation" or is_final(recipe):
            probabilities = probabilities.astype(np.float16).astype(np.float32)
            found = asked._replace(probabilities=probabilities)
            metrics[split] = summarise(found.labels, probabilities, recipe.classes, split=split, copies=found.copies)
            predictions[split] = found
    return metrics, predictions


def is_final(recipe):
    """Return whether a recipe is final as it stands in `RECIPES`: a variant made on the way never is."""
    return recipe.final and RECIPES.get(recipe.name) == recipe


def identity(recipe, seed, faces):
    """Return the fields of a record that say what was trained on what."""
    counts = {split: int((faces.split == split).sum()) for split in SPLITS}
    return {
        "run": runs.run_id(recipe.name, recipe.digest, seed),
        "recipe": dataclasses.asdict(recipe) | {"final": is_final(recipe)},
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


def circumstances(precision, devices):
    """Return the fields of a record that say with what it was trained, on which devices and in which precision."""
    names = ("keras", keras.backend.backend(), "numpy", "fer_keras")
    versions = {name: metadata.version(name) for name in names}
    root = paths.project()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return {
        "versions": {"python": platform.python_version(), "backend": keras.backend.backend(), **versions},
        "device": device(precision, devices),
        "commit": commit.stdout.strip() or "unknown",
    }


def device(precision, devices):
    """Return what the network was trained on, in words, and what differs from one device and float32."""
    kinds = keras.distribution.list_devices()
    accelerators = [name for name in kinds if not name.startswith("cpu")]
    where = f"{len(accelerators)} accelerators" if accelerators else processor()
    return ", ".join(filter(None, [where, devices.words(), "" if precision == "float32" else precision]))


def processor():
    """Return in words how many cores a training computes on: all that this process may use, or a backend's threads."""
    cores = min(machines.num_cores(), machines.num_threads("TF_NUM_INTRAOP_THREADS"))
    return f"cpu, {cores} core{'s' * (cores > 1)}"
