"""The Sequential networks that student projects trained from scratch, with the arguments of `fer_keras.build`."""

from keras import Model, Sequential, layers

from fer_keras.models.inputs import SHAPE, Shape, Weights, check_input, resize, start_from, three_channels

# (filters, convolutions) of each block of VGG's configuration A.
VGG_BLOCKS = ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))
# Eight layers without batch normalisation lose the signal under Keras' default initial values.
HE = {"activation": "relu", "kernel_initializer": "he_normal"}


def capstone_model_1(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None) -> Model:
    """Build the capstone's first network: three 2x2 convolutions with pooling and dropout, one dense layer.

    605,572 parameters for four classes at 48x48.

    Reference: Palacios Boyce, "Deep Learning Methods for Facial Emotion Recognition", capstone project, 2022.
    """
    steps = entrance(num_classes, input_shape, channels=3)
    for filters in (64, 32, 32):
        steps += [layers.Conv2D(filters, 2, padding="same", activation="relu"), layers.MaxPooling2D(2)]
        steps += [layers.Dropout(0.2)]
    steps += [layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dropout(0.4)]
    return in_sequence("capstone_model_1", input_shape, steps, num_classes, weights)


def capstone_model_2(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None) -> Model:
    """Build the capstone's second network: four 2x2 convolutions with batch normalisation, two dense layers.

    391,652 parameters for four classes at 48x48. ReLU, batch normalisation and LeakyReLU follow one another: so it was.

    Reference: Palacios Boyce, 2022.
    """
    steps = entrance(num_classes, input_shape, least=16, channels=3)
    for filters in (256, 128, 64, 32):
        steps += capstone_block(filters)
    steps += [layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dense(128, activation="relu")]
    return in_sequence("capstone_model_2", input_shape, steps, num_classes, weights)


def capstone_final(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, dropout: float = 0.2
) -> Model:
    """Build the capstone's final network: five 2x2 convolutions and two dense layers, on the grey channel itself.

    1,782,340 parameters for four classes at 48x48; `dropout` follows each block and dense layer.

    Reference: Palacios Boyce, 2022.
    """
    steps = entrance(num_classes, input_shape, least=32)
    for filters in (64, 128, 512, 512, 128):
        steps += [*capstone_block(filters), layers.Dropout(dropout)]
    steps += [layers.Flatten(), *dense_block(256, dropout), *dense_block(512, dropout)]
    return in_sequence("capstone_final", input_shape, steps, num_classes, weights)


def scratch_four_conv(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, dropout: float = 0.25
) -> Model:
    """Build the four-convolution network that Kaggle's face expression notebooks share, with two dense layers.

    4,478,727 parameters and 290 M multiply-adds for seven classes; `dropout` follows each block and dense layer.

    Reference: Assefa, Burrell and Gomtsyan, "Facial Expression Recognition", who print it.
    """
    steps = entrance(num_classes, input_shape, least=16)
    for filters, size in ((64, 3), (128, 5), (512, 3), (512, 3)):
        steps += [*block(filters, size=size), layers.Dropout(dropout)]
    steps += [layers.Flatten(), *dense_block(256, dropout), *dense_block(512, dropout)]
    return in_sequence("scratch_four_conv", input_shape, steps, num_classes, weights)


def light(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, dropout: float = 0.25) -> Model:
    """Build the light network of the ensemble study: three 3x3 convolutions, one dense layer and `dropout`.

    One network for all classes (`general`) or for two, the rest and one emotion (`one-vs-rest`), so that ensembles
    compare what was asked. The published text has no layers: they are ours. 684,583 parameters and 22 M multiply-adds
    for seven classes at 48x48.

    Reference: Assefa, Burrell and Gomtsyan, "Facial Expression Recognition".
    """
    steps = entrance(num_classes, input_shape)
    for filters in (32, 64, 128):
        steps += block(filters, use_bias=False)
    # Without its normalisation, and with a dropout of .5, training stood still at the majority class.
    steps += [layers.Flatten(), *dense_block(128, dropout, use_bias=False)]
    return in_sequence("light", input_shape, steps, num_classes, weights)


def emovision_baseline(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, crop: tuple | None = None
) -> Model:
    """Build EmoVision's baseline: two 3x3 convolutions with pooling, one dense layer.

    The widths (32, 64; 128) are ours. `crop` is `(top, bottom, left, right)`, the pixels that are cut away inside.

    Reference: Chon, Han and Yoo, "EmoVision".
    """
    steps = entrance(num_classes, input_shape)
    if crop:
        (top, bottom, left, right), (height, width, _) = crop, input_shape
        if min(crop) < 0 or min(height - top - bottom, width - left - right) < 4:
            raise ValueError(f"`crop` must leave at least 4x4 pixels of the {height}x{width} input. Received: {crop}.")
        steps = [layers.Cropping2D(((top, bottom), (left, right))), *steps]
    for filters in (32, 64):
        steps += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]
    steps += [layers.Flatten(), layers.Dense(128, activation="relu")]
    return in_sequence("emovision_baseline", input_shape, steps, num_classes, weights)


