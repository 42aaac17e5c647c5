"""Small made-up runs, for the tests of what reads records."""

import functools

import numpy as np
import pandas as pd

from fer_keras.evaluation import summarise
from fer_keras.labels import REST
from fer_keras.recipes.recipe import CLASSES, Recipe
from fer_keras.results import HISTORY_COLUMNS, Predictions, Run, run_id, write_run

RECIPE = {
    "system": "D", "title": "Made up", "model": "mini-xception", "data": "fer7", "protocol": "official",
    "batch_size": 32, "epochs": 12, "final": True, "note": "",
    "published": None, "published_split": "", "published_source": "",
}  # fmt: skip
ABOUT = {
    "versions": {"python": "3.11.9", "keras": "3.15.1"}, "device": "cpu, 2 cores", "commit": "0" * 40,
    "seconds": 4321.0, "seconds_per_epoch": 360.1, "num_parameters": 58423, "multiply_adds": 5_500_000,
    "epochs_run": 12, "best_epoch": 9, "resumed": 0,
}  # fmt: skip


def predictions(classes, *, total=240, skill=1.2, seed=0):
    """Made-up `Predictions`: the higher the skill, the better."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(classes), total)
    scores = generator.normal(size=(total, len(classes)))
    scores[np.arange(total), labels] += skill
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Predictions(np.arange(total), labels, probabilities.astype(np.float16), generator.random(total) < 0.1)


@functools.cache
def run(name="mini-xception", *, seed=0, skill=1.2, stopped="early stop", **recipe):
    """`(run, history, predictions)` of a training that never was, of a recipe with these fields."""
    recipe = {**RECIPE, "name": name, **recipe}
    digest = Recipe(**recipe).digest
    classes = (REST, recipe["positive"]) if recipe.get("positive") else CLASSES[recipe["data"]]
    found, metrics = {}, {}
    for split in ("validation", "test") if recipe["final"] else ("validation",):
        found[split] = given = predictions(classes, skill=skill, seed=seed + len(split))
        metrics[split] = summarise(given.labels, given.probabilities, classes, split=split, copies=given.copies)
    epoch, noise = np.arange(1, 13), np.random.default_rng(seed).normal(0, 0.01, 12)
    loss = 1.9 * np.exp(-epoch / 8)
    columns = (epoch, loss, 1 - loss / 2, 1 + (epoch - 9) ** 2 / 90 + noise, 0.6 - (epoch - 9) ** 2 / 300 + noise)
    columns += (np.where(epoch < 10, 1e-3, 2e-4), np.full(12, 3.5))
    data = {"source": "drawn", "protocol": recipe["protocol"], "fingerprint": "ab" * 8, "train_digest": "cd" * 8}
    data["num_images"] = {"train": 900, **dict.fromkeys(found, 240)}
    about = {"run": run_id(name, digest, seed), "recipe": recipe, "recipe_name": name, "recipe_digest": digest}
    about |= {"seed": seed, "classes": classes, "data": data, "stopped": stopped, "metrics": metrics}
    return Run(**ABOUT, **about), pd.DataFrame(dict(zip(HISTORY_COLUMNS, columns, strict=True))), found


def results(folder):
    """Write a handful of made-up runs to a folder of results and return its path."""
    published = {"published": 65.0, "published_split": "validation", "published_source": "CS337"}
    baseline = {"system": "A", "model": "emovision-baseline", "published": 24.71, "published_split": "test"}
    four = {"data": "fer4", "system": "C", "model": "capstone-model-1"}
    for made in (
        run("mini-xception", skill=1.6, **published),
        run("mini-xception", skill=1.5, seed=1, **published),
        run("mini-xception@no-flip", skill=1.4, final=False),
        run("emovision-baseline", skill=0.6, **baseline),
        run("capstone-model-1", skill=1.0, **four),
        run("capstone-model-1@course", skill=1.1, protocol="course", stopped="cut short", **four),
    ):
        write_run(*made, folder=folder)
    return folder
