"""Networks: one signature for all, preprocessing inside.

Names are imported when they are first used: this package alone loads neither Keras nor a backend.
"""

import functools
import inspect
from numbers import Integral
from typing import TYPE_CHECKING, Any

from fer_keras.names import check_name, import_part

if TYPE_CHECKING:
    import keras

# Name of a network -> the module and the function that build it.
BUILDERS = {
    "capstone-model-1": "scratch.capstone_model_1", "capstone-model-2": "scratch.capstone_model_2",
    "capstone-final": "scratch.capstone_final", "emovision-baseline": "scratch.emovision_baseline",
    "emovision-vgg-draft": "scratch.emovision_vgg_draft", "emovision-vgg": "scratch.emovision_vgg",
    "ferplus-vgg13": "scratch.ferplus_vgg13", "scratch-four-conv": "scratch.scratch_four_conv",
    "general": "scratch.light", "one-vs-rest": "scratch.light",
    "mini-xception": "residual.mini_xception", "sep-baseline": "scratch.sep_baseline",
    "sep-se": "residual.sep_se", "sep-se-residual": "residual.sep_se_residual",
    "resnet18": "residual.resnet18", "vgg16": "transfer.vgg16",
    "resnet101": "transfer.resnet101", "efficientnet-b5": "transfer.efficientnet_b5",
    "inception-resnet-v2": "transfer.inception_resnet_v2", "efficientnet": "transfer.efficientnet",
    "fer-small": "residual.fer_small", "fer-base": "residual.fer_base",
    "fer-large": "residual.fer_large", "dual-channel": "residual.dual_channel",
}  # fmt: skip
_PUBLIC = {"Network": "weights", "load": "weights", "fine_tune": "transfer", "multiply_adds": "inputs"}
__all__ = ["MODELS", "Network", "build", "fine_tune", "load", "multiply_adds"]


def build(
    name: str, num_classes: int, *, input_shape: tuple[int, int, int] = (48, 48, 1), **options: Any
) -> "keras.Model":
    """Build a network by name.

    Args:
        name: a key of `MODELS`.
        num_classes: at least 2.
        input_shape: `(height, width, 1)`, grey.
        options: what else the builder takes. All take `weights`: None for random initialisation (the default of
            networks from scratch), the path of a `.keras` or `.weights.h5` file, or `"imagenet"` (the default of those
            with a published backbone, which is frozen then; without pretrained weights all of a network is trained).

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities `(batch, num_classes)`.

    Raises:
        ValueError: on an unknown name, an input it cannot be built for, or weights that do not fit.
        ConnectionError: if ImageNet's weights are neither in Keras' cache nor can be downloaded.

    Example:

    >>> build("capstone-model-1", 4).count_params()
    605572
    """
    check_name("network", name, BUILDERS)
    known = inspect.signature(builder(name)).parameters
    for each in options:
        check_name(f"option of {name}", each, [*known][1:])
    return builder(name)(num_classes, input_shape=input_shape, **options)


def builder(name):
    """Import the function that builds a network, of layers that say `channels_last` whatever keras.json says."""
    keras = import_part("keras")

    module, _, function = BUILDERS[name].partition(".")
    build_network = getattr(import_part(f"{__name__}.{module}"), function)

    @functools.wraps(build_network)
    def build_channels_last(num_classes, **options):
        before = keras.config.image_data_format()
        keras.config.set_image_data_format("channels_last")
        try:
            return build_network(int(num_classes) if isinstance(num_classes, Integral) else num_classes, **options)
        finally:
            keras.config.set_image_data_format(before)

    return build_channels_last


def __getattr__(name: str) -> Any:
    if name == "MODELS":
        return globals().setdefault("MODELS", {each: builder(each) for each in BUILDERS})
    if name in _PUBLIC:
        return getattr(import_part(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
