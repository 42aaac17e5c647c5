"""How trainings went, and what studies of many trainings found."""

import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fer_keras.plots import style
from fer_keras.plots.style import DARK, GREY, LINES, Figure, canvas, dash_majority, model_style, percent, styled
from fer_keras.results import Run, rate_falls

LONGER = 10  # times the epochs of the shortest run: beyond, the axis is logarithmic
SPREAD = 1.04  # neighbours at the same number of images are set apart by this factor, so that their bars do not overlap


@styled
def training_history(run: Run, *, title: str | None = None) -> Figure:
    """Draw one run's loss and accuracy by epoch, on the training and on the validation images.

    The epoch whose weights were kept is marked, and so is every fall of the learning rate.
    """
    table, (colour, marker) = run.history(), model_style(run.recipe["model"])
    figure, ((loss, accuracy),) = canvas(8, 3.4, 1, 2)
    best = table.set_index("epoch").loc[run.best_epoch]
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        single = "." if len(table) == 1 else "None"  # a line needs two points
        axes.plot("epoch", name, marker=single, data=table, color=GREY, linewidth=1.2, label="training")
        axes.plot("epoch", f"val_{name}", data=table, color=colour, linewidth=1.8, label="validation")
        axes.axvline(run.best_epoch, color=DARK, linewidth=0.8, linestyle=":", label="epoch that was kept")
        axes.plot(run.best_epoch, best[f"val_{name}"], marker, color=colour, markeredgecolor=DARK, markersize=7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for epoch in rate_falls(run):
        loss.axvline(epoch, color=GREY, linewidth=0.6, linestyle="-.", label="learning rate falls")
    dash_majority(accuracy, run.majority("validation"))
    percent(accuracy.yaxis)
    loss.set(xlabel="epoch", ylabel="loss (nats)", title=title or run.label)
    accuracy.set(xlabel="epoch", ylabel="accuracy", ylim=(0, None), title=f"best epoch: {run.best_epoch}")
    style.shared_legend(figure)
    return figure


@styled
def learning_curves(runs: list[Run], *, title: str | None = None) -> Figure:
    """Draw the validation accuracy by epoch of several runs in one panel, the kept epoch of each marked.

    Runs of the same model share its colour and differ in their line.
    """
    runs, (figure, ((axes,),)) = style.check_runs(runs), canvas(7, 3.6)
    models = [run.recipe["model"] for run in runs]
    for place, (run, model) in enumerate(zip(runs, models, strict=True)):
        table, (colour, marker) = run.history(), model_style(model)
        line = LINES[models[:place].count(model) % len(LINES)]
        kept = table["epoch"].tolist().index(run.best_epoch)
        look = {"marker": marker, "markevery": [kept], "markersize": 7, "markeredgecolor": DARK}
        axes.plot("epoch", "val_accuracy", line, data=table, color=colour, label=run.label, **look)
    dash_majority(axes, *(run.majority("validation") for run in runs))
    percent(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if max(run.epochs_run for run in runs) > LONGER * min(run.epochs_run for run in runs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, None), title=title)
    axes.legend(**style.BESIDE)
    return figure


@styled
def training_sizes(table: pd.DataFrame, *, majority: float, title: str | None = None) -> Figure:
    """Draw validation accuracy with its 95 % interval against the number of training images, a line a starting point.

    Args:
        table: columns `start`, which has its colour and marker, `backbone` (trained or frozen), which has its line,
            `train_images`, `accuracy`, `accuracy_low` and `accuracy_high`.
        majority: the majority class's share of the validation images.
    """
    figure, ((axes,),) = canvas(7, 3.8)
    starts, backbones = list(table["start"].unique()), list(table["backbone"].unique())
    groups = list(table.groupby(["start", "backbone"], sort=False))
    for place, ((start, backbone), rows) in enumerate(groups):
        rows, shift = rows.sort_values("train_images"), SPREAD ** (place - (len(groups) - 1) / 2)
        spread = [rows["accuracy"] - rows["accuracy_low"], rows["accuracy_high"] - rows["accuracy"]]
        look = {"color": style.PALETTE[starts.index(start)], "marker": style.MARKERS[starts.index(start)]}
        look |= {"linestyle": LINES[backbones.index(backbone)], "markersize": 5, "elinewidth": 0.8}
        axes.errorbar(rows["train_images"] * shift, rows["accuracy"], spread, label=f"{start}, {backbone}", **look)
    dash_majority(axes, majority)
    axes.set_xscale("log")
    axes.set_xticks(sorted(table["train_images"].unique()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    percent(axes.yaxis)
    axes.set(xlabel="training images", ylabel="validation accuracy", title=title)
    axes.legend(**style.BESIDE)
    return figure
