"""Trained networks by name, whatever file they lie in. One in an `.onnx` file needs neither Keras nor a backend."""

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import numpy as np

from fer_keras import paths
from fer_keras.data.images import as_batch
from fer_keras.labels import check_same_classes
from fer_keras.ray_cluster import num_threads

# A network's card lies in its `.onnx` file under this name; these of its fields are needed to use it, with how to tell
# that they can be. `sha256` is the sum of the `.keras` file that it was exported from.
CARD = "fer_keras"
FIELDS = {
    "name": lambda value: isinstance(value, str),
    "classes": lambda value: is_list_of(str, value) and len(value) > 1,
    "size": lambda value: is_list_of(int, value) and len(value) == 2,
    "sha256": lambda value: isinstance(value, str),
}
BATCH = 64  # more faces at once are no faster, and leave the processor's cache
MOST_THREADS = 4  # such small networks are split no further


@dataclasses.dataclass(frozen=True)
class OnnxNetwork:
    """A trained network that runs on ONNX Runtime, with the attributes of a `models.weights.Network`.

    Args:
        session: an `onnxruntime.InferenceSession`, from pixels in [0, 255], `(batch, height, width, 1)`, to
            probabilities.
        card: dict with the keys `FIELDS`, and `temperature` if it is known.
    """

    session: object
    card: dict

    @property
    def name(self):
        """What the network is called."""
        return self.card["name"]

    @property
    def classes(self):
        """The tuple of class names, in the order of the probabilities."""
        return tuple(self.card["classes"])

    @property
    def size(self):
        """`(height, width)` of the faces that it takes, in pixels."""
        return tuple(self.card["size"])

    @property
    def temperature(self):
        """What its probabilities must be divided by, as logarithms, to mean what they say; 1.0 if that is unknown."""
        return float(self.card.get("temperature", 1.0))

    def predict(self, images):
        """Return the probabilities of grey faces, float32 `(n, classes)`.

        Args:
            images: array `(n, height, width, 1)` or `(n, height, width)` of the network's input size, values in
                [0, 255].

        Raises:
            ValueError: on images of another size or range.
        """
        images = as_batch(images, self.size)
        name = self.session.get_inputs()[0].name
        found = np.empty((len(images), len(self.classes)), np.float32)
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            found[part] = self.session.run(None, {name: images[part].astype(np.float32)})[0]
        return found


def open_network(network, *, classes=None):
    """Open a trained network by its name, from its file, or from a Keras model.

    A network that ships is run by ONNX Runtime, which starts in a moment, if that is installed, and by Keras if not.

    Args:
        network: the name of a network that ships, such as `"mini-xception"`; the path of an `.onnx` file that
            `fer_keras.export` wrote, or of a `.keras` or `.h5` file; the name of a recipe that was trained on this
            machine; a `keras.Model`; or an object as this function returns them, which is passed through.
        classes: class names in the order of the outputs, for a `keras.Model` and for a file without a card, see
            `models.load`; others' must agree with them.

    Returns:
        An object with `name`, `classes`, `size` (`(height, width)`), `temperature`, `card` and `predict(images)`: an
        `OnnxNetwork`, or a `models.Network`.

    Raises:
        ValueError: if there is no such network, its file is damaged, or it has no card and no `classes`.

    Example:

    >>> open_network("mini-xception").size
    (48, 48)
    """
    if isinstance(network, str | os.PathLike):
        shipped = paths.PACKAGE / "weights" / f"{network}.onnx"
        if Path(network).suffix == ".onnx":
            found = read_onnx(network)
        elif shipped.is_file() and importlib.util.find_spec("onnxruntime"):
            found = read_onnx(shipped)
        else:
            return keras_network(network, classes=classes)
    elif hasattr(network, "classes") and hasattr(network, "predict"):
        found = network
    else:
        return keras_network(network, classes=classes)
    check_same_classes(classes, found.classes, str(network) if found is not network else "`network`")
    return found