def emovision_vgg_draft(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None) -> Model:
    """Build EmoVision's draft: the first three blocks of `emovision_vgg`, a dense layer, no dropout.

    5,682,439 parameters and 176 M multiply-adds for seven classes at 48x48.

    Reference: Chon, Han and Yoo, "EmoVision", where it is "Draft VGG Model" and no more: three blocks are our reading.
    """
    steps = entrance(num_classes, input_shape)
    for filters, depth in VGG_BLOCKS[:3]:
        steps += vgg_block(filters, depth)
    steps += [layers.Flatten(), layers.Dense(512, **HE)]
    return in_sequence("emovision_vgg_draft", input_shape, steps, num_classes, weights)


def emovision_vgg(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, dropout: float = 0.5
) -> Model:
    """Build EmoVision's final network: five blocks of 3x3 convolutions, one dense layer, `dropout` before it.

    Five blocks of 64 to 512 3x3 filters, as published, are VGG's configuration A; the 512 units are ours. 9,485,575
    parameters and 341 M multiply-adds for seven classes at 48x48.

    Reference: Chon, Han and Yoo, "EmoVision"; Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition", 2015, arXiv:1409.1556.
    """
    steps = entrance(num_classes, input_shape, least=32)
    for filters, depth in VGG_BLOCKS:
        steps += vgg_block(filters, depth)
    steps += [layers.Flatten(), layers.Dropout(dropout), layers.Dense(512, **HE)]
    return in_sequence("emovision_vgg", input_shape, steps, num_classes, weights)


def ferplus_vgg13(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, side: int = 64) -> Model:
    """Build the VGG13 of the FER+ paper: ten 3x3 convolutions at `side` x `side`, two dense layers of 1,024 units.

    8,757,704 parameters and 876 M multiply-adds for eight classes.

    Reference: Barsoum, Zhang, Canton Ferrer and Zhang, "Training Deep Networks for Facial Expression Recognition with
    Crowd-Sourced Label Distribution", 2016, arXiv:1608.01041.
    """
    steps = entrance(num_classes, input_shape, side=side, least=16)
    for filters, depth in ((64, 2), (128, 2), (256, 3), (256, 3)):
        steps += [*vgg_block(filters, depth), layers.Dropout(0.25)]
    steps += [layers.Flatten(), layers.Dense(1024, **HE), layers.Dropout(0.5)]
    steps += [layers.Dense(1024, **HE), layers.Dropout(0.5)]
    return in_sequence("ferplus_vgg13", input_shape, steps, num_classes, weights)


def sep_baseline(num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = None, side: int = 64) -> Model:
    """Build the SEP-CVDL baseline: four 3x3 convolutions at `side` x `side`, three dense layers.

    2,608,006 parameters and 235 M multiply-adds for six classes.

    Reference: Jaschkowitz, Kawka, Mohammadi and Wang, "Emotion Recognition From Facial Expressions: A Preliminary
    Report", LMU Munich; their report gives four convolutions and three dense layers.
    """
    steps = entrance(num_classes, input_shape, side=side, least=16, channels=3)
    for filters in (64, 128, 256, 512):
        steps += [*block(filters), layers.Dropout(0.2)]
    steps += [layers.GlobalAveragePooling2D(), layers.Dense(1024, activation="relu"), layers.Dropout(0.5)]
    steps += [layers.Dense(512, activation="relu")]
    return in_sequence("sep_baseline", input_shape, steps, num_classes, weights)


def entrance(num_classes, input_shape, *, least=8, side=None, channels=1):
    """Check the input, resize it to `side` if there is one, and scale one or three equal channels to [0, 1]."""
    check_input(num_classes, input_shape, least=least, side=side)
    steps = [resize(input_shape, side, side)] if side else []
    steps += [three_channels((side, side, 1) if side else input_shape)] if channels == 3 else []
    return [*steps, layers.Rescaling(1 / 255, name="to_unit")]


def capstone_block(filters):
    """A 2x2 convolution with ReLU, batch normalisation, LeakyReLU(.1) and a halving max pool."""
    convolution = layers.Conv2D(filters, 2, padding="same", activation="relu")
    return [convolution, layers.BatchNormalization(), layers.LeakyReLU(negative_slope=0.1), layers.MaxPooling2D(2)]


def block(filters, *, size=3, use_bias=True):
    """A convolution, batch normalisation, ReLU and a halving max pool."""
    convolution = layers.Conv2D(filters, size, padding="same", use_bias=use_bias)
    return [convolution, layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D(2)]


def dense_block(units, dropout, *, use_bias=True):
    """A dense layer, batch normalisation, ReLU and dropout."""
    dense = layers.Dense(units, use_bias=use_bias)
    return [dense, layers.BatchNormalization(), layers.ReLU(), layers.Dropout(dropout)]


def vgg_block(filters, depth):
    """`depth` 3x3 convolutions and a halving max pool."""
    return [*(layers.Conv2D(filters, 3, padding="same", **HE) for _ in range(depth)), layers.MaxPooling2D(2)]


def in_sequence(name, input_shape, steps, num_classes, weights):
    """Put layers in sequence, and a softmax after them that computes in float32 whatever the others do."""
    softmax = layers.Dense(num_classes, activation="softmax", dtype="float32")
    return start_from(Sequential([layers.Input(input_shape), *steps, softmax], name=name), weights)
