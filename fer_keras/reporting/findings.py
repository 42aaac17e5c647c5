"""What follows from records and tables: comparisons, levels that were reached or not, and what is set where."""

import pandas as pd

from fer_keras.evaluation import compare
from fer_keras.recipes import RECIPES, find_recipe
from fer_keras.reporting.catalogue import HUMAN
from fer_keras.reporting.sentences import COMBINED, MISSING, duration, percent, table, with_interval
from fer_keras.results.leaderboard import leaderboard
from fer_keras.results.runs import find_run, find_table, read_runs

SEEN = ("train", "validation")


def comparison(first, second):
    """Return a sentence on whether the second recipe is better than the first on the same images."""
    found = paired(first, second)
    if found is None:
        return f"`{first}` and `{second}`: {MISSING}."
    result, split, total = found
    where = f"on the same {total:,} {split} images"
    if result.no_difference:
        points = str(result).partition(": ")[2]
        said = f"There is no difference between `{first}` and `{second}` {where}: {points}."
    else:
        said = f"`{second}` is {'better' if result.difference > 0 else 'worse'} than `{first}` {where}: {result}."
    cut = [f"`{name}`" for name in (first, second) if find_run(name).stopped_by_time]
    return f"{said} Cut short: {' and '.join(cut)}." if cut else said


def difference(first, second):
    """Return how much better the second recipe is than the first on the same images, with its interval."""
    found = paired(first, second)
    return MISSING if found is None else str(found[0])


def paired(first, second):
    """Return `(Comparison, split, images)` of two recipes' runs, or None if one is not recorded.

    Raises:
        ValueError: if they were not scored on the same images.
    """
    runs = find_run(first), find_run(second)
    if None in runs:
        return None
    said = [run.predictions(run.scores["split"]) for run in runs]
    images = [
        (run.protocol, run.classes, run.scores["split"], found.rows.tolist())
        for run, found in zip(runs, said, strict=True)
    ]
    if images[0] != images[1]:
        raise ValueError(f"{first!r} and {second!r} were not scored on the same images: they cannot be compared.")
    result = compare(said[0].labels, said[0].probabilities, said[1].probabilities)
    return result, runs[0].scores["split"], len(said[0].labels)


def against(run, level):
    """Return where a run's accuracy and interval lie: above, below or around a level.

    A number that was published for validation is held against the run's own on validation.

    Args:
        run: a `Run`.
        level: `"majority"`, `"human"` or `"published"`.

    Raises:
        ValueError: on another level, or one that this run does not have.
    """
    levels = levels_of(run)
    if level not in levels:
        raise ValueError(f"{run.run!r} has no level {level!r}. Expected one of: {', '.join(levels)}.")
    share, name = levels[level]
    on_validation = level == "published" and run.recipe["published_split"] == "validation"
    scores = run.metrics["validation"] if on_validation else run.scores
    points = 100 * (scores["accuracy"] - share)
    if scores["accuracy_low"] <= share <= scores["accuracy_high"]:
        return f"no different from {name}"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'} {name}"


def levels_of(run):
    """Return `{level: (share, its name)}` of what a run's accuracy can be held against."""
    rows = [sum(row) for row in run.scores["confusion"]]
    most = max(rows) / sum(rows)
    found = {"majority": (most, f"naming the commonest class for everything ({percent(most)})")}
    if len(run.classes) in HUMAN:
        human = HUMAN[len(run.classes)]
        found["human"] = human, f"what people are put at (about {percent(human, 0)})"
    if run.recipe["published"] is not None:
        number = run.recipe["published"]
        found["published"] = number / 100, f"the published {number:.4g} % ({run.recipe['published_split']})"
    return found


def published_lead(recipe):
    """Return how far a published number lies above naming the commonest class of the test split for everything."""
    found = find_table("audit")
    if found is None:
        return MISSING
    counts = found["counts"]["test"].values()
    return f"{find_recipe(recipe).published - 100 * max(counts) / sum(counts):+.2f} points"


def width(run, split=None):
    """Return how wide the 95 % interval of a run's accuracy is."""
    scores = run.metrics[split] if split else run.scores
    return f"{100 * (scores['accuracy_high'] - scores['accuracy_low']):.1f} points"


def gap(run):
    """Return what a run scores on the images it learned from, where it was asked about them, and on validation."""
    learned, unseen = (percent(run.metrics[split]["accuracy"]) if split in run.metrics else None for split in SEEN)
    return f"{learned} on the images it learned from, {unseen} on validation" if learned else f"{unseen} on validation"


