"""`load_folder`: anyone's own pictures, a folder a class."""

from pathlib import Path

from fer_keras.data.dataset import DataError, Problems, say
from fer_keras.data.picture_folders import class_name, list_classes, places, read_listed, split_folders, subfolders
from fer_keras.labels import FERPLUS8, SPLITS


def load_folder(path, *, classes=None, image_size=(48, 48), on_error="raise"):
    """Return the pictures of class folders as grey faces of one size.

    The folders of the classes lie at `path`, or below folders named train, validation (or val, valid) and test; or all
    this lies in the only folder there. Without folders of splits, a split is drawn with `FaceDataset.resplit(seed=0)`,
    which `source` and a line on stderr say; with them it is kept as it is, and a split without a folder stays empty.
    Pictures are cropped faces, in any format that Pillow reads; they become grey and are resized without regard to
    their proportions.

    Args:
        path: the folder.
        classes: names of the folders to read, in the order of their labels. Without it all are read: those named after
            an emotion of FER-2013 or FER+ get its name there (`labels.emotion`) and its order, then others by name.
        image_size: `(height, width)` in pixels.
        on_error: `"raise"` stops at the first bad picture or empty class folder; `"skip"` leaves them out and lists
            them in `.skipped`.

    Returns:
        A `FaceDataset` of protocol `"own"`.

    Raises:
        DataError: a `ValueError`, if there are no class folders, or a picture is bad.
    """
    given, problems = Path(path).expanduser(), Problems(on_error)
    if not given.is_dir():
        raise DataError(f"{given}: Expected a folder of class folders. Received: no such folder. Check the path.")
    root = next((place for place in places(given, "images") if len(subfolders(place)) > 1 or has_splits(place)), given)
    trees = find_trees(root)
    drawn = None in trees
    classes = tuple(classes) if classes else find_classes(root, trees)
    faces = read_listed(
        [item for split, tree in trees.items() for item in list_classes(tree, split or "train", classes, problems)],
        problems,
        root=root,
        image_size=image_size,
        classes=classes,
        source=f"class folders {given.resolve().name}{', split 80/10/10 by resplit(seed=0)' if drawn else ''}",
        protocol="own",
    )
    if not drawn:
        return faces
    say(f"{path}: {faces.source}")
    return faces.resplit(seed=0)


def has_splits(folder):
    """Tell whether a folder holds one that is named after a split."""
    return bool(set(split_folders(folder)) - {None})


def find_trees(root):
    """Return the folders that hold class folders, by split: one under None if there are no split folders."""
    found = split_folders(root)
    twice = next((folders for split, folders in found.items() if split and len(folders) > 1), None)
    if twice:
        raise DataError(f"{root}: Expected one folder a split. Received: {twice[0].name} and {twice[1].name}.")
    if set(found) <= {None}:
        return {None: root}
    # An archive unpacked twice leaves images/images beside images/train.
    others = [folder for folder in found.pop(None, []) if folder.name != root.name]
    if others or "train" not in found:
        raise DataError(
            f"{root}: Expected folders of classes, or of splits with train among them. Received: "
            f"{', '.join(folder.name for folder in subfolders(root))}."
        )
    return {split: found[split][0] for split in SPLITS if split in found}


def find_classes(root, trees):
    """Return the names of the classes in all trees: those of FER-2013 and FER+ in their order, then others by name."""
    names = {class_name(folder) for tree in trees.values() for folder in subfolders(tree)}
    if len(names) < 2:
        held = ", ".join(names) or "none"
        raise DataError(f"{root}: Expected at least two class folders. Received: {held}.")
    return (*(name for name in FERPLUS8 if name in names), *sorted(names - set(FERPLUS8)))
