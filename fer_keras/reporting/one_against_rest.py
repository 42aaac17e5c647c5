"""One emotion against the rest: how well each is told, by seven networks or by one.

A source is `one-vs-rest`, the seven networks that know one emotion each, or a recipe that knows several classes, whose
probabilities are then taken one class at a time.
"""

from fer_keras.data.published import COUNTS
from fer_keras.evaluation.ranking import against_rest
from fer_keras.labels import FER7, SPLITS
from fer_keras.recipes import find_recipe
from fer_keras.reporting.sentences import MISSING, percent, table, with_interval
from fer_keras.results.runs import find_run

SEVEN = "one-vs-rest"
HEADER = (
    "emotion",
    "its share",
    "accuracy (95 %)",
    "the commoner answer",
    "against it",
    "balanced accuracy",
    "average precision",
    "ROC-AUC",
    "published accuracy",
)


def runs_of(source):
    """Return a source's `Run` for each emotion, those that are recorded."""
    if source == SEVEN:
        return {name: run for name in FER7 if (run := find_run(f"{SEVEN}-{name}"))}
    run = find_run(source)
    return dict.fromkeys(run.classes, run) if run else {}


def told(source):
    """Return what `against_rest` says of each recorded emotion, with its run's split, images and published accuracy."""
    found = {}
    for name, run in runs_of(source).items():
        said = run.predictions(run.scores["split"])
        known = {key: run.scores[key] for key in ("split", "num_images", "views")} | {"seed": run.seed}
        known |= {"cut_short": run.stopped_by_time, "published": printed(name) if source == SEVEN else None}
        found[name] = known | against_rest(said.labels, said.probabilities, run.classes)[name]
    return found


def ranking(source=SEVEN):
    """Return how well a source tells each emotion from the rest, as a table."""
    found = told(source)
    if not found:
        return MISSING
    header = HEADER if source == SEVEN else HEADER[:-1]  # only accuracies of the seven networks were published
    lines = [row(name, found.get(name), len(header)) for name in (FER7 if source == SEVEN else found)]
    one = next(iter(found.values()))
    return (
        f"{table(header, lines)}\n\nOn {one['num_images']:,} {one['split']} images, {one['views']} view, seed "
        f"{one['seed']}. Guessing has a balanced accuracy and a ROC-AUC of one half, and an average precision of the "
        "emotion's share."
    )


def row(name, values, width):
    """Return an emotion's row of the table."""
    if values is None:
        return [name, MISSING, *["-"] * (width - 2)]
    cells = [
        name + (", cut short" if values["cut_short"] else ""),
        percent(values["share"]),
        with_interval(values),
        percent(values["majority"]),
        lead(values),
        percent(values["balanced_accuracy"]),
        percent(values["average_precision"]),
        f"{values['roc_auc']:.3f}",
        "-" if values["published"] is None else percent(values["published"], 2),
    ]
    return cells[:width]


def lead(values):
    """Return how far an accuracy lies from that of the commoner answer, unless its interval holds that."""
    if values["accuracy_low"] <= values["majority"] <= values["accuracy_high"]:
        return "no different"
    return f"{100 * (values['accuracy'] - values['majority']):+.1f} points"


def lifted(source=SEVEN):
    """Return on which emotions a source's accuracy is above that of the commoner answer, on which it is not."""
    groups = {"above it on": [], "no different on": [], "below it on": []}
    for name, values in told(source).items():
        said = lead(values)
        if said == "no different":
            groups["no different on"].append(name)
        else:
            groups["above it on" if said.startswith("+") else "below it on"].append(f"{name} {said}")
    return in_groups(groups | unrecorded(source)) if any(groups.values()) else MISSING


def unrecorded(*sources):
    """Return the emotions whose single network is not recorded yet, as a group, if it is one of the sources."""
    recorded = runs_of(SEVEN)
    missing = [name for name in FER7 if name not in recorded] if SEVEN in sources else []
    return {f"{MISSING}:": missing}


def in_groups(groups):
    """Return names by group in words, groups without names left out."""
    return "; ".join(f"{group} {', '.join(names)}" for group, names in groups.items() if names)


def constant_shares(protocol, split):
    """Return the accuracy of saying "the rest" of everything for each emotion, on a published split."""
    counts = COUNTS[protocol][SPLITS.index(split)]
    return {name: 1 - count / sum(counts) for name, count in zip(FER7, counts, strict=True)}


def worth():
    """Return the published accuracies beside what saying "the rest" of everything scores, as a table."""
    theirs, ours = constant_shares("folders", "validation"), constant_shares("official", "test")
    lines = [[name, percent(printed(name), 2), percent(theirs[name], 2), percent(ours[name], 2)] for name in FER7]
    header = ("emotion", "published", '"the rest" for everything, on the same images', "the same on our test split")
    return table(header, lines)


def printed(name):
    """Return the published accuracy of one emotion against the rest, in [0, 1]."""
    return find_recipe(f"{SEVEN}-{name}").published / 100


def worthless():
    """Return for how many emotions the published accuracy is what saying "the rest" of everything scores there."""
    theirs = constant_shares("folders", "validation")
    same = [name for name in FER7 if percent(printed(name), 2) == percent(theirs[name], 2)]
    return f"{len(same)} of {len(FER7)}"


BLOCKS = {"ranking": ranking, "lifted": lifted, "worth": worth, "worthless": worthless}
