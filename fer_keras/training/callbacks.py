"""A recipe's optimiser and Keras' callbacks for it, and three of ours: best epoch, checkpoints, exact resume."""

import contextlib
import json
import math
import numbers
import os
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.data.dataset import say
from fer_keras.recipes.recipe import CHOICES
from fer_keras.results.runs import reading
from fer_keras.training.training_model import computing_in

OPTIMIZERS = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
ACCURACIES = ("acc", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy")
VERSION = 2  # of what the state of a training holds
STATE = "the whole state of a training"


def make_optimizer(recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Build a recipe's optimiser; weight decay is decoupled and spares biases and batch normalisation."""
    options = {"learning_rate": recipe.learning_rate}
    if recipe.schedule == "cosine":
        warmup, total = round(recipe.warmup_epochs * steps_per_epoch), recipe.epochs * steps_per_epoch
        first, target = (0.0, recipe.learning_rate) if warmup else (recipe.learning_rate, None)
        how = {"warmup_target": target, "warmup_steps": warmup}
        options["learning_rate"] = keras.optimizers.schedules.CosineDecay(first, total - warmup, **how)
    options |= {"use_ema": True, "ema_momentum": recipe.ema_decay} if recipe.ema_decay else {}
    options |= {"momentum": recipe.momentum, "nesterov": True} if recipe.optimizer == "sgd" else {}
    options |= {"weight_decay": recipe.weight_decay} if recipe.weight_decay else {}
    optimizer = OPTIMIZERS[recipe.optimizer](**options)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def make_callbacks(recipe) -> list[keras.callbacks.Callback]:
    """Keras' callbacks for a recipe: averaged weights in validation, ReduceLROnPlateau, EarlyStopping."""
    callbacks = [keras.callbacks.SwapEMAWeights()] if recipe.ema_decay else []
    if patience := recipe.reduce_patience_epochs:
        how = {"factor": recipe.reduce_factor, "min_lr": recipe.reduce_floor}
        callbacks.append(keras.callbacks.ReduceLROnPlateau("val_loss", patience=patience, **how))
    if patience := recipe.stop_patience_epochs:
        mode = "min" if recipe.monitor.endswith("loss") else "max"
        callbacks.append(keras.callbacks.EarlyStopping(recipe.monitor, patience=patience, mode=mode))
    return callbacks


class BestEpoch(keras.callbacks.Callback):
    """Keep the weights that scored best on validation, averaged ones if any; log each epoch's rate and seconds."""

    def __init__(self, network, monitor):
        super().__init__()
        self.network, self.monitor, self.epoch, self.value, self.weights = network, monitor, None, None, []

    def on_epoch_begin(self, epoch, logs=None):
        self.now, self.started = epoch + 1, time.perf_counter()

    def on_test_end(self, logs=None):
        logs, name = renamed(logs), self.monitor.removeprefix("val_")
        if name not in logs:
            expected = f"Expected a model that measures {name}, as {self.monitor} is monitored"
            raise ValueError(f"{expected}. Received: {', '.join(logs)}. Compile it with that, or monitor val_loss.")
        value = logs[name]
        better = np.less if self.monitor.endswith("loss") else np.greater
        if self.value is None or better(value, self.value):
            self.epoch, self.value, self.weights = self.now, value, self.network.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["seconds"] = round(time.perf_counter() - self.started, 2)


class Checkpoints(keras.callbacks.Callback):
    """Write `<name>-<epoch>-<accuracy>.keras` to `folder` at each fall of the validation loss; `name`: the network's.

    It holds the weights that were validated, averaged ones where the optimiser averages, in float32.
    """

    def __init__(self, folder: str | os.PathLike, name: str | None = None):
        super().__init__()
        self.folder, self.name, self.best = paths.expand(folder), name, math.inf

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_test_end(self, logs=None):
        logs = renamed(logs)
        if not logs["loss"] < self.best:
            return
        self.best = logs["loss"]
        network = getattr(self.model, "network", self.model)
        own = network is self.model  # else layers may compute in another precision in training
        accuracy = f"-{logs['accuracy']:.4f}" if "accuracy" in logs else ""
        path = self.folder / f"{self.name or network.name}-{self.epoch:03d}{accuracy}.keras"
        with contextlib.nullcontext() if own else computing_in(network, "float32"), paths.replacing(path) as file:
            network.save(file)


class ExactResume(keras.callbacks.Callback):
    """Save after each epoch all that the next one depends on, so that a killed run ends as an unbroken one.

    Keras' `BackupAndRestore` forgets what `callbacks` remember. This stands behind them; random states are drawn from
    seed and epoch (`training_model.DrawEpochs`). Of several processes, the first reads and writes. After `job.minutes`
    of training since it was resumed, the run stops. What `force` began, it alone may resume.
    """

    def __init__(self, job, best, callbacks):
        super().__init__()
        self.job, self.devices, self.best, self.remembered = job, job.devices, best, list(callbacks)
        self.path = job.folder / "state.npz"
        self.rows, self.begun, self.resumed, self.early_stop, self.memories = [], 0, 0, False, []

    def load(self, model):
        """Take up the saved state, if there is one that may be resumed."""
        state = self.devices.broadcast(self.read)
        if state is None:
            return
        memory, self.groups = state
        if memory["precision"] != self.job.precision:
            begun = f"{self.path} was begun in {memory['precision']}. Received: {self.job.precision}."
            raise ValueError(f"{begun} Resume with --precision {memory['precision']}, or begin anew with --force.")
        with reading(self.path, STATE):
            self.best.network.set_weights(self.groups["network"])
            for variable, value in zip(model.optimizer.variables, self.groups["optimizer"], strict=True):
                variable.assign(value)
            self.rows, self.memories = ([dict(each) for each in memory[name]] for name in ("history", "callbacks"))
            self.begun, self.resumed, self.early_stop = len(self.rows), memory["resumed"] + 1, memory["early_stop"]
            self.best.epoch, self.best.value, self.best.weights = *memory["best"], self.groups["best"]
        for callback in self.remembered:
            if isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True  # to the epochs before

    def read(self):
        """The state on disk; None if there is none, or if force begins anew and no forced run left it."""
        try:
            state = load_state(self.path)
        except ValueError:
            if not self.job.force:
                raise
            paths.remove(self.path)
            return None
        return None if state and self.job.force and not state[0]["forced"] else state

    def on_train_begin(self, logs=None):
        self.fresh = [memory_of(callback) for callback in self.remembered]
        for index, (callback, memory) in enumerate(zip(self.remembered, self.memories, strict=False)):
            vars(callback).update(memory)  # which it has just dropped
            if f"callback{index}" in self.groups:
                callback.best_weights = self.groups[f"callback{index}"]

    def on_epoch_end(self, epoch, logs=None):
        left_out, logs = set(logs), renamed(logs)
        left_out -= {*logs, *ACCURACIES, *(f"val_{name}" for name in ACCURACIES)}
        if left_out and len(self.rows) == self.begun:
            say(f"left out of the history, which has single numbers: {', '.join(sorted(left_out))}")
        wrong = [name for name in ("loss", "val_loss") if not math.isfinite(logs[name])]
        if wrong:
            received = f"Received: {wrong[0]} {logs[wrong[0]]} in epoch {epoch + 1}"
            kept = f" The state of {len(self.rows)} whole epochs stays in {self.path}." if self.rows else ""
            raise ValueError(f"Expected a finite loss. {received}. Lower the learning rate or clip gradients.{kept}")
        self.rows.append({"epoch": epoch + 1, **logs})
        self.early_stop = self.devices.broadcast(lambda: bool(self.model.stop_training))
        limit, seconds = self.job.minutes, sum(row["seconds"] for row in self.rows[self.begun :])
        out_of_time = limit is not None and self.devices.broadcast(lambda: seconds >= 60 * limit)
        self.model.stop_training = self.early_stop or out_of_time
        if self.devices.first:
            self.save(forced=self.job.force and not out_of_time)  # out of time, force begins anew next time

    def save(self, forced):
        """Write the state; of the callbacks, what differs from how they were given."""
        pairs = zip(self.remembered, self.fresh, strict=True)
        changed = [dict(memory_of(callback).items() - old.items()) for callback, old in pairs]
        memory = {"precision": self.job.precision, "forced": forced, "history": self.rows, "callbacks": changed}
        memory |= {"early_stop": self.early_stop, "resumed": self.resumed, "best": [self.best.epoch, self.best.value]}
        groups = {"network": self.best.network.get_weights(), "best": self.best.weights}
        groups["optimizer"] = [keras.ops.convert_to_numpy(each) for each in self.model.optimizer.variables]
        for index, callback in enumerate(self.remembered):
            if getattr(callback, "best_weights", None) is not None:
                groups[f"callback{index}"] = callback.best_weights
        save_state(self.path, memory, groups)
        paths.write_whole(self.path.with_name("history.csv"), pd.DataFrame(self.rows).to_csv(index=False))


def renamed(logs):
    """The single numbers of Keras' logs as floats, any accuracy under the name `accuracy`."""
    names = {part + name: f"{part}accuracy" for part in ("", "val_") for name in ACCURACIES}
    arrays = {names.get(name, name): np.asarray(value) for name, value in logs.items() if name != "epoch"}
    return {name: float(array) for name, array in arrays.items() if array.ndim == 0 and array.dtype.kind in "biuf"}


def monitor_of(callbacks):
    """What the best epoch of anyone's model is chosen by: what an `EarlyStopping` that restores weights monitors."""
    names = (each.monitor for each in callbacks if getattr(each, "restore_best_weights", False))
    return next((name for name in renamed(dict.fromkeys(names, 0)) if name in CHOICES["monitor"]), "val_loss")


def memory_of(callback):
    """The plain numbers that a callback remembers."""
    public = {name: value for name, value in vars(callback).items() if not name.startswith("_")}
    plain = {name: value for name, value in public.items() if isinstance(value, numbers.Number | None)}
    return {name: value if isinstance(value, int | None) else float(value) for name, value in plain.items()}


def save_state(path: Path, memory: dict, groups: dict[str, list]) -> None:
    """Write plain values and lists of arrays as one file, which is whole or not there."""
    arrays = {f"{name}_{i:05d}": np.asarray(value) for name, values in groups.items() for i, value in enumerate(values)}
    with paths.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, memory=np.array(json.dumps({"version": VERSION, **memory})), **arrays)


def load_state(path: Path) -> tuple[dict, dict[str, list]] | None:
    """Read `(memory, groups)` as `save_state` wrote them; None if there is no file, a ValueError if it is another."""
    if not os.path.lexists(path):
        return None
    with reading(path, STATE), open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        memory, groups = json.loads(str(file["memory"])), {}
        if memory["version"] != VERSION:
            raise ValueError("one of a run that another version of fer_keras began")
        for name in sorted(set(file.files) - {"memory"}):
            groups.setdefault(name.rsplit("_", 1)[0], []).append(file[name])
        if lacking := {"precision", "forced", "history", "callbacks", "early_stop", "resumed", "best"} - set(memory):
            raise ValueError(f"one without {', '.join(sorted(lacking))}")
        return memory, groups
