"""Pictures from anywhere: read as what one sees, upright, in colour or as the luma of data sets, or refused."""

import base64
import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from data_files import claimed
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image, ImageCms, PngImagePlugin

from fer_keras.data import DataError, images
from fer_keras.data.images import decode
from fer_keras.recognition import photos
from fer_keras.recognition.photos import open_photo

# Smooth, so that JPEG keeps it; no two of its corners are alike.
ROWS, COLUMNS = np.mgrid[0:60, 0:90]
COLOUR = np.stack([ROWS * 4, COLUMNS * 2, 255 - ROWS * 2 - COLUMNS], axis=-1).astype(np.uint8)
GREY = COLOUR[..., 0]
READERS = [decode, lambda content: open_photo(content).rgb]  # of data sets, in grey; of photos, in colour


def encoded(picture, image_format="PNG", **options):
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, image_format, **options)
    return stream.getvalue()


def expect(content, seen, atol=0):
    """Check that a picture is read as what is seen, grey or in colour: as RGB, and as its luma, rounded."""
    seen = np.asarray(seen)
    colour = np.repeat(seen[..., None], 3, axis=-1) if seen.ndim == 2 else seen
    grey, rgb = (read(content) for read in READERS)
    assert grey.dtype == rgb.dtype == np.uint8
    np.testing.assert_allclose(rgb, colour, atol=atol)
    np.testing.assert_allclose(grey, colour @ [0.299, 0.587, 0.114], atol=atol + (seen.ndim == 3) + 1e-9)


def turned(number, kind=3, count=1, more=b""):
    """EXIF with an orientation of a TIFF type, and more entries of 12 bytes."""
    value = struct.pack({2: "4s", 3: "<I", 4: "<I", 11: "<f"}[kind], number)
    entries = more + struct.pack("<HHI", 0x0112, kind, count) + value
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries) // 12) + entries + bytes(4)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    content = encoded(COLOUR)
    path = tmp_path / "a picture.png"
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


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_pixels_come_back_as_they_were(image_format):
    expect(encoded(GREY, image_format, lossless=True), GREY)
    expect(encoded(COLOUR, image_format, lossless=True), COLOUR, atol=60 if image_format == "GIF" else 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_every_mode_of_8_bits_is_read(mode):
    picture = Image.new("RGB", (9, 7), "white").convert("RGBA" if mode == "RGBX" else "RGB").convert(mode)
    np.testing.assert_allclose(open_photo(picture).rgb, np.full((7, 9, 3), 255), atol=2)


def test_palettes_and_the_inks_of_a_cmyk_jpeg_are_what_one_sees():
    stripes = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48) // 5 % 2
    picture = Image.fromarray(stripes).convert("P")
    picture.putpalette([200, 200, 200, 10, 10, 10])
    for image_format in ("PNG", "GIF"):
        expect(encoded(picture, image_format), np.where(stripes, 10, 200))
    assert decode(encoded(picture, transparency=0)).max() == 10
    ink = Image.new("CMYK", (48, 48), (0, 0, 0, 255))
    ink.paste((0, 0, 0, 55), (0, 0, 48, 24))
    expect(encoded(ink, "JPEG", quality=95), np.repeat(np.array([200, 0]), 24)[:, None].repeat(48, axis=1), atol=3)


def test_16_bits_become_8_and_values_without_a_known_range_are_refused():
    values = np.array([[0, 128, 129, 257 * 100, 65407, 65535]], np.uint16)
    expected = np.array([[0, 0, 1, 100, 255, 255]], np.uint8)
    for source in (values, values.astype(">u2"), encoded(values), encoded(values, "TIFF"), Image.fromarray(values)):
        np.testing.assert_array_equal(open_photo(source).rgb, np.repeat(expected[..., None], 3, axis=-1))
    colour = np.stack([values, values, values], axis=-1)
    np.testing.assert_array_equal(open_photo(colour).rgb[..., 1], expected)
    for source in (encoded(np.zeros((4, 4), np.float32), "TIFF"), np.zeros((4, 4)), np.full((4, 4), 70_000, np.uint32)):
        with pytest.raises(DataError, match=r"Expected .*8 or|Expected uint8 or"):
            open_photo(source)
    for dtype in (np.uint16, np.int32, np.float32):
        with pytest.raises(DataError, match="Expected a picture of 8 bits a channel"):
            decode(encoded(np.zeros((48, 48), dtype), "TIFF"))


