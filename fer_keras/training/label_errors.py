"""Find likely label errors in training images, by networks that have not seen them."""

import dataclasses
import os

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.data import FaceDataset
from fer_keras.evaluation import label_errors
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.names import import_part
from fer_keras.recipes import Recipe, find_recipe
from fer_keras.results import write_table
from fer_keras.results.runs import smallest
from fer_keras.training.data import check_options, load_recipe_data
from fer_keras.training.scoring import both_views, load_network, predictor
from fer_keras.training.trainer import fit

RECIPE = "fer-small@folds"
TABLE, ROWS, PREDICTIONS = "label-errors", "label-errors-rows", "out-of-fold"


def find_label_errors(
    recipe: str | Recipe = RECIPE,
    seed: int = 0,
    *,
    faces: FaceDataset | str | os.PathLike | None = None,
    folds: int = 3,
    results: str | os.PathLike | None = None,
    precision: str | None = None,
    verbose: str | int = "auto",
) -> tuple[dict, pd.DataFrame]:
    """Find likely label errors by confident learning on out-of-fold predictions, and record them.

    Recorded are the tables `label-errors`, `label-errors-rows` and `out-of-fold` (the predictions). To leave the likely
    errors out: `faces.take(~np.isin(faces.rows, rows.index))`. Validation and test images are not used.

    Args:
        recipe: a `Recipe` that learns from labels alone, or the name of one.
        seed: folds, order, initial weights and augmentation follow from it.
        faces: a `FaceDataset`, or the path of the recipe's data; None looks where `fit` does.
        folds: 2 or more: how many networks are trained, each without its fold.
        results: folder of results; None is `paths.own_results()`.
        precision, verbose: as for `fit`.

    Returns:
        `(table, rows)`: the recorded `label-errors` (counts, the estimated noise, and FER+'s votes on them), and a
        `pandas.DataFrame` of the likely errors, the likeliest first.

    Raises:
        ValueError: if the recipe starts or learns from a network that may have seen a fold, or from votes, or a class
            has fewer pictures than there are folds.
        ImportError: if cleanlab is not installed.
    """
    cleanlab = import_part("cleanlab")  # before hours of training, not after
    (seed,), results = check_options(seed=seed), paths.own_results(results)
    paths.check_writable(results / "tables" / "file")
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    faces = faces if isinstance(faces, FaceDataset) else load_recipe_data(recipe, faces)
    faces = faces.select(splits=("train",))
    arrays, runs = out_of_fold(recipe, seed, faces=faces, folds=folds, precision=precision, verbose=verbose)
    errors = label_errors.label_errors(faces.labels, arrays["probabilities"], faces.classes)
    table = {"recipe": recipe.name, "recipe_digest": recipe.digest, "seed": seed, "folds": folds}
    table |= {"epochs": [run.epochs_run for run in runs], "device": runs[0].device}
    table |= {"seconds": round(sum(run.seconds for run in runs), 1), "split": "train"}
    table |= {"classes": list(faces.classes), "num_images": len(faces)}
    table |= {name: getattr(faces, name) for name in ("source", "protocol", "fingerprint", "fer2013_rows")}
    table |= {"cleanlab": cleanlab.__version__, "filter": label_errors.FILTER}
    table |= accuracy_with_interval(faces.labels, errors.likely, "accuracy")
    table |= label_errors.by_class(errors, faces.labels, faces.classes)
    table["crowd"] = label_errors.crowd_table(errors, faces.labels, faces.votes, faces.classes)
    names = np.array(faces.classes)
    columns = {"given": names[faces.labels], "likely": names[errors.likely], "quality": errors.quality}
    rows = pd.DataFrame(columns, index=pd.Index(faces.rows, name="row"))[errors.flagged]
    rows = rows.sort_values("quality", kind="stable")
    for name, each in {PREDICTIONS: arrays, ROWS: rows, TABLE: table}.items():
        write_table(name, each, folder=results)
    return table, rows


def out_of_fold(recipe, seed=0, *, faces, folds=3, precision=None, verbose="auto"):
    """Train a recipe once for each fold, on the others, and predict the fold and its mirror images; arrays and runs."""
    fields = ("members", "start_recipe", "teachers")
    known = [f"has {name.replace('_', ' ')}" for name in fields if getattr(recipe, name)]
    if recipe.targets != "labels" or recipe.data.startswith("ferplus"):
        known.append("learns from the votes")
    if known:
        words = "Out-of-fold predictions, compared with FER+'s votes, need a recipe that learns from the labels of the"
        received = f"{recipe.name}, which {known[0]}. Take another, such as {RECIPE}."
        raise ValueError(f"{words} other folds alone. Received: {received}")
    fold = label_errors.assign_folds(faces.labels, faces.digests, folds, seed=seed)
    home = paths.build() / "folds" / f"{recipe.name}-{recipe.digest[:8]}-s{seed}-{faces.fingerprint[:8]}"
    # Float16 as recorded: read back, they give the very same errors.
    probabilities, runs = np.zeros((len(faces), len(faces.classes)), np.float16), []
    for number in range(folds):
        held_out = fold == number
        if verbose:
            print(f"fold {number + 1} of {folds}: {held_out.sum():,} images held out …", flush=True)
        name = f"{recipe.name},fold={number + 1}-of-{folds}"
        variant = dataclasses.replace(recipe, name=name, protocol="own", final=False)
        # A twentieth of the others chooses the network's epoch: the fold itself stays unseen.
        others = faces.take(~held_out).resplit(seed, fractions=(0.95, 0.05, 0), within=("train",))
        run = fit(variant, seed, faces=others, results=home / "results", precision=precision, verbose=verbose)
        predict = predictor(load_network(run))
        probabilities[held_out] = np.mean(both_views(predict, faces.images[held_out]), axis=0)
        runs.append(run)
    arrays = {"rows": smallest(faces.rows, np.int32)}
    arrays |= {name: smallest(each, np.int8) for name, each in (("labels", faces.labels), ("fold", fold))}
    return arrays | {"probabilities": probabilities}, runs


def gallery(faces, rows):
    """Draw the likeliest errors to `build/private`, which is never published; the path of the figure."""
    from fer_keras import plots

    shown = rows.iloc[:80]
    images = faces.images[pd.Index(faces.rows).get_indexer(shown.index)]
    titles = [f"{row.given}:\n{row.likely}?" for row in shown.itertuples()]
    return plots.save_private(plots.gallery(images, titles, columns=10), TABLE)
