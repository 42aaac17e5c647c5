"""Figures of notebook 11: the report."""

from fer_keras.reporting import plotting
from fer_keras.reporting.catalogue.entry import Entry, board

# Share of FER-2013's labels that people gave too: 65 ± 5 %, Goodfellow et al. (2013), Challenges in representation
# learning, section 4.
HUMAN = {7: 0.65}
FIGURES = {
    "leaderboard": Entry(
        11,
        "Accuracy of every recorded run with its interval, beside chance, the published number and people.",
        board(),
        lambda table: plotting.accuracies(table, human=HUMAN),
    ),
    "cost": Entry(
        11,
        "Test accuracy on seven classes against the number of parameters, seed 0.",
        board(num_classes=7, protocol="official", split="test", seed=0),
        plotting.cost,
    ),
}
