"""Folders of the project and of the user, the quick and the full profile, and files that are written whole."""

import contextlib
import itertools
import os
import re
import shutil
import stat
import tempfile
import zlib
from pathlib import Path
from typing import TypeVar

PACKAGE = Path(__file__).resolve().parent
TABLES = (".csv", ".txt")  # how names of tables end
COUNTER = itertools.count(1)  # of temporary folders, as threads may write beside one path
T = TypeVar("T")


def project():
    """The checkout that this package is imported from, or the working directory if it is installed."""
    checkout = PACKAGE.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def expand(path: str | os.PathLike) -> Path:
    """A path as a user gives it, `~` in it expanded."""
    return Path(os.path.expanduser(path))


def results(folder: str | os.PathLike | None = None) -> Path:
    """A folder of results as a user gives it, else that of the recorded ones, which `FER_KERAS_RESULTS` overrides."""
    return expand(folder) if folder else asked("FER_KERAS_RESULTS") or project() / "reports" / "results"


def own_results(folder: str | os.PathLike | None = None) -> Path:
    """A folder of results as a user gives it, else that of what is trained on this machine and not to be published."""
    return expand(folder) if folder else build() / "results"


def figures():
    """The folder of the figures; `FER_KERAS_FIGURES` overrides it."""
    return asked("FER_KERAS_FIGURES") or project() / "reports" / "figures"


def build():
    """The folder for what can be made again: trained weights, checkpoints, quick notebooks."""
    return asked("FER_KERAS_BUILD") or project() / "build"


def cache():
    """The user's cache folder for parsed data; `FER_KERAS_CACHE` overrides it."""
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    try:
        return asked("FER_KERAS_CACHE") or Path(base or Path.home() / ".cache") / "fer_keras"
    except RuntimeError as error:
        raise ValueError(f"No folder for a cache: {error} Set FER_KERAS_CACHE to a folder.") from error


def asked(variable: str) -> Path | None:
    """The folder that an environment variable names, `~` in it expanded; None where it is unset."""
    try:
        return Path(os.environ[variable]).expanduser() if os.environ.get(variable) else None
    except RuntimeError as error:
        raise ValueError(f"{variable}={os.environ[variable]}: Expected a folder. Received: {error}") from error


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


def partial(path: Path) -> Path:
    """What a file is called until it is whole, beside the one that a link leads to."""
    place = Path(os.path.realpath(path)) if os.path.islink(path) else path
    return place.with_name(f"{shortened(path.stem, 240)}.partial{path.suffix}")


def as_path(value, expected: str) -> Path:
    """The path that a caller gave; of anything else, or an empty one, a `ValueError` that says what was expected."""
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return Path(value)
    raise ValueError(f"Expected {expected}. Received: {value!r:.80}.")


def shortened(name: str, most: int) -> str:
    """A name of at most so many bytes, as file systems limit them; of a longer one, its beginning and a sum."""
    content = os.fsencode(name)
    return name if len(content) <= most else f"{name[:50]}-{zlib.crc32(content):08x}"


def describe(path: str | os.PathLike) -> str:
    """What lies at a path, in words."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        missing = "a link that leads nowhere" if os.path.islink(path) else "no such file"
        return missing if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or str(error)
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK, "a file": stat.S_ISREG}
    return next((words for words, is_kind in kinds.items() if is_kind(mode)), "a device")


def opencv_path(path: str | os.PathLike) -> str:
    """An absolute path as OpenCV takes it, in UTF-8; of another name, which ends the process, a `ValueError`."""
    path = os.path.abspath(path)
    if not path.isascii() and path.encode(errors="replace") != os.fsencode(path):
        raise ValueError(f"{path!a}: Expected a name in UTF-8, since OpenCV reads no other. Rename it.")
    return path


@contextlib.contextmanager
def temporary_folder(path: str | os.PathLike):
    """Yield an empty folder beside a path, for what is to be moved there; it goes with the context, or by `sweep`."""
    path = Path(path)
    folder = path.with_name(f".{shortened(path.name, 225)}.{next(COUNTER)}.{os.getpid()}.tmp")
    remove(folder)  # of an earlier process with the same number, as in containers
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """Yield a path of the same name to write to; at a good end it replaces `path`, or what that links to, whole."""
    place = Path(os.path.realpath(path))
    with temporary_folder(place) as folder:
        yield (beside := folder / Path(path).name)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, place)


@contextlib.contextmanager
def unfinished(path: Path):
    """Yield `partial(path)`, which this run alone writes; when the context ends well it replaces `path`.

    Otherwise it stays, unless it is empty. Meanwhile other runs get a `ValueError`, but on Windows.
    """
    beside = partial(path)
    beside.parent.mkdir(parents=True, exist_ok=True)
    with beside.open("ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), beside.stat()):
                raise FileNotFoundError  # the other run ended now and renamed it
        except (BlockingIOError, FileNotFoundError):
            raise ValueError(f"{path}: Expected a file that no other run writes. Received: one that it does.") from None
        except (ImportError, OSError):  # Windows, where no open file can be renamed, and file systems without locks
            file.close()
        try:
            yield beside
            os.replace(beside, os.path.realpath(path))
        except BaseException as error:
            if not (beside.exists() and beside.stat().st_size):
                remove(beside)
            elif isinstance(error, KeyboardInterrupt):
                error.args = (f"{beside} holds what was written",)
            elif isinstance(error, OSError) and error.filename is None:  # of a disk that is full
                error.filename = f"{beside}, which holds what was written"
            raise


def sweep(folder: str | os.PathLike, name: str = "*") -> None:
    """Remove what killed processes left in a folder, not below it: files and folders `.NAME.PID.tmp`, by a pattern.

    Of machines that share a folder, one must not sweep names that another writes. On Windows nothing is removed.
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
    with contextlib.suppress(OSError):
        path.unlink()  # which leaves a folder
    shutil.rmtree(path, ignore_errors=True)


def check_writable(path: str | os.PathLike, suffixes: tuple | None = None) -> None:
    """Raise a `ValueError` if a file cannot be written at a path, whose folders may be missing; nothing stays there.

    With `suffixes`, its name must end in one of them: another file would be lost by a slip.
    """
    suffix, path = as_path(path, "the path of a file").suffix, Path(os.path.realpath(path))
    fault = describe(path) if os.path.exists(path) and not os.path.isfile(path) else None
    if suffixes and not fault and suffix.lower() not in suffixes:
        fault = f"a name that does not end in {' or '.join(suffixes)}"
    try:
        tempfile.TemporaryFile(dir=next(each for each in path.parents if os.path.exists(each))).close()
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
    if changed := not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)
    return changed
