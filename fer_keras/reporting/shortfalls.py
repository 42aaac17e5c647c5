"""What a run's record says of what holds it back, beside the reason that `goals` gives."""

from fer_keras.reporting.findings import stopping
from fer_keras.reporting.sentences import percent
from fer_keras.reporting.tables import read_table, table_names


def last_rate(run):
    """Return how a run's training went, and whether anything was gained at its last learning rate."""
    rates = run.history()["learning_rate"].to_numpy()
    falls = [epoch for epoch in range(2, len(rates) + 1) if rates[epoch - 1] < 0.99 * rates[epoch - 2]]
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
    agreement = read_table("audit")["agreement"].get(split, {}) if "audit" in table_names() else {}
    if run.protocol != "official" or worst not in agreement:
        return f"{said}."
    return f"{said}; FER+'s voters share {percent(agreement[worst], 0)} of the {split} labels of {worst}."


OF_RUNS = {"last-rate": last_rate, "worst-labels": worst_labels}
