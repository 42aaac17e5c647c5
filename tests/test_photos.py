"""Pictures from anywhere, read as what one sees or refused, and copies of them with boxes, words, bars and heatmaps."""

import base64
import contextlib
import importlib.util
import io
import os
import re
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import cv2
import data_files as files
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageCms, ImageColor, ImageDraw, ImageOps, PngImagePlugin

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError, images, load_ckplus, load_faces, load_fer4, load_fer7, load_folder, load_rafdb
from fer_keras.data.images import FORMATS, UNSAFE, decode, open_picture
from fer_keras.labels import COLOURS, FER4, SPLITS
from fer_keras.recognition import annotate, photos
from fer_keras.recognition.annotate import OTHER_COLOUR, draw_faces, explain_picture, paint_heatmap
from fer_keras.recognition.detectors import Detection, say_once
from fer_keras.recognition.photos import Photo, open_photo
from fer_keras.recognition.recognizer import UNCERTAIN, Face

# Smooth, so that JPEG keeps it; no two of its corners are alike.
ROWS, COLUMNS = np.mgrid[0:60, 0:90]
COLOUR = np.stack([ROWS * 4, COLUMNS * 2, 255 - ROWS * 2 - COLUMNS], axis=-1).astype(np.uint8)
GREY = COLOUR[..., 0]
FLAT = np.full((240, 320, 3), 100, np.uint8)
ASTRONAUT = skimage.data.astronaut()
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WITH = {"network": "mini-xception", "detector": "haar"}


def encoded(picture, image_format="PNG", **options):
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, image_format, **options)
    return stream.getvalue()


def expect(content, seen, atol=0):
    """Check that a picture is read as what is seen, grey or in colour: as RGB, and as its luma, rounded."""
    seen = np.asarray(seen)
    colour = np.repeat(seen[..., None], 3, axis=-1) if seen.ndim == 2 else seen
    grey, rgb = decode(content), open_photo(content).rgb
    assert grey.dtype == rgb.dtype == np.uint8
    np.testing.assert_allclose(rgb, colour, atol=atol)
    np.testing.assert_allclose(grey, colour @ [0.299, 0.587, 0.114], atol=atol + (seen.ndim == 3) + 1e-9)


def turned(number, kind=3, count=1, more=b""):
    """EXIF with an orientation of a TIFF type, and more entries of 12 bytes."""
    value = struct.pack({2: "4s", 3: "<I", 4: "<I", 11: "<f"}[kind], number)
    entries = more + struct.pack("<HHI", 0x0112, kind, count) + value
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries) // 12) + entries + bytes(4)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    content, path = encoded(COLOUR), tmp_path / "a picture.png"
    path.write_bytes(content)
    sources = [path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), COLOUR]
    coded = base64.b64encode(content).decode()
    sources += [f"data:image/png;base64,{coded}", f"data:;base64,{coded.rstrip('=').replace('+', '%2B')}"]
    with open(path, "rb") as file, Image.open(path) as picture:
        for source in (*sources, file, picture, Image.fromarray(COLOUR), COLOUR[::-1][::-1]):
            rgb, size, profile = open_photo(source)
            assert (rgb.dtype, size, profile) == (np.uint8, (60, 90), None)
            np.testing.assert_array_equal(rgb, COLOUR)
        assert picture.getpixel((0, 0)) == tuple(COLOUR[0, 0]), "a PIL image is left open"
    white = Image.new("RGB", (9, 7), "white")
    for picture in (white.convert(mode) for mode in ("1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV")):
        np.testing.assert_allclose(open_photo(picture).rgb, np.full((7, 9, 3), 255), atol=2)


