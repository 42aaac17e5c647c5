"""Accuracy against the number of training images."""

from matplotlib.ticker import FuncFormatter, NullLocator

from fer_keras.reporting.plotting.style import GREY, LINES, MARKERS, PALETTE, canvas, label, legend, percent

SPREAD = 1.04  # neighbours at the same number of images are set apart by this factor, so that their bars do not overlap


def by_training_images(lines, *, num_classes, title=None):
    """Draw accuracy with its 95 % interval against the number of training images, a line a starting point.

    Args:
        lines: dict from `(start, how)` to a dict from a number of images to `(accuracy, low, high)`. A start has its
            colour and marker, what was done with it its line.
        num_classes: int, for the level of chance.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, ((axes,),) = canvas(7, 3.8)
    starts, ways = (list(dict.fromkeys(key[part] for key in lines)) for part in (0, 1))
    for place, ((start, how), points) in enumerate(lines.items()):
        shift = SPREAD ** (place - (len(lines) - 1) / 2)
        sizes = sorted(points)
        values = [points[size] for size in sizes]
        axes.errorbar(
            [size * shift for size in sizes],
            [share for share, _, _ in values],
            [[share - low for share, low, _ in values], [high - share for share, _, high in values]],
            color=PALETTE[starts.index(start)],
            marker=MARKERS[starts.index(start)],
            linestyle=LINES[ways.index(how)],
            label=f"{start}, {how}",
            linewidth=1.4,
            elinewidth=0.8,
            markersize=5,
        )
    axes.axhline(1 / num_classes, color=GREY, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    sizes = sorted({size for points in lines.values() for size in points})
    axes.set_xticks(sizes)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    percent(axes.yaxis)
    label(axes, x="training images (chance is dashed)", y="validation accuracy", title=title)
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
