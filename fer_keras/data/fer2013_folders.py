"""FER-2013 as folders of JPEG files: as published on Kaggle, and the four-class course set with its list of rows.

The official split stands in names such as `train/angry/Training_88305.jpg`, whose ids are no rows of fer2013.csv. In
`images/train|validation/<emotion>/N.jpg` and in the course set, N is the row, and the split another.
"""

import re

import numpy as np

from fer_keras.data import class_folders as folders
from fer_keras.data.class_folders import class_name, places, read_listed, subfolders
from fer_keras.data.dataset import DataError
from fer_keras.data.images import is_picture
from fer_keras.labels import FER4, FER7, NUM_IMAGES, SPLITS, USAGE_TO_SPLIT

USAGE_NAMES = re.compile(rf"({'|'.join(USAGE_TO_SPLIT)})_[0-9]{{1,15}}"), "like the others', a Usage and an id"
ROW_NAMES = re.compile("[0-9]{1,15}"), "N.jpg, N its row of FER-2013"
COURSE_ROWS = "adsp_rows.csv"


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
                has_named = any(USAGE_NAMES[0].fullmatch(file.stem) and is_picture(file.name) for file in files)
                return trees if named in (None, has_named) else None
    return None


def read_named(trees, problems):
    """The `FaceDataset` of the official split, `rows` the ids in the names."""
    return read_trees(trees, problems, USAGE_NAMES, source="FER-2013, folders", protocol="official")


def read_unnamed(trees, problems):
    """The `FaceDataset` of train and test as they are, a tenth of train made validation."""
    source = "FER-2013, folders train and test as given, a tenth of train drawn as validation with seed 0"
    faces = read_trees(trees, problems, None, source=source, protocol="own")
    return faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))


def read_validated(trees, problems):
    """The `FaceDataset` of train and validation as they are, `rows` those of fer2013.csv; no test split."""
    source = "FER-2013, folders train and validation as given, which ignore the official split; no test split"
    return read_trees(trees, problems, ROW_NAMES, source=source, protocol="folders", fer2013_rows=NUM_IMAGES)


def find_course(path):
    """The splits' folders of the course set, at a path or in the only folder there: of just its classes; else None."""
    for place in places(path, path.name):
        trees = tuple(place / split for split in SPLITS)
        if all(tree.is_dir() and {item.name for item in subfolders(tree)} == set(FER4) for tree in trees):
            return trees
    return None


def read_course(trees, problems):
    """The `FaceDataset` of the course folders: protocol "course", `rows` the files' numbers."""
    about = {"source": "four-class course set, folders", "protocol": "course", "fer2013_rows": NUM_IMAGES}
    return read_trees(trees, problems, ROW_NAMES, classes=FER4, **about)


def read_trees(trees, problems, names, *, classes=FER7, **about):
    """The `FaceDataset` of the classes in folders of splits; other class folders are `problems`."""
    of_tree = {tree: split for split, trees in folders.split_folders(trees[0].parent).items() for tree in trees}
    lists = (folders.list_classes(tree, of_tree[tree], classes, problems, names=names) for tree in trees)
    listed = sorted((item for items in lists for item in items), key=lambda item: SPLITS.index(item.split))
    return read_listed(listed, problems, root=trees[0].parent, classes=classes, **about)


def course_of_rows(faces, file):
    """The course set made of the rows of FER-2013 that a CSV lists; its labels are its own, and some are others."""
    import pandas as pd

    try:
        table = pd.read_csv(file)
        received = ", ".join(table.columns)
    except (ValueError, OSError) as error:
        received = str(error)[:200]
    if received != "split, class, row":
        raise DataError(f"{file}: Expected the columns split, class, row. Received: {received}.")
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
