"""The catalogue of the report's figures, a module a notebook: what each is drawn from, and how."""

from fer_keras.reporting.catalogue import combined, four_classes, seven_classes, the_data, the_report, transfer
from fer_keras.reporting.catalogue.entry import Entry
from fer_keras.reporting.catalogue.the_report import HUMAN

__all__ = ["FIGURES", "HUMAN", "Entry"]

NOTEBOOKS = (the_data, four_classes, seven_classes, transfer, combined, the_report)
FIGURES = {name: entry for notebook in NOTEBOOKS for name, entry in notebook.FIGURES.items()}
