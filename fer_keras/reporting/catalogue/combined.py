"""Figures of notebook 07: one emotion against the rest, and networks combined."""

from fer_keras.reporting import plotting
from fer_keras.reporting.catalogue.entry import Entry, architectures, board, confusions, of_each
from fer_keras.reporting.one_against_rest import SEVEN, told

ENSEMBLES = ("ensemble-single", "ensemble-single-and-general", "stacking")
RANKED = {SEVEN: SEVEN, "general": "general", "ensemble-single-and-general": "ensemble", "stacking": "ensemble"}


def told_by(*sources):
    """Return a function that returns what is recorded of how sources tell each emotion from the rest."""
    return lambda: {source: found for source in sources if (found := told(source))} or None


def against_majority(found):
    """Draw the accuracy of each single network beside that of the commoner answer, and what was published."""
    values = found[SEVEN]
    ours = {name: [one[f"accuracy{end}"] for end in ("", "_low", "_high")] for name, one in values.items()}
    levels = {
        "the commoner answer": {name: one["majority"] for name, one in values.items()},
        "published, on Kaggle's folders": {name: one["published"] for name, one in values.items()},
    }
    axis = "accuracy of one emotion against the rest (95 % interval)"
    return plotting.by_emotion({"ours": ours}, models={"ours": SEVEN}, levels=levels, axis=axis, title=on_split(values))


def precisions(found):
    """Draw the average precision of each emotion by several sources, beside what guessing gives."""
    scores = {
        source: {name: one["average_precision"] for name, one in values.items()} for source, values in found.items()
    }
    values = {name: one for source in found.values() for name, one in source.items()}
    levels = {"guessing: its share": {name: one["share"] for name, one in values.items()}}
    axis = "average precision"
    return plotting.by_emotion(scores, models=RANKED, levels=levels, axis=axis, title=on_split(values))


def on_split(values):
    """Return which split the values of emotions are of."""
    return f"{next(iter(values.values()))['split']} split"


FIGURES = {
    "one-against-rest": Entry(
        7,
        "Accuracy of each single-emotion network with its interval, beside the commoner answer and the published one.",
        told_by(SEVEN),
        against_majority,
    ),
    "precision-emotions": Entry(
        7,
        "Average precision of each emotion by the single networks, the general one and ensembles, beside guessing.",
        told_by(*RANKED),
        precisions,
    ),
    "ensembles": Entry(
        7,
        "Test accuracy of the general network and of the combinations, beside chance and the published numbers.",
        board(recipe=("general", *ENSEMBLES)),
        plotting.accuracies,
    ),
    **of_each(7, ("general",)),
    **confusions(7, ENSEMBLES),
    **architectures(7, ("general",)),
}
