"""Anyone's Keras classifier as the networks of this package are: grey pixels in, class probabilities out."""

import keras

from fer_keras.evaluation.explain import to_probabilities
from fer_keras.models.stages import three_channels


def adapt(model: keras.Model, num_classes: int, *, name: str | None = None) -> keras.Model:
    """Wrap a network so that it takes grey faces and gives a probability for each class; as it is where it does so.

    Grey pixels are repeated where it takes three channels; logits or one sigmoid become probabilities, see
    `explain.to_probabilities`.

    Args:
        model: a built Sequential or Functional `keras.Model` of one input, `(batch, height, width, 1)` or
            `(batch, height, width, 3)`, pixels in [0, 255], and one output.
        num_classes: int, at least 2.
        name: for errors; default: the model's.

    Returns:
        A `keras.Model` from `(batch, height, width, 1)` to probabilities `(batch, num_classes)`, with the same weights.

    Raises:
        ValueError: if the network is subclassed or unbuilt, or of other inputs or outputs.
    """
    name = name or getattr(model, "name", type(model).__name__)
    height, width, channels = check_input_and_output(model, num_classes, name)
    model = to_probabilities(model, name)
    if channels == 1:
        return model
    inputs = keras.Input((height, width, 1))
    return keras.Model(inputs, model(three_channels((height, width, 1))(inputs)), name=model.name)


def check_input_and_output(model, num_classes, name):
    """Return `(height, width, channels)` of a network's input; raise a `ValueError` if it is none for faces."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"{name}: Expected a keras.Model. Received: {type(model)}. Pass a model, or the path of a file."
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"{name}: Expected a built Sequential or Functional model. Received: {type(model).__name__}, without "
            "inputs. Begin it with keras.Input((height, width, 1)); a subclassed model cannot be used here."
        )
    if (len(model.inputs), len(model.outputs)) != (1, 1):
        raise ValueError(
            f"{name}: Expected one input and one output. Received: {len(model.inputs)} and "
            f"{len(model.outputs)}. Build one of the output of the emotion: keras.Model(model.input, model.outputs[0])."
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[0] is not None or None in shape[1:] or shape[3] not in (1, 3):
        raise ValueError(
            f"{name}: Expected an input of (batch, height, width, 1) or (batch, height, width, 3) of a fixed size. "
            f"Received: {shape}. Begin the network with keras.Input((height, width, 1))."
        )
    found = tuple(model.outputs[0].shape)
    if found != (None, num_classes) and (found, num_classes) != ((None, 1), 2):
        wanted = f"(batch, {num_classes}){', or (batch, 1) with one sigmoid,' * (num_classes == 2)}"
        raise ValueError(
            f"{name}: Expected an output of {wanted} for {num_classes} classes. Received: {found}. Name as many "
            "classes as it has outputs."
        )
    return shape[1:]
