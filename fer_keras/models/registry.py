"""`MODELS`: from a name to its builder; and from a name to a built network."""

from fer_keras.models import attention, compact, emovision, resnet, scratch, transfer, xception

MODELS = {
    "capstone-model-1": scratch.capstone_model_1,
    "capstone-model-2": scratch.capstone_model_2,
    "capstone-final": scratch.capstone_final,
    "emovision-baseline": emovision.emovision_baseline,
    "emovision-vgg-draft": emovision.emovision_vgg_draft,
    "emovision-vgg": emovision.emovision_vgg,
    "ferplus-vgg13": emovision.ferplus_vgg13,
    "scratch-four-conv": scratch.scratch_four_conv,
    "general": scratch.light,
    "one-vs-rest": scratch.light,
    "mini-xception": xception.mini_xception,
    "sep-baseline": attention.sep_baseline,
    "sep-se": attention.sep_se,
    "sep-se-residual": attention.sep_se_residual,
    "resnet18": resnet.resnet18,
    "vgg16": transfer.vgg16,
    "resnet101": transfer.resnet101,
    "efficientnet-b5": transfer.efficientnet_b5,
    "inception-resnet-v2": transfer.inception_resnet_v2,
    "efficientnet": transfer.efficientnet,
    "fer-small": compact.fer_small,
    "fer-base": compact.fer_base,
    "fer-large": compact.fer_large,
    "dual-channel": compact.dual_channel,
}


def build(name, num_classes, *, input_shape=(48, 48, 1), **options):
    """Build a network by name.

    Args:
        name: a key of `MODELS`.
        num_classes: int, at least 2.
        input_shape: `(height, width, 1)`, grey.
        options: what else the builder takes. All take `weights`: None for random values (the default of networks from
            scratch), a path, or `"imagenet"` (the default of those with a published backbone).

    Returns:
        A `keras.Model` from pixels in [0, 255], `(batch, height, width, 1)`, to probabilities `(batch, num_classes)`.

    Raises:
        ValueError: on an unknown name, and whatever the builder refuses.

    Example:

    >>> build("capstone-model-1", 4).count_params()
    605572
    """
    if name not in MODELS:
        raise ValueError(f"There is no network {name!r}. Expected one of: {', '.join(MODELS)}.")
    return MODELS[name](num_classes, input_shape=input_shape, **options)
