"""Networks of residual blocks (mini-Xception, ResNet-18, SEP-CVDL's, ours), with the arguments of `fer_keras.build`."""

import functools
from collections.abc import Callable

import keras
from keras import KerasTensor, Model, layers, regularizers

from fer_keras.models.inputs import SHAPE, Shape, Weights, check_input, every_other, resize, start_from, three_channels

# Stem and blocks of `fer_small`, as `through_blocks` takes them.
SMALL = (24, 5, 2), ((24, 1), (32, 2), (64, 1), (128, 2))


def convolution(x, filters, *, size=3, strides=1, initializer="glorot_uniform", momentum=0.99):
    """A convolution without bias, and batch normalisation; one pixel wide it needs no padding."""
    options = {"use_bias": False, "kernel_initializer": initializer, "data_format": "channels_last"}
    x = layers.Conv2D(filters, size, strides, "valid" if size == 1 else "same", **options)(x)
    return layers.BatchNormalization(momentum=momentum)(x)


def residual_block(
    x: KerasTensor, filters: int, *, strides: int = 1, attention: Callable | None = None, rectify: bool = True,
    convolution: Callable = convolution, halve: Callable = every_other, shortcut_first: bool = True,
) -> KerasTensor:  # fmt: skip
    """Add two 3x3 convolutions to their input, or to a 1x1 convolution of it where the number of channels changes.

    Args:
        x, filters: `(batch, height, width, channels)`, and the channels of the output.
        strides: 1, or 2 to halve the sides, those of the shortcut by the function `halve`.
        attention: function of the convolutions' output, before it is added.
        convolution: function of `(x, filters, size=…, strides=…)` that convolves and normalises.
        rectify: whether the sum goes through a ReLU.
        shortcut_first: order of the sum, on which the order of a network's weights rests.
    """
    shortcut = halve(x) if strides == 2 else x
    if shortcut.shape[-1] != filters:
        shortcut = convolution(shortcut, filters, size=1)
    x = layers.ReLU()(convolution(x, filters, strides=strides))
    x = convolution(x, filters)
    x = attention(x) if attention else x
    x = layers.Add()([shortcut, x] if shortcut_first else [x, shortcut])
    return layers.ReLU()(x) if rectify else x


