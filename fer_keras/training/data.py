"""Load a recipe's data set, bring it into the recipe's classes, and build its targets."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from fer_keras import data
from fer_keras.data import FaceDataset
from fer_keras.data.dataset import four_fifths, say
from fer_keras.data.ferplus import soft_targets
from fer_keras.data.load import recognise
from fer_keras.recipes import Recipe, for_split

SHARE = 0.1  # of the training images, drawn for validation


def load_recipe_data(recipe: Recipe, path: str | os.PathLike | None = None, *, any_split: bool = False) -> FaceDataset:
    """Load the data set that a recipe names, or another one that lies at a path.

    Args:
        recipe: a `Recipe`.
        path: where the data lies; None looks where `data.load_fer7` does.
        any_split: take another split or data set than the recipe's, if that lies at the path: its classes are the
            recipe's, and `recipes.for_split` gives the variant that trains on it.
    """
    classes, ferplus = recipe.label_classes, recipe.data.startswith("ferplus")
    if recipe.data == "own":
        return with_validation(data.load_folder(path, classes=classes))
    form, _ = (path and recognise(Path(path).expanduser())) or (None, None)
    # The votes of FER+ follow the official split alone. What is of no form is another data set.
    if any_split and path and (form is None or (ferplus and form.protocol not in (None, "official"))):
        return with_validation(select_classes(recipe, data.load_faces(path)))
    if ferplus:
        return data.load_ferplus(path, classes=classes)
    if recipe.protocol == "four-fifths":
        return four_fifths(data.load_fer7(path, protocol="official"))
    protocol = None if any_split and recipe.protocol == "official" else recipe.protocol
    read = data.load_fer4 if recipe.data == "fer4" else data.load_fer7
    return read(path, protocol=protocol).select(classes=classes)


def to_recipe_classes(recipe: Recipe, faces: FaceDataset) -> FaceDataset:
    """Bring faces into a recipe's classes, in its order, with as many training images as it takes.

    How many images of other classes are left out is said on stderr. Faces that lack a class stay as they are.
    """
    if faces.classes != recipe.classes:
        faces = select_classes(recipe, faces)
        faces = faces.against_rest(recipe.positive) if recipe.positive else faces
    return faces.keep_of_train(recipe.train_fraction) if recipe.train_fraction < 1 else faces


def select_classes(recipe, faces):
    """Select the classes of the recipe's data set, if the faces have them all and labels of the recipe's kind."""
    # On the official split, contempt tells the labels of FER+ from those of FER-2013.
    other_labels = faces.protocol == "official" and ("contempt" in faces.classes) != recipe.data.startswith("ferplus")
    others = [name for name in faces.classes if name not in recipe.label_classes]
    if other_labels or len(faces.classes) - len(others) < len(recipe.label_classes):
        return faces
    selected = faces.select(classes=recipe.label_classes)
    if lost := len(faces) - len(selected):
        what = f"of other classes than those of {recipe.name} are left out ({', '.join(others)})"
        say(f"{faces.source}: {lost:,} images {what}")
    return selected


def with_validation(faces: FaceDataset) -> FaceDataset:
    """Draw a validation part from the training images of faces that have none, and say so on stderr.

    It is a tenth of each class, at least one picture; duplicates stay on one side. In faces with a split of one's own,
    it is drawn for each class that has no validation image.

    Raises:
        ValueError: if a class has fewer than two different pictures to draw from.
    """
    validation = faces.split == "validation"
    missing = np.setdiff1d(faces.labels, faces.labels[validation])
    if not len(missing) or (validation.any() and faces.protocol != "own"):
        return faces
    train, split = np.flatnonzero(faces.split == "train"), faces.split.astype("<U10")
    _, first, duplicates = np.unique(faces.digests[train], return_index=True, return_inverse=True)
    labels, generator, drawn = faces.labels[train][first], np.random.default_rng(0), np.zeros(len(first), bool)
    for label in missing:
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise ValueError(
                f"Each class needs 2 different training pictures at least, one of them for validation. Received: "
                f"{len(members)} of {faces.classes[label]!r} in {faces.source}. Add some, or leave the class out."
            )
        drawn[members[: max(1, round(SHARE * len(members)))]] = True
    moved = train[drawn[duplicates]]
    split[moved] = "validation"
    source = f"{faces.source}, {len(moved):,} of {len(train):,} training images drawn for validation with seed 0"
    say(source)
    protocol = "drawn" if faces.protocol == "drawn" else "own"
    return dataclasses.replace(faces, split=split, source=source, protocol=protocol)


def own_recipe(recipe: Recipe, faces: FaceDataset) -> Recipe:
    """The recipe's variant `<recipe>@own` for one's own pictures, with their classes."""
    own = {"name": f"{recipe.name}@own", "data": "own", "protocol": "own", "final": False}
    return dataclasses.replace(recipe, **own, class_names=faces.classes)


def check_faces(recipe: Recipe, faces: FaceDataset) -> None:
    """Raise a `ValueError` where faces do not fit the recipe."""
    if faces.classes != recipe.classes:
        raise ValueError(
            f"Recipe {recipe.name} expects the classes {recipe.classes}. Received: {faces.classes} from "
            f"{faces.source}. Take a recipe of these classes, or its variant for your own pictures (--folder PATH)."
        )
    if for_split(recipe, faces.protocol) != recipe:
        raise ValueError(
            f"Recipe {recipe.name} is for the {recipe.protocol} split. Received: faces of the {faces.protocol} split. "
            f"Train its variant: recipes.for_split(recipe, {faces.protocol!r}), or --data PATH on the command line."
        )
    empty = [split for split in ("train", "validation") if not (faces.split == split).any()]
    if empty:
        raise ValueError(
            f"Training needs train and validation images. Received: no {empty[0]} images in {faces.source}. "
            "Add them, or draw a part: faces.resplit(0, fractions=(0.9, 0.1, 0), within=('train',))."
        )


def make_targets(recipe: Recipe, faces: FaceDataset, teacher_probabilities: np.ndarray | None = None) -> np.ndarray:
    """The target distribution of every image, float32 `(n, classes)`.

    Args:
        recipe: a `Recipe`.
        faces: a `FaceDataset`.
        teacher_probabilities: float `(n, classes)`, the mean of the recipe's teachers, or None. Only the targets of
            training images are mixed with it.

    Raises:
        ValueError: if the recipe learns from votes and the faces have none.
    """
    train = (faces.split == "train")[:, None]
    targets = np.eye(len(faces.classes), dtype=np.float32)[faces.labels]
    if recipe.targets == "votes":
        if faces.votes is None:
            raise ValueError(
                f"Recipe {recipe.name} learns from FER+ votes. Received: {faces.source}, which has none. Take a recipe "
                "that learns from labels, or put fer2013new.csv beside FER-2013."
            )
        votes = soft_targets(faces.votes, faces.classes)
        targets = np.where(train & (votes.sum(axis=1, keepdims=True) > 0), votes, targets)
    if teacher_probabilities is not None:
        mixed = (1 - recipe.teacher_share) * targets + recipe.teacher_share * teacher_probabilities
        targets = np.where(train, mixed, targets).astype(np.float32)
    return targets
