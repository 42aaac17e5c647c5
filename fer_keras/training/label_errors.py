"""Find likely label errors in training images, by networks that have not seen them; compare with the votes of FER+."""

import dataclasses
import os
from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.data import FaceDataset
from fer_keras.data.votes import EMOTIONS, emotion_votes, names_emotion, not_a_face, plurality
from fer_keras.evaluation import label_errors
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.recipes import Recipe, find_recipe
from fer_keras.results import Run, write_table
from fer_keras.training.data import load_recipe_data
from fer_keras.training.scoring import BATCH, load_network
from fer_keras.training.trainer import fit

RECIPE = "fer-small@folds"
TABLE, ROWS, PREDICTIONS = "label-errors", "label-errors-rows", "out-of-fold"
VALIDATION = 0.05  # of the images outside a fold: on these its network's epoch is chosen, the fold itself stays unseen
MOST_SHOWN = 80


class OutOfFold(NamedTuple):
    """Predictions of networks on training images that they have not seen.

    `faces` are the training images, `fold` `(n,)` the fold of each, from 0, `probabilities` float32 `(n, classes)`, the
    mean over each image and its mirror image, and `runs` the recorded `Run` of each fold's network.
    """

    faces: FaceDataset
    fold: np.ndarray
    probabilities: np.ndarray
    runs: list[Run]


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

    Recorded are the tables `label-errors` (counts, the estimated noise, and FER+'s votes on them), `label-errors-rows`
    (the rows of the likely errors, which may be left out: `faces.take(~np.isin(faces.rows, rows.index))`) and
    `out-of-fold` (the predictions). Validation and test images are not used.

    Args:
        recipe: a `Recipe` that learns from labels alone, or the name of one.
        seed: int; folds, order, initial weights and augmentation follow from it.
        faces: a `FaceDataset`, or the path of the recipe's data; None looks where `fit` does.
        folds: int, 2 or more: how many networks are trained, each without its fold.
        results: folder of results; None is `paths.build() / "results"`.
        precision: as for `fit`.
        verbose: as for `fit`.

    Returns:
        `(table, rows)`: the content of `label-errors`, and a `pandas.DataFrame` of the likely errors, likeliest first.

    Raises:
        ValueError: if the recipe starts or learns from a network that may have seen a fold, or from votes, or a class
            has fewer pictures than there are folds.
        ImportError: if cleanlab is not installed.
    """
    cleanlab = label_errors.import_cleanlab()  # before hours of training, not after
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    faces = faces if isinstance(faces, FaceDataset) else load_recipe_data(recipe, faces)
    out = out_of_fold(recipe, seed, faces=faces, folds=folds, precision=precision, verbose=verbose)
    faces, labels = out.faces, out.faces.labels
    probabilities = out.probabilities.astype(np.float16)  # as recorded: read back, they give the very same errors
    errors = label_errors.label_errors(labels, probabilities, faces.classes)
    table = {
        **training_fields(recipe, seed, out),
        "cleanlab": cleanlab.__version__,
        "filter": label_errors.FILTER,
        **accuracy_with_interval(labels, errors.likely, "accuracy"),
        **label_errors.by_class(errors, labels, faces.classes),
        "crowd": crowd_table(faces, errors),
    }
    rows = error_rows(faces, errors)
    arrays = {"rows": faces.rows.astype(np.int32), "labels": labels.astype(np.int8), "fold": out.fold.astype(np.int8)}
    results = paths.build() / "results" if results is None else results
    write_table(PREDICTIONS, arrays | {"probabilities": probabilities}, folder=results)
    write_table(ROWS, rows, folder=results)
    write_table(TABLE, table, folder=results)
    return table, rows


def out_of_fold(recipe, seed=0, *, faces, folds=3, precision=None, verbose="auto"):
    """Train a recipe once for each fold, on the other training images, and predict the fold; see `find_label_errors`.

    Each training is an ordinary `fit`, whose record lies below `paths.build()`: stopped or killed, the same call
    resumes. Duplicates of an image are in its fold.
    """
    check_recipe(recipe)
    training = faces.select(splits=("train",))
    fold = assign_folds(training, folds, seed)
    home = paths.build() / "folds" / f"{recipe.name}-{recipe.digest[:8]}-s{seed}-{training.fingerprint[:8]}"
    probabilities, runs = np.zeros((len(training), len(training.classes)), np.float32), []
    for number in range(folds):
        held_out = fold == number
        if verbose:
            print(f"fold {number + 1} of {folds}: {held_out.sum():,} images held out …", flush=True)
        name = f"{recipe.name},fold={number + 1}-of-{folds}"
        variant = dataclasses.replace(recipe, name=name, protocol="own", final=False)
        others = training.take(~held_out).resplit(seed, fractions=(1 - VALIDATION, VALIDATION, 0), within=("train",))
        run = fit(variant, seed, faces=others, results=home / "results", precision=precision, verbose=verbose)
        probabilities[held_out] = predict_with_flip(load_network(run), training.images[held_out])
        runs.append(run)
    return OutOfFold(training, fold, probabilities, runs)


def check_recipe(recipe):
    """Raise a `ValueError` for a recipe that may know a fold from elsewhere, or learns from FER+'s votes."""
    for field in ("members", "start_recipe", "teachers"):
        if getattr(recipe, field):
            raise ValueError(
                f"Out-of-fold predictions need a recipe whose network has seen nothing but the other folds. Received: "
                f"{recipe.name}, which has {field.replace('_', ' ')}. Take one without, such as {RECIPE}."
            )
    if recipe.targets != "labels" or recipe.data.startswith("ferplus"):
        raise ValueError(
            "Label errors, compared with FER+'s votes, need a recipe that learns from the labels alone. "
            f"Received: {recipe.name}, which learns from the votes. Take another, such as {RECIPE}."
        )


def assign_folds(faces, folds, seed):
    """The fold of each image, int `(n,)` from 0: stratified by class, duplicates always in one.

    Raises:
        ValueError: if a class has fewer distinct pictures than there are folds, or there are fewer than two.
    """
    from sklearn.model_selection import StratifiedKFold

    _, first, duplicates = np.unique(faces.digests, return_index=True, return_inverse=True)
    labels = faces.labels[first]
    least = np.bincount(labels, minlength=len(faces.classes)).min()
    if not 2 <= folds <= least:
        raise ValueError(
            f"`folds` must be 2 at least, and {least} at most, one picture of each class. Received: {folds}."
        )
    fold = np.zeros(len(labels), np.int64)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    for number, (_, members) in enumerate(parts):
        fold[members] = number
    return fold[duplicates]


def predict_with_flip(network, images):
    """The mean of a network's predictions on images and on their mirror images, `(n, classes)`."""
    views = (images, images[:, :, ::-1])
    return np.mean([network.predict(view.astype(np.float32), batch_size=BATCH, verbose=0) for view in views], axis=0)


def training_fields(recipe, seed, out):
    """The fields of the table about what was trained on what, and how long it took."""
    faces = out.faces
    return {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": seed,
        "folds": len(out.runs),
        "epochs": [run.epochs_run for run in out.runs],
        "device": out.runs[0].device,
        "seconds": round(sum(run.seconds for run in out.runs), 1),
        "split": "train",
        "classes": list(faces.classes),
        "num_images": len(faces),
        "source": faces.source,
        "protocol": faces.protocol,
        "fingerprint": faces.fingerprint,
        "fer2013_rows": faces.fer2013_rows,
    }


def error_rows(faces, errors):
    """The likely errors, the likeliest first: row in the source, given label, likely class, label quality."""
    order = np.argsort(errors.quality, kind="stable")
    order = order[errors.flagged[order]]
    names = np.array(faces.classes)
    given, likely = names[faces.labels[order]], names[errors.likely[order]]
    index = pd.Index(faces.rows[order], name="row")
    return pd.DataFrame({"given": given, "likely": likely, "quality": errors.quality[order]}, index=index)


def crowd_table(faces, errors):
    """FER+'s votes on the labels: on those flagged, on the others, by class, in cleanlab's order.

    None where there are no votes, or none that name an emotion.
    """
    if (votes := faces.votes) is None:
        return None
    crowd = np.where(names_emotion(votes), plurality(votes), "")
    judged = crowd != ""
    if not judged.any():
        return None
    names = np.array(faces.classes)
    labels, likely = names[faces.labels], names[errors.likely]
    columns = np.array([EMOTIONS.index(name) for name in faces.classes])[faces.labels]
    support = np.take_along_axis(emotion_votes(votes), columns[:, None], axis=1)[:, 0]

    def compare(mask):
        return label_errors.against_crowd(labels[mask], likely[mask], crowd[mask], support[mask])

    groups = {"all": np.ones(len(faces), bool), "flagged": errors.flagged, "unflagged": ~errors.flagged}
    no_face = not_a_face(votes)
    return {
        **{name: compare(mask) for name, mask in groups.items()},
        "per_class": {name: compare(errors.flagged & (labels == name)) for name in faces.classes},
        "non_faces": {"images": int(no_face.sum()), "flagged": int((no_face & errors.flagged).sum())},
        "in_order": label_errors.in_order(errors.quality[judged], (crowd != labels)[judged]),
    }


def gallery(faces, rows):
    """Draw the likeliest errors to `build/private`, which is never published; the path of the figure."""
    from fer_keras import plots

    shown = rows.iloc[:MOST_SHOWN]
    place = pd.Series(np.arange(len(faces)), index=faces.rows).loc[shown.index]
    titles = [f"{row.given}:\n{row.likely}?" for row in shown.itertuples()]
    return plots.save_private(plots.gallery(faces.images[place], titles, columns=10), TABLE)
