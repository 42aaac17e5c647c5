"""Faces that move, grow, leave, cross or hide keep their number, and boxes follow them between the detector's looks."""

import math

import moving
import numpy as np
import pytest

from fer_keras.recognition.detectors import Detection, overlap
from fer_keras.recognition.tracking import COAST_SECONDS, Tracker

RATE = moving.RATE
RIGHT, LEFT, HERE = (10, 50, 70, 86), (240, 50, 70, 86), (100, 60, 80, 98)
BLACK = np.zeros((60, 80, 3), np.uint8)


def oracle(boxes):
    """A detector that finds each face whose middle is in the picture, unless a nearer one hides it."""
    there = [np.array(box) for box in boxes if box is not None]

    def detect(rgb):
        seen = [box for number, box in enumerate(there) if all(overlap(box, o) <= 0.35 for o in there[number + 1 :])]
        seen = [box for box in seen if (abs(2 * box[:2] + box[2:] - rgb.shape[1::-1]) <= rgb.shape[1::-1]).all()]
        return [Detection(tuple(np.round(box).astype(int).tolist()), 0.9, 20.0) for box in seen]

    return detect


def track(places, *faces, pictures=None, **options):
    """For each frame the tracks that are seen, as `(id, box, detected)`, and the ids of all; made or given pictures."""
    tracker, seen = Tracker(**options), []
    for number, (picture, boxes) in enumerate(zip(pictures or moving.frames(faces, places), places, strict=True)):
        tracks = tracker.update(picture, number / RATE, oracle(boxes))
        assert {one.detection(picture.shape)[1:] for one in tracks} <= {(0.9, 20.0)}, "score and angle of the last look"
        seen.append([(one.id, one.detection(picture.shape).box, one.detected) for one in tracks])
    return seen, sorted({one[0] for frame in seen for one in frame})


@pytest.mark.parametrize("every", [1, 5, 15])
@pytest.mark.parametrize("face", [moving.ASTRONAUT, moving.synthetic("happy")], ids=["photo", "synthetic"])
def test_one_face_keeps_its_number_and_its_box_follows(face, every):
    places = [(box,) for box in np.linspace((20, 40, 60, 74), (190, 70, 96, 118), 45)]
    seen, ids = track(places, face, every=every)
    assert ids == [1]
    for number, (((_, box, detected),), (truth,)) in enumerate(zip(seen, places, strict=True)):
        assert (overlap(box, truth) > 0.85, detected) == (True, number % every == 0)


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("drop", [0, 50], ids=["fully", "partly"])
def test_two_faces_that_cross_keep_their_numbers(every, drop):
    front = np.add(np.linspace(LEFT, RIGHT, 60), (0, drop, 0, 0))
    places = list(zip(np.linspace(RIGHT, LEFT, 60), front, strict=True))
    seen, ids = track(places, moving.ASTRONAUT, moving.synthetic("angry"), every=every)
    assert ids == [1, 2]
    for moment in (0, -1):
        assert [one[0] for one in seen[moment]] == [1, 2]
        assert all(overlap(one[1], box) > 0.85 for one, box in zip(seen[moment], places[moment], strict=True))
    assert all(max(overlap(one[1], box) for one in frame) > 0.85 for frame, box in zip(seen, front, strict=True))
    assert drop or min(map(len, seen)) == 1, "the face behind is not seen while it is hidden"


@pytest.mark.parametrize(("seconds", "ids"), [(None, [1, 2]), (0.6, [1]), (2 * COAST_SECONDS, [1, 2])])
def test_a_face_that_left_or_is_hidden_is_not_seen_and_keeps_its_number_for_a_while(seconds, ids):
    outside = (330, 60, 80, 98)
    away = [*np.linspace(HERE, outside, 35), *np.linspace(outside, HERE, 35)] if seconds is None else []
    places = [HERE] * 15 + (away or [None] * math.ceil(seconds * RATE)) + [HERE] * 10
    seen, found = track([(box,) for box in places], moving.ASTRONAUT, every=5)
    hidden = seen[47:53] if away else seen[15:-10]
    assert (found, any(hidden), len(seen[-1])) == (ids, False, 1)
    boxes = np.array([box for frame in seen for _, box, _ in frame])
    assert ((boxes[:, :2] >= 0) & (boxes[:, 2:] > 0) & (boxes[:, :2] + boxes[:, 2:] <= (320, 240))).all()


def test_a_face_that_the_detector_misses_is_followed_for_a_while_but_not_a_single_false_alarm():
    pictures = list(moving.frames([moving.ASTRONAUT], [(HERE,)] * 60))
    seen, _ = track([(HERE,)] * 10 + [()] * 50, pictures=pictures, every=5)
    lasts = [number for number, frame in enumerate(seen) if frame]
    assert lasts == list(range(len(lasts)))
    assert (lasts[-1] - 5) / RATE == pytest.approx(COAST_SECONDS, abs=5 / RATE)
    assert [number for number in lasts if seen[number][0][2]] == [0, 5]
    assert not any(track([(HERE,)] + [()] * 19, pictures=pictures[:20], every=5)[0][5:])


def test_a_cut_to_another_scene_ends_what_was_followed():
    places = [(HERE,)] * 12 + [(None,)] * 3
    pictures = list(moving.frames([moving.ASTRONAUT], places))
    pictures[12:] = [np.roll(picture[::-1, ::-1], 40, axis=1) for picture in pictures[12:]]
    assert [len(frame) for frame in track(places, pictures=pictures, every=15)[0]] == [1] * 12 + [0] * 3


def test_what_cannot_be_followed_waits_for_the_next_look_and_frames_of_another_size_do_no_harm():
    seen, ids = track([((20, 10, 30, 30),)] * 7, pictures=[BLACK] * 7, every=3)
    assert ([len(frame) for frame in seen], ids) == ([1, 0, 0, 1, 0, 0, 1], [1])
    assert all(track([((5, 5, 20, 20),)] * 3, pictures=[BLACK, BLACK[:30, :40], BLACK], every=1)[0])


@pytest.mark.parametrize("constant", [0.5, 0])
def test_smoothing_is_the_formula_over_seconds(constant):
    given, times = np.random.default_rng(0).dirichlet(np.ones(7), size=6), [0.0, 0.04, 0.08, 0.3, 0.31, 2.0]
    tracker, expected = Tracker(smoothing_seconds=constant), given[0]
    tracks = tracker.update(BLACK, 0.0, oracle([(5, 5, 20, 20)]))
    for elapsed, time, values in zip(np.diff(times, prepend=0.0), times, given, strict=True):
        kept = math.exp(-elapsed / constant) if constant else 0
        expected = kept * expected + (1 - kept) * values
        assert tracker.smooth(tracks, values[None], time)[0] == pytest.approx(expected, abs=1e-12)


def test_the_largest_overlap_is_served_first():
    tracker = Tracker(every=2)
    tracker.update(BLACK, 0.0, oracle([(0, 0, 50, 50)]))
    tracker.update(BLACK, 0.1, None)
    # Nothing can be followed in black, so it waits where it was; both could be this face.
    both = [Detection((15, 0, 50, 50), 0.9, 20.0), Detection((4, 0, 50, 50), 0.8, -10.0)]
    found = tracker.update(BLACK, 0.2, lambda rgb: both)
    assert {one.id: one.detection(BLACK.shape) for one in found} == {1: both[1], 2: both[0]}


@pytest.mark.parametrize(("name", "values"), [("every", (0, 2.5, True)), ("smoothing_seconds", (-1, math.nan))])
def test_impossible_options_are_errors(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}` must be.*Received: {value}"):
            Tracker(**{name: value})
