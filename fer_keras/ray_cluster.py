"""Ray while it is needed: a cluster that runs already, or one on this machine that ends with the work."""

import contextlib
import logging
import math
import os
import socket
import sys

from fer_keras.names import import_part

# Ray's own processes read these when they start: nothing is reported to its makers, only what ends the work is shown.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextlib.contextmanager
def ray_cluster(address=None, *, cores=None):
    """Give the module `ray`, connected, while the context lasts; a Ray that the caller has started is left running.

    Args:
        address: that of a cluster that runs already, as `ray.init` takes it; None starts one on this machine.
        cores: how many cores the one on this machine works with; None is all that this process may use.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = import_part("ray")
    if ray.is_initialized():
        yield ray
        return
    options = {} if address else {"num_cpus": cores or num_cores(), "include_dashboard": False}
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    try:
        with silent_stderr():
            if host and port.isdecimal():  # Ray itself would wait long for an answer
                socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except Exception as error:  # Ray raises that, too, where its own processes do not start in time
        expected = f"Expected a Ray cluster {f'at {address!r}' if address else 'on this machine'}"
        otherwise = "Start one (ray start --head), or leave the address out: one is started here then."
        raise ValueError(f"{expected}. Received: {str(error)[:300]} {otherwise}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def silent_stderr():
    """Drop what is written to stderr, by whatever code, while the context lasts; what is raised stays."""
    with open(os.devnull, "wb") as nowhere, contextlib.ExitStack() as stack:
        if sys.__stderr__ is not None:  # as it is where it was closed
            stack.callback(os.close, kept := os.dup(2))
            stack.callback(os.dup2, kept, 2)
            os.dup2(nowhere.fileno(), 2)
        yield


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads(variable: str) -> int:
    """Number of threads that an environment variable asks for, or of cores if it does not."""
    asked = os.environ.get(variable, "")
    return int(asked) if asked.isdecimal() and int(asked) else num_cores()


def share(nodes: list[dict], workers: int | None = None) -> dict[str, float]:
    """The resources of a task, of which as many as `workers` run at once on machines with this `"CPU"` and `"GPU"`.

    >>> share([{"CPU": 8.0}, {"CPU": 4.0}], workers=3)
    {'num_cpus': 4.0, 'num_gpus': 0}
    """
    gpu = int(any(node.get("GPU") for node in nodes))
    cores = [(int(node.get("CPU", 0)), int(node.get("GPU", 0)) if gpu else math.inf) for node in nodes]
    cpus = {1.0, *(math.floor(1e4 * cpu / parts) / 1e4 for cpu, _ in cores for parts in range(1, cpu + 1))}
    room = {each: sum(min(int(cpu / each), gpus) for cpu, gpus in cores) for each in cpus if each >= 1}
    workers = room[1] if workers is None else workers
    if not 0 < workers <= room[1]:
        raise ValueError(f"`workers` must be 1 to {room[1]}, as there is room for no more here. Received: {workers}.")
    return {"num_cpus": max(each for each in room if room[each] >= workers), "num_gpus": gpu}
