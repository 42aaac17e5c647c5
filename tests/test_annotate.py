"""Boxes, words, bars and heatmaps in copies of pictures: where they lie, that they can be read, what a copy keeps."""

import importlib.util

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms, ImageColor

import fer_keras
from fer_keras.__main__ import main
from fer_keras.labels import COLOURS
from fer_keras.recognition import annotate
from fer_keras.recognition.annotate import draw_faces, ink, paint_heatmap, words
from fer_keras.recognition.detectors import Detection
from fer_keras.recognition.recognizer import UNCERTAIN, Face

GREY = np.full((240, 320, 3), 100, np.uint8)
HAPPY = ImageColor.getrgb(COLOURS["happy"])


def face(box=(100, 90, 80, 80), emotion="happy", confidence=0.876, **others):
    return Face(box, emotion, confidence, {"happy": confidence, "sad": 1 - confidence, **others}, 0.9)


def changed(before, after):
    """The box `(left, top, right, bottom)` of all that differs."""
    rows, columns = np.nonzero((before != after).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_box_in_the_colour_of_its_emotion_lies_on_the_face_and_words_above_it():
    before = GREY.copy()
    drawn = draw_faces(GREY, [face()])
    assert (before == GREY).all(), "the picture itself stays"
    for row, column in ((90, 140), (169, 140), (130, 100), (130, 179)):
        assert tuple(drawn[row, column]) == HAPPY
    assert (drawn[100:160, 110:170] == 100).all(), "the face itself is not covered"
    left, top, _, bottom = changed(GREY, drawn)
    assert (left, bottom, top < 85) == (99, 171, True)
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape, np.uint8)

    plate = np.s_[top:88, left : changed(GREY[:88], drawn[:88])[2]]
    np.testing.assert_array_equal(draw_faces(noise, [face()])[plate], drawn[plate], "words look the same on anything")


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (290, 0, 30, 30), (0, 210, 30, 30), (0, 0, 320, 240), (319, 239, 1, 1)]
)
def test_words_and_bars_stay_inside_the_picture(box):
    outside = np.pad(GREY, ((50, 50), (50, 50), (0, 0)), mode="edge")
    shown, whole = (
        (draw_faces(picture, [found]) == HAPPY).all(axis=-1).sum()
        for picture, found in ((GREY, face(box)), (outside, face((box[0] + 50, box[1] + 50, *box[2:]))))
    )
    assert shown >= 0.6 * whole, "nothing much of the words is cut off"
    shown = (draw_faces(GREY, [face(box)], bars=True) == HAPPY).all(axis=-1).sum() - shown
    assert shown > 100, "the bar is in the picture"


@pytest.mark.parametrize("scale", [1, 4])
def test_bars_lie_beside_the_box_as_long_as_their_probabilities(scale):
    picture = np.full((240 * scale, 320 * scale, 3), 100, np.uint8)
    box = tuple(scale * value for value in (60, 90, 70, 70))
    found = face(box, confidence=0.5, sad=0.25, fear=0.25)
    plain, drawn = (draw_faces(picture, [found], bars=bars) for bars in (False, True))
    left, top, right, bottom = changed(plain, drawn)
    assert left >= box[0] + box[2]
    assert (abs(top - box[1]) <= 1, bottom <= box[1] + box[3] + 1) == (True, True)
    panel = drawn[top:bottom, left:right]
    lengths = {
        name: (panel == ImageColor.getrgb(COLOURS[name])).all(axis=-1).any(axis=0).sum()
        for name in ("happy", "sad", "fear")
    }
    assert lengths["sad"] == pytest.approx(lengths["fear"], abs=1)
    assert lengths["happy"] == pytest.approx(2 * lengths["sad"], abs=2)
    assert (drawn[box[1] + 9 * scale : box[1] + 60 * scale, box[0] + 9 * scale : box[0] + 60 * scale] == 100).all()


def test_bars_hide_neither_another_face_nor_its_bars():
    faces = [face((90, 90, 60, 60)), face((170, 90, 60, 60))]
    drawn, plain = draw_faces(GREY, faces, bars=True), draw_faces(GREY, faces)
    for left in (90, 170):
        np.testing.assert_array_equal(drawn[90:150, left : left + 60], plain[90:150, left : left + 60])


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (60, 40)], ids=str)
def test_the_smallest_pictures_can_be_drawn_into(size):
    picture = np.zeros((*size, 3), np.uint8)
    assert draw_faces(picture, [face((0, 0, size[1], size[0]))], bars=True).shape == picture.shape
    assert (draw_faces(picture, [], bars=True) == picture).all()


def test_all_grows_with_the_picture():
    heights = []
    for scale in (2, 8):
        picture = np.full((240 * scale, 320 * scale, 3), 100, np.uint8)
        drawn = draw_faces(picture, [face(tuple(scale * value for value in (100, 90, 80, 80)))])
        heights.append(90 * scale - changed(picture, drawn)[1])
    assert 3 < heights[1] / heights[0] < 5