def test_every_format_that_is_meant_is_read_and_no_other():
    Image.init()
    for image_format in (set(FORMATS) & set(Image.SAVE)) - {"PSD", "SUN"} | {"MPO"}:
        content = encoded(COLOUR, image_format)
        assert decode(content).shape == open_photo(content).size
    for image_format in ("PNG", "BMP", "TIFF", "PPM", "WEBP"):
        for seen in (GREY, COLOUR):
            expect(encoded(seen, image_format, lossless=True), seen)
    assert set(FORMATS) <= set(Image.OPEN)
    assert not set(FORMATS) & {*UNSAFE, "BUFR", "FPX", "GBR", "GRIB", "HDF5", "MIC", "MPEG", "PDF", "WAL"}
    for image_format in ("IM", "MSP", "SPIDER"):
        with pytest.raises(OSError, match="cannot identify"):
            open_picture(io.BytesIO(encoded(Image.new("1", (8, 8)), image_format)))


def test_palettes_and_the_inks_of_a_cmyk_jpeg_are_what_one_sees_and_only_profiles_of_rgb_are_kept():
    stripes = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48) // 5 % 2
    picture = Image.fromarray(stripes).convert("P")
    picture.putpalette([200, 200, 200, 10, 10, 10])
    expect(encoded(picture), np.where(stripes, 10, 200))
    expect(encoded(picture, "GIF"), np.where(stripes, 10, 200))
    assert decode(encoded(picture, transparency=0)).max() == 10
    ink = Image.new("CMYK", (48, 48), (0, 0, 0, 255))
    ink.paste((0, 0, 0, 55), (0, 0, 48, 24))
    content = encoded(ink, "JPEG", quality=95, icc_profile=PROFILE.replace(b"RGB ", b"CMYK", 1))
    expect(content, np.repeat(np.array([200, 0]), 24)[:, None].repeat(48, axis=1), atol=3)
    assert open_photo(content).profile is None


def test_16_bits_become_8_and_values_without_a_known_range_are_refused():
    values = np.array([[0, 128, 129, 257 * 100, 65407, 65535]], np.uint16)
    expected = np.uint8([[0, 0, 1, 100, 255, 255]])[..., None].repeat(3, axis=-1)
    sources = [values, values.astype(">u2"), values[..., None].repeat(3, axis=-1)]
    for source in (*sources, encoded(values), encoded(values, "TIFF"), Image.fromarray(values)):
        np.testing.assert_array_equal(open_photo(source).rgb, expected)
    wrong = [np.zeros((4, 4), kind) for kind in (float, bool, np.int8, np.int64, np.uint32, np.uint64)]
    for source in (
        *wrong,
        encoded(np.zeros((4, 4), np.float32), "TIFF"),
        encoded(np.full((4, 4), -1, np.int32), "TIFF"),
    ):
        with pytest.raises(DataError, match=r"Expected .*8 or|Expected uint8 or"):
            open_photo(source)
    for content in (encoded(values), *(encoded(np.zeros((8, 8), kind), "TIFF") for kind in (np.int32, np.float32))):
        with pytest.raises(DataError, match="Expected a picture of 8 bits a channel"):
            decode(content)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_arrays_of_all_shapes_become_rgb_and_what_is_transparent_lies_on_black(kind):
    for shape in ((1, 1), (1, 9), (7, 3), (7, 3, 1), (7, 3, 2), (7, 3, 3), (1, 1, 4)):
        rgb = open_photo(np.full(shape, np.iinfo(kind).max, kind)).rgb
        np.testing.assert_array_equal(rgb, np.full((*shape[:2], 3), 255, np.uint8))
    alpha = np.where(np.arange(90) < 45, 0, 255) * np.ones((60, 1), int)
    for seen in (COLOUR, GREY[..., None]):
        array, expected = np.dstack([seen, alpha]).astype(np.uint8), seen.squeeze().copy()
        expected[:, :45] = 0
        expect(encoded(array), expected)
        np.testing.assert_array_equal(open_photo(array).rgb, open_photo(encoded(array)).rgb)


