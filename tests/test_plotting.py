"""Figures say what the numbers say, name their axes, and are the same bytes every time."""

import io
import subprocess
import sys

import made_up
import numpy as np
import pandas as pd
import pytest
from matplotlib.path import Path
from matplotlib.text import Text
from PIL import Image

from fer_keras.labels import COLOURS, FER7
from fer_keras.reporting import plotting
from fer_keras.reporting.leaderboard import leaderboard
from fer_keras.reporting.plotting.style import MODELS

RUN, HISTORY, _ = made_up.run(published=65.0, published_split="validation")
OTHER = made_up.run("mini-xception@no-flip", final=False)[0]
TWIN = made_up.run("emovision-baseline", model="emovision-baseline")[0]
FOUR = made_up.run("capstone-model-1", data="fer4", model="capstone-model-1", stopped="cut short")[0]
COUNTS = pd.DataFrame([range(1, 8), range(7)], index=["train", "test"], columns=list(FER7)).assign(
    total=lambda t: t.sum(axis=1)
)
FACES = {name: np.full((48, 48), 30 * index) for index, name in enumerate(FER7)}
PER_CLASS = RUN.metrics["test"]["per_class"]
STAGES = [
    {"kind": kind, "label": label, "shape": shape, "parameters": 10, "multiply_adds": 1000, "marks": ["SE", "+"]}
    for kind, label, shape in (
        ("input", "pixels", [8, 8, 1]),
        ("convolution", "conv 3x3", [8, 8, 4]),
        ("dense", "dense", [7]),
    )
]
TIMELINE = pd.DataFrame(
    {"time": [0.0, 0.1, 0.2], "id": 1, "emotion": "sad", "sad": [0.6, 0.7, 0.8], "happy": [0.4, 0.3, 0.2]}
)
CELLS = pd.DataFrame({"learning_rate": [0.1, 0.01, 0.1], "batch_size": [8, 8, 64], "accuracy": [0.3, 0.5, 0.4]})

NO_AXES = ("mean_faces", "gallery", "architecture", "parallel_coordinates", "heat_over_faces")
ROW = {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}

