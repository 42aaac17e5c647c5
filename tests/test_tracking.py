"""Faces that move, grow, leave, cross or hide keep their number, and boxes follow them between the detector's looks."""

import math

import moving
import numpy as np
import pytest

from fer_keras.recognition.detectors import Detection, overlap
from fer_keras.recognition.tracking import COAST_SECONDS, Tracker

RATE = moving.RATE
WAY = moving.path((20, 40, 60, 74), (190, 70, 96, 118), 45)
RIGHT, LEFT = (10, 50, 70, 86), (240, 50, 70, 86)


def oracle(boxes):
    """A detector that finds each face that is at least half in the picture, unless another hides it."""

    def detect(rgb):
        height, width = rgb.shape[:2]
        found = []
        for number, box in enumerate(boxes):
            if box is None or any(o is not None and overlap(box, o) > 0.35 for o in boxes[number + 1 :]):
                continue
            if 0 <= box[0] + box[2] / 2 <= width and 0 <= box[1] + box[3] / 2 <= height:
                found.append(Detection(tuple(np.round(box).astype(int).tolist()), 0.9))
        return found

    return detect


def track(pictures, places, **options):
    """For each frame the tracks that are seen, as `(id, box, detected)`."""
    tracker = Tracker(**options)
    return [
        [
            (one.id, one.box(picture.shape), one.detected)
            for one in tracker.update(picture, number / RATE, oracle(boxes))
        ]
        for number, (picture, boxes) in enumerate(zip(pictures, places, strict=True))
    ]


def ids(seen):
    """The numbers of all faces in frames."""
    return sorted({one[0] for frame in seen for one in frame})


@pytest.mark.parametrize("every", [1, 5, 15])
@pytest.mark.parametrize("face", [moving.astronaut, lambda: moving.synthetic("happy")], ids=["photo", "synthetic"])
def test_one_face_keeps_its_number_and_its_box_follows(face, every):
    places = [(box,) for box in WAY]
    seen = track(moving.frames([face()], places), places, every=every)
    assert [len(frame) for frame in seen] == [1] * len(places)
    assert ids(seen) == [1]
    assert min(overlap(frame[0][1], box) for frame, (box,) in zip(seen, places, strict=True)) > 0.85
    assert [frame[0][2] for frame in seen] == [number % every == 0 for number in range(len(places))]


@pytest.mark.parametrize("every", [1, 5, 10])
@pytest.mark.parametrize("drop", [0, 50], ids=["fully", "partly"])
def test_two_faces_that_cross_keep_their_numbers(every, drop):
    behind, front = moving.path(RIGHT, LEFT, 60), moving.path(LEFT, RIGHT, 60) + np.array([0, drop, 0, 0])
    places = list(zip(behind, front, strict=True))
    faces = [moving.astronaut(), moving.synthetic("angry")]
    seen = track(moving.frames(faces, places), places, every=every)
    assert ids(seen) == [1, 2]
    for frame, boxes in ((seen[0], places[0]), (seen[-1], places[-1])):
        found = {number: box for number, box, _ in frame}
        assert sorted(found) == [1, 2]
        assert all(overlap(found[number + 1], box) > 0.85 for number, box in enumerate(boxes))
    in_front = [max(overlap(box, places[k][1]) for _, box, _ in frame) for k, frame in enumerate(seen)]
    assert min(in_front) > 0.85
    if drop == 0:
        assert min(map(len, seen)) == 1, "the face behind is not seen while it is hidden"


def test_a_face_that_leaves_is_gone_and_one_that_comes_in_is_new():
    out, back = (
        moving.path((200, 40, 60, 74), (330, 40, 60, 74), 25),
        moving.path((330, 40, 60, 74), (190, 40, 60, 74), 25),
    )
    places = [(box,) for box in (*out, *back)]
    seen = track(moving.frames([moving.astronaut()], places), places, every=5)
    assert ids(seen) == [1, 2]
    assert not any(seen[22:28])
    assert len(seen[-1]) == 1
    for frame in seen:
        for _, (left, top, width, height), _ in frame:
            assert 0 <= left < left + width <= 320
            assert 0 <= top < top + height <= 240


@pytest.mark.parametrize(("seconds", "known"), [(0.6, True), (2 * COAST_SECONDS, False)])
def test_a_face_that_was_hidden_for_a_while_keeps_its_number(seconds, known):
    here = ((100, 60, 80, 98),)
    places = [here] * 15 + [(None,)] * math.ceil(seconds * RATE) + [here] * 10
    seen = track(moving.frames([moving.astronaut()], places), places, every=5)
    assert not any(seen[15:-10]), "what is hidden is not seen"
    assert ids(seen) == ([1] if known else [1, 2])
    assert len(seen[-1]) == 1


