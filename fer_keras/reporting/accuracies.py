"""The table of training, validation and test accuracy of many recipes, recorded or not."""

from fer_keras.recipes import RECIPES, find_recipe
from fer_keras.reporting.sentences import MISSING, table, with_interval
from fer_keras.results.leaderboard import starts_from
from fer_keras.results.runs import find_run

SPLITS = ("train", "validation", "test")


def accuracies(*names):
    """Return training, validation and test accuracy as tables, one for each number of classes and protocol.

    All three are measured with the weights that were kept, on the images as they are and without dropout.

    Args:
        names: names of recipes; or the letter of a system, for all of its recipes.

    Raises:
        ValueError: on a name that is neither.
    """
    groups = {}
    for name in names:
        for recipe in [recipe for recipe in RECIPES.values() if recipe.system == name] or [find_recipe(name)]:
            groups.setdefault((len(recipe.classes), recipe.protocol), []).append(recipe)
    parts = []
    for (classes, protocol), recipes in groups.items():
        parts += [f"**{classes} classes, {protocol} split**", accuracy_table(recipes)]
    return "\n\n".join(parts)


def accuracy_table(recipes):
    """Return recipes of one number of classes and one protocol as a table."""
    runs = {recipe.name: find_run(recipe.name) for recipe in recipes}
    headings = (heading(split, runs.values()) for split in SPLITS)
    lines = []
    for recipe in recipes:
        run = runs[recipe.name]
        if run is None:
            lines.append([f"`{recipe.name}`", starts_from(vars(recipe)), MISSING, *["-"] * len(SPLITS)])
        else:
            cut = ", cut short" if run.stopped_by_time else ""
            scores = (with_interval(run.metrics.get(split, {})) for split in SPLITS)
            kept = f"{run.best_epoch} of {run.epochs_run}" if run.epochs_run else "-"
            lines.append([f"`{recipe.name}`{cut}", starts_from(run.recipe), kept, *scores])
    return table(("recipe", "starts from", "epoch kept", *headings), lines)


def heading(split, runs):
    """Return a column's heading: the split, and how many images these runs were scored on."""
    totals = {run.metrics[split]["num_images"] for run in runs if run and split in run.metrics}
    return f"{split} ({' or '.join(f'{total:,}' for total in sorted(totals))} images)" if totals else split


BLOCKS = {"accuracies": accuracies}
