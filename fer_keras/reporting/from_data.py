"""What is recorded from FER-2013 itself, so that every figure can be redrawn where there is no data."""

import numpy as np
import pandas as pd

from fer_keras.data import DataError, audit, load_fer4, load_fer7, mean_faces
from fer_keras.labels import SPLITS
from fer_keras.reporting.tables import write_table


def record_data(path=None, *, folder=None):
    """Record the audit and the mean faces of FER-2013, and where the course set's images come from, if it is there.

    Args:
        path: where FER-2013 lies; default as for `load_fer7`.
        folder: folder of results; default `paths.results()`.

    Returns:
        The fingerprint of the data.
    """
    faces = load_fer7(path)
    write_table("audit", audit(faces).as_dict(), folder=folder)
    means = mean_faces(faces).round().astype(np.uint8)
    write_table("mean_faces", dict(zip(faces.classes, means, strict=True)), folder=folder)
    try:
        course = load_fer4(path, protocol="course")
    except DataError:
        return faces.fingerprint
    write_table("course", {"audit": audit(course).as_dict(), "official_split": origin(course, faces)}, folder=folder)
    return faces.fingerprint


def origin(course, faces):
    """Return `{course split: {official split: images}}`: the course set numbers its files by FER-2013's rows."""
    official = pd.Series(faces.split, index=faces.rows).loc[course.rows].to_numpy()
    return {
        split: {other: int(((course.split == split) & (official == other)).sum()) for other in SPLITS}
        for split in SPLITS
    }
