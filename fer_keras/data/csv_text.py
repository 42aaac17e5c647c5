"""What the readers of CSV files share: headers, fields and lines, as strict as the formats are plain."""

from fer_keras.data.dataset import DataError

HEADER_LIMIT = 10_000  # bytes: a binary file may hold no newline at all


def read_header(stream, file, columns):
    """Return the place of each of `columns` in a row, and the number of fields in a row."""
    names = header_names(stream, file, columns)
    missing = [name for name in columns if names.count(name) != 1]
    if missing:
        received = ",".join(names)[:80] or "an empty file or line"
        raise DataError(
            f"{file}, line 1: Expected the columns {','.join(columns)}, each once. Received: {received}. "
            f"Add or rename {', '.join(missing)}."
        )
    return (*map(names.index, columns), len(names))


def header_names(stream, file, columns):
    """Return the names in the first line of a file, which should have `columns`."""
    header = stream.readline(HEADER_LIMIT)
    try:
        return [strip(name).decode() for name in header.removeprefix(b"\xef\xbb\xbf").split(b",")]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: Expected UTF-8 text with a header of {','.join(columns)}. Received: bytes that are not UTF-8 "
            f"(a compressed or binary file?), first {header[:8]!r}."
        ) from error


def peek(file):
    """Return the names in a file's header, to tell what it is; none if it is not text."""
    try:
        with open(file, "rb") as stream:
            return header_names(stream, file, ())
    except DataError:
        return []


def split_line(line, count):
    """Return the fields of one line of bytes, each as it stands.

    Raises:
        DataError: if it is not text, or has not `count` fields.
    """
    if not line.isascii():
        refuse_non_text(line)
    fields = line.split(b",")
    if len(fields) != count:
        raise DataError(f"Expected {count} fields. Received: {len(fields)} (a file cut short?).")
    return fields


def refuse_non_text(line):
    """Raise a `DataError` if the bytes of a line are not UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"Expected UTF-8 text. Received: byte {line[error.start]:#04x} at {error.start}.") from error


def strip(field):
    """Return a field without the blanks and quotes around it."""
    return field.strip(b' "\t\r\n')
