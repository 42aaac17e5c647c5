"""Boxes, words, bars and heatmaps in copies of pictures: where they lie, that they can be read, what a copy keeps."""

import importlib.util

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms, ImageColor, ImageDraw

import fer_keras
from fer_keras.__main__ import main
from fer_keras.labels import COLOURS
from fer_keras.recognition.annotate import OTHER_COLOUR, draw_faces, font_for, paint_heatmap, write_faces
from fer_keras.recognition.detectors import Detection
from fer_keras.recognition.photos import Photo
from fer_keras.recognition.recognizer import UNCERTAIN, Face

GREY = np.full((240, 320, 3), 100, np.uint8)


def face(box=(100, 90, 80, 80), emotion="happy", confidence=0.876, **others):
    return Face(box, emotion, confidence, {"happy": confidence, "sad": 1 - confidence, **others}, 0.9)


def is_colour(picture, emotion="happy"):
    return (picture == ImageColor.getrgb(COLOURS.get(emotion, OTHER_COLOUR))).all(axis=-1)


def changed(before, after):
    """The box `(left, top, right, bottom)` of all that differs."""
    rows, columns = np.nonzero((before != after).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("scale", [1, 5])
def test_box_words_and_bars_lie_around_the_face_in_the_size_of_the_picture(scale):
    picture = GREY.repeat(scale, axis=0).repeat(scale, axis=1)
    box = left, top, side, _ = tuple(scale * value for value in (60, 90, 70, 70))
    found = face(box, confidence=0.5, sad=0.25, fear=0.25)
    plain, drawn = (draw_faces(picture, [found], bars=bars) for bars in (False, True))
    assert (picture == 100).all(), "the picture itself stays"
    middle, edges, inside = side // 2, [0, side - 1], slice(9 * scale, 60 * scale)
    assert is_colour(plain[top:, left + middle][edges]).all()
    assert is_colour(plain[top + middle, left:][edges]).all()
    assert (drawn[top:, left:][inside, inside] == 100).all(), "the face is not covered"
    start, above, _, _ = changed(picture, plain)
    assert (start, 7 < (top - above) / scale < 20) == (left - 1, True), "words lie above the box"
    start, above, right, bottom = changed(plain, drawn)
    assert (start >= left + side, abs(above - top) <= 1, bottom <= top + side + 1) == (True, True, True)
    panel = drawn[above:bottom, start:right]
    happy, sad, fear = (is_colour(panel, name).any(axis=0).sum() for name in ("happy", "sad", "fear"))
    assert (sad, happy) == (pytest.approx(fear, abs=1), pytest.approx(2 * sad, abs=2)), "as long as probabilities"


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (290, 0, 30, 30), (0, 210, 30, 30), (0, 0, 320, 240), (319, 239, 1, 1)]
)
def test_words_and_bars_stay_inside_the_picture(box):
    outside, moved = np.pad(GREY, ((50, 50), (50, 50), (0, 0)), mode="edge"), (box[0] + 50, box[1] + 50, *box[2:])
    whole = is_colour(draw_faces(outside, [face(moved)])).sum()
    shown, with_bars = (is_colour(draw_faces(GREY, [face(box)], bars=bars)).sum() for bars in (False, True))
    assert shown >= 0.6 * whole, "nothing much of the words is cut off"
    assert with_bars - shown > 100, "the bar is in the picture"


def test_bars_hide_no_other_face_and_the_smallest_pictures_can_be_drawn_into():
    faces = [face((90, 90, 60, 60)), face((170, 90, 60, 60))]
    drawn, plain = (draw_faces(GREY, faces, bars=bars)[90:150] for bars in (True, False))
    for left in (90, 170):
        np.testing.assert_array_equal(drawn[:, left : left + 60], plain[:, left : left + 60])
    for height, width in ((1, 1), (3, 500), (60, 40)):
        picture = np.zeros((height, width, 3), np.uint8)
        assert draw_faces(picture, [face((0, 0, width, height))], bars=True).shape == picture.shape
        assert (draw_faces(picture, [], bars=True) == picture).all()


@pytest.fixture
def written(monkeypatch):
    """A list of the texts that are written, and of their colours; none is drawn."""
    found = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, at, text, fill, **options: found.append((text, fill)))
    return found


