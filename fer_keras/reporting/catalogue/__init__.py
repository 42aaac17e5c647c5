"""The catalogue of the report's figures, a module a notebook: what each is drawn from, and how."""

from fer_keras.reporting.catalogue import (
    attention,
    combined,
    errors,
    final_network,
    four_classes,
    ours,
    seven_classes,
    the_data,
    the_report,
    transfer,
)
from fer_keras.reporting.catalogue.entry import Entry
from fer_keras.reporting.catalogue.the_report import HUMAN

__all__ = ["FIGURES", "HUMAN", "Entry"]

NOTEBOOKS = (
    the_data,
    four_classes,
    seven_classes,
    transfer,
    final_network,
    attention,
    combined,
    ours,
    errors,
    the_report,
)
FIGURES = {name: entry for notebook in NOTEBOOKS for name, entry in notebook.FIGURES.items()}
