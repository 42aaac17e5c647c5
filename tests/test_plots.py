"""Figures show the numbers that they are given, name their axes, and look alike for the same model everywhere."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from fer_keras import plots
from fer_keras.labels import FER7
from fer_keras.plots.style import MAJORITY, MODELS, as_png
from fer_keras.results import find_run, leaderboard, read_runs, read_table

ROOT = Path(__file__).parents[1]
ROW = {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7, "num_images": 9}
FACES = {name: np.full((48, 48), 30 * index) for index, name in enumerate(FER7)}
HEAT, BANDS = dict.fromkeys(FER7, np.eye(48)), {"eyes": (0.3, 0.5)}
DIFFERENCES = pd.DataFrame(
    {"change": ["mixup", "Adam"], "difference": [0.01, -0.02], "low": [-0.01, -0.03], "high": [0.03, -0.01]}
)
EMOTIONS = pd.DataFrame(
    [("happy", "one-vs-rest", 0.8, 0.7, 0.9, 0.75, np.nan), ("sad", "one-vs-rest", 0.6, 0.5, 0.7, 0.83, 0.9),
     ("sad", "general", 0.5, 0.4, 0.6, 0.83, np.nan)],
    columns=["emotion", "source", "accuracy", "accuracy_low", "accuracy_high", "majority", "published"],
)  # fmt: skip
STAGES = [
    {"kind": kind, "label": label, "shape": shape, "parameters": 10, "multiply_adds": 1000, "marks": ["SE", "+"]}
    for kind, label, shape in (("input", "pixels", [8, 8, 1]), ("convolution", "conv 3x3", [8, 8, 4]))
]
SIZES = pd.DataFrame([{"start": "votes", "backbone": "trained", "train_images": size, **ROW} for size in (1000, 100)])
VIDEO = pd.DataFrame({"time": [0.0, 0.1], "id": 1, "emotion": "sad", "sad": [0.6, 0.7], "happy": [0.4, 0.3]})


@pytest.fixture(autouse=True)
def records(recorded_project):
    return recorded_project


def run():
    return find_run("mini-xception")


# Those with an accuracy axis first: each is called with the majority class's level, or reads it from its runs.
ACCURACY = {
    "training_history": lambda: plots.training_history(run()),
    "learning_curves": lambda: plots.learning_curves([run(), find_run("mini-xception", 1)]),
    "training_sizes": lambda: plots.training_sizes(SIZES, majority=0.35),
    "intervals": lambda: plots.intervals(EMOTIONS, label="emotion", series="source", model="source"),
    "accuracies": lambda: plots.accuracies(read_runs(), human={7: 0.65}, title="All"),
    "cost": lambda: plots.cost([run(), find_run("emovision-baseline")]),
}
FIGURES = ACCURACY | {
    "recalls": lambda: plots.recalls([run(), find_run("mini-xception", 1)]),
    "confusion_matrix": lambda: plots.confusion_matrix(run().confusion()),
    "gallery": lambda: plots.gallery(FACES.values(), list(FACES), columns=3, title="Means"),
    "timeline": lambda: plots.timeline(VIDEO),
    "heatmaps": lambda: plots.heatmaps(FACES, {"occlusion": HEAT}, counts=dict.fromkeys(FER7, 9), bands=BANDS),
    "architecture": lambda: plots.architecture(STAGES, title="small"),
}
NO_AXES = {"gallery", "heatmaps", "architecture"}


def shown(axes):
    """Every text of a panel."""
    return [text.get_text() for text in axes.texts]


def line(axes, name):
    """The line of a panel with this label."""
    (found,) = (line for line in axes.lines if line.get_label() == name)
    return found


def test_all_functions_are_tried_here():
    public = {name for name in dir(plots) if callable(getattr(plots, name)) and not name.startswith("_")}
    assert public - {"Figure", "differs", "model_style", "save", "save_private"} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_bytes_every_time_with_axes_named_and_keeps_clear_of_pyplot(name):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    with plt.rc_context({"font.size": 20, "axes.grid": True, "axes.facecolor": "red"}):
        figure = FIGURES[name]()
        first = as_png(figure, dpi=60)
    assert first == as_png(figure, dpi=60) == as_png(FIGURES[name](), dpi=60)
    assert b"Software" not in first
    assert np.ptp(np.asarray(Image.open(io.BytesIO(first)).convert("L"))) > 100
    assert plt.get_fignums() == before
    if name not in NO_AXES:
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)
    legends = [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert (MAJORITY in named) == (name in ACCURACY), "every accuracy axis shows the majority class, and no other does"
    dashed = [each for axes in figure.axes for each in axes.lines if each.get_label().endswith(MAJORITY)]
    assert all(each.get_linestyle() == "--" for each in dashed)


def test_the_majority_level_is_that_of_the_split_that_is_shown():
    confusion = np.array(run().metrics["validation"]["confusion"])
    expected = confusion.sum(axis=1).max() / confusion.sum()
    assert expected != run().majority("test")
    (curves,), (points,) = plots.learning_curves([run()]).axes, ACCURACY["cost"]().axes
    for axes, level in ((curves, expected), (points, run().majority("test"))):
        assert line(axes, MAJORITY).get_ydata()[0] == pytest.approx(level)
    with pytest.raises(ValueError, match=r"column `majority`.*Received the columns: emotion"):
        plots.intervals(EMOTIONS.drop(columns="majority"), label="emotion")


def test_intervals_show_rows_in_order_with_their_ends_and_levels_and_ticks_where_there_is_a_value():
    (axes,) = ACCURACY["intervals"]().axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["happy", "sad"]
    single, general = axes.containers
    assert list(single.lines[0].get_xdata()) == [0.8, 0.6]
    assert [segment[:, 0].tolist() for segment in single.lines[2][0].get_segments()] == [[0.7, 0.9], [0.5, 0.7]]
    assert list(general.lines[0].get_xdata()) == [0.5]
    assert general.lines[0].get_ydata()[0] > single.lines[0].get_ydata()[1], "below it in the same row"
    np.testing.assert_equal(line(axes, MAJORITY).get_xdata(), [0.75, 0.75, np.nan, 0.83, 0.83, np.nan])
    (axes,) = plots.intervals(EMOTIONS[:2], label="emotion", ticks={"published": "published"}).axes
    assert (line(axes, "published").get_xdata().tolist(), line(axes, "published").get_ydata().tolist()) == ([0.9], [1])


def test_a_difference_whose_interval_holds_the_reference_is_hollow():
    (axes,) = plots.intervals(DIFFERENCES, "difference", label="change", reference=0).axes
    hollow = [container.lines[0].get_markerfacecolor() == "white" for container in axes.containers]
    assert hollow == [True, False]
    assert axes.xaxis.get_major_formatter()(0.015) == "+1.5", "in points"
    assert [each.get_xdata()[0] for each in axes.lines if each.get_linestyle() == "--"] == [0]


def test_accuracies_stand_in_panels_of_what_is_comparable(monkeypatch):
    seven, four, course = ACCURACY["accuracies"]().axes
    assert seven.get_title(loc="left") == "7 classes, official split"
    names = [text.get_text() for text in seven.get_yticklabels()]
    assert "mini-xception@no-flip, on validation" in names
    assert names[0] == leaderboard().iloc[0]["recipe"] or names[0].startswith("mini-xception")
    scores = run().metrics["test"]
    ends = [segment[:, 0].tolist() for each in seven.containers for segment in each.lines[2][0].get_segments()]
    assert [scores["accuracy_low"], scores["accuracy_high"]] in ends
    faces = {to_hex(each.lines[0].get_markerfacecolor()) for each in seven.containers}
    assert "#ffffff" in faces, "measured on validation"
    assert line(seven, "people, about").get_xdata()[0] == 0.65
    assert "people, about" not in {each.get_label() for each in four.lines}
    assert [text.get_text() for text in course.get_yticklabels()] == ["capstone-model-1@course, stopped by time"]
    assert "published" in {each.get_label() for each in seven.lines}
    table = leaderboard([run()]).assign(published_split="test, RAF-DB")
    monkeypatch.setattr("fer_keras.plots.scores.leaderboard", lambda runs: table)
    (axes,) = plots.accuracies([run()]).axes
    assert "published" not in {each.get_label() for each in axes.lines}, "that is of another data set"


def test_a_history_marks_the_kept_epoch_and_the_fall_of_the_rate():
    loss, accuracy = ACCURACY["training_history"]().axes
    assert line(loss, "epoch that was kept").get_xdata()[0] == 9
    assert line(loss, "learning rate falls").get_xdata()[0] == 10
    assert line(accuracy, "validation").get_ydata().tolist() == run().history()["val_accuracy"].tolist()
    assert line(accuracy, MAJORITY).get_ydata()[0] == pytest.approx(run().majority("validation"))


def test_curves_and_points_of_a_model_share_its_colour_and_differ_in_line_or_filling():
    colour, _ = plots.model_style("mini-xception")
    first, second = ACCURACY["learning_curves"]().axes[0].lines[:2]
    assert first.get_markevery() == [8]
    assert first.get_linestyle() != second.get_linestyle()
    assert second.get_label() == "mini-xception, seed 1"
    one, other = (container.lines[0] for container in FIGURES["recalls"]().axes[0].containers)
    assert list(one.get_xdata()) == sorted(run().per_class()["recall"])
    assert (one.get_markerfacecolor(), other.get_markerfacecolor()) == (colour, "white")
    history = line(ACCURACY["training_history"]().axes[1], "validation")
    assert {each.get_color() for each in (first, second, one, other, history)} == {colour}
    assert colour in [each.lines[0].get_color() for each in ACCURACY["cost"]().axes[0].containers]


def test_a_model_looks_the_same_everywhere_and_unlike_the_others():
    styles = [plots.model_style(name) for name in MODELS]
    assert len(set(styles)) == len(MODELS)
    assert len({colour for colour, _ in styles[:10]}) == 10
    for name, same in (("fer-small@mixup", "fer-small"), ("of one's own", "of one's own")):
        assert plots.model_style(name) == plots.model_style(same)


def test_a_long_name_in_a_legend_is_not_cut_off():
    for figure in (plots.learning_curves([find_run("capstone-model-1@course")]), FIGURES["recalls"]()):
        image = np.asarray(Image.open(io.BytesIO(as_png(figure))).convert("L"))
        assert image[:, -2:].min() > 200


LONG = "a network with a long name"
ROW_OF_SIX = [(f"{LONG}, {number}", 1e6 * 1.1**number, 0.6 + number / 500) for number in range(6)]
CLUSTER = [
    *[("ensemble", 1.8e8, 0.581), ("stacking", 1.8e8, 0.576), ("single", 1.58e8, 0.542)],
    *[(f"{LONG}, left", 1.78e8, 0.55), (f"{LONG}, right", 3.45e8, 0.549), (f"{LONG}, below", 2.9e8, 0.512)],
]


@pytest.mark.parametrize("crowd", [ROW_OF_SIX, CLUSTER], ids=["row", "cluster"])
def test_names_of_a_crowd_hide_neither_each_other_nor_a_point(crowd):
    others = pd.DataFrame(crowd, columns=["network", "multiply_adds", "accuracy"])
    figure = plots.cost([run()], size="multiply_adds", others=others)
    (axes,) = figure.axes
    assert sorted(shown(axes)) == sorted(["mini-xception", *(name.replace(", ", "\n") for name in others["network"])])
    assert axes.get_xlabel() == "multiply-adds of one face"
    figure.draw_without_rendering()
    boxes, frame = [Text.get_window_extent(text) for text in axes.texts], axes.get_window_extent()
    assert not any(box.count_overlaps(boxes[:number]) for number, box in enumerate(boxes))
    points = axes.transData.transform(others[["multiply_adds", "accuracy"]].to_numpy())
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 for box in boxes)
    with pytest.raises(ValueError, match="one number of classes, protocol and split"):
        plots.cost([run(), find_run("capstone-model-1")])


def test_a_confusion_matrix_shows_shares_of_rows_and_counts():
    counts = pd.DataFrame([[30, 10], [0, 1200]], ["sad", "happy"], ["sad", "happy"])
    axes = plots.confusion_matrix(counts).axes[0]
    assert shown(axes) == ["75 %\n30", "25 %\n10", "0 %\n0", "100 %\n1,200"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sad (40)", "happy (1,200)"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["sad", "happy"]
    assert axes.collections[0].get_array().ravel()[:2].tolist() == [0.75, 0.25]
    without_sad = plots.confusion_matrix(counts.mul([0, 1], axis=0)).axes[0]
    assert shown(without_sad)[:2] == ["0 %\n0", "0 %\n0"]


def test_a_gallery_shows_each_image_once_on_one_grey_scale():
    (axes,) = FIGURES["gallery"]().axes
    assert [image.get_array().mean() for image in axes.images] == [30 * index for index in range(7)]
    assert all(image.get_clim() == (0, 255) for image in axes.images)
    assert shown(axes) == list(FER7)
    assert len({tuple(image.get_extent()) for image in axes.images}) == 7
    for titles in (["a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match=f"2 images, {len(titles)} titles"):
            plots.gallery(np.zeros((2, 4, 4)), titles)


def test_equal_stages_are_drawn_as_one_box_with_their_number():
    stages = read_table("networks", folder=ROOT / "reports" / "results")["networks"]["mini-xception"]["stages"]
    (axes,) = plots.architecture(stages, title="mini-xception").axes
    assert len(axes.patches) == 13
    assert sum("2 × separable" in text for text in shown(axes)) == 4
    assert shown(axes).count("+") == 4
    assert axes.get_title(loc="left") == "mini-xception: 58,423 parameters, 5.5 M multiply-adds"


def test_a_notebook_can_show_a_figure_without_a_backend():
    code = (
        "import sys; from fer_keras import plots; f = plots.gallery([[[0, 9], [5, 7]]]); "
        "assert f._repr_png_()[:4] == b'\\x89PNG'; "
        "sys.exit(str({'matplotlib.pyplot', 'keras', 'tensorflow'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
