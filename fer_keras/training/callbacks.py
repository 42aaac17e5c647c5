"""Keras' own callbacks, from a recipe, with a memory that can be saved."""

import contextlib
import numbers

import keras


def make_callbacks(recipe):
    """Return the recipe's ReduceLROnPlateau and EarlyStopping, as far as it has them."""
    callbacks = []
    if recipe.reduce_patience_epochs:
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss",
                factor=recipe.reduce_factor,
                patience=recipe.reduce_patience_epochs,
                min_lr=recipe.reduce_floor,
            )
        )
    if recipe.stop_patience_epochs:
        # The session itself keeps the best epoch, so that it survives a kill.
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor=recipe.monitor, patience=recipe.stop_patience_epochs, mode=mode(recipe)
            )
        )
    return callbacks


def mode(recipe):
    """Return whether more or less of the recipe's monitor is better, as Keras names it."""
    return "min" if recipe.monitor == "val_loss" else "max"


def memory_of(callback):
    """Return what a callback remembers: its plain numbers, which Keras' own `BackupAndRestore` leaves out."""
    return {
        name: value if value is None or isinstance(value, (bool, int)) else float(value)
        for name, value in vars(callback).items()
        if not name.startswith("_") and (value is None or isinstance(value, numbers.Number))
    }


def restore_memory(callback, memory):
    """Give a callback back what `memory_of` found; call it after `on_train_begin`, which forgets."""
    for name, value in memory.items():
        if name in vars(callback):
            setattr(callback, name, value)


@contextlib.contextmanager
def averaged(trainee):
    """Put the averaged weights into the network for as long as the context lasts, if its optimiser keeps any."""
    if not trainee.optimizer.use_ema:
        yield
        return
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(trainee)
    swap.on_test_begin()
    try:
        yield
    finally:
        swap.on_test_end()
