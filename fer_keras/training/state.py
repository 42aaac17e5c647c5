"""All that a run must remember to go on as if it had never stopped, in one file that is whole or not there."""

import json
import os

import numpy as np


def save_state(path, memory, **groups):
    """Write a run's state in one go: a reader sees the old file or the new one, never half of it.

    Args:
        path: `pathlib.Path` of the `.npz` file.
        memory: plain values (JSON).
        groups: name to list of arrays.
    """
    arrays = {f"{name}_{i:05d}": np.asarray(value) for name, values in groups.items() for i, value in enumerate(values)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, memory=np.array(json.dumps(memory)), **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_state(path):
    """Return `(memory, groups)` as `save_state` wrote them, or None if there is no such file."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        memory = json.loads(str(file["memory"]))
        groups = {}
        for name in sorted(file.files):
            if name != "memory":
                groups.setdefault(name.rsplit("_", 1)[0], []).append(file[name])
    return memory, groups
