"""FER-2013 as folders of JPEG files: as published on Kaggle, and the four-class course set with its list of rows.

The official split stands in names such as `train/angry/Training_88305.jpg`, whose ids are no rows of fer2013.csv. In
`images/train|validation/<emotion>/N.jpg` and in the course set, N is the row, and the split another.
"""

import re
from pathlib import Path

import numpy as np

from fer_keras.data import class_folders as folders
from fer_keras.data.class_folders import class_name, places, read_listed, scan, subfolders
from fer_keras.data.dataset import DataError, Problems
from fer_keras.data.fer2013_tables import read_rows
from fer_keras.data.images import is_picture
from fer_keras.labels import FER4, FER7, NUM_IMAGES, NUM_TRAINING, SPLITS, USAGE_TO_SPLIT

USAGE_NAMES = (
    re.compile(rf"(?P<usage>{'|'.join(USAGE_TO_SPLIT)})_(?P<number>[0-9]{{1,15}})"),
    "like the others', a Usage and an id",
)
ROW_NAMES = re.compile("(?P<number>[0-9]{1,15})"), "N.jpg, N its row of FER-2013"
NAMES = {"official": USAGE_NAMES, "own": None}  # by protocol; in the others, the names are the rows of fer2013.csv
SOURCES = {
    "official": "FER-2013, folders",
    "own": "FER-2013, folders train and test as given",
    "folders": "FER-2013, folders train and validation as given, which ignore the official split; no test split",
    "course": "four-class course set, folders",
}
COURSE_ROWS = "adsp_rows.csv"


def find_trees(path, splits, named=None, classes=FER7):
    """Folders of just these splits, with all `classes` in train, files `named` after a Usage or not; else None."""
    for place in places(path, "images"):
        found = folders.split_folders(place)
        found.pop(None, None)
        if set(found) == set(splits) and all(len(trees) == 1 for trees in found.values()):
            trees = tuple(found[split][0] for split in splits)
            held = [{class_name(folder) for folder in subfolders(tree)} for tree in trees]
            if held[0] >= set(classes) and (classes == FER7 or all(names == set(classes) for names in held)):
                files = (item.name for tree in trees for folder in subfolders(tree) for item in scan(folder))
                has_named = any(USAGE_NAMES[0].fullmatch(Path(name).stem) and is_picture(name) for name in files)
                return trees if named in (None, has_named) else None
    return None


def read_trees(trees, problems, *, protocol):
    """The `FaceDataset` of the classes in the folders of one of `SOURCES`; other class folders are `problems`."""
    classes, names = FER4 if protocol == "course" else FER7, NAMES.get(protocol, ROW_NAMES)
    about = {"classes": classes, "source": SOURCES[protocol], "protocol": protocol}
    about["fer2013_rows"] = NUM_IMAGES if names == ROW_NAMES else 0
    of_tree = {tree: split for split, trees in folders.split_folders(trees[0].parent).items() for tree in trees}
    lists = (folders.list_classes(tree, of_tree[tree], classes, problems, names=names) for tree in trees)
    listed = sorted((item for items in lists for item in items), key=lambda item: SPLITS.index(item.split))
    held = {split: sum(item.split == split for item in listed) for split in ("train", "test")}
    if protocol == "own" and held != {"train": NUM_TRAINING, "test": NUM_IMAGES - NUM_TRAINING}:
        about["source"] = f"class folders {trees[0].parent.resolve().name}, train and test as given"
    faces = read_listed(listed, problems, root=trees[0].parent, **about)
    return folders.draw_validation(faces) if protocol == "own" else faces


def course_of_rows(faces, file):
    """The course set made of the rows of FER-2013 that a CSV lists; its labels are its own, and some are others."""
    seen, places = set(), {row: place for place, row in enumerate(faces.rows.tolist())}

    def parse(fields):
        split, name, row = (field.decode() for field in fields)
        if split not in SPLITS or name not in FER4 or not row.isdecimal() or row in seen:
            expected = f"a split of {', '.join(SPLITS)}, a class of {', '.join(FER4)}, a row that comes once"
            raise DataError(f"Expected {expected}. Received: {split}, {name}, {row}.")
        seen.add(row)
        return split, FER4.index(name), int(row)

    listed = [row for _, row in read_rows(file, ("split", "class", "row"), parse, Problems())]
    if (lost := [row for *_, row in listed if row not in places]) and not faces.skipped:
        received = f"row {lost[0]}, which it lacks ({len(lost):,} such rows)"
        raise DataError(f"{file}: Expected rows of {faces.source}. Received: {received}.")
    listed = [(split, label, places[row]) for split, label, row in listed if row in places]
    arrays = {"split": np.array([each[0] for each in listed], "<U10"), "labels": np.array([each[1] for each in listed])}
    about = {"classes": FER4, "source": f"four-class course set, rows of {faces.source}", "protocol": "course"}
    return faces.take([each[2] for each in listed], **arrays, **about)
