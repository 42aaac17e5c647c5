"""Photographs from anywhere: read as what one sees, upright, or refused."""

import contextlib
import io
import os

import numpy as np
import pytest
from data_files import claimed
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image

from fer_keras.data import DataError
from fer_keras.recognition import photos
from fer_keras.recognition.photos import read_photo, read_reduced

# Smooth, so that JPEG keeps it; no two of its corners are alike.
ROWS, COLUMNS = np.mgrid[0:60, 0:90]
COLOUR = np.stack([ROWS * 4, COLUMNS * 2, 255 - ROWS * 2 - COLUMNS], axis=-1).astype(np.uint8)
GREY = COLOUR[..., 0]


def encoded(picture, image_format="PNG", **options):
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, image_format, **options)
    return stream.getvalue()


def turned(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    content = encoded(COLOUR)
    path = tmp_path / "a picture.png"
    path.write_bytes(content)
    sources = [path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), COLOUR]
    sources += [Image.fromarray(COLOUR), COLOUR[::-1][::-1]]
    with open(path, "rb") as file, Image.open(path) as picture:
        for source in (*sources, file, picture):
            rgb = read_photo(source)
            assert rgb.dtype == np.uint8
            np.testing.assert_array_equal(rgb, COLOUR)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_every_mode_of_8_bits_is_read(mode):
    picture = Image.new("RGB", (9, 7), "white").convert("RGBA" if mode == "RGBX" else "RGB").convert(mode)
    np.testing.assert_allclose(read_photo(picture), np.full((7, 9, 3), 255), atol=2)


def test_16_bits_become_8():
    values = np.array([[0, 128, 129, 257 * 100, 65407, 65535]], np.uint16)
    expected = np.array([[0, 0, 1, 100, 255, 255]], np.uint8)
    for source in (values, values.astype(">u2"), encoded(values), encoded(values, "TIFF"), Image.fromarray(values)):
        np.testing.assert_array_equal(read_photo(source), np.repeat(expected[..., None], 3, axis=-1))
    colour = np.stack([values, values, values], axis=-1)
    np.testing.assert_array_equal(read_photo(colour)[..., 1], expected)


def test_values_without_a_known_range_are_refused():
    for source in (encoded(np.zeros((4, 4), np.float32), "TIFF"), np.zeros((4, 4)), np.full((4, 4), 70_000, np.uint32)):
        with pytest.raises(DataError, match=r"Expected .*8 or|Expected an array of uint8"):
            read_photo(source)


def test_what_is_transparent_lies_on_black():
    alpha = np.where(np.arange(90) < 45, 0, 255) * np.ones((60, 1), int)
    for seen in (COLOUR, GREY[..., None]):
        array = np.dstack([seen, alpha]).astype(np.uint8)
        for source in (array, encoded(array)):
            rgb = read_photo(source)
            assert rgb[:, :45].max() == 0
            np.testing.assert_array_equal(rgb[:, 45:], np.broadcast_to(seen, COLOUR.shape)[:, 45:])


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
def test_what_the_camera_noted_is_applied_and_the_full_size_is_upright(number):
    for pixels in (COLOUR, GREY.astype(np.uint16) * 257):
        content = encoded(pixels, exif=turned(number))
        rgb, size = read_reduced(content)
        expected = TURNS[number](COLOUR if pixels is COLOUR else np.repeat(GREY[..., None], 3, axis=-1))
        np.testing.assert_array_equal(rgb, expected)
        assert size == expected.shape[:2]
        np.testing.assert_array_equal(read_photo(Image.open(io.BytesIO(content))), expected)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_what_moves_the_first_frame_is_taken(image_format):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("white", "black", "red")]
    content = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_photo(content), 255, atol=2)


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(monkeypatch):
    monkeypatch.setattr(photos, "ENOUGH_SIDE", 45)
    content = encoded(COLOUR, "JPEG", quality=95, exif=turned(6))
    rgb, size = read_reduced(content)
    assert size == (90, 60)
    assert rgb.shape == (45, 30, 3)
    whole = read_photo(content)
    assert whole.shape == (90, 60, 3)
    np.testing.assert_allclose(rgb, whole.reshape(45, 2, 30, 2, 3).mean(axis=(1, 3)), atol=4)
    assert read_reduced(encoded(COLOUR))[0].shape == COLOUR.shape, "other kinds cannot be"


def test_an_absurd_size_is_refused_before_its_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda picture: pytest.fail("decoded"))
    for width, height in ((60_000, 1_000), (10_000, 10_000), (60_000, 60_000)):
        for read in (read_photo, read_reduced):
            with pytest.raises(DataError, match=r"60000x1000|exceeds limit"):
                read(claimed(width, height))


@pytest.mark.parametrize(
    "source",
    [
        *(None, 3, [1], b"", b"words", io.StringIO("words"), encoded(COLOUR)[:100], encoded(COLOUR, "JPEG")[:700]),
        *(np.zeros(shape, np.uint8) for shape in ((0, 0, 3), (0, 5), (2, 2, 5), (4,), (1, 2, 3, 4))),
    ],
    ids=lambda source: type(source).__name__,
)
def test_what_is_no_picture_is_refused_in_words(source):
    with pytest.raises(DataError, match=r"Expected .* Received: "):
        read_photo(source)


def test_an_error_names_the_file(tmp_path):
    words = tmp_path / "words.jpg"
    words.write_text("I am no picture")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path, found in ((words, "cannot identify"), (tmp_path, "a folder"), (tmp_path / "no.png", "no such file")):
        with pytest.raises(DataError, match=rf"^{path}: Expected .*{found}"):
            read_photo(path)
    for path in (pipe, "a\0b.png", ""):
        with pytest.raises(DataError, match="no such file"):
            read_photo(path)


@settings(max_examples=60, deadline=None)
@given(
    st_numpy.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.one_of(
            st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=9),
            st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
        ),
    )
)
def test_arrays_of_all_shapes_become_rgb(array):
    rgb = read_photo(array)
    assert rgb.shape == (*array.shape[:2], 3)
    assert rgb.dtype == np.uint8
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] == 1):
        np.testing.assert_array_equal(rgb, np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1))


SOUND = [
    encoded(COLOUR, "JPEG", exif=turned(6)),
    encoded(COLOUR, exif=turned(3)),
    encoded(GREY.astype(np.uint16) * 200),
    encoded(np.dstack([COLOUR, GREY]), "WEBP"),
    encoded(COLOUR, "GIF"),
    encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    encoded(COLOUR, "TIFF"),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SOUND), st.integers(0, 800), st.binary(max_size=4), st.integers(0, 8))
def test_a_damaged_file_gives_a_picture_or_a_data_error(content, place, put, cut):
    for read in (read_photo, lambda source: read_reduced(source)[0]):
        with contextlib.suppress(DataError):
            rgb = read(content[:place] + put + content[place + cut :])
            assert rgb.dtype == np.uint8
            assert rgb.shape[2:] == (3,)
