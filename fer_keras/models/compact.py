"""Our own networks: plain 3x3 residual blocks with squeeze-and-excitation, fast on CPUs and accelerators alike."""

import keras
from keras import layers

from fer_keras.models import stages
from fer_keras.models.attention import squeeze_and_excite

# Stem and blocks of `fer_small`, as `through_blocks` takes them.
SMALL = (24, 5, 2), ((24, 1), (32, 2), (64, 1), (128, 2))


def fer_small(num_classes, *, input_shape=(48, 48, 1), weights=None, pooling="mean"):
    """Build `fer-small`: a stem and four residual blocks of 24, 32, 64 and 128 channels.

    324,311 parameters and 25 M multiply-adds for seven classes; 4,608 more of each with weighted pooling. The
    convolutions are plain ones: depthwise layers have fewer multiply-adds, and take longer for it on CPUs.

    Reference: He et al., "Deep Residual Learning", 2016, arXiv:1512.03385; Hu et al., "Squeeze-and-Excitation
    Networks", 2018, arXiv:1709.01507.

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 16.
        weights: None for random values, or the path of a `.keras` or `.weights.h5` file of this network.
        pooling: name in `POOLINGS`: how a channel becomes one value.

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities `(batch, num_classes)`.

    Raises:
        ValueError: on an input it cannot be built for, or weights that do not fit.
    """
    options = {"dropout": 0.2, "pooling": pooling, "input_shape": input_shape, "weights": weights}
    return residual("fer_small", num_classes, *SMALL, **options)


def fer_base(num_classes, *, input_shape=(48, 48, 1), weights=None, pooling="mean"):
    """Build `fer-base`: `fer_small` at twice its width.

    1,287,525 parameters and 100 M multiply-adds for seven classes.

    Reference: He et al., 2016, arXiv:1512.03385; Hu et al., 2018, arXiv:1709.01507. Args, Returns and Raises as in
    `fer_small`.
    """
    stem, blocks = (48, 5, 2), ((48, 1), (64, 2), (128, 1), (256, 2))
    options = {"dropout": 0.3, "pooling": pooling, "input_shape": input_shape, "weights": weights}
    return residual("fer_base", num_classes, stem, blocks, **options)


def fer_large(num_classes, *, input_shape=(48, 48, 1), weights=None, pooling="mean"):
    """Build `fer-large`: wider blocks, two of each, which start at full resolution.

    6,460,919 parameters and 815 M multiply-adds for seven classes: a network for accelerators.

    Reference: He et al., 2016, arXiv:1512.03385; Hu et al., 2018, arXiv:1709.01507. Args, Returns and Raises as in
    `fer_small`.
    """
    stem, blocks = (48, 3, 1), ((64, 2), (64, 1), (128, 1), (128, 1), (256, 2), (256, 1), (320, 2), (320, 1))
    options = {"dropout": 0.4, "pooling": pooling, "input_shape": input_shape, "weights": weights}
    return residual("fer_large", num_classes, stem, blocks, **options)


def dual_channel(num_classes, *, input_shape=(48, 48, 1), weights=None, crop=(8, 24, 4, 4)):
    """Build a network with two channels, the whole face and the region of eyes and brows, joined before the softmax.

    Each channel has `fer_small`'s stem and blocks; the capstone's author recommended such a network for later work,
    without a system: the layers are ours. 647,844 parameters and 32 M multiply-adds for four classes.

    Reference: Palacios Boyce, capstone project, 2022. Args, Returns and Raises as in `fer_small`; `crop` is
    `(top, bottom, left, right)`, the pixels that the second channel does not see.
    """
    stages.check_input(num_classes, input_shape, least=48)
    inputs = keras.Input(input_shape)
    signed = stages.to_signed()(inputs)
    top, bottom, left, right = crop
    region = layers.Cropping2D(((top, bottom), (left, right)))(signed)
    pooled = [mean_pooling(through_blocks(x, *SMALL)) for x in (signed, region)]
    x = layers.Dropout(0.2)(layers.Concatenate()(pooled))
    outputs = layers.Dense(num_classes, activation="softmax")(x)
    return stages.start_from(keras.Model(inputs, outputs, name="dual_channel"), weights)


def residual(name, num_classes, stem, blocks, *, dropout, pooling, input_shape, weights):
    """Build a stem `(filters, size, strides)`, residual blocks `(filters, strides)`, and a softmax on pooled values."""
    stages.check_input(num_classes, input_shape, least=16)
    if pooling not in POOLINGS:
        raise ValueError(f"`pooling` must be one of {', '.join(POOLINGS)}. Received: {pooling!r}.")
    inputs = keras.Input(input_shape)
    x = through_blocks(stages.to_signed()(inputs), stem, blocks)
    x = POOLINGS[pooling](x)
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(num_classes, activation="softmax")(x)
    return stages.start_from(keras.Model(inputs, outputs, name=name), weights)


def through_blocks(x, stem, blocks):
    """A stem `(filters, size, strides)` and residual blocks `(filters, strides)`."""
    filters, size, strides = stem
    x = layers.ReLU()(convolution(x, filters, size=size, strides=strides))
    for filters, strides in blocks:
        x = residual_block(x, filters, strides)
    return x


def residual_block(x, filters, strides):
    """Two 3x3 convolutions with squeeze-and-excitation, added to the input; halved by the first where asked."""
    shortcut = x
    if strides > 1:
        shortcut = layers.AveragePooling2D(strides, padding="same")(shortcut)
    if shortcut.shape[-1] != filters:
        shortcut = convolution(shortcut, filters, size=1)
    x = layers.ReLU()(convolution(x, filters, strides=strides))
    # A reduction of 16 would leave one unit on the narrow stages.
    x = squeeze_and_excite(convolution(x, filters), reduction=8, least=4, use_bias=True)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def convolution(x, filters, *, size=3, strides=1):
    """A convolution without bias, and batch normalisation."""
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def mean_pooling(x):
    """The mean of each channel over its places."""
    return layers.GlobalAveragePooling2D()(x)


def weighted_pooling(x):
    """The sum of each channel over its places, each with a weight of its own, which training begins at the mean's.

    A mean forgets where something was seen; in a face that was cut out, a mouth has its place.

    Reference: the global depthwise convolution of Chen et al., "MobileFaceNets", 2018, arXiv:1804.07573.
    """
    height, width = x.shape[1:3]
    mean = keras.initializers.Constant(1 / (height * width))
    x = layers.DepthwiseConv2D((height, width), use_bias=False, depthwise_initializer=mean)(x)
    return layers.Flatten()(x)


POOLINGS = {"mean": mean_pooling, "weighted": weighted_pooling}
