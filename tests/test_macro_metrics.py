"""Macro precision and recall by epoch: scikit-learn's values, batch by batch."""

import keras
import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from fer_keras.training.macro_metrics import macro_metrics


@pytest.mark.parametrize("missing", [False, True])
def test_they_are_scikit_learns(missing):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4 if missing else 5, 90)
    probabilities = generator.dirichlet(np.ones(5), 90)
    if missing:
        probabilities[:, 4] = 0  # never met, never predicted
    targets = 0.8 * np.eye(5)[labels] + 0.04
    expected = [score(labels, probabilities.argmax(1), labels=range(5), average="macro", zero_division=0)
                for score in (precision_score, recall_score)]  # fmt: skip
    for metric, value in zip(macro_metrics(5), expected, strict=True):
        for start in range(0, 90, 32):
            metric.update_state(targets[start : start + 32], probabilities[start : start + 32])
        assert float(keras.ops.convert_to_numpy(metric.result())) == pytest.approx(value, abs=1e-6)
        metric.reset_state()
        assert float(keras.ops.convert_to_numpy(metric.result())) == 0


def test_their_names_are_the_columns_of_the_history():
    assert [metric.name for metric in macro_metrics(3)] == ["precision", "recall"]
