"""Start from what a network learned on other classes: its body without the head that names them."""

from fer_keras.models.transfer import backbones_in


def give_body(network, source):
    """Give a network the values of another one's body.

    The body is the nested backbone where there is one, else every layer with weights but the last.

    Args:
        network: a built `keras.Model`; it is changed.
        source: a `keras.Model` of the same kind, for other classes.

    Raises:
        ValueError: if the bodies do not have the same layers.
    """
    ours, theirs = body(network), body(source)
    shapes = [[[value.shape for value in layer.get_weights()] for layer in layers] for layers in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"A network starts from one with the same body. Received: {network.name} and {source.name}, whose layers "
            "differ before the head."
        )
    for layer, other in zip(ours, theirs, strict=True):
        layer.set_weights(other.get_weights())


def body(network):
    """Return the layers of a network's body: its nested backbone, or all with weights but the last."""
    return backbones_in(network) or [layer for layer in network.layers if layer.weights][:-1]
