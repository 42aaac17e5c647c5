"""One run from its first epoch to its last: compile, train an epoch, validate, remember, go on after a kill."""

import contextlib
import time

import keras
import numpy as np
import pandas as pd

from fer_keras.data.transforms import mix_targets
from fer_keras.training.callbacks import averaged, make_callbacks, memory_of, restore_memory
from fer_keras.training.devices import ONE, check_shares, filled_up
from fer_keras.training.feeding import feed
from fer_keras.training.macro_metrics import macro_metrics
from fer_keras.training.normalising import normalising_at_once
from fer_keras.training.optimizers import make_optimizer
from fer_keras.training.precision import computing_in
from fer_keras.training.state import load_state, save_state
from fer_keras.training.trainee import Trainee, epoch_inputs

EVALUATION_BATCH = 256


class Session:
    """A network in training.

    Every random state is a function of seed and epoch, and everything else that matters is saved at the end of each
    epoch: killed at any moment, a session made again with the same arguments goes on from the last whole epoch.

    Args:
        recipe: a `Recipe`.
        network: the built `keras.Model`.
        faces: a `FaceDataset`.
        targets: float32 `(n, classes)`, the target distribution of every image of `faces`.
        seed: int.
        folder: `pathlib.Path` where the state lies.
        images: what the network takes of every face, `(n, ...)`: its pixels if None, or a frozen backbone's features.
        precision: one of `precision.PRECISIONS`, in which it trains; its predictions are float32 always.
        devices: the `Devices` to train on; if several, on a copy of the network, which gets the values at the end. With
            another number of devices than it was begun on, a session goes on, but not as if it was never stopped.
        teachers: `keras.Model`s that see what the network sees and say their part of its targets, if any.
    """

    def __init__(
        self,
        recipe,
        network,
        faces,
        targets,
        *,
        seed,
        folder,
        images=None,
        precision="float32",
        devices=ONE,
        teachers=(),
    ):
        self.recipe, self.given, self.faces, self.targets, self.devices = recipe, network, faces, targets, devices
        self.seed, self.path, self.precision = seed, folder / "state.npz", precision
        self.train_index = np.flatnonzero(faces.split == "train")
        self.sample_weights = class_weights(faces.labels[self.train_index], recipe.class_weights)
        check_shares(devices, recipe.batch_size, len(self.train_index))
        # Of the images that take part in an epoch: all that the devices can share equally.
        self.steps = -(-(len(self.train_index) // devices.count * devices.count) // recipe.batch_size)
        self.network = devices.spread(network, seed)
        self.teachers = [devices.spread(teacher, seed) for teacher in teachers]
        for teacher in self.teachers:
            teacher.trainable = False
        with devices.scope():
            pixels = np.ascontiguousarray(faces.images if images is None else images)
            self.trainee = Trainee(
                self.network,
                pixels,
                devices,
                teachers=self.teachers,
                share=recipe.teacher_share,
                temperature=recipe.teacher_temperature,
            )
            self.trainee.compile(
                optimizer=make_optimizer(recipe, self.steps),
                loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
                metrics=["accuracy", *macro_metrics(len(recipe.classes))],
            )
        self.history, self.best, self.best_values, self.resumed = [], None, [], 0

    def train(self, *, verbose="auto", callbacks=(), minutes=None, checkpoint=None):
        """Train to the end of the recipe or its early stop, then put the best epoch's values into the network.

        Args:
            verbose: as in `keras.Model.fit`.
            callbacks: more `keras.callbacks.Callback`s, told of the epochs; what they remember is not saved.
            minutes: no epoch begins after so many minutes of training, those of earlier sessions included; None is no
                limit.
            checkpoint: called with an epoch's row of the history at each fall of the validation loss, while the network
                holds the weights that were validated; None does nothing.

        Returns:
            str, why it ended: `"early stop"`, `"epochs"` or `"cut short"`.
        """
        with self.at_work():
            ended = self.train_epochs(verbose, callbacks, minutes, checkpoint)
        self.trainee.predict_function = None  # which keeps the precision that it was compiled in
        if self.given is not self.network:
            self.given.set_weights(self.best_values)
        return ended

    @contextlib.contextmanager
    def at_work(self):
        """Let the network compute as it does in training, for as long as the context lasts."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.devices.scope())
            for network in (self.network, *self.teachers):
                stack.enter_context(computing_in(network, self.precision))
            stack.enter_context(normalising_at_once(self.network))
            yield

    def train_epochs(self, verbose, callbacks, minutes, checkpoint):
        """Do what `train` says, `at_work`."""
        own = make_callbacks(self.recipe)
        everyone = keras.callbacks.CallbackList([*own, *callbacks], model=self.trainee, epochs=self.recipe.epochs)
        everyone.on_train_begin()
        self.build()
        stopped = self.resume(own)
        for epoch in range(len(self.history), 0 if stopped else self.recipe.epochs):
            if minutes and epoch and self.devices.told(lambda: self.seconds() >= 60 * minutes):
                break
            started = time.perf_counter()
            everyone.on_epoch_begin(epoch)
            logs = self.train_epoch(epoch, verbose)
            with averaged(self.trainee):
                logs |= {f"val_{name}": value for name, value in self.evaluate("validation").items()}
                self.keep_if_best(epoch, logs)
                if checkpoint and all(logs["val_loss"] < row["val_loss"] for row in self.history):
                    if self.given is not self.network:  # several devices train a copy
                        self.given.set_weights(self.network.get_weights())
                    checkpoint({"epoch": epoch + 1, **logs})
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.trainee.optimizer.learning_rate))
            self.trainee.stop_training = False
            everyone.on_epoch_end(epoch, dict(logs))
            self.history.append({"epoch": epoch + 1, **logs, "seconds": round(time.perf_counter() - started, 2)})
            stopped = self.trainee.stop_training
            self.save(own, stopped)
            if verbose:
                print(" - ".join(f"{name}: {logs[name]:.4g}" for name in ("val_accuracy", "val_loss", "learning_rate")))
            if stopped:
                break
        everyone.on_train_end()
        self.network.set_weights(self.best_values)
        whole = len(self.history) == self.recipe.epochs
        return "early stop" if stopped else "epochs" if whole else "cut short"

    def seconds(self):
        """Return the seconds of all epochs so far."""
        return sum(row["seconds"] for row in self.history)

    def build(self):
        """Create every variable of network and optimiser, so that a saved state has somewhere to go."""
        self.trainee({"index": np.zeros(1, np.int32)})
        self.trainee.optimizer.build(self.trainee.trainable_variables)

    def train_epoch(self, epoch, verbose):
        """Train one epoch; return its mean loss, accuracy, precision and recall."""
        generator = np.random.default_rng([self.seed, epoch])
        self.set_random_states(generator)
        size, count = self.faces.images.shape[1:3], self.devices.count
        inputs, order, plan = epoch_inputs(self.recipe, self.train_index, size, generator, count)
        targets = self.targets[self.train_index[order]]
        if plan.partner is not None:
            targets = mix_targets(targets, plan)
        weights = None if self.sample_weights is None else self.sample_weights[order]
        logs = self.devices.fit(
            self.trainee,
            (inputs, targets, weights),
            batch_size=self.recipe.batch_size,
            epochs=epoch + 1,
            initial_epoch=epoch,
            callbacks=self.progress(verbose),
        ).history
        return {name: float(values[-1]) for name, values in logs.items()}

    def progress(self, verbose):
        """Return the callbacks of one epoch's `fit`: its history, and a bar that knows how many epochs there are."""
        return keras.callbacks.CallbackList(
            add_history=True,
            add_progbar=verbose != 0,
            model=self.trainee,
            verbose=verbose,
            epochs=self.recipe.epochs,
            steps=self.steps,
        )

    def set_random_states(self, generator):
        """Set the state of every random layer (dropout) from the epoch's generator."""
        for variable in self.network.non_trainable_variables:
            if variable.path.endswith("seed_generator_state"):
                variable.assign(generator.integers(0, 2**32, variable.shape, dtype=np.uint32))

    def evaluate(self, split):
        """Return loss, accuracy, precision and recall on a split, without augmentation."""
        index = np.flatnonzero(self.faces.split == split).astype(np.int32)
        if self.devices.count > 1:  # where some images are scored twice, so that the devices can share them
            return self.judge(self.targets[index], self.predict(split))
        given = feed(EVALUATION_BATCH, {"index": index}, self.targets[index])
        logs = self.trainee.evaluate(**given, verbose=0, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    def judge(self, targets, probabilities):
        """Return loss and metrics of what was predicted, as Keras finds them, on every process the same."""
        smoothing = self.recipe.label_smoothing
        losses = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=smoothing)
        penalties = sum(float(keras.ops.convert_to_numpy(value)) for value in self.network.losses)  # of large weights
        metrics = [keras.metrics.CategoricalAccuracy(name="accuracy"), *macro_metrics(targets.shape[1])]
        found = {"loss": float(keras.ops.convert_to_numpy(losses).mean()) + penalties}
        for metric in metrics:
            metric.update_state(targets, probabilities)
            found[metric.name] = float(keras.ops.convert_to_numpy(metric.result()))
        return self.devices.told(lambda: found)

    def predict(self, split, *, mirrored=False):
        """Return probabilities `(n, classes)` of a split's images, or of their mirror images, without augmentation."""
        index = np.flatnonzero(self.faces.split == split).astype(np.int32)
        inputs = {"index": filled_up(index, self.devices.count)}
        batch_size = -(-EVALUATION_BATCH // self.devices.count) * self.devices.count
        with self.devices.scope():
            trainee = self.trainee_of_mirror_images() if mirrored else self.trainee
            return self.devices.predict(trainee, inputs, batch_size=batch_size)[: len(index)]

    def trainee_of_mirror_images(self):
        """Return the network as it is told of mirror images by their numbers."""
        return Trainee(self.network, np.ascontiguousarray(self.faces.images[:, :, ::-1]), self.devices)

    def keep_if_best(self, epoch, logs):
        """Keep the values of the network if this is the best epoch so far by the recipe's monitor."""
        value = logs[self.recipe.monitor]
        better = np.less if self.recipe.monitor == "val_loss" else np.greater
        if self.best is None or better(value, self.best["value"]):
            self.best = {"epoch": epoch + 1, "value": value}
            self.best_values = self.network.get_weights()

    def save(self, callbacks, stopped):
        """Write everything that the next epoch depends on, and the history so far as CSV, for those who watch."""
        if not self.devices.first:
            return
        memory = {
            "history": self.history,
            "best": self.best,
            "stopped": bool(stopped),
            "resumed": self.resumed,
            "precision": self.precision,
            "callbacks": [memory_of(callback) for callback in callbacks],
        }
        values = [keras.ops.convert_to_numpy(variable) for variable in self.trainee.optimizer.variables]
        save_state(self.path, memory, network=self.network.get_weights(), best=self.best_values, optimizer=values)
        pd.DataFrame(self.history).to_csv(self.path.with_name("history.csv"), index=False)

    def epochs_saved(self):
        """Return how many epochs the saved state has behind it, 0 if there is none."""
        state = load_state(self.path)
        return len(state[0]["history"]) if state else 0

    def resume(self, callbacks):
        """Take up the saved state, if there is one; return whether training had stopped early already."""
        state = self.devices.told(lambda: load_state(self.path))
        if state is None:
            return False
        memory, groups = state
        begun = memory.get("precision", "float32")
        if begun != self.precision:
            raise ValueError(
                f"{self.path} was begun in {begun}. Received: {self.precision}. "
                f"Go on with --precision {begun}, or remove the file to begin anew."
            )
        self.network.set_weights(groups["network"])
        for variable, value in zip(self.trainee.optimizer.variables, groups["optimizer"], strict=True):
            variable.assign(value)
        self.history, self.best, self.best_values = memory["history"], memory["best"], groups["best"]
        self.resumed = memory["resumed"] + 1
        for callback, remembered in zip(callbacks, memory["callbacks"], strict=True):
            restore_memory(callback, remembered)
        return memory["stopped"]


def class_weights(labels, wanted):
    """Return a weight for each image, the inverse of its class's frequency with mean 1, or None if not wanted."""
    if not wanted:
        return None
    counts = np.bincount(labels)
    return (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(np.float32)
