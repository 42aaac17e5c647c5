"""Figures show the numbers that they are given, name their axes, and look alike for the same model everywhere."""

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.text import Text
from PIL import Image

from fer_keras import paths, plots
from fer_keras.labels import COLOURS, FER7
from fer_keras.plots.style import MAJORITY, MODELS, as_png
from fer_keras.results import find_run as run
from fer_keras.results import leaderboard, read_runs, read_table

pytestmark = pytest.mark.usefixtures("recorded_project")
NAME = "mini-xception"
FACES = {name: np.full((48, 48), 30 * index) for index, name in enumerate(FER7)}
HEAT = {"occlusion": dict.fromkeys(FER7, np.eye(48))}
EMOTIONS = pd.DataFrame(
    [("happy", "one-vs-rest", 0.8, 0.7, 0.9, 0.75, np.nan), ("sad", "one-vs-rest", 0.6, 0.5, 0.7, 0.83, 0.9),
     ("sad", "general", 0.5, 0.4, 0.6, 0.83, np.nan)],
    columns=["emotion", "source", "accuracy", "accuracy_low", "accuracy_high", "majority", "published"],
)  # fmt: skip
SIZES = EMOTIONS.assign(start="votes", backbone="trained", train_images=[1000, 300, 100])
STAGES = read_table("networks", folder=paths.project() / "reports" / "results")["networks"][NAME]["stages"]


def video(*stretches, classes=FER7):
    """The table of a video: each `(face, start, end)` is a stretch of seconds in which a face is seen."""
    seen = [(face, time / 25) for face, start, end in stretches for time in range(round(start * 25), round(end * 25))]
    values = np.random.default_rng(0).dirichlet(np.ones(len(classes)), size=len(seen))
    return pd.DataFrame(seen, columns=["id", "time"]).assign(emotion="", **dict(zip(classes, values.T, strict=True)))


# Those with an accuracy axis first: each is called with the majority class's level, or reads it from its runs.
ACCURACY = {
    "training_history": lambda: plots.training_history(run(NAME)),
    "learning_curves": lambda: plots.learning_curves([run(NAME), run(NAME, 1), run("capstone-model-1@course")]),
    "training_sizes": lambda: plots.training_sizes(SIZES, majority=0.35),
    "intervals": lambda: plots.intervals(EMOTIONS, label="emotion", series="source", model="source"),
    "accuracies": lambda: plots.accuracies(read_runs(), human={7: 0.65}, title="All"),
    "cost": lambda: plots.cost([run(NAME), run("emovision-baseline")]),
}
FIGURES = ACCURACY | {
    "recalls": lambda: plots.recalls([run(NAME), run(NAME, 1)]),
    "confusion_matrix": lambda: plots.confusion_matrix(run(NAME).confusion()),
    "gallery": lambda: plots.gallery(FACES.values(), list(FACES), columns=3, title="Means"),
    "timeline": lambda: plots.timeline(video((1, 0, 1))),
    "heatmaps": lambda: plots.heatmaps(FACES, HEAT, counts={"sad": 9}, bands={"eyes": (0.3, 0.5)}),
    "architecture": lambda: plots.architecture(STAGES, title="small"),
}


def texts(found):
    return [text.get_text() for text in found]


def line(axes, name):
    """The line of a panel with this label."""
    (found,) = (line for line in axes.lines if line.get_label() == name)
    return found


def points(axes):
    return [container.lines[0] for container in axes.containers]


