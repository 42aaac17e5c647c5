"""What can be said of one run, in words and numbers; `blocks` makes it available by name."""

import numpy as np

from fer_keras.results.runs import find_run

MISSING = "(not recorded yet)"
COMBINED = "its members' answers were combined, no network was trained"
SHARES = ("accuracy", "accuracy_without_copies", "macro_f1")


def percent(share, digits=1):
    """Return a fraction in percent."""
    return f"{100 * share:.{digits}f} %"


def with_interval(scores, name="accuracy"):
    """Return a score in percent with its 95 % interval, or a dash."""
    if scores.get(name) is None or scores[name] != scores[name]:  # None in a record is NaN in a table.
        return "-"
    return f"{percent(scores[name])} ({100 * scores[f'{name}_low']:.1f} to {100 * scores[f'{name}_high']:.1f})"


def table(header, rows):
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def duration(seconds):
    """Return a time in words.

    Example:

    >>> duration(3700), duration(61)
    ('1 h 2 min', '1 min')
    """
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def of_run(say):
    """Turn a function of a run and strings into a block that takes the recipe's name first."""

    def block(recipe, *arguments):
        run = find_run(recipe)
        return MISSING if run is None else say(run, *arguments)

    return block


def metrics_of(run, split):
    """Return the metrics of one split, default the one that the run is judged by."""
    if split and split not in run.metrics:
        raise ValueError(f"{run.run!r} has no metrics on {split!r}. Expected one of: {', '.join(run.metrics)}.")
    return run.metrics[split] if split else run.scores


def accuracy(run, split=None):
    """Return the accuracy alone."""
    return percent(metrics_of(run, split)["accuracy"])


def score(run, split=None):
    """Return the accuracy with all that a score must carry."""
    scores = metrics_of(run, split)
    seen = f"{scores['num_images']:,} {scores['split']} images, {scores['views']} view, seed {run.seed}"
    return f"{with_interval(scores)} on {seen}" + (", cut short" if run.stopped_by_time else "")


def metric(run, name, split=None):
    """Return one metric: shares in percent with their interval, other numbers with three digits."""
    scores = metrics_of(run, split)
    if name not in scores or isinstance(scores[name], dict | list):
        raise ValueError(f"There is no metric {name!r}. Expected one of: {', '.join(scores)}.")
    value = scores[name]
    return (
        with_interval(scores, name) if name in SHARES else f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
    )


def published(run):
    """Return what the recipe's authors published, and on which split."""
    number = run.recipe["published"]
    return "no number" if number is None else f"{number:.4g} % ({run.recipe['published_split']})"


def training(run):
    """Return how long a run trained and why it stopped."""
    if run.stopped == "combined":
        return COMBINED
    reason = {"early stop": "stopped early", "epochs": "trained to its last epoch"}.get(run.stopped, run.stopped)
    return f"{reason} after {run.epochs_run} epochs, best at {run.best_epoch}, {duration(run.seconds)} on {run.device}"


def per_class(run, split=None):
    """Return precision, recall, F1 and support of each class as a table."""
    scores = metrics_of(run, split)["per_class"]
    lines = [
        [name, *[percent(scores[name][key]) for key in ("precision", "recall", "f1")], f"{scores[name]['support']:,}"]
        for name in run.classes
    ]
    return table(("class", "precision", "recall", "F1", "images"), lines)


def extremes(run, split=None):
    """Return the class with the best recall and the one with the worst."""
    scores = metrics_of(run, split)["per_class"]
    order = sorted(scores, key=lambda name: scores[name]["recall"])
    best, worst = (f"{name} ({percent(scores[name]['recall'], 0)})" for name in (order[-1], order[0]))
    return f"best on {best}, worst on {worst}"


def confused(run, number="1"):
    """Return the most frequent confusions, as shares of the true class."""
    confusion, classes = run.scores["confusion"], run.classes
    pairs = [
        (count / sum(row), f"{classes[true]} taken for {classes[said]}")
        for true, row in enumerate(confusion)
        for said, count in enumerate(row)
        if said != true and count
    ]
    found = [f"{pair} ({percent(share, 0)})" for share, pair in sorted(pairs, reverse=True)[: int(number)]]
    return ", ".join(found)


def mistakes(run):
    """Return which class has a part in most mistakes of a run, and which two are most often taken for one another."""
    confusion, classes, split = np.array(run.scores["confusion"]), run.classes, run.scores["split"]
    wrong = confusion - np.diag(np.diag(confusion))
    if not wrong.any():
        return f"none of {confusion.sum():,} {split} images is mistaken"
    part, pairs = wrong.sum(axis=0) + wrong.sum(axis=1), np.triu(wrong + wrong.T)
    most, (first, second) = part.argmax(), np.unravel_index(pairs.argmax(), pairs.shape)
    return (
        f"{wrong.sum():,} of {confusion.sum():,} {split} images are mistaken; {classes[most]} has a part in "
        f"{percent(part[most] / wrong.sum(), 0)} of these, and {classes[first]} and {classes[second]} are taken for "
        f"one another in {percent(pairs.max() / wrong.sum(), 0)}"
    )
