"""Recorded tables: what was counted in data or measured apart from the runs, kept so that figures can be redrawn."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.reporting.files import write_changed


def write_table(name, table, *, folder=None):
    """Record a table below `reports/results/tables`, unless it stands there already; return its path.

    Args:
        name: str, without suffix.
        table: a `pandas.DataFrame` (written as CSV with its index, floats as `%.4f`), a dict of arrays (NPZ) or any
            plain value that JSON holds.
        folder: folder of results; default `paths.results()`.
    """
    if isinstance(table, pd.DataFrame):
        suffix, content = ".csv", table.to_csv(float_format="%.4f", lineterminator="\n")
    elif isinstance(table, dict) and table and all(isinstance(value, np.ndarray) for value in table.values()):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **table)
        suffix, content = ".npz", buffer.getvalue()
    else:
        suffix, content = ".json", json.dumps(table, sort_keys=True, indent=1, allow_nan=False) + "\n"
    path = folder_of_tables(folder) / f"{name}{suffix}"
    write_changed(path, content)
    return path


def read_table(name, *, folder=None):
    """Return a recorded table as it was given to `write_table`.

    Raises:
        ValueError: if there is none of that name; the message lists those that there are.
    """
    found = find_table(name, folder=folder)
    if found is None:
        place, names = folder_of_tables(folder), ", ".join(table_names(folder=folder))
        raise ValueError(f"There is no recorded table {name!r} in {place}. Expected one of: {names}.")
    return found


def find_table(name, *, folder=None):
    """Return a recorded table as it was given to `write_table`, or None if there is none of that name."""
    path = next(folder_of_tables(folder).glob(f"{name}.*"), None)
    if path is None:
        return None
    if path.suffix == ".csv":
        return pd.read_csv(path, index_col=0)
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    with np.load(path) as arrays:
        return dict(arrays)


def table_names(*, folder=None):
    """Return the names of the tables that are recorded."""
    return sorted(path.stem for path in folder_of_tables(folder).glob("*.*"))


def folder_of_tables(folder=None):
    """Return where tables lie below a folder of results."""
    return Path(folder or paths.results()) / "tables"
