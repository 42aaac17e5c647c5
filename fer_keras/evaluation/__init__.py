"""How good is it: metrics with intervals, and whether two networks differ at all."""

from fer_keras.evaluation.metrics import Comparison, compare, confusion_matrix, difference, summarise, wilson

__all__ = ["Comparison", "compare", "confusion_matrix", "difference", "summarise", "wilson"]
