"""Figures of notebook 08: our networks, and what each ingredient gave."""

from fer_keras.recipes.peers import PEERS
from fer_keras.reporting import ingredients, label_errors, plotting, trust
from fer_keras.reporting.catalogue.entry import (
    Entry,
    architectures,
    board,
    confusions,
    histories,
    of_each,
    recalls,
    recorded,
)
from fer_keras.results.runs import find_run

BUILT = ("fer-small", "fer-base")
SEVEN = ("fer-small", "fer-small-distilled", "fer-base")
VARIANTS = ("fer-small@weighted", "fer-small@mixup")
OURS = (*SEVEN, "fer-small-4", "fer-small-ferplus", "fer-base-ferplus")
ENSEMBLES = ("fer-small-ensemble", "fer-ensemble")
BESIDE = ("mini-xception", *SEVEN)


def reliability(name):
    """Return the entry of a recipe's reliability diagram."""
    return Entry(
        8,
        f"How often {name} is right at each confidence, as it is and with its temperature.",
        lambda: (run := find_run(name)) and (found := trust.reliabilities(run)) and {run.recipe["model"]: found},
        lambda inputs: plotting.reliability(*inputs.values(), model=next(iter(inputs)), title=name),
    )


def gains():
    """Return the gain of each change of the recipe with its interval, or None if they are not recorded."""
    found = ingredients.gains()
    return found and [[name, result.difference, result.low, result.high] for name, _, _, result in found]


def work(table):
    """Draw the accuracy of all seven-class networks against their multiply-adds, beside those of others."""
    others = [(peer.name, peer.multiply_adds, peer.accuracy / 100) for peer in PEERS]
    return plotting.cost(table, size="multiply_adds", others=others)


FIGURES = {
    "curves-ours": Entry(8, "Validation accuracy by epoch of our seven-class networks.", recorded(*SEVEN), histories),
    "leads": Entry(
        8,
        "How far variants of fer-small lie above it on validation by epoch, mean of all seeds and of five epochs.",
        lambda: ingredients.leads("fer-small", *VARIANTS),
        lambda lines: plotting.leads(lines, axis="points above fer-small"),
    ),
    "recall-ours": Entry(
        8, "Recall of each of the seven classes by our networks and mini-Xception.", recorded(*BESIDE), recalls
    ),
    "ingredients": Entry(
        8,
        "What each change of our recipe gives on validation, with its interval over seeds, which all hold at once.",
        gains,
        lambda rows: plotting.gains(rows, axis="points of validation accuracy against the recipe as it is"),
    ),
    "work": Entry(
        8,
        "Test accuracy on seven classes against the multiply-adds of one face, seed 0, beside networks of others.",
        board(num_classes=7, protocol="official", split="test", seed=0),
        work,
    ),
    "label-errors": Entry(
        8,
        "Likely label errors of the training images, by given label and likely class, as shares of the label's images.",
        label_errors.matrix,
        lambda found: plotting.label_errors(**found),
    ),
    "label-errors-crowd": Entry(
        8,
        "Which share of the labels that are believed least FER+'s voters dispute, for more and more of these.",
        label_errors.order,
        lambda found: plotting.disputed(**found),
    ),
    **{f"reliability-{name}": reliability(name) for name in OURS},
    **of_each(8, OURS),
    **confusions(8, ENSEMBLES),
    **architectures(8, BUILT),
}
