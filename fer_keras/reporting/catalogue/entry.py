"""What the catalogue is made of: an entry a figure, and what entries of several notebooks share."""

import dataclasses
from collections.abc import Callable

from fer_keras.reporting import plotting
from fer_keras.results.leaderboard import leaderboard
from fer_keras.results.runs import find_run, find_table


@dataclasses.dataclass(frozen=True)
class Entry:
    """A figure of the report.

    Args:
        notebook: int, the number of the one notebook that it belongs to.
        alt: str, what the figure shows, for those who cannot see it and for its caption.
        inputs: function of nothing that returns what the figure is drawn from, read from the records; None as long as
            that is not recorded. Without it, only the notebook can draw the figure.
        plot: function of the inputs that returns the `Figure`.
    """

    notebook: int
    alt: str
    inputs: Callable | None = None
    plot: Callable | None = None


def recorded(*recipes):
    """Return a function that returns what curves, confusion and recall need of those recipes that were run."""

    def read():
        runs = [run for run in map(find_run, recipes) if run]
        return [
            {
                "name": run.recipe_name,
                "model": run.recipe["model"],
                "classes": list(run.classes),
                "best_epoch": run.best_epoch,
                "history": run.history()[["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]],
                "split": run.scores["split"],
                "confusion": run.scores["confusion"],
                "per_class": run.scores["per_class"],
            }
            for run in runs
        ] or None

    return read


def board(**wanted):
    """Return a function that returns the rows of the leaderboard with these values, without what varies by machine.

    A value may be a tuple of those that will do.
    """

    def read():
        table = leaderboard().query("num_classes > 2").drop(columns=["seconds", "device"])
        for column, value in wanted.items():
            table = table[table[column].isin(value if isinstance(value, tuple) else (value,))]
        return table if len(table) else None

    return read


def history(runs):
    """Draw the history of one run."""
    (run,) = runs
    options = {"model": run["model"], "best_epoch": run["best_epoch"], "num_classes": len(run["classes"])}
    return plotting.history(run["history"], title=run["name"], **options)


def histories(runs):
    """Draw the validation accuracy of several runs."""
    models = {run["name"]: run["model"] for run in runs}
    tables = {run["name"]: run["history"] for run in runs}
    best = {run["name"]: run["best_epoch"] for run in runs}
    return plotting.histories(tables, models=models, best_epochs=best, num_classes=len(runs[0]["classes"]))


def confusion(runs):
    """Draw the confusion matrix of one run."""
    (run,) = runs
    return plotting.confusion(run["confusion"], run["classes"], title=f"{run['name']}, {run['split']} split")


def recalls(runs):
    """Draw the recall of each class by several runs."""
    models = {run["name"]: run["model"] for run in runs}
    split = " and ".join(sorted({run["split"] for run in runs}))
    return plotting.recalls({run["name"]: run["per_class"] for run in runs}, models=models, title=f"{split} split")


def of_each(notebook, recipes):
    """Return the entries of history and confusion matrix of each of some recipes."""
    return {
        f"history-{name}": Entry(notebook, f"Loss and accuracy by epoch of {name}.", recorded(name), history)
        for name in recipes
    } | confusions(notebook, recipes)


def confusions(notebook, recipes):
    """Return the entries of the confusion matrix of each of some recipes."""
    return {
        f"confusion-{name}": Entry(notebook, f"Confusion matrix of {name}.", recorded(name), confusion)
        for name in recipes
    }


def architectures(notebook, names):
    """Return the entries of some networks' diagrams."""
    return {
        f"architecture-{name}": Entry(
            notebook,
            f"The stages of {name}, from its pixels to its probabilities.",
            lambda name=name: (
                (found := (find_table("networks") or {"networks": {}})["networks"].get(name))
                and {"title": name, "stages": found["stages"]}
            ),
            lambda inputs: plotting.architecture(inputs["stages"], title=inputs["title"]),
        )
        for name in names
    }


def searched(space):
    """Return a function that reads the recorded table of a search, or None if there is none."""
    return lambda: find_table(f"search-{space}")