def stopping(run):
    """Return how a run's training went: how often the learning rate fell, which epoch was kept, how it ended."""
    if run.stopped == "combined":
        return COMBINED
    falls = rate_falls(run)
    fell = (
        f"the learning rate fell before epoch {' and '.join(map(str, falls))}"
        if falls
        else f"the learning rate {'followed a cosine' if on_a_cosine(run) else 'never fell'}"
    )
    ways = {"early stop": "stopped early", "epochs": "ran to its last epoch", "cut short": "was cut short"}
    ended = ways.get(run.stopped, run.stopped)
    return f"{fell}; it {ended} after {run.epochs_run} epochs, and epoch {run.best_epoch} was kept"


def rate_falls(run):
    """Return the epochs, counted from 1, before which a run's learning rate fell; none where it falls all the time."""
    if on_a_cosine(run):
        return []
    rates = run.history()["learning_rate"].to_numpy()
    return [epoch for epoch in range(2, len(rates) + 1) if rates[epoch - 1] < 0.99 * rates[epoch - 2]]


def on_a_cosine(run):
    """Return whether a run's learning rate was to fall along a cosine."""
    return run.recipe.get("schedule") == "cosine"


def recall_agreement(run):
    """Return Spearman's rank correlation, over the classes, of a run's recall with FER+'s agreement on its labels."""
    found = find_table("audit")
    if found is None:
        return MISSING
    agreement, scores = found["agreement"][run.scores["split"]], run.scores["per_class"]
    table = pd.DataFrame({"recall": {name: scores[name]["recall"] for name in run.classes}, "agreement": agreement})
    return f"{table.dropna().rank().corr().loc['recall', 'agreement']:.2f}"


def best(num_classes, protocol="official"):
    """Return the recorded recipe that scores best for a number of classes and a protocol, with its score."""
    board = leaderboard()
    rows = board[(board["num_classes"] == int(num_classes)) & (board["protocol"] == protocol)].to_dict("records")
    if not rows:
        return MISSING
    row = rows[0]
    return f"`{row['recipe']}` with {with_interval(row)} on {row['num_images']:,} {row['split']} images"


def settings(*recipes):
    """Return what recipes set, a row each, as a table."""
    header = "recipe", "data", "batch", "epochs", "optimiser", "rate falls", "stops", "augmentation"
    return table(header, [setting(find_recipe(name)) for name in recipes])


def setting(recipe):
    """Return a recipe's row of the table of settings."""
    falls = f"x {recipe.reduce_factor:g} after {recipe.reduce_patience_epochs} epochs"
    stops = f"after {recipe.stop_patience_epochs} epochs"
    return [
        f"`{recipe.name}`",
        f"{len(recipe.classes)} classes, {recipe.protocol} split{learned_from(recipe)}",
        recipe.batch_size,
        f"up to {recipe.epochs}",
        f"{recipe.optimizer}, {recipe.learning_rate:g}",
        falls if recipe.reduce_patience_epochs else recipe.schedule,
        stops if recipe.stop_patience_epochs else "-",
        augmentation(recipe) or "none",
    ]


def learned_from(recipe):
    """Return in words what a recipe learns beside or instead of labels, or nothing."""
    teachers = sorted({name for name, *_ in recipe.teachers})
    said = [f"{len(recipe.teachers)} x {' and '.join(teachers)}"] if teachers else []
    said += ["votes"] if recipe.targets == "votes" else []
    return f", learns {' and '.join(said)}" if said else ""


def augmentation(recipe):
    """Return a recipe's random changes in words."""
    ranges = {"zoom": recipe.zoom, "brightness": recipe.brightness, "contrast": recipe.contrast}
    parts = ["flip"] if recipe.flip else []
    parts += [f"rotation {recipe.rotation_degrees:g}°"] if recipe.rotation_degrees else []
    parts += [f"shift {recipe.shift_fraction:g}"] if recipe.shift_fraction else []
    parts += [f"shear {recipe.shear_degrees:g}°"] if recipe.shear_degrees else []
    parts += [f"{name} {low:g} to {high:g}" for name, (low, high) in ranges.items() if (low, high) != (1, 1)]
    return ", ".join(parts)


def missing():
    """Return the final recipes that have no record yet."""
    recorded = {run.recipe_name for run in read_runs()}
    return ", ".join(f"`{name}`" for name in RECIPES if name not in recorded and RECIPES[name].final) or "none"


def total_time():
    """Return how long all recorded trainings took together; an ensemble's time is its members', which count already."""
    return duration(sum(run.seconds for run in read_runs() if run.stopped != "combined"))


OF_RUNS = {"against": against, "width": width, "gap": gap, "stopping": stopping, "recall-agreement": recall_agreement}
BLOCKS = {
    "comparison": comparison,
    "difference": difference,
    "published-lead": published_lead,
    "best": best,
    "settings": settings,
    "missing": missing,
    "total-time": total_time,
}
