"""Whether a label can be believed: likely errors by class, and what people say of them."""

import numpy as np
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from fer_keras.reporting.plotting.style import (
    DARK,
    GREY,
    PALE,
    PALETTE,
    SMALL,
    TEXT_SIZE,
    canvas,
    label,
    legend,
    percent,
)


def label_errors(counts, totals, classes, *, title=None):
    """Draw the likely label errors: each row as shares of the images of a given label, with the counts below.

    Args:
        counts: int array `(classes, classes)`, a row a given label, a column the class that is likely right.
        totals: how many images have each label.
        classes: class names, in the order of rows and columns.
        title: str or None.

    Returns:
        A `Figure`; the last column is the share of each label's images that are likely errors.
    """
    counts, totals = np.asarray(counts), np.asarray(totals)
    table = np.hstack([counts, counts.sum(axis=1, keepdims=True)])
    shares = table / np.maximum(totals, 1)[:, None]
    rows, columns = table.shape
    figure, ((axes,),) = canvas(2.3 + 0.72 * columns, 1.4 + 0.62 * rows)
    drawn = shares.copy()
    drawn[:, -1] = np.nan  # a sum, not to be compared with its parts by colour
    np.fill_diagonal(drawn, np.nan)
    highest = max(np.nanmax(drawn), 1e-9)
    picture = axes.imshow(drawn, cmap="Blues", vmin=0, vmax=highest, aspect="auto")
    for i, j in np.ndindex(rows, columns):
        if i != j:
            colour = "white" if drawn[i, j] > 0.6 * highest else DARK
            said = f"{100 * shares[i, j]:.1f} %\n{table[i, j]:,}"
            axes.text(j, i, said, ha="center", va="center", fontsize=SMALL, color=colour)
    axes.set_xticks(range(columns), [*classes, "any other"], rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(rows), [f"{name} ({total:,})" for name, total in zip(classes, totals, strict=True)])
    axes.tick_params(length=0)
    axes.axvline(columns - 1.5, color=GREY, linewidth=1)
    scale = figure.colorbar(picture, ax=axes, shrink=0.8, format=PercentFormatter(1.0, 0, " %"))
    scale.ax.tick_params(labelsize=SMALL, length=2)
    scale.set_label("share of the label's images", fontsize=TEXT_SIZE, color=DARK)
    label(axes, x="likely class", y="given label (images)", title=title)
    return figure


def disputed(points, *, overall, flagged, title=None):
    """Draw which share of the least believed labels people dispute, for more and more of these, with intervals.

    Args:
        points: list of dicts as `evaluation.label_errors.in_order` returns it.
        overall: share of all labels that people dispute, dashed: what an order by chance finds.
        flagged: int, how many labels are called likely errors, dotted.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, ((axes,),) = canvas(6.5, 3.6)
    at = [point["images"] for point in points]
    share, low, high = ([point[f"disputed_share{end}"] for point in points] for end in ("", "_low", "_high"))
    axes.fill_between(at, low, high, color=PALETTE[0], alpha=0.25, linewidth=0)
    axes.plot(at, share, color=PALETTE[0], label="labels believed least (95 % interval)")
    axes.axhline(overall, color=GREY, linewidth=1, linestyle="--", label="all labels: an order by chance")
    axes.axvline(flagged, color=DARK, linewidth=1, linestyle=":", label="as many as are called likely errors")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(at[0], at[-1])
    axes.set_ylim(0, 1)
    axes.grid(color=PALE, linewidth=0.6)
    percent(axes.yaxis)
    label(axes, x="labels that are believed least (images)", y="disputed by FER+'s voters", title=title)
    legend(axes, loc="lower left")
    return figure
