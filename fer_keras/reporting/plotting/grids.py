"""A grid of settings and what came of it, as parallel coordinates."""

import matplotlib
import numpy as np
import pandas as pd

from fer_keras.reporting.plotting.style import DARK, GREY, SMALL, TEXT_SIZE, canvas, label

PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0}  # under words among lines
SHIFT = 0.035  # of a line at a setting, so that lines through the same values can be told apart


def parallel_coordinates(table, settings, *, score="accuracy", title=None):
    """Draw a line for each cell of a grid through its settings to its score; the best are the darkest.

    Args:
        table: `pandas.DataFrame`, a row a cell.
        settings: its columns to be drawn, in this order; each value gets a place of its own, evenly spaced.
        score: the column of the last axis, in [0, 1].
        title: str, or None.

    Returns:
        A `Figure`.
    """
    table = table.sort_values(score).reset_index(drop=True)
    figure, grid = canvas(1.5 + 1.25 * (len(settings) + 1), 3.4)
    axes, last = grid[0, 0], len(settings)
    low, high = table[score].min(), table[score].max()
    places = [heights(table[name]) for name in settings]
    places.append((table[score] - low) / max(high - low, 1e-9))
    shift = np.linspace(-SHIFT, SHIFT, len(table)) if len(table) > 1 else np.zeros(1)
    colours = matplotlib.colormaps["viridis_r"]((table[score] - low) / max(high - low, 1e-9))
    for row in range(len(table)):
        line = [place[row] + shift[row] * (axis < last) for axis, place in enumerate(places)]
        axes.plot(range(last + 1), line, color=colours[row], linewidth=1.4, alpha=0.85)
    for axis, name in enumerate(settings):
        axes.axvline(axis, color=GREY, linewidth=0.8)
        values = sorted(table[name].unique())
        for value, height in zip(values, heights(pd.Series(values)), strict=True):
            words = {"fontsize": SMALL, "color": DARK, "bbox": PAPER}
            axes.text(axis - 0.04, height, f"{value:g}", ha="right", va="center", **words)
    axes.axvline(last, color=GREY, linewidth=0.8)
    for share, height in ((low, 0), (high, 1)):
        axes.text(last + 0.04, height, f"{100 * share:.1f} %", ha="left", va="center", fontsize=SMALL, color=DARK)
    axes.set_xticks(range(last + 1), [*(name.replace("_", " ") for name in settings), f"validation {score}"])
    axes.tick_params(axis="x", length=0, labelsize=TEXT_SIZE - 1)
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(-0.06, 1.06)
    label(axes, title=title)
    return figure


def heights(values):
    """Return the place in [0, 1] of each value among the values that there are, evenly spaced."""
    distinct = sorted(values.unique())
    return values.map(distinct.index) / max(len(distinct) - 1, 1)
