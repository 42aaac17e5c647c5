"""The recorded studies, a DataFrame each: transfer, grids, one against the rest, ensembles, saliency, ….

Scores have a `_low` and a `_high` beside them; a difference is `difference`, `low`, `high`, `no_difference` and
`verdict`. What is not recorded raises the `ValueError` of `read_table`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from fer_keras.evaluation import Comparison, difference, metrics, wilson
from fer_keras.labels import FER7, PUBLISHED_COUNTS, REST, SPLITS
from fer_keras.recipes import Recipe, Space, find_recipe, find_space
from fer_keras.recipes.published import PEERS
from fer_keras.results.comparisons import above_level, as_columns, compare_runs
from fer_keras.results.leaderboard import ACCURACY, ENDS
from fer_keras.results.runs import Predictions, Run, as_run, as_runs, find_run, read_runs, read_table

SCORES = (*ACCURACY, "macro_f1", "log_loss")  # of a search's table
SEVEN = "one-vs-rest"
FOLDS = 5  # of stacking


def agreement_table(split: str = "test") -> pd.DataFrame:
    """Share of FER-2013's labels that the FER+ voters gave too: of the images for which they name an emotion."""
    found = read_table("audit")
    images = {name: found["counts"][split][name] for name in found["classes"]}
    table = pd.DataFrame({"label": [*images, "all"], "images": [*images.values(), sum(images.values())]})
    return table.assign(agreement_of_judged=table["label"].map(found["agreement"][split]))


def crowd_table(runs: Iterable[Run | str] | None = None) -> pd.DataFrame:
    """On test, agreement of runs (default: all) with label and FER+ voters where these agree, and where they differ.

    `right_share` is that of the images `agreed` on, the shares `with_label`, `with_crowd` and `with_neither` those of
    the `disputed`. The best `right_share` comes first.
    """
    counts = read_table("crowd")
    table = pd.DataFrame(
        {"run": run.run, "recipe": run.recipe_name, "seed": run.seed, "num_classes": len(run.classes)} | counts[run.run]
        for run in (read_runs() if runs is None else as_runs(runs))
        if run.run in counts
    )
    if table.empty:
        return table
    table["right_share"] = table["right"] / table["agreed"]
    for name in ("with_label", "with_crowd", "with_neither"):
        table[f"{name}_share"] = table[name] / table["disputed"]
    return table.sort_values("right_share", ascending=False, ignore_index=True)


def search_table(space: Space, cells: Iterable[tuple[dict, Run]]) -> pd.DataFrame:
    """The settings and scores of trained cells, the best first."""
    images = {"train": "train_images", "validation": "validation_images"}
    columns = [*space.grid, *SCORES, *images, "best_epoch", "epochs_run", "seconds", "device"]
    rows = [vars(run) | run.metrics["validation"] | run.data["num_images"] | chosen for chosen, run in cells]
    table = pd.DataFrame(rows, columns=columns).rename(columns=images)
    return table.sort_values(["accuracy", *space.grid], ascending=False, ignore_index=True).rename_axis("place")


