"""The votes of FER+: fer2013new.csv joined to faces, FER+'s own folders, and what its rules make of votes.

Reference: Barsoum, Zhang, Canton Ferrer and Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", ICMI 2016; https://github.com/microsoft/FERPlus
"""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_keras.data.class_folders import Listed, given_path, places, read_listed, scan, split_folders
from fer_keras.data.dataset import DataError, FaceDataset, Problems, check_known, say
from fer_keras.data.fer2013_tables import TAGGERS, VOTES_NAME, read_rows, shown, split_of
from fer_keras.data.images import is_picture
from fer_keras.labels import FERPLUS8, FERPLUS_TO_CLASS, FERPLUS_VOTES, SPLITS

COLUMNS = ("Usage", "Image name", *FERPLUS_VOTES)
COUNTS = {str(votes).encode(): votes for votes in range(TAGGERS + 1)}
EMOTIONS = tuple(FERPLUS_TO_CLASS.values())
NUM_LEADING = 3  # emotions that mode "probability" takes at most


def join_ferplus(faces: FaceDataset, path: str | os.PathLike, *, on_error: str = "raise") -> FaceDataset:
    """Join the votes of FER+ to faces that know their rows in fer2013.csv, whose order FER+ follows.

    Args:
        faces: a `FaceDataset` whose `rows` are those of fer2013.csv (`fer2013_rows`).
        path: fer2013new.csv, or the folder that holds it.
        on_error: `"raise"` stops at the first bad row; `"skip"` gives its face no votes, and lists it in `.skipped`.
    """
    file, problems = given_path(path), Problems(on_error)
    file = file / VOTES_NAME if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"{file}: Expected the votes of FER+. Received: no such file. Check the path.")
    if not faces.fer2013_rows:
        received = f"{faces.source}, whose pictures carry no row. Join the votes to fer2013.csv or icml_face_data.csv"
        raise DataError(f"{file}: Expected faces that know their rows in fer2013.csv. Received: {received}.")
    none = len(SPLITS), [0] * len(FERPLUS_VOTES)  # of a row that could not be read
    rows = [row or none for _, row in read_rows(file, COLUMNS, parse_votes, problems)]
    if len(rows) != faces.fer2013_rows or faces.rows.max(initial=-1) >= len(rows):
        expected = f"Expected {faces.fer2013_rows:,} rows, as many as the fer2013.csv of these faces has"
        raise DataError(f"{file}: {expected}. Received: {len(rows):,}. Take both whole, or move the votes away.")
    found = np.array([*SPLITS, ""])[[split for split, _ in rows]][faces.rows]
    other = np.flatnonzero((found != "") & (found != faces.split))
    if faces.protocol == "official" and len(other):  # a split of its own says nothing of the row
        place, expected = f"{file}, line {faces.rows[other[0]] + 2}", f"which gives {faces.split[other[0]]}"
        received = f"{found[other[0]]} ({len(other):,} such rows). Take both files whole, in the published order"
        raise DataError(f"{place}: Expected the Usage of that row of fer2013.csv, {expected}. Received: {received}.")
    return dataclasses.replace(
        faces,
        votes=np.array([votes for _, votes in rows], np.float32)[faces.rows],
        source=problems.describe(f"{faces.source} with FER+ votes of {VOTES_NAME}"),
        skipped=(*faces.skipped, *problems.messages),
    )


def parse_votes(fields):
    """The place of the split in `SPLITS`, and the ten votes, of the fields of a row."""
    usage, _, *words = fields
    split = SPLITS.index(split_of(usage.decode()))
    for word in words:
        if word not in COUNTS:
            raise DataError(f"Expected votes in 0..{TAGGERS}. Received: {shown(word)}.")
    votes = [COUNTS[word] for word in words]
    if not 0 < sum(votes) <= TAGGERS:
        raise DataError(f"Expected 1 to {TAGGERS} votes in a row. Received: {sum(votes)}.")
    return split, votes


def find_folders(path):
    """The lists of FER+'s own folders (FER2013Train, FER2013Valid, FER2013Test with pictures), at a path or below."""
    for place in places(path, path.name):
        trees = {split: found[0] for split, found in split_folders(place).items() if split}
        files = tuple(trees[split] / "label.csv" for split in SPLITS if split in trees)
        if files and all(file.is_file() for file in files):
            return files
    return None


def read_folders(files, problems):
    """The `FaceDataset` of FER+'s own folders: the faces and their votes; the labels are still to be made of these."""
    listed, votes, root = [], [], files[0].parent.parent
    of_tree = {tree: split for split, trees in split_folders(root).items() for tree in trees}
    for file in files:
        pictures, known = {item.name for item in scan(file.parent) if is_picture(item.name)}, set()
        with open(file, encoding="utf-8-sig", errors="replace") as stream:
            for number, line in ((number, line) for number, line in enumerate(stream, start=1) if line.strip()):
                try:
                    name, *row = next(csv.reader([line]))
                    _, counts = parse_votes([b"Training", b"", *(word.strip().encode() for word in row[1:])])
                    if len(counts) != len(FERPLUS_VOTES) or Path(name).name != name or not name or name in known:
                        raise DataError(f"Expected a picture, each once, a box and {len(FERPLUS_VOTES)} votes.")
                    known.add(name)
                    listed.append(Listed(file.with_name(name), 0, of_tree[file.parent], len(listed)))
                    votes.append(counts)
                except (DataError, csv.Error) as error:
                    problems.add(file, f"line {number}", str(error))
        if others := pictures - known:
            say(f"{file}: {len(others):,} pictures beside it have no row that is read, such as {min(others)}")
    about = {"classes": FERPLUS8, "source": "FER+, its own folders", "protocol": "official"}
    about["difference"] = "FER+'s own folders, whose pictures are not compared with those published"
    faces = read_listed(listed, problems, root=root, **about)
    return dataclasses.replace(faces, votes=np.array(votes, np.float32)[faces.rows])


