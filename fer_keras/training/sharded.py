"""Several devices on JAX, of one machine or of many: Keras' DataParallel, and what the processes tell each other."""

import collections
import contextlib
import pickle
import re

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from fer_keras import machines
from fer_keras.training.devices import Devices

HEARTBEAT_SECONDS = 30  # after which a silent machine counts as lost
# What JAX and its collectives say when another process is gone.
LOST = re.compile(r"gloo|nccl|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|coordination service|heartbeat", re.IGNORECASE)


def join(group):
    """Join the group's other processes, once; it must come before anything else that computes.

    This is `keras.distribution.initialize` but for what that doesn't pass on: how soon a silent process counts as lost,
    how long a process waits for the others at its end, and that Slurm's variables leave it all its devices.
    """
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            group.address,
            group.processes,
            group.process,
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except RuntimeError as error:
        raise ValueError(
            f"Process {group.process} could not join its group of {group.processes} at {group.address}: {error}. "
            "Expected the same command on every machine, an open port, and no other use of JAX before it."
        ) from error
    shares = collections.Counter(device.process_index for device in jax.devices())
    if len(set(shares.values())) > 1:
        raise ValueError(
            f"Every process must bring as many devices. Received, by process: {dict(shares)}. Hide some, e.g. with "
            "CUDA_VISIBLE_DEVICES."
        )


class Sharded(Devices):
    """Devices of one process or of a group, each with a copy of the variables and a part of every batch.

    Args:
        names: of the devices, as `keras.distribution.list_devices` names them.
    """

    def __init__(self, names):
        self.count, self.processes = len(names), jax.process_count()
        self.first = jax.process_index() == 0
        self.distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)

    def scope(self):
        """Return the distribution's context."""
        return self.distribution.scope()

    @contextlib.contextmanager
    def together(self):
        """Say clearly when another process of the group was lost, whatever error it shows as."""
        try:
            yield
        except Exception as error:
            told = next((str(cause) for cause in causes(error) if LOST.search(str(cause))), None)
            if self.processes == 1 or told is None or isinstance(error, machines.LostProcess):
                raise
            raise machines.LostProcess(
                f"Another process of the group of {self.processes} ended or can't be reached any more "
                f"({told.splitlines()[0]}). {machines.GOES_ON}"
            ) from error

    def spread(self, network, seed):
        """Return a copy of the first process's network whose variables lie on every device."""
        values = self.told(network.get_weights)
        keras.utils.set_random_seed(seed)  # A random layer's first state must be the same in every process.
        with self.scope():
            copy = keras.models.clone_model(network)
            copy.set_weights(values)
        return copy

    def place(self, images):
        """Return images as an array on every device, without comparing them between the processes."""
        layout = self.layout(images.ndim).backend_layout
        return jax.make_array_from_callback(images.shape, layout, lambda part: images[part])

    def layout(self, rank):
        """Return the layout of an array that every device has all of."""
        return keras.distribution.TensorLayout((None,) * rank, self.distribution.device_mesh)

    def fit(self, model, arrays, *, batch_size, **options):
        """Call `model.fit` on this process's part of every batch."""
        return super().fit(model, self.own(arrays, batch_size), batch_size=batch_size // self.processes, **options)

    def predict(self, model, inputs, *, batch_size):
        """Return `model.predict` of all; this process feeds its part of every batch."""
        return super().predict(model, self.own(inputs, batch_size), batch_size=batch_size // self.processes)

    def own(self, arrays, batch_size):
        """Return this process's rows of every batch of nested arrays, in order."""
        me = jax.process_index()

        def rows(array):
            whole = len(array) // batch_size * batch_size
            batches = [array[:whole].reshape(-1, self.processes, batch_size // self.processes, *array.shape[1:])[:, me]]
            batches.append(array[whole:].reshape(self.processes, -1, *array.shape[1:])[me])
            return np.concatenate([batch.reshape(-1, *array.shape[1:]) for batch in batches])

        return keras.tree.map_structure(lambda array: None if array is None else rows(array), arrays)

    def for_all(self, probabilities):
        """Return probabilities that every device has all of."""
        return keras.distribution.distribute_tensor(probabilities, self.layout(2))

    def told(self, function):
        """Return what `function` returns on the first process, on every process; raise there what it raised."""
        if self.processes == 1:
            return function()
        said = b""
        if self.first:
            try:
                said = pickle.dumps((function(), None))
            except (ValueError, OSError, ImportError) as error:
                said = pickle.dumps((None, str(error)))
        length = int(multihost_utils.broadcast_one_to_all(np.array([len(said)], np.uint32))[0])
        # Every length is compiled for: few of them.
        buffer = np.zeros(max(1024, 1 << (length - 1).bit_length()), np.uint8)
        buffer[: len(said)] = np.frombuffer(said, np.uint8)
        value, problem = pickle.loads(multihost_utils.broadcast_one_to_all(buffer)[:length].tobytes())
        if problem is not None:
            raise ValueError(problem)
        return value

    def agree(self, task):
        """Raise a `ValueError` on every process unless all have the same task, a str."""
        expected = self.told(lambda: task)
        agree = multihost_utils.process_allgather(np.array([task == expected]), tiled=True)
        if not agree.all():
            others = ", ".join(str(number) for number in np.flatnonzero(~agree))
            raise ValueError(
                f"Every process of the group must train the same on the same data. Expected, as in process 0: "
                f"{expected}. Received otherwise in process {others}; here: {task}."
            )


def causes(error):
    """Yield an error and those that it came of or hides."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
