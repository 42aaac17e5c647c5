"""Macro precision and recall, as metrics that Keras computes at every epoch."""

import keras
from keras import ops


class MacroMetric(keras.metrics.Metric):
    """A mean over classes of a share read from the confusion matrix that the batches add up to.

    The true class of a target distribution is its most probable one. A class that was never predicted, or never met,
    counts as 0, as in `evaluation.summarise`.

    Args:
        num_classes: int.
        name: str, the key in Keras' logs.
        axis: what the hits are divided by: 0 the predictions of each class (precision), 1 its images (recall).
    """

    def __init__(self, num_classes, *, name, axis):
        super().__init__(name=name)
        self.num_classes, self.axis = num_classes, axis
        self.counts = self.add_variable((num_classes, num_classes), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count a batch: targets and probabilities `(batch, classes)`; weights are ignored, images count alike."""
        true, predicted = (ops.one_hot(ops.argmax(y, axis=-1), self.num_classes) for y in (y_true, y_pred))
        true, predicted = (ops.cast(y, self.counts.dtype) for y in (true, predicted))
        self.counts.assign(self.counts + ops.matmul(ops.transpose(true), predicted))

    def result(self):
        """The mean over classes, a scalar in [0, 1]."""
        return ops.mean(ops.diagonal(self.counts) / ops.maximum(ops.sum(self.counts, axis=self.axis), 1.0))


def macro_metrics(num_classes):
    """Macro precision and macro recall, named `precision` and `recall`."""
    return [
        MacroMetric(num_classes, name="precision", axis=0),
        MacroMetric(num_classes, name="recall", axis=1),
    ]
