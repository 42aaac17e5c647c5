"""Parsed data kept as memory-mappable arrays: the second read takes a fraction of a second.

An entry is a folder named after the digest of the files it was read from, their names too. It is whole or not there,
and checked against its sums when opened. Notes keep the digests of files, so that unchanged ones are not digested anew.
"""

import contextlib
import hashlib
import json
import os
import uuid
import warnings
import zlib

import numpy as np

from fer_keras import paths
from fer_keras.data.dataset import ARRAYS, FaceDataset
from fer_keras.labels import SPLITS

VERSION = 6  # to be raised when what an entry holds, or how a layout is read, changes


def cached(name, files, parse):
    """The `FaceDataset` that `parse()` reads from files of the layout `name`, kept if it skips no row."""
    try:
        root = folder()
    except ValueError as error:  # there is no home folder
        return without_cache(parse(), error)
    state = state_of(files)
    place = hashlib.sha256("\n".join(str(file.resolve()) for file in files).encode()).hexdigest()[:16]
    note = root / f"{name}-{place}.json"
    known = read_json(note)
    is_fresh = known.get("state") == state and known.get("version") == VERSION
    digest = known["digest"] if is_fresh else digest_of(files)
    faces = load(f"{name}-{digest}")
    if faces is None:
        faces = parse()
        if faces.skipped or state != state_of(files):
            return faces
        try:
            store(f"{name}-{digest}", faces)
        except OSError as error:
            return without_cache(faces, error)
        faces = load(f"{name}-{digest}") or faces
    if not is_fresh:
        with contextlib.suppress(OSError):  # the entry is found without the note, only later
            paths.write_whole(note, json.dumps({"state": state, "digest": digest, "version": VERSION}))
    return faces


def without_cache(faces, error):
    """The faces, with a warning that they are not kept."""
    again = "it will be parsed again each time. Set FER_KERAS_CACHE to a folder that can."
    warnings.warn(f"The cache of data cannot be written ({error}): {again}", stacklevel=3)
    return faces


def folder():
    """The folder of the entries."""
    return paths.cache() / "faces"


def state_of(files):
    """Name, size and time of files, as JSON holds them."""
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def digest_of(files):
    """One hex digest of the names of files, which a source may tell, and of their contents."""
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        total.update(os.fsencode(file.name) + b"\0")
        with open(file, "rb") as stream:
            total.update(hashlib.file_digest(stream, "blake2b").digest())
    return total.hexdigest()


def load(name):
    """The `FaceDataset` of one entry, its images memory-mapped, or None if it is absent or broken."""
    entry = folder() / name
    about = read_json(entry / "entry.json")
    try:
        sums = {array: zlib.crc32((entry / f"{array}.npy").read_bytes()) for array in about["sums"]}
        if about["version"] != VERSION or sums != about["sums"]:
            return None
        arrays = {array: np.load(entry / f"{array}.npy") for array in about["sums"] if array != "images"}
        arrays["images"] = np.asarray(np.load(entry / "images.npy", mmap_mode="r"))
        return FaceDataset(**arrays | {"split": np.array(SPLITS)[arrays["split"]]}, **about["faces"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def store(name, faces):
    """Write one entry, whole or not at all; several processes may do so at once. A broken one is replaced."""
    folder().mkdir(parents=True, exist_ok=True)
    paths.sweep(folder())
    with paths.temporary_folder(folder() / uuid.uuid4().hex) as new:
        arrays = {array: getattr(faces, array) for array in ARRAYS if getattr(faces, array) is not None}
        arrays["split"] = np.array([SPLITS.index(split) for split in faces.split.tolist()], np.uint8)
        about = {"version": VERSION, "num_images": len(faces), "sums": {}}
        for array, values in arrays.items():
            np.save(new / f"{array}.npy", values)
            about["sums"][array] = zlib.crc32((new / f"{array}.npy").read_bytes())
        fields = ("classes", "source", "protocol", "fer2013_rows", "difference")
        about["faces"] = {field: getattr(faces, field) for field in fields}
        (new / "entry.json").write_text(json.dumps(about, indent=1), "utf-8")
        for _ in range(2):
            with contextlib.suppress(OSError):
                new.rename(folder() / name)
                return
            if load(name) is not None:
                return
            with contextlib.suppress(OSError), paths.temporary_folder(folder() / uuid.uuid4().hex) as broken:
                (folder() / name).rename(broken / name)  # where it is removed


def names(num_images):
    """Names of the entries that hold so many images, the newest first."""
    try:
        entries = [path.parent for path in folder().glob("[!.]*/entry.json")]
    except (ValueError, OSError):  # there is no home folder, or none that can be read
        return []
    entries = [entry for entry in entries if read_json(entry / "entry.json").get("num_images") == num_images]
    return [entry.name for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)]


def read_json(file):
    """The dictionary in a JSON file, empty if there is none that can be read."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
