"""What all figures share: their style, a colour and marker for each model, the majority class's level, and saving."""

import functools
import io
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib.figure
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageChops, ImageFilter

from fer_keras import paths
from fer_keras.recipes import RECIPES
from fer_keras.results import Run
from fer_keras.results.runs import as_runs

DPI = 150
LARGEST_BYTES = 200_000
Picture = matplotlib.figure.Figure | bytes | str | os.PathLike

# Petroff (2021), Accessible Color Sequences for Data Visualization; its two greys last.
PALETTE = ("#3f90da", "#e76300", "#832db6", "#a96b59", "#bd1f01", "#ffa90e", "#b9ac70", "#92dadd", "#717581", "#94a4a2")
MARKERS = "osD^vPX"
LINES = ("-", "--", ":", "-.")
# In the order of the projects they come from; a model keeps its place, so that it keeps its colour.
MODELS = (
    *("emovision-baseline", "capstone-model-1", "capstone-model-2", "capstone-final", "mini-xception", "fer-small"),
    *("scratch-four-conv", "emovision-vgg", "vgg16", "fer-base", "resnet101", "efficientnet-b5"),
    *("inception-resnet-v2", "efficientnet", "sep-baseline", "sep-se", "sep-se-residual", "resnet18"),
    *("emovision-vgg-draft", "ensemble", "general", "one-vs-rest"),
)
MAJORITY = "majority class"
BESIDE = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}  # where a legend stands
SMALL = 7.5
DARK, GREY, PALE = "#222222", "#767676", "#d9d9d9"
STYLE = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.axisbelow": True,
    "axes.spines.right": False, "axes.spines.top": False, "axes.labelcolor": DARK, "text.color": DARK,
    "xtick.color": DARK, "ytick.color": DARK, "grid.color": PALE, "grid.linewidth": 0.6,
    "figure.dpi": DPI, "figure.titlesize": 11,
    "legend.fontsize": SMALL, "legend.frameon": False, "legend.handlelength": 3,
}  # fmt: skip


def styled(draw: Callable) -> Callable:
    """Let a function draw in the project's style, whatever style is in force where it is called."""

    @functools.wraps(draw)
    def in_style(*args, **kwargs):
        with matplotlib.style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return in_style


class Figure(matplotlib.figure.Figure):
    """A Matplotlib figure that shows itself in a notebook without pyplot, as the same bytes every time."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, layout="constrained", **kwargs)
        FigureCanvasAgg(self)

    @styled
    def savefig(self, *args: Any, dpi: int = DPI, **kwargs: Any):
        """Save the figure with its layout as the first time: Matplotlib's would move on with every drawing."""
        self.set_dpi(dpi)
        self.draw_without_rendering()
        self.set_layout_engine("none")
        super().savefig(*args, dpi=dpi, **kwargs)

    def _repr_png_(self) -> bytes:
        return as_png(self, dpi=100)

    def _ipython_display_(self):
        """Show these bytes in a notebook, also where it imports pyplot, whose formatter would come first."""
        from IPython.display import display

        display({"image/png": self._repr_png_(), "text/plain": repr(self)}, raw=True)


def as_png(figure: matplotlib.figure.Figure, *, dpi: int = DPI) -> bytes:
    """Render a figure as the bytes of a PNG with no date in them; if it were too large, in 256 colours."""
    buffer = io.BytesIO()
    cut = None if isinstance(figure, Figure) else "tight"  # as notebooks show a figure of pyplot
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches=cut)
    with Image.open(buffer) as image:
        pixels = np.asarray(image.convert("RGB"))
    is_grey = (pixels == pixels[..., :1]).all()
    image = Image.fromarray(pixels[..., 0] if is_grey else pixels)

    def compressed(image):
        image.save(target := io.BytesIO(), "png", optimize=True, dpi=(dpi, dpi))
        return target.getvalue()

    content, fewer = compressed(image), Image.Quantize.FASTOCTREE
    return content if is_grey or len(content) <= LARGEST_BYTES else compressed(image.quantize(256, fewer))


