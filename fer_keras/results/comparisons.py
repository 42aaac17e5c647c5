"""Comparisons of runs: with one another, with levels, over seeds; confusions, calibration."""

from collections.abc import Iterable, Sequence

import pandas as pd

from fer_keras.data.dataset import check_known
from fer_keras.evaluation import Comparison, calibration_error, compare, fit_temperature, with_temperature
from fer_keras.evaluation.metrics import log_loss
from fer_keras.labels import FER7, PUBLISHED_COUNTS, SPLITS
from fer_keras.results.leaderboard import ACCURACY
from fer_keras.results.runs import Run, as_list, as_run, as_runs, find_seeds

# Share of FER-2013's labels that people gave too: 65 ± 5 %, Goodfellow et al. (2013), Challenges in representation
# learning, section 4.
HUMAN_ACCURACY = {7: 0.65}


def compare_runs(first: Run | str, second: Run | str, *, split: str | None = None) -> Comparison:
    """Compare the accuracies of two runs, or recipes by name (seed 0), on the same images; second minus first.

    The split is that which both are judged by, unless it is given. A ValueError if one is not recorded, or they were
    not scored on the same images with the same labels; rows of one's own data count only where the data is the same.
    """
    runs = as_run(first), as_run(second)
    splits = [split or run.scores["split"] for run in runs]
    found = [run.predictions(name) for run, name in zip(runs, splits, strict=True)]
    images = [
        (run.protocol, run.classes, each.rows.tolist(), each.labels.tolist())
        for run, each in zip(runs, found, strict=True)
    ]
    # Rows are numbers of published images; of one's own they are just counted, and those of train may be a part.
    own = {run.data["fingerprint"] for run in runs if run.protocol in ("own", "joined", "drawn")}
    own = own if len({run.recipe.get("train_fraction", 1.0) for run in runs}) == 1 else ()
    if splits[0] != splits[1] or images[0] != images[1] or len(own) > 1:
        received = f"{runs[0].run!r} on {splits[0]}, {runs[1].run!r} on {splits[1]}"
        advice = "Compare runs of the same data, classes and protocol, or pass `split`."
        raise ValueError(f"Expected two runs with predictions on the same images. Received: {received}. {advice}")
    return compare(found[0].labels, found[0].probabilities, found[1].probabilities)


def comparison_table(pairs: Iterable[tuple[Run | str, Run | str]], *, split: str | None = None) -> pd.DataFrame:
    """Compare pairs of runs, a row each; see `compare_runs`.

    There is no verdict (`"better"`, `"worse"`, `"no difference"`) where a run was stopped by time and the other trained
    for another number of epochs; a pair that is not recorded has names alone.
    """
    rows = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"Expected pairs of runs, or of names. Received: {pair!r:.99}. Pass [(first, second), …].")
        runs = as_runs(pair)
        row = {key: getattr(run, "label", run) for key, run in zip(("first", "second"), pair, strict=True)}
        if len(runs) == 2:
            row |= {key: runs[0].metrics_of(split)[key] for key in ("split", "num_images")}
            comparable = not any(run.stopped_by_time for run in runs) or runs[0].epochs_run == runs[1].epochs_run
            row |= as_columns(compare_runs(*runs, split=split), ("better", "worse") if comparable else None)
        rows.append(row)
    columns = ["first", "second", "split", "num_images", *as_columns(Comparison(0, 0, 0))]
    return pd.DataFrame(rows, columns=columns).astype({"num_images": "Int64"})


def as_columns(result: Comparison, words: Sequence[str] | None = ("better", "worse")) -> dict:
    """A `Comparison` as columns of a table; without words there is no verdict."""
    verdict = words and ("no difference" if result.no_difference else words[result.difference < 0])
    return vars(result) | {"no_difference": result.no_difference, "verdict": verdict}


def above_level(scores: dict, level: float, *, verdict: bool = True) -> dict:
    """The difference of an accuracy, with its own interval, to a level that is known exactly, as columns of a table."""
    result = Comparison(*(scores[name] - level for name in ACCURACY))
    return as_columns(result, ("above", "below") if verdict else None)


