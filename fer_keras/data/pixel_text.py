"""Pixels written as text ("70 80 82 ..."): many rows at once where they are well-formed, one by one where not."""

import numpy as np

from fer_keras.data.dataset import DataError

SPACE = ord(" ")
ZERO = np.uint8(ord("0"))


def parse_field(field, num_pixels):
    """Return the pixels uint8 `(num_pixels,)` of one field of bytes; this is the meaning of the format.

    Raises:
        DataError: if a value is no whole number in 0..255, or their number is not `num_pixels`.

    Example:

    >>> parse_field(b"7 80  255", 3)
    array([  7,  80, 255], dtype=uint8)
    """
    words = field.split()
    wrong = next((word for word in words if not (len(word) <= 3 and word.isdigit() and int(word) <= 255)), None)
    if wrong is not None:
        raise DataError(f"Expected pixels in 0..255. Received: {wrong[:20].decode('utf-8', 'backslashreplace')!r}.")
    if len(words) != num_pixels:
        raise DataError(f"Expected {num_pixels} pixels. Received: {len(words)}.")
    return np.array([int(word) for word in words], np.uint8)


def parse_batch(fields, num_pixels):
    """Return the pixels uint8 `(fields, num_pixels)`, or None unless every field is in the plain form.

    The plain form is numbers of one to three digits with one space between them. It is read with array operations over
    the text of all fields at once, several times faster than number by number; `parse_field` reads the rest.

    Example:

    >>> parse_batch([b"7 80 255", b"0 1 2"], 3)
    array([[  7,  80, 255],
           [  0,   1,   2]], dtype=uint8)
    >>> parse_batch([b"7 80 256", b"0 1 2"], 3) is None
    True
    """
    codes = np.frombuffer(b" ".join(fields) + b" ", np.uint8)
    digits = codes - ZERO  # anything below "0" wraps around to above 9
    ends = np.flatnonzero(codes == SPACE)
    if len(ends) != num_pixels * len(fields):
        return None
    lengths = np.diff(ends, prepend=-1) - 1
    field_ends = np.cumsum([len(field) + 1 for field in fields]) - 1
    plain = (
        np.array_equal(ends[num_pixels - 1 :: num_pixels], field_ends)
        and lengths.min() >= 1
        and lengths.max() <= 3
        and np.count_nonzero(digits <= 9) + len(ends) == len(codes)
    )
    if not plain:
        return None
    lengths = lengths.astype(np.uint8)
    values = digits[ends - 1].astype(np.uint16)
    for place, weight in ((2, np.uint16(10)), (3, np.uint16(100))):
        digit = digits.take(ends - place, mode="wrap")  # the first number may reach below 0: masked like the others
        values += digit * (lengths >= place) * weight
    if values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(len(fields), num_pixels)
