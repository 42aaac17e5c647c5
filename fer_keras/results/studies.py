"""The recorded studies, a DataFrame each: transfer, grids, one against the rest, ensembles, saliency, ….

Scores have a `_low` and a `_high` beside them; a difference is `difference`, `low`, `high`, `no_difference` and
`verdict`. What is not recorded raises the `ValueError` of `read_table`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from fer_keras.evaluation import Comparison, difference, metrics, wilson
from fer_keras.labels import FER7, PUBLISHED_COUNTS, SPLITS
from fer_keras.recipes import Space, find_recipe, find_space
from fer_keras.recipes.published import PEERS
from fer_keras.results.comparisons import AMONG_LEVELS, as_columns, compare_runs, to_level
from fer_keras.results.leaderboard import ACCURACY, ENDS
from fer_keras.results.runs import Run, as_run, as_runs, find_run, read_table

# The columns of a search's table, after its settings.
SCORES = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss")
IMAGES = {"train": "train_images", "validation": "validation_images"}
EFFORT = ("best_epoch", "epochs_run", "seconds", "device")
RANDOM = "random initialisation"
# What a backbone was trained on, by the recipe that trained it.
STARTS = {
    "fer-small@short": "seven classes",
    "fer-small@votes": "votes of FER+",
    "fer-small@three": "three other classes",
}
SEVEN = "one-vs-rest"
# Recorded name of a share -> its column, which says of what it is a share.
VOTED = {
    "disputed_share": "disputed_of_judged",
    "unsupported_share": "unsupported_of_judged",
    "with_crowd_share": "likely_of_disputed",
}


def search_table(space: Space, cells: Iterable[tuple[dict, Run]]) -> pd.DataFrame:
    """The settings and scores of trained cells, the best first."""
    rows = [{**vars(run), **run.metrics["validation"], **run.data["num_images"], **chosen} for chosen, run in cells]
    table = pd.DataFrame(rows, columns=[*space.grid, *SCORES, *IMAGES, *EFFORT]).rename(columns=IMAGES)
    return table.sort_values(["accuracy", *space.grid], ascending=False, ignore_index=True).rename_axis("place")


def transfer_study() -> pd.DataFrame:
    """Validation accuracy by starting point and number of training images, against random initialisation.

    Columns: `start`, `backbone` (`"trained"`, `"frozen"`), `train_images`, `num_images` (of validation), `accuracy`
    and the difference to a whole network trained from random initialisation on as many images (NaN for that one). The
    images of both are taken for different ones, so the intervals are rather too wide.
    """
    study = read_table("search-transfer").sort_values("train_images", ascending=False)
    study["start"] = study["start_recipe"].map(STARTS).fillna(RANDOM)
    study["backbone"] = np.where(study["frozen_body"].astype(bool), "frozen", "trained")
    study["num_images"] = study["validation_images"]
    order = [(start, backbone) for start in (RANDOM, *STARTS.values()) for backbone in ("trained", "frozen")]
    rows = sorted(study.to_dict("records"), key=lambda row: order.index((row["start"], row["backbone"])))
    base = {row["train_images"]: row for row in rows if (row["start"], row["backbone"]) == order[0]}
    return pd.DataFrame(
        {name: row[name] for name in ("start", "backbone", "train_images", "num_images", *ACCURACY)}
        | (as_columns(difference(base[row["train_images"]], row)) if row is not base[row["train_images"]] else {})
        for row in rows
    )


def grid(name: str) -> pd.DataFrame:
    """The trainings of a search over a space of `recipes.SPACES`, best first; `own` marks the recipe's own settings."""
    space, cells = find_space(name), read_table(f"search-{name}")
    recipe = vars(find_recipe(space.recipe))
    varied = [field for field, values in space.grid.items() if len(values) > 1 and field in recipe]
    same = [cells[field].isna() if recipe[field] is None else cells[field] == recipe[field] for field in varied]
    return cells.assign(own=np.logical_and.reduce(same) if same else False)


def grid_means(name: str) -> pd.DataFrame:
    """Mean validation accuracy at each value of each setting that a search varied; what matters most first.

    Columns: `setting`, `value`, `trainings`, `accuracy` (mean), `range` (of the setting's means) and `no_difference`
    (the range is no wider than the widest interval of one training).
    """
    cells, parts = grid(name), []
    for setting in [field for field in find_space(name).grid if field in cells and cells[field].nunique() > 1]:
        accuracy = cells.groupby(setting, dropna=False)["accuracy"]
        means = pd.DataFrame({"trainings": accuracy.size(), "accuracy": accuracy.mean()}).reset_index()
        means.insert(0, "setting", setting)
        parts.append(means.rename(columns={setting: "value"}).astype({"value": object}))
        parts[-1]["range"] = means["accuracy"].max() - means["accuracy"].min()
    table = pd.concat(parts).sort_values("range", ascending=False, kind="stable", ignore_index=True)
    return table.assign(no_difference=table["range"] <= (cells["accuracy_high"] - cells["accuracy_low"]).max())


