"""Networks: one signature for all, preprocessing inside.

`builder(num_classes, *, input_shape=(48, 48, 1), weights=None, **options) -> keras.Model`. Every network takes pixels
in [0, 255], `(batch, height, width, 1)`, and returns class probabilities, `(batch, num_classes)`.
"""

from fer_keras.models.counting import multiply_adds
from fer_keras.models.registry import MODELS, build
from fer_keras.models.transfer import fine_tune
from fer_keras.models.weights import Network, load

__all__ = ["MODELS", "Network", "build", "fine_tune", "load", "multiply_adds"]
