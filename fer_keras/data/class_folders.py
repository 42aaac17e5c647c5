"""Class folders of pictures: `load_folder` for anyone's own, and what the readers of published folders share."""

import dataclasses
import os
import re
import unicodedata
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_keras import paths
from fer_keras.data.dataset import DataError, FaceDataset, Problems, assemble, printable, say
from fer_keras.data.images import decode, is_picture, read_regular
from fer_keras.labels import FERPLUS8, SPLITS, USAGE_TO_SPLIT, check_classes, emotion

SPLIT_WORDS = dict.fromkeys(("train", "training"), "train")
SPLIT_WORDS |= dict.fromkeys(("test", "testing", "eval", "privatetest"), "test")
SPLIT_WORDS |= dict.fromkeys(("validation", "valid", "val", "validate", "dev", "publictest"), "validation")
NO_PART_OF_WORD = re.compile("^(fer(plus)?|plus)|(set|data|images|faces)+$")  # of what names a split
NO_LETTERS, HUMPS = re.compile(r"[\W\d_]+"), re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
SIDE = 48  # of the pictures of FER-2013 and CK+48
MAX_DEPTH = 8  # levels of folders in a class folder
# What systems leave beside pictures, in lower case: files of Windows; previews, bins and what a check of a disk found.
BESIDE = {"thumbs.db", "desktop.ini", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found"}
BESIDE |= {"found.000", "system volume information"}


class Listed(NamedTuple):
    """A picture to be read: its file, label, split and number (None where the files have none)."""

    file: str
    label: int
    split: str
    number: int | None = None


def load_folder(
    path: str | os.PathLike, *, classes: tuple[str, ...] | None = None, image_size: tuple[int, int] = (48, 48),
    on_error: str = "raise",
) -> FaceDataset:  # fmt: skip
    """Read the pictures of class folders as grey faces of one size, whatever their proportions were.

    Args:
        path: a folder with the folders of the classes, or with folders train, validation (or val, valid) and test that
            hold these. Without these, a split is drawn with `FaceDataset.resplit(seed=0)`, as a line on stderr says.
        classes: names of the folders to read, in the order of their labels; else all: those named after an emotion
            get FER-2013's name and order (`labels.emotion`), others follow by name, or by number.
        image_size: `(height, width)` in pixels.
        on_error: `"raise"` stops at the first fault; `"skip"` leaves bad pictures out, and lists them in `.skipped`.
    """
    given, problems = given_path(path, to_folder=True), Problems(on_error)
    if classes is not None:
        classes = tuple(unicodedata.normalize("NFC", name) for name in check_classes(classes, least=1))
    scan(given, problems)
    found = (at for at in places(given, "images") if len(subfolders(at)) > 1 or set(split_folders(at)) - {None})
    root = next(found, given)
    is_chosen = classes and set(classes) <= set(map(class_name, subfolders(root)))  # whatever a word in them means
    trees = {None: root} if is_chosen else find_trees(root)
    drawn = None in trees
    classes = classes or find_classes(root, trees)
    lists = (list_classes(tree, split or "train", classes, problems, others=True) for split, tree in trees.items())
    listed = [item for items in lists for item in items]
    about = {"source": f"class folders {given.resolve().name}{', split 80/10/10 by resplit(seed=0)' if drawn else ''}"}
    faces = read_listed(listed, problems, root=root, image_size=image_size, classes=classes, protocol="own", **about)
    if drawn:
        say(f"{path}: {faces.source}")
    return faces.resplit(seed=0) if drawn else faces


def given_path(path, *, to_folder=False):
    """A path as a caller gives it, `~` in it expanded; an error if it is none, or leads to no folder but must."""
    given = paths.expand(paths.as_path(path, "as `path` that of a file or folder, a str or a `Path`"))
    if to_folder and not given.is_dir():
        received = "a file. Pass a folder; load_faces reads archives" if given.exists() else "no such folder"
        raise DataError(f"{given}: Expected a folder of pictures. Received: {received}.")
    return given


def scan(folder, problems=None):
    """What lies in a folder but is not hidden, nor `BESIDE`, nor `__MACOSX`; a problem if it cannot be read."""
    try:
        with os.scandir(folder) as items:
            return [item for item in items if not item.name.startswith((".", "__")) and item.name.lower() not in BESIDE]
    except OSError as error:
        if problems:
            problems.add(os.fspath(folder), None, f"Expected a folder that can be read. Received: {error.strerror}.")
        return []


def is_folder(item):
    """True if an entry of `scan` is a folder or a link to one; a loop of links is none."""
    return item.is_dir(follow_symlinks=False) or (item.is_symlink() and os.path.isdir(item.path))


def subfolders(folder, problems=None):
    """The folders in a folder, sorted by name, as `scan` finds them."""
    return sorted(Path(item.path) for item in scan(folder, problems) if is_folder(item))


def places(path, inner):
    """Yield `path` and, up to two levels down, its folder named `inner`, or else its only folder, if it is a folder."""
    below = [path] if path.is_dir() else []
    for _ in range(3):
        if len(below) != 1:
            return
        yield below[0]
        found = subfolders(below[0])
        below = [folder for folder in found if folder.name == inner] or found


def split_folders(folder):
    """Lists of the folders in a folder by the split they are named after; the others are under None."""
    found, items = {}, subfolders(folder)
    for item in items:
        found.setdefault(split_named(item.name), []).append(item)
    # A word beside others tells a split from another: `after test` alone, or beside `before test`, is none.
    plain = (NO_PART_OF_WORD.sub("", NO_LETTERS.sub("", item.name.lower())) for item in items)
    return found if len(found) != 1 or not SPLIT_WORDS.keys().isdisjoint(plain) else {None: items}


def split_named(name):
    """The split of which just one word of a name speaks (`my train`, `FERPlusTrain`, `test_48x48`), or None."""
    name = re.sub(r"(?i)(public|private)[\W_]*test", r"\1test", name)
    parts = NO_LETTERS.split(name)
    for words in (parts, [word for part in parts for word in HUMPS.split(part)]):
        splits = [split for word in words if (split := SPLIT_WORDS.get(NO_PART_OF_WORD.sub("", word.lower())))]
        if splits:
            return splits[0] if len(splits) == 1 and not any(map(emotion, words)) else None
    return None


def class_name(folder):
    """The class of a folder: FER-2013's or FER+'s name of the emotion it is named after, else its name, as NFC."""
    name = unicodedata.normalize("NFC", printable(folder.name)).strip()
    return emotion(name) or name


def find_trees(root):
    """The folders that hold class folders, by split: one under None if there are no split folders."""
    found, names = split_folders(root), [folder.name for folder in subfolders(root)]
    advice = f"If they are classes, pass load_folder(path, classes={tuple(names)})."
    for split, (first, *more) in found.items():
        if split and more:
            raise DataError(f"{root}: Expected one folder a split. Received: {first.name} and {more[0].name}. {advice}")
        if split and not subfolders(first) and scan(first):
            received = "files. Sort them into a folder a class; FER+ (with a label.csv) is read by load_ferplus"
            raise DataError(f"{first}: Expected class folders in the folder of a split. Received: {received}. {advice}")
    if set(found) <= {None}:
        return {None: root}
    # An archive unpacked twice leaves images/images beside images/train.
    others = [folder for folder in found.pop(None, []) if folder.name != root.name]
    if others or "train" not in found:
        expected = "Expected folders of classes, or of splits with train among them"
        raise DataError(f"{root}: {expected}. Received: {', '.join(names)}. {advice}")
    return {split: found[split][0] for split in SPLITS if split in found}


def find_classes(root, trees):
    """Names of the classes in all trees: FER-2013's and FER+'s in their order, then others by name, or by number."""
    found = [folder for tree in trees.values() for folder in subfolders(tree)]
    names = {class_name(folder) for folder in found}
    parts = [folder for folder in found if class_name(folder) not in FERPLUS8]
    if parts := [each for each in parts if not {class_name(item) for item in subfolders(each)}.isdisjoint(FERPLUS8)]:
        held = f"{', '.join(each.name for each in parts[:4])}, with class folders in them"
        raise DataError(f"{root}: Expected class folders. Received: {held}. Rename them if they are train and test.")
    if len(names) < 2:
        raise DataError(f"{root}: Expected at least two class folders. Received: {', '.join(names) or 'none'}.")
    others = names - set(FERPLUS8)
    are_numbers = all(name.isascii() and name.isdigit() for name in others)
    return (*(name for name in FERPLUS8 if name in names), *sorted(sorted(others), key=int if are_numbers else None))


def list_classes(tree, split, classes, problems, *, names=None, others=False):
    """Yield a `Listed` for each picture in the class folders of `tree`, by class and then by name, `1` before `10`.

    `names` is the pattern of the files' names, and its description: its group `number` is the picture's, the group
    `usage`, if it has one, tells the split. Folders of other classes go to `problems`, unless `others` may be there.
    """
    folders = subfolders(tree, problems)
    for folder in folders:
        if not others and class_name(folder) not in classes:
            problems.add(folder, None, f"Expected a folder of one of {', '.join(classes)}. Received: another class.")
    for label, name in enumerate(classes):
        own = [folder for folder in folders if name in (folder.name, class_name(folder))]
        files = [file for folder in own for file in pictures_below(folder, problems)]
        if not files:
            problems.add(tree / name, None, f"Expected pictures. Received: {'none' if own else 'no such folder'}.")
        for _, name, file in sorted((len(name), name, file) for name, file in files):
            if not names:
                yield Listed(file, label, split)
            elif not (found := names[0].fullmatch(os.path.splitext(name)[0])):
                problems.add(file, None, f"Expected a name {names[1]}.")
            elif (usage := found.groupdict().get("usage")) and (usage == "Training") != (split == "train"):
                problems.add(file, None, f"Expected no {usage} picture in the folder of {split}.")
            else:
                yield Listed(file, label, USAGE_TO_SPLIT.get(usage, split), int(found["number"]))


def pictures_below(folder, problems):
    """Name and path of each picture in a folder and in those in it; what else lies there is counted on stderr."""
    files, level = [], [folder]
    for _ in range(MAX_DEPTH):
        items = [item for each in level for item in scan(each, problems)]
        level = [item for item in items if item.is_dir(follow_symlinks=False)]
        files += [item for item in items if not item.is_dir(follow_symlinks=False)]
    if level:
        problems.add(folder, None, f"Expected pictures at most {MAX_DEPTH} folders deep. Received: deeper folders.")
    found = [(file.name, file.path) for file in files if is_picture(file.name)]
    if others := {file.name for file in files} - {name for name, _ in found}:
        say(f"{folder}: {len(others):,} files of other kinds are left out, such as {min(others)}")
    return found


def draw_validation(faces):
    """The faces with a tenth of train as validation, as their source then says."""
    drawn = faces.resplit(0, fractions=(0.9, 0.1, 0), within=("train",))
    count, whole = (drawn.split == "validation").sum(), (faces.split == "train").sum()
    share = "a tenth" if abs(count - whole / 10) < whole / 20 else f"{count:,} of {whole:,} images"
    return dataclasses.replace(drawn, source=f"{faces.source}, {share} of train drawn as validation with seed 0")


def read_listed(listed, problems, *, root, image_size=None, **about):
    """Read listed pictures, of 48x48 or resized to `image_size`, into a `FaceDataset` with the fields `about`."""
    size = (SIDE, SIDE) if image_size is None else image_size
    if np.shape(size) != (2,) or not all(isinstance(side, Integral) and side > 0 for side in size):
        raise ValueError(f"`image_size` must be (height, width), in pixels. Received: {image_size!r}.")
    images, kept, seen = np.empty((len(listed), *size), np.uint8), [], {}
    for item in listed:
        try:
            # Ids in names that tell the official split are none of our making: they may come once in each split.
            key = (item.number, about["protocol"] == "official" and item.split)
            if item.number is not None and seen.setdefault(key, item).label != item.label:
                raise DataError(f"Expected each number under one label. Received: that of {seen[key].file} again.")
            pixels = decode(read_regular(item.file), image_size)
            if not image_size and pixels.shape != (SIDE, SIDE):
                received = f"{pixels.shape[0]}x{pixels.shape[1]}"
                raise DataError(f"Expected {SIDE}x{SIDE} pixels. Received: {received} (load_folder takes any size).")
            images[len(kept)] = pixels
            kept.append(item[1:])
        except DataError as error:
            problems.add(item.file, None, str(error))
    return assemble(images, kept, problems, at=root, **about)
