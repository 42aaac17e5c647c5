"""Exported networks predict what the Keras networks predict; what does not is never kept."""

import os
import signal
import subprocess
import sys
from collections import Counter
from unittest.mock import patch

import keras
import numpy as np
import onnx
import pytest

from fer_keras import paths
from fer_keras.data import load_fer7
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.models import build, weights
from fer_keras.recognition import networks
from fer_keras.recognition.export import FORMATS, export, read_card


def untrained(name):
    """A `Network` with random initialisation."""
    keras.utils.set_random_seed(1)
    model = build(name, 4, input_shape=(48, 48, 1), weights=None)
    return weights.Network(model, {"name": name, "classes": list(FER4), "sha256": "none"})


# One of each kind of stage: repeated channels, resizing, dense layers on maps, depthwise convolutions.
KINDS = [(name, "onnx") for name in ("capstone-model-1", "capstone-model-2", "fer-small", "mini-xception", "sep-se")]


@pytest.mark.parametrize(("name", "format"), [*KINDS, ("fer-small", "litert"), ("fer-small", "savedmodel")])
def test_every_kind_and_format_predicts_the_same_and_carries_its_card(name, format, tmp_path):
    network, path = untrained(name), tmp_path / f"made{FORMATS[format].suffix}"
    if format == "savedmodel":  # an older one is replaced whole
        path.mkdir()
        for older in ("saved_model.pb", "of the older one"):
            (path / older).write_text("old")
    assert export(network, path, format=format) == path
    assert not (path / "of the older one").exists()
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / f"{path.name}.json"])
    card = read_card(path)
    assert {**network.card, **card, "size": [48, 48]} == card
    assert card["parity"]["largest_difference"] < 1e-5
    images = make_faces(3, seed=5).images.astype(np.float32)
    for number in (1, 5):
        found = FORMATS[format].run(path, images[:number])
        np.testing.assert_allclose(found, network.predict(images[:number]), atol=1e-5)


def test_normalisation_inside_a_nested_network_that_is_not_square_exports(tmp_path):
    normalization = keras.layers.Normalization()
    backbone = keras.Sequential([keras.Input((16, 12, 1)), normalization, keras.layers.GlobalAveragePooling2D()])
    images = make_faces(3, size=16, seed=5).images[:, :, 2:-2]
    normalization.adapt(images)
    model = keras.Sequential([keras.Input((16, 12, 1)), backbone, keras.layers.Dense(4, activation="softmax")])
    network = weights.Network(model, {"name": "nested", "classes": list(FER4), "sha256": "none"})
    expected = network.predict(images)
    found = networks.open_network(export(network, tmp_path / "made.onnx"))
    assert found.size == (16, 12)
    np.testing.assert_allclose(found.predict(images), expected, atol=1e-5)
    np.testing.assert_allclose(network.predict(images), expected, atol=1e-6)


def test_what_slows_onnx_runtime_down_is_gone_and_nothing_else(tmp_path):
    network = untrained("fer-small")
    path = export(network, tmp_path / "made.onnx")
    network.model.export(tmp_path / "as-keras-does.onnx", format="onnx", verbose=False)
    graphs = (onnx.load(file).graph for file in (tmp_path / "as-keras-does.onnx", path))
    before, after = (Counter(node.op_type for node in graph.node) for graph in graphs)
    assert before["Transpose"] + before["Shape"] + before["Reshape"] > 20
    assert (after["Transpose"], after["Shape"], after["Reshape"]) == (0, 0, 1)
    assert after["Conv"] == before["Conv"] + 8, "the dense layers of four blocks"
    assert "BatchNormalization" not in after


