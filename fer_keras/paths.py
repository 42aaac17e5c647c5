"""Folders of the project and of the user, the quick and the full profile, and files that are written whole."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PROFILES = ("quick", "full")


def project():
    """Return the checkout that this package is imported from, or the working directory if it is installed."""
    checkout = PACKAGE.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def results():
    """Return the folder of the recorded results; `FER_KERAS_RESULTS` overrides it."""
    return Path(os.environ.get("FER_KERAS_RESULTS") or project() / "reports" / "results")


def figures():
    """Return the folder of the figures; `FER_KERAS_FIGURES` overrides it."""
    return Path(os.environ.get("FER_KERAS_FIGURES") or project() / "reports" / "figures")


def build():
    """Return the folder for what can be made again: trained weights, checkpoints, quick notebooks."""
    return Path(os.environ.get("FER_KERAS_BUILD") or project() / "build")


def cache():
    """Return the user's cache folder for parsed data; `FER_KERAS_CACHE` overrides it."""
    if os.environ.get("FER_KERAS_CACHE"):
        return Path(os.environ["FER_KERAS_CACHE"])
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "fer_keras"


def profile() -> str:
    """Name of the profile in force: `"quick"` (synthetic faces, a few steps) or `"full"` (FER-2013, recorded runs).

    `FER_PROFILE` decides; where it is unset, the profile is full if `FER_KERAS_DATA` is set and quick otherwise.

    Raises:
        ValueError: if `FER_PROFILE` holds anything else.
    """
    chosen = os.environ.get("FER_PROFILE") or ("full" if os.environ.get("FER_KERAS_DATA") else "quick")
    if chosen not in PROFILES:
        raise ValueError(
            f"FER_PROFILE must be one of {PROFILES}. Received: {chosen!r}. Unset it, or set it to 'quick' or 'full'."
        )
    return chosen


def reduce(full, quick):
    """Choose between `full` and `quick` by the profile in force, so that a notebook page shows both.

    Example:

    >>> reduce(20, quick=20)
    20
    """
    return full if profile() == "full" else quick


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write bytes or text (as UTF-8) beside the file's place, then rename: nobody ever reads half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_changed(path: str | os.PathLike, content: str | bytes) -> bool:
    """Write bytes or text unless the file holds exactly that, so that it keeps its time; True if it was written."""
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return False
    write_whole(path, content)
    return True
