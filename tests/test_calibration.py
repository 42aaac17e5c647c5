"""A temperature undoes what was done to probabilities, and the error measures what is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_keras.evaluation.calibration import calibration_error, fit_temperature, reliability, softmax, with_temperature
from fer_keras.evaluation.metrics import log_loss


def sample(total=20_000, classes=7, seed=0):
    """Labels drawn from probabilities, and these: calibrated by construction."""
    generator = np.random.default_rng(seed)
    probabilities = softmax(2 * generator.normal(size=(total, classes)))
    labels = (probabilities.cumsum(axis=1) < generator.random((total, 1))).sum(axis=1)
    return labels.clip(0, classes - 1), probabilities


LABELS, PROBABILITIES = sample()


def test_what_is_calibrated_stays_as_it_is():
    assert fit_temperature(LABELS, PROBABILITIES) == pytest.approx(1, abs=0.03)
    assert calibration_error(LABELS, PROBABILITIES) < 0.012


@given(st.floats(0.3, 3.0))
@settings(max_examples=10, deadline=None)
def test_a_temperature_is_found_again(temperature):
    changed = with_temperature(PROBABILITIES, temperature)
    found = fit_temperature(LABELS, changed)
    assert found == pytest.approx(1 / temperature, rel=0.05)
    assert calibration_error(LABELS, with_temperature(changed, found)) < 0.015


def test_the_temperature_has_the_least_loss_and_changes_no_answer():
    changed = with_temperature(PROBABILITIES, 0.4)
    best = fit_temperature(LABELS, changed)
    losses = [log_loss(LABELS, with_temperature(changed, best * factor)) for factor in (0.9, 1, 1.1)]
    assert min(losses) == losses[1]
    answers = with_temperature(changed, best).argmax(axis=1)
    np.testing.assert_array_equal(answers, PROBABILITIES.argmax(axis=1))


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


def test_sure_and_wrong_is_flattened_as_far_as_allowed():
    assert fit_temperature([0, 1], [[0, 1], [1, 0]]) == pytest.approx(20, rel=1e-3)
    assert fit_temperature([0, 1], [[0.6, 0.4], [0.4, 0.6]]) == pytest.approx(0.05, rel=1e-3)


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match=r"`temperature` must be above 0\. Received: 0"):
        with_temperature(PROBABILITIES, 0)
    with pytest.raises(ValueError, match="finite values"):
        fit_temperature([0], [[np.nan, 1]])
    with pytest.raises(ValueError, match="a row for each label"):
        reliability([0, 1], [[0.5, 0.5]])
