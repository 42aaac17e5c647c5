"""How much work one face is."""

import math

import keras
from keras import layers


def multiply_adds(model):
    """Return the multiply-adds of one forward pass of one image: convolutions and dense layers, nested ones too.

    Normalisation, activation and pooling are left out, as in the tables of most papers.

    Args:
        model: a built `keras.Model` with a fixed input size.

    Returns:
        int.

    Raises:
        ValueError: if an output size is unknown because the input size is.

    Example:

    >>> model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, padding="same")])
    >>> multiply_adds(model)
    288
    """
    return sum(of_layer(layer) for layer in leaves(model))


def leaves(model):
    """Yield the layers of a model, those of nested models too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def of_layer(layer):
    """Return the multiply-adds of one layer on one image."""
    if isinstance(layer, layers.Dense):
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    if isinstance(layer, layers.SeparableConv2D):
        positions = spatial_size(layer)
        return positions * (math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape))
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        return spatial_size(layer) * math.prod(layer.kernel.shape)
    return 0


def spatial_size(layer):
    """Return the number of output positions of a convolution."""
    size = layer.output.shape[1:3]
    if None in size:
        raise ValueError(
            f"Layer {layer.name} has an open output size {size}. Build the network with a fixed `input_shape`."
        )
    return math.prod(size)
