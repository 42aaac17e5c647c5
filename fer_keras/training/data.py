"""What a recipe trains on: its faces, in the classes and the number that it takes, and their targets."""

import dataclasses

import numpy as np

from fer_keras import data
from fer_keras.data.faces import four_fifths
from fer_keras.data.votes import soft_targets
from fer_keras.recipes import for_split
from fer_keras.recipes.recipe import CLASSES


def load_recipe_data(recipe, path=None, *, any_split=False):
    """Return the faces that a recipe names.

    Args:
        recipe: a `Recipe`.
        path: where the data lies, as for `data.load_fer7`.
        any_split: take the split that lies there where it is not the official one, for `recipes.for_split`.
    """
    if recipe.data == "own":
        return data.load_folder(path, classes=recipe.classes)
    if recipe.data.startswith("ferplus"):
        return data.load_ferplus(path, classes=recipe.classes)
    if recipe.protocol == "four-fifths":
        return four_fifths(data.load_fer7(path, protocol="official"))
    protocol = None if any_split and recipe.protocol == "official" else recipe.protocol
    read = data.load_fer4 if recipe.data == "fer4" else data.load_fer7
    return read(path, protocol=protocol).select(classes=CLASSES[recipe.data])


def to_recipe_classes(recipe, faces):
    """Return the faces in two classes if the recipe tells one from the rest, and as many to train on as it takes."""
    if recipe.positive and faces.classes != recipe.classes:
        faces = faces.against_rest(recipe.positive)
    return faces.keep_of_train(recipe.train_fraction) if recipe.train_fraction < 1 else faces


def check_faces(recipe, faces):
    """Raise a `ValueError` where faces do not fit the recipe."""
    if faces.classes != recipe.classes:
        raise ValueError(
            f"Recipe {recipe.name} expects the classes {recipe.classes}. Received: {faces.classes} from {faces.source}."
        )
    if for_split(recipe, faces.protocol) != recipe:
        raise ValueError(
            f"Recipe {recipe.name} is for the {recipe.protocol} split. Received: faces of the {faces.protocol} split. "
            f"Train its variant: recipes.for_split(recipe, {faces.protocol!r}), or --data PATH on the command line."
        )
    empty = [split for split in ("train", "validation") if not (faces.split == split).any()]
    if empty:
        raise ValueError(
            f"Training needs train and validation images. Received: no {empty[0]} images in {faces.source}."
        )


def make_targets(recipe, faces, taught=None):
    """Return the target distribution of every image, float32 `(n, classes)`.

    Args:
        recipe: a `Recipe`.
        faces: a `FaceDataset`.
        taught: float `(n, classes)`, what the recipe's teachers say, or None. Only training images learn from it.

    Raises:
        ValueError: if the recipe learns from votes and the faces have none.
    """
    train = (faces.split == "train")[:, None]
    targets = np.eye(len(faces.classes), dtype=np.float32)[faces.labels]
    if recipe.targets == "votes":
        if faces.votes is None:
            raise ValueError(f"Recipe {recipe.name} learns from FER+ votes. Received: {faces.source}, which has none.")
        votes = soft_targets(faces.votes, faces.classes)
        targets = np.where(train & (votes.sum(axis=1, keepdims=True) > 0), votes, targets)
    if taught is not None:
        mixed = (1 - recipe.teacher_share) * targets + recipe.teacher_share * taught
        targets = np.where(train, mixed, targets).astype(np.float32)
    return targets


def own_recipe(recipe, faces):
    """The recipe's variant `<recipe>@own` for one's own pictures, with their classes."""
    own = {"data": "own", "protocol": "own", "class_names": faces.classes}
    return dataclasses.replace(recipe, name=f"{recipe.name}@own", **own)