def keras_network(network, *, classes=None):
    """Open a trained network as a `models.Network`, from all that `open_network` takes but what ONNX Runtime runs."""
    from fer_keras.models import weights

    if isinstance(network, weights.Network):
        found, name = network, network.name
    elif not isinstance(network, str | os.PathLike):
        return weights.as_network(network, classes)
    elif Path(network).suffix in weights.SUFFIXES or str(network) in weights.shipped():
        return weights.load(network, classes=classes)
    elif Path(network).suffix == ".onnx":
        raise ValueError(f"{network}: Expected a network of Keras. Received: an .onnx file. Pass its .keras file.")
    else:
        found, name = recorded_network(str(network)), str(network)
    check_same_classes(classes, found.classes, name)
    return found


def recorded_network(recipe, seed=0):
    """Open the network of a run that was trained on this machine, with the card it would ship with.

    Raises:
        ValueError: if there is no such run, or its network is not on this machine.
    """
    from fer_keras.models import weights
    from fer_keras.training.scoring import find_own_run
    from fer_keras.training.shipping import network_of

    run = find_own_run(recipe, seed)
    if run is None:
        raise ValueError(
            f"There is no network {recipe!r}. Expected the path of an .onnx, .keras or .h5 file, a network that ships "
            f"({', '.join(weights.shipped()) or 'none do yet'}), or a recipe that was trained on this machine."
        )
    return network_of(run, recipe)


def read_onnx(path):
    """Return the `OnnxNetwork` in a file that `fer_keras.export` wrote.

    Raises:
        ValueError: if there is no such file, it is damaged, or holds no card that fits its network.
        ImportError: if ONNX Runtime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: Expected an .onnx file that fer_keras.export wrote. Received: no file there.")
    try:
        session = new_session(path)
    except ImportError as error:
        raise ImportError(f"{path} needs ONNX Runtime: pip install fer_keras[recognition]. ({error})") from error
    except Exception as error:  # ONNX Runtime's own have no common ancestor below this one
        raise ValueError(
            f"{path}: Expected a whole .onnx file. Received: {str(error)[:200]} Export or fetch it again."
        ) from error
    card = read_card(session.get_modelmeta().custom_metadata_map.get(CARD), path)
    shapes = [each.shape for each in (*session.get_inputs(), *session.get_outputs())]
    expected = [["batch", *card["size"], 1], ["batch", len(card["classes"])]]
    if [["batch" if not isinstance(side, int) else side for side in shape] for shape in shapes] != expected:
        raise ValueError(
            f"{path}: Expected the input and output that its card describes, {expected}. Received: {shapes}. "
            "Export it again."
        )
    check_sibling(path, card)
    return OnnxNetwork(session, card)


def check_sibling(path, card):
    """Raise a `ValueError` if the card beside an `.onnx` file is of another network of Keras than it was exported from.

    So it is where a shipping was stopped half way.
    """
    try:
        beside = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(beside, dict) and "recipe" in beside and beside.get("sha256", card["sha256"]) != card["sha256"]:
        raise ValueError(
            f"{path}: Expected the network that {path.stem}.json describes. Received: one exported from another file. "
            f"Export it again: python -m fer_keras export {path.with_suffix('.keras')} --out {path}; or ship it again."
        )


def read_card(text, place):
    """Return the card that lies in a file as a dict; raise a `ValueError` that names the place if it is not whole."""
    try:
        card = json.loads(text or "")
    except ValueError:
        card = None
    wrong = [name for name in FIELDS if not FIELDS[name](card.get(name))] if isinstance(card, dict) else list(FIELDS)
    if wrong:
        raise ValueError(
            f"{place}: Expected a card inside with {', '.join(FIELDS)}. "
            f"Received: {'none' if card is None else 'one without a usable ' + ', '.join(wrong)}. "
            "Export the network with fer_keras.export, which writes it."
        )
    return card


def is_list_of(kind, value):
    """Tell whether a value is a list of values of one kind."""
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def new_session(path, *, threads=None):
    """Return an ONNX Runtime session on the CPU for a file, by default with a thread for each core, up to a few.

    `OMP_NUM_THREADS`, with which engines share cores, may ask for fewer.
    """
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(num_threads("OMP_NUM_THREADS"), MOST_THREADS)
    # Threads that wait for work in a loop would take the core that the detector needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong is raised
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def runtime():
    """Import and return ONNX Runtime, with nothing noted or sent: from 1.29 on it would report to its makers."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    import onnxruntime

    return onnxruntime
