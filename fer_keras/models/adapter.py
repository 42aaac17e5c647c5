"""Anyone's Keras classifier as the networks of this package are: grey pixels in, class probabilities out."""

import keras
import numpy as np
from keras import layers, ops

from fer_keras.models.stages import three_channels

LOGITS = ("linear", "log_softmax")  # activations whose values a softmax turns into probabilities
# Layers behind the last one with an activation that leave logits logits, and probabilities probabilities.
NEUTRAL = (layers.Flatten, layers.Reshape, layers.Dropout, layers.GlobalAveragePooling2D, layers.Identity)


def adapt(model: keras.Model, num_classes: int, *, name: str | None = None) -> keras.Model:
    """Wrap a network so that it takes grey faces and gives a probability for each class; as it is where it does so.

    Grey pixels are repeated where it takes three channels. Logits (a last layer whose activation is linear) go through
    a softmax; several sigmoids are divided by their sum, as Keras' `CategoricalCrossentropy` does; of one sigmoid or
    one logit, which is the probability of the second of two classes, both probabilities are made.

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
    outputs = model.output_shape[1]
    activation = last_activation(model.outputs[0])
    if activation not in ("softmax", "sigmoid", *LOGITS) or (outputs == 1 and activation == "softmax"):
        raise ValueError(
            f"{name}: Expected a last activation of softmax, sigmoid or linear (logits), and no softmax of one output. "
            f"Received: {activation} of {outputs} output{'s' * (outputs > 1)}. End the network with "
            f"Dense({num_classes}, activation='softmax')."
        )
    if channels == 1 and activation == "softmax":
        return model
    inputs = keras.Input((height, width, 1))
    x = three_channels((height, width, 1))(inputs) if channels == 3 else inputs
    x = two_probabilities(model, x, activation) if outputs == 1 else normalised(model(x), activation)
    return keras.Model(inputs, x, name=model.name)


def normalised(x, activation):
    """Turn logits, or one sigmoid a class, into probabilities that sum to 1."""
    if activation == "sigmoid":  # softmax(log(p)) is p over its sum
        x = ops.log(ops.maximum(ops.cast(x, "float32"), keras.config.epsilon()))
    return x if activation == "softmax" else layers.Softmax(dtype="float32", name="probabilities")(x)


def two_probabilities(model, x, activation):
    """Make probabilities of two classes of a network's one output, for the second: softmax(0, z) is sigmoid(z)."""
    head = layers.Dense(2, activation="softmax", dtype="float32", name="probabilities")
    layer, node, _ = model.outputs[0]._keras_history
    if isinstance(layer, layers.Dense) and layer.use_bias:  # from its logit, as a sigmoid is 1 from about 17 on
        kernel, bias = layer.get_weights()
        x = keras.Model(model.inputs, layer._inbound_nodes[node].input_tensors[0])(x)
    else:
        kernel, bias, x = np.ones((1, 1)), np.zeros(1), ops.cast(model(x), "float32")
        if activation == "sigmoid":
            x = ops.clip(x, keras.config.epsilon(), 1 - keras.config.epsilon())
            x = ops.log(x) - ops.log1p(-x)
    x = head(x)
    head.set_weights([np.hstack([np.zeros_like(kernel), kernel]), np.hstack([np.zeros_like(bias), bias])])
    return x


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


def last_activation(tensor):
    """Name of the activation that gives a network's output, e.g. `"softmax"`; nested networks are looked into."""
    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        return last_activation(operation.outputs[index])
    name = getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())
    is_neutral = isinstance(operation, NEUTRAL) or (isinstance(operation, layers.Activation) and name == "linear")
    given = operation._inbound_nodes[node].input_tensors
    return last_activation(given[0]) if is_neutral and given else name
