"""FER-2013 as folders of JPEG files: as published on Kaggle, and the four-class course set with its list of rows.

The official split stands in names such as `train/angry/Training_88305.jpg`, whose ids are no rows of fer2013.csv. In
`images/train|validation/<emotion>/N.jpg` and in the course set, N is the row, and the split another.
"""

import os
import re

import numpy as np

from fer_keras.data import class_folders as folders
from fer_keras.data.class_folders import MAX_DIGITS, class_name, numbered, places, read_listed, subfolders
from fer_keras.data.dataset import DataError
from fer_keras.data.images import is_picture
from fer_keras.labels import FER4, FER7, NUM_IMAGES, SPLITS, USAGE_TO_SPLIT

NAME = re.compile(rf"({'|'.join(USAGE_TO_SPLIT)})_([0-9]{{1,{MAX_DIGITS}}})")
COURSE_ROWS = "adsp_rows.csv"
COLUMNS = ["split", "class", "row"]


def find_trees(path, splits, named=None):
    """The folders of just these splits, with the seven classes in train, at `path` or below; else None.

    `named` is whether files in them must be named after a Usage; None takes both.
    """
    for place in places(path, "images"):
        found = folders.split_folders(place)
        found.pop(None, None)
        if set(found) == set(splits) and all(len(trees) == 1 for trees in found.values()):
            trees = tuple(found[split][0] for split in splits)
            if {class_name(folder) for folder in subfolders(trees[0])} >= set(FER7):
                files = (file for tree in trees for folder in subfolders(tree) for file in folder.iterdir())
                has_named = any(NAME.fullmatch(file.stem) and is_picture(file.name) for file in files)
                return trees if named in (None, has_named) else None
    return None


def read_named(trees, problems):
    """The `FaceDataset` of the official split, `rows` the ids in the names."""
    return read_trees(trees, "train test", problems, place_named, source="FER-2013, folders", protocol="official")


def read_unnamed(trees, problems):
    """The `FaceDataset` of train and test as they are, a tenth of train made validation."""
    source = "FER-2013, folders train and test as given, a tenth of train drawn as validation with seed 0"
    faces = read_trees(trees, "train test", problems, None, source=source, protocol="own")
    return faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))


def read_validated(trees, problems):
    """The `FaceDataset` of train and validation as they are, `rows` those of fer2013.csv; no test split."""
    source = "FER-2013, folders train and validation as given, which ignore the official split; no test split"
    about = {"source": source, "protocol": "folders", "fer2013_rows": NUM_IMAGES}
    return read_trees(trees, "train validation", problems, numbered, **about)


def read_trees(trees, splits, problems, place, **about):
    """The `FaceDataset` of the seven classes in the folders of the splits; other class folders are `problems`."""
    listed = []
    for tree, split in zip(trees, splits.split(), strict=True):
        listed += folders.list_classes(tree, split, FER7, problems, place=place)
    listed.sort(key=lambda item: SPLITS.index(item.split))
    return read_listed(listed, problems, root=trees[0].parent, classes=FER7, **about)


def place_named(name, split):
    """The split and the id that a file's name tells; `split` is that of its folder."""
    found = NAME.fullmatch(os.path.splitext(name)[0])
    if found is None:
        raise DataError(f"Expected a name like the others', {', '.join(USAGE_TO_SPLIT)} and an id.")
    usage, number = found.groups()
    if (usage == "Training") != (split == "train"):
        raise DataError(f"Expected no {usage} picture in the folder of {split}.")
    return USAGE_TO_SPLIT[usage], int(number)


def find_course(path):
    """The folder of the course set, at a path or the only one in it: three splits, of no other classes; else None."""
    for place in places(path, path.name):
        trees = [place / split for split in SPLITS]
        if all(tree.is_dir() and {item.name for item in subfolders(tree)} == set(FER4) for tree in trees):
            return (place,)
    return None


def read_course(found, problems):
    """The `FaceDataset` of the course folders: protocol "course", `rows` the files' numbers."""
    root, listed = found[0], []
    for split in SPLITS:
        listed += folders.list_classes(root / split, split, FER4, problems, place=numbered)
    about = {"source": "four-class course set, folders", "protocol": "course", "fer2013_rows": NUM_IMAGES}
    return read_listed(listed, problems, root=root, classes=FER4, **about)


def course_of_rows(faces, file):
    """The course set made of the rows of FER-2013 that `file` lists; its labels are its own, and some are others.

    Args:
        faces: `FaceDataset` of all of FER-2013, its `rows` those of fer2013.csv.
        file: path of a CSV with the columns split, class, row.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file)
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: Expected a CSV of {', '.join(COLUMNS)}. Received: {str(error)[:200]}") from error
    if list(table.columns) != COLUMNS:
        raise DataError(f"{file}: Expected the columns {', '.join(COLUMNS)}. Received: {', '.join(table.columns)}.")
    rows = pd.to_numeric(table["row"], errors="coerce")
    good = table["split"].isin(SPLITS) & table["class"].isin(FER4) & rows.between(0, NUM_IMAGES) & (rows % 1 == 0)
    good &= ~rows.duplicated()
    if not good.all():
        line = int(np.flatnonzero(~good)[0])
        raise DataError(
            f"{file}, line {line + 2}: Expected a split of {', '.join(SPLITS)}, a class of {', '.join(FER4)}, a row "
            f"that comes once. Received: {', '.join(map(str, table.iloc[line]))}."
        )
    index = pd.Index(faces.rows).get_indexer(rows.astype(np.int64))
    if (index < 0).any() and not faces.skipped:
        received = f"row {table['row'][index < 0].iloc[0]}, which it lacks ({(index < 0).sum():,} such rows)"
        raise DataError(f"{file}: Expected rows of {faces.source}. Received: {received}.")
    table = table[index >= 0]
    return faces.take(
        index[index >= 0],
        labels=table["class"].map(FER4.index).to_numpy(np.int64),
        split=table["split"].to_numpy("<U10"),
        classes=FER4,
        source=f"four-class course set, rows of {faces.source}",
        protocol="course",
    )
