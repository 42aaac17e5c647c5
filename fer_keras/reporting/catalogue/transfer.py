"""Figures of notebook 04: does transfer help?"""

from fer_keras.reporting import plotting, starts
from fer_keras.reporting.catalogue.entry import Entry, architectures

NETWORKS = ("vgg16", "inception-resnet-v2", "efficientnet", "resnet101", "efficientnet-b5")


def study():
    """Return accuracy and interval of every line of the study, or None if it is not recorded."""
    ends = ("accuracy", "accuracy_low", "accuracy_high")
    found = starts.lines()
    return found and {
        key: {size: tuple(scores[name] for name in ends) for size, scores in points.items()}
        for key, points in found.items()
    }


FIGURES = {
    "transfer-sizes": Entry(
        4,
        "Validation accuracy on four classes against the number of training images, by starting point.",
        study,
        lambda lines: plotting.by_training_images(lines, num_classes=4, title="fer-small, four classes"),
    ),
    **architectures(4, NETWORKS),
}
