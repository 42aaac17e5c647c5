"""The four-class course set: its folders, or its list of rows (`adsp_rows.csv`) applied to FER-2013."""

import numpy as np

from fer_keras.data.dataset import DataError
from fer_keras.labels import FER4, SPLITS

ROWS_FILE = "adsp_rows.csv"
COLUMNS = ["split", "class", "row"]


def from_rows(faces, file):
    """Return the course set made of the rows of FER-2013 that `file` lists.

    The course set is a selection of FER-2013's rows that ignores the official split. Its labels are its own: some rows
    lie in another class than FER-2013 gives them.

    Args:
        faces: `FaceDataset` of all of FER-2013, its `rows` those of fer2013.csv.
        file: path of a CSV with the columns split, class, row.

    Raises:
        DataError: if the list is malformed, or names a row that `faces` does not have.
    """
    table = read_rows(file)
    order = np.argsort(faces.rows, kind="stable")
    place = np.searchsorted(faces.rows, table["row"], sorter=order).clip(max=len(faces) - 1)
    index = order[place]
    absent = table["row"].to_numpy() != faces.rows[index]
    if absent.any() and not faces.skipped:
        raise DataError(
            f"{file}: Expected rows of {faces.source}. Received: row {table['row'][absent].iloc[0]}, which it lacks "
            f"({absent.sum():,} such rows)."
        )
    table, index = table[~absent], index[~absent]
    return faces.take(
        index,
        labels=table["class"].map(FER4.index).to_numpy(np.int64),
        split=table["split"].to_numpy("<U10"),
        classes=FER4,
        source=f"four-class course set, rows of {faces.source}",
        protocol="course",
    )


def read_rows(file):
    """Return the list of rows as a `pandas.DataFrame`, checked."""
    import pandas as pd

    try:
        table = pd.read_csv(file)
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: Expected a CSV of {', '.join(COLUMNS)}. Received: {str(error)[:200]}") from error
    if list(table.columns) != COLUMNS:
        raise DataError(f"{file}: Expected the columns {', '.join(COLUMNS)}. Received: {', '.join(table.columns)}.")
    rows = pd.to_numeric(table["row"], errors="coerce")
    good = table["split"].isin(SPLITS) & table["class"].isin(FER4) & (rows >= 0) & (rows % 1 == 0)
    if not good.all():
        line = int(np.flatnonzero(~good)[0])
        raise DataError(
            f"{file}, line {line + 2}: Expected a split of {', '.join(SPLITS)}, a class of {', '.join(FER4)}, a row. "
            f"Received: {', '.join(map(str, table.iloc[line]))}."
        )
    return table.assign(row=rows.astype(np.int64))
