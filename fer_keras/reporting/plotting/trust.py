"""Whether a confidence means what it says."""

import numpy as np

from fer_keras.reporting.plotting.style import GREY, PALE, canvas, label, model_style, percent


def reliability(lines, *, model, title=None):
    """Draw how often predictions of each confidence are right, a panel a way of saying it, with 95 % intervals.

    A bar behind each point tells which share of the images has that confidence; a network to be believed lies on the
    dashed diagonal, one that is too sure below it.

    Args:
        lines: dict from a panel's title to a list of dicts, as `evaluation.reliability` returns it.
        model: name of the model, which decides the colour.
        title: str, before the panels' titles, or None.

    Returns:
        A `Figure`.
    """
    figure, (panels,) = canvas(3.4 * len(lines) + 0.4, 3.6, 1, len(lines), sharey=True)
    colour, marker = model_style(model)
    for axes, (name, rows) in zip(panels, lines.items(), strict=True):
        at, share = (np.array([row[key] for row in rows]) for key in ("confidence", "accuracy"))
        low, high = (np.array([row[f"accuracy_{end}"] for row in rows]) for end in ("low", "high"))
        images = np.array([row["num_images"] for row in rows])
        axes.bar(at, images / images.sum(), width=0.04, color=PALE)
        axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        spread = [share - low, high - share]
        axes.errorbar(at, share, yerr=spread, fmt=f"{marker}-", color=colour, capsize=2, markersize=5)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.grid(color=PALE, linewidth=0.5)
        for axis in (axes.xaxis, axes.yaxis):
            percent(axis)
        label(axes, x="confidence", title=": ".join(filter(None, (title, name))))
    label(panels[0], y="right (95 % interval); bars: share of images")
    return figure
