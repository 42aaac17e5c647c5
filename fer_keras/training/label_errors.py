"""Find likely label errors in the training images, record them, and hold them against FER+'s voters."""

import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.data.votes import EMOTIONS, emotion_votes, names_emotion, not_a_face, plurality
from fer_keras.evaluation import label_errors
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.recipes import find_recipe
from fer_keras.results import write_table
from fer_keras.training.data import load_recipe_data
from fer_keras.training.folds import out_of_fold
from fer_keras.training.precision import check_precision

RECIPE = "fer-small@folds"
TABLE, ROWS, PREDICTIONS = "label-errors", "label-errors-rows", "out-of-fold"
MOST_SHOWN = 80


def find_label_errors(
    recipe=RECIPE, seed=0, *, faces=None, path=None, folds=3, results=None, verbose="auto", precision="float32"
):
    """Let networks judge the training images that they have not seen, and cleanlab name the likely label errors.

    Recorded are the tables `label-errors` (counts, the estimated noise, and how right this is by FER+'s votes),
    `label-errors-rows` (the rows of the likely errors, which may be left out: `faces.take(~np.isin(faces.rows,
    rows))`) and `out-of-fold` (what the networks said). Validation and test images are not looked at.

    Args:
        recipe: a `Recipe` or the name of one, as for `out_of_fold`.
        seed: int.
        faces: a `FaceDataset`; None loads what the recipe names.
        path: where the data lies, as for `fit`.
        folds: int, how many networks are trained, each without its fold.
        results: folder of results; None is `paths.results()`, or for drawn faces a folder below `paths.build()`.
        verbose: as for `fit`.
        precision: as for `fit`.

    Returns:
        `(table, rows)`: what `label-errors` holds, and a `pandas.DataFrame` of the likely errors, the likeliest first.

    Raises:
        ValueError: as for `out_of_fold`.
        ImportError: if cleanlab is not installed.
    """
    check_precision(precision)
    cleanlab = label_errors.import_cleanlab()  # before hours of training, not after
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    faces = load_recipe_data(recipe, path) if faces is None else faces
    if results is None and faces.protocol == "drawn":
        results = paths.build() / "results"
    said = out_of_fold(recipe, seed, faces=faces, folds=folds, verbose=verbose, precision=precision)
    # As recorded: whoever reads them back finds the very same errors.
    said = said._replace(probabilities=said.probabilities.astype(np.float16))
    faces, labels = said.faces, said.faces.labels
    found = label_errors.label_errors(labels, said.probabilities, faces.classes)
    table = {
        **circumstances(recipe, seed, said),
        "cleanlab": cleanlab.__version__,
        "filter": label_errors.FILTER,
        **accuracy_with_interval(labels, found.likely, "accuracy"),
        **label_errors.by_class(found, labels, faces.classes),
        "crowd": crowd(faces, found),
    }
    rows = as_rows(faces, found)
    arrays = {"rows": faces.rows.astype(np.int32), "labels": labels.astype(np.int8), "fold": said.fold.astype(np.int8)}
    write_table(PREDICTIONS, arrays | {"probabilities": said.probabilities}, folder=results)
    write_table(ROWS, rows, folder=results)
    write_table(TABLE, table, folder=results)
    return table, rows


def circumstances(recipe, seed, said):
    """Return what was trained on what, and what it took."""
    faces = said.faces
    return {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "seed": seed,
        "folds": len(said.runs),
        "epochs": [run.epochs_run for run in said.runs],
        "device": said.runs[0].device,
        "seconds": round(sum(run.seconds for run in said.runs), 1),
        "split": "train",
        "classes": list(faces.classes),
        "num_images": len(faces),
        "source": faces.source,
        "protocol": faces.protocol,
        "fingerprint": faces.fingerprint,
        "fer2013_rows": faces.fer2013_rows,
    }


def as_rows(faces, found):
    """Return the likely errors, the likeliest first: row in the source, given label, likely class, label quality."""
    order = np.argsort(found.quality, kind="stable")
    order = order[found.flagged[order]]
    names = np.array(faces.classes)
    columns = {
        "given": names[faces.labels[order]],
        "likely": names[found.likely[order]],
        "quality": found.quality[order],
    }
    return pd.DataFrame(columns, index=pd.Index(faces.rows[order], name="row"))


def crowd(faces, found):
    """Return what FER+'s voters say of the labels: of those flagged, of the others, by class, in cleanlab's order.

    None where there are no votes, or none that name an emotion.
    """
    if (votes := faces.votes) is None:
        return None
    most = np.where(names_emotion(votes), plurality(votes), "")
    judged = most != ""
    if not judged.any():
        return None
    names = np.array(faces.classes)
    labels, likely = names[faces.labels], names[found.likely]
    columns = np.array([EMOTIONS.index(name) for name in faces.classes])[faces.labels]
    support = np.take_along_axis(emotion_votes(votes), columns[:, None], axis=1)[:, 0]

    def of(mask):
        return label_errors.against_crowd(labels[mask], likely[mask], most[mask], support[mask])

    groups = {"all": np.ones(len(faces), bool), "flagged": found.flagged, "unflagged": ~found.flagged}
    no_face = not_a_face(votes)
    return {
        **{name: of(mask) for name, mask in groups.items()},
        "per_class": {name: of(found.flagged & (labels == name)) for name in faces.classes},
        "non_faces": {"images": int(no_face.sum()), "flagged": int((no_face & found.flagged).sum())},
        "in_order": label_errors.in_order(found.quality[judged], (most != labels)[judged]),
    }


def gallery(faces, rows):
    """Draw the faces whose labels are least believed to `build/private`, which is never published; return its path."""
    from fer_keras import plots

    shown = rows.iloc[:MOST_SHOWN]
    place = pd.Series(np.arange(len(faces)), index=faces.rows).loc[shown.index]
    titles = [f"{row.given}:\n{row.likely}?" for row in shown.itertuples()]
    return plots.save_private(plots.gallery(faces.images[place], titles, columns=10), TABLE)