def transfer_study() -> pd.DataFrame:
    """Validation accuracy by starting point and number of training images.

    The difference is to a whole network trained from random initialisation on as many images (NaN for that one). The
    images of both are taken for different ones, so the intervals are rather too wide.
    """
    starts = {"short": "seven classes", "votes": "votes of FER+", "three": "three other classes"}
    starts = {f"fer-small@{name}": words for name, words in starts.items()}
    study = read_table("search-transfer").sort_values("train_images", ascending=False)
    study["start"] = study["start_recipe"].map(starts).fillna("random initialisation")
    study["backbone"] = np.where(study["frozen_body"].astype(bool), "frozen", "trained")
    study["num_images"] = study["validation_images"]
    order = ["random initialisation", *starts.values()]
    rows = study.to_dict("records")
    rows.sort(key=lambda row: (order.index(row["start"]), row["backbone"] == "frozen"))
    base = {row["train_images"]: row for row in rows if (row["start"], row["backbone"]) == (order[0], "trained")}
    return pd.DataFrame(
        {name: row[name] for name in ("start", "backbone", "train_images", "num_images", *ACCURACY)}
        | ({} if row in base.values() else as_columns(difference(base[row["train_images"]], row)))
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

    `range` is that of the setting's means; there is `no_difference` where it is no wider than the widest interval of
    one training.
    """
    cells, parts = grid(name), []
    for setting in [field for field in find_space(name).grid if field in cells and cells[field].nunique() > 1]:
        means = cells.groupby(setting, dropna=False)["accuracy"].agg(trainings="size", accuracy="mean")
        means = means.rename_axis("value").reset_index().astype({"value": object})
        means.insert(0, "setting", setting)
        parts.append(means.assign(range=np.ptp(means["accuracy"])))
    table = pd.concat(parts).sort_values("range", ascending=False, kind="stable", ignore_index=True)
    return table.assign(no_difference=table["range"] <= (cells["accuracy_high"] - cells["accuracy_low"]).max())


def runs_of(source: str) -> dict[str, Run]:
    """The recorded run that recognises each emotion: one of the seven single networks, or the same recipe's for all."""
    if source == SEVEN:
        return {name: run for name in FER7 if (run := find_run(f"{SEVEN}-{name}"))}
    return dict.fromkeys(as_run(source).classes, as_run(source))


def one_vs_rest(source: str = SEVEN) -> pd.DataFrame:
    """How well each emotion is distinguished from the rest, beside the accuracy of the same answer for every image.

    `source` is `"one-vs-rest"`, the seven networks that know one emotion each; or a recipe that knows several classes,
    whose probabilities are taken one class at a time, and of which nothing is published (NaN).
    """
    rows = []
    for name, run in runs_of(source).items():
        found = run.predictions(run.scores["split"])
        scores = metrics.one_vs_rest(found.labels, found.probabilities, run.classes)[name]
        row = {"emotion": name, "source": source, "seed": run.seed, "stopped_by_time": run.stopped_by_time}
        row |= {key: run.scores[key] for key in ("split", "num_images", "views")} | scores
        row |= above_level(scores, scores["majority"])
        rows.append(row | {"published": find_recipe(run.recipe_name).published / 100 if source == SEVEN else np.nan})
    return pd.DataFrame(rows)


def majority_baseline() -> pd.DataFrame:
    """Published accuracies of one emotion against the rest, and those of "rest" for every image there and on test."""
    table = pd.DataFrame({"emotion": FER7, "published": [find_recipe(f"{SEVEN}-{name}").published for name in FER7]})
    table["published"] /= 100
    for column, protocol, split in (("published", "folders", "validation"), ("test", "official", "test")):
        counts = PUBLISHED_COUNTS[protocol][SPLITS.index(split)]
        table[f"majority_{column}"] = 1 - np.divide(counts, sum(counts))
    return table.assign(published_is_majority=table["published"].round(4) == table["majority_published"].round(4))


def precision_gains(first: str, second: str) -> pd.DataFrame:
    """Compare how two sources (see `one_vs_rest`) rank each emotion that both know, by average precision, as pairs."""
    known, rows = (runs_of(first), runs_of(second)), []
    for name in [name for name in known[0] if name in known[1]]:
        runs = [each[name] for each in known]
        found = [run.predictions(run.scores["split"]) for run in runs]
        indices = [run.classes.index(name) for run in runs]
        truths = [each.labels == index for each, index in zip(found, indices, strict=True)]
        if not np.array_equal(*truths) or not np.array_equal(found[0].rows, found[1].rows):
            words = f"Expected two sources with predictions of the same images. Received: {first!r} and {second!r}"
            raise ValueError(f"{words}, which differ on {name}. Compare sources of the same protocol and split.")
        scores = [each.probabilities[:, index] for each, index in zip(found, indices, strict=True)]
        about = {"emotion": name, "split": runs[0].scores["split"], "num_images": len(truths[0])}
        about |= {"first": first, "second": second}
        rows.append(about | as_columns(metrics.compare_precision(truths[0], *scores)))
    return pd.DataFrame(rows)


def combine(recipe: Recipe, members: list[Run], *, seed: int) -> dict[str, Predictions]:
    """Combine the members' recorded predictions on validation, and on test if all of them have it; by split.

    `"mean"`: networks that tell one class from the rest give one distribution together, each class's probability over
    their sum; it is averaged with the distributions of the networks that know all classes. Nothing is fitted.
    `"stacking"`: multinomial logistic regression on the logarithms of all the members' probabilities, fitted on
    validation; its predictions on validation itself are from five-fold cross-validation, whose folds `seed` decides.
    """
    splits = [split for split in ("validation", "test") if all(split in run.metrics for run in members)]
    found = {split: [run.predictions(split) for run in members] for split in splits}
    labels = {split: ensemble_labels(recipe, members, each) for split, each in found.items()}
    if recipe.rule == "mean":
        combined = {split: mean_rule(recipe.classes, members, each) for split, each in found.items()}
    else:
        combined = stacking_rule(found, labels, len(recipe.classes), seed)
    return {split: found[split][0]._replace(labels=labels[split], probabilities=combined[split]) for split in splits}


def ensemble_labels(recipe, members, predictions):
    """The labels in the ensemble's classes, int `(n,)`, from those of the members, which must agree."""
    same = all(np.array_equal(each.rows, predictions[0].rows) for each in predictions)
    if same:
        given = np.array([np.array(run.classes)[each.labels] for run, each in zip(members, predictions, strict=True)])
        names = given[(given != REST).argmax(axis=0), np.arange(given.shape[1])]
        expected = [np.where(np.isin(names, run.classes), names, REST) for run in members]
        same = (given == expected).all() and np.isin(names, recipe.classes).all()
    if not same:
        words = f"Members of {recipe.name} must have predictions of the same images and agree on the labels"
        received = f"{', '.join(run.run for run in members)}, which do not. Train them on the same data."
        raise ValueError(f"{words}. Received: {received}")
    return np.array([recipe.classes.index(name) for name in names])


def mean_rule(classes, members, predictions):
    """Average the members' distributions, those that tell one class from the rest taken as one."""
    single, distributions = np.zeros((len(predictions[0].rows), len(classes))), []
    for run, member in zip(members, predictions, strict=True):
        if run.classes[0] == REST:
            single[:, classes.index(run.classes[1])] = member.probabilities[:, 1]
        else:
            distributions.append(member.probabilities[:, [run.classes.index(name) for name in classes]])
    if single.any():
        single[~single.any(axis=1)] = 1  # where float16 left nothing of any, they prefer none
        distributions.append(single / single.sum(axis=1, keepdims=True))
    return np.mean(distributions, axis=0)


def check_stacking(labels: np.ndarray, num_classes: int) -> None:
    """Raise a `ValueError` unless there are validation images of each class for all folds of stacking."""
    if (fewest := np.bincount(labels, minlength=num_classes).min()) < FOLDS:
        words = f"Stacking needs {FOLDS} validation images of each class, for as many folds. Received: {fewest} of one"
        raise ValueError(f"{words}. Add some, or take the rule 'mean', which fits nothing.")


def stacking_rule(predictions, labels, num_classes, seed):
    """Fit a logistic regression on validation; its probabilities on each split, `(n, classes)`."""
    from sklearn import linear_model, model_selection, pipeline, preprocessing

    # Predictions are kept as float16, so no logarithm is taken of less than 1e-4.
    inputs = {split: np.hstack([each.probabilities for each in given]) for split, given in predictions.items()}
    inputs = {split: np.log(probabilities.clip(1e-4)) for split, probabilities in inputs.items()}
    x, y = inputs.pop("validation"), labels["validation"]
    check_stacking(y, num_classes)
    classifier = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1000))
    folds = model_selection.StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = {"validation": model_selection.cross_val_predict(classifier, x, y, cv=folds, method="predict_proba")}
    classifier.fit(x, y)
    return found | {split: classifier.predict_proba(each) for split, each in inputs.items()}


