"""Can a network's confidence be believed: its temperature, its calibration, and what a second view of a face gives."""

from fer_keras.evaluation import calibration_error, compare, fit_temperature, reliability, with_temperature
from fer_keras.evaluation.metrics import log_loss
from fer_keras.reporting.sentences import MISSING, percent, table, with_interval
from fer_keras.results.runs import find_run


def calibrated(run):
    """Return a run's temperature, fitted on validation, and its judged predictions as they are and with it.

    Returns:
        `(temperature, labels, {"as it is": probabilities, "with its temperature": probabilities})`, or None for a run
        that was not scored on test: on validation, where it is fitted, a temperature proves nothing.
    """
    if run is None or "test" not in run.metrics:
        return None
    fitted, judged = run.predictions("validation"), run.predictions("test")
    temperature = fit_temperature(fitted.labels, fitted.probabilities)
    means = {
        "as it is": judged.probabilities,
        "with its temperature": with_temperature(judged.probabilities, temperature),
    }
    return temperature, judged.labels, means


def calibration(*recipes):
    """Return how far networks' confidence lies from their accuracy on test, before and after a temperature."""
    lines = []
    for name in recipes:
        found = calibrated(find_run(name))
        if found:
            temperature, labels, means = found
            errors = [percent(calibration_error(labels, said)) for said in means.values()]
            losses = [f"{log_loss(labels, said):.3f}" for said in means.values()]
            lines.append([f"`{name}`", f"{temperature:.2f}", *errors, *losses])
    header = "recipe", "temperature", "calibration error", "with the temperature", "log loss", "with the temperature"
    return table(header, lines) if lines else MISSING


def confidence(run):
    """Return in a sentence whether a network is too sure of itself, by its temperature."""
    found = calibrated(run)
    if found is None:
        return MISSING
    temperature, labels, means = found
    before, after = (100 * calibration_error(labels, said) for said in means.values())
    word = "too sure of itself" if temperature > 1 else "too modest"
    return (
        f"it is {word}: its temperature is {temperature:.2f}, which takes its calibration error on test from "
        f"{before:.1f} to {after:.1f} points"
    )


def second_view(run):
    """Return what the mean over a face and its mirror image gives on test, as a pair on the same images."""
    if "test_flip" not in run.metrics:
        return "its mirror images were not asked about"
    single, both = run.predictions("test"), run.predictions("test_flip")
    gain = compare(single.labels, single.probabilities, both.probabilities)
    return f"{with_interval(run.metrics['test_flip'])} with the mirror image too: {gain}"


def reliabilities(run):
    """Return what `plotting.reliability` draws of a run, or None if it was not scored on test."""
    found = calibrated(run)
    if found is None:
        return None
    _, labels, means = found
    return {name: reliability(labels, said) for name, said in means.items()}


OF_RUNS = {"confidence": confidence, "second-view": second_view}
BLOCKS = {"calibration": calibration}