PUBLIC = {name for name in dir(plots) if callable(getattr(plots, name)) and not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(PUBLIC - {"Figure", "differs", "model_style", "save", "save_private"}))
def test_a_figure_is_the_same_bytes_every_time_with_axes_named_and_keeps_clear_of_pyplot(name):
    with pyplot.rc_context({"font.size": 20, "axes.grid": True, "axes.facecolor": "red"}):
        figure = FIGURES[name]()
        first = as_png(figure, dpi=60)
    assert first == as_png(figure, dpi=60) == as_png(FIGURES[name](), dpi=60)
    assert not pyplot.get_fignums()
    if name not in ("gallery", "heatmaps", "architecture"):
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)
    legends = [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert (MAJORITY in named) == (name in ACCURACY), "every accuracy axis shows the majority class, and no other does"
    right = np.asarray(Image.open(io.BytesIO(first)).convert("L"))[:, -2:]
    assert not named or right.min() > 200, "no name in a legend is cut off"


def test_the_majority_level_is_that_of_the_split_that_is_shown():
    for name, split in (("training_history", "validation"), ("cost", "test")):
        level, confusion = line(ACCURACY[name]().axes[-1], MAJORITY), np.array(run(NAME).metrics[split]["confusion"])
        assert level.get_ydata()[0] == pytest.approx(confusion.sum(axis=1).max() / confusion.sum())
        assert level.get_linestyle() == "--"
    with pytest.raises(ValueError, match=r"column `majority`.*Received the columns: emotion"):
        plots.intervals(EMOTIONS.drop(columns="majority"), label="emotion")


def test_intervals_show_rows_in_order_with_their_ends_and_levels_and_ticks_where_there_is_a_value():
    (axes,) = ACCURACY["intervals"]().axes
    single, general = points(axes)
    assert texts(axes.get_yticklabels()) == ["happy", "sad"]
    assert (list(single.get_xdata()), list(general.get_xdata())) == ([0.8, 0.6], [0.5])
    ends = axes.containers[0].lines[2][0].get_segments()
    assert [segment[:, 0].tolist() for segment in ends] == [[0.7, 0.9], [0.5, 0.7]]
    assert general.get_ydata()[0] > single.get_ydata()[1], "below it in the same row"
    np.testing.assert_equal(line(axes, MAJORITY).get_xdata(), [0.75, 0.75, np.nan, 0.83, 0.83, np.nan])
    (axes,) = plots.intervals(EMOTIONS[:2], label="emotion", ticks={"published": "published"}).axes
    assert line(axes, "published").get_xydata().tolist() == [[0.9, 1]]
    table = pd.DataFrame([(0.01, -0.01, 0.03), (-0.02, -0.03, -0.01)], columns=["difference", "low", "high"])
    (axes,) = plots.intervals(table, "difference", reference=0).axes
    hollow = {point.get_xdata()[0]: point.get_markerfacecolor() == "white" for point in points(axes)}
    assert hollow == {0.01: True, -0.02: False}, "whose interval holds the reference"
    assert axes.xaxis.get_major_formatter()(0.015) == "+1.5", "in points"


def test_accuracies_stand_in_panels_of_what_is_comparable(monkeypatch):
    seven, four, course = ACCURACY["accuracies"]().axes
    assert seven.get_title(loc="left") == "7 classes, official split"
    assert "mini-xception@no-flip, on validation" in texts(seven.get_yticklabels())
    assert texts(course.get_yticklabels()) == ["capstone-model-1@course, stopped by time"]
    assert run(NAME).metrics["test"]["accuracy"] in np.concatenate([each.get_xdata() for each in points(seven)])
    assert "white" in {each.get_markerfacecolor() for each in points(seven)}, "measured on validation"
    assert (line(seven, "people, about").get_xdata()[0], bool(line(seven, "published"))) == (0.65, True)
    assert "people, about" not in {each.get_label() for each in four.lines}
    table = leaderboard([run(NAME)]).assign(published_split="test, RAF-DB")
    monkeypatch.setattr("fer_keras.plots.scores.leaderboard", lambda runs: table)
    (axes,) = plots.accuracies([run(NAME)]).axes
    assert "published" not in {each.get_label() for each in axes.lines}, "that is of another data set"


def test_histories_curves_and_points_of_a_model_share_its_colour_and_differ_in_line_or_filling():
    loss, accuracy = ACCURACY["training_history"]().axes
    kept, fall, history = (
        line(loss, "epoch that was kept"),
        line(loss, "learning rate falls"),
        line(accuracy, "validation"),
    )
    assert (kept.get_xdata()[0], fall.get_xdata()[0]) == (9, 10)
    assert history.get_ydata().tolist() == run(NAME).history()["val_accuracy"].tolist()
    first, second = ACCURACY["learning_curves"]().axes[0].lines[:2]
    assert (first.get_markevery(), second.get_label()) == ([8], "mini-xception, seed 1")
    assert first.get_linestyle() != second.get_linestyle()
    (one, other), (cost, _) = points(FIGURES["recalls"]().axes[0]), points(ACCURACY["cost"]().axes[0])
    assert list(one.get_xdata()) == sorted(run(NAME).per_class()["recall"])
    assert (one.get_markerfacecolor(), other.get_markerfacecolor()) == (plots.model_style(NAME)[0], "white")
    assert {each.get_color() for each in (history, first, second, one, other, cost)} == {plots.model_style(NAME)[0]}
    styles = [plots.model_style(name) for name in MODELS]
    assert len(set(styles)) == len(MODELS)
    assert len({colour for colour, _ in styles[:10]}) == 10
    assert plots.model_style("fer-small@mixup") == plots.model_style("fer-small")


def test_names_of_a_crowd_hide_neither_each_other_nor_a_point():
    places = [(1.8e8, 0.581), (1.8e8, 0.576), (1.58e8, 0.542), (1.78e8, 0.55), (3.45e8, 0.549), (2.9e8, 0.512)]
    others = pd.DataFrame(places, columns=["multiply_adds", "accuracy"])
    others["network"] = [f"a network with a long name, {number}" for number in range(6)]
    figure = plots.cost([run(NAME)], size="multiply_adds", others=others)
    (axes,) = figure.axes
    assert sorted(texts(axes.texts)) == sorted([NAME, *others["network"].str.replace(", ", "\n")])
    figure.draw_without_rendering()
    boxes, frame = [Text.get_window_extent(text) for text in axes.texts], axes.get_window_extent()
    assert not any(box.count_overlaps(boxes[:number]) for number, box in enumerate(boxes))
    assert not any(box.contains(*place) for box in boxes for place in axes.transData.transform(places))
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 for box in boxes)
    with pytest.raises(ValueError, match="one number of classes, protocol and split"):
        plots.cost([run(NAME), run("capstone-model-1")])


