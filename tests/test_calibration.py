"""A temperature undoes what was done to probabilities, and the error measures what is left."""

import numpy as np
import pytest

from fer_keras.evaluation.calibration import calibration_error, fit_temperature, reliability, softmax, with_temperature
from fer_keras.evaluation.metrics import log_loss

GENERATOR = np.random.default_rng(0)
PROBABILITIES = softmax(2 * GENERATOR.normal(size=(20_000, 7)))
# Labels drawn from probabilities: calibrated by construction.
LABELS = (PROBABILITIES.cumsum(axis=1) < GENERATOR.random((20_000, 1))).sum(axis=1).clip(0, 6)


@pytest.mark.parametrize("temperature", [0.3, 0.4, 1, 3])
def test_a_temperature_is_found_again_has_the_least_loss_and_changes_no_answer(temperature):
    changed = with_temperature(PROBABILITIES, temperature)
    found = fit_temperature(LABELS, changed)
    assert found == pytest.approx(1 / temperature, rel=0.03 if temperature == 1 else 0.05)
    calibrated = with_temperature(changed, found)
    assert calibration_error(LABELS, calibrated) < 0.012
    np.testing.assert_array_equal(calibrated.argmax(axis=1), PROBABILITIES.argmax(axis=1))
    losses = [log_loss(LABELS, with_temperature(changed, found * factor)) for factor in (0.9, 1, 1.1)]
    assert min(losses) == losses[1]


def test_the_error_is_the_gap_between_confidence_and_accuracy():
    labels, probabilities = [0] * 6 + [1] * 4, [[0.9, 0.1]] * 10
    (row,) = reliability(labels, probabilities)
    assert (row["num_images"], row["accuracy"], round(row["confidence"], 9)) == (10, 0.6, 0.9)
    assert row["accuracy_low"] < 0.6 < row["accuracy_high"]
    assert calibration_error(labels, probabilities) == pytest.approx(0.3)
    half = calibration_error([0, 1], [[0.95, 0.05], [0.45, 0.55]])
    assert half == pytest.approx((0.05 + 0.45) / 2)


def test_the_bins_hold_every_image_once_also_the_surest():
    rows = reliability(LABELS, np.eye(7)[LABELS])
    assert [row["num_images"] for row in rows] == [len(LABELS)]
    assert sum(row["num_images"] for row in reliability(LABELS, PROBABILITIES)) == len(LABELS)
    assert len(reliability(LABELS, PROBABILITIES, bins=4)) <= 4


def test_sure_and_wrong_is_flattened_as_far_as_allowed_and_bad_values_are_refused():
    assert fit_temperature([0, 1], [[0, 1], [1, 0]]) == pytest.approx(20, rel=1e-3)
    assert fit_temperature([0, 1], [[0.6, 0.4], [0.4, 0.6]]) == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(ValueError, match=r"`temperature` must be above 0\. Received: 0"):
        with_temperature(PROBABILITIES, 0)
    with pytest.raises(ValueError, match="finite values"):
        fit_temperature([0], [[np.nan, 1]])
    with pytest.raises(ValueError, match="a row for each"):
        reliability([0, 1], [[0.5, 0.5]])
