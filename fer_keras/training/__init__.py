"""Training: recipes to recorded runs. The command line looks in here, so Keras is imported when something is used."""

import importlib

HOMES = {"fit": "trainer", "load_network": "places"}
__all__ = list(HOMES)


def __getattr__(name):
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
