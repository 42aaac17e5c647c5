"""The study of transfer: its table, its differences and its verdicts say what the recorded numbers say."""

import itertools

import pandas as pd
import pytest

from fer_keras.evaluation import difference, wilson
from fer_keras.reporting import figures, plotting, starts, text
from fer_keras.reporting.catalogue import FIGURES
from fer_keras.reporting.tables import write_table

SIZES = {1.0: 20181, 0.25: 5045, 0.0625: 1261, 0.015625: 315}
TOTAL = 2570


def row(start, frozen, fraction, right):
    low, high = wilson(right, TOTAL)
    return {
        "start_recipe": start,
        "frozen_body": frozen,
        "train_fraction": fraction,
        "accuracy": right / TOTAL,
        "accuracy_low": low,
        "accuracy_high": high,
        "train_images": SIZES[fraction],
    }


@pytest.fixture
def study(own_folders):
    """Record a study: three classes help with few images, harm frozen with all; the votes always do as seven do."""
    right = {
        (None, False): (2000, 1800, 1500, 900),
        (None, True): (1000, 1000, 990, 800),
        ("fer-small@three", False): (2005, 1900, 1750, 1410),
        ("fer-small@three", True): (1600, 1590, 1500, 1300),
        ("fer-small@short", False): (2050, 2040, 2030, 2020),
        ("fer-small@votes", False): (2050, 2040, 2030, 2020),
    }
    rows = [
        row(start, frozen, fraction, hits)
        for (start, frozen), counts in right.items()
        for fraction, hits in zip(SIZES, counts, strict=True)
    ]
    write_table(starts.TABLE, pd.DataFrame(rows).rename_axis("place"))
    return right


def test_the_reference_comes_first_and_no_line_is_lost(study):
    lines = starts.lines()
    assert list(lines)[:2] == [("random values", "trained"), ("random values", "frozen")]
    assert len(lines) == len(study)
    assert all(list(points) == list(SIZES.values()) for points in lines.values())
    header, _, first, *rest = text("transfer").splitlines()
    assert header == "| body from | body | 20,181 images | 5,045 images | 1,261 images | 315 images |"
    assert first.startswith(f"| random values | trained | {100 * 2000 / TOTAL:.1f} % (")
    assert len(rest) == len(study) - 1


def test_gains_are_differences_to_random_values(study):
    first, *_, last = text("transfer-gains").splitlines()[2:]
    assert first == "| random values | trained | - | - | - | - |"
    few = [row(start, False, 0.015625, right) for start, right in ((None, 900), ("fer-small@three", 1410))]
    assert str(difference(*few)) in text("transfer-gains")
    assert f"{100 * (1300 - 900) / TOTAL:+.1f} points" in last


def test_verdicts_follow_the_intervals(study):
    assert text("transfer-verdict", "three-other-classes", "trained") == (
        "helps with 5,045, 1,261 and 315 training images; makes no difference with 20,181 training images"
    )
    assert text("transfer-verdict", "three-other-classes", "frozen") == (
        "helps with 315 training images; makes no difference with 1,261 training images; "
        "harms with 20,181 and 5,045 training images"
    )
    with pytest.raises(ValueError, match=r"no 'five'.*three-other-classes frozen"):
        text("transfer-verdict", "five", "trained")


def test_without_a_record_nothing_is_said(own_folders):
    for block, *arguments in (
        ("transfer",),
        ("transfer-gains",),
        ("transfer-verdict", "three-other-classes", "frozen"),
    ):
        assert text(block, *arguments) == "(not recorded yet)"
    assert FIGURES["transfer-sizes"].inputs() is None


def test_every_line_is_drawn_with_its_interval(study):
    figure = figures.draw("transfer-sizes")
    (axes,) = figure.axes
    assert len(axes.containers) == len(study)
    labels = {container.get_label() for container in axes.containers}
    assert "three other classes, frozen" in labels
    heights = axes.containers[0].lines[0].get_ydata()
    assert list(heights) == sorted(heights), "accuracy over images, the fewest first"
    xs = [tuple(container.lines[0].get_xdata()) for container in axes.containers]
    assert all(len(set(pair)) == 2 for pair in itertools.combinations(xs, 2)), "bars stand side by side"
    figure.png(dpi=80)
    assert plotting.by_training_images({("a", "b"): {10: (0.5, 0.4, 0.6)}}, num_classes=2)
