"""Where networks look, whether that is true, and what damage does to them."""

import numpy as np

from fer_keras.labels import COLOURS
from fer_keras.reporting.plotting.style import (
    DARK,
    GREY,
    LINES,
    PALE,
    SMALL,
    TEXT_SIZE,
    canvas,
    label,
    legend,
    model_style,
    percent,
)

HEAT = "hot"
MOST_COVERED = 0.8  # of a mean face, where the heat is greatest; the cold leaves it as it is


def heat_over_faces(faces, heat, *, counts=None, bands=None, title=None):
    """Draw heat over faces, such as the mean of each emotion over its mean face, a column a face and a row a method.

    Args:
        faces: dict from a column's title to its face, `(height, width)` or `(height, width, 1)`, in [0, 255].
        heat: dict from a method to a dict from the title to the heat, `(height, width)` in [0, 1].
        counts: dict from a title to the number of faces in the mean, or None.
        bands: dict from a part of the face to `(top, bottom)`, shares of the height, written beside it; or None.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, grid = canvas(0.86 * len(faces) + 1.0, 1.0 * len(heat) + 0.6, len(heat), len(faces))
    for row, maps in zip(grid, heat.values(), strict=True):
        for axes, (emotion, face) in zip(row, faces.items(), strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.imshow(face, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
            if emotion in maps:
                shown = np.asarray(maps[emotion], float)
                options = {"vmin": 0, "vmax": 1.4, "alpha": MOST_COVERED * shown, "interpolation": "bilinear"}
                axes.imshow(shown, cmap=HEAT, extent=(0, 1, 1, 0), **options)
    for axes, emotion in zip(grid[0], faces, strict=True):
        label(axes, title=f"{emotion}\n{counts.get(emotion, 0):,} faces" if counts else emotion)
    for row, method in zip(grid, heat, strict=True):
        if bands:
            row[0].set_yticks([(top + bottom) / 2 for top, bottom in bands.values()], bands)
        row[0].tick_params(length=0, labelsize=SMALL)
        row[-1].yaxis.set_label_position("right")
        row[-1].set_ylabel(method, fontsize=TEXT_SIZE, color=DARK)
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def heat_by_region(shares, *, even, title=None):
    """Draw which share of the heat lies on each part of the face, a panel an emotion, with 95 % intervals.

    Args:
        shares: dict from an emotion to a dict from a part, from the top down, to a dict of `mean`, `low`, `high`.
        even: dict from a part to its share of the face, which an even map would have: a tick.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, (panels,) = canvas(0.9 + 1.35 * len(shares), 2.5, 1, len(shares), sharey=True, sharex=True)
    for axes, (emotion, parts) in zip(panels, shares.items(), strict=True):
        names = list(parts)
        mean, low, high = (np.array([parts[name][key] for name in names]) for key in ("mean", "low", "high"))
        axes.barh(names, mean, color=COLOURS.get(emotion, GREY), height=0.7)
        axes.errorbar(mean, names, xerr=[mean - low, high - mean], fmt="none", ecolor=DARK, elinewidth=1, capsize=2)
        axes.plot([even[name] for name in names], names, "|", color=DARK, markersize=13, markeredgewidth=1.6)
        axes.xaxis.get_major_locator().set_params(nbins=3)
        percent(axes.xaxis)
        label(axes, title=emotion)
    panels[0].invert_yaxis()
    label(panels[len(panels) // 2], x="share of the heat (tick: of an even map)")
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def deletion(curves, shares, *, rivals, title=None):
    """Draw how the probability of the class falls while pixels are deleted, the hottest first, a panel a network.

    Args:
        curves: dict from a network's label to a dict from a map's name to its mean curve, one value a share.
        shares: of the pixels that are deleted.
        rivals: list of the names of the maps that know nothing: they are grey.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, (panels,) = canvas(3.3 * len(curves) + 1.5, 3.4, 1, len(curves), sharey=True)
    fullest = max(curves.values(), key=len)
    named = [name for name in sorted(fullest, key=lambda name: sum(fullest[name])) if name not in rivals]
    for axes, (network, maps) in zip(panels, curves.items(), strict=True):
        for name in (*named, *rivals):
            line = LINES[(rivals if name in rivals else named).index(name) % len(LINES)]
            colour, width = (GREY, 1.2) if name in rivals else (DARK, 1.8)
            axes.plot(shares, maps.get(name, [np.nan] * len(shares)), line, color=colour, linewidth=width, label=name)
        axes.set_ylim(bottom=0)
        axes.grid(color=PALE, linewidth=0.6)
        percent(axes.xaxis)
        percent(axes.yaxis)
        label(axes, x="deleted pixels", title=network)
    label(panels[0], y="mean probability of the class")
    legend(panels[-1], loc="center left", bbox_to_anchor=(1, 0.5))
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def robustness(networks, *, damages, chance, majority=None, title=None):
    """Draw the accuracy at each level of each damage, a panel a damage, a band the 95 % interval; chance is dashed.

    Args:
        networks: dict from a network's name, which decides its colour, to rows as `evaluation.robustness` returns them.
        damages: dict from a kind to `(unit, levels)`.
        chance: float, the accuracy of guessing.
        majority: float, that of naming the commonest class, dotted; None draws none.
        title: str or None.

    Returns:
        A `Figure`.
    """
    columns = 4
    figure, grid = canvas(9.5, 4.9, -(-len(damages) // columns), columns, sharey=True)
    for axes, (kind, (unit, _)) in zip(grid.flat, damages.items(), strict=False):
        for name, rows in networks.items():
            own = [row for row in rows if row["kind"] == kind]
            levels = [row["level"] for row in own]
            low, middle, high = ([row[f"accuracy{end}"] for row in own] for end in ("_low", "", "_high"))
            colour, marker = model_style(name)
            axes.fill_between(levels, low, high, color=colour, alpha=0.25, linewidth=0)
            axes.plot(levels, middle, f"{marker}-", color=colour, markersize=4, linewidth=1.4, label=name)
        axes.axhline(chance, color=GREY, linewidth=1, linestyle="--", label="chance")
        if majority:
            axes.axhline(majority, color=GREY, linewidth=1, linestyle=":", label="commonest class")
        axes.set_ylim(bottom=0)
        axes.grid(color=PALE, linewidth=0.6)
        percent(axes.yaxis)
        axes.set_xlabel(unit, fontsize=SMALL, color=DARK)
        label(axes, title=kind)
    for axes in grid.flat[len(damages) :]:
        axes.set_axis_off()
    for row in grid:
        label(row[0], y="accuracy")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower right", bbox_to_anchor=(0.98, 0.12), fontsize=TEXT_SIZE, frameon=False)
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def confusions(counts, classes, *, most=8, title=None):
    """Draw the most frequent confusions of networks, a panel a network, each in the colour of the class that was said.

    Args:
        counts: dict from a network's label to its confusion matrix, a row a true class.
        classes: class names, in the order of rows and columns.
        most: int, confusions a panel.
        title: str or None.

    Returns:
        A `Figure`.
    """
    figure, (panels,) = canvas(4.2 * len(counts), 0.9 + 0.3 * most, 1, len(counts), sharex=True)
    for axes, (name, matrix) in zip(panels, counts.items(), strict=True):
        matrix = np.asarray(matrix)
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(shares, -1)
        places = [divmod(int(place), len(classes)) for place in np.argsort(-shares, axis=None, kind="stable")[:most]]
        names = [f"{classes[true]} → {classes[said]}" for true, said in places]
        colours = [COLOURS.get(classes[said], GREY) for _, said in places]
        drawn = axes.barh(names, [shares[place] for place in places], color=colours)
        axes.bar_label(drawn, [f"{matrix[place]:,}" for place in places], padding=3, fontsize=SMALL)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        percent(axes.xaxis)
        label(axes, x="share of the true class (images)", title=name)
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def taken_sides(counts, *, title=None):
    """Draw with whom networks side on the images where label and voters disagree, a bar a network.

    Args:
        counts: dict from a network's label to counts as `evaluation.sides` returns them.
        title: str or None.

    Returns:
        A `Figure`.
    """
    sides = {"with_label": ("the label", DARK), "with_crowd": ("the voters", GREY), "with_neither": ("neither", PALE)}
    figure, ((axes,),) = canvas(7, 1.1 + 0.4 * len(counts))
    start = np.zeros(len(counts))
    for key, (name, colour) in sides.items():
        shares = np.array([one[key] / max(one["disputed"], 1) for one in counts.values()])
        drawn = axes.barh(list(counts), shares, left=start, color=colour, label=name, height=0.65)
        texts = [f"{100 * share:.0f} %" for share in shares]
        axes.bar_label(drawn, texts, label_type="center", fontsize=SMALL, color=DARK if colour == PALE else "white")
        start += shares
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    percent(axes.xaxis)
    totals = " or ".join(sorted({f"{one['disputed']:,}" for one in counts.values()}, reverse=True))
    label(axes, x=f"share of the {totals} disputed images", title=title)
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