def test_what_is_transparent_lies_on_black_whatever_colour_it_hides():
    alpha = np.where(np.arange(90) < 45, 0, 255) * np.ones((60, 1), int)
    for seen in (COLOUR, GREY[..., None]):
        array, expected = np.dstack([seen, alpha]).astype(np.uint8), seen.squeeze().copy()
        expected[:, :45] = 0
        expect(encoded(array), expected)
        np.testing.assert_array_equal(open_photo(array).rgb, open_photo(encoded(array)).rgb)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_what_moves_the_first_frame_is_taken_in_a_photo_and_none_in_a_data_set(image_format):
    frames = [Image.new("RGB", (48, 48), colour) for colour in ("white", "black", "red")]
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(open_photo(content).rgb, 255, atol=2)
    if image_format == "MPO":  # a telephone's second view of the same scene
        np.testing.assert_allclose(decode(content), 255, atol=2)
        return
    with pytest.raises(DataError, match=rf"Expected one picture. Received: 3 in one {image_format} file"):
        decode(content)


TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("number", TURNS)
def test_orientation_is_applied_and_the_full_size_is_upright(number):
    for pixels in (COLOUR, GREY.astype(np.uint16) * 257):
        for image_format in ("PNG", "TIFF"):
            content = encoded(pixels, image_format, exif=turned(number))
            expected = TURNS[number](COLOUR if pixels is COLOUR else np.repeat(GREY[..., None], 3, axis=-1))
            rgb, size, _ = open_photo(content, side=20)
            np.testing.assert_array_equal(rgb, expected)
            assert size == expected.shape[:2]
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


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_texts_in_a_png_are_not_read(kind):
    letters = 3 * PngImagePlugin.MAX_TEXT_CHUNK
    body = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"tEXt": b"a\0"}[kind]
    body += b"x" * letters if kind == b"tEXt" else zlib.compress(b"x" * letters)
    chunk = len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    content = encoded(COLOUR)
    for place in (33, len(content) - 12):  # after the header, before the end
        expect(content[:place] + chunk + content[place:], COLOUR)


