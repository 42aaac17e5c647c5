"""A score of each emotion by several networks, beside levels to hold it against."""

import numpy as np

from fer_keras.reporting.plotting.style import DARK, GREY, PALE, canvas, label, legend, model_style, percent

# Of the levels, in their order: colour, marker, size, and how far above the middle of their emotion.
LEVELS = ((GREY, "|", 17, 0), (DARK, "x", 6, -0.27))
APART = 0.17  # between the networks of one emotion, so that equal scores do not hide each other


def by_emotion(scores, *, models, levels, axis, title=None):
    """Draw a score of each emotion, a dot a network, with its 95 % interval if it has one; levels are ticks.

    The emotions are ordered by the first network. A second network of the same model is hollow.

    Args:
        scores: dict from a network's label to a dict from emotion to `(score, low, high)`, or to a number, in [0, 1].
        models: dict from a network's label to its model's name, which decides colour and marker.
        levels: dict from a level's label to a dict from emotion to a number in [0, 1]; two of them at most.
        axis: str, what the scores are.
        title: str or None.

    Returns:
        A `Figure`.
    """
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    first = next(iter(scores.values()))
    order = sorted(names, key=lambda name: np.max(first.get(name, 0)))
    figure, ((axes,),) = canvas(7.5, 1.3 + 0.42 * len(order))
    for (name, values), (colour, marker, size, above) in zip(levels.items(), LEVELS, strict=False):
        found = [(values[emotion], place + above) for place, emotion in enumerate(order) if emotion in values]
        axes.plot(*zip(*found, strict=True), marker, color=colour, markersize=size, markeredgewidth=2, label=name)
    for number, (name, values) in enumerate(scores.items()):
        hollow = models[name] in [models[before] for before in list(scores)[:number]]
        shift = APART * (number - (len(scores) - 1) / 2)
        draw_scores(
            axes, {order.index(emotion) + shift: values[emotion] for emotion in values}, models[name], name, hollow
        )
    axes.set_yticks(range(len(order)), order)
    axes.grid(axis="both", color=PALE, linewidth=0.6)
    axes.margins(x=0.06, y=0.09)
    percent(axes.xaxis)
    label(axes, x=axis, y="emotion", title=title)
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_scores(axes, scores, model, name, hollow):
    """Draw one network's scores, numbers or `(score, low, high)`, at their places on the y axis."""
    colour, marker = model_style(model)
    points = np.array([np.broadcast_to(score, 3) for score in scores.values()])
    spread = [points[:, 0] - points[:, 1], points[:, 2] - points[:, 0]] if np.ptp(points, axis=1).any() else None
    look = {"fmt": marker, "color": colour, "mfc": "none" if hollow else colour, "markersize": 6.5, "capsize": 3}
    axes.errorbar(points[:, 0], list(scores), xerr=spread, label=name, **look)