def runs_of(source: str) -> dict[str, Run]:
    """The recorded run that recognises each emotion: one of the seven single networks, or the same recipe's for all."""
    if source == SEVEN:
        return {name: run for name in FER7 if (run := find_run(f"{SEVEN}-{name}"))}
    return dict.fromkeys(as_run(source).classes, as_run(source))


def one_vs_rest(source: str = SEVEN) -> pd.DataFrame:
    """How well each emotion is distinguished from the rest.

    Columns: `emotion`, `source`, `seed`, `stopped_by_time`, `split`, `num_images`, `views`, `share` (of images of that
    emotion), `majority` (accuracy of the same answer for every image), `balanced_accuracy`, `average_precision`,
    `roc_auc`, `accuracy`, its difference to `majority` (`"above"`, `"below"`), and `published` (accuracy).

    Args:
        source: `"one-vs-rest"`, the seven networks that know one emotion each; or a recipe that knows several classes,
            whose probabilities are taken one class at a time, and of which nothing is published (NaN).
    """
    rows = []
    for name, run in runs_of(source).items():
        found = run.predictions(run.scores["split"])
        scores = metrics.one_vs_rest(found.labels, found.probabilities, run.classes)[name]
        row = {"emotion": name, "source": source, "seed": run.seed, "stopped_by_time": run.stopped_by_time}
        row |= {key: run.scores[key] for key in ("split", "num_images", "views")} | scores
        row |= as_columns(to_level(scores, scores["majority"]), AMONG_LEVELS)
        rows.append(row | {"published": find_recipe(run.recipe_name).published / 100 if source == SEVEN else np.nan})
    return pd.DataFrame(rows)


def majority_baseline() -> pd.DataFrame:
    """The published accuracies of one emotion against the rest beside those of predicting "rest" for every image.

    Columns: `emotion`, `published`, `majority_published` (on the same images), `majority_test` (on our test split) and
    `published_is_majority` (equal to two digits of a percent).
    """
    theirs, ours = (
        PUBLISHED_COUNTS["folders"][SPLITS.index("validation")],
        PUBLISHED_COUNTS["official"][SPLITS.index("test")],
    )
    published = [find_recipe(f"{SEVEN}-{name}").published / 100 for name in FER7]
    table = pd.DataFrame({"emotion": FER7, "published": published})
    table["majority_published"] = 1 - np.divide(theirs, sum(theirs))
    table["majority_test"] = 1 - np.divide(ours, sum(ours))
    return table.assign(published_is_majority=table["published"].round(4) == table["majority_published"].round(4))


def precision_gains(first: str, second: str) -> pd.DataFrame:
    """Compare how two sources (see `one_vs_rest`) rank each emotion that both know, by average precision, as pairs.

    Columns: `emotion`, `split`, `num_images`, `first`, `second` and the difference, second minus first. A ValueError if
    their predictions are not of the same images.
    """
    runs, rows = (runs_of(first), runs_of(second)), []
    for name in [name for name in runs[0] if name in runs[1]]:
        pair = [(run, run.predictions(run.scores["split"])) for run in (runs[0][name], runs[1][name])]
        truths = [found.labels == run.classes.index(name) for run, found in pair]
        if not all(np.array_equal(*both) for both in (truths, [found.rows for _, found in pair])):
            raise ValueError(
                f"Expected two sources with predictions of the same images. Received: {first!r} and {second!r}, which "
                f"differ on {name}. Compare sources of the same protocol and split."
            )
        gain = metrics.compare_precision(
            truths[0], *(found.probabilities[:, run.classes.index(name)] for run, found in pair)
        )
        about = {"emotion": name, "split": pair[0][0].scores["split"], "num_images": len(truths[0])}
        rows.append(about | {"first": first, "second": second} | as_columns(gain))
    return pd.DataFrame(rows)


def ensemble_members(name: str) -> pd.DataFrame:
    """Compare an ensemble with each of its recorded members on the same images.

    Columns: `ensemble`, `member`, `measure` (`"accuracy"`; `"average precision"` for a member that knows one emotion),
    `split`, `num_images` and the difference, ensemble minus member.
    """
    ensemble, rows = as_run(name), []
    members = [(member, seed[0] if seed else ensemble.seed) for member, _, *seed in ensemble.recipe["members"]]
    for run in filter(None, (find_run(*member) for member in members)):
        if run.classes == ensemble.classes:
            about = {"ensemble": name, "member": run.label, "measure": "accuracy"}
            about |= {key: run.scores[key] for key in ("split", "num_images")}
            rows.append(about | as_columns(compare_runs(run, ensemble)))
    table, single = pd.DataFrame(rows), [member for member, _ in members if member.startswith(SEVEN)]
    if single:
        gains = precision_gains(SEVEN, name).drop(columns=["first", "second"])
        gains = gains.assign(ensemble=name, member=f"{SEVEN}-" + gains.pop("emotion"), measure="average precision")
        table = pd.concat([table, gains[gains["member"].isin(single)]], ignore_index=True)
    return table