def test_of_what_moves_the_first_frame_is_taken_in_a_photo_and_none_in_a_data_set():
    frames = [Image.new("RGB", (48, 48), colour) for colour in ("white", "black", "red")]
    for image_format in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(open_photo(content).rgb, 255, atol=2)
        if image_format != "MPO":
            with pytest.raises(DataError, match=rf"Expected one picture. Received: 3 in one {image_format} file"):
                decode(content)
    np.testing.assert_allclose(decode(content), 255, atol=2)  # a telephone's second view of the same scene


@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_applied_and_the_full_size_is_upright(number):
    for pixels, seen in ((COLOUR, COLOUR), (GREY.astype(np.uint16) * 257, GREY[..., None].repeat(3, axis=2))):
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(seen, exif=turned(number)))))
        for image_format in ("PNG", "TIFF"):
            content = encoded(pixels, image_format, exif=turned(number))
            rgb, size, _ = open_photo(content, side=20)
            np.testing.assert_array_equal(rgb, expected)
            assert size == rgb.shape[:2]
            np.testing.assert_array_equal(open_photo(Image.open(io.BytesIO(content))).rgb, expected)


def test_no_entry_of_exif_can_refuse_a_photo_and_another_orientation_is_1():
    negative = struct.pack("<HHIi", 0x0100, 9, 1, -1)  # which Pillow reads, and cannot write again
    far = struct.pack("<HHII", 0x010F, 2, 99, 5_000)  # text that lies beyond the end
    upright = [turned(0), turned(9), turned(65_535), turned(b"6", 2, 2), turned(6.0, 11)]
    on_its_side = [turned(6), turned(6, 4), turned(6, more=negative)]
    for exif in (*upright, *on_its_side):
        content, shape = encoded(COLOUR, "JPEG", exif=exif), (90, 60) if exif in on_its_side else (60, 90)
        assert (open_photo(content).rgb.shape[:2], decode(content).shape) == (shape, shape)
    broken = [turned(6, more=far), *(on_its_side[2][:end] for end in range(6, len(on_its_side[2])))]
    for content in (encoded(COLOUR, "JPEG", exif=exif) for exif in broken):
        assert open_photo(content).rgb.size == COLOUR.size == 3 * decode(content).size


def test_texts_in_a_png_are_not_read():
    content, text = encoded(COLOUR), b"x" * 3 * PngImagePlugin.MAX_TEXT_CHUNK
    packed = zlib.compress(text)
    for body in (b"tEXta\0" + text, b"zTXta\0\0" + packed, b"iTXta\0\1\0\0\0" + packed):
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        for place in (33, len(content) - 12):  # after the header, before the end
            expect(content[:place] + chunk + content[place:], COLOUR)


