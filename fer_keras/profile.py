"""The two profiles: `quick` (drawn faces, a few steps) and `full` (FER-2013 and the recorded runs)."""

import os

PROFILES = ("quick", "full")


def profile():
    """Return the profile in force, `"quick"` or `"full"`.

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
    """Return `full` in the full profile and `quick` in the quick one, so that a notebook page shows both.

    Example:

    >>> reduce(20, quick=20)
    20
    """
    return full if profile() == "full" else quick