FIGURES = {
    "history": lambda: plotting.history(HISTORY, model="mini-xception", best_epoch=9, num_classes=7),
    "histories": lambda: plotting.histories(
        {"a": HISTORY}, models={"a": "mini-xception"}, best_epochs={"a": 9}, num_classes=7
    ),
    "confusion": lambda: plotting.confusion(RUN.metrics["test"]["confusion"], FER7, title="test"),
    "accuracies": lambda: plotting.accuracies(leaderboard([RUN, OTHER, FOUR]), human={7: 0.65}, title="All"),
    "recalls": lambda: plotting.recalls({"a": PER_CLASS}, models={"a": "mini-xception"}),
    "cost": lambda: plotting.cost(leaderboard([RUN])),
    "leads": lambda: plotting.leads(
        {name: pd.DataFrame({"epoch": [3, 4, 5], "difference": [0.02, -0.01, 0]}) for name in ("a", "b")}, axis="points"
    ),
    "gains": lambda: plotting.gains([("mixup", 0.01, 0.005, 0.015), ("Adam", -0.01, -0.03, 0.01)], axis="points"),
    "reliability": lambda: plotting.reliability(
        {
            name: [{"confidence": 0.7, "accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7, "num_images": 9}]
            for name in ("as it is", "with its temperature")
        },
        model="fer-small",
    ),
    "by_training_images": lambda: plotting.by_training_images(
        {("votes", "trained"): {100: (0.5, 0.4, 0.6), 1000: (0.7, 0.6, 0.8)}}, num_classes=4
    ),
    "bars": lambda: plotting.bars({"happy": 0.93, "fear": 0.14}, axis="share of images", shares=True),
    "by_emotion": lambda: plotting.by_emotion(
        {"ours": {"happy": (0.8, 0.7, 0.9), "sad": (0.6, 0.5, 0.7)}, "theirs": {"sad": 0.5}},
        models={"ours": "general", "theirs": "general"},
        levels={"guessing": {"happy": 0.25, "sad": 0.2}},
        axis="accuracy",
    ),
    "class_counts": lambda: plotting.class_counts(COUNTS, title="Images"),
    "mean_faces": lambda: plotting.mean_faces(FACES, counts=dict.fromkeys(FER7, 4000), title="Means"),
    "architecture": lambda: plotting.architecture(STAGES, title="small"),
    "parallel_coordinates": lambda: plotting.parallel_coordinates(CELLS, ["learning_rate", "batch_size"]),
    "plot_timeline": lambda: plotting.plot_timeline(TIMELINE),
    "heat_over_faces": lambda: plotting.heat_over_faces(
        FACES, {"occlusion": dict.fromkeys(FER7, np.eye(48))}, bands={"eyes": (0.3, 0.5)}, title="Heat"
    ),
    "heat_by_region": lambda: plotting.heat_by_region(
        {"happy": {"mouth": {"mean": 0.5, "low": 0.4, "high": 0.6}}}, even={"mouth": 0.3}, title="Where"
    ),
    "deletion": lambda: plotting.deletion(
        {"ours": {"occlusion": [0.9, 0.2], "chance": [0.9, 0.6]}}, [0, 0.5], rivals=["chance"]
    ),
    "robustness": lambda: plotting.robustness(
        {"mini-xception": [ROW | {"kind": "blur", "level": level} for level in (0, 1)]},
        damages={"blur": ("sigma in pixels", (0, 1))},
        chance=1 / 7,
    ),
    "confusions": lambda: plotting.confusions({"ours": RUN.metrics["test"]["confusion"]}, FER7, most=3),
    "taken_sides": lambda: plotting.taken_sides(
        {"ours": {"disputed": 9, "with_label": 4, "with_crowd": 3, "with_neither": 2}}
    ),
    "label_errors": lambda: plotting.label_errors([[0, 3], [8, 0]], [20, 40], ("happy", "sad")),
    "disputed": lambda: plotting.disputed(
        [
            {"images": number, "disputed_share": 0.8, "disputed_share_low": 0.7, "disputed_share_high": 0.9}
            for number in (10, 500)
        ],
        overall=0.4,
        flagged=90,
    ),
    "gallery": lambda: plotting.gallery(np.zeros((5, 48, 48, 1), np.uint8), list("abcde"), columns=3),
}


def shown(axes):
    """Return every text of a panel."""
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_bytes_every_time(name):
    figure = FIGURES[name]()
    first = figure.png(dpi=60)
    assert first == figure.png(dpi=60) == FIGURES[name]().png(dpi=60)
    assert b"Software" not in first
    assert np.ptp(np.asarray(Image.open(io.BytesIO(first)).convert("L"))) > 100


def test_a_long_name_in_a_legend_is_not_cut_off():
    name = "capstone-model-1@course"
    options = {"models": {name: "capstone-model-1"}, "best_epochs": {name: 9}, "num_classes": 4}
    image = Image.open(io.BytesIO(plotting.histories({name: HISTORY}, **options).png(dpi=150))).convert("L")
    assert np.asarray(image)[:, -2:].min() > 200


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in NO_AXES])
def test_axes_are_named(name):
    figure = FIGURES[name]()
    assert figure.axes[-1].get_xlabel() or figure.axes[0].get_xlabel()
    assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)


def test_networks_of_others_stand_beside_ours_at_their_cost():
    figure = plotting.cost(leaderboard([RUN]), size="multiply_adds", others=[("theirs", 1e7, 0.65)])
    (axes,) = figure.axes
    assert {text.get_text(): text.xy for text in axes.texts} == {
        "mini-xception": (RUN.multiply_adds, RUN.metrics["test"]["accuracy"]),
        "theirs": (1e7, 0.65),
    }
    assert axes.get_xlabel() == "multiply-adds of one face"


def test_all_functions_are_tried_here():
    functions = {name for name in plotting.__all__ if name not in ("Figure", "model_style")}
    assert functions == set(FIGURES)