def test_a_confusion_matrix_shows_shares_of_rows_and_counts():
    counts = pd.DataFrame([[30, 10], [0, 1200]], ["sad", "happy"], ["sad", "happy"])
    axes = plots.confusion_matrix(counts).axes[0]
    assert texts(axes.texts) == ["75 %\n30", "25 %\n10", "0 %\n0", "100 %\n1,200"]
    assert texts(axes.get_yticklabels() + axes.get_xticklabels()) == ["sad (40)", "happy (1,200)", "sad", "happy"]
    assert axes.collections[0].get_array().ravel()[:2].tolist() == [0.75, 0.25]
    assert texts(plots.confusion_matrix(counts.mul([0, 1], axis=0)).axes[0].texts)[:2] == ["0 %\n0", "0 %\n0"]


def test_no_runs_runs_of_other_classes_and_bare_arrays_are_refused():
    for draw in (plots.learning_curves, plots.accuracies, plots.recalls, plots.cost):
        with pytest.raises(ValueError, match=r"Expected one recorded run at least.* Received: none"):
            draw([])
    with pytest.raises(ValueError, match=r"all of the same classes\. Received: mini-xception: angry, .*-1: happy"):
        plots.recalls([run(NAME), run("capstone-model-1")])
    with pytest.raises(ValueError, match=r"Expected a DataFrame .* Received: ndarray\. Pass pd\.DataFrame"):
        plots.confusion_matrix(np.eye(3))


def test_a_gallery_shows_each_image_once_on_one_grey_scale_and_a_network_equal_stages_as_one_box():
    (axes,) = FIGURES["gallery"]().axes
    assert [image.get_array().mean() for image in axes.images] == [30 * index for index in range(7)]
    assert {image.get_clim() for image in axes.images} == {(0, 255)}
    assert (texts(axes.texts), len({tuple(image.get_extent()) for image in axes.images})) == (list(FER7), 7)
    with pytest.raises(ValueError, match="2 images, 1 titles"):
        plots.gallery(np.zeros((2, 4, 4)), ["a"])
    (axes,) = FIGURES["architecture"]().axes
    assert (len(axes.patches), sum("2 × separable" in text for text in texts(axes.texts))) == (13, 4)
    assert axes.get_title(loc="left") == "small: 58,423 parameters, 5.5 M multiply-adds"


def test_a_timeline_has_a_panel_for_each_face_and_a_line_for_each_class_broken_where_the_face_was_away():
    seen = video((3, 0, 0.2), (1, 0, 2), (2, 0, 1), (2, 3, 4))
    figure = plots.timeline(seen, title="clip.mp4", faces=2)  # those seen longest
    assert figure.axes[-1].get_xlabel() == "time (seconds)"
    for number, axes in enumerate(figure.axes, 1):
        assert (axes.get_title(loc="left"), axes.get_ylabel()) == (f"clip.mp4: face {number}", "probability")
        for name in FER7:
            drawn = line(axes, name).get_xydata()
            assert line(axes, name).get_color() == COLOURS[name]
            assert np.flatnonzero(np.isnan(drawn[:, 1])).tolist() == [25] * (number == 2)
            assert np.allclose(drawn[~np.isnan(drawn[:, 1])], seen.loc[seen["id"] == number, ["time", name]])
    assert [axes.get_title(loc="left") for axes in plots.timeline(seen, faces=[3, 1]).axes] == ["face 3", "face 1"]
    assert plots.timeline(video((1, 0, 1), (1, 600, 601))).axes[0].get_xlabel() == "time (minutes)"
    (one_frame,) = plots.timeline(video((7, 2, 2.04), classes=("calm", "bored"))).axes
    assert line(one_frame, "calm").get_color() != line(one_frame, "bored").get_color()
    for table, faces, words in (
        *((table, 4, "table of a video.*Received: . rows") for table in (pd.DataFrame({"time": [1.0]}), seen[:0])),
        *((seen, faces, "`faces` must be") for faces in (0, [], [9])),
    ):
        with pytest.raises(ValueError, match=words):
            plots.timeline(table, faces=faces)


def test_a_notebook_can_show_a_figure_without_a_backend():
    code = """if True:
        import sys
        from fer_keras import plots
        assert plots.gallery([[[0, 9], [5, 7]]])._repr_png_()[:4] == b"\\x89PNG"
        assert not {"matplotlib.pyplot", "keras", "tensorflow"} & set(sys.modules)"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
