"""Class folders full of pictures: what the readers of all such forms share."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_keras.data.dataset import DataError, FaceDataset
from fer_keras.data.images import decode, is_picture
from fer_keras.labels import emotion

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
SIDE = 48  # of the pictures of FER-2013 and CK+48


class Listed(NamedTuple):
    """A picture to be read: its file, label, split and number (None where the files have none)."""

    file: Path
    label: int
    split: str
    number: int | None = None


def subfolders(folder):
    """Return the folders in a folder, sorted by name, without hidden ones and what archives leave (`__MACOSX`)."""
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def places(path, inner):
    """Yield `path` and, up to two levels down, its folder named `inner`, or else its only folder, if it is a folder."""
    for _ in range(3):
        if not path.is_dir():
            return
        yield path
        folders = subfolders(path)
        below = [folder for folder in folders if folder.name == inner] or folders
        if len(below) != 1:
            return
        (path,) = below


def split_folders(folder):
    """Return lists of the folders in a folder by the split they are named after; the others are under None."""
    found = {}
    for item in subfolders(folder):
        found.setdefault(SPLIT_NAMES.get(item.name.lower()), []).append(item)
    return found


def class_name(folder):
    """Return the class of a folder: FER-2013's or FER+'s name of the emotion it is named after, else its name."""
    return emotion(folder.name) or folder.name


def refuse_others(tree, classes, problems):
    """Leave to `problems` the folders in `tree` that belong to none of `classes`."""
    for folder in subfolders(tree):
        if class_name(folder) not in classes:
            problems.add(folder, None, f"Expected a folder of one of {', '.join(classes)}. Received: another class.")


def list_classes(tree, split, classes, problems, *, place=None):
    """Yield a `Listed` for each picture in the class folders of `tree`, by class and then by name, `1` before `10`.

    Args:
        tree: the folder that holds the class folders.
        split: the split of its pictures.
        classes: the class names in the order of their labels.
        problems: `Problems`, takes class folders without pictures and files that `place` refuses.
        place: function of a file and `split` that returns the split and number of the picture, or raises a `DataError`.
    """
    folders = subfolders(tree)
    for label, name in enumerate(classes):
        own = [folder for folder in folders if name in (folder.name, class_name(folder))]
        files = [file for folder in own for file in folder.iterdir() if is_picture(file)]
        if not files:
            problems.add(tree / name, None, f"Expected pictures. Received: {'none' if own else 'no such folder'}.")
        for file in sorted(files, key=lambda file: (len(file.name), file.name)):
            try:
                placed = place(file, split) if place else (split, None)
            except DataError as error:
                problems.add(file, None, str(error))
            else:
                yield Listed(file, label, *placed)


def numbered(file, split):
    """Return the split and the number of `N.jpg`."""
    if not (file.stem.isascii() and file.stem.isdigit()):
        raise DataError("Expected a name N.jpg, N its row of FER-2013.")
    return split, int(file.stem)


def read_listed(listed, problems, *, root, image_size=None, **about):
    """Return a `FaceDataset` of listed pictures, bad ones left to `problems`.

    Args:
        listed: list of `Listed`.
        problems: `Problems`.
        root: the folder to name if nothing can be read.
        image_size: `(height, width)` in pixels to resize to; None takes pictures of 48x48 only, as they are.
        about: `classes`, `source`, `protocol` and what else the data set shall have.
    """
    images, kept = np.empty((len(listed), *(image_size or (SIDE, SIDE))), np.uint8), []
    for item in listed:
        try:
            images[len(kept)] = decode(item.file, image_size) if image_size else square(decode(item.file))
        except DataError as error:
            problems.add(item.file, None, str(error))
        else:
            kept.append(item)
    if not kept:
        raise DataError(f"{root}: Expected pictures. Received: none that can be read.")
    _, labels, splits, numbers = zip(*kept, strict=True)
    return FaceDataset(
        images=images[: len(kept), ..., None],
        labels=np.array(labels, np.int64),
        split=np.array(splits, "<U10"),
        rows=None if None in numbers else np.array(numbers, np.int64),
        skipped=tuple(problems.messages),
        **{**about, "source": problems.describe(about["source"])},
    )


def square(pixels):
    """Return the pixels, refused unless they are 48x48."""
    if pixels.shape != (SIDE, SIDE):
        received = f"{pixels.shape[0]}x{pixels.shape[1]}"
        raise DataError(f"Expected {SIDE}x{SIDE} pixels. Received: {received} (load_folder takes any size).")
    return pixels
