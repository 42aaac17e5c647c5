"""The leaderboard: a row a run, made from the records alone."""

from pathlib import Path

import pandas as pd

from fer_keras import paths
from fer_keras.data.faces import PROTOCOLS
from fer_keras.reporting.files import write_changed
from fer_keras.reporting.runs import read_runs

ACCURACIES = tuple(
    f"{name}{end}" for name in ("accuracy", "accuracy_without_copies", "macro_f1") for end in ("", "_low", "_high")
)
COLUMNS = (
    "recipe",
    "title",
    "system",
    "model",
    "starts_from",
    "seed",
    "num_classes",
    "protocol",
    "split",
    "num_images",
    "num_copies",
    "views",
    *ACCURACIES,
    "log_loss",
    "validation_num_images",
    "validation_accuracy",
    "validation_accuracy_low",
    "validation_accuracy_high",
    "validation_macro_f1",
    "published",
    "published_split",
    "published_source",
    "num_parameters",
    "multiply_adds",
    "epochs_run",
    "best_epoch",
    "stopped",
    "seconds",
    "device",
    "run",
)
WHOLE_NUMBERS = (
    "seed",
    "num_classes",
    "num_images",
    "num_copies",
    "validation_num_images",
    "num_parameters",
    "multiply_adds",
    "epochs_run",
    "best_epoch",
)


def leaderboard(runs=None):
    """Return the leaderboard as a `pandas.DataFrame`: a row a run, the comparable ones together, the best first.

    `split` says what the scores were measured on: the test split for a recipe marked final, validation for any other.
    Fractions lie in [0, 1], the published number's too.

    Args:
        runs: list of `Run`; default all that are recorded.
    """
    table = pd.DataFrame([row(run) for run in (read_runs() if runs is None else runs)], columns=COLUMNS)
    table = table.astype(dict.fromkeys(WHOLE_NUMBERS, "Int64"))
    # Scores of different classes or protocols are not comparable: their rows stand apart.
    order = table.assign(
        protocol=table["protocol"].map({name: rank for rank, name in enumerate(PROTOCOLS)}), accuracy=-table["accuracy"]
    )
    order = order.sort_values(
        ["num_classes", "protocol", "split", "accuracy", "recipe", "seed"],
        ascending=[False, True, True, True, True, True],
    )
    return table.loc[order.index].reset_index(drop=True)


def comparable(table):
    """Return the leaderboard without the networks that tell one class from the rest: each answers another question."""
    return table[table["num_classes"] > 2]


def write_leaderboard(*, folder=None):
    """Write `leaderboard.csv` into a folder of results (default `paths.results()`), if it changed; return its path."""
    path = Path(folder or paths.results()) / "leaderboard.csv"
    write_changed(path, as_csv(read_runs(folder)))
    return path


def as_csv(runs):
    """Return the leaderboard of some runs as CSV text, fractions with four digits."""
    return leaderboard(runs).to_csv(index=False, float_format="%.4f", lineterminator="\n")


def row(run):
    """Return a run's row as a dict."""
    scores, validation, recipe = run.scores, run.metrics["validation"], run.recipe
    published = recipe.get("published")
    return {
        **{name: scores.get(name) for name in ("split", "num_images", "num_copies", "views", "log_loss", *ACCURACIES)},
        **{
            f"validation_{name}": validation[name]
            for name in ("num_images", "accuracy", "accuracy_low", "accuracy_high", "macro_f1")
        },
        **{name: recipe.get(name) for name in ("title", "system", "model", "published_split", "published_source")},
        **{name: getattr(run, name) for name in ("seed", "protocol", "num_parameters", "multiply_adds", "run")},
        **{name: getattr(run, name) for name in ("epochs_run", "best_epoch", "stopped", "seconds", "device")},
        "recipe": run.recipe_name,
        "starts_from": starts_from(recipe),
        "num_classes": len(run.classes),
        "published": None if published is None else published / 100,
    }


def starts_from(recipe):
    """Return what a network's values were before its training, from the recipe as a dict."""
    if recipe.get("members"):
        return "its members"
    if recipe.get("start_recipe"):
        return f"`{recipe['start_recipe']}`"
    return {None: "random values", "imagenet": "ImageNet"}.get(recipe.get("weights"), recipe.get("weights"))


def row_name(row):
    """Return what a row, as a dict, is called: recipe, seed if not the first, and what limits it."""
    parts = [row["recipe"]]
    parts += [f"seed {row['seed']}"] if row["seed"] else []
    parts += ["on validation"] if row["split"] == "validation" else []
    parts += ["cut short"] if row["stopped"] == "cut short" else []
    return ", ".join(parts)
