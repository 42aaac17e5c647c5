"""Tables counted in FER-2013 itself: recorded, so that every figure can be drawn without the data, and read back."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pandas as pd

from fer_keras.data import DataError, FaceDataset, audit, load_fer4, load_fer7, mean_faces
from fer_keras.data.ferplus import names_emotion, plurality
from fer_keras.evaluation import label_crowd_agreement
from fer_keras.labels import REST, SPLITS
from fer_keras.results.runs import Run, as_runs, read_runs, read_table, write_table

SIDES = ("with_label", "with_crowd", "with_neither")


def record_data(path: str | None = None, *, folder: str | None = None) -> str:
    """Record audit, mean faces, published forms and agreement with FER+ of FER-2013, and the course set if it is there.

    Returns the fingerprint of the data.

    Args:
        path: where FER-2013 lies; default as for `load_fer7`.
        folder: folder of results; default `paths.results()`.
    """
    faces = as_published(load_fer7(path))
    write_table("audit", audit(faces).as_dict(), folder=folder)
    means = mean_faces(faces).round().astype(np.uint8)
    write_table("mean_faces", dict(zip(faces.classes, means, strict=True)), folder=folder)
    if faces.votes is not None:
        write_table("crowd", count_sides(faces, read_runs()), folder=folder)
    forms = count_forms(faces)
    try:
        course = load_fer4(path, protocol="course")
    except DataError:
        course = None
    course = course and as_published(course)
    if course is not None:
        forms["course-folders"] = official_splits(course, faces)
        about = {"audit": audit(course).as_dict(), "official_split": forms["course-folders"]}
        write_table("course", about, folder=folder)
    write_table("forms", forms, folder=folder)
    return faces.fingerprint


def as_published(faces: FaceDataset) -> FaceDataset:
    """Faces to record figures of; a `DataError` if they call themselves FER-2013 and are not what was published."""
    if faces.difference:
        raise DataError(f"Figures are recorded on FER-2013 as it was published. Received: {faces.difference}.")
    return faces


def count_sides(faces: FaceDataset, runs: Iterable[Run]) -> dict[str, dict[str, int]]:
    """Count by run, on FER-2013's test rows, with whom predictions agree where the label and the FER+ voters differ."""
    judged = np.where(names_emotion(faces.votes), plurality(faces.votes), "")
    by_row, found = pd.Series(judged, index=faces.rows), {}
    for run in runs:
        labelled = run.recipe["data"] in ("fer7", "fer4") and run.classes[0] != REST
        if labelled and run.protocol == "official" and "test" in run.metrics:
            test, classes = run.predictions("test"), np.array(run.classes)
            predicted = classes[test.probabilities.argmax(axis=1)]
            crowd = by_row.loc[test.rows].to_numpy()
            found[run.run] = label_crowd_agreement(classes[test.labels], predicted, crowd)
    return found


def count_forms(faces: FaceDataset) -> dict[str, dict]:
    """Count by published form of FER-2013 what its splits hold; each is made from FER-2013's rows as its reader does.

    Kaggle's folders train and validation are a selection of another kind and cannot be made from them.
    """
    folders = dataclasses.replace(faces, split=np.where(faces.split == "train", "train", "test"))
    made = {
        "fer2013-csv": faces,
        "challenge-csv": faces.select(splits=("train",)).resplit(0),
        "fer2013-folders": faces,
        "fer2013-unnamed-folders": folders.resplit(0, fractions=(0.9, 0.1, 0), within=("train",)),
    }
    return {name: official_splits(form, faces) for name, form in made.items()}


def official_splits(form: FaceDataset, faces: FaceDataset) -> dict[str, dict[str, int]]:
    """Count a form's images as `{its split: {official split: images}}`; both are numbered by FER-2013's rows."""
    official = pd.Series(faces.split, index=faces.rows).loc[form.rows].to_numpy()
    return {
        split: {other: int(((form.split == split) & (official == other)).sum()) for other in SPLITS} for split in SPLITS
    }


def agreement_table(split: str = "test") -> pd.DataFrame:
    """Share of FER-2013's labels that the FER+ voters gave too, by label and over all.

    Columns: `label` (the classes, then `"all"`), `images` (with that label) and `agreement_of_judged` (of those images
    for which the voters name an emotion: not of all `images`).
    """
    found = read_table("audit")
    shares = found["agreement"][split]
    images = {name: found["counts"][split][name] for name in found["classes"]}
    rows = [*images.items(), ("all", sum(images.values()))]
    return pd.DataFrame(
        {"label": label, "images": number, "agreement_of_judged": shares[label]} for label, number in rows
    )


def crowd_table(runs: Iterable[Run | str] | None = None) -> pd.DataFrame:
    """On test, agreement with the label and with the FER+ voters where these agree, and where they differ.

    Columns: `run`, `recipe`, `seed`, `num_classes`, the counts `agreed` (label and voters), `right` (of these),
    `disputed`, `with_label`, `with_crowd`, `with_neither` (of these), and `right_share` (of `agreed`),
    `with_label_share`, `with_crowd_share`, `with_neither_share` (of `disputed`); best `right_share` first.

    Args:
        runs: runs or names (seed 0); default all that are recorded.
    """
    counts = read_table("crowd")
    table = pd.DataFrame(
        {"run": run.run, "recipe": run.recipe_name, "seed": run.seed, "num_classes": len(run.classes)} | counts[run.run]
        for run in (read_runs() if runs is None else as_runs(runs))
        if run.run in counts
    )
    if table.empty:
        return table
    table = table.assign(right_share=table["right"] / table["agreed"])
    table = table.assign(**{f"{name}_share": table[name] / table["disputed"] for name in SIDES})
    return table.sort_values("right_share", ascending=False, ignore_index=True)
