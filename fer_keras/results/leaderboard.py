"""The leaderboard, a row a run, and the table of training, validation and test accuracy."""

from collections.abc import Iterable, Mapping

import pandas as pd

from fer_keras.data.dataset import PROTOCOLS
from fer_keras.labels import SPLITS
from fer_keras.recipes import RECIPES, find_recipe
from fer_keras.results.runs import Run, as_list, as_run, find_run, read_runs

ENDS = ("", "_low", "_high")
ACCURACY = tuple(f"accuracy{end}" for end in ENDS)
SCORES = tuple(f"{name}{end}" for name in ("accuracy", "accuracy_without_copies", "macro_f1") for end in ENDS)
OF_RUN = ("num_parameters", "multiply_adds", "epochs_run", "best_epoch", "stopped", "seconds", "device", "run")
COLUMNS = (
    *("recipe", "title", "system", "model", "starts_from", "seed", "num_classes", "protocol"),
    *("split", "num_images", "num_copies", "views", *SCORES, "log_loss"),
    *(f"validation_{name}" for name in ("num_images", *ACCURACY, "macro_f1")),
    *("published", "published_split", "published_source", *OF_RUN),
)
WHOLE = ("seed", "num_classes", "num_images", "num_copies", "validation_num_images", *OF_RUN[:4])


def leaderboard(runs: Iterable[Run | str] | None = None) -> pd.DataFrame:
    """Rank runs, by default all that are recorded: those of the same classes and protocol together, the best first.

    The best is that on validation. `split` names the split that the scores were measured on: test for a recipe marked
    final, validation for any other. Fractions lie in [0, 1], the published number's too.
    """
    rows = [
        run.recipe
        | vars(run)
        | run.scores
        | {f"validation_{name}": value for name, value in run.metrics["validation"].items()}
        | {"recipe": run.recipe_name, "starts_from": starts_from(run.recipe)}
        | {"num_classes": len(run.classes), "protocol": run.protocol}
        for run in (read_runs() if runs is None else map(as_run, as_list(runs)))
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64") | {"published": float})
    table["published"] /= 100
    order = table.assign(protocol=table["protocol"].map(PROTOCOLS.index))
    by = {"num_classes": False, "protocol": True, "validation_accuracy": False, "recipe": True, "seed": True}
    order = order.sort_values(list(by), ascending=list(by.values()))
    return table.loc[order.index].reset_index(drop=True)


def as_csv(runs: Iterable[Run]) -> str:
    """The leaderboard of some runs as CSV text, fractions with four digits."""
    return leaderboard(runs).to_csv(index=False, float_format="%.4f", lineterminator="\n")


def starts_from(recipe: Mapping) -> str:
    """Where a network's weights come from before it is trained, by the fields of its recipe."""
    if recipe.get("members"):
        return "its members"
    weights = {None: "random initialisation", "imagenet": "ImageNet"}
    return recipe.get("start_recipe") or weights.get(recipe.get("weights"), recipe.get("weights"))


def row_name(row: Mapping) -> str:
    """Name of a row of the leaderboard: recipe, seed if not the first, and what limits it, such as "on validation"."""
    limits = f"seed {row['seed']}" if row["seed"] else "", "on validation" if row["split"] == "validation" else ""
    return ", ".join(filter(None, (row["recipe"], *limits, "stopped by time" if row["stopped"] == "cut short" else "")))


def with_interval(table: pd.DataFrame, name: str = "accuracy") -> pd.Series:
    """A column in percent with its 95 % interval, from the columns `_low` and `_high`, as text; "-" where it is NaN."""
    values = 100 * table[[f"{name}{end}" for end in ENDS]].astype(float)
    text = [f"{value:.1f} ({low:.1f} to {high:.1f})" for value, low, high in values.to_numpy()]
    return pd.Series(text, index=table.index, name=name).where(values[name].notna(), "-")


def accuracy_table(names: Iterable[str]) -> pd.DataFrame:
    """Tabulate training, validation and test accuracy of recipes, recorded or not (then NaN), seed 0.

    All three are measured with the weights that were kept, on the images as they are and without dropout. Only rows of
    the same `num_classes` and `protocol` are comparable. `epochs` are those allowed, `epochs_run` those trained. The
    letter of a system stands for all of its recipes; a ValueError on names of neither.
    """
    rows = []
    for name in names:
        for recipe in [recipe for recipe in RECIPES.values() if recipe.system == name] or [find_recipe(name)]:
            run = find_run(recipe.name)
            used = run.recipe if run else vars(recipe)
            row = {"recipe": recipe.name, "num_classes": len(recipe.classes), "protocol": recipe.protocol}
            row |= {"starts_from": starts_from(used), "recorded": run is not None, "epochs": used["epochs"]}
            row |= {key: getattr(run, key, None) for key in ("best_epoch", "epochs_run", "stopped")}
            for split in SPLITS:
                scores = run.metrics.get(split, {}) if run else {}
                row |= {f"{split}_{key}": scores.get(key, float("nan")) for key in ("num_images", *ACCURACY)}
            rows.append(row)
    return pd.DataFrame(rows)
