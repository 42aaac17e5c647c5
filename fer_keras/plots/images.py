"""Grids of faces, heatmaps over them, how many there are, and emotions over time."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from fer_keras.labels import COLOURS
from fer_keras.plots.style import LINES, PALETTE, SMALL, Figure, canvas, percent, styled

MOST_COVERED = 0.8  # of a face, where the heatmap is highest; where it is 0, the face is as it was
GAP_SECONDS = 0.5  # without a row; from there on a face was away, and its lines are broken
# Columns of a video's table that are no classes.
PLACE = ("time", "frame", "status", "id", "left", "top", "width", "height", "emotion", "confidence", "detected")


@styled
def gallery(
    images: Iterable,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    side: float = 0.85,
    title: str | None = None,
) -> Figure:
    """Draw a grid of grey images, each with its title.

    Args:
        images: arrays `(height, width)` or `(height, width, 1)`, values in [0, 255].
        titles: one for each image, or None.
        columns, side: images in a row, and the width of one in inches.
    """
    images = [np.squeeze(np.asarray(image)) for image in images]
    titles = [""] * len(images) if titles is None else list(titles)
    if not images or len(images) != len(titles):
        raise ValueError(
            "Expected one image at least and a title for each. "
            f"Received: {len(images)} images, {len(titles)} titles. Pass as many of both."
        )
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    step = 1.08 + 0.18 / side * max(text.count("\n") + 1 if text else 0 for text in titles)
    figure, ((axes,),) = canvas(side * 1.08 * columns, side * step * rows + (0.3 if title else 0), title=title)
    for index, (image, text) in enumerate(zip(images, titles, strict=True)):
        left, top = index % columns * 1.08, index // columns * step
        options = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
        axes.imshow(image, extent=(left, left + 1, top + 1, top), **options)
        axes.annotate(text, (left + 0.5, top - 0.03), fontsize=SMALL, ha="center", va="bottom")
    axes.set(xlim=(-0.02, columns * 1.08 - 0.06), ylim=(step * (rows - 1) + 1.02, 1.06 - step), aspect="equal")
    axes.set_axis_off()
    return figure


@styled
def heatmaps(
    faces: Mapping[str, np.ndarray],
    maps: Mapping[str, Mapping[str, np.ndarray]],
    *,
    counts: Mapping[str, int] | None = None,
    bands: Mapping[str, tuple] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw heatmaps over faces, such as the mean of each emotion over its mean face: a column a face, a row a method.

    Args:
        faces: from a column's title to its face, `(height, width)` or `(height, width, 1)`, in [0, 255].
        maps: from a method to a dict from the title to the heatmap, `(height, width)` in [0, 1].
        counts: from a title to the number of faces in the mean, or None.
        bands: from a part of the face to `(top, bottom)`, shares of the height, written beside it; or None.
    """
    figure, grid = canvas(0.86 * len(faces) + 1.0, 1.0 * len(maps) + 0.6, len(maps), len(faces), title=title)
    for row, (method, of_face) in zip(grid, maps.items(), strict=True):
        for axes, (name, face) in zip(row, faces.items(), strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.imshow(face, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
            if name in of_face:
                shown = np.asarray(of_face[name], float)
                options = {"vmin": 0, "vmax": 1.4, "alpha": MOST_COVERED * shown, "interpolation": "bilinear"}
                axes.imshow(shown, cmap="hot", extent=(0, 1, 1, 0), **options)
        if bands:
            row[0].set_yticks([(top + bottom) / 2 for top, bottom in bands.values()], bands)
        row[0].tick_params(length=0, labelsize=SMALL)
        row[-1].yaxis.set_label_position("right")
        row[-1].set_ylabel(method)
    for axes, name in zip(grid[0], faces, strict=True):
        axes.set_title(f"{name}\n{counts.get(name, 0):,} faces" if counts else name)
    return figure


@styled
def timeline(table: pd.DataFrame, *, faces: int | Sequence[int] = 4, title: str | None = None) -> Figure:
    """Draw the probability of each emotion over time, one panel a face; lines are broken where a face was away.

    Args:
        table: as `recognize_video` returns it.
        faces: the ids to draw, or so many of those that are seen in most frames.
    """
    missing = [name for name in ("time", "id", "emotion") if name not in table]
    classes = [name for name in table if name not in PLACE]
    if missing or not classes or not len(table):
        raise ValueError(
            "Expected the table of a video, with at least one face. Received: "
            f"{len(table)} rows with the columns {', '.join(map(str, table))}. Pass what `recognize_video` returns."
        )
    chosen = chosen_faces(table, faces)
    figure, grid = canvas(8, 0.6 + 1.9 * len(chosen), len(chosen), 1, sharex=True, sharey=True)
    unit, length = ("minutes", 60) if np.ptp(table["time"]) > 300 else ("seconds", 1)
    for axes, number in zip(grid[:, 0], chosen, strict=True):
        rows = with_gaps(table[table["id"] == number].sort_values("time"))
        options = {"linewidth": 1.5, "marker": "o" if len(rows) == 1 else ""}
        for index, name in enumerate(classes):
            # A class without a colour of its own takes the next, and is not drawn through.
            colour = COLOURS.get(name, PALETTE[index % len(PALETTE)])
            line = "-" if name in COLOURS else LINES[1 + index // len(PALETTE) % 3]
            axes.plot(rows["time"] / length, rows[name], line, color=colour, label=name, **options)
        percent(axes.yaxis)
        axes.set(ylim=(0, 1.03), ylabel="probability", title=f"{title}: face {number}" if title else f"face {number}")
    axes.set_xlabel(f"time ({unit})")
    grid[0, 0].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def chosen_faces(table: pd.DataFrame, faces: int | Sequence[int]) -> list[int]:
    """List the ids to draw."""
    seen = table["id"].value_counts().sort_index()
    if isinstance(faces, int):
        if faces < 1:
            raise ValueError(f"`faces` must be at least 1. Received: {faces}. Pass how many to draw, or a list of ids.")
        return sorted(seen.sort_values(ascending=False, kind="stable").index[:faces].tolist())
    if not len(faces) or set(faces) - set(seen.index):
        known = ", ".join(map(str, seen.index))
        raise ValueError(f"`faces` must be ids of the table. Received: {list(faces)}. Choose of: {known}.")
    return list(faces)


def with_gaps(rows: pd.DataFrame) -> pd.DataFrame:
    """Add an empty row after each stretch in which a face was seen, to break its lines."""
    times = rows["time"].to_numpy()
    last = np.flatnonzero(np.diff(times) > max(GAP_SECONDS, 3 * np.median(np.diff(times))) if len(times) > 1 else [])
    rows = rows.reset_index(drop=True)
    empty = rows.loc[last, ["time"]].set_axis(last + 0.5)
    return rows.reindex(rows.index.union(empty.index)).fillna({"time": empty["time"]}).sort_index()