def test_a_notebook_can_show_a_figure_without_pyplot():
    code = (
        "import sys; from fer_keras.reporting import plotting; f = plotting.bars({'happy': 3}, axis='images'); "
        "assert f._repr_png_()[:4] == b'\\x89PNG'; "
        "sys.exit(str({'matplotlib.pyplot', 'keras', 'tensorflow'} & set(sys.modules)).replace('set()', '') or 0)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_confusion_matrix_shows_shares_of_rows_and_counts():
    figure = plotting.confusion([[30, 10], [0, 1200]], ("sad", "happy"))
    assert shown(figure.axes[0]) == ["75 %\n30", "25 %\n10", "0 %\n0", "100 %\n1,200"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["sad (40)", "happy (1,200)"]
    assert figure.axes[0].collections[0].get_array()[0].tolist() == [0.75, 0.25]


def test_a_class_without_images_has_an_empty_row():
    figure = plotting.confusion([[0, 0], [1, 1]], ("sad", "happy"))
    assert shown(figure.axes[0])[:2] == ["0 %\n0", "0 %\n0"]


def test_a_history_marks_the_best_epoch_chance_and_the_fall_of_the_rate():
    loss, accuracy = FIGURES["history"]().axes
    assert shown(loss) == ["rate 1e-3", "rate 2e-4"]
    assert loss.lines[3].get_xdata() == [9]
    assert loss.lines[3].get_ydata()[0] == HISTORY["val_loss"][8]
    dashed = [line for line in accuracy.lines if line.get_linestyle() == "--"]
    assert dashed[0].get_ydata()[0] == pytest.approx(1 / 7)


def test_histories_mark_the_epoch_that_was_kept_and_tell_seeds_apart():
    labels = dict.fromkeys("ab", "mini-xception")
    tables = dict.fromkeys("ab", HISTORY)
    axes = plotting.histories(tables, models=labels, best_epochs={"a": 9, "b": 2}, num_classes=7).axes[0]
    first, second = axes.lines[:2]
    assert (first.get_markevery(), second.get_markevery()) == ([8], [1])
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() != second.get_linestyle()


def test_accuracy_against_size_names_its_points():
    assert shown(FIGURES["cost"]().axes[0]) == ["mini-xception"]


def test_networks_of_the_same_size_are_named_on_both_sides():
    sides = [text.get_ha() for text in plotting.cost(leaderboard([RUN, TWIN])).axes[0].texts]
    assert sides == ["left", "right"]


LONG = "a network with a long name"
IN_A_ROW = [(f"{LONG}, {number}", 1e6 * 1.1**number, 0.6 + number / 500) for number in range(6)]
CLUSTER = [
    *[("ensemble", 1.8e8, 0.581), ("stacking", 1.8e8, 0.576), ("single", 1.58e8, 0.542)],
    *[(f"{LONG}, left", 1.78e8, 0.55), (f"{LONG}, right", 3.45e8, 0.549), (f"{LONG}, below", 2.9e8, 0.512)],
]


@pytest.mark.parametrize("crowd", [IN_A_ROW, CLUSTER], ids=["row", "cluster"])
def test_names_of_a_crowd_hide_neither_each_other_nor_a_point_and_no_line_crosses_them(crowd):
    figure = plotting.cost(leaderboard([RUN]), others=crowd)
    axes = figure.axes[0]
    texts = sorted(axes.texts, key=lambda text: text.get_text())
    assert [text.get_text() for text in texts] == sorted(["mini-xception", *(name for name, *_ in crowd)])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in texts]
    assert not any(box.count_overlaps(boxes[:number]) for number, box in enumerate(boxes))
    points = axes.transData.transform([text.xy for text in texts])
    assert not any(box.contains(*point) for box in boxes for point in points)
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    for text, point, box in zip(texts, points, boxes, strict=True):
        line = Path([point, (box.x0 if text.get_ha() == "left" else box.x1, (box.y0 + box.y1) / 2)])
        assert not any(line.intersects_bbox(other) for other in boxes if other is not box), text.get_text()


def test_accuracies_show_what_is_comparable_together_with_interval_chance_and_published():
    figure = FIGURES["accuracies"]()
    seven, four = figure.axes
    assert seven.get_title(loc="left") == "7 classes, official split"
    names = [text.get_text() for text in seven.get_yticklabels()]
    assert names == ["mini-xception", "mini-xception@no-flip, on validation"]
    assert [text.get_text() for text in four.get_yticklabels()] == ["capstone-model-1, cut short"]
    bars = seven.containers[0]
    low, high = bars.lines[2][0].get_segments()[0][:, 0]
    scores = RUN.metrics["test"]
    assert (low, high) == pytest.approx((scores["accuracy_low"], scores["accuracy_high"]))
    levels = {line.get_label(): line.get_xdata()[0] for line in seven.lines if not line.get_label().startswith("_")}
    assert levels == pytest.approx({"chance": 1 / 7, "people, about": 0.65, "published": 0.65})
    assert "people, about" not in {line.get_label() for line in four.lines}
    validation = seven.containers[1].lines[0]
    assert validation.get_markerfacecolor() == "white"


def test_what_was_published_on_another_data_set_is_not_drawn_beside_ours():
    table = leaderboard([RUN]).assign(published_split="test, RAF-DB")
    (axes,) = plotting.accuracies(table).axes
    assert "published" not in {line.get_label() for line in axes.lines}


def test_recalls_are_ordered_and_seeds_told_apart():
    figure = plotting.recalls({"a": PER_CLASS, "b": PER_CLASS}, models={"a": "mini-xception", "b": "mini-xception"})
    first, second = figure.axes[0].lines
    assert list(first.get_xdata()) == sorted(entry["recall"] for entry in PER_CLASS.values())
    assert first.get_color() == second.get_color() == plotting.model_style("mini-xception")[0]
    assert second.get_markerfacecolor() == "none"


def test_accuracy_against_size_refuses_rows_that_cannot_be_compared():
    with pytest.raises(ValueError, match="one number of classes, protocol and split"):
        plotting.cost(leaderboard([RUN, FOUR]))


def test_bars_carry_class_colours_and_numbers():
    axes = plotting.bars({"happy": 1234, "elsewhere": 5}, axis="images").axes[0]
    assert shown(axes) == ["1,234", "5"]
    assert axes.patches[0].get_facecolor()[:3] == pytest.approx(
        [int(COLOURS["happy"][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    )


def test_class_counts_leave_out_the_total_and_empty_splits():
    figure = plotting.class_counts(COUNTS * np.array([[1], [0]]))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "train: 28"
    assert shown(axes)[3] == "4"
    assert len(axes.patches) == 7


def test_a_gallery_shows_each_image_once_on_one_grey_scale():
    figure = FIGURES["mean_faces"]()
    (axes,) = figure.axes
    assert [image.get_array().mean() for image in axes.images] == [30 * index for index in range(7)]
    assert all(image.get_clim() == (0, 255) for image in axes.images)
    assert shown(axes)[3] == "happy\n4,000 images"
    lefts = [image.get_extent()[0] for image in axes.images]
    assert lefts == sorted(set(lefts))


@pytest.mark.parametrize("titles", [["a"], ["a", "b", "c"]])
def test_a_gallery_needs_a_title_for_each(titles):
    with pytest.raises(ValueError, match=f"2 images, {len(titles)} titles"):
        plotting.gallery(np.zeros((2, 4, 4)), titles)


def test_a_model_looks_the_same_everywhere_and_unlike_the_others():
    styles = [plotting.model_style(name) for name in MODELS]
    assert len(set(styles)) == len(MODELS)
    assert len({colour for colour, _ in styles[:10]}) == 10
    assert plotting.model_style("of one's own") == plotting.model_style("of one's own")


def test_scores_by_emotion_are_ordered_and_a_second_network_of_a_model_is_hollow():
    axes = FIGURES["by_emotion"]().axes[0]
    assert [name.get_text() for name in axes.get_yticklabels()] == ["sad", "happy"]
    first, second = (container.lines[0] for container in axes.containers)
    assert list(first.get_xdata()) == [0.8, 0.6]
    assert first.get_markerfacecolor() != "none"
    assert second.get_markerfacecolor() == "none"
    assert list(axes.lines[0].get_xdata()) == [0.2, 0.25], "the level, in the order of the rows"
