"""Load a recipe's data set, and draw its validation part where it has none."""

import dataclasses
import os

import numpy as np

from fer_keras import data, paths
from fer_keras.data import FaceDataset
from fer_keras.data.dataset import four_fifths, say
from fer_keras.data.load import recognise
from fer_keras.data.other_sets import PER_PERSON
from fer_keras.recipes import Recipe, select_classes
from fer_keras.recipes.recipe import has_type, is_within, plain

OPTIONS = {"seed": (int, "[0, 4294967296)"), "minutes": (float, "(0, inf)")}
OPTIONS |= dict.fromkeys(("epochs", "batch_size"), (int, "[1, inf)"))


def check_options(**options: int | float | None) -> list[int | float | None]:
    """Numbers as Python's; a `ValueError` unless they are such as a training takes. All but the seed may be None."""
    options = {name: plain(value) for name, value in options.items()}
    for name, value in options.items():
        kind, interval = OPTIONS[name]
        fits = has_type(value, kind) and is_within(value, interval)
        if not fits and (value is not None or name == "seed"):
            what = "an integer" if kind is int else "a number"
            raise ValueError(f"`{name}` must be {what} in {interval}. Received: {value!r}. Pass such a number.")
    return list(options.values())


def load_recipe_data(recipe: Recipe, path: str | os.PathLike | None = None, *, any_split: bool = False) -> FaceDataset:
    """Load the data set that a recipe names, from a path or where `data.load_fer7` looks.

    `any_split` takes another split or data set, in the recipe's classes, for the variant of `recipes.for_split`.
    """
    classes, ferplus = recipe.label_classes, recipe.data.startswith("ferplus")
    if path and not paths.expand(path).exists():
        raise data.DataError(f"{path}: Expected a data set. Received: no such path. Pass where it lies (--data).")
    if recipe.data == "own":
        return with_validation(data.load_folder(path, classes=classes))
    form, _ = (path and recognise(paths.expand(path))) or (None, None)
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


def with_validation(faces: FaceDataset) -> FaceDataset:
    """Draw a validation part from the training images of faces that have none, and say so on stderr.

    It is a tenth of each class, at least one picture; duplicates stay on one side. In faces with a split of one's own,
    such as of FER-2013 not as published, it is drawn for each class that lacks one. Where CK+ has none at all, it is
    drawn by person. A ValueError if nothing is left to train on, or a class has no two different pictures.
    """
    if faces.difference:  # it has no official split, and is never final
        faces = dataclasses.replace(faces, protocol="own")
    if not (faces.split == "train").any():
        advice = "Add some, or draw a part: faces.resplit(0)."
        raise ValueError(f"Expected training images. Received: none in {faces.source}. {advice}")
    validation = faces.split == "validation"
    by_person = (faces.rows >= PER_PERSON).all()  # as CK+'s alone are
    missing = np.setdiff1d(faces.labels, faces.labels[validation])
    if not len(missing) or (validation.any() and (faces.protocol != "own" or by_person)):
        return faces
    train, split = np.flatnonzero(faces.split == "train"), faces.split.astype("<U10")
    _, first, duplicates = np.unique(faces.digests[train], return_index=True, return_inverse=True)
    labels, generator, drawn = faces.labels[train][first], np.random.default_rng(0), np.zeros(len(first), bool)
    for label in missing if not by_person else ():
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            words = "Each class needs 2 different training pictures at least, one of them for validation"
            received = f"{len(members)} of {faces.classes[label]!r} in {faces.source}"
            raise ValueError(f"{words}. Received: {received}. Add some, or leave the class out.")
        drawn[members[: max(1, round(0.1 * len(members)))]] = True
    split[train[drawn[duplicates]]] = "validation"
    if by_person:
        split = faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",), groups=faces.rows // PER_PERSON).split
    moved = train[split[train] == "validation"]
    source = f"{faces.source}, {len(moved):,} of {len(train):,} training images drawn for validation with seed 0"
    say(source)
    protocol = "drawn" if faces.protocol == "drawn" else "own"
    return dataclasses.replace(faces, split=split, source=source, protocol=protocol)
