"""What is said of searches: which grid was walked, on what budget, what was best, and which setting matters."""

import math
from numbers import Real

from fer_keras.recipes import find_recipe
from fer_keras.recipes.spaces import find_space
from fer_keras.reporting.sentences import MISSING, duration, percent, table, with_interval
from fer_keras.results.runs import find_table


def of_search(say):
    """Turn a function of a search space and its recorded table into a block that takes the space's name."""

    def block(name):
        space, cells = find_space(name), find_table(f"search-{name}")
        return MISSING if cells is None else say(space, cells)

    return block


def varied(space, cells):
    """Return the settings of a search that have more than one value in its table, in the order of the grid."""
    return [name for name in space.grid if name in cells and cells[name].nunique() > 1]


def grids(*names):
    """Return the values of each setting in search spaces, a row a space, and how many trainings they make."""
    spaces = [find_space(name) for name in names]
    settings = list(dict.fromkeys(setting for space in spaces for setting in space.grid))
    lines = [
        [
            f"`{space.name}`",
            *[", ".join(map(plain, space.grid.get(name, "-"))) for name in settings],
            trainings(space),
            space.source,
        ]
        for space in spaces
    ]
    return table(("grid", *map(words, settings), "trainings", "source"), lines)


def results(space, cells):
    """Return the trainings of a search as a table, the best first."""
    settings = varied(space, cells)
    lines = [
        [
            *[plain(row[name]) for name in settings],
            with_interval(row),
            percent(row["macro_f1"]),
            f"{row['best_epoch']} of {row['epochs_run']}",
            duration(row["seconds"]),
        ]
        for row in cells.to_dict("records")
    ]
    return table((*map(words, settings), "accuracy on validation (95 %)", "macro-F1", "epoch kept", "time"), lines)


def budget(space, cells):
    """Return how much of a grid was trained, what all its trainings had in common, and how long they took."""
    common = [name for name in space.grid if name in cells and cells[name].nunique() == 1]
    same = f", each with {setting_of(cells.iloc[0], common)}" if common else ""
    images = " or ".join(f"{total:,}" for total in sorted(cells["train_images"].unique()))
    made = f"{len(cells)} of {trainings(space)} trainings of `{space.recipe}`{same}, on {images} training images"
    return f"{made}; {duration(cells['seconds'].sum())} together"


def best(space, cells):
    """Return the best training of a search, and where the recipe's own settings stand."""
    settings = [name for name, values in space.grid.items() if len(values) > 1]
    said = f"Best on validation: {setting_of(cells.iloc[0], settings)}, with {with_interval(cells.iloc[0])}."
    recipe = vars(find_recipe(space.recipe))
    own = f"`{space.recipe}`'s own ({setting_of(recipe, settings)})"
    place = next((row for row in range(len(cells)) if all(cells[name][row] == recipe[name] for name in settings)), None)
    if place is None:
        return f"{said} {own} is not among them."
    if place == 0:
        return f"{said} {own} is the best."
    row, where = cells.iloc[place], f"place {place + 1} of {len(cells)}"
    if row["accuracy_high"] >= cells["accuracy_low"][0]:
        return f"{said} {own} is no different from it: {with_interval(row)}, {where}."
    return f"{said} {own} stands at {where}, with {with_interval(row)}."


def matters(space, cells):
    """Return how far apart the mean accuracies of each setting's values lie, as a list, what matters most first.

    A setting whose means lie closer together than the interval of one training is wide is said to make no difference.
    """
    noise = (cells["accuracy_high"] - cells["accuracy_low"]).max()
    spreads = {}
    for name in varied(space, cells):
        means = cells.groupby(name)["accuracy"].mean()
        spreads[name] = means.max() - means.min(), means.idxmin(), means.min(), means.idxmax(), means.max()
    lines = []
    for name, (spread, worst, low, best, high) in sorted(spreads.items(), key=lambda item: -item[1][0]):
        far = f"{words(name)}: from {percent(low)} on average (at {plain(worst)}) to {percent(high)} (at {plain(best)})"
        verdict = "no difference: " if spread <= noise else ""
        lines.append(f"- {far}, {verdict}{100 * spread:.1f} points.")
    missing = trainings(space) - len(cells)
    lines += (
        [f"- {missing} trainings are not made yet, so these means are not of the same settings."] if missing else []
    )
    return "\n".join(lines)


def trainings(space):
    """Return how many trainings a grid makes."""
    return math.prod(map(len, space.grid.values()))


def setting_of(row, names):
    """Return settings and their values in words."""
    return ", ".join(f"{words(name)} {plain(row[name])}" for name in names)


def words(name):
    """Return what a recipe's field is called in a table."""
    return name.replace("_", " ")


def plain(value):
    """Return a setting's value as it is written."""
    return f"{value:g}" if isinstance(value, Real) else str(value)


BLOCKS = {
    "grids": grids,
    "search": of_search(results),
    "search-budget": of_search(budget),
    "search-best": of_search(best),
    "search-matters": of_search(matters),
}