def level_table(runs: Iterable[Run | str]) -> pd.DataFrame:
    """Hold the accuracy of runs against the majority class, people, and the published number on its own split.

    There is no verdict on a published number and a run that was stopped by time.
    """
    rows = []
    for run in as_runs(runs):
        published = run.recipe.get("published")
        levels = {"majority": run.majority(), "human": HUMAN_ACCURACY.get(len(run.classes))}
        for level, share in (levels | {"published": published and published / 100}).items():
            theirs = level == "published"
            scores = run.metrics_of("validation" if theirs and run.recipe["published_split"] == "validation" else None)
            row = {"run": run.run, "recipe": run.recipe_name, "seed": run.seed, "level": level, "level_accuracy": share}
            row |= {name: scores[name] for name in ("split", "num_images", *ACCURACY)}
            if share is not None:
                rows.append(row | above_level(scores, share, verdict=not (theirs and run.stopped_by_time)))
    return pd.DataFrame(rows)


def majority_level(split: str = "test", *, classes: Sequence[str] = FER7, protocol: str = "official") -> float:
    """Accuracy of predicting the most frequent of some classes for every image of a published split of FER-2013."""
    check_known("split", [split], SPLITS)
    classes = check_known("class", classes, FER7)
    check_known("protocol", [protocol], PUBLISHED_COUNTS)
    counts = dict(zip(FER7, PUBLISHED_COUNTS[protocol][SPLITS.index(split)], strict=True))
    counts = [counts[name] for name in classes]
    if not any(counts):
        raise ValueError(f"Expected classes of which the split has images. Received: {classes}, {split=}, {protocol=}.")
    return max(counts) / sum(counts)


def confusion_pairs(run: Run | str, split: str | None = None) -> pd.DataFrame:
    """List which class is taken for which, the largest `share_of_true` first; pairs that never occur are left out."""
    counts = as_run(run).confusion(split)
    pairs = counts.stack().rename("count").reset_index()
    pairs["share_of_true"] = pairs["count"] / pairs["true"].map(counts.sum(axis=1))
    pairs = pairs[(pairs["true"] != pairs["predicted"]) & (pairs["count"] > 0)]
    pairs = pairs.assign(share_of_mistakes=pairs["count"] / pairs["count"].sum())
    return pairs.sort_values("share_of_true", ascending=False, kind="stable", ignore_index=True)


def calibration_table(runs: Iterable[Run | str]) -> pd.DataFrame:
    """Calibration error and log loss on test, without and with (`_scaled`) a temperature fitted on validation."""
    rows = []
    for run in [run for run in as_runs(runs) if "test" in run.metrics]:
        fitted, (_, labels, judged, _) = run.predictions("validation"), run.predictions("test")
        temperature = fit_temperature(fitted.labels, fitted.probabilities)
        row = {"recipe": run.recipe_name, "seed": run.seed, "num_images": len(labels), "temperature": temperature}
        for end, each in {"": judged, "_scaled": with_temperature(judged, temperature)}.items():
            row[f"calibration_error{end}"] = calibration_error(labels, each)
            row[f"log_loss{end}"] = log_loss(labels, each)
        rows.append(row)
    return pd.DataFrame(rows)


def seed_table(names: Iterable[str]) -> pd.DataFrame:
    """Accuracy of recorded seeds of recipes, a row a seed, split and view."""
    return pd.DataFrame(
        {"recipe": name, "seed": run.seed}
        | {key: run.metrics[entry][key] for key in ("split", "views", "num_images", *ACCURACY)}
        for name in as_list(names)
        for run in find_seeds(name)
        for entry in ("validation", "validation_flip", "test", "test_flip")
        if entry in run.metrics
    )


def rate_falls(run: Run | str) -> list[int]:
    """Epochs, counted from 1, before which the learning rate fell; none where it falls all the time, on a cosine."""
    if as_run(run).recipe.get("schedule") == "cosine":
        return []
    rates = as_run(run).history().set_index("epoch")["learning_rate"]
    return [int(epoch) for epoch in rates.index[rates < 0.99 * rates.shift()]]