def label_by_votes(faces, mode, classes):
    """The faces that FER+ keeps, with the labels that its votes give."""
    winners = plurality(faces.votes, mode=mode)
    keep = np.isin(winners, classes)
    labels = np.array([classes.index(name) for name in winners[keep].tolist()], np.int64)
    return faces.take(keep, labels=labels, classes=tuple(classes), source=f"{faces.source}, labels by FER+ {mode}")


def soft_targets(votes: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The votes for some classes, divided by their sum, to train on; zeros in a row without a vote for any of them.

    Args:
        votes: array `(n, 10)`, in the order of `labels.FERPLUS_VOTES`.
        classes: names among FER-2013's seven and contempt.
    """
    counted = emotion_votes(votes, classes)
    total = counted.sum(axis=1, keepdims=True)
    return counted / np.where(total > 0, total, 1)


def emotion_votes(votes, classes=EMOTIONS):
    """The votes for each of `classes`, float32 `(n, classes)`."""
    classes = check_known("class", classes, EMOTIONS)
    votes = np.asarray(votes, np.float32)
    if votes.ndim != 2 or votes.shape[1] != len(FERPLUS_VOTES):
        raise ValueError(f"`votes` must have the shape (n, {len(FERPLUS_VOTES)}). Received: {votes.shape}.")
    return votes[:, [EMOTIONS.index(name) for name in classes]]


def plurality(votes, *, mode=None):
    """Names of the emotions with most votes, or that win by `ferplus_targets`: the first of equals; empty if none."""
    counted = emotion_votes(votes) if mode is None else taken_votes(votes, mode)
    return np.where(counted.any(axis=1), np.array(EMOTIONS)[counted.argmax(axis=1)], "")


def not_a_face(votes):
    """A mask bool `(n,)` of the images that more than half of the votes call no face."""
    return np.asarray(votes)[:, FERPLUS_VOTES.index("NF")] > np.sum(votes, axis=1) / 2


def names_emotion(votes):
    """A mask bool `(n,)` of the images that at least half of the votes give an emotion."""
    return emotion_votes(votes).sum(axis=1) >= np.asarray(votes, np.float32).sum(axis=1) / 2


def ferplus_targets(votes: np.ndarray, classes: Sequence[str] = FERPLUS8, *, mode: str = "majority") -> np.ndarray:
    """The target that FER+'s own rules make of the votes, to train and to be scored on.

    Of FER-2013's rows, `"majority"` leaves 25,060 / 3,199 / 3,153 and `"probability"` 27,956 / 3,505 / 3,505. In both,
    an emotion with a single vote is an outlier and loses it.

    `"majority"` puts all on the one emotion that has more than half of the votes that are left. `"probability"` divides
    the votes of the leading emotions by their sum: they are taken from the top, equal ones at once, until they have
    three quarters of the votes left, are three, or "unknown" or "not a face" comes up; they must have more than half of
    the votes that are left and be no more than three. A row that breaks its rule, or whose winner is not among
    `classes`, gets zeros; FER+ leaves these rows out.

    Reference: `_process_data` and `load_folders` in src/ferplus.py of https://github.com/microsoft/FERPlus

    Args:
        votes: array `(n, 10)`, in the order of `labels.FERPLUS_VOTES`.
        classes: names among FER-2013's seven and contempt. A distribution is over the chosen ones only.
        mode: `"majority"` or `"probability"`.

    Example:

    >>> votes = np.array([[0, 6, 0, 3, 1, 0, 0, 0, 0, 0]])
    >>> ferplus_targets(votes, ("happy", "sad", "neutral"), mode="probability").round(2)
    array([[0.67, 0.33, 0.  ]], dtype=float32)
    """
    classes = check_known("class", classes, EMOTIONS)
    taken = taken_votes(votes, mode)
    columns = [EMOTIONS.index(name) for name in classes]
    chosen = taken[:, columns] * np.isin(taken.argmax(axis=1), columns)[:, None]
    total = chosen.sum(axis=1, keepdims=True)
    return chosen / np.where(total > 0, total, 1)


def taken_votes(votes, mode):
    """The votes that `ferplus_targets` divides, float32 `(n, 8)` in FER+'s order; zeros for rows left out."""
    check_known("mode", [mode], ("majority", "probability"))
    emotion_votes(votes)  # checks the shape
    left, count = np.where(np.asarray(votes) > 1, votes, 0).astype(np.float32), len(EMOTIONS)
    if mode == "majority":
        taken = left * (np.arange(left.shape[1]) == left.argmax(axis=1)[:, None])
    else:
        taken, rest = np.zeros_like(left), left.copy()
        for _ in range(NUM_LEADING):  # each turn takes one emotion at least, or ends
            wanted = (taken.sum(axis=1) < 0.75 * left.sum(axis=1)) & ~taken[:, count:].any(axis=1)
            wanted &= (taken > 0).sum(axis=1) < NUM_LEADING
            top = (rest == rest.max(axis=1, keepdims=True)) & wanted[:, None]
            taken += rest * top
            rest[top] = 0
        taken[(taken[:, :count] > 0).sum(axis=1) > NUM_LEADING] = 0
    taken = taken[:, :count]
    return np.where(taken.sum(axis=1, keepdims=True) > left.sum(axis=1, keepdims=True) / 2, taken, 0)
