"""Out-of-fold predictions: every training image is judged by a network that has not seen it, nor a copy of it."""

import dataclasses
from typing import NamedTuple

import numpy as np

from fer_keras import paths
from fer_keras.training.places import load_network
from fer_keras.training.session import EVALUATION_BATCH
from fer_keras.training.trainer import fit

# Share of the pictures outside a fold on which its network's epoch is chosen: the fold itself stays unseen.
VALIDATION = 0.05


class OutOfFold(NamedTuple):
    """What networks say of training images that they have not seen.

    `faces` are the training images, `fold` `(n,)` the fold of each, from 0, `probabilities` float32 `(n, classes)`, the
    mean over each image and its mirror image, and `runs` the recorded `Run` of each fold's network.
    """

    faces: object
    fold: np.ndarray
    probabilities: np.ndarray
    runs: list


def out_of_fold(recipe, seed=0, *, faces, folds=3, verbose="auto", precision="float32"):
    """Train a recipe once for each fold of the training images, without that fold, and let it judge the fold.

    Each training is an ordinary `fit`, whose record lies below `paths.build()`: stopped or killed, the same call goes
    on from the last whole epoch. Validation and test images are neither learned from nor looked at.

    Args:
        recipe: a `Recipe` that learns from labels alone.
        seed: int; folds, order, initial values and augmentation follow from it.
        faces: a `FaceDataset`.
        folds: int, 2 or more.
        verbose: as for `fit`.
        precision: as for `fit`.

    Returns:
        An `OutOfFold`.

    Raises:
        ValueError: if the recipe starts or learns from a network that may have seen a fold, or from votes, or a class
            has fewer pictures than there are folds.
    """
    refuse_others(recipe)
    training = faces.select(splits=("train",))
    fold = draw_folds(training, folds, seed)
    home = paths.build() / "folds" / f"{recipe.name}-{recipe.digest[:8]}-s{seed}-{training.fingerprint[:8]}"
    probabilities, runs = np.zeros((len(training), len(training.classes)), np.float32), []
    for number in range(folds):
        if verbose:
            print(f"fold {number + 1} of {folds}: {(fold == number).sum():,} images held out …", flush=True)
        name = f"{recipe.name},fold={number + 1}-of-{folds}"
        own = dataclasses.replace(recipe, name=name, protocol="own", final=False)
        others = without(training, fold == number, seed)
        run = fit(own, seed, faces=others, results=home / "results", verbose=verbose, precision=precision)
        probabilities[fold == number] = both_views(load_network(run), training.images[fold == number])
        runs.append(run)
    return OutOfFold(training, fold, probabilities, runs)


def refuse_others(recipe):
    """Raise a `ValueError` for a recipe that may know a fold from elsewhere, or learns from FER+'s votes."""
    for field in ("members", "start_recipe", "teachers"):
        if getattr(recipe, field):
            raise ValueError(
                f"Out-of-fold predictions need a recipe whose network has seen nothing but the other folds. Received: "
                f"{recipe.name}, which has {field.replace('_', ' ')}."
            )
    if recipe.targets != "labels" or recipe.data.startswith("ferplus"):
        raise ValueError(
            "Errors of the labels, held against FER+'s votes, need a recipe that learns from the labels alone. "
            f"Received: {recipe.name}, which learns from the votes."
        )


def draw_folds(faces, folds, seed):
    """Return the fold of each image, int `(n,)` from 0: stratified by class, exact copies always in one.

    Raises:
        ValueError: if a class has fewer distinct pictures than there are folds, or there are fewer than two.
    """
    from sklearn.model_selection import StratifiedKFold

    _, first, copies = np.unique(faces.digests, return_index=True, return_inverse=True)
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
    return fold[copies]


def without(faces, held_out, seed):
    """Return the faces outside a fold, a few of them for validation, copies on one side."""
    fractions = (1 - VALIDATION, VALIDATION, 0)
    return faces.take(~held_out).resplit(seed, fractions=fractions, within=("train",))


def both_views(network, images):
    """Return the mean of what a network says of images and of their mirror images, `(n, classes)`."""
    views = (images, images[:, :, ::-1])
    said = [network.predict(each.astype(np.float32), batch_size=EVALUATION_BATCH, verbose=0) for each in views]
    return np.mean(said, axis=0)
