"""Figures of notebook 06: attention, residuals and the grid."""

from fer_keras.recipes.spaces import find_space
from fer_keras.reporting import plotting
from fer_keras.reporting.catalogue.entry import (
    Entry,
    architectures,
    board,
    histories,
    of_each,
    recalls,
    recorded,
    searched,
)
from fer_keras.reporting.searches import varied

SIX = ("sep-baseline", "sep-se", "sep-se-residual", "resnet18")
SPACE = "sep-reduced"


def lines(cells):
    """Draw every training of the search as a line through the settings that were varied."""
    space = find_space(SPACE)
    return plotting.parallel_coordinates(cells, varied(space, cells), title=space.recipe)


FIGURES = {
    "curves-six": Entry(6, "Validation accuracy by epoch of the six-class networks.", recorded(*SIX), histories),
    "recall-six": Entry(6, "Recall of each of the six classes by the six-class networks.", recorded(*SIX), recalls),
    "cost-six": Entry(
        6,
        "Test accuracy on six classes against the number of parameters.",
        board(system="E", num_classes=6, protocol="official", split="test"),
        plotting.cost,
    ),
    "search-sep-reduced": Entry(
        6, "Settings and validation accuracy of each training of the reduced grid.", searched(SPACE), lines
    ),
    **of_each(6, SIX),
    **architectures(6, SIX),
}
