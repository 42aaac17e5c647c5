"""The pictures of a folder in parts that can be done apart from each other: files, and rows of Parquet files."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from fer_keras.data.dataset import DataError
from fer_keras.recognition.folders import as_text, is_photo, walk
from fer_keras.recognition.picture_tables import PARQUET, count_rows, read_rows

# A part takes a worker seconds: more would be lost when it is killed, fewer leave more and smaller files of faces.
MOST_PICTURES, FEWEST_PICTURES, MANY_PARTS = 1024, 16, 64
FILES, ROWS = "files-", "rows-"  # how the names of files of faces begin


class Files(NamedTuple):
    """A part that is picture files.

    Args:
        folder: str, where they lie.
        names: tuple of their paths below it, as bytes: not every name is text.
    """

    folder: str
    names: tuple

    @property
    def target(self):
        """The name of the file for its faces."""
        return f"{FILES}{digest(*self.names)}{PARQUET}"

    @property
    def num_pictures(self):
        """How many pictures it has."""
        return len(self.names)

    def pictures(self):
        """Yield `(name, source)` of each picture."""
        for name in map(os.fsdecode, self.names):
            yield name, Path(self.folder, name)


class Rows(NamedTuple):
    """A part that is rows of a Parquet file.

    Args:
        folder: str, where the file lies.
        file: its path below it.
        start: the first row.
        stop: the row after the last.
    """

    folder: str
    file: str
    start: int
    stop: int

    @property
    def target(self):
        """The name of the file for its faces."""
        return f"{ROWS}{digest(os.fsencode(self.file), str(self.start).encode())}{PARQUET}"

    @property
    def num_pictures(self):
        """How many pictures it has."""
        return self.stop - self.start

    def pictures(self):
        """Yield `(name, source)` of each picture."""
        return read_rows(Path(self.folder, self.file), self.start, self.stop, called=as_text(self.file))


def digest(*texts):
    """Return a short name for byte strings."""
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:24]


class Pictures(NamedTuple):
    """All pictures at a path.

    Args:
        folder: `pathlib.Path`.
        names: list of the paths of picture files below it.
        tables: dict from the paths of Parquet files below it to their numbers of rows.
    """

    folder: Path
    names: list
    tables: dict

    @property
    def number(self):
        """How many pictures there are."""
        return len(self.names) + sum(self.tables.values())


def find_pictures(path, *, without=None):
    """Return the `Pictures` in a folder and its sub-folders, or in one Parquet file.

    Args:
        path: the folder or file.
        without: a folder in it that does not count, or None.

    Raises:
        DataError: if there are none, or a Parquet file is damaged or has no column of pictures.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == PARQUET:
        folder, names, tables = path.parent, [], [path.name]
    elif path.is_dir():
        folder, names, tables = path, [], []
        for name in walk(path, without, is_picture_or_table):
            (tables if name.lower().endswith(PARQUET) else names).append(name)
    else:
        what = "a file" if path.is_file() else "nothing there"
        raise DataError(f"{path}: Expected a folder of pictures, or a .parquet file of them. Received: {what}.")
    found = Pictures(folder, names, {name: count_rows(folder / name) for name in tables})
    if not found.number:
        raise DataError(f"{path}: Expected pictures (PNG, JPEG, ..., or rows of .parquet files). Received: none.")
    return found


def is_picture_or_table(path):
    """Tell whether a path has the name of a picture or of a Parquet file."""
    return is_photo(path) or (path.suffix.lower() == PARQUET and not path.name.startswith((".", "_")))


def part_size(pictures):
    """Return of how many pictures a part should be."""
    return max(FEWEST_PICTURES, min(MOST_PICTURES, pictures.number // MANY_PARTS))


def to_do(pictures, size, *, targets, names):
    """Yield the parts of pictures that are not done.

    Args:
        pictures: `Pictures`.
        size: int, most pictures of a part. The rows of a Parquet file are always cut in the same places for it.
        targets: set of the names of the files of faces that are there.
        names: set of the names of picture files whose faces are there, as tables hold them.
    """
    left = []
    for name in pictures.names:
        if as_text(name) not in names:
            left.append(os.fsencode(name))
        if len(left) == size:
            yield Files(str(pictures.folder), tuple(left))
            left = []
    if left:
        yield Files(str(pictures.folder), tuple(left))
    for file, count in pictures.tables.items():
        for start in range(0, count, size):
            part = Rows(str(pictures.folder), file, start, min(start + size, count))
            if part.target not in targets:
                yield part