def squeeze_and_excite(x: KerasTensor, *, reduction: int = 16, least: int = 1, use_bias: bool = False) -> KerasTensor:
    """Scale each channel by a gate in [0, 1] that two dense layers compute from the means of all channels."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, data_format="channels_last")(x)
    gate = layers.Dense(max(least, channels // reduction), activation="relu", use_bias=use_bias)(gate)
    gate = layers.Dense(channels, activation="sigmoid", use_bias=use_bias)(gate)
    return layers.Multiply()([x, gate])


def mini_xception(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, l2: float = 0.01, side: int | None = None
) -> Model:
    """Build mini-Xception, the network of about 60,000 parameters that face packages ship.

    58,423 parameters for seven classes, at any input size. `l2` is the penalty on the kernels of all but the residual
    and the last convolution; `side`, at least 24, resizes the picture to `side` x `side` inside.

    Reference: Arriaga, Valdenegro-Toro and Plöger, "Real-time Convolutional Neural Networks for Emotion and Gender
    Classification", 2017, arXiv:1710.07557.
    """

    def separable(x, filters, *, size=3, strides=1):  # the block's stride is that of the pool after it
        if size == 1:
            return convolution(x, filters, size=1)
        penalty = {"depthwise_regularizer": regularizers.L2(l2), "pointwise_regularizer": regularizers.L2(l2)}
        x = layers.SeparableConv2D(filters, size, padding="same", use_bias=False, **penalty)(x)
        return layers.BatchNormalization()(x)

    check_input(num_classes, input_shape, side=side, least=24)
    pixels = keras.Input(input_shape)
    x = pixels if side is None else resize(input_shape, side, side)(pixels)
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_signed")(x)
    for _ in range(2):
        x = layers.Conv2D(8, 3, use_bias=False, kernel_regularizer=regularizers.L2(l2))(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    for filters in (16, 32, 64, 128):
        options = {"attention": layers.MaxPooling2D(3, strides=2, padding="same"), "convolution": separable}
        x = residual_block(x, filters, strides=2, rectify=False, shortcut_first=False, **options)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(num_classes, 3, padding="same")(x))
    return start_from(Model(pixels, layers.Softmax(dtype="float32")(x), name="mini_xception"), weights)


def resnet18(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, side: int = 64) -> Model:
    """Build ResNet-18 at `side` x `side`, from random initialisation: Keras publishes no ImageNet weights of it.

    11,189,190 parameters and 148 M multiply-adds for six classes.

    Reference: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385; among the
    networks of Jaschkowitz, Kawka, Mohammadi and Wang, "Emotion Recognition From Facial Expressions".
    """
    pixels, x = sep_entrance(num_classes, input_shape, side, least=32)
    x = layers.ReLU()(convolution(x, 64, size=7, strides=2))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for filters, strides in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = residual_block(residual_block(x, filters, strides=strides), filters)
    return with_softmax("resnet18", pixels, layers.GlobalAveragePooling2D()(x), num_classes, weights)


def sep_se(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, side: int = 64) -> Model:
    """Build the SEP-CVDL network with squeeze-and-excitation after each convolution, at `side` x `side`.

    2,651,526 parameters and 235 M multiply-adds for six classes.

    Reference: Jaschkowitz et al.; Hu, Shen, Albanie, Sun and Wu, "Squeeze-and-Excitation Networks", 2018,
    arXiv:1709.01507.
    """
    pixels, x = sep_entrance(num_classes, input_shape, side)
    for filters in (64, 128, 256, 512):
        x = sep_convolution(x, filters)
    return with_softmax("sep_se", pixels, sep_head(x), num_classes, weights)


def sep_se_residual(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, side: int = 64) -> Model:
    """Build the SEP-CVDL network with squeeze-and-excitation whose later convolutions are residual blocks.

    5,926,406 parameters and 184 M multiply-adds for six classes. The last three convolutions are blocks of SE-ResNet.

    Reference: Jaschkowitz et al., who say no more than that residual connections were added; Hu et al., 2018,
    arXiv:1709.01507.
    """
    pixels, x = sep_entrance(num_classes, input_shape, side)
    x = sep_convolution(x, 64)
    for filters in (128, 256, 512):
        x = residual_block(x, filters, strides=2, attention=squeeze_and_excite)
        x = layers.Dropout(0.2)(x)
    return with_softmax("sep_se_residual", pixels, sep_head(x), num_classes, weights)


def sep_entrance(num_classes, input_shape, side, *, least=16):
    """The input, and three equal channels in [0, 1] of `side` x `side` pixels."""
    check_input(num_classes, input_shape, side=side, least=least)
    pixels = keras.Input(input_shape)
    x = three_channels((side, side, 1))(resize(input_shape, side, side)(pixels))
    return pixels, layers.Rescaling(1 / 255, name="to_unit")(x)


def sep_convolution(x, filters):
    """A 3x3 convolution with batch normalisation, ReLU and squeeze-and-excitation, a halving max pool and dropout."""
    x = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(x))
    x = squeeze_and_excite(layers.ReLU()(x))
    return layers.Dropout(0.2)(layers.MaxPooling2D(2)(x))


def sep_head(x):
    """Global average pooling, Dense 1024, dropout .5 and Dense 512."""
    x = layers.Dense(1024, activation="relu")(layers.GlobalAveragePooling2D()(x))
    x = layers.Dropout(0.5)(x)
    return layers.Dense(512, activation="relu")(x)


def with_softmax(name, pixels, x, num_classes, weights):
    """Build a network of a dense layer and a softmax after `x`, in float32 whatever the other layers compute in."""
    softmax = layers.Dense(num_classes, activation="softmax", dtype="float32")
    return start_from(Model(pixels, softmax(x), name=name), weights)


def fer_small(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, pooling: str = "mean") -> Model:
    """Build `fer-small`: a stem and four residual blocks of 24, 32, 64 and 128 channels.

    324,311 parameters and 25 M multiply-adds for seven classes; 4,608 more of each with `pooling="weighted"`. The
    convolutions are plain ones: depthwise layers have fewer multiply-adds, and take longer for it on CPUs.

    Reference: He et al., "Deep Residual Learning", 2016, arXiv:1512.03385; Hu et al., "Squeeze-and-Excitation
    Networks", 2018, arXiv:1709.01507.
    """
    return build_fer("fer_small", num_classes, input_shape, weights, *SMALL, dropout=0.2, pooling=pooling)


def fer_base(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, pooling: str = "mean") -> Model:
    """Build `fer-base`: `fer_small` at twice its width.

    1,287,525 parameters and 100 M multiply-adds for seven classes.

    Reference: He et al., 2016, arXiv:1512.03385; Hu et al., 2018, arXiv:1709.01507.
    """
    stem, blocks = (48, 5, 2), ((48, 1), (64, 2), (128, 1), (256, 2))
    return build_fer("fer_base", num_classes, input_shape, weights, stem, blocks, dropout=0.3, pooling=pooling)


def fer_large(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, pooling: str = "mean") -> Model:
    """Build `fer-large`: wider blocks, two of each, which start at full resolution.

    6,460,919 parameters and 815 M multiply-adds for seven classes: a network for accelerators.

    Reference: He et al., 2016, arXiv:1512.03385; Hu et al., 2018, arXiv:1709.01507.
    """
    stem, blocks = (48, 3, 1), ((64, 2), (64, 1), (128, 1), (128, 1), (256, 2), (256, 1), (320, 2), (320, 1))
    return build_fer("fer_large", num_classes, input_shape, weights, stem, blocks, dropout=0.4, pooling=pooling)


def dual_channel(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, crop: tuple = (8, 24, 4, 4)
) -> Model:
    """Build a network with two channels, the whole face and the region of eyes and brows, joined before the softmax.

    Each channel has `fer_small`'s stem and blocks, which are our choice. `crop` is `(top, bottom, left, right)`, the
    pixels that the second does not see. 647,844 parameters and 32 M multiply-adds for four classes.

    Reference: Palacios Boyce, capstone project, 2022.
    """
    check_input(num_classes, input_shape, least=48)
    pixels = keras.Input(input_shape)
    signed = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_signed")(pixels)
    region = layers.Cropping2D((tuple(crop[:2]), tuple(crop[2:])))(signed)
    pooled = [pool(through_blocks(x, *SMALL), "mean") for x in (signed, region)]
    return with_softmax("dual_channel", pixels, layers.Dropout(0.2)(layers.Concatenate()(pooled)), num_classes, weights)


def build_fer(name, num_classes, input_shape, weights, stem, blocks, *, dropout, pooling):
    """Build one of our networks: stem and blocks as `through_blocks` takes them, and a softmax on pooled channels."""
    check_input(num_classes, input_shape, least=16)
    if pooling not in ("mean", "weighted"):
        raise ValueError(f"`pooling` must be one of mean, weighted. Received: {pooling!r}.")
    pixels = keras.Input(input_shape)
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_signed")(pixels)
    x = pool(through_blocks(x, stem, blocks), pooling)
    return with_softmax(name, pixels, layers.Dropout(dropout)(x), num_classes, weights)


def through_blocks(x, stem, blocks):
    """A stem `(filters, size, strides)` and residual blocks `(filters, strides)` with squeeze-and-excitation."""
    ours = functools.partial(convolution, initializer="he_normal", momentum=0.9)
    options = {"convolution": ours, "shortcut_first": False}
    options["halve"] = lambda x: layers.AveragePooling2D(2, padding="same")(x)
    # A reduction of 16 would leave one unit on the narrow stages.
    options["attention"] = functools.partial(squeeze_and_excite, reduction=8, least=4, use_bias=True)
    filters, size, strides = stem
    x = layers.ReLU()(ours(x, filters, size=size, strides=strides))
    for filters, strides in blocks:
        x = residual_block(x, filters, strides=strides, **options)
    return x


def pool(x: KerasTensor, pooling: str) -> KerasTensor:
    """Sum each channel over its places: `"mean"`, or `"weighted"` by a weight each that begins as the mean's.

    Reference: the global depthwise convolution of Chen et al., "MobileFaceNets", 2018, arXiv:1804.07573.
    """
    if pooling == "mean":
        return layers.GlobalAveragePooling2D()(x)
    height, width = x.shape[1:3]
    mean = keras.initializers.Constant(1 / (height * width))
    return layers.Flatten()(layers.DepthwiseConv2D((height, width), use_bias=False, depthwise_initializer=mean)(x))
