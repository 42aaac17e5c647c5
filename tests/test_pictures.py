"""Pictures of all kinds: read as what one sees, or refused."""

import contextlib
import io

import numpy as np
import pytest
from data_files import claimed, noise, png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_keras.data import DataError
from fer_keras.data.images import decode

GREY = noise(1)[0] // 2 + 60
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
LUMA = np.rint(COLOUR @ [0.299, 0.587, 0.114])


def encoded(picture, image_format, **options):
    stream = io.BytesIO()
    picture.save(stream, image_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_grey_picture_comes_back_pixel_by_pixel(image_format):
    pixels = decode(png(GREY, image_format))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, GREY)


KINDS = {
    "colour": encoded(Image.fromarray(COLOUR), "PNG"),
    "opaque": encoded(Image.fromarray(COLOUR).convert("RGBA"), "PNG"),
    "webp": encoded(Image.fromarray(COLOUR), "WEBP", lossless=True),
}


@pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)
def test_colour_becomes_its_luma(content):
    np.testing.assert_allclose(decode(content), LUMA, atol=1)


def test_a_palette_is_looked_up():
    picture = Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48) % 2).convert("P")
    picture.putpalette([200, 200, 200, 10, 10, 10])
    expected = np.where(np.arange(48 * 48).reshape(48, 48) % 2, 10, 200)
    for image_format in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(encoded(picture, image_format)), expected)


def test_the_inks_of_a_cmyk_jpeg_become_grey():
    picture = Image.new("CMYK", (48, 48), (0, 0, 0, 255))
    picture.paste((0, 0, 0, 55), (0, 0, 48, 24))
    pixels = decode(encoded(picture, "JPEG", quality=95))
    np.testing.assert_allclose(pixels[:20], 200, atol=3)
    np.testing.assert_allclose(pixels[28:], 0, atol=3)


def test_what_is_transparent_lies_on_black_whatever_colour_it_hides():
    hidden = np.dstack([COLOUR, np.where(np.arange(48) < 24, 0, 255) * np.ones((48, 1), int)]).astype(np.uint8)
    grey = np.dstack([GREY, hidden[..., 3]])
    for array, seen in ((hidden, LUMA), (grey, GREY)):
        pixels = decode(encoded(Image.fromarray(array), "PNG"))
        assert pixels[:, :24].max() == 0
        np.testing.assert_allclose(pixels[:, 24:], seen[:, 24:], atol=1)
    palette = Image.fromarray(np.zeros((48, 48), np.uint8)).convert("P")
    palette.putpalette([200, 200, 200])
    assert decode(encoded(palette, "PNG", transparency=0)).max() == 0


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_what_moves_is_refused(image_format):
    frames = [Image.fromarray(image) for image in noise(3)]
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=rf"Expected one picture. Received: 3 in one {image_format} file"):
        decode(content)


def test_a_telephones_second_view_is_left_aside():
    views = [Image.fromarray(np.full((48, 48), value, np.uint8)) for value in (80, 200)]
    content = encoded(views[0], "MPO", save_all=True, append_images=views[1:])
    np.testing.assert_allclose(decode(content), 80, atol=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_of_grey_are_refused(dtype):
    with pytest.raises(DataError, match="Expected a picture of 8 bits a channel"):
        decode(encoded(Image.fromarray(np.zeros((48, 48), dtype)), "TIFF"))


def test_an_absurd_size_is_refused_before_its_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("decoded"))
    for width, height in ((60_000, 1_000), (10_000, 10_000), (60_000, 60_000)):
        with pytest.raises(DataError, match=r"60000x1000|exceeds limit"):
            decode(claimed(width, height))


def test_a_fault_in_the_cameras_notes_does_not_matter():
    exif = Image.Exif()
    exif[0x010F] = "the maker's name, longer than what is left of the file"
    content = encoded(Image.fromarray(GREY), "JPEG", quality=95, exif=exif)
    place = content.index(b"Exif\0\0") + 20
    np.testing.assert_array_equal(
        decode(content[:place] + b"\xff" * 6 + content[place + 6 :]), decode(png(GREY, "JPEG", quality=95))
    )


EXIF = Image.Exif()
EXIF[0x0112] = 3
SOUND = [
    encoded(Image.fromarray(COLOUR), "JPEG", exif=EXIF),
    encoded(Image.fromarray(COLOUR), "PNG", exif=EXIF),
    encoded(Image.fromarray(COLOUR), "WEBP", exif=EXIF),
    encoded(Image.fromarray(COLOUR), "TIFF", exif=EXIF),
    encoded(Image.fromarray(COLOUR), "GIF"),
    encoded(Image.fromarray(GREY), "BMP"),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SOUND), st.integers(0, 400), st.binary(max_size=4), st.integers(0, 8))
def test_a_broken_file_gives_a_picture_or_a_data_error(content, place, put, cut):
    with contextlib.suppress(DataError):
        pixels = decode(content[:place] + put + content[place + cut :])
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 2
