"""Metrics with intervals, calibration, robustness, label errors, and explanations of single predictions."""

from fer_keras.evaluation.calibration import calibration_error, fit_temperature, reliability, with_temperature
from fer_keras.evaluation.intervals import Comparison, difference, wilson
from fer_keras.evaluation.label_errors import label_crowd_agreement
from fer_keras.evaluation.metrics import compare, summarise

__all__ = ["Comparison", "calibration_error", "compare", "difference", "fit_temperature", "label_crowd_agreement"]
__all__ += ["reliability", "summarise", "wilson", "with_temperature"]
