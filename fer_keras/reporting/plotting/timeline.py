"""Emotions over time, for each face of a video."""

import numpy as np

from fer_keras.labels import COLOURS
from fer_keras.reporting.plotting.curves import mark_chance
from fer_keras.reporting.plotting.style import LINES, PALETTE, canvas, label, legend, percent

MOST_FACES = 4
GAP_SECONDS = 0.5  # without a row; from there on a face was away, and its lines are broken
SECONDS = 60
PLACE = ("time", "frame", "id", "left", "top", "width", "height", "emotion", "confidence", "detected")


def plot_timeline(table, *, faces=MOST_FACES, title=None):
    """Draw the probability of each emotion over time, one panel a face.

    Lines are broken where a face was away. Chance is dashed.

    Args:
        table: `pandas.DataFrame` as `recognize_video` returns it.
        faces: the ids to draw, or int, so many of those that are seen in most frames.
        title: str or None, written above the first panel.

    Returns:
        A `Figure` with a panel for each face, in the order of their ids.

    Raises:
        ValueError: if the table has no row or lacks a column, or there is no such face.
    """
    classes = classes_of(table)
    chosen = choose(table, faces)
    figure, grid = canvas(8, 0.6 + 1.9 * len(chosen), len(chosen), 1, sharex=True, sharey=True)
    unit, length = ("minutes", SECONDS) if np.ptp(table["time"]) > 5 * SECONDS else ("seconds", 1)
    for axes, number in zip(grid[:, 0], chosen, strict=True):
        rows = with_gaps(table[table["id"] == number].sort_values("time"))
        options = {"linewidth": 1.5, "marker": "o" if len(rows) == 1 else ""}
        for index, name in enumerate(classes):
            axes.plot(rows["time"] / length, rows[name], label=name, **options, **line_style(name, index))
        mark_chance(axes, 1 / len(classes))
        axes.set_ylim(0, 1.03)
        percent(axes.yaxis)
        label(axes, y="probability", title=f"{title}: face {number}" if title else f"face {number}")
    label(grid[-1, 0], x=f"time ({unit})")
    legend(grid[0, 0], loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def classes_of(table):
    """Return the names of the classes of a table, or raise a `ValueError` if it is not one of a video."""
    missing = [name for name in ("time", "id", "emotion") if name not in table]
    classes = [name for name in table if name not in PLACE]
    if missing or not classes or not len(table):
        raise ValueError(
            "Expected the table of a video, with at least one face, as `recognize_video` returns it. "
            f"Received: {len(table)} rows with the columns {', '.join(map(str, table))}."
        )
    return classes


def choose(table, faces):
    """Return the ids to draw, in their order."""
    seen = table["id"].value_counts()
    if isinstance(faces, int):
        if faces < 1:
            raise ValueError(f"`faces` must be at least 1, or a list of ids. Received: {faces}.")
        return sorted(seen.sort_index().sort_values(ascending=False, kind="stable").index[:faces].tolist())
    unknown = [number for number in faces if number not in seen.index]
    if unknown or not list(faces):
        known = ", ".join(map(str, sorted(seen.index)))
        raise ValueError(f"`faces` must be ids of the table: {known}. Received: {list(faces)}.")
    return list(faces)


def with_gaps(rows):
    """Return the rows of a face with an empty one after each stretch in which it was seen, to break its lines."""
    times = rows["time"].to_numpy()
    last = np.flatnonzero(np.diff(times) > max(GAP_SECONDS, 3 * np.median(np.diff(times))) if len(times) > 1 else [])
    rows = rows.reset_index(drop=True)
    empty = rows.loc[last, ["time"]].set_axis(last + 0.5)
    return rows.reindex(rows.index.union(empty.index)).fillna({"time": empty["time"]}).sort_index()


def line_style(name, index):
    """Return the colour and the line of a class; one that has no colour of its own takes the next, dotted."""
    if name in COLOURS:
        return {"color": COLOURS[name], "linestyle": "-"}
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": LINES[1 + index // len(PALETTE) % 3]}
