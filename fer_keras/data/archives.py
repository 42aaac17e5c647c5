"""Zip and tar archives, unpacked with care into a folder that goes away."""

import contextlib
import os
import stat
import tarfile
import tempfile
import uuid
import zipfile
from pathlib import Path, PurePosixPath

from fer_keras import paths
from fer_keras.data.dataset import UNPACKED, DataError, printable

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 4 * 2**30  # unpacked; the largest published form has 0.6 GB
MAX_RATIO = 100  # unpacked bytes a byte of the archive; faces have 1 as pictures and 3 as text
FREE_BYTES = 2**20  # an archive that unpacks to less is small, whatever its ratio
MAX_ENTRIES = 250_000
MAX_DEPTH = 16  # folders in each other
CHUNK = 2**20
SPECIAL = "a link or a special file"


def find_archive(path):
    """The path itself, alone in a tuple, if it is a file with the name of an archive; else None."""
    return (path,) if path.name.lower().endswith(SUFFIXES) and path.is_file() else None


@contextlib.contextmanager
def unpacked(file: Path):
    """Unpack an archive of plain files into a temporary folder, which the context gives and then removes."""
    place = Path(tempfile.gettempdir()).resolve()
    paths.sweep(place, "fer_keras-*")
    with paths.temporary_folder(place / f"fer_keras-{uuid.uuid4().hex}") as temporary:
        folder = temporary / file.name
        try:
            with open_archive(file) as (entries, read):
                unpack(entries, read, file, folder)
        except DataError:
            raise
        except Exception as error:  # of broken archives, the modules and their decompressors raise errors of any kind
            kind = "zip" if file.suffix.lower() == ".zip" else "tar"
            received = f"{type(error).__name__}: {str(error).replace(str(folder), str(file))[:200]}"
            raise DataError(f"{file}: Expected a whole {kind} archive. Received: {received}") from error
        UNPACKED[str(folder)] = str(file)
        try:
            yield folder
        except DataError as error:
            raise DataError(printable(str(error))) from error
        finally:
            del UNPACKED[str(folder)]


@contextlib.contextmanager
def open_archive(file):
    """Yield the entries of an archive, as `(entry, name, size, fault)`, and the function that opens one."""
    if file.suffix.lower() == ".zip":
        with zipfile.ZipFile(file) as archive:
            entries = []
            for each in archive.infolist():
                is_plain = stat.S_IFMT(each.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
                fault = "which is encrypted" if each.flag_bits & 1 else ""
                entries.append((each, each.orig_filename, each.file_size, fault if is_plain else SPECIAL))
            yield entries, archive.open
        return
    with tarfile.open(file) as archive:
        while archive.fileobj.read(CHUNK):  # to its end, where its sum is compared
            check_bytes(archive.fileobj.tell(), MAX_BYTES, file)
        faults = ((each, "" if each.isreg() or each.isdir() or each.islnk() else SPECIAL) for each in archive)
        yield ((each, each.name + "/" * each.isdir(), each.size, fault) for each, fault in faults), archive.extractfile


def unpack(entries, read, file, folder):
    """Write the entries of an open archive below a folder."""
    room, claimed, written = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * file.stat().st_size)), 0, 0
    seen, checked = set(), []
    folder.mkdir()
    for entry, name, size, fault in entries:
        place, claimed = PurePosixPath(name.replace("\\", "/")), claimed + size
        if len(checked) == MAX_ENTRIES:
            raise DataError(f"{file}: Expected at most {MAX_ENTRIES:,} entries. Received: more.")
        has_drive = os.name == "nt" and ":" in name
        is_none = "\0" in name or not (place.parts or name.endswith("/"))  # "./" is the folder that was packed
        if place.is_absolute() or ".." in place.parts or has_drive or is_none:
            fault = fault or "whose name leads out of it, or is none"
        elif len(place.parts) > MAX_DEPTH:
            fault = fault or f"more than {MAX_DEPTH} folders deep"
        elif not name.endswith("/"):
            fault = fault or "which it holds twice" * (place in seen)
            seen.add(place)
        if fault:
            received = f"the entry {name[:80]!r}, {fault}"
            raise DataError(f"{file}: Expected plain files inside the archive. Received: {received}.")
        check_bytes(claimed, room, file)
        checked.append((entry, name, folder / place))
    for entry, name, target in checked:
        (target if name.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            with read(entry) as source, open(target, "xb") as copy:
                while chunk := source.read(CHUNK):  # counted as it comes, whatever the archive says of itself
                    written += len(chunk)
                    check_bytes(written, room, file)
                    copy.write(chunk)


def check_bytes(count, room, file):
    """Raise a `DataError` if so many unpacked bytes are more than there is room for."""
    if count > room:
        raise DataError(
            f"{file}: Expected at most {room:,} bytes unpacked ({MAX_RATIO} times the archive, or {MAX_BYTES:,}). "
            f"Received: {count:,} or more. Unpack it yourself if you trust it, and pass the folder."
        )
