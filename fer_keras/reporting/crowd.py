"""With whom networks side where FER-2013's labels and FER+'s voters disagree."""

from fer_keras.reporting.sentences import MISSING, percent, table
from fer_keras.results.leaderboard import row, row_name
from fer_keras.results.runs import find_table, read_runs

TABLE = "crowd"
# Column -> what of a network's counts is divided by what.
PARTS = {
    "right where label and voters agree": ("right", "agreed"),
    "disputed: says the label": ("with_label", "disputed"),
    "disputed: says what the voters say": ("with_crowd", "disputed"),
    "disputed: says something else": ("with_neither", "disputed"),
}


def crowd(*recipes):
    """Return with whom networks side on the test images, a row a recipe, the most accurate on agreed images first.

    Args:
        recipes: names of recipes; none takes all that are recorded.
    """
    found = find_table(TABLE) or {}
    counts = {
        row_name(row(run)): found[run.run]
        for run in read_runs()
        if run.run in found and (not recipes or run.recipe_name in recipes)
    }
    if not counts:
        return MISSING
    lines = [
        [name, *[share(one, part, whole) for part, whole in PARTS.values()]]
        for name, one in sorted(counts.items(), key=lambda item: -item[1]["right"] / max(item[1]["agreed"], 1))
    ]
    totals = sorted({(one["agreed"], one["disputed"]) for one in counts.values()}, reverse=True)
    images = "; ".join(f"{agreed:,} agreed and {disputed:,} disputed images" for agreed, disputed in totals)
    return f"{table(('recipe', *PARTS), lines)}\n\nOn test: {images}, by the set of classes."


def share(counts, part, whole):
    """Return a part of a whole in percent, or a dash where there is no whole."""
    return percent(counts[part] / counts[whole]) if counts[whole] else "-"


BLOCKS = {"crowd": crowd}
