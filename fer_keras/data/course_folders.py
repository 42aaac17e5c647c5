"""The four-class course folders: `train|validation|test/{happy,neutral,sad,surprise}/N.jpg`, N a row of FER-2013."""

import numpy as np

from fer_keras.data.faces import FaceDataset
from fer_keras.data.pictures import decode, is_picture
from fer_keras.data.problems import DataError
from fer_keras.labels import FER4, SPLITS

SIDE = 48


def find(path):
    """Return the folder (or the only folder in it) that holds the three splits of the four classes, else None."""
    if not path.is_dir():
        return None
    inner = [item for item in path.iterdir() if item.is_dir() and not item.name.startswith((".", "__"))]
    candidates = [path, *(inner if len(inner) == 1 else [])]
    return next(((folder,) for folder in candidates if holds_course(folder)), None)


def holds_course(folder):
    """Tell whether a folder holds the three splits, and these no other class folders than the four."""
    splits = [folder / split for split in SPLITS]
    if not all(split.is_dir() for split in splits):
        return False
    return all({item.name for item in split.iterdir() if item.is_dir()} == set(FER4) for split in splits)


def read(folders, problems):
    """Return the `FaceDataset` of the course folders: protocol "course", `rows` the files' numbers."""
    (root,) = folders
    images, labels, splits, rows = [], [], [], []
    for split in SPLITS:
        for label, name in enumerate(FER4):
            for row, pixels in read_class(root / split / name, problems):
                images.append(pixels)
                labels.append(label)
                splits.append(split)
                rows.append(row)
    if not rows:
        raise DataError(f"{root}: Expected pictures. Received: none that can be read.")
    return FaceDataset(
        images=np.stack(images)[..., None],
        labels=np.array(labels, np.int64),
        split=np.array(splits, "<U10"),
        classes=FER4,
        source=problems.describe("four-class course set, folders"),
        protocol="course",
        rows=np.array(rows, np.int64),
        skipped=tuple(problems.messages),
    )


def read_class(folder, problems):
    """Yield `(number, pixels)` of each picture of a class folder, in the order of their numbers."""
    files = [file for file in folder.iterdir() if is_picture(file)]
    if not files:
        problems.add(folder, None, "Expected pictures N.jpg. Received: an empty class folder.")
    for file in sorted(files, key=lambda file: (len(file.stem), file.stem)):
        try:
            if not (file.stem.isascii() and file.stem.isdigit()):
                raise DataError("Expected a name N.jpg, N its row of FER-2013.")
            yield int(file.stem), square(decode(file))
        except DataError as error:
            problems.add(file, None, str(error))


def square(pixels):
    """Return the pixels, refused unless they are 48x48."""
    if pixels.shape != (SIDE, SIDE):
        raise DataError(f"Expected {SIDE}x{SIDE} pixels. Received: {pixels.shape[0]}x{pixels.shape[1]}.")
    return pixels
