"""Pictures from anywhere: read as what one sees, upright, in colour or as the luma of data sets, or refused."""

import base64
import contextlib
import io
import os
import shutil
import struct
import zlib

import data_files as files
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageCms, ImageOps, PngImagePlugin

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError, images, load_ckplus, load_faces, load_fer4, load_fer7, load_folder, load_rafdb
from fer_keras.data.images import FORMATS, UNSAFE, decode, open_picture
from fer_keras.labels import FER4
from fer_keras.recognition import photos
from fer_keras.recognition.annotate import explain_picture
from fer_keras.recognition.folders import recognize_each
from fer_keras.recognition.photos import open_photo
from fer_keras.recognition.recognizer import Recognizer

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


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_pixels_come_back_as_they_were(image_format):
    for seen in (GREY, COLOUR):
        expect(encoded(seen, image_format, lossless=True), seen)


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
    with pytest.raises(DataError, match=r"60000x1000|10000x10000|exceeds limit"):
        read(files.claimed(*size))


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


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_arrays_of_all_shapes_become_rgb(kind, channels):
    for size in ((1, 1), (1, 9), (7, 3)):
        array = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (*size, *channels), kind, endpoint=True)
        rgb = open_photo(array).rgb
        assert (rgb.shape, rgb.dtype) == ((*size, 3), np.uint8)
        if kind is np.uint8 and channels in ((), (1,), (3,)):
            np.testing.assert_array_equal(rgb, np.broadcast_to(array.reshape(*size, -1), rgb.shape))


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


EPS = encoded(COLOUR, "EPS")
WITH_A_PREVIEW = b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(20) + EPS
WITH = {"network": "mini-xception", "detector": "haar"}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that is there once somebody has started Ghostscript."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >> '{mark}'\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    files.set_up(monkeypatch, tmp_path)
    return mark


READERS_OF_PICTURES = {
    "decode": decode,
    "decode bytes": lambda path: decode(path.read_bytes()),
    "open_photo": open_photo,
    "recognize": lambda path: fer_keras.recognize(path, **WITH),
    "recognize bytes": lambda path: fer_keras.recognize(path.read_bytes(), **WITH),
    "recognize an open file": lambda path: fer_keras.recognize(io.BytesIO(path.read_bytes()), **WITH),
    "annotate": lambda path: fer_keras.annotate(path, path.with_name("a.png"), **WITH),
    "explain_picture": lambda path: explain_picture(path, path.with_name("a.png"), **WITH),
    "recognize_video": lambda path: fer_keras.recognize_video(path, **WITH),
}
OWN = {f"{name}/{number}.jpg": files.noise(1)[0] for name in ("happy", "sad") for number in "123"}
COURSE = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
FER2013 = files.fer_table(70)
DATA_SETS = {
    "load_folder": (load_folder, lambda root: files.write_tree(root, OWN)),
    "load_faces": (load_faces, lambda root: files.write_tree(root, OWN)),
    "load_fer4": (
        lambda root: load_fer4(root, protocol="course"),
        lambda root: files.write_course(root, files.noise(4), COURSE),
    ),
    "load_fer7": (load_fer7, lambda root: files.write_tree(root, files.named_folders(FER2013))),
    "load_fer7, Parquet": (load_fer7, lambda root: files.write_parquet(root, files.parquet_frame(FER2013))),
    "load_fer7, zip": (
        lambda root: load_fer7(shutil.make_archive(f"{root}-zipped", "zip", root)),
        lambda root: files.write_tree(root, files.named_folders(FER2013)),
    ),
    "load_ckplus": (load_ckplus, lambda root: files.write_tree(root, files.ckplus_folders())),
    "load_rafdb": (load_rafdb, lambda root: files.write_rafdb_list(root, files.rafdb_faces())),
}


@pytest.mark.parametrize("content", [EPS, WITH_A_PREVIEW], ids=["EPS", "EPS with a preview"])
@pytest.mark.parametrize("reader", [*READERS_OF_PICTURES, *DATA_SETS])
def test_every_reader_refuses_what_would_start_a_program(reader, content, mark, tmp_path):
    read, source = READERS_OF_PICTURES.get(reader), tmp_path / "holiday.jpg"
    if read:
        source.write_bytes(content)
    else:
        read, write = DATA_SETS[reader]
        source = write(tmp_path / "data")
        if "Parquet" in reader:
            file = source / "fer2013-training.parquet"
            frame = pd.read_parquet(file)
            frame.assign(png=[content, *frame["png"][1:]]).to_parquet(file)
        else:
            next(path for path in source.rglob("*") if path.suffix in (".png", ".jpg")).write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected .*Received"):
        read(source)
    assert not mark.exists()


def test_the_trap_is_real_and_an_opened_pil_image_is_refused_too(mark):
    with Image.open(io.BytesIO(EPS)) as picture:
        with pytest.raises(DataError, match=r"Expected a picture of pixels .*Received: one of format EPS"):
            open_photo(picture)
        assert not mark.exists()
        with pytest.raises(OSError, match=r"."):
            picture.load()
    assert mark.exists()


def test_among_many_pictures_it_is_an_error_of_its_own(mark, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(EPS)
    (folder / "sound.png").write_bytes(encoded(COLOUR))
    table = fer_keras.recognize_folder(folder, **WITH).set_index("picture")
    assert "Expected a whole picture" in table.error["holiday.jpg"]
    assert pd.isna(table.error["sound.png"])
    (row,) = recognize_each([("row", EPS)], Recognizer(**WITH))  # as the rows of Parquet files come
    assert "Expected a whole picture" in row[2]
    assert main(["recognize", str(folder / "holiday.jpg"), "--weights", "mini-xception", "--detector", "haar"]) == 2
    assert "holiday.jpg: Expected a whole picture (PNG, JPEG, ...). Received: " in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("image_format", [*FORMATS, "MPO"])
def test_every_format_that_is_meant_is_read(image_format):
    try:
        content = encoded(COLOUR, image_format)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {image_format}")
    assert decode(content).shape == open_photo(content).size


def test_no_other_format_is_opened():
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)
    assert not set(FORMATS) & {*UNSAFE, "BUFR", "FPX", "GBR", "GRIB", "HDF5", "MIC", "MPEG", "PDF", "WAL"}
    for image_format in ("IM", "MSP", "SPIDER"):
        stream = io.BytesIO()
        Image.fromarray(np.zeros((8, 8), np.uint8)).convert("1").save(stream, image_format)
        with pytest.raises(OSError, match="cannot identify"):
            open_picture(stream)
