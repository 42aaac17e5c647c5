"""Likely label errors: how many, of what for what, and how right that is by the people who judged the images anew."""

import numpy as np

from fer_keras.evaluation import difference
from fer_keras.reporting.looks import listed
from fer_keras.reporting.sentences import MISSING, percent, table, with_interval
from fer_keras.results.runs import find_table

TABLE = "label-errors"
HARDLY = 0.1  # of the images with a label: a class that is said of fewer is hardly known to the networks


def label_errors():
    """Return the likely label errors as a table, a row a class."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    judged = found["crowd"] and found["crowd"]["per_class"]
    header = [
        "label",
        "images",
        "named so by the networks",
        "likely wrong",
        "most often rather",
        "estimated share of wrong labels",
    ]
    header += ["voters dispute the likely wrong", "and say what cleanlab says"] if judged else []
    lines = []
    for name, counts in zip(found["classes"], found["flagged"], strict=True):
        one = found["per_class"][name]
        flagged = f"{one['flagged']:,} ({percent(one['flagged'] / one['images'])})"
        line = [name, f"{one['images']:,}", percent(one["named"] / one["images"]), flagged]
        line += [rather(counts, found["classes"]), percent(one["noise"])]
        line += [with_interval(judged[name], f"{part}_share") for part in ("disputed", "with_crowd")] if judged else []
        lines.append(line)
    return table(header, lines)


def rather(counts, classes):
    """Return which class is most often said to be right instead, and in which share of a label's likely errors."""
    most = int(np.argmax(counts))
    return f"{classes[most]} ({percent(counts[most] / sum(counts), 0)})" if sum(counts) else "-"


def verdict():
    """Return in sentences how many labels are likely wrong, and what FER+'s voters say of these and of the others."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    total = sum(one["flagged"] for one in found["per_class"].values())
    said = (
        f"{found['folds']} networks of `{found['recipe']}`, each trained without its fold, name {with_interval(found)} "
        f"of {found['num_images']:,} {found['split']} images as they are labelled. From that cleanlab estimates that "
        f"{percent(found['noise'])} of the labels are wrong, and points at {total:,} images "
        f"({percent(total / found['num_images'])}).{unsaid(found['per_class'])}"
    )
    crowd = found["crowd"]
    judged = crowd and crowd["flagged"]["judged"] and crowd["unflagged"]["judged"]
    return f"{said} {of_voters(crowd)}" if judged else said


def unsaid(per_class):
    """Return a sentence on the classes that the networks hardly know, whose labels cleanlab then cannot believe."""
    names = [name for name, one in per_class.items() if one["said"] < HARDLY * one["images"]]
    if not names:
        return ""
    return f" They hardly ever say {listed(names)}: what is said of these labels tells of the networks."


def in_short():
    """Return in half a sentence how many labels are likely wrong, and how many of these FER+'s voters dispute."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    total = sum(one["flagged"] for one in found["per_class"].values())
    said = f"cleanlab points at {total:,} of {found['num_images']:,} {found['split']} labels"
    if not found["crowd"]:
        return said
    shares = [with_interval(found["crowd"][name], "disputed_share") for name in ("flagged", "unflagged")]
    return f"{said}; FER+'s voters dispute {shares[0]} of these and {shares[1]} of the others"


def of_voters(crowd):
    """Return in sentences what FER+'s voters say of the likely label errors and of the other labels."""
    flagged, others = crowd["flagged"], crowd["unflagged"]
    apart, first = compared(others, flagged), crowd["in_order"][0]
    dispute = [with_interval(one, "disputed_share") for one in (flagged, others)]
    alone = [with_interval(one, "unsupported_share") for one in (flagged, others)]
    return (
        f"FER+'s voters say another emotion than the label for {dispute[0]} of the images that it points at, as far as "
        f"they name one, and for {dispute[1]} of the others: {apart}. None of them gave the label to {alone[0]} of the "
        f"former and to {alone[1]} of the latter. Where they dispute a label that it points at, they say what cleanlab "
        f"says in {with_interval(flagged, 'with_crowd_share')}. Of the {first['images']:,} labels that cleanlab "
        f"believes least they dispute {with_interval(first, 'disputed_share')}. In all they dispute "
        f"{with_interval(crowd['all'], 'disputed_share')}, and cleanlab points at "
        f"{percent(flagged['disputed'] / max(crowd['all']['disputed'], 1), 0)} of these."
    )


def compared(first, second):
    """Return by how much the share of disputed labels of the second group lies above that of the first."""
    ends = ("", "_low", "_high")
    return difference(*({f"accuracy{end}": one[f"disputed_share{end}"] for end in ends} for one in (first, second)))


def matrix():
    """Return what `plotting.label_errors` draws, or None if it is not recorded."""
    found = find_table(TABLE)
    if found is None:
        return None
    totals = [found["per_class"][name]["images"] for name in found["classes"]]
    return {"counts": found["flagged"], "totals": totals, "classes": found["classes"]}


def order():
    """Return what `plotting.disputed` draws, or None if it is not recorded or nobody judged the images anew."""
    crowd = (find_table(TABLE) or {}).get("crowd")
    if not crowd:
        return None
    overall, flagged = crowd["all"]["disputed_share"], crowd["flagged"]["judged"]
    return {"points": crowd["in_order"], "overall": overall, "flagged": flagged}


BLOCKS = {"label-errors": label_errors, "label-errors-verdict": verdict, "label-errors-short": in_short}
