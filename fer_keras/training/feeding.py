"""What `fit`, `evaluate` and `predict` are called with: batches in order, on any backend."""

import keras
import numpy as np

PREFETCHED = 2  # batches, which are small: a trainee's images lie on the device already


def feed(batch_size, inputs, targets=None, weights=None):
    """Return the arguments that give a `keras.Model` arrays in batches, in their order.

    On TensorFlow these are a data set without the thread that tunes such pipelines: a process that has one core alone
    would wait for it at the end of each epoch, for up to as long as the epoch took.

    Args:
        batch_size: int; the last batch may be smaller.
        inputs, targets, weights: arrays, or dicts of arrays, of as many rows.

    Returns:
        dict, for `**`.
    """
    given = {"x": inputs, "y": targets, "sample_weight": weights}
    given = {name: arrays for name, arrays in given.items() if arrays is not None}
    if keras.backend.backend() == "tensorflow":
        return {"x": in_batches(tuple(given.values()), batch_size)}
    return {**given, "batch_size": batch_size}


def in_batches(arrays, batch_size):
    """Return a `tf.data.Dataset` of nested arrays, cut into batches."""
    import tensorflow as tf

    starts = np.arange(0, length(arrays), batch_size)
    tensors = keras.tree.map_structure(tf.convert_to_tensor, arrays)

    def cut(start):
        return keras.tree.map_structure(lambda tensor: tensor[start : start + batch_size], tensors)

    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensor_slices(starts).map(cut).prefetch(PREFETCHED).with_options(options)


def length(arrays):
    """Return how many rows nested arrays have."""
    return len(keras.tree.flatten(arrays)[0])
