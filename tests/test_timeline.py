"""Emotions over time: a panel a face, a line a class in its colour, broken where the face was away."""

import numpy as np
import pandas as pd
import pytest

from fer_keras import plots
from fer_keras.labels import COLOURS, FER7
from fer_keras.recognition.video import COLUMNS


def table(*stretches, classes=FER7):
    """The table of a video: each `(face, start, end)` is a stretch of seconds in which a face is seen."""
    seen = [(face, time / 25) for face, start, end in stretches for time in range(round(start * 25), round(end * 25))]
    found = pd.DataFrame(seen, columns=["id", "time"]).sort_values(["time", "id"], ignore_index=True)
    values = np.random.default_rng(0).dirichlet(np.ones(len(classes)), size=len(found))
    fixed = {name: kind() for name, kind in COLUMNS.items() if name not in found}
    return found.assign(**fixed, **dict(zip(classes, values.T, strict=True)))


def lines(axes):
    """The lines of a panel by the name of their class."""
    return {line.get_label(): line for line in axes.lines if line.get_label() in (*FER7, "calm", "bored")}


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_each_face_has_a_panel_and_each_class_its_colour_and_values():
    figure = plots.timeline(seen := table((1, 0, 2), (2, 1, 3)), title="clip.mp4")
    assert titles(figure) == ["clip.mp4: face 1", "clip.mp4: face 2"]
    assert figure.axes[-1].get_xlabel() == "time (seconds)"
    for number, axes in enumerate(figure.axes, 1):
        rows = seen[seen["id"] == number]
        assert (axes.get_ylabel(), list(lines(axes))) == ("probability", list(FER7))
        assert len(axes.lines) == len(FER7), "no level: the majority class of a video is not known"
        for name, line in lines(axes).items():
            assert line.get_color() == COLOURS[name]
            assert np.allclose(line.get_xydata(), rows[["time", name]])


@pytest.mark.parametrize(("start", "unit"), [(3, "seconds"), (600, "minutes")])
def test_lines_are_broken_where_the_face_was_away_and_long_videos_are_drawn_in_minutes(start, unit):
    (axes,) = plots.timeline(table((1, 0, 1), (1, start, start + 1))).axes
    times, values = lines(axes)["sad"].get_data()
    (place,) = np.flatnonzero(np.isnan(values))
    around = np.array([0.96, start]) / (1 if unit == "seconds" else 60)
    assert (axes.get_xlabel(), times[[place - 1, place + 1]]) == (f"time ({unit})", pytest.approx(around))


def test_the_faces_seen_longest_are_drawn_unless_others_are_asked_for():
    seen = table((1, 0, 0.2), (2, 0, 3), (3, 0, 1), (4, 0, 2))
    assert titles(plots.timeline(seen, faces=2)) == ["face 2", "face 4"]
    assert titles(plots.timeline(seen, faces=[3, 1])) == ["face 3", "face 1"]


def test_a_face_of_one_frame_and_classes_of_ones_own_can_be_drawn():
    (axes,) = plots.timeline(table((7, 2, 2.04), classes=("calm", "bored"))).axes
    assert sorted(lines(axes)) == ["bored", "calm"]
    assert len({line.get_color() for line in lines(axes).values()}) == 2


@pytest.mark.parametrize("bad", [pd.DataFrame({"time": [1.0]}), table((1, 0, 1)).iloc[:0]])
def test_a_table_that_is_not_a_videos_is_an_error(bad):
    with pytest.raises(ValueError, match=r"table of a video.*Received: [01] rows"):
        plots.timeline(bad)


@pytest.mark.parametrize("faces", [0, [], [9]])
def test_faces_that_are_not_there_are_an_error(faces):
    with pytest.raises(ValueError, match="`faces` must be"):
        plots.timeline(table((1, 0, 1)), faces=faces)
