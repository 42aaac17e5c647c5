"""Find likely label errors in training images, by networks that have not seen them; compare with the votes of FER+."""

import dataclasses
import os

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.data import FaceDataset
from fer_keras.data.ferplus import emotion_votes, names_emotion, not_a_face, plurality
from fer_keras.evaluation import label_errors
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.recipes import Recipe, find_recipe
from fer_keras.results import write_table
from fer_keras.training.data import load_recipe_data
from fer_keras.training.scoring import both_views, load_network, predictor
from fer_keras.training.trainer import fit

RECIPE = "fer-small@folds"
TABLE, ROWS, PREDICTIONS = "label-errors", "label-errors-rows", "out-of-fold"
VALIDATION = 0.05  # of the images outside a fold: on these its network's epoch is chosen, the fold itself stays unseen
MOST_SHOWN = 80


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

    Recorded are the tables `label-errors`, `label-errors-rows` and `out-of-fold` (the predictions). The likely errors
    may be left out: `faces.take(~np.isin(faces.rows, rows.index))`. Validation and test images are not used.

    Args:
        recipe: a `Recipe` that learns from labels alone, or the name of one.
        seed: int; folds, order, initial weights and augmentation follow from it.
        faces: a `FaceDataset`, or the path of the recipe's data; None looks where `fit` does.
        folds: int, 2 or more: how many networks are trained, each without its fold.
        results: folder of results; None is `paths.own_results()`.
        precision: as for `fit`.
        verbose: as for `fit`.

    Returns:
        `(table, rows)`: the recorded `label-errors` (counts, the estimated noise, and FER+'s votes on them), and a
        `pandas.DataFrame` of the likely errors, the likeliest first.

    Raises:
        ValueError: if the recipe starts or learns from a network that may have seen a fold, or from votes, or a class
            has fewer pictures than there are folds.
        ImportError: if cleanlab is not installed.
    """
    cleanlab = label_errors.import_cleanlab()  # before hours of training, not after
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    faces = faces if isinstance(faces, FaceDataset) else load_recipe_data(recipe, faces)
    faces = faces.select(splits=("train",))
    options = {"folds": folds, "precision": precision, "verbose": verbose}
    fold, probabilities, runs = out_of_fold(recipe, seed, faces=faces, **options)
    probabilities = probabilities.astype(np.float16)  # as recorded: read back, they give the very same errors
    errors = label_errors.label_errors(faces.labels, probabilities, faces.classes)
    table = {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": seed,
        "folds": folds,
        "epochs": [run.epochs_run for run in runs],
        "device": runs[0].device,
        "seconds": round(sum(run.seconds for run in runs), 1),
        "split": "train",
        "classes": list(faces.classes),
        "num_images": len(faces),
        **{name: getattr(faces, name) for name in ("source", "protocol", "fingerprint", "fer2013_rows")},
        "cleanlab": cleanlab.__version__,
        "filter": label_errors.FILTER,
        **accuracy_with_interval(faces.labels, errors.likely, "accuracy"),
        **label_errors.by_class(errors, faces.labels, faces.classes),
        "crowd": crowd_table(faces, errors),
    }
    names = np.array(faces.classes)
    columns = {"given": names[faces.labels], "likely": names[errors.likely], "quality": errors.quality}
    rows = pd.DataFrame(columns, index=pd.Index(faces.rows, name="row"))[errors.flagged]
    rows = rows.sort_values("quality", kind="stable")
    arrays = {"rows": faces.rows.astype(np.int32), "labels": faces.labels.astype(np.int8), "fold": fold.astype(np.int8)}
    results = paths.own_results() if results is None else results
    write_table(PREDICTIONS, arrays | {"probabilities": probabilities}, folder=results)
    write_table(ROWS, rows, folder=results)
    write_table(TABLE, table, folder=results)
    return table, rows


def out_of_fold(recipe, seed=0, *, faces, folds=3, precision=None, verbose="auto"):
    """Train a recipe once for each fold of training images, on the others, and predict the fold and its mirror images.

    Each training is an ordinary `fit`, whose record lies below `paths.build()`: stopped or killed, the same call
    resumes. The result is `(fold, probabilities, runs)`, the fold of each image counted from 0.
    """
    fields = ("members", "start_recipe", "teachers")
    others = [f"has {name.replace('_', ' ')}" for name in fields if getattr(recipe, name)]
    if recipe.targets != "labels" or recipe.data.startswith("ferplus"):
        others.append("learns from the votes")
    if others:
        raise ValueError(
            "Out-of-fold predictions, compared with FER+'s votes, need a recipe that learns from the labels of the "
            f"other folds alone. Received: {recipe.name}, which {others[0]}. Take another, such as {RECIPE}."
        )
    fold = assign_folds(faces, folds, seed)
    home = paths.build() / "folds" / f"{recipe.name}-{recipe.digest[:8]}-s{seed}-{faces.fingerprint[:8]}"
    probabilities, runs = np.zeros((len(faces), len(faces.classes)), np.float32), []
    for number in range(folds):
        held_out = fold == number
        if verbose:
            print(f"fold {number + 1} of {folds}: {held_out.sum():,} images held out …", flush=True)
        name = f"{recipe.name},fold={number + 1}-of-{folds}"
        variant = dataclasses.replace(recipe, name=name, protocol="own", final=False)
        others = faces.take(~held_out).resplit(seed, fractions=(1 - VALIDATION, VALIDATION, 0), within=("train",))
        run = fit(variant, seed, faces=others, results=home / "results", precision=precision, verbose=verbose)
        predict = predictor(load_network(run))
        probabilities[held_out] = np.mean(both_views(predict, faces.images[held_out]), axis=0)
        runs.append(run)
    return fold, probabilities, runs


def assign_folds(faces, folds, seed):
    """The fold of each image, int `(n,)` from 0: stratified by class, duplicates always in one."""
    from sklearn.model_selection import StratifiedKFold

    _, first, duplicates = np.unique(faces.digests, return_index=True, return_inverse=True)
    labels = faces.labels[first]
    least = np.bincount(labels, minlength=len(faces.classes)).min()
    if not 2 <= folds <= least:
        raise ValueError(
            f"`folds` must be 2 at least, and {least} at most, one picture of each class. Received: {folds}."
        )
    fold, splitter = np.zeros(len(labels), np.int64), StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, members) in enumerate(splitter.split(labels, labels)):
        fold[members] = number
    return fold[duplicates]


def crowd_table(faces, errors):
    """FER+'s votes on all labels, on those flagged or not, in cleanlab's order; None if they judge nothing."""
    votes, names = faces.votes, np.array(faces.classes)
    crowd = np.array("") if votes is None else np.where(names_emotion(votes), plurality(votes), "")
    judged, labels = crowd != "", names[faces.labels]
    if not judged.any():
        return None
    support = emotion_votes(votes, faces.classes)[np.arange(len(faces)), faces.labels]
    images = pd.DataFrame({"labels": labels, "likely": names[errors.likely], "crowd": crowd, "support": support})
    no_face, flagged = not_a_face(votes), errors.flagged
    return {
        "all": label_errors.against_crowd(**images),
        "flagged": label_errors.against_crowd(**images[flagged]),
        "unflagged": label_errors.against_crowd(**images[~flagged]),
        "per_class": {name: label_errors.against_crowd(**images[flagged & (labels == name)]) for name in faces.classes},
        "non_faces": {"images": int(no_face.sum()), "flagged": int((no_face & flagged).sum())},
        "in_order": label_errors.in_order(errors.quality[judged], (crowd != labels)[judged]),
    }


def gallery(faces, rows):
    """Draw the likeliest errors to `build/private`, which is never published; the path of the figure."""
    from fer_keras import plots

    shown = rows.iloc[:MOST_SHOWN]
    images = faces.images[pd.Index(faces.rows).get_indexer(shown.index)]
    titles = [f"{row.given}:\n{row.likely}?" for row in shown.itertuples()]
    return plots.save_private(plots.gallery(images, titles, columns=10), TABLE)
