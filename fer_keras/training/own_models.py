"""What `fit` asks of anyone's compiled model before it is trained: a loss, metrics and layers that it can work with."""

import json
import random

import keras
import numpy as np


def targets_for(model, faces):
    """The targets of all images in the form that a model's loss takes: one-hot, else labels."""
    labels, loss, size = faces.labels.astype(np.int32), model.loss, model.output_shape[-1]
    while isinstance(loss, dict | list | tuple) and len(loss) == 1:
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    forms = [np.eye(size, dtype=np.float32)[labels], labels] if size > 1 else [labels.astype(np.float32)[:, None]]
    count = 3 + (size == 3)  # another number than that of classes, so that no wrong form fits by chance
    for targets in forms:
        try:
            if isinstance(model.loss, dict) and {*model.loss} != {*(getattr(model, "output_names", None) or ())}:
                raise ValueError("no output of that name")
            keras.losses.get(loss)(targets[:count], np.full((count, size), 1 / size, np.float32))
            break
        except Exception as error:  # of anyone's function
            fault = error
    else:
        words = f"Expected a loss of one-hot targets (batch, {size}), or of labels (batch,). Received: {model.loss!r}"
        advice = "Compile the model with another, such as 'categorical_crossentropy'."
        raise ValueError(f"{words}, which takes neither ({fault}). {advice}") from fault
    check_metrics(model, targets[:count])
    return targets


def check_metrics(model, targets):
    """Raise a `ValueError` for a metric of Keras' that takes another form of targets than the loss does."""
    size, compilation = model.output_shape[-1], model._compile_config.config
    form, others = "one number", ("categorical", "sparse", "topk")  # which would count something else
    if size > 1:
        form, others = "one-hot targets", ("sparse", "binaryaccuracy")
    if targets.ndim == 1:
        form, others = "labels", ("categorical", "topk", "binary")
    for metric in keras.tree.flatten([compilation.get("metrics"), compilation.get("weighted_metrics")]):
        function = getattr(metric, "_fn", metric)
        name = metric if isinstance(metric, str) else getattr(function, "__name__", type(metric).__name__)
        kind = name.lower().replace("_", "")
        is_own = not getattr(function, "__module__", "keras").startswith("keras")
        if metric is None or is_own or kind in ("accuracy", "acc", "crossentropy", "ce"):  # Keras picks one that fits
            continue
        try:
            if kind.startswith(others):
                raise ValueError("one of other targets")
            keras.metrics.get(metric)(targets, np.full((len(targets), size), 1 / size, np.float32))
            getattr(metric, "reset_state", dict)()
        except Exception as error:  # of TensorFlow or JAX
            words = f"Expected metrics of {form}, as the loss of {model.name} takes them. Received: {name}"
            advice = "Take 'accuracy', which fits any loss, or a loss of the same targets as the metric."
            raise ValueError(f"{words}. {advice}") from error


def check_loadable(model):
    """Raise a `ValueError` unless a model's layers can be made again from its file, which runs no code."""
    state = random.getstate()  # initial weights of models that are built later are drawn from it
    try:
        config = keras.saving.serialize_keras_object(model) | {"compile_config": None}
        keras.saving.deserialize_keras_object(json.loads(json.dumps(config)), safe_mode=True)
    except Exception as error:  # of anyone's layers
        reason = str(error).rpartition("Exception encountered: ")[2].strip().partition(". ")[0][:200]
        words = f"Expected layers of Keras, or registered ones, which a file of {model.name} can be loaded with"
        advice = "Register your own with keras.saving.register_keras_serializable, and give them get_config; take"
        advice += " keras.layers.Rescaling, or a layer of your own, for a Lambda."
        raise ValueError(f"{words}. Received: {type(error).__name__}: {reason}. {advice}") from error
    finally:
        random.setstate(state)
