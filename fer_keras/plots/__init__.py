"""Figures from numbers, DataFrames and runs: every function returns a `Figure`; only `save` and `save_private` write.

In a notebook a figure shows itself as a cell's last expression. Nothing here keeps a figure in pyplot. `title` is
written above a figure; a split or a run that is a default is named in it.
"""

# ruff: noqa: F401
from fer_keras.plots.architecture import architecture
from fer_keras.plots.images import gallery, heatmaps, timeline
from fer_keras.plots.scores import accuracies, confusion_matrix, cost, intervals, recalls
from fer_keras.plots.style import Figure, differs, model_style, save, save_private
from fer_keras.plots.training import learning_curves, training_history, training_sizes
