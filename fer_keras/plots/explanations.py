"""Where networks look, whether they need what a heatmap marks, and what corruptions do to them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fer_keras.plots import style
from fer_keras.plots.style import (
    DARK,
    GREY,
    LINES,
    SMALL,
    Figure,
    canvas,
    dash_majority,
    model_style,
    percent,
    styled,
)

COLOUR_MAP = "hot"
MOST_COVERED = 0.8  # of a face, where the heatmap is highest; where it is 0, the face is as it was
COLUMNS = 4


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
                axes.imshow(shown, cmap=COLOUR_MAP, extent=(0, 1, 1, 0), **options)
        if bands:
            row[0].set_yticks([(top + bottom) / 2 for top, bottom in bands.values()], bands)
        row[0].tick_params(length=0, labelsize=SMALL)
        row[-1].yaxis.set_label_position("right")
        row[-1].set_ylabel(method)
    for axes, name in zip(grid[0], faces, strict=True):
        axes.set_title(f"{name}\n{counts.get(name, 0):,} faces" if counts else name)
    return figure


@styled
def deletion_curves(
    table: pd.DataFrame, *, baselines: Sequence[str] = ("chance", "single pixels"), title: str | None = None
) -> Figure:
    """Draw how the probability of the class falls while the pixels that a map marks are deleted, a panel a network.

    Args:
        table: of one fill, as `results.deletion_curves` has it: columns `network`, `map`, `deleted` (a share of the
            pixels) and `probability`.
        baselines: maps that know nothing of the face: they are grey.
    """
    groups = list(table.groupby("network", sort=False))
    figure, (panels,) = canvas(3.3 * len(groups) + 1.5, 3.4, 1, len(groups), sharey=True, title=title)
    fullest = max((rows for _, rows in groups), key=lambda rows: rows["map"].nunique())
    order = fullest.groupby("map")["probability"].sum().sort_values(kind="stable").index
    named = [name for name in order if name not in baselines]
    for axes, (network, rows) in zip(panels, groups, strict=True):
        curves = rows.pivot(index="deleted", columns="map", values="probability").reindex(columns=[*named, *baselines])
        for name, curve in curves.items():
            line = LINES[(list(baselines) if name in baselines else named).index(name) % len(LINES)]
            colour, width = (GREY, 1.2) if name in baselines else (DARK, 1.8)
            axes.plot(curve.index, curve, line, color=colour, linewidth=width, label=name)
        axes.grid()
        percent(axes.xaxis, axes.yaxis)
        axes.set(xlabel="deleted pixels", title=network)
    panels[0].set(ylim=(0, None), ylabel="mean probability of the class")
    axes.legend(**style.BESIDE)
    return figure


@styled
def robustness(table: pd.DataFrame, *, majority: float, title: str | None = None) -> Figure:
    """Draw the accuracy at each level of each corruption, a panel a corruption, a band the 95 % interval.

    Args:
        table: as `results.robustness_table` has it: columns `network`, which decides the colour, `corruption`, `unit`,
            `level`, `accuracy`, `accuracy_low` and `accuracy_high`.
        majority: the majority class's share of the images.
    """
    groups = list(table.groupby(["corruption", "unit"], sort=False))
    lines = style.lines_of([model_style(name) for name in table["network"].unique()])
    height = -(-len(groups) // COLUMNS)
    figure, grid = canvas(9.5, 2.45 * height, height, COLUMNS, sharey=True, title=title)
    for axes, ((corruption, unit), rows) in zip(grid.flat, groups, strict=False):
        for (name, own), line in zip(rows.groupby("network", sort=False), lines, strict=True):
            colour, marker = model_style(name)
            axes.fill_between("level", "accuracy_low", "accuracy_high", data=own, color=colour, alpha=0.25, linewidth=0)
            axes.plot("level", "accuracy", f"{marker}{line}", data=own, color=colour, markersize=4, label=name)
        dash_majority(axes, majority)
        axes.grid()
        percent(axes.yaxis)
        axes.set_xlabel(unit, fontsize=SMALL)
        axes.set_title(corruption)
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set(ylim=(0, None), ylabel="accuracy")
    style.shared_legend(figure)
    return figure
