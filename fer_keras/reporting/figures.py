"""The only writer of figures: small PNG files, rewritten only when what they are drawn from, or how, has changed."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.paths import profile, write_changed, write_whole
from fer_keras.reporting.catalogue import FIGURES
from fer_keras.reporting.sentences import MISSING

DPI = 150
LARGEST_BYTES = 200_000
INDEX = "index.json"


def draw(name):
    """Return a figure of the catalogue, drawn from the records; None as long as they lack what it needs.

    Raises:
        ValueError: if the catalogue has no such figure, or only a notebook can draw it.
    """
    entry = find_entry(name)
    if entry.inputs is None:
        raise ValueError(
            f"Figure {name!r} cannot be drawn from the records. Expected: a figure with inputs in the catalogue. "
            f"Execute notebook {entry.notebook:02d} in the full profile."
        )
    inputs = entry.inputs()
    return None if inputs is None else entry.plot(inputs)


def show(*names):
    """Show figures of the catalogue in a notebook, one below the other; one whose run is not recorded yet says so."""
    from IPython.display import Markdown, display

    for name in names:
        figure = draw(name)
        display(Markdown(f"*{find_entry(name).alt[:-1]} {MISSING}.*") if figure is None else figure)


def save(figure, name, *, inputs):
    """Write a figure that only its notebook can draw, unless it stands there already, drawn from the same inputs.

    It goes to `reports/figures` in the full profile and to `build/figures` in the quick one, whose drawn faces never
    reach the report. Figures that the records suffice for are written by `redraw_all`.

    Args:
        figure: a `plotting.Figure`.
        name: its id in `catalogue.FIGURES`, which says whose notebook it belongs to.
        inputs: what it was drawn from: tables, arrays, dicts, lists, numbers and text.

    Returns:
        The path of the PNG.

    Raises:
        ValueError: if the catalogue has no such figure or draws it itself, or the file would be larger than 200 KB.
    """
    if find_entry(name).inputs is not None:
        raise ValueError(
            f"Figure {name!r} is drawn from the records: `figures.draw({name!r})` shows it, `make report` writes it. "
            "Only an entry of the catalogue without inputs is saved by its notebook."
        )
    return write(figure, name, inputs, paths.figures() if profile() == "full" else paths.build() / "figures")


def write(figure, name, inputs, folder):
    """Write a figure and its line in the index into a folder, if it is not fresh; return its path."""
    entry, index = find_entry(name), read_index(folder)
    path = Path(folder) / f"{name}.png"
    known = {"digest": digest([drawing_code(), inputs]), "notebook": entry.notebook, "alt": entry.alt}
    if not is_fresh(name, inputs, folder):
        content = figure.png(dpi=DPI)
        if len(content) > LARGEST_BYTES:
            raise ValueError(
                f"A figure must have at most {LARGEST_BYTES:,} bytes. Received: {name!r} of {len(content):,} bytes. "
                "Make it smaller, or show fewer images."
            )
        write_whole(path, content)
    write_changed(Path(folder) / INDEX, json.dumps({**index, name: known}, sort_keys=True, indent=1) + "\n")
    return path


def save_private(figure, name):
    """Write a figure that shows people's faces to `build/private`, which is never published; return its path."""
    path = paths.build() / "private" / f"{name}.png"
    write_whole(path, figure.png(dpi=DPI))
    return path


def redraw_all(*, folder=None):
    """Draw every figure of the catalogue that is missing or not fresh; return their ids.

    Args:
        folder: default `paths.figures()` in both profiles: the records are the same, and so are their figures.
    """
    folder = Path(folder or paths.figures())
    redrawn = []
    for name, entry in FIGURES.items():
        inputs = entry.inputs() if entry.inputs else None
        if inputs is None or is_fresh(name, inputs, folder):
            continue
        write(entry.plot(inputs), name, inputs, folder)
        redrawn.append(name)
    return redrawn


def stale(*, folder=None):
    """Return what is wrong with the figures in a folder (default `paths.figures()`), a message each."""
    folder = Path(folder or paths.figures())
    index, files = read_index(folder), {path.stem: path for path in folder.glob("*.png")}
    problems = [
        f"{path} is in no index: only `figures.save` writes figures" for path in map(files.get, set(files) - set(index))
    ]
    problems += [f"{folder / name}.png is missing" for name in set(index) - set(files)]
    problems += [
        f"{name}: the catalogue has no such figure, remove it and its entry in {INDEX}"
        for name in set(index) - set(FIGURES)
    ]
    problems += [
        f"{path} is larger than {LARGEST_BYTES:,} bytes"
        for path in files.values()
        if path.stat().st_size > LARGEST_BYTES
    ]
    for name, entry in FIGURES.items():
        inputs = entry.inputs() if entry.inputs else None
        if inputs is not None and not is_fresh(name, inputs, folder):
            problems.append(f"{folder / name}.png is not drawn from today's records by today's code: run `make report`")
    return sorted(problems)


def is_fresh(name, inputs, folder):
    """Return whether a figure stands in a folder, drawn from these inputs by today's code."""
    known = read_index(folder).get(name, {}).get("digest")
    return (Path(folder) / f"{name}.png").is_file() and known == digest([drawing_code(), inputs])


@functools.cache
def drawing_code():
    """Return a hex digest of the code that figures are drawn by: a change of style makes all of them stale."""
    return digest_of_code("reporting/plotting", "reporting/catalogue")


def digest_of_code(*folders):
    """Hex digest (16 characters) of the modules that lie in folders of the package."""
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted((paths.PACKAGE / folder).glob("*.py")):
            total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:16]


def find_entry(name):
    """Return the catalogue's entry, or raise a `ValueError` that says how to make one."""
    if name not in FIGURES:
        raise ValueError(
            f"There is no figure {name!r} in the catalogue. Expected one of: {', '.join(FIGURES)}. "
            "Add an entry to a module of fer_keras/reporting/catalogue/."
        )
    return FIGURES[name]


def read_index(folder):
    """Return the index of a folder of figures: a dict from id to digest, notebook and alternative text."""
    path = Path(folder) / INDEX
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def digest(inputs):
    """Return a hex digest of a figure's inputs; floats count with six digits, so that machines agree.

    Raises:
        ValueError: if something in them is neither a table, an array, a container, a number nor text.
    """
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()[:16]


def canonical(value):
    """Return a text that is equal for equal inputs."""
    if isinstance(value, pd.DataFrame):
        return canonical([list(value.columns), value.astype(object).where(value.notna(), None).to_numpy().tolist()])
    if isinstance(value, np.ndarray):
        return f"{value.shape}{canonical(value.tolist())}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{canonical(value[key])}" for key in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, np.generic):
        return canonical(value.item())
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, str | int | bool):
        return repr(value)
    raise ValueError(f"A figure's inputs must be tables, arrays, containers, numbers or text. Received: {type(value)}.")