def test_a_face_that_the_detector_misses_is_followed_for_a_while():
    here = (100, 60, 80, 98)
    pictures = moving.frames([moving.astronaut()], [(here,)] * 60)
    seen = track(pictures, [(here,)] * 10 + [()] * 50, every=5)
    last_found = 5
    lasts = [number for number, frame in enumerate(seen) if frame]
    assert lasts == list(range(lasts[-1] + 1))
    assert COAST_SECONDS - 5 / RATE <= (lasts[-1] - last_found) / RATE <= COAST_SECONDS + 5 / RATE
    assert [number for number, frame in enumerate(seen) if frame and frame[0][2]] == [0, 5]


def test_a_single_false_alarm_lasts_until_the_next_look():
    pictures = moving.frames([], [()] * 20)
    seen = track(pictures, [((100, 60, 80, 98),)] + [()] * 19, every=5)
    assert not any(seen[5:])


def test_a_cut_to_another_scene_ends_what_was_followed():
    here = ((100, 60, 80, 98),)
    places = [here] * 12 + [(None,)] * 3
    pictures = list(moving.frames([moving.astronaut()], places))
    pictures[12:] = [np.roll(picture[::-1, ::-1], 40, axis=1) for picture in pictures[12:]]
    seen = track(pictures, places, every=15)
    assert all(seen[:12])
    assert not any(seen[12:])


def test_what_cannot_be_followed_waits_for_the_next_look():
    flat = [np.full((60, 80, 3), 90, np.uint8)] * 7
    seen = track(flat, [((20, 10, 30, 30),)] * 7, every=3)
    assert [len(frame) for frame in seen] == [1, 0, 0, 1, 0, 0, 1]
    assert ids(seen) == [1]


def test_a_frame_of_another_size_does_no_harm():
    pictures = [np.zeros(shape, np.uint8) for shape in ((60, 80, 3), (30, 40, 3), (60, 80, 3))]
    assert [len(frame) for frame in track(pictures, [((5, 5, 20, 20),)] * 3, every=1)] == [1, 1, 1]


def test_smoothing_is_the_formula_over_seconds():
    given = np.random.default_rng(0).dirichlet(np.ones(7), size=6)
    times = [0.0, 0.04, 0.08, 0.3, 0.31, 2.0]
    tracker = Tracker(smoothing_seconds=0.5)
    (one,) = tracker.update(np.zeros((60, 80, 3), np.uint8), 0.0, oracle([(5, 5, 20, 20)]))
    expected = given[0]
    for number, (time, values) in enumerate(zip(times, given, strict=True)):
        if number:
            kept = math.exp(-(time - times[number - 1]) / 0.5)
            expected = kept * expected + (1 - kept) * values
        assert tracker.smooth([one], values[None], time)[0] == pytest.approx(expected, abs=1e-12)
    assert expected.sum() == pytest.approx(1)


def test_without_smoothing_probabilities_stay_as_they_are():
    tracker = Tracker(smoothing_seconds=0)
    tracks = tracker.update(np.zeros((60, 80, 3), np.uint8), 0.0, oracle([(5, 5, 20, 20), (40, 5, 20, 20)]))
    for values in ([[0.2, 0.8], [0.5, 0.5]], [[0.9, 0.1], [0.3, 0.7]]):
        assert np.array_equal(tracker.smooth(tracks, np.array(values), 0.1), values)
    assert tracker.smooth([], np.zeros((0, 2)), 0.2).shape == (0, 2)


def test_the_largest_overlap_is_served_first():
    tracker = Tracker(every=1)
    picture = np.zeros((100, 200, 3), np.uint8)
    first = tracker.update(picture, 0.0, oracle([(0, 0, 50, 50), (60, 0, 50, 50)]))
    assert [one.id for one in first] == [1, 2]
    # Nothing can be followed in black, so both wait where they were; both could be the first face.
    both = [Detection((15, 0, 50, 50), 0.9), Detection((4, 0, 50, 50), 0.8)]
    found = tracker.update(picture, 0.1, lambda rgb: both)
    assert {one.id: (one.box(picture.shape)[0], one.score) for one in found} == {1: (4, 0.8), 3: (15, 0.9)}


def test_a_face_that_is_followed_keeps_the_angle_at_which_it_was_found():
    tracker, face = Tracker(every=3), (100, 60, 80, 98)
    looks = iter([Detection(face, 0.9, 20.0), Detection(face, 0.8, -10.0)])
    pictures = moving.frames([moving.astronaut()], [(face,)] * 6)
    seen = [
        tracker.update(picture, number / RATE, lambda rgb: [next(looks)]) for number, picture in enumerate(pictures)
    ]
    assert [one.detection((240, 320)).angle for (one,) in seen][-1] == -10.0
    assert seen[-1][0].detection((240, 320)).score == 0.8


@pytest.mark.parametrize(
    "options",
    [{"every": 0}, {"every": 2.5}, {"every": True}, {"smoothing_seconds": -1}, {"smoothing_seconds": math.nan}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="Received"):
        Tracker(**options)
