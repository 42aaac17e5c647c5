"""Where things lie: the project's folders in a checkout, the user's folders elsewhere."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


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
