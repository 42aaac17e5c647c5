"""Several machines that train together: how the environment names them, and a guard over each one's process."""

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


def guard(arguments):
    """Run this command in a process of its own, and speak for it if it dies without a word; return the exit status.

    Where a machine vanishes, JAX ends the processes of the others by an abort, which nothing inside them can catch.
    If the guard itself is killed, its process ends too.

    Args:
        arguments: those of the command line, after `python -m fer_keras`.
    """
    command = [sys.executable, "-m", "fer_keras", *arguments]
    # A session of its own: Ctrl-C reaches the guard, which passes it on once.
    options = {"env": {**os.environ, GUARDED: "1"}, "stdin": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, **options) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            status = child.wait()
    if status >= 0:
        return status
    group = named()
    print(
        f"error: process {group.process} of {group.processes} was ended by {signal.Signals(-status).name}, as happens "
        f"when another process of the group ended or can't be reached; what it said stands above. {GOES_ON}",
        file=sys.stderr,
    )
    return 2


def guarded():
    """Tell whether this process has a guard."""
    return GUARDED in os.environ


def follow_guard():
    """End this process as soon as its guard has ended: the pipe from it closes."""

    def watch():
        # Not `sys.stdin`, whose lock would be held when Python shuts down.
        os.read(0, 1)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def leave(status):
    """Return an exit status; a guarded process that failed exits with it at once.

    The ordinary exit of a process of a group waits for all others, and these wait for this one.
    """
    if status and guarded():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
