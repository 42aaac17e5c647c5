"""`load_ckplus` and `load_rafdb`: CK+48 and RAF-DB.

References: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010. Li, Deng and Du, "Reliable
crowdsourcing and deep locality-preserving learning for expression recognition in the wild", CVPR 2017.
"""

import dataclasses
import os
import re
from pathlib import Path

from fer_keras.data import class_folders as folders
from fer_keras.data.class_folders import Listed, class_name, places, scan, subfolders
from fer_keras.data.dataset import DataError, FaceDataset, Problems, say
from fer_keras.data.images import is_picture
from fer_keras.labels import CKPLUS7, FER7, RAFDB_LABELS, SPLITS

FRAME_NAMES = re.compile("S(?P<number>[0-9]{3}_[0-9]{3}_[0-9]{8})"), "like S010_004_00000017: person, sequence, frame"
PER_PERSON = 10**11  # what the digits of sequence and frame count to
LIST = Path("EmoLabel") / "list_patition_label.txt"  # spelled as published
ALIGNED = Path("Image") / "aligned"
PUBLISHED = {"train": 12_271, "test": 3_068}


def load_ckplus(path: str | os.PathLike, *, on_error: str = "raise") -> FaceDataset:
    """Read CK+48, the last three frames of each sequence of CK+: seven classes, contempt among them, neutral not.

    It has no split: one is drawn by person, 80/10/10 with seed 0, as `source` and a line on stderr say.

    Args:
        path: the folder `CK+48` or one that holds it, with `anger/S010_004_00000017.png` and so on.
        on_error: `"raise"` stops at the first fault; `"skip"` leaves bad pictures out, and lists them in `.skipped`.
    """
    given, problems = folders.given_path(path, to_folder=True), Problems(on_error)
    root = find_ckplus(given)
    if root is None:
        raise DataError(f"{given}: Expected CK+48, a folder of anger, contempt, disgust, ... Received: none.")
    listed = list(folders.list_classes(root, "train", CKPLUS7, problems, names=FRAME_NAMES))
    faces = folders.read_listed(listed, problems, root=root, classes=CKPLUS7, source="CK+48", protocol="own")
    try:
        faces = faces.resplit(0, groups=faces.rows // PER_PERSON)
    except DataError as error:  # no DataError again: load_faces would read class folders, split by picture
        received = "fewer. Add pictures of others, or split it by picture: load_folder(path)"
        raise ValueError(f"{path}: Expected CK+48 of {len(SPLITS)} persons at least. Received: {received}.") from error
    shares = "80/10/10 " * bool(abs((faces.split == "train").mean() - 0.8) < 0.05)
    source = problems.describe(f"CK+48, split {shares}by person, drawn with seed 0")
    say(f"{path}: {source}")
    return dataclasses.replace(faces, source=source)


def find_ckplus(given):
    """The folder of class folders of CK+48, contempt among them or not, at or below a path; None if there is none."""
    held = ((place, {class_name(item) for item in subfolders(place)}) for place in places(given, "CK+48"))
    return next((place for place, names in held if len(names & set(CKPLUS7)) > 1), None)


def is_ckplus(given):
    """True if class folders lie at a path, and in one of them a frame named as CK+ names them."""
    root = find_ckplus(given)
    files = (item.name for folder in subfolders(root) for item in scan(folder)) if root else ()
    return any(FRAME_NAMES[0].fullmatch(Path(name).stem) for name in files)


def load_rafdb(
    path: str | os.PathLike, *, image_size: tuple[int, int] = (48, 48), on_error: str = "raise"
) -> FaceDataset:
    """Read the basic classes of RAF-DB, aligned faces, as grey pictures, in the published train and test.

    Unless there is a folder of it, a tenth of train is drawn as validation, stratified, as a line on stderr says.

    Args:
        path: a folder with `basic/EmoLabel/list_patition_label.txt` and `basic/Image/aligned`, or with
            `DATASET/train|test/1..7`, whose labels are checked against `train_labels.csv` and `test_labels.csv` where
            these lie beside it.
        image_size: `(height, width)` in pixels to resize to; the published pictures have 100x100.
        on_error: as for `load_ckplus`.
    """
    given, problems = folders.given_path(path, to_folder=True), Problems(on_error)
    listing, numbered, beside = find_rafdb(given)
    if not listing and not numbered:
        expected = f"RAF-DB, basic/{LIST.as_posix()} with basic/{ALIGNED.as_posix()}, or DATASET/train|test/1..7"
        raise DataError(f"{given}: Expected {expected}. Received: neither. Check the path.")
    listed = list_published(listing, problems) if listing else list_folders(numbered, beside, problems)
    about = {"classes": FER7, "source": "RAF-DB", "protocol": "raf-db"}
    faces = folders.read_listed(listed, problems, root=listing or numbered, image_size=image_size, **about)
    counts = {split: int((faces.split == split).sum()) for split in SPLITS if split in {*faces.split, *PUBLISHED}}
    held, published = (" and ".join(f"{n:,} {split}" for split, n in table.items()) for table in (counts, PUBLISHED))
    known = "" if counts == PUBLISHED else f" (published: {published})"
    faces = dataclasses.replace(faces, source=f"RAF-DB, {held} images{known}")
    if "validation" not in counts:
        faces = folders.draw_validation(faces)
    say(f"{path}: {faces.source}")
    return dataclasses.replace(faces, protocol="raf-db", source=problems.describe(faces.source))


def find_rafdb(given):
    """The folder with the list of labels, that with numbered folders, and that with their tables, None if missing."""
    listing = next((place for place in places(given, "basic") if (place / LIST).is_file()), None)
    for place in places(given, "DATASET"):
        trees = folders.split_folders(place)
        names = map(class_name, subfolders(trees["train"][0])) if PUBLISHED.keys() <= trees.keys() else ()
        if not RAFDB_LABELS.keys().isdisjoint(names):
            return listing, place, place if place == given else place.parent
    return listing, None, None


def is_rafdb(given):
    """True if a path holds RAF-DB by its own files: its list, its tables, or the names of its pictures."""
    listing, numbered, beside = find_rafdb(given)
    if listing or not numbered:
        return bool(listing)
    inside = [item for split in PUBLISHED for item in subfolders(folders.split_folders(numbered)[split][0])]
    first = (item.name for item in scan(inside[0]) if is_picture(item.name))
    has_tables = any((beside / f"{split}_labels.csv").is_file() for split in PUBLISHED)
    is_named = re.fullmatch("(train|test)_[0-9]+(_aligned)?", Path(next(first, "")).stem)
    return set(map(class_name, inside)) == set(RAFDB_LABELS) and bool(has_tables or is_named)


def list_published(place, problems):
    """The pictures that the list of labels names, in its order; `rows` are those of the list."""
    if not (place / ALIGNED).is_dir():
        raise DataError(f"{place / ALIGNED}: Expected the aligned pictures. Received: no such folder.")
    pictures = {file.name: file for file in sorted((place / ALIGNED).iterdir()) if is_picture(file.name)}
    listed = []
    for name, (line, label) in read_labels(place / LIST, problems).items():
        split = name.partition("_")[0]
        file = pictures.pop(f"{Path(name).stem}_aligned.jpg", None)
        fault = "" if file else f"Expected its picture in {ALIGNED.as_posix()}. Received: none."
        fault = fault if split in PUBLISHED else f"Expected a name train_N.jpg or test_N.jpg. Received: {name}."
        if fault:
            problems.add(place / LIST, f"line {line}", fault)
        else:
            listed.append(Listed(file, label, split, line - 1))
    for file in pictures.values():
        problems.add(file, None, f"Expected its label in {LIST.name}. Received: none.")
    return listed


def list_folders(place, beside, problems):
    """The pictures in numbered folders; those that a table of a split's labels does not confirm are `problems`."""
    listed, numbers = [], tuple(RAFDB_LABELS)
    for split, (tree, *_) in folders.split_folders(place).items():
        items = folders.list_classes(tree, split, numbers, problems) if split else ()
        items = [item._replace(label=FER7.index(RAFDB_LABELS[numbers[item.label]])) for item in items]
        table = beside / f"{tree.name.lower()}_labels.csv"
        if not split or not table.is_file():
            listed += items
            continue
        labels = read_labels(table, problems, header="image,label")
        for item in items:
            line, label = labels.pop(os.path.basename(item.file), (None, None))
            if label == item.label:
                listed.append(item)
            elif line is None:
                problems.add(item.file, None, f"Expected its label in {table.name}. Received: none.")
            else:
                number = os.path.basename(os.path.dirname(item.file))
                problems.add(table, f"line {line}", f"Expected the label {number}, as of its folder.")
        for name, (line, _) in labels.items():
            problems.add(table, f"line {line}", f"Expected a picture {name}. Received: none in the folders.")
    return sorted(listed, key=lambda item: SPLITS.index(item.split))


def read_labels(file, problems, *, header=None):
    """`{name: (line number, label)}` of a list of pictures: `name label`, or `name,label` below a header."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: Expected UTF-8 text. Received: other bytes.") from error
    if header and lines[:1] != [header]:
        raise DataError(f"{file}, line 1: Expected the header {header}. Received: {''.join(lines[:1])[:80]!r}.")
    labels = {}
    for number, line in enumerate(lines, start=1):
        name, *label = line.split("," if header else None) or [""]
        if (header and number == 1) or not line.strip():
            continue
        if [each.strip() in RAFDB_LABELS for each in label] != [True]:
            problems.add(file, f"line {number}", f"Expected a picture and a label in 1..7. Received: {line[:80]!r}.")
        elif name in labels:
            problems.add(file, f"line {number}", f"Expected each picture once. Received: {name} again.")
        else:
            labels[name] = (number, FER7.index(RAFDB_LABELS[label[0].strip()]))
    return labels
