"""Zip archives, unpacked with care into a folder that goes away."""

import contextlib
import lzma
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from fer_keras.data.csv_text import peek
from fer_keras.data.dataset import DataError

MOST_BYTES = 4 * 2**30  # unpacked; the largest published form has 0.6 GB
MOST_RATIO = 100  # unpacked bytes a byte of the archive; faces have 1 as pictures and 3 as text
FREE_BYTES = 2**20  # an archive that unpacks to less is small, whatever its ratio
MOST_ENTRIES = 250_000
CHUNK = 2**20
BROKEN = (  # what `zipfile` and its decompressors raise on damaged archives
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    UnicodeError,
    EOFError,
    OSError,
    RuntimeError,  # also NotImplementedError: a method that Python does not have
)


@contextlib.contextmanager
def unpacked(file):
    """Unpack a zip into a temporary folder, which the context gives and then removes.

    Its entries must be plain files and folders inside it, unencrypted and whole, each once, and not too many or too
    large: bytes are counted as they come, whatever the archive says of itself.

    Args:
        file: path of the archive.

    Raises:
        DataError: if it is anything else.
    """
    with tempfile.TemporaryDirectory(prefix="fer_keras-") as folder:
        folder = Path(folder).resolve()
        try:
            with zipfile.ZipFile(file) as archive:
                unpack(archive, file, folder)
        except BROKEN as error:
            raise DataError(
                f"{file}: Expected a whole zip archive. Received: {type(error).__name__}: {str(error)[:200]}"
            ) from error
        yield folder


def unpack(archive, file, folder):
    """Write the entries of an open archive below a folder."""
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise DataError(f"{file}: Expected at most {MOST_ENTRIES:,} entries. Received: {len(entries):,}.")
    places = entry_places(entries, file)
    room = min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * file.stat().st_size))
    refuse_bytes(sum(entry.file_size for entry in entries), room, file)
    written = 0
    for entry, place in zip(entries, places, strict=True):
        target = folder / place
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(target, "xb") as copy:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                refuse_bytes(written, room, file)
                copy.write(chunk)


def entry_places(entries, file):
    """Return the path of each entry below the folder; a `DataError` names one that must not be unpacked."""
    places, seen = [], set()
    for entry in entries:
        name = entry.orig_filename
        place = PurePosixPath(name.replace("\\", "/"))
        fault = entry_fault(entry, name, place)
        if not fault and not entry.is_dir():
            fault = "which it holds twice" if str(place).casefold() in seen else ""
            seen.add(str(place).casefold())
        if fault:
            raise DataError(
                f"{file}: Expected plain files inside the archive. Received: the entry {name[:80]!r}, {fault}."
            )
        places.append(place)
    return places


def entry_fault(entry, name, place):
    """Return what is wrong with an entry, in words; an empty text if nothing is."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if place.is_absolute() or ".." in place.parts or ":" in name or not name.isprintable() or not place.parts:
        return "whose name leads out of it, or is none"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a special file"
    return "which is encrypted" if entry.flag_bits & 1 else ""


def refuse_bytes(count, room, file):
    """Raise a `DataError` if so many unpacked bytes are more than there is room for."""
    if count > room:
        raise DataError(
            f"{file}: Expected at most {room:,} bytes unpacked ({MOST_RATIO} times the archive, or {MOST_BYTES:,}). "
            f"Received: {count:,} or more. Unpack it yourself if you trust it, and pass the folder."
        )


def root(folder):
    """Return the folder that holds what an archive is about: the first that has more in it than another folder."""
    while len(inside := visible(folder)) == 1 and inside[0].is_dir():
        (folder,) = inside
    return folder


def visible(folder):
    """Return what lies in a folder, without hidden files and what archives leave (`__MACOSX`)."""
    return [item for item in folder.iterdir() if not item.name.startswith((".", "__"))]


def tables(folder):
    """Return the CSV files of faces below a folder: those with pixels and labels, else with pixels, else the only."""
    files = [file for file in sorted(folder.rglob("*.csv")) if not file.name.startswith(".")]
    headers = {file: peek(file) for file in files if "__MACOSX" not in file.parts}
    faces = [file for file, names in headers.items() if "pixels" in names]
    labelled = [file for file in faces if "emotion" in headers[file]]
    return labelled or faces or (list(headers) if len(headers) == 1 else [])