def ensemble_members(name: str) -> pd.DataFrame:
    """Compare an ensemble with its recorded members: by accuracy, or average precision where one knows one emotion."""
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
    """Likely label errors by class, and how many of them the FER+ voters dispute, see `label_error_groups`.

    Of the `images` with a label, so many are `predicted` so, of `predictions` in all; `noise` is the estimated share of
    wrong labels, `likely` the class most often predicted instead, `likely_share` its share of the `flagged`.
    """
    found, matrix = read_table("label-errors", folder=folder), label_error_matrix(folder=folder)
    one = pd.DataFrame.from_dict(found["per_class"], orient="index").loc[found["classes"]]
    one = one.rename(columns={"named": "predicted", "said": "predictions"})
    table = one[["images", "predicted", "predictions", "flagged"]].copy()
    table["flagged_share"], table["noise"] = table["flagged"] / table["images"], one["noise"]
    table["likely"] = matrix.idxmax(axis=1).where(table["flagged"] > 0)
    table["likely_share"] = matrix.max(axis=1) / table["flagged"]
    if found["crowd"]:
        table = table.join(of_voters(found["crowd"]["per_class"]).drop(columns="images"))
    return table.rename_axis("label").reset_index()


def label_error_groups(*, folder: str | Path | None = None) -> pd.DataFrame:
    """What the FER+ voters say of all, of flagged and of unflagged labels.

    Of `judged` labels they name an emotion, of `disputed` ones another; `unsupported` ones nobody gave, and where
    `likely` they name the predicted class.
    """
    crowd = read_table("label-errors", folder=folder)["crowd"]
    return of_voters({name: crowd[name] for name in ("all", "flagged", "unflagged")}).rename_axis("group").reset_index()