def test_a_large_jpeg_is_read_at_a_part_of_its_size_within_a_limit(monkeypatch):
    content = encoded(COLOUR, "JPEG", quality=95, exif=turned(6))
    whole = open_photo(content).rgb
    monkeypatch.setattr(images, "MAX_PIXELS", 90 * 60 // 2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 // 4)  # Pillow's own, twice of which it refuses
    for source, side in ((content, None), (io.BytesIO(content), 45)):
        rgb, size, _ = open_photo(source, side=side)
        assert size == (90, 60)
        np.testing.assert_allclose(rgb, whole.reshape(45, 2, 30, 2, 3).mean(axis=(1, 3)), atol=4)
    with pytest.raises(DataError, match="exceeds limit"):
        open_photo(encoded(COLOUR))  # other kinds cannot be reduced
    monkeypatch.setattr(photos, "MAX_JPEG_PIXELS", 90 * 60 - 1)
    with pytest.raises(DataError, match="90x60"):
        open_photo(content)


def test_what_is_no_picture_is_refused_by_its_name_and_no_more(tmp_path, monkeypatch):
    words, pipe, sound = (tmp_path / name for name in ("words.jpg", "pipe.png", "sound.png"))
    words.write_text("I am no picture")
    sound.write_bytes(encoded(COLOUR))
    os.mkfifo(pipe)
    sources = [None, 3, [1], b"", b"words", io.StringIO("words"), encoded(COLOUR)[:100], encoded(COLOUR, "JPEG")[:700]]
    sources += ["DATA:image/png;base64,", "data:image/png,%00", "data:image/png;base64,é", pipe, "a\0b.png", ""]
    sources += [np.zeros(shape, np.uint8) for shape in ((0, 0, 3), (0, 5), (2, 2, 5), (4,), (1, 2, 3, 4))]
    for source in sources:
        with pytest.raises(DataError, match=r"Expected .* Received: "):
            open_photo(source)
    (link := tmp_path / "link.png").symlink_to("nowhere")
    expected = {words: "cannot identify", tmp_path: "a folder", tmp_path / "no.png": "no such file", pipe: "a pipe"}
    expected |= {link: "a link that leads nowhere", "/dev/null": "a device"}
    for path, found in expected.items():
        with pytest.raises(DataError, match=rf"^{path}: Expected .*{found}"):
            open_photo(path)
    with pytest.raises(DataError, match=r"its bytes, a data URL.*132,492 characters\. Decode base64") as caught:
        open_photo("iVBORw0KGgo/" * 11_041)
    assert len(str(caught.value)) < 300
    load = Mock(side_effect=RecursionError)  # as of any decoder
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(DataError, match=rf"^{sound}: Expected a whole picture .*RecursionError"):
        open_photo(sound)
    load.reset_mock()
    for size in ((60_000, 1_000), (10_000, 10_000), (60_000, 60_000)):
        for read in (decode, open_photo):
            with pytest.raises(DataError, match=r"60000x1000|10000x10000|exceeds limit"):
                read(files.claimed(*size))
    assert not load.called, "an absurd size is refused before pixels are decoded"


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_16_bits_of_which_a_camera_fills_some_are_scaled_and_said_or_refused_where_pillow_drops_them(bits, capsys):
    largest, grey = 2**bits - 1, GREY - GREY.min()
    deep = np.rint(grey / grey.max() * largest).astype(np.uint16)
    expected, colour = deep * (255 / largest), np.stack([deep, deep // 2, deep], axis=-1)
    wide = [encoded(deep.astype(np.int32), "TIFF"), colour] if bits < 16 else []
    say_once.cache_clear()
    for source in (deep, deep.astype(">u2"), encoded(deep), encoded(deep, "TIFF"), Image.fromarray(deep), *wide):
        np.testing.assert_allclose(open_photo(source).rgb[..., 0], expected, atol=0.51)
    lines = capsys.readouterr().err.splitlines()
    assert [f"holds values of {bits}: they are scaled from [0, {largest:,}]" in line for line in lines] == [True][
        : bits < 16
    ]
    for content in (cv2.imencode(suffix, colour)[1].tobytes() for suffix in (".png", ".tiff")):
        for read in (open_photo, decode):
            with (
                contextlib.nullcontext()
                if bits == 16
                else pytest.raises(DataError, match=rf"up to {largest:,}, of few")
            ):
                read(content)


def test_a_made_picture_of_whole_numbers_is_grey_up_to_255_and_files_of_this_mode_have_16_bits():
    made = Image.fromarray(GREY.astype(np.int32))
    assert (made.mode, open_photo(made).rgb[..., 0].tolist()) == ("I", GREY.tolist())
    for wrong in (made.point(lambda value: value * 257), Image.fromarray(GREY - np.int32(1))):
        with pytest.raises(DataError, match=r"Scale them to \[0, 255\] and convert them to uint8"):
            open_photo(wrong)
    assert open_photo(encoded(made.point(lambda value: value * 257), "TIFF")).rgb[..., 0].tolist() == GREY.tolist()


def test_a_heic_is_known_by_any_of_its_brands_and_an_avif_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brands in ([b"heic"], [b"mif1", b"miaf", b"heic"], [b"msf1", b"hevc"], [b"mif1", *[b"none"] * 20, b"heix"]):
        box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
        for read in (open_photo, decode):
            with pytest.raises(DataError, match=r"Received: HEIC\. .*pip install pillow-heif"):
                read(struct.pack(">I", len(box) + 4) + box + bytes(300))
    content = bytearray(encoded(COLOUR, "AVIF", quality=100))
    content[8:12] = b"mif1"
    expect(bytes(content), COLOUR, atol=12)


def test_threads_leave_the_filters_of_warnings_as_they_were():
    before, content, interval = list(warnings.filters), encoded(COLOUR), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(4) as pool:
        read = [*pool.map(open_photo, [content] * 200)]
    sys.setswitchinterval(interval)
    assert (len(read), list(warnings.filters)) == (200, before)


SOUND = [encoded(COLOUR, image_format, exif=turned(6)) for image_format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF")]
SOUND += [encoded(GREY, "BMP"), encoded(GREY.astype(np.uint16) * 200), encoded(np.dstack([COLOUR, GREY]), "WEBP")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SOUND), st.integers(0, 800), st.binary(max_size=4), st.integers(0, 8), st.sampled_from([0, 20]))
def test_a_broken_file_gives_a_picture_or_a_data_error(content, place, put, cut, side):
    broken = content[:place] + put + content[place + cut :]
    with contextlib.suppress(DataError):
        rgb = open_photo(broken, side=side).rgb
        assert (rgb.dtype, rgb.shape[2:]) == (np.uint8, (3,))
    with contextlib.suppress(DataError):
        grey = decode(broken)
        assert (grey.dtype, grey.ndim) == (np.uint8, 2)


EPS = encoded(COLOUR, "EPS")
WITH_A_PREVIEW = b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(20) + EPS


@pytest.fixture
def mark(tmp_path, monkeypatch, own_cache):
    """A file that is there once somebody has started Ghostscript."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >> '{mark}'\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return mark


@pytest.mark.parametrize("content", [EPS, WITH_A_PREVIEW], ids=["EPS", "EPS with a preview"])
def test_no_reader_of_pictures_starts_a_program(content, mark, tmp_path):
    path, copy = tmp_path / "holiday.jpg", tmp_path / "copy.png"
    path.write_bytes(content)
    calls = [(fer_keras.recognize_video, path), (fer_keras.annotate, path, copy), (explain_picture, path, copy)]
    calls += [(fer_keras.recognize, source) for source in (path, content, io.BytesIO(content))]
    for read, *arguments in (*calls, (decode, content), (open_photo, path)):
        with pytest.raises(ValueError, match=r"Expected .*Received"):
            read(*arguments, **({} if read in (decode, open_photo) else WITH))
    assert fer_keras.recognize_folder(tmp_path, **WITH).status.to_list() == ["error"]
    assert not mark.exists()
    with Image.open(io.BytesIO(EPS)) as picture:
        with pytest.raises(DataError, match=r"Expected a picture of pixels .*Received: one of format EPS"):
            open_photo(picture)
        assert not mark.exists()
        with pytest.raises(OSError, match=r"."):
            picture.load()
    assert mark.exists(), "the trap is real"


OWN = {f"{name}/{number}.jpg": files.noise(1)[0] for name in ("happy", "sad") for number in "123"}
COURSE = {f"{split}/{name}/{row}.jpg": files.noise(1)[0] for split in SPLITS for row, name in enumerate(FER4)}
FER2013 = files.fer_table(70)


@pytest.mark.parametrize(
    ("load", "tree"),
    [
        (load_folder, OWN),
        (load_faces, OWN),
        (load_fer7, files.named_folders(FER2013)),
        (lambda root: load_fer7(files.as_zip(root)), files.named_folders(FER2013)),
        (load_fer7, lambda root: files.write_parquet(root, files.parquet_frame(FER2013).assign(png=EPS))),
        (lambda root: load_fer4(root, protocol="course"), COURSE),
        (load_ckplus, files.ckplus_folders()),
        (load_rafdb, lambda root: files.write_rafdb_list(root, files.rafdb_faces())),
    ],
)
def test_no_reader_of_data_sets_starts_a_program(load, tree, mark, tmp_path):
    root = tree(tmp_path / "data") if callable(tree) else files.write_tree(tmp_path / "data", tree)
    for picture in [*root.rglob("*.[jp][pn]g")][:1]:
        picture.write_bytes(EPS)
    with pytest.raises(DataError, match=r"Expected .*Received"):
        load(root)
    assert not mark.exists()


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
    picture = FLAT.repeat(scale, axis=0).repeat(scale, axis=1)
    box = left, top, side, _ = tuple(scale * value for value in (60, 90, 70, 70))
    found = face(box, confidence=0.5, sad=0.25, fear=0.25)
    plain, drawn = (draw_faces(picture, [found], bars=bars) for bars in (False, True))
    assert (picture == 100).all(), "the picture itself stays"
    edges, inside = [0, side - 1], slice(9 * scale, 60 * scale)
    assert is_colour(plain[top:, left + side // 2][edges]).all()
    assert is_colour(plain[top + side // 2, left:][edges]).all()
    assert (drawn[top:, left:][inside, inside] == 100).all(), "the face is not covered"
    assert 7 < (top - changed(picture, plain)[1]) / scale < 20, "words lie above the box"
    start, above, right, bottom = changed(plain, drawn)
    assert start >= left + side, "bars lie beside it"
    panel = drawn[above:bottom, start:right]
    happy, sad, fear = (is_colour(panel, name).any(axis=0).sum() for name in ("happy", "sad", "fear"))
    assert (sad, happy) == (pytest.approx(fear, abs=1), pytest.approx(2 * sad, abs=2)), "as long as probabilities"


def test_words_and_bars_stay_inside_the_picture():
    outside = np.pad(FLAT, ((50, 50), (50, 50), (0, 0)), mode="edge")
    for left, top, *size in ((0, 0, 30, 30), (290, 0, 30, 30), (0, 210, 30, 30), (0, 0, 320, 240), (319, 239, 1, 1)):
        whole = is_colour(draw_faces(outside, [face((left + 50, top + 50, *size))])).sum()
        shown, with_bars = (is_colour(draw_faces(FLAT, [face((left, top, *size))], bars=bars)).sum() for bars in (0, 1))
        assert shown >= 0.6 * whole, "nothing much of the words is cut off"
        assert with_bars - shown > 100, "the bar is in the picture"


def test_bars_hide_no_other_face_and_the_smallest_pictures_can_be_drawn_into():
    faces = [face((90, 90, 60, 60)), face((170, 90, 60, 60))]
    drawn, plain = (draw_faces(FLAT, faces, bars=bars)[90:150] for bars in (True, False))
    for left in (90, 170):
        np.testing.assert_array_equal(drawn[:, left : left + 60], plain[:, left : left + 60])
    for height, width in ((1, 1), (3, 500), (60, 40)):
        picture = np.zeros((height, width, 3), np.uint8)
        assert draw_faces(picture, [face((0, 0, width, height))], bars=True).shape == picture.shape
    names = [Face((90, 90, 60, 60), name, 0.9, {name: 0.9, "b": 0.1}, 1.0) for name in ("new\nline", "new line")]
    np.testing.assert_array_equal(*(draw_faces(FLAT, [each], bars=True) for each in names))


def test_words_are_above_all_boxes_and_stand_out_from_their_plate(monkeypatch):
    faces = [face(), face((100, 60, 90, 90), emotion="sad", confidence=0.7)]
    above = is_colour(draw_faces(FLAT, [face()]))
    above[88:] = False  # the plate, which the second face's box crosses
    assert is_colour(draw_faces(FLAT, faces))[above].all()
    written = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _, at, text, fill, **more: written.append((text, fill)))
    draw_faces(FLAT, [face(), face(emotion=UNCERTAIN, confidence=0.4), face(confidence=0.9999)])
    draw_faces(FLAT, faces, names=iter("34"))
    assert [text for text, _ in written] == ["happy 88%", "uncertain", "happy 99%", "3 happy 88%", "4 sad 70%"]
    for emotion in (*COLOURS, UNCERTAIN, "bored"):
        draw_faces(FLAT, [face(emotion=emotion)])
        channels = np.array([*map(ImageColor.getrgb, (COLOURS.get(emotion, OTHER_COLOUR), written[-1][1]))]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, "the least contrast of WCAG 2 for text"


def test_class_names_beyond_ascii_are_drawn_or_a_warning_says_that_they_are_not(monkeypatch):
    pytest.importorskip("matplotlib")
    annotate.font_for.cache_clear()
    for name in ("fröhlich", "радость", "χαρά"):
        faces = [Face((100, 90, 80, 80), each, 0.9, {each: 0.9, "sad": 0.1}, 0.9) for each in (name, "x" * len(name))]
        drawn, boxes = (draw_faces(FLAT, [each], bars=True) for each in faces)
        assert (drawn != boxes).any()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="No font at hand has the letters '喜'.* Install matplotlib"):
        annotate.font_for.__wrapped__("喜ab", 20)


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A photo in the working directory."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(ASTRONAUT).save("photo.png", compress_level=1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_a_copy_keeps_the_colour_profile_and_not_what_the_camera_noted(suffix, tmp_path):
    exif = Image.Exif()
    exif[271] = "a camera"
    photo, copy = tmp_path / f"photo{suffix}", tmp_path / f"copy{suffix}"
    Image.fromarray(ASTRONAUT).save(photo, icc_profile=PROFILE, exif=exif)
    (found,) = fer_keras.annotate(photo, copy, bars=True, **WITH)
    assert found.emotion == "happy"
    with Image.open(copy) as picture:
        assert (picture.info["icc_profile"], 271 in picture.getexif(), picture.size) == (PROFILE, False, (512, 512))


def test_where_a_copy_cannot_be_written(photo, tmp_path):
    wrong = {"copy.psd": "ends with one of", "./photo.png": "which would be lost", "photo.png/a.png": "Not a directory"}
    for target, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            fer_keras.annotate("photo.png", target, network="looked for later")
    with open("photo.png", "rb") as file, Image.open("photo.png") as picture, Image.open(file) as of_file:
        for source in (Path("photo.png"), file, picture, of_file):
            for call in (fer_keras.annotate, explain_picture):
                with pytest.raises(ValueError, match="which would be lost"):
                    call(source, "./photo.png", network="looked for later")
    with pytest.raises(ValueError, match=r"wide.webp: Expected a size that this format can hold. Received: 16400x2"):
        annotate.write_faces(Photo(np.zeros((2, 16400, 3), np.uint8), (2, 16400)), [], "wide.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_picture_is_explained_from_the_command_line(photo, capsys):
    options = ["--weights", "mini-xception", "--detector", "haar"]
    assert main(["explain", "photo.png", *options]) == 0
    found, written = capsys.readouterr().out.splitlines()
    assert re.match(r"happy 0\.9.*share of the heatmap: mouth 0\.", found)
    assert written == "photo-explained.png"
    different = (np.asarray(Image.open(written)) != ASTRONAUT).any(axis=-1)
    assert different[140:165, 200:260].mean() > 0.5  # the smile
    assert not different[300:].any()
    Image.fromarray(FLAT).save("empty.png")
    assert main(["explain", "empty.png", *options, "--out", "out.png"]) == 0
    assert capsys.readouterr().out.splitlines() == ["empty.png: no face", "out.png"]
    assert main(["recognize", "photo.png", *options, "--min-size", "0.5"]) == 0
    assert capsys.readouterr().out == "photo.png: no face\n"
    assert (np.asarray(Image.open("out.png")) == FLAT).all()
    wrong = {"": "the path of a picture", "--out photo.png": "which would be lost", "--method lime": "no method 'lime'"}
    for arguments, message in wrong.items():
        assert main(["explain", *(["photo.png", *arguments.split(), *options] if arguments else [])]) == 2
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
