"""This machine's cores; several machines that train together, and a guard over each one's process."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"
GUARDED = "FER_KERAS_GUARDED"
GOES_ON = "The same command, started again on every machine, goes on from the last whole epoch."


class LostProcess(ValueError):
    """Another process of the group ended, or can't be reached any more."""


@dataclasses.dataclass(frozen=True)
class Group:
    """The processes that train together, as the environment names them.

    Args:
        address: `host:port` of process 0, where the others meet it.
        processes: int, how many there are.
        process: int, the number of this one, from 0.
    """

    address: str
    processes: int
    process: int


def num_cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads(variable):
    """Return how many threads an environment variable asks for, or as many as there are cores if it does not say."""
    told = os.environ.get(variable, "")
    return int(told) if told.isdecimal() and int(told) else num_cores()


def named():
    """Return the `Group` that Keras' environment variables name, or None if they name none.

    Raises:
        ValueError: if only some of the variables are set, or their values don't fit together.
    """
    values = {name: os.environ.get(name) for name in (ADDRESSES, PROCESSES, PROCESS)}
    if not any(values.values()):
        return None
    addresses = (values[ADDRESSES] or "").split(",")
    numbers = [values[name] or "" for name in (PROCESSES, PROCESS)]
    whole = all(text.isdecimal() for text in numbers) and int(numbers[1]) < int(numbers[0])
    if not whole or ":" not in addresses[0] or len(addresses) not in (1, int(numbers[0])):
        raise ValueError(
            f"Expected {ADDRESSES}=HOST:PORT of process 0 (or of all processes, with commas between), {PROCESSES} and "
            f"{PROCESS}, counted from 0; or none of them. Received: {values}."
        )
    return Group(addresses[0], int(numbers[0]), int(numbers[1]))


def run(command):
    """Run a function that is all of a command; return its exit status.

    Where the environment names a group, it runs in a process of its own, and this one speaks for that if it dies
    without a word: where another machine vanishes, JAX aborts, which nothing inside the process can catch.

    Args:
        command: a function without arguments that returns an exit status.
    """
    if not os.environ.get(ADDRESSES):
        return command()
    if GUARDED not in os.environ:
        return guard()
    threading.Thread(target=follow_guard, daemon=True).start()
    status = command()
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        # At once: the ordinary exit waits for the other processes, and they wait for this one.
        os._exit(status)
    return status


def guard():
    """Run the command line of this process again, guarded, and return the exit status."""
    # A session of its own: Ctrl-C reaches this process alone, which passes it on.
    options = {"env": {**os.environ, GUARDED: "1"}, "stdin": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen([sys.executable, *sys.orig_argv[1:]], **options) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            status = child.wait()
    if status >= 0:
        return status
    print(
        f"error: process {os.environ.get(PROCESS)} was ended by {signal.Signals(-status).name}, as happens when "
        f"another process of the group ended or can't be reached; what it said stands above. {GOES_ON}",
        file=sys.stderr,
    )
    return 2


def follow_guard():
    """End this process as soon as its guard has ended, however: then the pipe from it closes."""
    os.read(0, 1)  # Not `sys.stdin`, whose lock would be held when Python shuts down.
    os._exit(128 + signal.SIGTERM)
