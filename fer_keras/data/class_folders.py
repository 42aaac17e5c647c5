"""`load_folder`: anyone's own pictures, a folder a class."""

from pathlib import Path

import numpy as np

from fer_keras.data.faces import FaceDataset
from fer_keras.data.pictures import decode, is_picture
from fer_keras.data.problems import DataError, Problems
from fer_keras.labels import FERPLUS8, SPLITS

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def load_folder(path, *, classes=None, image_size=(48, 48), on_error="raise"):
    """Return the pictures of class folders as grey faces of one size.

    The folders of the classes lie at `path`, or below folders named train, validation (or val, valid) and test. In the
    first case a split is drawn with `FaceDataset.resplit(seed=0)`, and `source` says so; in the second it is kept as
    it is, and a split without a folder stays empty. Pictures are cropped faces, in any format that Pillow reads; they
    become grey and are resized without regard to their proportions.

    Args:
        path: the folder.
        classes: names of the folders to read, in the order of their labels. Without it all are read: FER-2013's classes
            in its order, whatever their case, then others by name.
        image_size: `(height, width)` in pixels.
        on_error: `"raise"` stops at the first bad picture or empty class folder; `"skip"` leaves them out and lists
            them in `.skipped`.

    Returns:
        A `FaceDataset` of protocol `"own"`.

    Raises:
        DataError: a `ValueError`, if there are no class folders, or a picture is bad.
    """
    root, problems = Path(path).expanduser(), Problems(on_error)
    if not root.is_dir():
        raise DataError(f"{root}: Expected a folder of class folders. Received: no such folder. Check the path.")
    trees = find_trees(root)
    classes = tuple(classes) if classes else find_classes(root, trees)
    images, labels, splits = [], [], []
    for split, tree in trees.items():
        for label, name in enumerate(classes):
            pictures = list(read_class(tree, name, image_size, problems))
            images += pictures
            labels += [label] * len(pictures)
            splits += [split or "train"] * len(pictures)
    if not images:
        raise DataError(f"{root}: Expected pictures in its class folders. Received: none that can be read.")
    drawn = "" if None not in trees else ", split 80/10/10 by resplit(seed=0)"
    faces = FaceDataset(
        images=np.stack(images)[..., None],
        labels=np.array(labels, np.int64),
        split=np.array(splits, "<U10"),
        classes=classes,
        source=problems.describe(f"class folders {root.resolve().name}{drawn}"),
        skipped=tuple(problems.messages),
    )
    return faces.resplit(seed=0) if None in trees else faces


def find_trees(root):
    """Return the folders that hold class folders, by split: one under None if there are no split folders."""
    found = {}
    for folder in subfolders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found and split:
            raise DataError(f"{root}: Expected one folder a split. Received: {found[split].name} and {folder.name}.")
        found[split] = folder
    if set(found) <= {None}:
        return {None: root}
    if None in found or "train" not in found:
        raise DataError(
            f"{root}: Expected folders of classes, or of splits with train among them. Received: "
            f"{', '.join(folder.name for folder in subfolders(root))}."
        )
    return {split: found[split] for split in SPLITS if split in found}


def find_classes(root, trees):
    """Return the names of the classes in all trees: those of FER-2013 and FER+ in their order, then others by name."""
    names = {class_name(folder) for tree in trees.values() for folder in subfolders(tree)}
    if len(names) < 2:
        held = ", ".join(names) or "none"
        raise DataError(f"{root}: Expected at least two class folders. Received: {held}.")
    return (*(name for name in FERPLUS8 if name in names), *sorted(names - set(FERPLUS8)))


def class_name(folder):
    """Return the class of a folder: its name, in lower case if that is a known class."""
    return folder.name.lower() if folder.name.lower() in FERPLUS8 else folder.name


def read_class(tree, name, image_size, problems):
    """Yield the pixels of each picture of one class below `tree`, sorted by file name."""
    folders = [folder for folder in subfolders(tree) if name in (folder.name, class_name(folder))]
    files = [file for folder in folders for file in sorted(folder.iterdir()) if is_picture(file)]
    if not files:
        problems.add(tree / name, None, f"Expected pictures. Received: {'none' if folders else 'no such folder'}.")
    for file in files:
        try:
            yield decode(file, image_size)
        except DataError as error:
            problems.add(file, None, str(error))


def subfolders(folder):
    """Return the folders in a folder, sorted by name, without hidden ones and what archives leave (`__MACOSX`)."""
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))
