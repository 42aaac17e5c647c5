"""Emotions over time: a panel a face, a line a class in its colour, broken where the face was away."""

import numpy as np
import pandas as pd
import pytest

from fer_keras import plots
from fer_keras.labels import COLOURS, FER7
from fer_keras.recognition.video import COLUMNS


def table(classes=FER7, **stretches):
    """The table of a video: for each face (`face_1=[(start, end), ...]`) the seconds in which it is seen."""
    generator = np.random.default_rng(0)
    parts = []
    for name, seen in stretches.items():
        times = np.concatenate([np.arange(round(start * 25), round(end * 25)) / 25 for start, end in seen])
        values = generator.dirichlet(np.ones(len(classes)), size=len(times))
        part = pd.DataFrame(values, columns=list(classes))
        part.insert(0, "time", times)
        part.insert(1, "id", int(name.removeprefix("face_")))
        part.insert(2, "emotion", [classes[number] for number in values.argmax(axis=1)])
        part.insert(3, "confidence", values.max(axis=1))
        parts.append(part)
    found = pd.concat(parts).sort_values(["time", "id"], ignore_index=True)
    return found.assign(**{name: kind() for name, kind in COLUMNS.items() if name not in found})


def lines(axes):
    """The lines of a panel by the name of their class."""
    return {line.get_label(): line for line in axes.lines if line.get_label() in (*FER7, "calm", "bored")}


def test_each_face_has_a_panel_and_each_class_its_colour_and_values():
    seen = table(face_1=[(0, 2)], face_2=[(1, 3)])
    figure = plots.timeline(seen, title="clip.mp4")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["clip.mp4: face 1", "clip.mp4: face 2"]
    assert figure.axes[-1].get_xlabel() == "time (seconds)"
    for number, axes in enumerate(figure.axes, 1):
        assert axes.get_ylabel() == "probability"
        rows = seen[seen["id"] == number]
        assert list(lines(axes)) == list(FER7)
        for name, line in lines(axes).items():
            assert line.get_color() == COLOURS[name]
            assert np.allclose(line.get_xdata(), rows["time"])
            assert np.allclose(line.get_ydata(), rows[name])
    assert len(figure.axes[0].lines) == len(FER7), "no level: the majority class of a video is not known"


def test_lines_are_broken_where_the_face_was_away():
    (axes,) = plots.timeline(table(face_1=[(0, 1), (3, 4)])).axes
    times, values = lines(axes)["sad"].get_data()
    assert np.isnan(values).sum() == 1
    place = np.flatnonzero(np.isnan(values))[0]
    assert (times[place - 1], times[place + 1]) == (0.96, 3.0)


def test_the_faces_seen_longest_are_drawn_unless_others_are_asked_for():
    seen = table(face_1=[(0, 0.2)], face_2=[(0, 3)], face_3=[(0, 1)], face_4=[(0, 2)])
    titles = [axes.get_title(loc="left") for axes in plots.timeline(seen, faces=2).axes]
    assert titles == ["face 2", "face 4"]
    titles = [axes.get_title(loc="left") for axes in plots.timeline(seen, faces=[3, 1]).axes]
    assert titles == ["face 3", "face 1"]


def test_long_videos_are_drawn_in_minutes():
    seen = table(face_1=[(0, 1), (600, 601)])
    figure = plots.timeline(seen)
    assert figure.axes[0].get_xlabel() == "time (minutes)"
    assert np.nanmax(lines(figure.axes[0])["sad"].get_xdata()) == pytest.approx(600.96 / 60)


def test_a_face_of_one_frame_and_classes_of_ones_own_can_be_drawn():
    (axes,) = plots.timeline(table(("calm", "bored"), face_7=[(2, 2.04)])).axes
    assert sorted(lines(axes)) == ["bored", "calm"]
    assert len({line.get_color() for line in lines(axes).values()}) == 2


@pytest.mark.parametrize("bad", [pd.DataFrame({"time": [1.0]}), table(face_1=[(0, 1)]).iloc[:0]])
def test_a_table_that_is_not_a_videos_is_refused(bad):
    with pytest.raises(ValueError, match=r"table of a video.*Received: [01] rows"):
        plots.timeline(bad)


@pytest.mark.parametrize("faces", [0, [], [9]])
def test_faces_that_are_not_there_are_refused(faces):
    with pytest.raises(ValueError, match="`faces` must be"):
        plots.timeline(table(face_1=[(0, 1)]), faces=faces)
