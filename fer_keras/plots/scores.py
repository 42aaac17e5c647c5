"""Scores with their intervals, and confusions."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from fer_keras.plots import style
from fer_keras.plots.style import DARK, GREY, SMALL, Figure, canvas, dash_majority, model_style, percent, styled
from fer_keras.results import Run, leaderboard, row_name

TICKS = (("|", 13, 0), ("x", 6, -0.27))  # marker, size, and how far above the middle of the row
COSTS = {"num_parameters": "parameters", "multiply_adds": "multiply-adds of one face"}
POINTS = FuncFormatter(lambda value, _: f"{100 * value:+.6g}" if abs(value) > 1e-9 else "0")


@styled
def intervals(
    table: pd.DataFrame, value: str = "accuracy", *, label: str | None = None, series: str | None = None,
    panel: str | None = None, model: str = "model", lines: dict | None = None, ticks: dict | None = None,
    reference: float | None = None, axis: str | None = None, title: str | None = None,
) -> Figure:  # fmt: skip
    """Draw values with their 95 % intervals, the first row on top: accuracies, recalls, differences.

    A point is hollow if its interval holds the reference; without a reference, if it is the second series of a model;
    with neither, if it was measured on validation.

    Args:
        table: a row a point.
        value: its column, in [0, 1]; or `"difference"`, in [-1, 1], shown in points. The ends of its interval are the
            columns `VALUE_low` and `VALUE_high`, or `low` and `high` for a difference; without them none is drawn.
        label: column that names the row; default: the index.
        series: column whose values stand side by side in a row and are named in the legend.
        panel: column; each of its values has a panel of its own.
        model: column with the name of a model or recipe, which decides colour and marker; without it all are dark.
        lines: dict from a name to the column of a level, drawn through the rows. For accuracies the column `majority`
            is always drawn.
        ticks: dict from a name to a column of values, a mark a row; two at most.
        reference: a level for all rows, such as 0 for differences.
        axis: name of the axis.
    """
    if value == "accuracy":
        if "majority" not in table:
            expected = "Accuracies must stand beside the majority class's share, in the column `majority`"
            advice = "Add it: `run.majority()` or `results.majority_level`."
            raise ValueError(f"{expected}. Received the columns: {', '.join(table)}. {advice}")
        lines = {style.MAJORITY: "majority", **(lines or {})}
    points = as_points(table, value, label, series, model, reference)
    groups = list(points.groupby(points[panel], sort=False)) if panel else [(title, points)]
    heights = [rows["row"].nunique() + 1.2 for _, rows in groups]
    size = 1 + (0.26 + 0.04 * points["series"].nunique()) * sum(heights)
    options = {"sharex": True, "gridspec_kw": {"height_ratios": heights, "hspace": 0}}
    figure, grid = canvas(8, size, len(groups), title=title if panel else None, **options)
    for axes, (name, rows) in zip(grid[:, 0], groups, strict=True):
        draw_levels(axes, rows, lines or {}, ticks or {}, reference)
        draw_points(axes, rows, list(points["series"].unique()))
        axes.set_title(name)
    axes.xaxis.set_major_formatter(POINTS if value == "difference" else PercentFormatter(1, 0, " %"))
    known = " (95 % interval)" if (points["low"] < points["high"]).any() else ""
    axes.set_xlabel(axis or value.replace("_", " ") + known)
    style.shared_legend(figure)
    return figure


def as_points(table, value, label, series, model, reference) -> pd.DataFrame:
    """Add to a table the columns `row`, `series`, `value`, `low`, `high`, `style` and `hollow` of its points."""
    ends = ["low", "high"] if value == "difference" else [f"{value}_low", f"{value}_high"]
    low, high = (table[end].fillna(table[value]) if end in table else table[value] for end in ends)
    points = table.assign(row=table[label] if label else table.index, series=table[series] if series else "")
    points = points.assign(value=table[value], low=low, high=high)
    points["style"] = [model_style(name) for name in table[model]] if model in table else [(DARK, "o")] * len(table)
    if reference is not None:
        return points.assign(hollow=(low <= reference) & (reference <= high))
    if series:
        first = points.drop_duplicates("series").drop_duplicates("style")["series"]
        return points.assign(hollow=~points["series"].isin(first))
    return points.assign(hollow=table["split"] == "validation" if "split" in table else False)


def draw_points(axes: Axes, rows: pd.DataFrame, series: list):
    """Draw the points of a panel, those of a row side by side, one for each series."""
    order = list(rows["row"].unique())
    for (name, (colour, marker), hollow), part in rows.groupby(["series", "style", "hollow"], sort=False):
        shift = min(0.17, 0.7 / len(series)) * (series.index(name) - (len(series) - 1) / 2)
        places = [order.index(row) + shift for row in part["row"]]
        spread = [(part["value"] - part["low"]).clip(lower=0), (part["high"] - part["value"]).clip(lower=0)]
        look = {"fmt": marker, "color": colour, "mfc": "white" if hollow else colour, "markersize": 6}
        look |= {"xerr": spread, "capsize": 3} if np.any(spread) else {}
        axes.errorbar(part["value"], places, label=name or None, **look)
    axes.set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.4, -0.6))
    axes.grid(axis="both" if len(series) > 1 else "x")


def draw_levels(axes: Axes, rows: pd.DataFrame, lines: dict, ticks: dict, reference: float | None):
    """Draw what the points of a panel are held against: a line through the rows, or a tick a row."""
    first = rows.drop_duplicates("row")
    edges = np.arange(len(first))[:, None] + (-0.5, 0.5, 0.5)
    for (name, column), line, colour in zip(lines.items(), ("--", ":"), (GREY, DARK), strict=False):
        if (level := first[column].astype(float)).notna().any():
            breaks = level.where(level == level.shift(-1))  # between rows of different levels
            axes.plot(np.c_[level, level, breaks].ravel(), edges.ravel(), line, color=colour, linewidth=1, label=name)
    for (name, column), (marker, size, above) in zip(ticks.items(), TICKS, strict=False):
        if (known := first[column].notna().to_numpy()).any():
            look = {"color": DARK, "markersize": size, "markeredgewidth": 2, "label": name}
            axes.plot(first[column][known], np.flatnonzero(known) + above, marker, **look)
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=1, linestyle="--")


@styled
def accuracies(runs: list[Run], *, human: dict | None = None, title: str | None = None) -> Figure:
    """Draw the accuracy of runs as the leaderboard lists them, comparable ones together, beside what was published.

    `human`: dict from a number of classes to people's accuracy, such as `results.HUMAN_ACCURACY`; None draws none.
    """
    table = board(runs)
    # What was published on another data set would be compared.
    elsewhere = table["published_split"].fillna("").str.contains("RAF-DB")
    table["published"] = table["published"].astype(float).mask(elsewhere)
    table["human"] = table["num_classes"].map(human or {}).astype(float)
    table["panel"] = [f"{row.num_classes} classes, {row.protocol} split" for row in table.itertuples()]
    options = {"lines": {"people, about": "human"}, "ticks": {"published": "published"}}
    figure = intervals(table, label="name", panel="panel", **options, title=title)
    figure.axes[-1].set_xlim(0, 1)
    return figure


def board(runs: list[Run]) -> pd.DataFrame:
    """Rows of the leaderboard, each with its `name` and the `majority` class's share of its split."""
    runs = style.check_runs(runs)
    table, majority = leaderboard(runs), {run.run: run.majority() for run in runs}
    names = [row_name(row) for row in table.to_dict("records")]
    return table.assign(name=names, majority=table["run"].map(majority))


