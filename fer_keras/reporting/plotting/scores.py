"""Scores: confusion matrices, accuracies with their intervals, recall of each class."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from fer_keras.labels import COLOURS
from fer_keras.reporting.plotting.style import (
    DARK,
    GREY,
    PALE,
    SMALL,
    TEXT_SIZE,
    canvas,
    label,
    legend,
    model_style,
    percent,
)
from fer_keras.results.leaderboard import row_name


def confusion(counts, classes, *, title=None):
    """Draw a confusion matrix: each row as shares of its true class, with the counts below.

    Args:
        counts: int array `(classes, classes)`, a row a true class, a column a predicted one.
        classes: class names, in the order of rows and columns.
        title: str or None.

    Returns:
        A `Figure`.
    """
    import seaborn  # It brings pyplot, which no other figure needs.

    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.6 + 0.72 * len(classes)
    figure, ((axes,),) = canvas(size + 1.3, size)
    texts = [
        [f"{100 * shares[i, j]:.0f} %\n{counts[i, j]:,}" for j in range(len(classes))] for i in range(len(classes))
    ]
    bar = {"shrink": 0.8, "format": PercentFormatter(1.0, 0, " %")}
    options = {"annot": texts, "fmt": "", "annot_kws": {"fontsize": SMALL}, "cbar_kws": bar}
    seaborn.heatmap(shares, ax=axes, cmap="Blues", vmin=0, vmax=1, linewidths=0.5, linecolor="white", **options)
    middles = np.arange(len(classes)) + 0.5
    axes.set_xticks(middles, classes, rotation=35, ha="right", rotation_mode="anchor")
    names = [f"{name} ({total:,})" for name, total in zip(classes, counts.sum(1), strict=True)]
    axes.set_yticks(middles, names, rotation=0)
    axes.tick_params(length=0)
    scale = figure.axes[-1]
    scale.tick_params(labelsize=SMALL, length=2)
    scale.set_ylabel("share of the true class", fontsize=TEXT_SIZE, color=DARK)
    label(axes, x="predicted class", y="true class (images)", title=title)
    return figure


def accuracies(table, *, human=None, title=None):
    """Draw accuracies with their 95 % intervals, comparable rows together, beside what was published.

    Args:
        table: rows of `leaderboard()`.
        human: dict from a number of classes to people's accuracy, drawn dotted; None draws none.
        title: str or None.

    Returns:
        A `Figure`: a panel for each number of classes and protocol, chance dashed.
    """
    groups = list(table.groupby(["num_classes", "protocol"], sort=False))
    heights = [len(rows) + 1.2 for _, rows in groups]
    size = {"height_ratios": heights, "hspace": 0}
    figure, grid = canvas(8, 0.9 + 0.3 * sum(heights), len(groups), sharex=True, gridspec_kw=size)
    for axes, ((num_classes, protocol), rows) in zip(grid[:, 0], groups, strict=True):
        axes.axvline(1 / num_classes, color=GREY, linewidth=1, linestyle="--", label="chance")
        if human and num_classes in human:
            axes.axvline(human[num_classes], color=DARK, linewidth=1, linestyle=":", label="people, about")
        for place, row in enumerate(rows.itertuples()):
            draw_accuracy(axes, row, place)
        axes.set_yticks(range(len(rows)), [row_name(row) for row in rows.to_dict("records")])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", color=PALE, linewidth=0.6)
        label(axes, title=f"{num_classes} classes, {protocol} split")
    percent(grid[-1, 0].xaxis)
    grid[-1, 0].set_xlim(0, 1)
    label(grid[-1, 0], x="accuracy (95 % interval)")
    handles = {
        name: handle for axes in grid[:, 0] for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=4, fontsize=SMALL, frameon=False)
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def draw_accuracy(axes, row, place):
    """Draw a row of the leaderboard: the score with its interval, hollow on validation, and what was published.

    What was published on another data set is left out: it would be compared.
    """
    colour, marker = model_style(row.model)
    spread = [[row.accuracy - row.accuracy_low], [row.accuracy_high - row.accuracy]]
    face = colour if row.split == "test" else "white"
    axes.errorbar(row.accuracy, place, xerr=spread, fmt=marker, color=colour, mfc=face, capsize=3, markersize=6)
    known = row.published == row.published and row.published is not None
    if known and "RAF-DB" not in str(row.published_split):
        axes.plot(row.published, place, "|", color=DARK, markersize=13, markeredgewidth=2, label="published")


def recalls(per_class, *, models, title=None):
    """Draw the recall of each class, a dot a run, the classes ordered by the first run.

    A second run of the same model is hollow.

    Args:
        per_class: dict from a run's label to its `metrics[split]["per_class"]`.
        models: dict from a run's label to its model's name, which decides colour and marker.
        title: str or None.

    Returns:
        A `Figure`.
    """
    first = next(iter(per_class.values()))
    order = sorted(first, key=lambda name: first[name]["recall"])
    figure, ((axes,),) = canvas(7, 1.4 + 0.34 * len(order))
    drawn = []
    for name, scores in per_class.items():
        colour, marker = model_style(models[name])
        shares = [scores[entry]["recall"] for entry in order]
        face = "none" if models[name] in drawn else colour
        # Side by side, so that equal shares do not hide each other.
        places = np.arange(len(order)) + 0.16 * (len(drawn) - (len(per_class) - 1) / 2)
        drawn.append(models[name])
        axes.plot(shares, places, marker, color=colour, mfc=face, markersize=7, label=name)
    axes.set_yticks(range(len(order)), [f"{name} ({first[name]['support']:,})" for name in order])
    axes.grid(axis="both", color=PALE, linewidth=0.6)
    axes.set_xlim(-0.02, 1.02)
    percent(axes.xaxis)
    label(axes, x="recall: share of the class that was recognised", y="true class (images)", title=title)
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def bars(values, *, axis, shares=False, title=None, colours=COLOURS):
    """Draw named values as horizontal bars, each with its number: copies by split, agreement by class.

    Args:
        values: dict or `pandas.Series` from a name to a count, or to a share in [0, 1].
        axis: str, what the numbers are, with their unit.
        shares: True shows the values in percent.
        title: str or None.
        colours: dict from a name to a colour; a name that is not in it is grey.

    Returns:
        A `Figure`.
    """
    values = dict(values)
    figure, ((axes,),) = canvas(6.5, 0.9 + 0.32 * len(values))
    drawn = axes.barh(list(values), list(values.values()), color=[colours.get(name, GREY) for name in values])
    texts = [f"{100 * value:.0f} %" if shares else f"{value:,.0f}" for value in values.values()]
    axes.bar_label(drawn, texts, padding=3, fontsize=SMALL)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if shares:
        percent(axes.xaxis)
        axes.set_xlim(0, 1.05)
    label(axes, x=axis, title=title)
    return figure


def gains(rows, *, axis, title=None):
    """Draw differences with their intervals beside zero, the largest at the top.

    Args:
        rows: list of `(name, difference, low, high)`, fractions in [-1, 1].
        axis: str, what the difference is of.
        title: str or None.

    Returns:
        A `Figure`; a difference whose interval holds zero is hollow.
    """
    rows = sorted(rows, key=lambda row: -row[1])
    figure, ((axes,),) = canvas(6.5, 1.0 + 0.32 * len(rows))
    for place, (_, middle, low, high) in enumerate(rows):
        points = [100 * value for value in (middle, low, high)]
        spread = [[points[0] - points[1]], [points[2] - points[0]]]
        face = "white" if low <= 0 <= high else DARK
        axes.errorbar(points[0], place, xerr=spread, fmt="o", color=DARK, mfc=face, capsize=3, markersize=6)
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color=PALE, linewidth=0.6)
    label(axes, x=axis, title=title)
    return figure
