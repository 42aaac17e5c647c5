"""What a training runs on: one device, all devices of a machine, or those of several machines."""

import contextlib

import keras
import numpy as np

from fer_keras import machines
from fer_keras.training.feeding import feed


class Devices:
    """One device, and what the training asks of any number of them.

    The batch of a recipe is the batch of all devices together: each takes an equal part of it, and the step is the one
    of the whole batch.
    """

    count = 1
    processes = 1
    first = True  # This process decides what is shared, and writes.

    def scope(self):
        """Return a context in which variables are created, and models trained, on the devices."""
        return contextlib.nullcontext()

    def together(self):
        """Return a context that says clearly when another process of the group was lost."""
        return contextlib.nullcontext()

    def spread(self, network, seed):
        """Return a network with the same values whose variables lie on every device; on one, the network itself."""
        return network

    def place(self, images):
        """Return images as a variable on the devices takes them."""
        return images

    def fit(self, model, arrays, *, batch_size, **options):
        """Call `model.fit` on the batches of `(inputs, targets, weights)`, in order, each shared by the devices."""
        return model.fit(**feed(batch_size, *arrays), shuffle=False, **options)

    def predict(self, model, inputs, *, batch_size):
        """Return `model.predict` of a dict of arrays, whose batches are shared by the devices."""
        return model.predict(**feed(batch_size, inputs), verbose=0)

    def of_all(self, pixels):
        """Return the pictures of the whole batch inside a training step that may see its device's part of it only."""
        return pixels

    def for_all(self, probabilities):
        """Return what a prediction step found, such that every process can read all of it."""
        return probabilities

    def told(self, function):
        """Return what `function` returns on the first process, on every process; raise there what it raised."""
        return function()

    def agree(self, task):
        """Raise a `ValueError` on every process unless all have the same task, a str."""

    def words(self):
        """Return what a record says of the devices; of one, nothing."""
        of = f" of {self.processes} processes" if self.processes > 1 else ""
        return f"{self.count} devices{of}" if self.count > 1 else ""


ONE = Devices()


def choose(devices=None):
    """Return the `Devices` to train on; join the group of processes if the environment names one.

    Args:
        devices: None is one device, whatever the environment says; `"all"` is all of this machine, or of all machines
            of the group; an int is so many of this machine.

    Raises:
        ValueError: if there are not so many, or the backend can't share a training.
    """
    if devices is None or isinstance(devices, Devices):
        return devices or ONE
    if devices != "all" and (not isinstance(devices, int) or isinstance(devices, bool) or devices < 1):
        raise ValueError(f"`devices` must be 'all' or a number from 1, or None. Received: {devices!r}.")
    group, backend = machines.named(), keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(
            f"`devices` needs the backend TensorFlow or JAX. Received: {backend}. Set KERAS_BACKEND=jax, or leave "
            "`devices` out."
        )
    if group:
        check_group(group, devices, backend)
        from fer_keras.training import sharded

        sharded.join(group)
    names = keras.distribution.list_devices()
    count = len(names) if devices == "all" else devices
    if count > len(names):
        raise ValueError(f"`devices` must be at most {len(names)}: there are {names}. Received: {devices}.")
    if count == 1:
        return ONE
    if backend == "jax":
        from fer_keras.training import sharded

        return sharded.Sharded(names[:count])
    from fer_keras.training import mirrored

    return mirrored.Mirrored(names[:count])


def check_group(group, devices, backend):
    """Raise a `ValueError` if a group of processes can't train as it is asked to."""
    if backend != "jax":
        raise ValueError(
            f"{machines.ADDRESSES} asks for a training on several machines, which needs the JAX backend: Keras 3's "
            f"`fit` fails under TensorFlow's MultiWorkerMirroredStrategy. Received: {backend}. Set KERAS_BACKEND=jax."
        )
    if devices != "all":
        raise ValueError(f"On several machines, `devices` must be 'all'. Received: {devices}, {group}.")


def check_shares(devices, batch_size, num_images):
    """Raise a `ValueError` unless a batch has as many images for each device."""
    if batch_size % devices.count:
        fitting = max(number for number in range(1, devices.count) if batch_size % number == 0)
        raise ValueError(
            f"{devices.count} devices can't share a batch of {batch_size} images equally, so that it would not be the "
            f"recipe's step. Ask for a number that divides it, e.g. {fitting}."
        )
    if num_images < devices.count:
        raise ValueError(f"{devices.count} devices need as many training images. Received: {num_images}.")


def filled_up(index, count):
    """Return an index, its last entry repeated until `count` devices can share it equally.

    Example:

    >>> filled_up(np.array([3, 5, 7]), 2)
    array([3, 5, 7, 7])
    """
    return np.concatenate([index, index[-1:].repeat(-len(index) % count)])