@pytest.mark.parametrize(("name", "format"), [("mini-xception", "onnx"), ("fer-small", "litert")])
def test_int8_is_smaller_and_its_card_holds_what_it_costs(name, format, tmp_path):
    network = weights.load(name)
    path = export(network, tmp_path / f"made{FORMATS[format].suffix}", format=format, quantize="int8")
    found = read_card(path)["quantized"]
    images = make_faces(6).images.astype(np.float32)
    got, wanted = FORMATS[format].run(path, images), network.predict(images)
    assert 0 < np.abs(got - wanted).mean() < 0.05
    if found["source"] == "synthetic faces":
        agreement = (got.argmax(axis=1) == wanted.argmax(axis=1)).mean()
        assert found["agreement"] == pytest.approx(agreement, abs=1.5 / len(images)), "one may be a tie"
        assert "accuracy" not in found, "there is none on synthetic faces"
    assert found["kind"] == "int8"
    assert path.stat().st_size < 0.7 * 4 * network.model.count_params()
    # Without VNNI, processors with AVX2 add two products of an activation and a weight in 16 bits.
    for file in [path, weights.folder() / "fer-small-int8.onnx"] if format == "onnx" else []:
        graph = onnx.load(file).graph
        kinds = {each.name: each.data_type for each in graph.initializer}
        of = {node.output[0]: kinds[node.input[2]] for node in graph.node if node.op_type == "DequantizeLinear"}
        pairs = {tuple(of[name] for name in node.input[:2]) for node in graph.node if node.op_type == "Conv"}
        assert pairs == {(onnx.TensorProto.UINT8, onnx.TensorProto.INT8)}, "what ONNX Runtime is quick with"
        arrays = [onnx.numpy_helper.to_array(each).astype(int) for each in graph.initializer if each.data_type == 3]
        largest = max(np.abs(array).max() for array in arrays)
        assert 60 < largest <= np.iinfo(np.int16).max / (2 * 255), "seven bits are used"


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("wrong", [lambda found: found[:, ::-1], lambda found: found * np.nan], ids=["order", "nan"])
def test_a_file_that_predicts_something_else_is_not_kept(quantize, wrong, tmp_path, monkeypatch):
    real = FORMATS["onnx"]
    monkeypatch.setitem(FORMATS, "onnx", real._replace(run=lambda path, images: wrong(real.run(path, images))))
    path = tmp_path / "made.onnx"
    path.write_text("what was there before")
    with pytest.raises(ValueError, match=r"mini-xception: Expected .*Received: a difference of .*Nothing was written"):
        export("mini-xception", path, quantize=quantize)
    assert path.read_text() == "what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, r"one of: onnx, litert, savedmodel\. Received: 'tflite'"),
        ({"quantize": "int4"}, r"None, or 'int8' for onnx, litert\. Received: 'int4' for 'onnx'"),
        ({"format": "savedmodel", "quantize": "int8"}, "Received: 'int8' for 'savedmodel'"),
        ({"path": "made.keras"}, r"ends in \.onnx\. Received: made\.keras"),
        ({"path": "folder.onnx"}, "Received: folder.onnx, where other things lie"),
        ({"network": "nonsense"}, "no network 'nonsense'"),
        ({"backend": "jax"}, r"Received: Keras on 'jax'\. Set KERAS_BACKEND=tensorflow"),
    ],
)
def test_what_cannot_be_written_is_refused(options, message, tmp_path, monkeypatch, own_folders):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    options = {"network": "mini-xception", "backend": "tensorflow", **options}
    monkeypatch.setattr(keras.backend, "backend", lambda: options["backend"])
    with pytest.raises(ValueError, match=message):
        export(**{key: value for key, value in options.items() if key != "backend"})
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.onnx"]


KILLED = """
import os, signal, sys, tempfile
from fer_keras.recognition import export

def write(model, path, *images):
    path.write_bytes(b"half")
    tempfile.mkdtemp()
    os.kill(os.getpid(), signal.SIGKILL)

export.FORMATS["onnx"] = export.FORMATS["onnx"]._replace(write=write)
export.export("mini-xception", sys.argv[1])
"""


def test_what_a_killed_export_left_is_gone_at_the_next_start_and_a_live_one_s_stays(tmp_path):
    path, environment = tmp_path / "made.onnx", os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = (each for each in tmp_path.iterdir() if not each.name.startswith("__"))
    assert len(list(left.iterdir())) == 2, "the half file, and what a converter keeps for itself"
    alive = tmp_path / f".other.onnx.{os.getppid()}.tmp"
    alive.mkdir()
    export("mini-xception", path)
    found = {each.name for each in tmp_path.iterdir() if not each.name.startswith("__")}
    assert found == {"made.onnx", "made.onnx.json", alive.name}


def test_an_export_that_stops_between_file_and_card_leaves_no_card_of_another(tmp_path):
    path = export(untrained("capstone-model-1"), tmp_path / "made.tflite", format="litert")
    for module, name in ((os, "replace"), (paths, "write_whole")):
        before = path.read_bytes()
        with patch.object(module, name, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            export(untrained("mini-xception"), path, format="litert")
        assert (path.read_bytes() == before) == (name == "replace")
        with pytest.raises(ValueError, match=r"tflite\.json: Expected a card .*Received: none"):
            read_card(path)
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.data
def test_the_accuracy_of_an_int8_file_is_that_on_publictest(fer2013_path, tmp_path):
    path = export("mini-xception", tmp_path / "made.onnx", quantize="int8")
    images, labels = load_fer7()["validation"]
    card = networks.open_network(path).card
    right = (networks.open_network(path).predict(images).argmax(axis=1) == labels).mean()
    assert card["quantized"]["accuracy"] == pytest.approx(right, abs=1e-3), "a few may be ties"
    assert card["quantized"]["num_images"] == len(labels) == 3589
    accuracy = weights.load("mini-xception").card["metrics"]["validation"]["accuracy"]
    assert card["quantized"]["accuracy_float32"] == pytest.approx(accuracy, abs=2e-3)
