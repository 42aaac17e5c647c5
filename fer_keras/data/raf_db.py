"""`load_rafdb`: the seven basic classes of RAF-DB, as its authors publish it or as numbered folders.

Reference: Li, Deng and Du, "Reliable crowdsourcing and deep locality-preserving learning for expression recognition in
the wild", CVPR 2017.
"""

import dataclasses
from pathlib import Path

from fer_keras.data.dataset import DataError, Problems, say
from fer_keras.data.images import is_picture
from fer_keras.data.picture_folders import Listed, list_classes, places, read_listed, refuse_others, subfolders
from fer_keras.labels import FER7, RAFDB_LABELS

LIST = Path("EmoLabel") / "list_patition_label.txt"  # spelled as published
ALIGNED = Path("Image") / "aligned"
SPLITS = ("train", "test")
PUBLISHED = {"train": 12_271, "test": 3_068}


def load_rafdb(path, *, image_size=(48, 48), on_error="raise"):
    """Return the basic classes of RAF-DB, aligned faces, as grey pictures.

    Train and test are those published; a tenth of train is drawn as validation, stratified and with seed 0, which
    `source` and a line on stderr say.

    Args:
        path: a folder with `basic/EmoLabel/list_patition_label.txt` and `basic/Image/aligned`, or with
            `DATASET/train|test/1..7`, whose labels are checked against `train_labels.csv` and `test_labels.csv` where
            these lie beside it.
        image_size: `(height, width)` in pixels to resize to; the published pictures have 100x100. The default is what
            the networks here take.
        on_error: `"raise"` stops at the first fault; `"skip"` leaves bad pictures out and lists them in `.skipped`.

    Returns:
        A `FaceDataset` of protocol `"raf-db"`, its classes in FER-2013's order.

    Raises:
        DataError: a `ValueError`, if this is not RAF-DB, or a picture or line is bad.
    """
    given, problems = Path(path).expanduser(), Problems(on_error)
    root, listed = find(given, problems)
    faces = read_listed(
        listed, problems, root=root, image_size=image_size, classes=FER7, source="RAF-DB", protocol="raf-db"
    )
    counts = {split: int((faces.split == split).sum()) for split in SPLITS}
    held, published = (" and ".join(f"{n:,} {split}" for split, n in table.items()) for table in (counts, PUBLISHED))
    aside = "" if counts == PUBLISHED else f" (published: {published})"
    source = f"RAF-DB, {held} images{aside}, a tenth of train drawn as validation with seed 0"
    say(f"{path}: {source}")
    faces = faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))
    return dataclasses.replace(faces, protocol="raf-db", source=problems.describe(source))


def find(given, problems):
    """Return the folder that RAF-DB lies in, and its pictures as a list of `Listed`."""
    listing, folders = locate(given)
    if listing:
        return listing, list_published(listing, problems)
    if folders:
        return folders, list_folders(folders, problems, tables=folders if folders == given else folders.parent)
    raise DataError(
        f"{given}: Expected RAF-DB, basic/{LIST.as_posix()} with basic/{ALIGNED.as_posix()}, or "
        "DATASET/train|test/1..7. Received: neither. Check the path."
    )


def locate(given):
    """Return the folder with the list of labels and the one with numbered folders, each None if there is none."""
    listing = next((place for place in places(given, "basic") if (place / LIST).is_file()), None)
    numbered = (place for place in places(given, "DATASET") if all((place / split).is_dir() for split in SPLITS))
    return listing, next((place for place in numbered if is_numbered(place / "train")), None)


def is_numbered(folder):
    """Tell whether a folder holds class folders named by RAF-DB's numbers."""
    return any(item.name in RAFDB_LABELS for item in subfolders(folder))


def list_published(place, problems):
    """Return the pictures that the list of labels names, in its order; `rows` are those of the list."""
    pictures = pictures_in(place / ALIGNED)
    listed = []
    for name, (line, label) in read_labels(place / LIST, problems).items():
        split = name.partition("_")[0]
        file = pictures.pop(f"{Path(name).stem}_aligned.jpg", None)
        if split not in SPLITS:
            problems.add(place / LIST, f"line {line}", f"Expected a name train_N.jpg or test_N.jpg. Received: {name}.")
        elif file is None:
            problems.add(place / LIST, f"line {line}", f"Expected its picture in {ALIGNED.as_posix()}. Received: none.")
        else:
            listed.append(Listed(file, label, split, line - 1))
    for file in pictures.values():
        problems.add(file, None, f"Expected its label in {LIST.name}. Received: none.")
    return listed


def list_folders(place, problems, *, tables):
    """Return the pictures in numbered folders; where the folder `tables` has a list of labels, both must agree."""
    listed = []
    for split in SPLITS:
        refuse_others(place / split, tuple(RAFDB_LABELS), problems)
        items = [
            item._replace(label=FER7.index(list(RAFDB_LABELS.values())[item.label]))
            for item in list_classes(place / split, split, tuple(RAFDB_LABELS), problems)
        ]
        table = tables / f"{split}_labels.csv"
        listed += agreeing(items, table, problems) if table.is_file() else items
    return listed


def agreeing(items, table, problems):
    """Return the listed pictures whose label the table confirms; the others, and rows without one, are `problems`."""
    labels = read_labels(table, problems, header="image,label")
    kept = []
    for item in items:
        line, label = labels.pop(item.file.name, (None, None))
        if label == item.label:
            kept.append(item)
        elif line is None:
            problems.add(item.file, None, f"Expected its label in {table.name}. Received: none.")
        else:
            problems.add(table, f"line {line}", f"Expected the label {item.file.parent.name}, as of its folder.")
    for name, (line, _) in labels.items():
        problems.add(table, f"line {line}", f"Expected a picture {name}. Received: none in the folders.")
    return kept


def read_labels(file, problems, *, header=None):
    """Return `{name: (line number, label)}` of a list of pictures: `name label`, or `name,label` below a header."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: Expected UTF-8 text. Received: other bytes.") from error
    if header and lines[:1] != [header]:
        raise DataError(f"{file}, line 1: Expected the header {header}. Received: {''.join(lines[:1])[:80]!r}.")
    labels = {}
    for number, line in enumerate(lines, start=1):
        if line.isspace() or not line or (header and number == 1):
            continue
        fields = line.split("," if header else None)
        if len(fields) != 2 or fields[1].strip() not in RAFDB_LABELS:
            problems.add(file, f"line {number}", f"Expected a picture and a label in 1..7. Received: {line[:80]!r}.")
        elif fields[0] in labels:
            problems.add(file, f"line {number}", f"Expected each picture once. Received: {fields[0]} again.")
        else:
            labels[fields[0]] = (number, FER7.index(RAFDB_LABELS[fields[1].strip()]))
    return labels


def pictures_in(folder):
    """Return the pictures in a folder by name, sorted; a `DataError` if there is no folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: Expected the aligned pictures. Received: no such folder.")
    return {file.name: file for file in sorted(folder.iterdir()) if is_picture(file)}
