"""What all figures share: the canvas, the fonts, and a colour and marker for each model."""

import io
import zlib

import matplotlib.figure
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import PercentFormatter
from PIL import Image

# Petroff (2021), Accessible Color Sequences for Data Visualization; its two greys last.
PALETTE = (
    "#3f90da",
    "#e76300",
    "#832db6",
    "#a96b59",
    "#bd1f01",
    "#ffa90e",
    "#b9ac70",
    "#92dadd",
    "#717581",
    "#94a4a2",
)
MARKERS = "osD^vPX"
LINES = ("-", "--", ":", "-.")
# In the order of the projects they come from; a model keeps its place, so that it keeps its colour.
MODELS = (
    "emovision-baseline",
    "capstone-model-1",
    "capstone-model-2",
    "capstone-final",
    "mini-xception",
    "fer-small",
    "scratch-four-conv",
    "emovision-vgg",
    "vgg16",
    "fer-base",
    "resnet101",
    "efficientnet-b5",
    "inception-resnet-v2",
    "efficientnet",
    "sep-baseline",
    "sep-se",
    "sep-se-residual",
    "resnet18",
    "emovision-vgg-draft",
    "ensemble",
    "general",
    "one-vs-rest",
)
TEXT_SIZE = 9
SMALL = 7.5
DARK, GREY, PALE = "#222222", "#767676", "#d9d9d9"


class Figure(matplotlib.figure.Figure):
    """A Matplotlib figure that shows itself in a notebook without pyplot, as the same bytes every time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, layout="constrained", **kwargs)
        FigureCanvasAgg(self)

    def png(self, *, dpi):
        """Return the figure as the bytes of a PNG, as small as they can be without loss, and with no date in them.

        The layout is settled the first time, for that resolution, as words are not as wide at another, and then kept:
        Matplotlib's would move on a little with every drawing.
        """
        self.set_dpi(dpi)
        self.draw_without_rendering()
        self.set_layout_engine("none")
        self.canvas.draw()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        grey = (pixels == pixels[..., :1]).all()
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, "png", optimize=True, dpi=(dpi, dpi))
        return buffer.getvalue()

    def _repr_png_(self):
        return self.png(dpi=100)


def canvas(width, height, rows=1, columns=1, **options):
    """Return `(figure, axes)` in the style of the project: sizes in inches, axes as an array `(rows, columns)`."""
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=TEXT_SIZE, colors=DARK)
        axes.set_axisbelow(True)
    return figure, grid


def label(axes, *, x=None, y=None, title=None):
    """Name the axes, with units, and give the panel its title."""
    if x:
        axes.set_xlabel(x, fontsize=TEXT_SIZE, color=DARK)
    if y:
        axes.set_ylabel(y, fontsize=TEXT_SIZE, color=DARK)
    if title:
        axes.set_title(title, fontsize=TEXT_SIZE + 1, color=DARK, loc="left")


def percent(axis):
    """Show an axis of fractions in percent."""
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def legend(axes, **options):
    """Add a legend without a box."""
    axes.legend(fontsize=SMALL, frameon=False, handlelength=3, **options)


def model_style(name):
    """Return `(colour, marker)` of a model, the same in every figure.

    Example:

    >>> model_style("mini-xception") == model_style("mini-xception")
    True
    """
    place = MODELS.index(name) if name in MODELS else len(MODELS) + zlib.crc32(name.encode())
    return PALETTE[place % len(PALETTE)], MARKERS[place // len(PALETTE) % len(MARKERS)]
