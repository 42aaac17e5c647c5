"""Records of runs, and everything that is made from them: leaderboard, figures, text, the report.

Training imports this room for its records alone, so the rest is loaded when it is asked for.
"""

import importlib

_HOMES = {
    "text": "blocks",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
