"""Boxes and words in a picture: where they lie, and that they can be read on anything."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from fer_keras.labels import COLOURS
from fer_keras.recognition import drawing
from fer_keras.recognition.drawing import draw_faces, ink, words
from fer_keras.recognition.recognizer import UNCERTAIN, Face

GREY = np.full((240, 320, 3), 100, np.uint8)


def face(box=(100, 90, 80, 80), emotion="happy", confidence=0.876):
    return Face(box, emotion, confidence, {"happy": confidence, "sad": 1 - confidence}, 0.9)


def changed(before, after):
    """Return the box `(left, top, right, bottom)` of all that differs."""
    rows, columns = np.nonzero((before != after).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def luminance(colour):
    channels = np.asarray(colour) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


def test_a_box_in_the_colour_of_its_emotion_lies_on_the_face_and_words_above_it():
    before = GREY.copy()
    drawn = draw_faces(GREY, [face()])
    assert (before == GREY).all(), "the picture itself stays"
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8
    happy = ImageColor.getrgb(COLOURS["happy"])
    for row, column in ((90, 140), (169, 140), (130, 100), (130, 179)):
        assert tuple(drawn[row, column]) == happy
    assert (drawn[100:160, 110:170] == 100).all(), "the face itself is not covered"
    left, top, _, bottom = changed(GREY, drawn)
    assert (left, bottom, top < 85) == (99, 171, True)


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (290, 0, 30, 30), (0, 210, 30, 30), (0, 0, 320, 240), (319, 239, 1, 1)]
)
def test_words_stay_inside_the_picture(box):
    drawn = draw_faces(GREY, [face(box)])
    outside = np.pad(GREY, ((50, 50), (50, 50), (0, 0)), mode="edge")
    framed = draw_faces(outside, [face((box[0] + 50, box[1] + 50, *box[2:]))])
    happy = np.array(ImageColor.getrgb(COLOURS["happy"]))
    plate = (drawn == happy).all(axis=-1).sum()
    assert plate >= 0.6 * (framed == happy).all(axis=-1).sum(), "nothing much of them is cut off"


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (60, 40)], ids=str)
def test_the_smallest_pictures_can_be_drawn_into(size):
    picture = np.zeros((*size, 3), np.uint8)
    assert draw_faces(picture, [face((0, 0, size[1], size[0]))]).shape == picture.shape
    assert (draw_faces(picture, []) == picture).all()


def test_all_grows_with_the_picture():
    heights = []
    for scale in (2, 8):
        picture = np.full((240 * scale, 320 * scale, 3), 100, np.uint8)
        drawn = draw_faces(picture, [face(tuple(scale * value for value in (100, 90, 80, 80)))])
        heights.append(90 * scale - changed(picture, drawn)[1])
    assert 3 < heights[1] / heights[0] < 5


@pytest.mark.parametrize("emotion", [*COLOURS, UNCERTAIN, "bored"])
def test_words_stand_out_from_their_plate(emotion):
    plate = drawing.colour(emotion)
    light, dark = sorted((luminance(ImageColor.getrgb(colour)) for colour in (plate, ink(plate))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5, "the least contrast of WCAG 2 for text"


def test_what_is_written():
    assert words(face()) == "happy 88%"
    assert words(face(), "3") == "3 happy 88%"
    assert words(face(emotion=UNCERTAIN, confidence=0.4)) == "uncertain"
    assert words(face(confidence=0.9999)) == "happy 99%"


def test_names_come_one_a_face(monkeypatch):
    written = []
    monkeypatch.setattr(drawing, "draw_words", lambda canvas, face, text, *_: written.append(text))
    faces = [face(), face(emotion="sad", confidence=0.5)]
    draw_faces(GREY, faces, names=["1", "2"])
    draw_faces(GREY, faces)
    assert written == ["1 happy 88%", "2 sad 50%", "happy 88%", "sad 50%"]
    for names in (["1"], [], "123"):
        with pytest.raises(ValueError, match="a word for each of 2 faces"):
            draw_faces(GREY, faces, names=names)


def test_words_lie_above_all_boxes():
    second = face((100, 60, 90, 90), emotion="sad", confidence=0.7)
    drawn = draw_faces(GREY, [face(), second])
    alone = draw_faces(GREY, [face()])
    happy = (alone == ImageColor.getrgb(COLOURS["happy"])).all(axis=-1)
    happy[88:] = False  # the plate, which the second face's box crosses
    assert (drawn[happy] == ImageColor.getrgb(COLOURS["happy"])).all()


def test_words_look_the_same_on_anything():
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape, np.uint8)
    on_noise, on_grey = (draw_faces(picture, [face()]) for picture in (noise, GREY))
    left, top, right, _ = changed(GREY[:88], on_grey[:88])
    np.testing.assert_array_equal(on_noise[top:88, left:right], on_grey[top:88, left:right])
    assert Image.fromarray(on_noise).size == (320, 240)