@styled
def recalls(runs: list[Run], *, title: str | None = None) -> Figure:
    """Draw the recall of each class by several runs of the same classes, the lowest of the first run on top."""
    runs = style.check_runs(runs, same_classes=True)
    order = runs[0].per_class().sort_values("recall", kind="stable")
    tables = [run.per_class().loc[order.index].assign(run=run.label, model=run.recipe["model"]) for run in runs]
    table = pd.concat(tables).rename(lambda name: f"{name} ({order['support'][name]:,})")
    title = title or f"{' and '.join(sorted({run.scores['split'] for run in runs}))} split"
    axis = "recall: share of the class that was recognised (95 % interval)"
    figure = intervals(table, "recall", series="run", axis=axis, title=title)
    figure.axes[0].set(xlim=(-0.02, 1.02), ylabel="true class (images)")
    return figure


@styled
def cost(
    runs: list[Run], *, size: str = "num_parameters", others: pd.DataFrame | None = None, title: str | None = None
) -> Figure:
    """Draw accuracy, with its 95 % interval, against what a network costs on a logarithmic axis, each point named.

    Args:
        runs: list of `Run` of the same classes, protocol and split; a ValueError on others.
        size: `"num_parameters"` or `"multiply_adds"`.
        others: networks of others, measured on the same images, drawn as crosses: columns `network`, the one that
            `size` names, and `accuracy`.
    """
    table = board(runs).rename(columns={"name": "network"})
    groups = table[["num_classes", "protocol", "split"]].drop_duplicates()
    if len(groups) != 1:
        expected = "Accuracies can be set against size for one number of classes, protocol and split"
        raise ValueError(f"{expected}. Received: {groups.to_dict('records')}. Choose runs of one of these.")
    figure, ((axes,),) = canvas(8, 5)
    for row in table.itertuples():
        colour, marker = model_style(row.model)
        spread = [[row.accuracy - row.accuracy_low], [row.accuracy_high - row.accuracy]]
        axes.errorbar(getattr(row, size), row.accuracy, yerr=spread, fmt=marker, color=colour, capsize=3)
    if others is not None:
        axes.plot(size, "accuracy", "x", data=others, color=DARK, markersize=7, markeredgewidth=2, label="_others")
    dash_majority(axes, *table["majority"])
    axes.set_xscale("log")
    axes.margins(x=0.25)
    many = np.divide(*axes.get_xlim()[::-1]) > 2e3  # from end to end: powers of ten are enough
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if many else (1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid()
    percent(axes.yaxis)
    axes.set(xlabel=COSTS[size], ylabel=f"accuracy on {table['split'].iloc[0]} (95 % interval)", title=title)
    axes.legend(loc="lower left")
    name_points(axes, pd.concat([table, others])[["network", size, "accuracy"]].to_numpy().tolist())
    return figure


def name_points(axes: Axes, points: list):
    """Write names beside points, given as `(name, x, y)`, where they hide neither points nor each other."""
    from adjustText import adjust_text  # It brings pyplot, which few figures need.

    axes.figure.draw_without_rendering()  # settles the layout, which the places depend on
    texts = [axes.text(x, y, name.replace(", ", "\n"), fontsize=SMALL, in_layout=False) for name, x, y in points]
    places = axes.transData.transform([point[1:] for point in points])
    marks = [Bbox([place - 9, place + 9]).transformed(axes.transData.inverted()) for place in places]  # 9 pixels off
    # So many steps and not so many seconds, so that names stand at the same places on any machine.
    forces = {"force_text": (0.4, 0.6), "force_static": (0.2, 0.3), "max_move": 40, "expand": (1.1, 1.3)}
    arrows = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6}
    adjust_text(texts, objects=marks, ax=axes, iter_lim=250, prevent_crossings=False, arrowprops=arrows, **forces)


