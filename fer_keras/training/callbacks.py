"""A recipe's optimiser and Keras' callbacks for it, and three of ours: best epoch, checkpoints, exact resume."""

import contextlib
import json
import math
import numbers
import time
import zipfile
from pathlib import Path

import keras
import numpy as np

from fer_keras import paths
from fer_keras.training.devices import ONE
from fer_keras.training.training_model import computing_in

STATE = 2  # version of what a state file holds
NAMES = dict.fromkeys(("acc", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"), "accuracy")


def make_optimizer(recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Build a recipe's optimiser; weight decay is decoupled and spares biases and batch normalisation."""
    options = {"learning_rate": recipe.learning_rate}
    if recipe.schedule == "cosine":
        warmup, total = round(recipe.warmup_epochs * steps_per_epoch), recipe.epochs * steps_per_epoch
        how = {"warmup_target": recipe.learning_rate, "warmup_steps": warmup} if warmup else {}
        first = 0.0 if warmup else recipe.learning_rate
        options["learning_rate"] = keras.optimizers.schedules.CosineDecay(first, total - warmup, **how)
    if recipe.weight_decay:
        options["weight_decay"] = recipe.weight_decay
    if recipe.ema_decay:
        options |= {"use_ema": True, "ema_momentum": recipe.ema_decay}
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=recipe.momentum, nesterov=True, **options)
    else:
        optimizer = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[recipe.optimizer](**options)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def make_callbacks(recipe) -> list[keras.callbacks.Callback]:
    """Keras' callbacks for a recipe: averaged weights in validation, ReduceLROnPlateau, EarlyStopping."""
    callbacks = [keras.callbacks.SwapEMAWeights()] if recipe.ema_decay else []
    if recipe.reduce_patience_epochs:
        options = {"patience": recipe.reduce_patience_epochs, "min_lr": recipe.reduce_floor}
        callbacks.append(keras.callbacks.ReduceLROnPlateau("val_loss", factor=recipe.reduce_factor, **options))
    if recipe.stop_patience_epochs:
        options = {"patience": recipe.stop_patience_epochs, "mode": mode(recipe.monitor)}
        callbacks.append(keras.callbacks.EarlyStopping(recipe.monitor, **options))
    return callbacks


def mode(monitor):
    """Whether less or more of a monitored value is better, as Keras names it."""
    return "min" if monitor.endswith("loss") else "max"


class BestEpoch(keras.callbacks.Callback):
    """Keep the weights that scored best on validation; log each epoch's learning rate and seconds.

    It stands first among the callbacks: when a validation ends, the averaged weights are still in the network.
    """

    def __init__(self, network, monitor):
        super().__init__()
        self.network, self.monitor = network, monitor
        self.epoch, self.value, self.weights = None, None, []

    def on_epoch_begin(self, epoch, logs=None):
        self.now, self.started = epoch + 1, time.perf_counter()

    def on_test_end(self, logs=None):
        """Keep the weights if they are the best so far."""
        value = float(logs[self.monitor.removeprefix("val_")])
        better = np.less if mode(self.monitor) == "min" else np.greater
        if self.value is None or better(value, self.value):
            self.epoch, self.value, self.weights = self.now, value, self.network.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        """Log the learning rate of the epoch's last step, and how long the epoch took."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["seconds"] = round(time.perf_counter() - self.started, 2)


class Checkpoints(keras.callbacks.Callback):
    """Write a `.keras` file at each fall of the validation loss, named `<name>-<epoch>-<accuracy>.keras`.

    The file holds the weights that were validated, averaged ones where the optimiser averages, in float32.

    Args:
        folder: where the files go.
        name: beginning of their names; default the network's.
    """

    def __init__(self, folder: str | Path, name: str | None = None):
        super().__init__()
        self.folder, self.name, self.best = Path(folder), name, math.inf

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_test_end(self, logs=None):
        """Write the network if its loss is the lowest so far."""
        logs = renamed(logs)
        if not logs["loss"] < self.best:
            return
        self.best = float(logs["loss"])
        network = getattr(self.model, "network", self.model)
        own = network is self.model  # else layers may compute in another precision in training
        self.folder.mkdir(parents=True, exist_ok=True)
        accuracy = f"-{logs['accuracy']:.4f}" if "accuracy" in logs else ""
        path = self.folder / f"{self.name or network.name}-{self.epoch:03d}{accuracy}.keras"
        with contextlib.nullcontext() if own else computing_in(network, "float32"), paths.replacing(path) as file:
            network.save(file)


class ExactResume(keras.callbacks.Callback):
    """Save after each epoch all that the next one depends on, so that a killed run ends as an unbroken one.

    Keras' `BackupAndRestore` forgets what callbacks remember. This stands last among the callbacks, and random states
    are drawn from seed and epoch (see `training_model.DrawEpochs`). Of several processes, the first reads and writes.

    Args:
        path: of the state file.
        best: the `BestEpoch`, whose network is trained.
        callbacks: those whose memory is saved.
        devices: `devices.Devices`.
        minutes: of training, after which the run stops, those before a resume included; None is no limit.
        precision: its name, which a resumed run must keep.
        forced: whether the run was begun by `force`, and may be resumed by it.
    """

    def __init__(self, path, best, callbacks=(), *, devices=ONE, minutes=None, precision="float32", forced=False):
        super().__init__()
        self.path, self.best, self.remembered, self.devices = path, best, list(callbacks), devices
        self.minutes, self.precision, self.forced = minutes, precision, forced
        self.rows, self.resumed, self.early_stop, self.memories, self.fresh = [], 0, False, None, []

    def load(self, model):
        """Take up the saved state, if there is one that may be resumed."""
        state = self.devices.broadcast(self.read)
        if state is None:
            return
        memory, self.groups = state
        if memory["precision"] != self.precision:
            raise ValueError(
                f"{self.path} was begun in {memory['precision']}. Received: {self.precision}. "
                f"Resume with --precision {memory['precision']}, or begin anew with --force."
            )
        self.best.network.set_weights(self.groups["network"])
        for variable, value in zip(model.optimizer.variables, self.groups["optimizer"], strict=True):
            variable.assign(value)
        self.rows, self.early_stop, self.memories = memory["history"], memory["early_stop"], memory["callbacks"]
        self.resumed = memory["resumed"] + 1
        self.best.epoch, self.best.value, self.best.weights = *memory["best"], self.groups["best"]

    def read(self):
        """The state on disk; None if there is none, or if force begins anew and no forced run left it."""
        try:
            state = load_state(self.path)
        except ValueError:
            if not self.forced:
                raise
            return None
        return None if state and self.forced and not state[0]["forced"] else state

    def out_of_time(self):
        """True once training has taken the minutes that it may; every process gets the same answer."""
        seconds = sum(row["seconds"] for row in self.rows)
        return self.minutes is not None and self.devices.broadcast(lambda: seconds >= 60 * self.minutes)

    def on_train_begin(self, logs=None):
        """Give the callbacks their memory back, which they have just dropped."""
        self.fresh = [memory_of(callback) for callback in self.remembered]
        for index, (callback, memory) in enumerate(zip(self.remembered, self.memories or [], strict=False)):
            vars(callback).update(memory)
            if f"callback{index}" in self.groups:
                callback.best_weights = self.groups[f"callback{index}"]

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history and save the state; a ValueError where the loss is no number any more."""
        logs = renamed(logs)
        wrong = [name for name in ("loss", "val_loss") if not math.isfinite(logs[name])]
        if wrong:
            raise ValueError(
                f"Expected a finite loss. Received: {wrong[0]} {logs[wrong[0]]} in epoch {epoch + 1}. Lower the "
                f"learning rate or clip gradients. The state of {len(self.rows)} whole epochs stays in {self.path}."
            )
        self.rows.append({"epoch": epoch + 1, **logs})
        self.early_stop = self.devices.broadcast(lambda: bool(self.model.stop_training))
        self.model.stop_training = self.early_stop
        if self.devices.first:
            self.save()
        if self.out_of_time():
            self.model.stop_training = True

    def save(self):
        """Write the state."""
        memory = {
            "version": STATE,
            "precision": self.precision,
            "forced": self.forced,
            "history": self.rows,
            "early_stop": self.early_stop,
            "resumed": self.resumed,
            "best": [self.best.epoch, self.best.value],
            "callbacks": [  # settings stay as they are given
                {name: value for name, value in memory_of(each).items() if name not in old or old[name] != value}
                for old, each in zip(self.fresh, self.remembered, strict=True)
            ],
        }
        groups = {"network": self.best.network.get_weights(), "best": self.best.weights}
        groups["optimizer"] = [keras.ops.convert_to_numpy(each) for each in self.model.optimizer.variables]
        for index, callback in enumerate(self.remembered):
            if getattr(callback, "best_weights", None) is not None:
                groups[f"callback{index}"] = callback.best_weights
        save_state(self.path, memory, groups)


def renamed(logs):
    """Keras' logs as floats, any accuracy under the name `accuracy`."""
    parts = [(name.removeprefix("val_"), "val_" * name.startswith("val_"), value) for name, value in logs.items()]
    return {prefix + NAMES.get(name, name): float(value) for name, prefix, value in parts}


def memory_of(callback):
    """The plain numbers that a callback remembers."""
    return {
        name: value if value is None or isinstance(value, (bool, int)) else float(value)
        for name, value in vars(callback).items()
        if not name.startswith("_") and (value is None or isinstance(value, numbers.Number))
    }


def save_state(path, memory, groups):
    """Write plain values and lists of arrays as one file, which is whole or not there."""
    arrays = {f"{name}_{i:05d}": np.asarray(value) for name, values in groups.items() for i, value in enumerate(values)}
    with paths.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, memory=np.array(json.dumps(memory)), **arrays)


def load_state(path):
    """Read `(memory, groups)` as `save_state` wrote them; None if there is no file.

    Raises:
        ValueError: if the file is not a whole state, or one of another version.
    """
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            memory, groups = json.loads(str(file["memory"])), {}
            for name in sorted(set(file.files) - {"memory"}):
                groups.setdefault(name.rsplit("_", 1)[0], []).append(file[name])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: Expected the state of a training. Received: a file that is not whole or of another kind "
            f"({error}). Begin anew with force=True (--force)."
        ) from error
    if memory.get("version") != STATE:
        raise ValueError(
            f"{path}: Expected a state of version {STATE}. Received: one of a run that another version of fer_keras "
            "began. End that run with it, or begin anew with force=True (--force)."
        )
    return memory, groups
