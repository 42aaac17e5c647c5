"""Accuracy against what a network costs, every point with its name."""

from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from fer_keras.reporting.plotting.style import DARK, GREY, PALE, SMALL, canvas, label, legend, model_style, percent
from fer_keras.results.leaderboard import row_name

COSTS = {"num_parameters": "parameters", "multiply_adds": "multiply-adds of one face"}
MANY_TICKS = 2e3  # from the lower to the upper end of an axis: beyond, powers of ten are enough
# Where a point may be named: so many lines above it, on its right (1) or left (-1), the nearest first.
PLACES = [(lines, side) for lines in (0, 1, -1, 2, -2, 3, -3, 4, -4) for side in (1, -1)]


def cost(table, *, size="num_parameters", others=(), title=None):
    """Draw accuracy, with its 95 % interval, against what a network costs on a logarithmic axis.

    Args:
        table: comparable rows of `leaderboard()`: of one number of classes, one protocol, one split.
        size: `"num_parameters"` or `"multiply_adds"`.
        others: `(name, cost, accuracy)` of networks of others, measured on the same images; drawn as crosses.
        title: str or None.

    Returns:
        A `Figure`.

    Raises:
        ValueError: if the rows are not comparable.
    """
    groups = table[["num_classes", "protocol", "split"]].drop_duplicates()
    if len(groups) != 1:
        raise ValueError(
            "Accuracies can be set against size for one number of classes, protocol and split. "
            f"Received: {groups.to_dict('records')}."
        )
    figure, ((axes,),) = canvas(7, 5)
    points = []
    for row in table.itertuples():
        colour, marker = model_style(row.model)
        spread = [[row.accuracy - row.accuracy_low], [row.accuracy_high - row.accuracy]]
        point = getattr(row, size), row.accuracy
        axes.errorbar(*point, yerr=spread, fmt=marker, color=colour, capsize=3)
        points.append((row_name(row._asdict()), point))
    for name, *point in others:
        axes.plot(*point, "x", color=DARK, markersize=7, markeredgewidth=2)
        points.append((name, tuple(point)))
    axes.axhline(1 / table["num_classes"].iloc[0], color=GREY, linewidth=1, linestyle="--", label="chance")
    axes.set_xscale("log")
    axes.margins(x=0.25)
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < MANY_TICKS * low else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=PALE, linewidth=0.6)
    percent(axes.yaxis)
    axes.set_ylim(bottom=0)
    label(axes, x=COSTS[size], y=f"accuracy on {table['split'].iloc[0]} (95 % interval)", title=title)
    legend(axes, loc="lower right")
    name_points(axes, points)
    return figure


def name_points(axes, points):
    """Write names beside points, each at the nearest place where it hides no point and no name, if there is one.

    Of these places, the nearest whose line crosses no name is taken, if there is one.

    Args:
        axes: Matplotlib's, with all else drawn.
        points: list of `(name, (x, y))`.
    """
    axes.figure.draw_without_rendering()
    frame = axes.get_window_extent().padded(-10)  # in pixels: words are a little wider at another resolution
    spots = axes.transData.transform([point for _, point in points])
    taken, names, drawn = [Bbox([xy - 8, xy + 8]) for xy in spots], [], []
    for (name, point), xy in zip(points, spots, strict=True):
        faults = []
        for place in PLACES:
            text = name_at(axes, name, point, *place)
            box = extent(text)
            text.remove()
            line = Path([xy, (box.x0 if place[1] > 0 else box.x1, (box.y0 + box.y1) / 2)])
            hides = box.x0 < frame.x0 or box.x1 > frame.x1 or box.count_overlaps(taken + names) > 0
            crosses = any(line.intersects_bbox(each) for each in names)
            crosses |= any(each.intersects_bbox(box) for each in drawn)
            faults.append((hides, crosses, place, box, line))
        _, _, place, box, line = min(faults, key=lambda found: found[:2])
        name_at(axes, name, point, *place)
        names.append(box)
        drawn.append(line)


def extent(text):
    """Return where an annotation's words are, without its line, as a `Bbox` in pixels."""
    text.update_positions(text.figure.canvas.get_renderer())
    return Text.get_window_extent(text)


def name_at(axes, name, point, lines, side):
    """Return a point's name, written so many lines above it, on its right or left, with a line to it."""
    end = (0.0 if side > 0 else 1.0, 0.5)  # of the words, where the line begins
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "relpos": end, "shrinkB": 4} if lines else None
    options = {"fontsize": SMALL, "color": DARK, "va": "center", "ha": "left" if side > 0 else "right"}
    text = axes.annotate(name, point, (7 * side, 11 * lines), textcoords="offset points", arrowprops=line, **options)
    text.set_in_layout(False)
    return text
