"""Training curves."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from fer_keras.reporting.plotting.style import (
    DARK,
    GREY,
    LINES,
    PALETTE,
    SMALL,
    canvas,
    label,
    legend,
    model_style,
    percent,
)


def history(table, *, model, best_epoch, num_classes, title=None):
    """Draw one run's loss and accuracy an epoch, on the training images and on validation.

    The epoch whose weights were kept is marked, and so is every fall of the learning rate; chance is dashed.

    Args:
        table: `pandas.DataFrame` as `Run.history()` returns it.
        model: name of the model, which decides the colour.
        best_epoch: int, counted from 1.
        num_classes: int, for the level of chance.
        title: str or None.

    Returns:
        A `Figure` of two panels.
    """
    figure, ((loss, accuracy),) = canvas(8, 3.2, 1, 2)
    colour, marker = model_style(model)
    best = table.set_index("epoch").loc[best_epoch]
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(table["epoch"], table[name], color=GREY, linewidth=1.2, label="training")
        axes.plot(table["epoch"], table[f"val_{name}"], color=colour, linewidth=1.8, label="validation")
        axes.axvline(best_epoch, color=DARK, linewidth=0.8, linestyle=":")
        axes.plot([best_epoch], [best[f"val_{name}"]], marker, color=colour, markeredgecolor=DARK, markersize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss.margins(y=0.15)
    mark_falls(loss, table)
    mark_chance(accuracy, 1 / num_classes)
    percent(accuracy.yaxis)
    accuracy.set_ylim(bottom=0)
    label(loss, x="epoch", y="loss (nats)", title=title)
    label(accuracy, x="epoch", y="accuracy", title=f"best epoch: {best_epoch}")
    legend(accuracy, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def histories(tables, *, models, best_epochs, num_classes, title=None):
    """Draw the validation accuracy an epoch of several runs in one panel, the epoch kept of each marked; chance dashed.

    Runs of the same model share its colour and differ in their line.

    Args:
        tables: dict from a run's label to its history.
        models: dict from a run's label to its model's name, which decides the colour.
        best_epochs: dict from a run's label to the epoch whose weights were kept, counted from 1.
        num_classes: int, for the level of chance.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, ((axes,),) = canvas(7, 3.6)
    drawn = []
    for name, table in tables.items():
        colour, marker = model_style(models[name])
        best = table["epoch"].tolist().index(best_epochs[name])
        line = LINES[drawn.count(models[name]) % len(LINES)]
        drawn.append(models[name])
        options = {"marker": marker, "markevery": [best], "markersize": 7, "markeredgecolor": DARK}
        axes.plot("epoch", "val_accuracy", line, data=table, color=colour, label=name, **options)
    mark_chance(axes, 1 / num_classes)
    percent(axes.yaxis)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(axes, x="epoch", y="validation accuracy", title=title)
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def leads(lines, *, axis, title=None):
    """Draw differences of accuracy by epoch beside zero.

    Args:
        lines: dict from a label to a table with the columns `epoch` and `difference`, a fraction in [-1, 1].
        axis: str, what the difference is of.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, ((axes,),) = canvas(7, 3)
    for name, colour, line in zip(lines, PALETTE, LINES * len(lines), strict=False):
        axes.plot(lines[name]["epoch"], 100 * lines[name]["difference"], line, color=colour, label=name)
    axes.axhline(0, color=GREY, linewidth=1, linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label(axes, x="epoch", y=axis, title=title)
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def mark_chance(axes, level):
    """Dash the level of chance across a panel whose y axis is accuracy."""
    axes.axhline(level, color=GREY, linewidth=1, linestyle="--")
    options = {"fontsize": SMALL, "color": GREY, "ha": "right"}
    axes.annotate("chance", (0.99, level), (0, 2), axes.get_yaxis_transform(), "offset points", **options)


def mark_falls(axes, table):
    """Write the learning rate into a panel of the loss: where training starts, and at every fall by half or more.

    A rate that changes with every epoch, as on a cosine, is written where training starts and where it is highest.
    """
    rates = table["learning_rate"].to_numpy()
    smooth = len(rates) > 3 and (rates[1:] != rates[:-1]).all()
    falls = [0, rates.argmax()] if smooth else np.flatnonzero(np.r_[True, rates[1:] <= rates[:-1] / 2])
    for index in falls:
        epoch, first = table["epoch"].iloc[index], index == 0
        axes.axvline(epoch, color=GREY, linewidth=0.6, alpha=0.5)
        # The loss falls from the upper left to the lower right: these corners are free.
        options = {"fontsize": SMALL, "color": GREY, "rotation": 90, "va": "bottom" if first else "top"}
        where = (epoch, 0.01 if first else 0.99)
        text = f"rate {rates[index]:.1e}".replace("e-0", "e-").replace(".0e", "e")
        axes.annotate(text, where, (2, 0), axes.get_xaxis_transform(), "offset points", **options)
