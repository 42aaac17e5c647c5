"""Parquet files of pictures: a column of their bytes, as Hugging Face, Ray and img2dataset write it, and of names."""

from fer_keras.data.dataset import DataError

PARQUET = ".parquet"
BYTES, PATH = "bytes", "path"  # fields of the columns that Hugging Face's `datasets` writes
CONTENTS = (BYTES, "image", "picture", "content", "data", "jpg", "jpeg", "png", "webp")
NAMES = (PATH, "picture", "file_name", "filename", "file", "name", "image_path", "key", "__key__", "url", "id")
AT_A_TIME = 16  # pictures that are in memory
BUFFER = 2**20  # bytes read at a time: whole columns, as pyarrow would read them, may be larger than the memory


def count_rows(path):
    """Return the number of rows of a Parquet file of pictures.

    Raises:
        DataError: if it is damaged, or has no column of pictures.
        ImportError: if pyarrow is not installed.
    """
    with opened(path) as file:
        find_columns(file.schema_arrow, path)
        return file.metadata.num_rows


def opened(path):
    """Return an open `pyarrow.parquet.ParquetFile` that reads little at a time."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Reading Parquet needs pyarrow. Install it: pip install 'fer_keras[data]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: Expected a whole Parquet file. Received: {str(error)[:200]}") from error


def find_columns(schema, path):
    """Return where the bytes and the name of a picture are: each a tuple of a column and perhaps its field, or None.

    Args:
        schema: a `pyarrow.Schema`.
        path: of the file, for the error.
    """
    contents = {field.name: place for field in schema if (place := content_in(field))}
    structs = [name for name, place in contents.items() if len(place) == 2]
    chosen = structs[:1] or [name for name in CONTENTS if name in contents] or list(contents)
    if not chosen or (len(contents) > 1 and chosen[0] not in (*structs, *CONTENTS)):
        raise DataError(
            f"{path}: Expected a column with the bytes of pictures (binary, called {' or '.join(CONTENTS[:2])}, or a "
            f"struct with the fields bytes and path). Received the columns: {', '.join(map(str, schema)) or 'none'}."
        )
    name = chosen[0]
    if name in structs and schema.field(name).type.get_field_index(PATH) >= 0:
        return contents[name], (name, PATH)
    named = [other for other in NAMES if other != name and other in schema.names]
    return contents[name], tuple(named[:1]) or None


def content_in(field):
    """Return the place of binary values in a column: its name, and that of its field; None if there are none."""
    from pyarrow import types

    if is_binary(field.type):
        return (field.name,)
    if types.is_struct(field.type) and (index := field.type.get_field_index(BYTES)) >= 0:
        return (field.name, BYTES) if is_binary(field.type.field(index).type) else None
    return None


def is_binary(kind):
    """Tell whether a type of pyarrow holds bytes."""
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def read_rows(path, start, stop, *, called):
    """Yield `(name, bytes)` of rows of a Parquet file; the bytes are a `DataError` where the file is damaged.

    Args:
        path: of the file.
        start: the first row.
        stop: the row after the last.
        called: what the file is called; a picture without a name is `<called>#<row>`.
    """
    row = start
    try:
        with opened(path) as file:
            content, name = find_columns(file.schema_arrow, path)
            for batch in batches(file, start, stop, [".".join(each) for each in (content, name) if each]):
                names = values(batch, name) if name else [None] * len(batch)
                for each, picture in zip(names, values(batch, content), strict=True):
                    yield f"{called}#{row}" if each is None else str(each), picture or DataError(EMPTY)
                    row += 1
    except (OSError, ValueError) as error:
        for left in range(row, stop):
            yield f"{called}#{left}", DataError(f"{path}: Expected a whole Parquet file. Received: {str(error)[:200]}")


EMPTY = "Expected the bytes of a picture. Received: none."


def batches(file, start, stop, columns):
    """Yield the rows from `start` to `stop` of an open Parquet file, as record batches; those before cost little."""
    offset = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if offset + count > start and offset < stop:
            position = offset
            for batch in file.iter_batches(AT_A_TIME, row_groups=[group], columns=columns):
                first, last = max(start - position, 0), min(stop - position, len(batch))
                if first < last:
                    yield batch.slice(first, last - first)
                position += len(batch)
                if position >= stop:
                    return
        offset += count


def values(batch, place):
    """Return the values of a column, or of its field, as a list."""
    from pyarrow import compute

    column = batch.column(place[0])
    return (compute.struct_field(column, place[1]) if len(place) == 2 else column).to_pylist()