def of_voters(groups: dict[str, dict]) -> pd.DataFrame:
    """Counts and shares of groups of labels that the FER+ voters judged, a row each."""
    names = {name: f"{name}_of_judged" for name in ("disputed", "unsupported")} | {"with_crowd": "likely_of_disputed"}
    shares = {f"{old}_share{end}": f"{new}{end}" for old, new in names.items() for end in ENDS}
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
    """How much earlier the mean probability falls when a saliency map's pixels are deleted than with a rival's."""
    return pd.DataFrame(
        {"network": network, "split": one["split"], "num_images": one["num_images"]}
        | {"fill": fill, "map": name, "rival": rival}
        | as_columns(Comparison(value["mean"], value["low"], value["high"]))
        for network, one in read_table("explain").items()
        if network in networks
        for fill, maps in one["deletion"].items()
        for name, each in maps.items()
        for rival, value in each.get("sooner_than", {}).items()
    )


def peer_table(runs: Iterable[Run | str]) -> pd.DataFrame:
    """Our networks beside those that people install today, on FER-2013's PrivateTest; the difference is to the best."""
    best, rows = max(peer.accuracy for peer in PEERS) / 100, []
    for run in [run for run in as_runs(runs) if "test" in run.metrics]:
        row = {"network": run.label, "num_parameters": run.num_parameters, "multiply_adds": run.multiply_adds}
        row |= {name: run.metrics["test"][name] for name in ACCURACY} | {"chosen_on": "PublicTest"}
        rows.append(row | above_level(run.metrics["test"], best))
    return pd.DataFrame([*rows, *(peer._asdict() | {"accuracy": peer.accuracy / 100} for peer in PEERS)])
