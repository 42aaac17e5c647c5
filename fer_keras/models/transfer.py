"""Networks with a published backbone and a head for faces."""

import keras
from keras import layers

from fer_keras.models import stages

# Means of ImageNet in the order blue, green, red, which VGG16's published weights subtract.
IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def vgg16(num_classes, *, input_shape=(48, 48, 1), weights="imagenet", trainable_from=None):
    """Build VGG16 up to `block5_pool` with the capstone's head: three dense layers, dropout, batch normalisation.

    14,887,684 parameters for four classes at 48x48.

    Reference: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    arXiv:1409.1556; the head is the capstone project's (Palacios Boyce, 2022).

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 32.
        weights: `"imagenet"`; None for random values; the path of Keras' `.h5` or `.weights.h5` file of the backbone,
            or of a `.keras` file of this whole network.
        trainable_from: the first layer of the backbone that is trained, or None for a frozen backbone.

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities
        `(batch, num_classes)`, whose layer `"vgg16"` is the backbone.

    Raises:
        ValueError: on an input it cannot be built for, weights that do not fit, or a layer that the backbone lacks.
        ConnectionError: if the ImageNet weights are neither in Keras' cache nor can be downloaded.
    """
    stages.check_input(num_classes, input_shape, least=32)
    height, width, _ = input_shape
    whole = str(weights).endswith(".keras")
    backbone = load_backbone(keras.applications.VGG16, None if whole else weights, (height, width, 3), VGG16_FILE)
    inputs = keras.Input(input_shape)
    x = stages.three_channels(input_shape)(inputs)
    # The three channels are equal, so blue-green-red order needs no swap: only the means differ.
    x = layers.Rescaling(1.0, offset=[-mean for mean in IMAGENET_MEANS_BGR], name="minus_means")(x)
    x = layers.Flatten()(backbone(x))
    outputs = capstone_head(x, num_classes)
    model = stages.start_from(keras.Model(inputs, outputs, name="vgg16_faces"), weights if whole else None)
    return fine_tune(model, trainable_from)


def capstone_head(x, num_classes):
    """Dense 256 and 128, dropout .3, Dense 64, batch normalisation, softmax."""
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    return layers.Dense(num_classes, activation="softmax")(x)


def load_backbone(application, weights, input_shape, file_name):
    """Build one of Keras' applications without its top; where its weights cannot be had, say what to do.

    Raises:
        ConnectionError: if ImageNet weights can neither be found nor downloaded.
        ValueError: if the file does not hold this backbone's weights.
    """
    try:
        return application(include_top=False, weights=weights, input_shape=input_shape)
    except ValueError as error:
        raise ValueError(f"{weights!r} does not hold the weights of this backbone without its top: {error}") from error
    except Exception as error:
        if weights != "imagenet":
            raise
        raise ConnectionError(
            f"The ImageNet weights could not be downloaded ({error}). Put {file_name} into ~/.keras/models/, or pass "
            "its path as `weights`, or pass weights=None to start from random values."
        ) from error


def fine_tune(model, from_layer):
    """Set which part of a network's nested backbone is trained; the head always is.

    Batch normalisation inside the backbone stays in inference mode, as Keras' guide to fine-tuning advises.

    Args:
        model: a network of this module, or any `keras.Model` with one nested model that has weights.
        from_layer: name of the backbone's first trained layer, or None to freeze all of it.

    Returns:
        The same model; compile it (again) for the change to count.

    Raises:
        ValueError: if the network has no nested backbone, or the backbone no such layer.
    """
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model) and layer.weights]
    if len(nested) != 1:
        raise ValueError(
            f"Expected a network with one nested backbone. Received: {model.name}, which has {len(nested)}."
        )
    backbone = nested[0]
    names = [layer.name for layer in backbone.layers]
    if from_layer is not None and from_layer not in names:
        raise ValueError(f"{backbone.name} has no layer {from_layer!r}. Expected one of: {', '.join(names)}.")
    start = len(names) if from_layer is None else names.index(from_layer)
    backbone.trainable = True
    for position, layer in enumerate(backbone.layers):
        layer.trainable = position >= start and not isinstance(layer, layers.BatchNormalization)
    return model
