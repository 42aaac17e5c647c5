"""What is recorded from FER-2013 itself, so that every figure can be redrawn where there is no data."""

import dataclasses

import numpy as np
import pandas as pd

from fer_keras.data import DataError, audit, load_fer4, load_fer7, mean_faces
from fer_keras.data.votes import names_emotion, plurality
from fer_keras.evaluation import sides
from fer_keras.labels import REST, SPLITS
from fer_keras.results.runs import read_runs, write_table


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
    if faces.votes is not None:
        write_table("crowd", crowd(faces), folder=folder)
    write_table("mean_faces", dict(zip(faces.classes, means, strict=True)), folder=folder)
    made = forms(faces)
    try:
        course = load_fer4(path, protocol="course")
    except DataError:
        course = None
    if course is not None:
        made["course-folders"] = origin(course, faces)
        about = {"audit": audit(course).as_dict(), "official_split": made["course-folders"]}
        write_table("course", about, folder=folder)
    write_table("forms", made, folder=folder)
    return faces.fingerprint


def crowd(faces):
    """Return `evaluation.sides` of every run that names FER-2013's labels on its official test rows, by its name."""
    judged = np.where(names_emotion(faces.votes), plurality(faces.votes), "")
    by_row, found = pd.Series(judged, index=faces.rows), {}
    for run in read_runs():
        named = run.recipe["data"] in ("fer7", "fer4") and run.classes[0] != REST
        if named and run.protocol == "official" and "test" in run.metrics:
            said, classes = run.predictions("test"), np.array(run.classes)
            predicted = classes[said.probabilities.argmax(axis=1)]
            found[run.run] = sides(classes[said.labels], predicted, by_row.loc[said.rows].to_numpy())
    return found


def forms(faces):
    """Return, by the name of the form, what the splits of FER-2013's published forms hold, as `origin` gives it.

    Each form is made from FER-2013's rows as its reader would split it; what was published as a selection of another
    kind (Kaggle's folders train and validation) cannot be made from them.
    """
    train = faces.select(splits=("train",))
    folders = dataclasses.replace(faces, split=np.where(faces.split == "train", "train", "test"))
    made = {
        "fer2013-csv": faces,
        "challenge-csv": train.resplit(0),
        "fer2013-folders": faces,
        "fer2013-unnamed-folders": folders.resplit(0, fractions=(0.9, 0.1, 0), within=("train",)),
    }
    return {name: origin(form, faces) for name, form in made.items()}


def origin(form, faces):
    """Return `{split of the form: {official split: images}}`; both must number their images by FER-2013's rows."""
    official = pd.Series(faces.split, index=faces.rows).loc[form.rows].to_numpy()
    return {
        split: {other: int(((form.split == split) & (official == other)).sum()) for other in SPLITS} for split in SPLITS
    }
