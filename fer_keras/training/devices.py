"""What a training runs on: one processor, or several devices and machines through Keras' DataParallel on JAX."""

import collections
import contextlib
import os
import pickle
import re

import keras
import numpy as np

from fer_keras.recipes.recipe import has_type, plain

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"
# What JAX and its collectives say when another process is gone.
LOST = re.compile(r"gloo|nccl|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|coordination service|heartbeat", re.IGNORECASE)


class Devices:
    """One processor; or several devices of one process or a group, each with all variables and a part of each batch."""

    def __init__(self, names=()):
        self.count, self.processes, self.process, self.distribution = max(1, len(names)), 1, 0, None
        self.scope = contextlib.nullcontext  # in which variables are created, and models trained
        if names:
            import jax

            self.processes, self.process = jax.process_count(), jax.process_index()
            self.distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
            self.scope = self.distribution.scope
        self.first = self.process == 0  # this process decides what is shared, and writes
        group = f" of {self.processes} processes" * (self.processes > 1)
        self.words = f"{self.count} devices{group}" if names else ""  # in a record

    @contextlib.contextmanager
    def together(self):
        """Say clearly when another process of the group was lost, whatever error it shows as."""
        try:
            yield
        except RuntimeError as error:
            if self.processes == 1 or not LOST.search(str(error)):
                raise
            words = f"Expected all {self.processes} processes of the group. Received: one ended or can't be reached"
            advice = "Start the same command on every machine again: it resumes after the last whole epoch."
            raise ValueError(f"{words} ({str(error).splitlines()[0]}). {advice}") from error

    def spread(self, network, seed):
        """A network with the first process's weights whose variables lie on every device."""
        if self.distribution is None:
            return network
        values = self.broadcast(network.get_weights)
        keras.utils.set_random_seed(seed)  # a random layer's first state must be the same in every process
        with self.scope():
            copy = keras.models.clone_model(network)
            copy.set_weights(values)
        return copy

    def place(self, images):
        """Images as a variable on the devices takes them, without comparing them between the processes."""
        if self.distribution is None:
            return images
        import jax

        layout = keras.distribution.TensorLayout((None,) * images.ndim, self.distribution.device_mesh).backend_layout
        return jax.make_array_from_callback(images.shape, layout, lambda part: images[part])

    def own(self, arrays, batch_size):
        """The rows of every batch of nested arrays that this process feeds, in order."""

        def rows(array):
            batches = [array[start : start + batch_size] for start in range(0, len(array), batch_size)]
            return np.concatenate([np.split(batch, self.processes)[self.process] for batch in batches])

        return arrays if self.processes == 1 else keras.tree.map_structure(rows, arrays)

    def broadcast(self, function):
        """What `function` returns on the first process; if it raises there, so does every process."""
        if self.processes == 1:
            return function()
        from jax.experimental import multihost_utils

        content = b""
        if self.first:
            try:
                content = pickle.dumps((function(), None))
            except (ValueError, OSError, ImportError) as error:
                content = pickle.dumps((None, str(error)))
        length = int(multihost_utils.broadcast_one_to_all(np.array([len(content)], np.uint32))[0])
        # Every length is compiled for: few of them.
        buffer = np.frombuffer(content.ljust(max(1024, 1 << (length - 1).bit_length()), b"\0"), np.uint8)
        value, problem = pickle.loads(multihost_utils.broadcast_one_to_all(buffer)[:length].tobytes())
        if problem is not None:
            raise ValueError(problem)
        return value

    def agree(self, task):
        """Raise a `ValueError` on every process unless all have the same task, a str."""
        if self.processes == 1:
            return
        from jax.experimental import multihost_utils

        expected = self.broadcast(lambda: task)
        others = np.flatnonzero(multihost_utils.process_allgather(np.array([task != expected]), tiled=True))
        if len(others):
            received = f"Received otherwise in process {', '.join(map(str, others))}; here: {task}."
            words = "Every process of the group must train the same on the same data. Expected, as in process 0"
            raise ValueError(f"{words}: {expected}. {received}")

    def check(self, batch_size, num_images):
        """Raise a `ValueError` unless a batch has as many images for each device."""
        if batch_size % self.count or num_images < self.count:
            fitting = [number for number in range(1, self.count) if batch_size % number == 0 and number <= num_images]
            expected = f"a number of devices that divides a batch of {batch_size} images, and no more than the"
            received = f"Received: {self.count}. Ask for {max(fitting, default=1)}, e.g."
            raise ValueError(f"Expected {expected} {num_images} training images. {received}")


ONE = Devices()


def choose(devices: str | int | None = None) -> Devices:
    """The `Devices` to train on: one for None, all of this machine or of its group for `"all"`, or a number.

    It joins the group of processes that Keras' environment variables name. A `ValueError` if there are not so many
    devices, or the backend is not JAX.
    """
    devices = plain(devices)
    if devices is None:
        return ONE
    if devices != "all" and (not has_type(devices, int) or devices < 1):
        raise ValueError(f"`devices` must be 'all' or a number from 1, or None. Received: {devices!r}.")
    group, backend = named_group(), keras.backend.backend()
    if group and devices != "all":
        raise ValueError(f"On several machines, `devices` must be 'all'. Received: {devices}, {group}.")
    if group and backend == "jax":
        join(*group)  # before anything computes
    names = keras.distribution.list_devices()
    count = len(names) if devices == "all" else devices
    if count > len(names):
        raise ValueError(f"`devices` must be at most {len(names)}: there are {names}. Received: {devices}.")
    if count == 1 and not group:
        return ONE
    if backend != "jax":
        advice = "Set KERAS_BACKEND=jax (pip install 'fer_keras[jax]'), or train on one."
        raise ValueError(f"Several devices or machines train on the JAX backend. Received: {backend}. {advice}")
    return Devices(names[:count])


def named_group():
    """`(host:port of process 0, number of processes, this one)` by Keras' environment variables; None without."""
    values = {name: os.environ.get(name, "") for name in (ADDRESSES, PROCESSES, PROCESS)}
    address, processes, process = values.values()
    if not any(values.values()):
        return None
    whole = processes.isdecimal() and process.isdecimal() and int(process) < int(processes)
    if not whole or ":" not in address.split(",")[0] or address.count(",") + 1 not in (1, int(processes)):
        expected = f"Expected {ADDRESSES}=HOST:PORT of process 0 (or of all processes, with commas between)"
        rest = f"{PROCESSES} and {PROCESS}, counted from 0; or none of them"
        raise ValueError(f"{expected}, {rest}. Received: {values}.")
    return address.split(",")[0], int(processes), int(process)


def join(address, processes, process):
    """Join the group's other processes, once; it must come before anything else that computes."""
    import jax

    if jax.distributed.is_initialized():
        return
    # Keras' own `initialize` passes on no timeouts, and lets Slurm's variables take devices away.
    how = {"heartbeat_timeout_seconds": 30, "shutdown_timeout_seconds": 30}  # then a silent machine counts as lost
    try:
        jax.distributed.initialize(address, processes, process, cluster_detection_method="deactivate", **how)
    except RuntimeError as error:
        expected = "Expected the same command on every machine, an open port, and no use of JAX before it"
        received = f"{error}, by process {process} of {processes} at {address}. Start all processes again."
        raise ValueError(f"{expected}. Received: {received}") from error
    shares = collections.Counter(device.process_index for device in jax.devices())
    if len(set(shares.values())) > 1:
        received = f"Received, by process: {dict(shares)}. Hide some, e.g. with CUDA_VISIBLE_DEVICES."
        raise ValueError(f"Every process must bring as many devices. {received}")
