"""Folders of the project and of the user, the quick and the full profile, and files that are written whole."""

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

PACKAGE = Path(__file__).resolve().parent
T = TypeVar("T")


def project():
    """The checkout that this package is imported from, or the working directory if it is installed."""
    checkout = PACKAGE.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def results():
    """The folder of the recorded results; `FER_KERAS_RESULTS` overrides it."""
    return Path(os.environ.get("FER_KERAS_RESULTS") or project() / "reports" / "results")


def own_results():
    """The folder of results of what is trained on this machine and not to be published."""
    return build() / "results"


def figures():
    """The folder of the figures; `FER_KERAS_FIGURES` overrides it."""
    return Path(os.environ.get("FER_KERAS_FIGURES") or project() / "reports" / "figures")


def build():
    """The folder for what can be made again: trained weights, checkpoints, quick notebooks."""
    return Path(os.environ.get("FER_KERAS_BUILD") or project() / "build")


def cache():
    """The user's cache folder for parsed data; `FER_KERAS_CACHE` overrides it."""
    if os.environ.get("FER_KERAS_CACHE"):
        return Path(os.environ["FER_KERAS_CACHE"])
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "fer_keras"


def profile() -> str:
    """Name of the profile in force: `"quick"` (synthetic faces, a few steps) or `"full"` (FER-2013, recorded runs).

    `FER_PROFILE` decides; where it is unset, the profile is full if `FER_KERAS_DATA` is set and quick otherwise.
    """
    chosen = os.environ.get("FER_PROFILE") or ("full" if os.environ.get("FER_KERAS_DATA") else "quick")
    if chosen not in ("quick", "full"):
        raise ValueError(f"FER_PROFILE must be 'quick' or 'full'. Received: {chosen!r}. Set it so, or unset it.")
    return chosen


def reduce(full: T, quick: T) -> T:
    """Choose between `full` and `quick` by the profile in force, so that a notebook page shows both.

    >>> reduce(20, quick=20)
    20
    """
    return full if profile() == "full" else quick


@contextlib.contextmanager
def temporary_folder(path: str | os.PathLike):
    """Yield an empty folder `.NAME.PID.tmp` beside a path, for what is to be moved there; it goes with the context.

    `sweep` removes it if the process is killed.
    """
    path = Path(path)
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(folder)  # of an earlier process with the same number, as in containers
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """Yield a path of the same name to write to; when the context ends well it replaces `path`, whole or not at all."""
    path = Path(path)
    with temporary_folder(path) as folder:
        yield folder / path.name
        with open(folder / path.name, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(folder / path.name, path)


def sweep(folder: str | os.PathLike, name: str = "*") -> None:
    """Remove what killed processes left in a folder: files and folders `.NAME.PID.tmp` whose process no longer runs.

    `name` is a pattern of file names, as for `glob`. Those of a live process stay. Processes are looked for on this
    machine only: of several that share a folder, one must not sweep names that another writes. Sub-folders are not
    searched. On Windows nothing is removed.
    """
    for path in Path(folder).glob(f".{name}.*.tmp"):
        found = re.fullmatch(r"\..+\.([1-9]\d{0,6})\.tmp", path.name, re.DOTALL)
        if found and os.name != "nt":  # there, signal 0 is Ctrl-C
            with contextlib.suppress(PermissionError):  # of a process of somebody else's
                try:
                    os.kill(int(found[1]), 0)
                except ProcessLookupError:
                    remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def check_writable(path: str | os.PathLike) -> None:
    """Raise a `ValueError` if a file cannot be written at a path, whose folders may be missing; nothing stays there."""
    path = Path(path).absolute()
    fault = "a folder or a device" if path.exists() and not path.is_file() else None
    try:
        tempfile.TemporaryFile(dir=next(each for each in path.parents if each.exists())).close()
    except OSError as error:
        fault = fault or error.strerror
    if fault:
        raise ValueError(f"{path}: Expected a place where a file can be written. Received: {fault}.")


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write bytes or text (as UTF-8) so that nobody ever reads half of it."""
    with replacing(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def write_changed(path: str | os.PathLike, content: str | bytes) -> bool:
    """Write bytes or text unless the file holds exactly that, so that it keeps its time; True if it was written."""
    path, content = Path(path), content.encode() if isinstance(content, str) else content
    changed = not path.is_file() or path.read_bytes() != content
    if changed:
        write_whole(path, content)
    return changed
