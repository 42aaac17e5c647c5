"""The four-class course folders: `train|validation|test/{happy,neutral,sad,surprise}/N.jpg`, N a row of FER-2013."""

from fer_keras.data.picture_folders import list_classes, numbered, places, read_listed, subfolders
from fer_keras.labels import FER4, NUM_IMAGES, SPLITS


def find(path):
    """Return the folder (or the only folder in it) that holds the three splits of the four classes, else None."""
    return next(((folder,) for folder in places(path, path.name) if holds_course(folder)), None)


def holds_course(folder):
    """Tell whether a folder holds the three splits, and these no other class folders than the four."""
    splits = [folder / split for split in SPLITS]
    if not all(split.is_dir() for split in splits):
        return False
    return all({item.name for item in subfolders(split)} == set(FER4) for split in splits)


def read(folders, problems):
    """Return the `FaceDataset` of the course folders: protocol "course", `rows` the files' numbers."""
    (root,) = folders
    listed = [item for split in SPLITS for item in list_classes(root / split, split, FER4, problems, place=numbered)]
    about = {"source": "four-class course set, folders", "protocol": "course", "fer2013_rows": NUM_IMAGES}
    return read_listed(listed, problems, root=root, classes=FER4, **about)
