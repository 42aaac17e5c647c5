"""`load_fer7` and `load_fer4`: one `FaceDataset` from whatever form of FER-2013 is at hand."""

import os

from fer_keras.data import course
from fer_keras.data.forms import identify
from fer_keras.data.problems import Problems
from fer_keras.labels import FER4

PROTOCOLS = ("official", "course")


def load_fer7(path=None, *, on_error="raise"):
    """Return the seven classes of FER-2013 with the official split."""
    return read(path or os.environ["FER_KERAS_DATA"], on_error)[0]


def load_fer4(path=None, *, protocol=None, on_error="raise"):
    """Return happy, sad, surprise and neutral, with the official split or the course set's."""
    faces, found = read(path or os.environ["FER_KERAS_DATA"], on_error)
    if protocol == "course" and faces.protocol != "course":
        return course.from_rows(faces, found[0].parent / course.ROWS_FILE)
    return faces.select(classes=FER4)


def read(path, on_error):
    """Return the `FaceDataset` of what lies at `path`, and the paths that were read."""
    form, found = identify(path)
    return form.read(found, Problems(on_error)), found