@pytest.mark.parametrize("emotion", [*COLOURS, UNCERTAIN, "bored"])
def test_words_stand_out_from_their_plate(emotion):
    def luminance(colour):
        channels = np.asarray(ImageColor.getrgb(colour)) / 255
        return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    plate = annotate.colour(emotion)
    light, dark = sorted((luminance(colour) for colour in (plate, ink(plate))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5, "the least contrast of WCAG 2 for text"


def test_what_is_written():
    assert words(face()) == "happy 88%"
    assert words(face(), "3") == "3 happy 88%"
    assert words(face(emotion=UNCERTAIN, confidence=0.4)) == "uncertain"
    assert words(face(confidence=0.9999)) == "happy 99%"
    faces = [face(), face((100, 60, 90, 90), emotion="sad", confidence=0.7)]
    above = (draw_faces(GREY, [face()]) == HAPPY).all(axis=-1)
    above[88:] = False  # the plate, which the second face's box crosses
    assert (draw_faces(GREY, faces)[above] == HAPPY).all(), "words lie above all boxes"
    assert (draw_faces(GREY, faces, names=["1", "2"]) != draw_faces(GREY, faces)).any()
    for names in (["1"], [], "123"):
        with pytest.raises(ValueError, match="a word for each of 2 faces"):
            draw_faces(GREY, faces, names=names)


@pytest.mark.parametrize("name", ["fröhlich", "радость", "χαρά"])
def test_class_names_beyond_ascii_are_drawn_or_a_warning_says_that_they_are_not(name, monkeypatch):
    pytest.importorskip("matplotlib")
    annotate.font_for.cache_clear()
    drawn = draw_faces(GREY, [Face((100, 90, 80, 80), name, 0.9, {name: 0.9, "sad": 0.1}, 0.9)], bars=True)
    boxes = draw_faces(GREY, [Face((100, 90, 80, 80), "x", 0.9, {"x": 0.9, "sad": 0.1}, 0.9)], bars=True)
    assert (drawn != boxes).any()
    annotate.font_for.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="No font at hand has the letters '喜'.* Install matplotlib"):
        annotate.font_for("喜ab", 20)
    annotate.font_for.cache_clear()


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A photo in the working directory, with a colour profile and a note of the camera."""
    monkeypatch.chdir(tmp_path)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[271] = "a camera"
    Image.fromarray(skimage.data.astronaut()).save("photo.png", icc_profile=profile, exif=exif)
    return profile


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_a_copy_keeps_the_colour_profile_and_not_what_the_camera_noted(photo, suffix):
    (found,) = fer_keras.annotate("photo.png", f"copy{suffix}", bars=True, detector="haar", network="mini-xception")
    assert found.emotion == "happy"
    with Image.open(f"copy{suffix}") as copy:
        assert copy.info["icc_profile"] == photo
        assert 271 not in copy.getexif()
        assert copy.size == (512, 512)


def test_where_a_copy_cannot_be_written(photo, tmp_path):
    for target, message in (
        ("copy.psd", "ends with one of"),
        ("./photo.png", "which would be lost"),
        ("photo.png/copy.png", "where a file can be written. Received: Not a directory"),
    ):
        with pytest.raises(ValueError, match=message):
            fer_keras.annotate("photo.png", target, network="looked for later")
    with pytest.raises(ValueError, match=r"wide.webp: Expected a size that this format can hold. Received: 16400x2"):
        annotate.write_picture(np.zeros((2, 16400, 3), np.uint8), "wide.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_picture_is_explained_from_the_command_line(photo, capsys):
    assert main(["explain", "photo.png", "--weights", "mini-xception", "--detector", "haar"]) == 0
    found, written = capsys.readouterr().out.splitlines()
    assert found.startswith("happy 0.9")
    assert "share of the heatmap: mouth 0." in found
    assert written == "photo-explained.png"
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in ("photo.png", written))
    different = (before != after).any(axis=-1)
    assert different[140:165, 200:260].mean() > 0.5  # the smile
    assert not different[300:].any()
    Image.fromarray(GREY).save("empty.png")
    assert main(["explain", "empty.png", "--weights", "mini-xception", "--detector", "haar", "--out", "out.png"]) == 0
    assert capsys.readouterr().out.splitlines() == ["out.png"]
    assert (np.asarray(Image.open("out.png")) == GREY).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the path of a picture, or --record"),
        ("x.png --record", "the path of a picture, or --record"),
        ("photo.png --out photo.png --weights mini-xception", "which would be lost"),
        ("photo.png --method lime --weights mini-xception", "no method 'lime'"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_line(arguments, message, photo, capsys):
    assert main(["explain", *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_heatmap_is_painted_where_the_square_lies_and_nowhere_else():
    grey, hot = np.full((20, 30, 3), 80, np.uint8), np.ones((6, 6), np.float32)
    assert changed(grey, paint_heatmap(grey, hot, Detection((4, 5, 10, 10), 1))) == (4, 5, 14, 15)
    beyond = paint_heatmap(grey, hot, Detection((-6, 14, 12, 12), 1))
    assert (beyond != 80).any(axis=-1).sum() == 6 * 6
    assert (grey == 80).all()
    left_half = np.zeros((6, 6), np.float32)
    left_half[:, :3] = 1
    assert not (paint_heatmap(grey, left_half, Detection((-6, 0, 12, 12), 1))[:, 2:] != 80).any()


def test_a_heatmap_turns_with_the_face():
    grey, mouth = np.full((100, 100, 3), 80, np.uint8), np.zeros((8, 8), np.float32)
    mouth[6:, 3:5] = 1
    middles = {}
    for angle in (0, 45, 90):
        rows, columns = np.nonzero(
            (paint_heatmap(grey, mouth, Detection((30, 30, 40, 40), 1, angle)) != 80).any(axis=-1)
        )
        middles[angle] = (columns.mean() - 49.5, rows.mean() - 49.5)
    assert middles[0] == pytest.approx((0, 15), abs=2)
    assert middles[45] == pytest.approx((-10.6, 10.6), abs=2), "clockwise: the chin goes to the left"
    assert middles[90] == pytest.approx((-15, 0), abs=2)
