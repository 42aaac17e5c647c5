"""What we aimed at with a network on the official test split, and what its record says holds it back."""

from fer_keras.reporting.findings import rate_falls, stopping
from fer_keras.reporting.sentences import percent, with_interval
from fer_keras.results.runs import find_table

# Accuracy in [0, 1] that a network of its kind should reach when it is trained to its end.
GOALS = {"emovision-vgg": 0.62, "scratch-four-conv": 0.62, "mini-xception": 0.65, "capstone-final": 0.78}
BY_HEART = 0.1  # how far accuracy on the training images may lie above validation's before we call it that


def goal(run):
    """Return whether a run reaches what we aimed at, and if not, what its record says about the reason.

    Raises:
        ValueError: if nothing was aimed at with its recipe.
    """
    if run.recipe_name not in GOALS:
        raise ValueError(f"No goal is set for {run.recipe_name!r}. Expected one of: {', '.join(GOALS)}.")
    aim, scores = GOALS[run.recipe_name], run.scores
    held = f"{with_interval(scores)} against the {percent(aim, 0)} that we aimed at"
    if scores["accuracy"] >= aim:
        return f"{held}: reached"
    near = "missed, within its interval" if scores["accuracy_high"] >= aim else "missed"
    return f"{held}: {near}. {reason(run)}"


def reason(run):
    """Return in a sentence why a run is no better, as far as its record tells."""
    if run.stopped_by_time:
        return f"Its training was cut short after {run.epochs_run} of at most {run.recipe['epochs']} epochs."
    learned, unseen = (run.metrics[split]["accuracy"] for split in ("train", "validation"))
    fits = f"{percent(learned)} of the images it learned from and {percent(unseen)} of validation's are right"
    if learned - unseen > BY_HEART:
        return f"It learned pictures by heart: {fits}."
    return f"It does not fit even its training images well: {fits}."


def last_rate(run):
    """Return how a run's training went, and whether anything was gained at its last learning rate."""
    falls = rate_falls(run)
    parts = [f"Of at most {run.recipe['epochs']} epochs: {stopping(run)}."]
    if falls:
        gained = "one of them was kept" if run.best_epoch >= falls[-1] else "none of them was kept"
        parts.append(f"Epochs at the last rate: {run.epochs_run - falls[-1] + 1}; {gained}.")
    if run.best_epoch == run.epochs_run:
        parts.append("The epoch that was kept is the last: validation was still improving.")
    return " ".join(parts)


def worst_labels(run):
    """Return which class a run knows worst, and how many of its labels FER+'s voters share."""
    recalls = {name: scores["recall"] for name, scores in run.scores["per_class"].items()}
    worst, split = min(recalls, key=recalls.get), run.scores["split"]
    said = f"It knows {worst} worst, with a recall of {percent(recalls[worst], 0)}"
    agreement = (find_table("audit") or {"agreement": {}})["agreement"].get(split, {})
    if run.protocol != "official" or worst not in agreement:
        return f"{said}."
    return f"{said}; FER+'s voters share {percent(agreement[worst], 0)} of the {split} labels of {worst}."


OF_RUNS = {"goal": goal, "last-rate": last_rate, "worst-labels": worst_labels}