def save(figure: matplotlib.figure.Figure, name: str, *, from_images: bool = False) -> Path:
    """Write a figure to `reports/figures`, unless a picture stands there that looks the same; the path of NAME.png.

    One that is drawn `from_images` instead of records goes to `build/figures` in the quick profile, whose images are
    synthetic, and never to the report. A ValueError if the file would be larger than 200 KB.
    """
    content = as_png(figure)
    if len(content) > LARGEST_BYTES:
        expected = f"A figure must have at most {LARGEST_BYTES:,} bytes. Received: {name!r} of {len(content):,} bytes."
        raise ValueError(f"{expected} Make it smaller, or show fewer images.")
    quick = from_images and paths.profile() == "quick"
    path = (paths.build() / "figures" if quick else paths.figures()) / f"{name}.png"
    if not path.is_file() or differs(path, content):
        paths.write_whole(path, content)
    return path


def save_private(figure: matplotlib.figure.Figure, name: str) -> Path:
    """Write a figure that shows people's faces to `build/private`, which is never published; return its path."""
    path = paths.build() / "private" / f"{name}.png"
    paths.write_whole(path, as_png(figure))
    return path


def differs(first: Picture, second: Picture) -> bool:
    """Whether two pictures, `Figure`s or PNGs as bytes or path, look different; a file that holds none always does.

    What another machine's anti-aliasing changes does not count. Pictures of different sizes differ. So do those with a
    pixel that differs, after smoothing over its eight neighbours, by more than 20 of 255 grey levels plus half of the
    contrast around it: a changed digit, a bar longer by three pixels; not noise, nor an edge half a pixel elsewhere.
    """
    try:
        (one, contrast), (other, other_contrast) = picture(first), picture(second)
    except OSError:
        return True
    if one.size != other.size:
        return True
    allowed = 20 + 0.5 * np.asarray(ImageChops.lighter(contrast, other_contrast), float)
    return bool((np.asarray(ImageChops.difference(one, other)) > allowed).any())


def picture(source: Picture) -> tuple[Image.Image, Image.Image]:
    """Decode a picture in RGB: smoothed, and from the lowest to the highest value about each pixel, its contrast."""
    content = as_png(source) if isinstance(source, matplotlib.figure.Figure) else source
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        smooth = image.convert("RGB").filter(ImageFilter.Kernel((3, 3), (1, 2, 1, 2, 4, 2, 1, 2, 1)))
    highest, lowest = smooth.filter(ImageFilter.MaxFilter(3)), smooth.filter(ImageFilter.MinFilter(3))
    return smooth, ImageChops.subtract(highest, lowest)


def canvas(width: float, height: float, rows=1, columns=1, *, title=None, **options) -> tuple[Figure, np.ndarray]:
    """Make `(figure, axes)`: sizes in inches, axes as an array `(rows, columns)`, the title above all of them."""
    figure = Figure(figsize=(width, height))
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def check_runs(runs: Iterable[Run | str], *, same_classes: bool = False) -> list[Run]:
    """The recorded runs to draw; a `ValueError` if there is none, or they are not of the same classes as they must."""
    runs = as_runs(runs)
    if not runs or (same_classes and len({frozenset(run.classes) for run in runs}) > 1):
        expected = f"Expected one recorded run at least{', and all of the same classes' * same_classes}"
        received = "; ".join(f"{run.label}: {', '.join(run.classes)}" for run in runs) or "none"
        raise ValueError(f"{expected}. Received: {received}. Choose others.")
    return runs


def percent(axis: Any):
    """Show an axis of fractions, such as `axes.yaxis`, in percent."""
    axis.set_major_formatter(PercentFormatter(1, 0, " %"))


def shared_legend(figure: Figure):
    """Add one legend for all panels below them."""
    known = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        known |= dict(zip(names, handles, strict=True))
    if known:
        wide = 42 + 4.5 * max(map(len, known))  # points that an entry takes
        columns = int(min(len(known), 4, max(1, 72 * figure.get_figwidth() // wide)))
        figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=columns)


def dash_majority(axes: Axes, *levels: float):
    """Dash the accuracy of predicting the majority class across a panel whose y axis is accuracy; equal levels once."""
    for place, level in enumerate(sorted(set(levels))):
        axes.axhline(level, color=GREY, linewidth=1, linestyle="--", label="_" * bool(place) + MAJORITY)


def model_style(name: str) -> tuple[str, str]:
    """Colour and marker of a model, or of a recipe's model: the same in every figure."""
    model = name if name in MODELS or name not in RECIPES else RECIPES[name].model
    place = MODELS.index(model) if model in MODELS else len(MODELS) + zlib.crc32(model.encode())
    return PALETTE[place % len(PALETTE)], MARKERS[place // len(PALETTE) % len(MARKERS)]
