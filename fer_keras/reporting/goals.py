"""What we aimed at with a network on the official test split, and why it was not reached where it was not."""

from fer_keras.reporting.sentences import percent, with_interval

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
    if run.cut_short:
        return f"Its training was cut short after {run.epochs_run} of at most {run.recipe['epochs']} epochs."
    learned, unseen = (run.metrics[split]["accuracy"] for split in ("train", "validation"))
    fits = f"{percent(learned)} of the images it learned from and {percent(unseen)} of validation's are right"
    if learned - unseen > BY_HEART:
        return f"It learned pictures by heart: {fits}."
    return f"It does not fit even its training images well: {fits}."
