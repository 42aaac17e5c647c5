"""How good is it: metrics with intervals, and whether two networks differ at all."""

from fer_keras.evaluation.agreement import sides
from fer_keras.evaluation.calibration import calibration_error, fit_temperature, reliability, with_temperature
from fer_keras.evaluation.intervals import Comparison, compare, difference, wilson
from fer_keras.evaluation.metrics import confusion_matrix, summarise

__all__ = [
    "Comparison",
    "calibration_error",
    "compare",
    "confusion_matrix",
    "difference",
    "fit_temperature",
    "reliability",
    "sides",
    "summarise",
    "wilson",
    "with_temperature",
]
