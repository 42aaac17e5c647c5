"""Networks are opened by name; on ONNX Runtime alone, without Keras or a backend; what is damaged is refused."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from fer_keras import paths
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER7
from fer_keras.models import weights
from fer_keras.recipes import Recipe
from fer_keras.recognition import networks
from fer_keras.recognition.networks import OnnxNetwork, open_network
from fer_keras.training.data import load_recipe_data

FILE = weights.folder() / "mini-xception.onnx"
ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"keras", "tensorflow", "jax", "torch", "pandas", "matplotlib"}:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refuse())
import numpy as np
from fer_keras.recognition.networks import open_network

network = open_network("mini-xception")
print(type(network).__name__, network.predict(np.full((2, 48, 48, 1), 90, np.uint8)).round(3).tolist())
"""


def test_a_network_that_ships_runs_on_onnx_runtime_as_on_keras():
    network, keras_network = open_network("mini-xception"), weights.load("mini-xception")
    assert isinstance(network, OnnxNetwork)
    for name in ("name", "classes", "size", "temperature"):
        assert getattr(network, name) == getattr(keras_network, name), name
    assert network.card == {**keras_network.card, "size": [48, 48], "parity": network.card["parity"]}
    images = make_faces(10).images  # more than one batch
    assert len(images) > networks.BATCH
    found = network.predict(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, keras_network.predict(images), atol=1e-5)
    np.testing.assert_allclose(network.predict(images[:3, :, :, 0].astype(float)), found[:3], atol=1e-6)
    assert network.predict(images[:0]).shape == (0, 7)


def test_neither_keras_nor_a_backend_nor_pandas_is_needed():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, _, found = done.stdout.partition(" ")
    assert name == "OnnxNetwork"
    expected = weights.load("mini-xception").predict(np.full((2, 48, 48, 1), 90, np.uint8))
    np.testing.assert_allclose(json.loads(found), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 64, 64, 1)), r"shape \(n, 48, 48, 1\)\. Received: shape \(2, 64, 64, 1\)"),
        (np.zeros((48, 48)), r"Received: shape \(48, 48\)"),
        (np.zeros((2, 48, 48, 3)), r"Received: shape \(2, 48, 48, 3\)"),
        (np.full((2, 48, 48, 1), -1.0), r"values in \[0, 255\].* Received: -1\.0"),
        (np.full((2, 48, 48, 1), 256.0), r"Received: 256\.0"),
        (np.full((2, 48, 48, 1), np.nan), r"Received: nan"),
    ],
)
def test_pictures_of_another_kind_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        open_network("mini-xception").predict(images)


def test_keras_runs_it_where_onnx_runtime_or_the_file_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    assert isinstance(open_network("mini-xception"), weights.Network)
    assert isinstance(open_network(FILE.with_suffix(".keras")), weights.Network)
    monkeypatch.undo()
    (tmp_path / "weights").mkdir()
    for suffix in (".keras", ".json"):
        (tmp_path / "weights" / f"mine{suffix}").write_bytes(FILE.with_suffix(suffix).read_bytes())
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    assert isinstance(open_network("mine"), weights.Network)


def test_without_onnx_runtime_a_file_asks_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install \"fer_keras\[recognition\]\""):
        open_network(FILE)


def test_an_unknown_name_lists_those_that_there_are(own_folders):
    with pytest.raises(ValueError, match=r"no network 'nonsense'\. Expected .*mini-xception.* trained on this machine"):
        open_network("nonsense")


def changed_card(**changes):
    """Return the card of the shipped network with changes; None removes a field."""
    card = {**open_network(FILE).card, **changes}
    return json.dumps({name: value for name, value in card.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "a card inside with name, classes, size, sha256. Received: none"),
        ("{", "Received: none"),
        ("[1]", "Received: one without a usable name, classes, size, sha256"),
        ({"sha256": None}, "without a usable sha256"),
        ({"classes": "happy"}, "without a usable classes"),
        ({"size": [48.0, 48.0]}, "without a usable size"),
        ({"size": [64, 64]}, r"\['batch', 64, 64, 1\].* Received: \[\['batch', 48, 48, 1\]"),
        ({"classes": list(FER7[:6])}, r"\['batch', 6\].* Received: .*\['batch', 7\]"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(text, message, tmp_path):
    proto = onnx.load(FILE)
    del proto.metadata_props[:]
    if text is not None:
        text = changed_card(**text) if isinstance(text, dict) else text
        onnx.helper.set_model_props(proto, {networks.CARD: text})
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(ValueError, match=message):
        open_network(tmp_path / "odd.onnx")


@pytest.mark.parametrize("content", [b"", b"no network", FILE.read_bytes()[:50_000]])
def test_a_damaged_file_is_refused(content, tmp_path, capfd):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.onnx: Expected .* Received: .*"):
        open_network(path)
    assert capfd.readouterr().err == "", "what goes wrong is raised, not printed"


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path / "folder.onnx"):
        (tmp_path / "folder.onnx").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="Received: no file there"):
            open_network(path)


