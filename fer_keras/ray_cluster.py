"""Ray while it is needed: a cluster that runs already, or one on this machine that ends with the work."""

import contextlib
import logging
import math
import os
import socket
import sys

MISSING = 'Work on many processes or machines needs Ray: pip install "fer_keras[ray]". ({})'
# Ray's own processes read these when they start: nothing is reported to its makers, only what ends the work is said.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
ANSWER_SECONDS = 10


@contextlib.contextmanager
def ray_cluster(address=None, *, cores=None):
    """Give the module `ray`, connected, while the context lasts.

    A Ray that the caller has started is used and left running. One that is started here, on this machine, ends with
    the context, whatever happened in it.

    Args:
        address: that of a cluster that runs already, as `ray.init` takes it; None starts one on this machine.
        cores: how many cores the one on this machine works with; None is all that this process may use.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if there is no cluster at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ImportError(MISSING.format(error)) from error
    if ray.is_initialized():
        yield ray
        return
    connect(ray, address, cores)
    try:
        yield ray
    finally:
        ray.shutdown()


def connect(ray, address, cores):
    """Connect to a cluster, or start one on this machine."""
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        with silent_stderr():
            if address:
                refuse_silence(address)
                ray.init(address, **quiet)
            else:
                ray.init("local", num_cpus=cores or num_cores(), include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        where = f"at {address!r}" if address else "on this machine"
        raise ValueError(
            f"Expected a Ray cluster {where}. Received: {str(error)[:300]} "
            "Start one (ray start --head), or leave the address out: a Ray of this machine is started then."
        ) from error


def refuse_silence(address):
    """Raise an `OSError` if nobody answers at an address of host and port, for which Ray itself would wait long."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


@contextlib.contextmanager
def silent_stderr():
    """Drop what is written to stderr, by whatever code, while the context lasts; what is raised stays."""
    if sys.__stderr__ is None:  # as where it was closed
        yield
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


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

    def room(cpus):
        return sum(min(int(cpu / cpus), gpus) for cpu, gpus in cores)

    most = room(1)
    workers = most if workers is None else workers
    if not 0 < workers <= most:
        raise ValueError(f"`workers` must be 1 to {most}, as there is room for no more here. Received: {workers}.")
    shares = {1.0, *(math.floor(1e4 * cpu / parts) / 1e4 for cpu, _ in cores for parts in range(1, workers + 1))}
    return {"num_cpus": max(cpus for cpus in shares if cpus >= 1 and room(cpus) >= workers), "num_gpus": gpu}