@styled
def confusion_matrix(counts: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw a confusion matrix, as `Run.confusion` returns it: each row as shares of its true class, counts below."""
    import seaborn  # It brings pyplot, which few figures need.

    if not isinstance(counts, pd.DataFrame):
        words = "Expected a DataFrame with the names of the classes, as of `Run.confusion`"
        advice = "Pass pd.DataFrame(counts, index=names, columns=names)."
        raise ValueError(f"{words}. Received: {type(counts).__name__}. {advice}")
    totals = counts.sum(axis=1)
    shares = counts.div(totals.clip(lower=1), axis=0)
    texts = (100 * shares).map("{:.0f} %\n".format) + counts.map("{:,.0f}".format)
    figure, ((axes,),) = canvas(2.9 + 0.72 * len(counts.columns), 1.6 + 0.72 * len(counts))
    look = {"annot": texts.to_numpy(), "fmt": "", "annot_kws": {"fontsize": SMALL}, "cmap": "Blues", "linewidths": 0.5}
    bar = {"shrink": 0.8, "format": PercentFormatter(1, 0, " %"), "label": "share of the true class"}
    seaborn.heatmap(shares, ax=axes, vmin=0, vmax=1, cbar_kws=bar, **look)
    axes.set_xticks(axes.get_xticks(), counts.columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(axes.get_yticks(), [f"{name} ({total:,})" for name, total in totals.items()], rotation=0)
    for each in figure.axes:
        each.tick_params(length=0)
    axes.set(xlabel="predicted class", ylabel="true class (images)", title=title)
    return figure
