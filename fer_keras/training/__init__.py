"""Training: recipes to recorded runs. The command line looks in here, so Keras is imported when something is used."""

__all__ = ["fit", "load_network"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fer_keras.training import trainer

    return getattr(trainer, name)