def test_a_large_jpeg_is_read_at_a_part_of_its_size_within_a_limit(monkeypatch):
    content = encoded(COLOUR, "JPEG", quality=95, exif=turned(6))
    whole = open_photo(content).rgb
    assert whole.shape == (90, 60, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 90 * 60 // 2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90 * 60 // 4)  # Pillow's own, twice of which it refuses
    for source in (content, io.BytesIO(content)):
        for side in (None, 45):
            rgb, size, _ = open_photo(source, side=side)
            assert size == (90, 60)
            np.testing.assert_allclose(rgb, whole.reshape(45, 2, 30, 2, 3).mean(axis=(1, 3)), atol=4)
    with pytest.raises(DataError, match="exceeds limit"):
        open_photo(encoded(COLOUR))  # other kinds cannot be reduced
    monkeypatch.setattr(photos, "MAX_JPEG_PIXELS", 90 * 60 - 1)
    with pytest.raises(DataError, match="90x60"):
        open_photo(content)


@pytest.mark.parametrize("read", READERS, ids=["decode", "open_photo"])
@pytest.mark.parametrize("size", [(60_000, 1_000), (10_000, 10_000), (60_000, 60_000)])
def test_an_absurd_size_is_refused_before_its_pixels_are_decoded(read, size, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"60000x1000|exceeds limit"):
        read(claimed(*size))


def test_the_profile_of_rgb_colours_is_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for image_format in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert open_photo(encoded(COLOUR, image_format, icc_profile=profile)).profile == profile
    other = encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", icc_profile=profile.replace(b"RGB ", b"CMYK", 1))
    assert open_photo(other).profile is None


@pytest.mark.parametrize(
    "source",
    [
        *(None, 3, [1], b"", b"words", io.StringIO("words"), encoded(COLOUR)[:100], encoded(COLOUR, "JPEG")[:700]),
        *("data:image/png;base64,", "data:image/png,%00", "data:image/png;base64,é"),
        *(np.zeros(shape, np.uint8) for shape in ((0, 0, 3), (0, 5), (2, 2, 5), (4,), (1, 2, 3, 4))),
    ],
    ids=lambda source: type(source).__name__,
)
def test_what_is_no_picture_is_refused_in_words(source):
    with pytest.raises(DataError, match=r"Expected .* Received: "):
        open_photo(source)


def test_an_error_names_the_file_and_no_more(tmp_path, monkeypatch):
    words, pipe, sound = (tmp_path / name for name in ("words.jpg", "pipe.png", "sound.png"))
    words.write_text("I am no picture")
    sound.write_bytes(encoded(COLOUR))
    os.mkfifo(pipe)
    for path, found in ((words, "cannot identify"), (tmp_path, "a folder"), (tmp_path / "no.png", "no such file")):
        with pytest.raises(DataError, match=rf"^{path}: Expected .*{found}"):
            open_photo(path)
    for path in (pipe, "a\0b.png", ""):
        with pytest.raises(DataError, match="no such file"):
            open_photo(path)
    with pytest.raises(DataError, match=r"its bytes, a data URL.*132,492 characters\. Decode base64") as caught:
        open_photo("iVBORw0KGgo/" * 11_041)
    assert len(str(caught.value)) < 300

    def fail(picture):
        raise RecursionError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)  # as of any decoder
    with pytest.raises(DataError, match=rf"^{sound}: Expected a whole picture .*RecursionError"):
        open_photo(sound)


SHAPES = st.lists(st.integers(1, 9), min_size=2, max_size=2), st.sampled_from([(), (1,), (2,), (3,), (4,)])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([np.uint8, np.uint16]))
def test_arrays_of_all_shapes_become_rgb(data, kind):
    size, channels = map(data.draw, SHAPES)
    array = data.draw(st_numpy.arrays(kind, (*size, *channels)))
    rgb = open_photo(array).rgb
    assert (rgb.shape, rgb.dtype) == ((*size, 3), np.uint8)
    if kind is np.uint8 and channels in ((), (1,)):
        np.testing.assert_array_equal(rgb, np.repeat(array.reshape(*size, 1), 3, axis=-1))


SOUND = [
    *(encoded(COLOUR, image_format, exif=turned(6)) for image_format in ("JPEG", "PNG", "WEBP", "TIFF")),
    *(encoded(GREY, "BMP"), encoded(COLOUR, "GIF"), encoded(GREY.astype(np.uint16) * 200)),
    *(encoded(np.dstack([COLOUR, GREY]), "WEBP"), encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")),
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SOUND), st.integers(0, 800), st.binary(max_size=4), st.integers(0, 8), st.sampled_from([None, 20])
)
def test_a_broken_file_gives_a_picture_or_a_data_error(content, place, put, cut, side):
    broken = content[:place] + put + content[place + cut :]
    with contextlib.suppress(DataError):
        rgb = open_photo(broken, side=side).rgb
        assert (rgb.dtype, rgb.shape[2:]) == (np.uint8, (3,))
    with contextlib.suppress(DataError):
        grey = decode(broken)
        assert (grey.dtype, grey.ndim) == (np.uint8, 2)
