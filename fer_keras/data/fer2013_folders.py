"""FER-2013 as folders of JPEG files, in the ways it was published on Kaggle.

`train|test/<emotion>/PrivateTest_88305.jpg` names the official split in each file, and numbers the files by an id that
is not a row of fer2013.csv. Others have the folders without these names. `images/train|validation/<emotion>/N.jpg`
has a split of its own, N being the row of fer2013.csv.
"""

import re

from fer_keras.data.dataset import DataError
from fer_keras.data.images import is_picture
from fer_keras.data.picture_folders import (
    class_name,
    list_classes,
    numbered,
    places,
    read_listed,
    refuse_others,
    split_folders,
    subfolders,
)
from fer_keras.labels import FER7, NUM_IMAGES, SPLITS, USAGE_TO_SPLIT

NAME = re.compile(rf"({'|'.join(USAGE_TO_SPLIT)})_([0-9]+)")


def find_named(path):
    """Return the folders train and test if files in them are named after a Usage, else None."""
    trees = find_trees(path, ("train", "test"))
    return trees if trees and has_named(trees) else None


def find_unnamed(path):
    """Return the folders train and test if no file in them is named after a Usage, else None."""
    trees = find_trees(path, ("train", "test"))
    return trees if trees and not has_named(trees) else None


def find_validated(path):
    """Return the folders train and validation, else None."""
    return find_trees(path, ("train", "validation"))


def find_trees(path, splits):
    """Return the folders of just these splits, with the seven classes in train, at `path` or below; else None."""
    for place in places(path, "images"):
        found = split_folders(place)
        found.pop(None, None)
        if set(found) == set(splits) and all(len(folders) == 1 for folders in found.values()):
            trees = tuple(found[split][0] for split in splits)
            if {class_name(folder) for folder in subfolders(trees[0])} >= set(FER7):
                return trees
    return None


def has_named(trees):
    """Tell whether any picture in class folders is named after a Usage."""
    folders = (folder for tree in trees for folder in subfolders(tree))
    return any(NAME.fullmatch(file.stem) and is_picture(file) for folder in folders for file in folder.iterdir())


def read_named(trees, problems):
    """Return the `FaceDataset` of the official split, `rows` the ids in the names."""
    listed = list_trees(trees, ("train", "test"), problems, place_named)
    return read_all(listed, trees, problems, source="FER-2013, folders", protocol="official")


def read_unnamed(trees, problems):
    """Return the `FaceDataset` of train and test as they are, a tenth of train made validation."""
    listed = list_trees(trees, ("train", "test"), problems, None)
    source = "FER-2013, folders train and test as given, a tenth of train drawn as validation with seed 0"
    faces = read_all(listed, trees, problems, source=source, protocol="own")
    return faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))


def read_validated(trees, problems):
    """Return the `FaceDataset` of train and validation as they are, `rows` those of fer2013.csv; no test split."""
    listed = list_trees(trees, ("train", "validation"), problems, numbered)
    source = "FER-2013, folders train and validation as given, which ignore the official split; no test split"
    return read_all(listed, trees, problems, source=source, protocol="folders", fer2013_rows=NUM_IMAGES)


def list_trees(trees, splits, problems, place):
    """Return the pictures of the seven classes in the folders of the splits; other class folders are `problems`."""
    listed = []
    for tree, split in zip(trees, splits, strict=True):
        refuse_others(tree, FER7, problems)
        listed += list_classes(tree, split, FER7, problems, place=place)
    return sorted(listed, key=lambda item: SPLITS.index(item.split))


def place_named(file, split):
    """Return the split and the id that a file's name tells; `split` is that of its folder."""
    name = NAME.fullmatch(file.stem)
    if name is None:
        raise DataError(f"Expected a name like the others', {', '.join(USAGE_TO_SPLIT)} and an id.")
    usage, number = name.groups()
    if (usage == "Training") != (split == "train"):
        raise DataError(f"Expected no {usage} picture in the folder of {split}.")
    return USAGE_TO_SPLIT[usage], int(number)


def read_all(listed, trees, problems, **about):
    """Return the `FaceDataset` of listed pictures of 48x48."""
    return read_listed(listed, problems, root=trees[0].parent, classes=FER7, **about)
