"""Names that a user types: an unknown one is refused with the name that comes closest."""

import difflib
from collections.abc import Iterable


def check_name(kind: str, name: str, known: Iterable[str]) -> None:
    """Check that a name is one of those that are known.

    Args:
        kind: what the name is of, e.g. `"recipe"`.
        name: the name that was typed.
        known: the possible names.

    Raises:
        ValueError: if it is none of them; the message gives the closest name, or lists all if none is close.

    Example:

    >>> check_name("network", "vgg61", ["vgg16", "resnet18"])
    Traceback (most recent call last):
    ValueError: There is no network 'vgg61'. Did you mean 'vgg16'?
    """
    known = list(known)
    if name not in known:
        near = closest(name, known)
        hint = f"Did you mean {near!r}?" if near else f"Expected one of: {', '.join(known)}."
        raise ValueError(f"There is no {kind} {name!r}. {hint}")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that comes closest to another one, whatever its case; None if none is close."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None
