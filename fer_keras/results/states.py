"""The state of a training that has not ended: plain values and arrays in one file, which is whole or not there."""

import json
import zipfile
from pathlib import Path

import numpy as np

from fer_keras import paths

VERSION = 2  # of what a state holds


def save_state(path: Path, memory: dict, groups: dict[str, list]) -> None:
    """Write plain values and lists of arrays as one file, which is whole or not there."""
    arrays = {f"{name}_{i:05d}": np.asarray(value) for name, values in groups.items() for i, value in enumerate(values)}
    with paths.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, memory=np.array(json.dumps({"version": VERSION, **memory})), **arrays)


def load_state(path: Path) -> tuple[dict, dict[str, list]] | None:
    """Read `(memory, groups)` as `save_state` wrote them; None if there is no file, a ValueError if it is another."""
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            memory, groups = json.loads(str(file["memory"])), {}
            for name in sorted(set(file.files) - {"memory"}):
                groups.setdefault(name.rsplit("_", 1)[0], []).append(file[name])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: Expected the state of a training. Received: a file that is not whole or of another kind "
            f"({error}). Begin anew with force=True (--force)."
        ) from error
    if memory.get("version") != VERSION:
        raise ValueError(
            f"{path}: Expected a state of version {VERSION}. Received: one of a run that another version of fer_keras "
            "began. End that run with it, or begin anew with force=True (--force)."
        )
    return memory, groups
