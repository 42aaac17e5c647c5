"""EmoVision's Sequential networks: a baseline, two in the manner of VGG, and their reference, VGG13 on FER+."""

import keras
from keras import layers

from fer_keras.models import stages

# (filters, convolutions) of each block of VGG's configuration A.
VGG_BLOCKS = ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))


def emovision_baseline(num_classes, *, input_shape=(48, 48, 1), weights=None, crop=None):
    """Build EmoVision's baseline: two 3x3 convolutions with pooling, one dense layer.

    The published text gives no layers: the widths (32, 64; 128) are ours. With `crop`, the network sees only that part
    of the face and still takes the whole face, so that nobody can forget the crop.

    Reference: Chon, Han and Yoo, "EmoVision". Args, Returns and Raises as in `scratch.capstone_model_1`, and:

    Args:
        crop: `(top, bottom, left, right)`, the pixels to cut away on each side, or None.
    """
    stages.check_input(num_classes, input_shape)
    model = keras.Sequential([layers.Input(input_shape)], name="emovision_baseline")
    if crop:
        top, bottom, left, right = crop
        height, width = input_shape[0] - top - bottom, input_shape[1] - left - right
        if min(crop) < 0 or min(height, width) < 4:
            raise ValueError(
                f"`crop` must leave at least 4x4 pixels of the {input_shape[0]}x{input_shape[1]} input. "
                f"Received: {crop}."
            )
        model.add(layers.Cropping2D(((top, bottom), (left, right))))
    model.add(stages.to_unit())
    for filters in (32, 64):
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def emovision_vgg_draft(num_classes, *, input_shape=(48, 48, 1), weights=None):
    """Build EmoVision's draft: the first three blocks of `emovision_vgg`, a dense layer, no dropout.

    5,682,439 parameters and 176 M multiply-adds for seven classes at 48x48.

    Reference: Chon, Han and Yoo, "EmoVision", where it is "Draft VGG Model" and no more: three blocks are our reading.
    Args, Returns and Raises as in `scratch.capstone_model_1`.
    """
    stages.check_input(num_classes, input_shape)
    model = keras.Sequential([layers.Input(input_shape), stages.to_unit()], name="emovision_vgg_draft")
    add_vgg(model, num_classes, VGG_BLOCKS[:3], dropout=0.0)
    return stages.start_from(model, weights)


def emovision_vgg(num_classes, *, input_shape=(48, 48, 1), weights=None, dropout=0.5):
    """Build EmoVision's final network: five blocks of 3x3 convolutions, one dense layer, dropout.

    The published text says: five blocks, each followed by max pooling, 3x3 filters, 64 to 512 of them, a dropout layer,
    a fully connected layer with ReLU, a softmax. That is VGG's configuration A, its smallest of five blocks, which we
    take; the 512 units are ours. 9,485,575 parameters and 341 M multiply-adds for seven classes at 48x48.

    Reference: Chon, Han and Yoo, "EmoVision"; Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition", 2015, arXiv:1409.1556. Args, Returns and Raises as in `scratch.capstone_model_1`; sides of at
    least 32; `dropout` is the rate before the dense layer, where the text names it.
    """
    stages.check_input(num_classes, input_shape, least=32)
    model = keras.Sequential([layers.Input(input_shape), stages.to_unit()], name="emovision_vgg")
    add_vgg(model, num_classes, VGG_BLOCKS, dropout=dropout)
    return stages.start_from(model, weights)


def ferplus_vgg13(num_classes, *, input_shape=(48, 48, 1), weights=None, side=64):
    """Build the VGG13 of the FER+ paper: ten 3x3 convolutions at 64x64, two dense layers of 1,024 units.

    8,757,704 parameters and 876 M multiply-adds for eight classes.

    Reference: Barsoum, Zhang, Canton Ferrer and Zhang, "Training Deep Networks for Facial Expression Recognition with
    Crowd-Sourced Label Distribution", 2016, arXiv:1608.01041. Args, Returns and Raises as in
    `scratch.capstone_model_1`; the picture is resized to `side` x `side`, at least 16, inside.
    """
    stages.check_input(num_classes, input_shape, side=side, least=16)
    model = keras.Sequential([layers.Input(input_shape)], name="ferplus_vgg13")
    model.add(stages.resize(input_shape, side, side))
    model.add(stages.to_unit())
    values = {"activation": "relu", "kernel_initializer": "he_normal"}
    for filters, depth in ((64, 2), (128, 2), (256, 3), (256, 3)):
        for _ in range(depth):
            model.add(layers.Conv2D(filters, 3, padding="same", **values))
        model.add(layers.MaxPooling2D(2))
        model.add(layers.Dropout(0.25))
    model.add(layers.Flatten())
    for _ in range(2):
        model.add(layers.Dense(1024, **values))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(num_classes, activation="softmax"))
    return stages.start_from(model, weights)


def add_vgg(model, num_classes, blocks, *, dropout):
    """Add VGG's blocks, each ended by a halving max pool, and a dense layer of 512 units before the softmax."""
    # Eight layers without batch normalisation lose the signal under Keras' default initial values.
    values = {"activation": "relu", "kernel_initializer": "he_normal"}
    for filters, depth in blocks:
        for _ in range(depth):
            model.add(layers.Conv2D(filters, 3, padding="same", **values))
        model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    if dropout:
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(512, **values))
    model.add(layers.Dense(num_classes, activation="softmax"))
