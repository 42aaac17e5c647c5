"""Generated text: what a mark in README or the report is filled with, and what a notebook says of the records.

Every block is a function of strings that returns Markdown. What is not recorded yet says so.
"""

import os
from pathlib import Path

import pandas as pd

from fer_keras import paths
from fer_keras.reporting import (
    accuracies,
    combinations,
    crowd,
    data_findings,
    findings,
    goals,
    ingredients,
    label_errors,
    looks,
    notebook_files,
    one_against_rest,
    recognising,
    searches,
    sentences,
    starts,
    trust,
)
from fer_keras.reporting.catalogue import HUMAN
from fer_keras.reporting.figures import find_entry
from fer_keras.reporting.sentences import MISSING, duration, percent, table, with_interval
from fer_keras.results.leaderboard import leaderboard, row_name
from fer_keras.results.runs import find_table, read_runs

MET = {True: "met", False: "not met"}
RESULT_COLUMNS = {
    "accuracy": "accuracy (95 %)",
    "accuracy_without_copies": "without copies",
    "macro_f1": "macro-F1",
    "validation_accuracy": "on validation",
}


def text(block, *arguments, folder=None):
    """Return a block's Markdown.

    Args:
        block: name in `BLOCKS`.
        arguments: strings, as they stand in the mark.
        folder: folder of the document, which links start from; default the project's.

    Raises:
        ValueError: if there is no such block, or its arguments are wrong.

    Example:

    >>> text("chance", "4")
    '25.0 %'
    """
    if block not in BLOCKS:
        raise ValueError(f"There is no generated text {block!r}. Expected one of: {', '.join(BLOCKS)}.")
    options = {"folder": Path(folder or paths.project())} if block in LINKED else {}
    try:
        return BLOCKS[block](*arguments, **options)
    except TypeError as error:
        raise ValueError(f"Generated text {block!r} cannot take {arguments}: {error}") from error


def results(num_classes=None, protocol=None):
    """Return the leaderboard as tables, one for each number of classes and protocol, or one of them."""
    board = leaderboard().query("num_classes > 2")
    parts = []
    for (classes, whose), rows in board.groupby(["num_classes", "protocol"], sort=False):
        if num_classes in (None, str(classes)) and protocol in (None, whose):
            parts += [f"**{classes} classes, {whose} split**", result_table(rows)]
    return "\n\n".join(parts) or MISSING


def result_table(rows):
    """Return comparable rows of the leaderboard as a Markdown table."""
    header = ("recipe", "starts from", "measured on", *RESULT_COLUMNS.values(), "published", "parameters")
    lines = [
        [
            row_name(row),
            row["starts_from"],
            f"{row['num_images']:,} {row['split']} images",
            *[with_interval(row, name) for name in RESULT_COLUMNS],
            published_of(row),
            f"{row['num_parameters']:,}",
        ]
        for row in rows.to_dict("records")
    ]
    return table(header, lines)


def published_of(row):
    """Return what the authors of a row's recipe published, with its split and source."""
    if pd.isna(row["published"]):
        return "-"
    return ", ".join(filter(None, (f"{100 * row['published']:.4g} %", row["published_split"], row["published_source"])))


def costs():
    """Return what a full training of each recorded recipe cost."""
    runs = sorted({run.recipe_name: run for run in read_runs()[::-1]}.values(), key=lambda run: run.seconds)
    header = "recipe", "parameters", "multiply-adds", "epochs", "seconds an epoch", "time", "on"
    lines = [
        [
            run.recipe_name + (", cut short" if run.stopped_by_time else ""),
            f"{run.num_parameters:,}",
            f"{run.multiply_adds / 1e6:,.1f} M",
            run.epochs_run or "-",
            f"{run.seconds_per_epoch:,.0f}" if run.epochs_run else "-",
            duration(run.seconds),
            run.device,
        ]
        for run in runs
    ]
    return table(header, lines) if lines else MISSING


