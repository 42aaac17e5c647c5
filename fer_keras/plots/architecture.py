"""A network as a row of boxes."""

import itertools
import math

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from fer_keras.plots.style import GREY, SMALL, Figure, canvas, styled

COLOURS = dict(input="#d9d9d9", convolution="#8ec1ea", pooling="#f7c59f", dense="#b8dfb0", backbone="#c9b3e0")
LABEL_WIDTH = 0.62  # inches that the text under a box needs


@styled
def architecture(stages: list[dict], *, title: str) -> Figure:
    """Draw the stages of a network from left to right: a box is as high as its output, and as wide as it has channels.

    Equal stages that follow one another are one box, with their number.

    Args:
        stages: as `models.summary.outline` returns it.
        title: str, before the number of parameters and multiply-adds.
    """
    groups = itertools.groupby(stages, key=lambda stage: (stage["kind"], stage["label"], stage["shape"]))
    boxes = [list(group) for _, group in groups]
    figure, ((axes,),) = canvas(max(5.0, LABEL_WIDTH * len(boxes) + 0.6), 2.5)
    largest, left = max(max(stage["shape"][:-1], default=1) for stage in stages), 0.0
    for box in boxes:
        width = 0.12 + 0.55 * math.log2(1 + box[0]["shape"][-1]) / 11
        draw_box(axes, box, left + max(width, LABEL_WIDTH) / 2, width, largest)
        left += max(width, LABEL_WIDTH)
    axes.set(xlim=(-0.1, left + 0.1), ylim=(-0.72, 1.3))
    axes.set_axis_off()
    total, work = (sum(stage[name] for stage in stages) for name in ("parameters", "multiply_adds"))
    axes.set_title(f"{title}: {total:,} parameters, {work / 1e6:,.1f} M multiply-adds")
    return figure


def draw_box(axes: Axes, stages: list[dict], place: float, width: float, largest: int):
    """Draw equal stages as one box in the middle of the row, their shape above it, what they are and more below."""
    box, marks = stages[0], dict.fromkeys(mark for stage in stages for mark in stage["marks"])
    # A backbone is a network of its own: its height says nothing of its last output.
    height = 1.0 if box["kind"] == "backbone" else max(math.sqrt(max(box["shape"][:-1], default=1) / largest), 0.12)
    look = {"facecolor": COLOURS[box["kind"]], "edgecolor": GREY, "linewidth": 0.7}
    look["boxstyle"] = "round,pad=0,rounding_size=0.03"
    axes.add_patch(FancyBboxPatch((place - width / 2, 0.5 - height / 2), width, height, **look))
    axes.text(place, 0.52 + height / 2, "×".join(map(str, box["shape"])), ha="center", va="bottom", fontsize=6)
    if marks:
        axes.text(place, 0.5, "\n".join(marks), ha="center", va="center", fontsize=SMALL)
    word, _, size = box["label"].rpartition(" ") if "x" in box["label"].split(" ")[-1] else (box["label"], "", "")
    count = sum(stage["parameters"] for stage in stages)
    count = f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k" if count >= 1000 else str(count or "")
    lines = [f"{len(stages)} × {word}" if len(stages) > 1 else word, size, count]
    axes.text(place, -0.06, "\n".join(filter(None, lines)), ha="center", va="top", fontsize=6, linespacing=1.4)
