"""Figures from numbers: every function takes plain numbers or tables and returns a `Figure`; none writes a file.

In a notebook the figure is a cell's last expression; `figures.save` writes one for the report.
"""

from fer_keras.reporting.plotting.architecture import architecture
from fer_keras.reporting.plotting.costs import cost
from fer_keras.reporting.plotting.curves import histories, history, leads
from fer_keras.reporting.plotting.emotions import by_emotion
from fer_keras.reporting.plotting.faces import class_counts, gallery, mean_faces
from fer_keras.reporting.plotting.grids import parallel_coordinates
from fer_keras.reporting.plotting.heat import (
    confusions,
    deletion,
    heat_by_region,
    heat_over_faces,
    robustness,
    taken_sides,
)
from fer_keras.reporting.plotting.labels import disputed, label_errors
from fer_keras.reporting.plotting.scores import accuracies, bars, confusion, gains, recalls
from fer_keras.reporting.plotting.sizes import by_training_images
from fer_keras.reporting.plotting.style import Figure, model_style
from fer_keras.reporting.plotting.timeline import plot_timeline
from fer_keras.reporting.plotting.trust import reliability

__all__ = [
    "Figure",
    "accuracies",
    "architecture",
    "bars",
    "by_emotion",
    "by_training_images",
    "class_counts",
    "confusion",
    "confusions",
    "cost",
    "deletion",
    "disputed",
    "gains",
    "gallery",
    "heat_by_region",
    "heat_over_faces",
    "histories",
    "history",
    "label_errors",
    "leads",
    "mean_faces",
    "model_style",
    "parallel_coordinates",
    "plot_timeline",
    "recalls",
    "reliability",
    "robustness",
    "taken_sides",
]