def speed(name="speed"):
    """Return the ratios that `benchmarks/` recorded in a table, with their goals."""
    measured, lines = find_table(name), []
    if measured is None:
        return MISSING
    for what, entry in sorted(measured.items()):
        if "ratio" not in entry:
            continue
        goal = "-" if entry["goal"] is None else f"{entry['goal_is']} {entry['goal']:g}, {MET[entry['met']]}"
        spread = f"{entry['ratio']:.3g} ({entry['ratio_low']:.3g} to {entry['ratio_high']:.3g})"
        processor = entry.get("ratio_by_processor")
        processor = f"{processor:.3g}" if processor else "-"
        lines.append([what.rpartition(" / ")[0], entry["against"], spread, processor, goal, entry["measured"]])
    header = ("what", "against", "ratio (lowest to highest round)", "by processor time", "goal", "measured")
    return table(header, lines)


def trains(*against):
    """Return how many times as fast as something `train` is, over the networks of `benchmarks/training.py`."""
    measured = find_table("speed") or {}
    ratios = [entry["ratio"] for what, entry in measured.items() if what.endswith(f": real path / {' '.join(against)}")]
    if not ratios:
        return MISSING
    low, high = f"{min(ratios):.2g}", f"{max(ratios):.2g}"
    return f"{low} times" if low == high else f"{low} to {high} times"


def notebooks(*, folder):
    """Return the index of the notebooks: number, title with a link, question."""
    lines = []
    for path in notebook_files.all_notebooks():
        title, question = notebook_files.headline(path)
        lines.append([path.name[:2], f"[{title}]({link(path, folder)})", question])
    return table(("", "notebook", "question"), lines) if lines else MISSING


def figure(name, *, folder):
    """Return a figure with its alternative text."""
    entry, path = find_entry(name), paths.figures() / f"{name}.png"
    return f"![{entry.alt}]({link(path, folder)})" if path.is_file() else f"*{entry.alt[:-1]} {MISSING}.*"


def link(path, folder):
    """Return a path as seen from a document's folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def value(name, path):
    """Return a number of a recorded table in JSON; `path` is like `copies.test.train`."""
    found = entry_of(name, path)
    return found if isinstance(found, str) else f"{found:,}"


def share(name, path):
    """Return a fraction of a recorded table in JSON, in percent."""
    found = entry_of(name, path)
    return found if isinstance(found, str) else percent(found)


def entry_of(name, path):
    """Return what stands in a recorded table at a dotted path."""
    found = find_table(name)
    if found is None:
        return MISSING
    for step in path.split("."):
        if not isinstance(found, dict) or step not in found:
            raise ValueError(f"Table {name!r} has nothing at {path!r}: no {step!r}.")
        found = found[step]
    return found


def majority(split="test", digits="1"):
    """Return what naming the commonest class of a split for everything would score."""
    counts = entry_of("audit", f"counts.{split}")
    return counts if counts == MISSING else percent(max(counts.values()) / sum(counts.values()), int(digits))


OF_RUNS = ("accuracy", "score", "metric", "published", "training", "per_class", "extremes", "confused", "mistakes")
TOPICS = (findings, goals, ingredients, trust)
LINKED = ("figure", "notebooks")
BLOCKS = {
    "results": results,
    "costs": costs,
    "speed": speed,
    "trains": trains,
    "notebooks": notebooks,
    "figure": figure,
    "value": value,
    "share": share,
    "majority": majority,
    "chance": lambda num_classes: percent(1 / int(num_classes)),
    "human": lambda num_classes="7": f"about {percent(HUMAN[int(num_classes)], 0)}",
    "runs": lambda: str(len(read_runs())),
    **{name.replace("_", "-"): sentences.of_run(getattr(sentences, name)) for name in OF_RUNS},
    **{name: sentences.of_run(say) for topic in TOPICS for name, say in topic.OF_RUNS.items()},
    **findings.BLOCKS,
    **data_findings.BLOCKS,
    **starts.BLOCKS,
    **crowd.BLOCKS,
    **one_against_rest.BLOCKS,
    **combinations.BLOCKS,
    **accuracies.BLOCKS,
    **searches.BLOCKS,
    **ingredients.BLOCKS,
    **trust.BLOCKS,
    **recognising.BLOCKS,
    **looks.BLOCKS,
    **label_errors.BLOCKS,
}