def label_error_table(*, folder: str | Path | None = None) -> pd.DataFrame:
    """Likely label errors by class, and how many of them the FER+ voters dispute.

    Columns: `label`, `images` (with it), `predicted` (of these, predicted so), `predictions` (images predicted so in
    all), `flagged`, `flagged_share` (of `images`), `noise` (estimated share of wrong labels), `likely` (the class most
    often predicted instead), `likely_share` (of `flagged`); and of the flagged those of `label_error_groups`.
    """
    found, matrix = read_table("label-errors", folder=folder), label_error_matrix(folder=folder)
    one = pd.DataFrame(found["per_class"]).T.loc[found["classes"]]
    table = one[["images", "named", "said", "flagged"]].astype(int)
    table = table.rename(columns={"named": "predicted", "said": "predictions"})
    table["flagged_share"], table["noise"] = table["flagged"] / table["images"], one["noise"]
    table["likely"] = matrix.idxmax(axis=1).where(table["flagged"] > 0)
    table["likely_share"] = matrix.max(axis=1) / table["flagged"]
    if found["crowd"]:
        table = table.join(of_voters(found["crowd"]["per_class"]).drop(columns="images"))
    return table.rename_axis("label").reset_index()


def label_error_groups(*, folder: str | Path | None = None) -> pd.DataFrame:
    """What the FER+ voters say of flagged and of other labels.

    Columns: `group` (`"all"`, `"flagged"`, `"unflagged"`), `images`, `judged` (the voters name an emotion), `disputed`
    (another one) and the shares `disputed_of_judged`, `unsupported_of_judged` (nobody gave the label),
    `likely_of_disputed` (they name the predicted class) and `disputed_of_images`.
    """
    crowd = read_table("label-errors", folder=folder)["crowd"]
    return of_voters({name: crowd[name] for name in ("all", "flagged", "unflagged")}).rename_axis("group").reset_index()


def of_voters(groups: dict[str, dict]) -> pd.DataFrame:
    """Counts and shares of groups of labels that the FER+ voters judged, a row each."""
    shares = {f"{old}{end}": f"{new}{end}" for old, new in VOTED.items() for end in ENDS}
    table = pd.DataFrame(groups).T.rename(columns=shares).astype({name: float for name in shares.values()})
    counts = table[["images", "judged", "disputed"]].astype(int)
    of_images = [(k / n, *wilson(k, n)) if n else (np.nan,) * 3 for n, _, k in counts.to_numpy()]
    table[[f"disputed_of_images{end}" for end in ENDS]] = of_images
    return counts.join(table[[name for name in table if "_of_" in name]])


def label_error_matrix(*, folder: str | Path | None = None) -> pd.DataFrame:
    """Flagged images by given label (rows) and likely class (columns)."""
    found = read_table("label-errors", folder=folder)
    index, columns = (pd.Index(found["classes"], name=name) for name in ("label", "likely"))
    return pd.DataFrame(found["flagged"], index=index, columns=columns)


def deletion_table(networks: Iterable[str]) -> pd.DataFrame:
    """How much earlier the probability falls when a saliency map's pixels are deleted than with a rival's.

    Columns: `network`, `split`, `num_images`, `fill`, `map`, `rival` (`"chance"`: smooth maps of chance; `"another
    face"`; `"single pixels"`) and the difference: by how much the map is ahead, in mean probability. Networks that are
    not recorded are left out.
    """
    recorded = read_table("explain")
    return pd.DataFrame(
        {"network": network, "split": one["split"], "num_images": one["num_images"]}
        | {"fill": fill, "map": name, "rival": rival}
        | as_columns(Comparison(*(value[end] for end in ("mean", "low", "high"))))
        for network, one in recorded.items()
        if network in networks
        for fill, maps in one["deletion"].items()
        for name, each in maps.items()
        for rival, value in each.get("sooner_than", {}).items()
    )


def peer_table(runs: Iterable[Run | str]) -> pd.DataFrame:
    """Our networks beside those that people install today, on FER-2013's PrivateTest.

    Columns: `network`, `num_parameters`, `multiply_adds`, `accuracy` (of peers without an interval), `chosen_on`, and
    for ours the difference to the best peer (`"above"`, `"below"`).
    """
    best, rows = max(peer.accuracy for peer in PEERS) / 100, []
    for run in [run for run in as_runs(runs) if "test" in run.metrics]:
        row = {"network": run.label, "num_parameters": run.num_parameters, "multiply_adds": run.multiply_adds}
        row |= {name: run.metrics["test"][name] for name in ACCURACY} | {"chosen_on": "PublicTest"}
        rows.append(row | as_columns(to_level(run.metrics["test"], best), AMONG_LEVELS))
    for peer in PEERS:
        row = {"network": peer.name, "num_parameters": peer.parameters, "multiply_adds": peer.multiply_adds}
        rows.append(row | {"accuracy": peer.accuracy / 100, "chosen_on": peer.chosen_on})
    return pd.DataFrame(rows)
