"""Compute in fewer bits while training: values stay float32, and so does everything that is recorded."""

import contextlib

from fer_keras.models.counting import leaves

PRECISIONS = ("float32", "mixed_bfloat16")


def check_precision(precision):
    """Raise a `ValueError` unless there is such a precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: {precision!r}.")


@contextlib.contextmanager
def computing_in(network, precision):
    """Let a network's layers compute in a precision for as long as the context lasts.

    Its variables stay float32, and its last layer, which gives the probabilities, computes in float32 always: a
    bfloat16 has eight bits for them.

    Args:
        network: a built `keras.Model`; functions of it that were compiled before keep their precision.
        precision: one of `PRECISIONS`. `"mixed_bfloat16"` is faster where the processor multiplies bfloat16
            (AVX512-BF16, AMX, or an accelerator), slower elsewhere.
    """
    layers = [layer for layer in leaves(network) if layer is not network.layers[-1]]
    before = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = precision
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy
