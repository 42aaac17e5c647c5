"""Trained networks by name, whatever file they lie in. One in an `.onnx` file needs neither Keras nor a backend."""

import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np

from fer_keras import paths
from fer_keras.cards import SUFFIXES, USABLE, BaseNetwork, check_card, check_network, folder, read_dict, shipped
from fer_keras.labels import check_same_classes
from fer_keras.names import import_part
from fer_keras.ray_cluster import num_threads

# A network's card lies in its `.onnx` file under this name, where `sha256` is the sum of the `.keras` file that it was
# exported from. In the same card beside the file, NAME.onnx.json, `file_sha256` is that of the `.onnx` file itself.
CARD = "fer_keras"
BATCH = 64  # more faces at once are no faster, and leave the processor's cache


class OnnxNetwork(BaseNetwork):
    """A trained network on ONNX Runtime, used as a `models.weights.Network`; copies open their own session."""

    batch = BATCH

    def __init__(self, content: bytes, card: dict, session=None):
        self.content, self.card, self.session = content, card, session or new_session(content)
        self.size = tuple(card["size"])  # (height, width) of the faces that it takes

    def run(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.session.get_inputs()[0].name: images.astype(np.float32)})[0]

    def __reduce__(self):
        return OnnxNetwork, (self.content, self.card)


def open_network(network, *, classes=None):
    """Open a trained network, as `OnnxNetwork` or `models.Network`, by its name, from its file, or from a Keras model.

    A network that ships is run by ONNX Runtime, which starts in a moment, if that is installed, and by Keras if not.

    Args:
        network: name of a network that ships or of a recipe trained on this machine; path of an `.onnx` file that
            `fer_keras.export` wrote, or of a `.keras` or `.h5` file; a `keras.Model`; or an object with `name`,
            `classes`, `size`, `temperature`, `card` and `predict(images)`, which is passed through.
        classes: class names in the order of the outputs, as for `models.load`; needed where there is no card.

    Raises:
        ValueError: if there is no such network, its file is broken, or it has no card and no `classes`.
    """
    found = network
    if isinstance(network, str | os.PathLike):
        path = Path(network) if Path(network).suffix == ".onnx" else folder() / f"{network}.onnx"
        is_onnx = path == Path(network) or (path.is_file() and importlib.util.find_spec("onnxruntime"))
        found = read_onnx(path) if is_onnx else None
    if not (hasattr(found, "classes") and hasattr(found, "predict")):
        return keras_network(network, classes=classes)
    if not isinstance(found, BaseNetwork):
        values = {name: getattr(found, name, None) for name in ("name", "classes", "size", "temperature", "card")}
        if wrong := [f"{name} = {value!r}" for name, value in values.items() if not USABLE[name](value)]:
            needs = "`name`, `classes`, `size` (height, width), `temperature` (1.0 if unknown) and `card`, a dict"
            raise ValueError(f"Expected a network with {needs}. Received: {', '.join(wrong)}.")
    check_same_classes(classes, found.classes, str(network) if found is not network else "`network`")
    return found


def keras_network(network, *, classes=None):
    """Open a trained network as a `models.Network`, from all that `open_network` takes but what ONNX Runtime runs."""
    is_named = isinstance(network, str | os.PathLike)
    if is_named:  # what leads nowhere is refused before Keras is imported
        is_file = Path(network).suffix == ".onnx"
        if is_file or ((folder() / f"{network}.onnx").is_file() and str(network) not in shipped()):
            needs = 'an .onnx file, which ONNX Runtime alone runs (pip install "fer_keras[recognition]")'
            other = "its .keras file" if is_file else repr(str(network).removesuffix("-int8"))
            raise ValueError(f"{network}: Expected a network of Keras. Received: {needs}. Pass {other}.")
        check_network(network, network_names())
    weights = import_part("fer_keras.models.weights")
    if is_named and (Path(network).suffix in SUFFIXES or str(network) in weights.shipped()):
        return weights.load(network, classes=classes)
    if is_named:
        from fer_keras.results import find_own_run
        from fer_keras.training.shipping import network_of

        run = find_own_run(str(network), 0)
        if run is None:
            raise ValueError(f"{network}: Expected a network that was trained on this machine. Train it first.")
        network = network_of(run, str(network))
    elif not isinstance(network, weights.Network):
        return weights.as_network(network, classes)
    check_same_classes(classes, network.classes, network.name)
    return network


def network_names() -> list[str]:
    """Names of the networks that ship, of the recipes, and of their variants that were trained on this machine."""
    from fer_keras.recipes import RECIPES

    recorded = (path for place in (paths.results(), paths.own_results()) for path in place.glob("runs/*.json"))
    shipped = sorted(path.stem for path in folder().iterdir() if path.suffix in (".keras", ".onnx"))
    return [*dict.fromkeys([*shipped, *RECIPES, *sorted(path.stem.rsplit("-", 2)[0] for path in recorded)])]


def read_onnx(path):
    """Open an `.onnx` file that `fer_keras.export` wrote; a `ValueError` if it is broken or its cards do not fit."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: Expected an .onnx file that fer_keras.export wrote. Received: no file there.")
    content, own, sibling = path.read_bytes(), path.with_name(f"{path.name}.json"), path.with_suffix(".json")
    expected, found = str(read_dict(own).get("file_sha256")), hashlib.sha256(content).hexdigest()
    if own.exists() and expected != found:
        what = f"SHA-256 {expected[:12]}. Received: {found[:12]}. It was changed, is broken, or its writing was stopped"
        raise ValueError(f"{path}: Expected the file that {own.name} describes, {what}: fetch or export it again.")
    runtime()  # where it is missing, that is all that is wrong
    try:
        session = new_session(content)
    except Exception as error:  # ONNX Runtime's own have no common ancestor below this one
        received = f"Received: {str(error)[:200]} Export or fetch it again."
        raise ValueError(f"{path}: Expected a whole .onnx file. {received}") from error
    card = check_card(read_dict(session.get_modelmeta().custom_metadata_map.get(CARD)), path)
    keras_card = read_dict(sibling)
    if "recipe" in keras_card and keras_card.get("sha256", card["sha256"]) != card["sha256"]:
        what = "one exported from another file, as where shipping was stopped half way. Export it again: "
        command = f"python -m fer_keras export {path.with_suffix('.keras')} --out {path}; or ship it again"
        raise ValueError(f"{path}: Expected the network that {sibling.name} describes. Received: {what}{command}.")
    shapes = [each.shape for each in (*session.get_inputs(), *session.get_outputs())]
    expected = [["batch", *card["size"], 1], ["batch", len(card["classes"])]]
    if [[side if isinstance(side, int) else "batch" for side in shape] for shape in shapes] != expected:
        raise ValueError(f"{path}: Expected inputs and outputs of {expected}. Received: {shapes}. Export it again.")
    network = OnnxNetwork(content, card, session)
    try:
        network.predict(np.zeros((1, *network.size), np.uint8))
    except Exception as error:  # such as NaN, or an input of another type
        raise ValueError(f"{path}: Expected a network that predicts. Received: {str(error)[:200]}") from error
    return network


def new_session(file, *, threads=None):
    """Open an ONNX Runtime session on the CPU, of a path or of bytes; `OMP_NUM_THREADS` may ask for fewer threads."""
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(num_threads("OMP_NUM_THREADS"), 4)  # small networks gain no more
    # Threads that wait for work in a loop would take the core that the detector needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong is raised
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def runtime():
    """Import ONNX Runtime, with nothing noted or sent: from 1.29 on it would report to its makers."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported
    return import_part("onnxruntime")
