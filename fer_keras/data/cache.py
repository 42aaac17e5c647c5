"""Parsed data kept as memory-mappable arrays: the second read takes a fraction of a second.

An entry is a folder named after the digest of the files it was read from. A note a place remembers which digest its
files had at which size and time, so that unchanged files are not digested again. Entries appear whole, by renaming a
finished folder, and are checked against their sums each time they are opened.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
import zlib
from pathlib import Path

import numpy as np

from fer_keras import paths
from fer_keras.data.dataset import FaceDataset
from fer_keras.labels import SPLITS

VERSION = 3  # to be raised when what an entry holds, or how a form is read, changes
ARRAYS = ("images", "labels", "split", "rows", "votes")
UNFINISHED = ".unfinished-"
STALE_SECONDS = 24 * 3600


def cached(form_name, files, parse):
    """Return what `parse()` reads from `files`, from the cache where it holds that.

    Args:
        form_name: the form of the files; the same files read as another form are another entry.
        files: paths of the files.
        parse: function without arguments that returns a `FaceDataset`; one with skipped rows is not kept.
    """
    state = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    place = hashlib.sha256("\n".join(str(file.resolve()) for file in files).encode()).hexdigest()[:16]
    note = folder() / f"{form_name}-{place}.json"
    known = read_json(note)
    fresh = known.get("state") == state and known.get("version") == VERSION
    digest = known["digest"] if fresh else digest_files(files)
    name = f"{form_name}-{digest}"
    faces = load(name)
    if faces is None:
        faces = parse()
        changed = state != [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        if faces.skipped or changed:
            return faces
        faces = keep(name, faces)
    if not fresh:
        with contextlib.suppress(OSError):  # the entry is found without the note, only later
            write_json(note, {"state": state, "digest": digest, "version": VERSION})
    return faces


def folder():
    """Return the folder of the entries."""
    return paths.cache() / "faces"


def digest_files(files):
    """Return one hex digest of the contents of files."""
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        with open(file, "rb") as stream:
            total.update(hashlib.file_digest(stream, "blake2b").digest())
    return total.hexdigest()


def load(name):
    """Return the `FaceDataset` of one entry, its images memory-mapped, or None if it is absent or damaged."""
    entry = folder() / name
    about = read_json(entry / "entry.json")
    if about.get("version") != VERSION:
        return None
    try:
        if any(checksum(entry / f"{array}.npy") != known for array, known in about["sums"].items()):
            return None
        arrays = {array: np.load(entry / f"{array}.npy") for array in about["sums"] if array != "images"}
        arrays["images"] = np.asarray(np.load(entry / "images.npy", mmap_mode="r"))
        arrays["split"] = np.array(SPLITS)[arrays["split"]]
        return FaceDataset(**arrays, **about["faces"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def keep(name, faces):
    """Store `faces` and return them as a later read will; say so and return them as they are if that fails."""
    try:
        store(name, faces)
    except OSError as error:
        warnings.warn(
            f"The cache {folder()} cannot be written ({error}): the data will be parsed again each time. "
            "Set FER_KERAS_CACHE to a folder that can.",
            stacklevel=2,
        )
        return faces
    kept = load(name)
    return faces if kept is None else kept


def store(name, faces):
    """Write one entry, whole or not at all; several processes may do so at once.

    Raises:
        OSError: if the cache cannot be written.
    """
    folder().mkdir(parents=True, exist_ok=True)
    remove_stale()
    unfinished = folder() / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        unfinished.mkdir()
        write_entry(unfinished, faces)
        put(unfinished, folder() / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_entry(entry, faces):
    """Write the arrays of `faces`, and what else makes them a `FaceDataset`, into a folder."""
    sums = {}
    for array in ARRAYS:
        values = getattr(faces, array)
        if values is not None:
            if array == "split":
                values = np.array([SPLITS.index(name) for name in values.tolist()], np.uint8)
            np.save(entry / f"{array}.npy", values)
            sums[array] = checksum(entry / f"{array}.npy")
    about = {name: getattr(faces, name) for name in ("classes", "source", "protocol", "fer2013_rows")}
    write_json(entry / "entry.json", {"version": VERSION, "num_images": len(faces), "sums": sums, "faces": about})


def put(unfinished, entry):
    """Rename a finished folder to its place; one that is there already stays if it is good, and goes if not."""
    try:
        unfinished.rename(entry)
    except OSError:
        if load(entry.name) is not None:
            return
        damaged = entry.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):  # another process may have moved it away just now
            entry.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
        with contextlib.suppress(OSError):  # ... and put a good one there
            unfinished.rename(entry)


def remove_stale():
    """Remove what processes that were killed while writing have left, once it is a day old."""
    for leftover in folder().glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def names(num_images):
    """Return the names of the entries that hold so many images, the newest first."""
    entries = [path.parent for path in folder().glob("*/entry.json") if not path.parent.name.startswith(".")]
    entries = [entry for entry in entries if read_json(entry / "entry.json").get("num_images") == num_images]
    return [entry.name for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)]


def checksum(file):
    """Return the CRC-32 of a file's bytes."""
    return zlib.crc32(Path(file).read_bytes())


def read_json(file):
    """Return the dictionary in a JSON file, empty if there is none that can be read."""
    try:
        content = json.loads(Path(file).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(file, content):
    """Write a JSON file by renaming a finished one."""
    unfinished = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
    try:
        unfinished.write_text(json.dumps(content, indent=1, sort_keys=True), "utf-8")
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