@pytest.mark.parametrize("name", weights.shipped())
def test_what_ships_for_onnx_runtime_is_the_network_that_ships_for_keras(name):
    path = weights.folder() / f"{name}.keras"
    network, keras_network = open_network(path.with_suffix(".onnx")), weights.load(name)
    assert network.card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest(), f"python -m fer_keras export {name}"
    assert {**keras_network.card, **network.card} == network.card, "the card is that of the .keras file, and more"
    images = make_faces(6, classes=network.classes).images
    np.testing.assert_allclose(network.predict(images), keras_network.predict(images), atol=1e-5)


def test_recognising_leaves_nothing_anywhere(tmp_path):
    """ONNX Runtime keeps what it reports to its makers in the home and temporary folders, unless it is told not to."""
    script = "import fer_keras, numpy; print(fer_keras.recognize(numpy.zeros((90, 90), 'uint8')))"
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    options = {"capture_output": True, "text": True, "check": True, "env": environment | places}
    assert subprocess.run([sys.executable, "-c", script], **options).stdout.strip() == "[]"
    assert list(tmp_path.rglob("*")) == []


def test_the_int8_network_that_ships_is_made_of_the_one_that_ships():
    found, whole = open_network("fer-small-int8"), open_network("fer-small")
    assert found.card["sha256"] == whole.card["sha256"]
    assert (found.name, found.classes, found.size) == ("fer-small-int8", whole.classes, whole.size)
    images = make_faces(10).images
    said, wanted = found.predict(images), whole.predict(images)
    assert np.abs(said - wanted).max() > 1e-4, "8 bits are not 32"
    assert np.abs(said - wanted).mean() < 0.03
    clear = np.ptp(np.sort(wanted)[:, -2:], axis=1) > 0.3
    assert clear.sum() > 20
    assert (said.argmax(axis=1) == wanted.argmax(axis=1))[clear].all()
    quantized = found.card["quantized"]
    assert quantized["split"] == "validation"
    assert quantized["agreement"] > 0.97
    assert abs(quantized["accuracy"] - quantized["accuracy_float32"]) < 0.005


SHIPPED = sorted(path.name for path in weights.folder().iterdir() if path.suffix in (".keras", ".onnx"))


def test_every_network_ships_for_keras_and_onnx_runtime():
    assert {f"{name}{suffix}" for name in weights.shipped() for suffix in (".keras", ".onnx")} <= set(SHIPPED)
    assert "fer-small-int8.onnx" in SHIPPED


@pytest.mark.data
@pytest.mark.parametrize("file", SHIPPED)
def test_every_shipped_file_scores_on_publictest_what_its_card_says(file, fer2013_path):
    """On every processor: rounding moves a few answers of 3,589; saturating 8-bit kernels move hundreds."""
    network = open_network(weights.folder() / file)
    card, quantized = network.card, network.card.get("quantized")
    recipe = Recipe(**{key: card["recipe"][key] for key in ("name", "system", "title", "model", "data")})
    images, labels = load_recipe_data(recipe, fer2013_path)["validation"]
    answers = network.predict(images).argmax(axis=1)
    expected = quantized or card["metrics"]["validation"]
    assert expected["num_images"] == len(labels)
    assert (answers == labels).mean() == pytest.approx(expected["accuracy"], abs=0.003 if quantized else 0.0015)
    if quantized:
        assert (answers == labels).mean() == pytest.approx(quantized["accuracy_float32"], abs=0.005)
        whole = open_network(card["name"].removesuffix(f"-{quantized['kind']}"))
        assert whole.card["sha256"] == card["sha256"]
        agreement = (answers == whole.predict(images).argmax(axis=1)).mean()
        assert agreement == pytest.approx(quantized["agreement"], abs=0.005)
