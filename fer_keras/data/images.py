"""Pictures (PNG, JPEG, ...) to grey uint8 pixels."""

import contextlib
import io
import os
import re
import stat
import struct
import threading
import warnings

import numpy as np
from PIL import ExifTags, Image

from fer_keras.data.dataset import DataError

NAMES = re.compile(r"[^.].*\.(avif|bmp|dib|gif|jfif|jp2|jpe|jpe?g|p[bgnp]m|png|tga|tiff?|webp)", re.I | re.S)
# What `Image.open` may open: pictures made of pixels. Left to itself it takes every format that Pillow knows, whatever
# the file is called: it runs Ghostscript on EPS, and IPTC holds a picture of any format. MPO is opened as JPEG.
FORMATS = ["JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "DIB", "ICO", "ICNS"]
FORMATS += ["PCX", "PSD", "QOI", "SGI", "SUN", "TGA"]
UNSAFE = ("EPS", "IPTC", "WMF")  # formats of a PIL image whose pixels are not to be asked for
MAX_PIXELS = 50_000_000
MAX_BYTES = 512 * 2**20  # of a file
OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe is not waited for
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # a file from a phone has one of them
PNG, PNG_TEXTS = b"\x89PNG\r\n\x1a\n", (b"tEXt", b"zTXt", b"iTXt")
TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
TURNS = {number: Image.Transpose[name] for number, name in enumerate(TURNS, 2)}  # by EXIF's orientation


def is_picture(name):
    """True if a file's name is that of a picture; hidden files (`._1.jpg`) do not count."""
    return NAMES.fullmatch(name) is not None


def read_regular(path):
    """The bytes of a regular file; a `DataError` if it is none, or larger than any picture."""
    try:
        file = os.open(path, OPEN)  # a file object would take longer to make than to read
        try:
            about = os.fstat(file)
            is_file, size = stat.S_ISREG(about.st_mode), about.st_size
            content = os.read(file, size) if is_file and size <= MAX_BYTES else b""
            while 0 < len(content) < size and (more := os.read(file, size - len(content))):
                content += more
        finally:
            os.close(file)
        if is_file and size <= MAX_BYTES:
            return content
        received = f"one of {size:,}" if is_file else "a folder, a pipe or a device"
    except (OSError, ValueError) as error:
        received = getattr(error, "strerror", None) or str(error)
    raise DataError(f"Expected a regular file of at most {MAX_BYTES:,} bytes. Received: {received}.")


def decode(content, image_size=None):
    """One picture, given as bytes, as upright grey uint8 pixels `(height, width)`, resized to `image_size` if given."""
    with sound, open_picture(io.BytesIO(content)) as picture:
        if picture.mode.startswith(("I", "F")):
            raise DataError(f"Expected a picture of 8 bits a channel. Received: one of mode {picture.mode!r}.")
        # A telephone's JPEG may hold a second view of the same scene ("MPO"); other files of several pictures move.
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            raise DataError(f"Expected one picture. Received: {picture.n_frames} in one {picture.format} file.")
        grey = on_black(upright(picture))
        grey = grey if grey.mode == "L" else grey.convert("L")  # by ITU-R 601 luma; the same mode would be copied
        if image_size and grey.size != tuple(image_size)[::-1]:
            grey = grey.resize(tuple(image_size)[::-1], Image.Resampling.BILINEAR)
        return np.asarray(grey)


def open_picture(file):
    """Open a picture of one of `FORMATS` with PIL, from a path or an open file; its pixels are not decoded yet."""
    head = b""  # of a PNG, texts are left out: Pillow would unpack them, and refuse a picture for a long one
    with open(file, "rb") if isinstance(file, str | os.PathLike) else contextlib.nullcontext(file) as stream:
        if stream.seekable() and stream.seek(0) == 0 and (head := stream.read(128))[:8] == PNG:
            stream.seek(len(PNG))
            parts = [PNG]
            while len(head := stream.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                body = stream.read(length + 4)
                parts += () if kind in PNG_TEXTS else (head, body)
            file = io.BytesIO(b"".join(parts))
    if is_heic := head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[start : start + 4] for start in range(8, end, 4)}
        is_heic = not brands.isdisjoint(HEIC) and brands.isdisjoint({b"avif", b"avis"})  # which Pillow itself reads
    if is_heic:
        try:
            import pillow_heif
        except ImportError as error:
            words = "Received: HEIC. Install what reads it (pip install pillow-heif), or save it as JPEG."
            raise DataError(f"Expected a picture that Pillow reads (PNG, JPEG, ...). {words}") from error
        pillow_heif.register_heif_opener()
    return Image.open(file, formats=["HEIF"] if is_heic else FORMATS)


class Sound:
    """A context that turns what Pillow raises on broken or absurd pictures into a `DataError`, and drops its warnings.

    Threads share the filters of warnings: the first to come in sets them, the last to leave restores them.
    """

    def __init__(self):
        self.lock, self.depth, self.filters = threading.Lock(), 0, None

    def __enter__(self):
        with self.lock:
            if not self.depth:
                self.filters = warnings.catch_warnings(action="ignore")
                self.filters.__enter__()
            self.depth += 1

    def __exit__(self, kind, error, _):
        with self.lock:
            self.depth -= 1
            if not self.depth:
                self.filters.__exit__()
        # Of broken files, Pillow and the libraries it parses with raise errors of any kind.
        if isinstance(error, Exception) and not isinstance(error, DataError):
            reason = re.sub(" <_io.BytesIO.*?>", "", str(error))[:120] or kind.__name__
            raise DataError(f"Expected a whole picture (PNG, JPEG, ...). Received: {reason}.") from error


sound = Sound()


def upright(picture):
    """The picture as its camera was held; a `DataError` if it is absurdly large, or Pillow drops what 16 bits hold."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DataError(f"Expected a picture of at most {MAX_PIXELS:,} pixels. Received: {width}x{height}.")
    has_16_bits = picture.mode[0] not in "IL1" and ";16" in str(getattr(picture, "tile", ""))
    picture.load()  # which turns a TIFF
    if has_16_bits:  # of a picture in colour, Pillow keeps the upper 8
        high = max(high for _, high in picture.convert("RGB").getextrema())
        if high < 64:
            received = f"values up to {256 * high + 255:,}, of fewer bits. Scale them, or save it with 8 bits a channel"
            raise DataError(f"Expected a picture that fills 16 bits a channel. Received: {received}.")
    turn = TURNS.get(orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def orientation(picture):
    """How the camera was held, as EXIF has it: 1 is upright, also where EXIF says none of 1 to 8 or is broken."""
    try:
        number = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of a broken entry, Pillow raises errors of any kind
        return 1
    return number if isinstance(number, int) and number in TURNS else 1


def on_black(picture):
    """The picture without transparency, on black."""
    black = Image.new("RGBA", picture.size, "black") if picture.has_transparency_data else None
    return Image.alpha_composite(black, picture.convert("RGBA")) if black else picture


def as_batch(images, size: tuple[int, ...]) -> np.ndarray:
    """Grey faces as an array `(n, height, width, 1)`; a `ValueError` on another size, range or scale."""
    images, shape = np.asarray(images), (*size, 1)[:3]
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1:] != shape:
        expected = f"`images` must be grey faces of shape (n, {', '.join(map(str, shape))})"
        raise ValueError(f"{expected}. Received: shape {images.shape}. Cut out the face and resize it first.")
    check_pixels(images)
    return images if images.dtype.kind in "iuf" else images.astype(np.float32)


def check_pixels(images: np.ndarray) -> None:
    """Check that values are pixels in [0, 255] that nobody divided by 255; a picture that is almost black is whole."""
    expected = "`images` must have values in [0, 255]; the network scales them itself"
    if not images.dtype.name.startswith(("int", "uint", "float", "bfloat")):
        raise ValueError(f"{expected}. Received: values of type {images.dtype}. Pass an array of uint8 or float32.")
    low, high = (float(images.min()), float(images.max())) if images.size else (0, 0)
    if not (low >= 0 and high <= 255):
        raise ValueError(f"{expected}. Received: {low:g} to {high:g}.")
    if high <= 1 and images.dtype.kind not in "iu" and (images != np.rint(images)).any():
        received = f"fractions from {low:.3g} to {high:.3g}, as after a division by 255"
        raise ValueError(f"{expected}. Received: {received}. Pass the pixels as they were: 255 * images.")
