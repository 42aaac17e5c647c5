"""Training: recipes and anyone's networks to recorded runs, and scores. Keras is imported when something is used."""

from fer_keras.names import import_part

HOMES = {"find_label_errors": "label_errors", "fit": "trainer", "ship": "shipping"}
HOMES |= dict.fromkeys(("evaluate", "load_network"), "scoring")
__all__ = list(HOMES)


def __getattr__(name):
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_part(f"{__name__}.{HOMES[name]}"), name)
