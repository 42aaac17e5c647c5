"""Pictures of data: how many there are, what they look like on average, and grids of single ones."""

import math

import numpy as np

from fer_keras.labels import COLOURS
from fer_keras.reporting.plotting.style import DARK, GREY, SMALL, TEXT_SIZE, canvas, label


def class_counts(counts, *, title=None):
    """Draw the number of images of each class, a panel a split.

    Args:
        counts: `pandas.DataFrame` as `FaceDataset.counts()` returns it: a row a split, a column a class, and `total`.
        title: str or None.

    Returns:
        A `Figure`.
    """
    counts = counts.drop(columns="total", errors="ignore")
    counts = counts[counts.sum(axis=1) > 0]
    figure, (panels,) = canvas(1.2 + 2.6 * len(counts), 0.9 + 0.3 * counts.shape[1], 1, len(counts), sharey=True)
    for axes, (split, row) in zip(panels, counts.iterrows(), strict=True):
        drawn = axes.barh(row.index, row.to_numpy(), color=[COLOURS.get(name, GREY) for name in row.index])
        axes.bar_label(drawn, [f"{value:,}" for value in row], padding=2, fontsize=SMALL, color=DARK)
        axes.margins(x=0.22)
        axes.xaxis.get_major_locator().set_params(nbins=4)
        label(axes, x="images", title=f"{split}: {row.sum():,}")
    panels[0].invert_yaxis()
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure


def mean_faces(means, *, counts=None, title=None):
    """Draw the mean face of each class, side by side.

    Args:
        means: dict from a class to its mean image, `(height, width)`, values in [0, 255].
        counts: dict from a class to the number of images in its mean, or None.
        title: str or None.

    Returns:
        A `Figure`.
    """
    titles = [name if counts is None else f"{name}\n{counts[name]:,} images" for name in means]
    return gallery(list(means.values()), titles, columns=len(means), side=1.15, title=title)


def gallery(images, titles=None, *, columns=8, side=0.85, title=None):
    """Draw a grid of grey images, each with its title.

    Args:
        images: sequence of arrays `(height, width)` or `(height, width, 1)`, values in [0, 255].
        titles: sequence of str, one for each image, or None.
        columns: int, images in a row.
        side: width of an image in inches.
        title: str or None.

    Returns:
        A `Figure`.

    Raises:
        ValueError: if there is no image, or not a title for each.
    """
    images = [np.squeeze(np.asarray(image)) for image in images]
    titles = [""] * len(images) if titles is None else list(titles)
    if not images or len(images) != len(titles):
        raise ValueError(
            f"Expected one image at least and a title for each. Received: {len(images)} images, {len(titles)} titles."
        )
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    step = 1.08 + 0.18 / side * max(text.count("\n") + 1 if text else 0 for text in titles)
    figure, ((axes,),) = canvas(side * 1.08 * columns, side * step * rows + (0.3 if title else 0))
    for index, (image, text) in enumerate(zip(images, titles, strict=True)):
        left, top = index % columns * 1.08, index // columns * step
        options = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
        axes.imshow(image, extent=(left, left + 1, top + 1, top), **options)
        axes.annotate(text, (left + 0.5, top - 0.03), fontsize=SMALL, color=DARK, ha="center", va="bottom")
    axes.set(xlim=(-0.02, columns * 1.08 - 0.06), ylim=(step * (rows - 1) + 1.02, 1.06 - step), aspect="equal")
    axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=TEXT_SIZE + 2, x=0.01, ha="left")
    return figure
