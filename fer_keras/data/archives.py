"""Zip and tar archives, unpacked with care into a folder that goes away."""

import contextlib
import lzma
import stat
import struct
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from fer_keras import paths
from fer_keras.data.dataset import DataError

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 4 * 2**30  # unpacked; the largest published form has 0.6 GB
MAX_RATIO = 100  # unpacked bytes a byte of the archive; faces have 1 as pictures and 3 as text
FREE_BYTES = 2**20  # an archive that unpacks to less is small, whatever its ratio
MAX_ENTRIES = 250_000
MAX_DEPTH = 16  # folders in each other
CHUNK = 2**20
# What the modules and their decompressors raise on damaged archives; RuntimeError also of methods that Python lacks.
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError)
BROKEN += (RuntimeError, ValueError, LookupError, TypeError, OverflowError, MemoryError)


def is_archive(path):
    """True if a path is a file with the name of an archive."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def is_zip(path):
    """True if a path has the name of a zip archive."""
    return path.name.lower().endswith(".zip")


@contextlib.contextmanager
def unpacked(file: Path):
    """Unpack an archive into a temporary folder, which the context gives and then removes.

    Its entries must be plain files and folders inside it, unencrypted and whole, each once, and not too many, too deep
    or too large: bytes are counted as they come, whatever the archive says of itself.

    Args:
        file: path of a zip or tar archive.

    Raises:
        DataError: if it is anything else.
    """
    place = Path(tempfile.gettempdir()).resolve()
    paths.sweep(place, "fer_keras-*")
    with paths.temporary_folder(place / f"fer_keras-{uuid.uuid4().hex}") as temporary:
        folder = temporary / file.name
        try:
            with open_archive(file) as (entries, read):
                unpack(entries, read, file, folder)
        except DataError:
            raise
        except BROKEN as error:
            kind, received = "zip" if is_zip(file) else "tar", f"{type(error).__name__}: {str(error)[:200]}"
            raise DataError(f"{file}: Expected a whole {kind} archive. Received: {received}") from error
        try:
            yield folder
        except DataError as error:
            raise DataError(str(error).replace(str(folder), str(file))) from error


@contextlib.contextmanager
def open_archive(file):
    """Yield the entries of an archive, as `(entry, name, size, fault)`, and the function that opens one."""
    if is_zip(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            yield ((each, each.orig_filename, each.file_size, zip_fault(each)) for each in entries), archive.open
        return
    with tarfile.open(file) as archive:
        count = 0
        while chunk := archive.fileobj.read(CHUNK):  # to its end, where its sum is compared
            check_bytes(count := count + len(chunk), MAX_BYTES, file)
        entries = ((each, each.name + "/" * each.isdir(), each.size, tar_fault(each)) for each in archive)
        yield entries, archive.extractfile


def zip_fault(entry):
    """What is wrong with the kind of an entry of a zip, in words; an empty text if nothing is."""
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a special file"
    return "which is encrypted" if entry.flag_bits & 1 else ""


def tar_fault(entry):
    """As `zip_fault`, of an entry of a tar."""
    return "" if entry.isreg() or entry.isdir() else "a link or a special file"


def unpack(entries, read, file, folder):
    """Write the entries of an open archive below a folder."""
    room, seen, claimed, written = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * file.stat().st_size)), set(), 0, 0
    checked = []
    folder.mkdir()
    for entry, name, size, fault in entries:
        place, claimed = PurePosixPath(name.replace("\\", "/")), claimed + size
        if len(checked) == MAX_ENTRIES:
            raise DataError(f"{file}: Expected at most {MAX_ENTRIES:,} entries. Received: more.")
        fault = fault or name_fault(name, place, seen)
        if fault:
            received = f"the entry {name[:80]!r}, {fault}"
            raise DataError(f"{file}: Expected plain files inside the archive. Received: {received}.")
        check_bytes(claimed, room, file)
        checked.append((entry, name, place))
    for entry, name, place in checked:
        target = folder / place
        (target if name.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            with read(entry) as source, open(target, "xb") as copy:
                while chunk := source.read(CHUNK):
                    written += len(chunk)
                    check_bytes(written, room, file)
                    copy.write(chunk)


def name_fault(name, place, seen):
    """What is wrong with the name of an entry, in words; an empty text if nothing is. Files are added to `seen`."""
    if place.is_absolute() or ".." in place.parts or ":" in name or not name.isprintable() or not place.parts:
        return "whose name leads out of it, or is none"
    if len(place.parts) > MAX_DEPTH:
        return f"more than {MAX_DEPTH} folders deep"
    if name.endswith("/"):
        return ""
    known = str(place).casefold() in seen
    seen.add(str(place).casefold())
    return "which it holds twice" if known else ""


def check_bytes(count, room, file):
    """Raise a `DataError` if so many unpacked bytes are more than there is room for."""
    if count > room:
        raise DataError(
            f"{file}: Expected at most {room:,} bytes unpacked ({MAX_RATIO} times the archive, or {MAX_BYTES:,}). "
            f"Received: {count:,} or more. Unpack it yourself if you trust it, and pass the folder."
        )