def test_words_stand_out_from_their_plate_on_any_picture(written):
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape, np.uint8)
    for emotion in (*COLOURS, UNCERTAIN, "bored"):
        drawn, other = (draw_faces(picture, [face(emotion=emotion)])[:88] for picture in (GREY, noise))
        left, top, right, _ = changed(GREY[:88], drawn)
        np.testing.assert_array_equal(other[top:, left:right], drawn[top:, left:right], "the plate covers all")
        channels = np.array([*map(ImageColor.getrgb, (COLOURS.get(emotion, OTHER_COLOUR), written[-1][1]))]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, "the least contrast of WCAG 2 for text"


def test_what_is_written(written):
    faces = [face(), face((100, 60, 90, 90), emotion="sad", confidence=0.7)]
    above = is_colour(draw_faces(GREY, [face()]))
    above[88:] = False  # the plate, which the second face's box crosses
    assert is_colour(draw_faces(GREY, faces))[above].all(), "words lie above all boxes"
    for names in (["1"], [], "123"):
        with pytest.raises(ValueError, match="a word for each of 2 faces"):
            draw_faces(GREY, faces, names=names)
    written.clear()
    draw_faces(GREY, [face(), face(emotion=UNCERTAIN, confidence=0.4), face(confidence=0.9999)])
    draw_faces(GREY, faces, names=iter("34"))
    assert [text for text, _ in written] == ["happy 88%", "uncertain", "happy 99%", "3 happy 88%", "4 sad 70%"]


@pytest.mark.parametrize("name", ["fröhlich", "радость", "χαρά"])
def test_class_names_beyond_ascii_are_drawn_or_a_warning_says_that_they_are_not(name, monkeypatch):
    pytest.importorskip("matplotlib")
    font_for.cache_clear()
    faces = [Face((100, 90, 80, 80), each, 0.9, {each: 0.9, "sad": 0.1}, 0.9) for each in (name, "x" * len(name))]
    drawn, boxes = (draw_faces(GREY, [each], bars=True) for each in faces)
    assert (drawn != boxes).any()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="No font at hand has the letters '喜'.* Install matplotlib"):
        font_for.__wrapped__("喜ab", 20)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The colour profile of a photo in the working directory, in which there is a note of the camera, too."""
    monkeypatch.chdir(tmp_path)
    profile, exif = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), Image.Exif()
    exif[271] = "a camera"
    Image.fromarray(skimage.data.astronaut()).save("photo.png", icc_profile=profile, exif=exif, compress_level=1)
    return profile


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_a_copy_keeps_the_colour_profile_and_not_what_the_camera_noted(profile, suffix):
    (found,) = fer_keras.annotate("photo.png", f"copy{suffix}", bars=True, detector="haar", network="mini-xception")
    assert found.emotion == "happy"
    with Image.open(f"copy{suffix}") as copy:
        assert (copy.info["icc_profile"], 271 in copy.getexif(), copy.size) == (profile, False, (512, 512))


def test_where_a_copy_cannot_be_written(profile, tmp_path):
    wrong = {"copy.psd": "ends with one of", "./photo.png": "which would be lost"}
    for target, message in (wrong | {"photo.png/copy.png": "be written. Received: Not a directory"}).items():
        with pytest.raises(ValueError, match=message):
            fer_keras.annotate("photo.png", target, network="looked for later")
    with pytest.raises(ValueError, match=r"wide.webp: Expected a size that this format can hold. Received: 16400x2"):
        write_faces(Photo(np.zeros((2, 16400, 3), np.uint8), (2, 16400)), [], "wide.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_picture_is_explained_from_the_command_line(profile, capsys):
    options = ["--weights", "mini-xception", "--detector", "haar"]
    assert main(["explain", "photo.png", *options]) == 0
    found, written = capsys.readouterr().out.splitlines()
    assert found.startswith("happy 0.9")
    assert "share of the heatmap: mouth 0." in found
    assert written == "photo-explained.png"
    different = (np.asarray(Image.open(written)) != skimage.data.astronaut()).any(axis=-1)
    assert different[140:165, 200:260].mean() > 0.5  # the smile
    assert not different[300:].any()
    Image.fromarray(GREY).save("empty.png")
    assert main(["explain", "empty.png", *options, "--out", "out.png"]) == 0
    assert capsys.readouterr().out.splitlines() == ["out.png"]
    assert (np.asarray(Image.open("out.png")) == GREY).all()


def test_what_cannot_be_explained_is_an_error_in_a_line(profile, capsys):
    for arguments, message in (
        ("", "the path of a picture, or --record"),
        ("x.png --record", "the path of a picture, or --record"),
        ("photo.png --out photo.png", "which would be lost"),
        ("photo.png --method lime --weights mini-xception", "no method 'lime'"),
    ):
        assert main(["explain", *arguments.split()]) == 2
        assert message in capsys.readouterr().err


def test_a_heatmap_is_painted_on_its_region_alone_and_turns_with_the_face():
    grey, hot = np.full((100, 100, 3), 80, np.uint8), np.zeros((8, 8), np.float32)
    hot[6:, 3:5] = 1  # the mouth
    for angle, middle in ((0, (0, 15)), (45, (-10.6, 10.6)), (90, (-15, 0))):  # clockwise: the chin goes to the left
        left, top, right, bottom = changed(grey, paint_heatmap(grey, hot, Detection((30, 30, 40, 40), 1, angle)))
        assert ((left + right) / 2 - 50, (top + bottom) / 2 - 50) == pytest.approx(middle, abs=2)
    for box, painted in (((4, 5, 10, 10), (4, 5, 14, 15)), ((-6, 94, 12, 12), (0, 94, 6, 100))):
        assert changed(grey, paint_heatmap(grey, np.ones_like(hot), Detection(box, 1))) == painted
    assert (grey == 80).all()
