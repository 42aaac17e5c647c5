"""Exported networks predict what the Keras networks predict; what does not is never kept."""

import os
import shutil
import subprocess
import sys
import tempfile
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
from fer_keras.recognition import export as exporter
from fer_keras.recognition import networks
from fer_keras.recognition.export import FORMATS, export, read_card, run

DATA = os.environ.get("FER_KERAS_DATA")
FACES = make_faces(3, seed=5).images.astype(np.float32)


def as_network(name, model):
    """A `Network` of a model, which runs eagerly: that takes less time than to compile it."""
    model.run_eagerly = True
    return weights.Network(model, {"name": name, "classes": list(FER4), "sha256": "none"})


# One of each kind of stage: repeated channels, resizing, dense layers on maps, depthwise convolutions.
KINDS = [(name, "onnx") for name in ("capstone-model-1", "capstone-model-2", "fer-small", "mini-xception")]


@pytest.mark.parametrize(
    ("name", "format"), [*KINDS, ("capstone-model-1", "litert"), ("capstone-model-1", "savedmodel")]
)
def test_every_kind_and_format_predicts_the_same_and_carries_its_card(name, format, tmp_path):
    keras.utils.set_random_seed(1)
    network = as_network(name, build(name, 4, input_shape=(48, 48, 1), weights=None))
    path = tmp_path / f"made{FORMATS[format]}"
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
    for number in (1, 5):
        np.testing.assert_allclose(run(path, FACES[:number]), network.predict(FACES[:number]), atol=1e-5)
    if (name, format) == ("fer-small", "onnx"):  # what slows ONNX Runtime down is gone, and nothing else
        found = Counter(node.op_type for node in onnx.load(path).graph.node)
        assert [found[kind] for kind in ("BatchNormalization", "Transpose", "Shape", "Reshape")] == [0, 0, 0, 1]
        kernels = sum(len(each.shape) == 4 for each in network.model.weights)
        assert found["Conv"] == kernels + 8, "of convolutions, and the dense layers of four blocks"


def test_normalisation_inside_a_nested_network_that_is_not_square_exports(tmp_path):
    normalization = keras.layers.Normalization()
    backbone = keras.Sequential([keras.Input((16, 12, 1)), normalization, keras.layers.GlobalAveragePooling2D()])
    images = make_faces(3, size=16, seed=5).images[:, :, 2:-2]
    normalization.adapt(images)
    model = keras.Sequential([keras.Input((16, 12, 1)), backbone, keras.layers.Dense(4, activation="softmax")])
    network = as_network("nested", model)
    expected = network.predict(images)
    found = networks.open_network(export(network, tmp_path / "made.onnx"))
    assert found.size == (16, 12)
    np.testing.assert_allclose(found.predict(images), expected, atol=1e-5)
    np.testing.assert_allclose(network.predict(images), expected, atol=1e-6)


def dense_network():
    """A network of few layers, many values and firm answers."""
    keras.utils.set_random_seed(1)
    head = keras.layers.Dense(4, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=3))
    stages = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(8, activation="relu"), head]
    return as_network("quick", keras.Sequential([keras.Input((48, 48, 1)), *stages]))


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_int8_is_smaller_and_its_card_holds_what_it_costs(format, tmp_path):
    network = weights.load("mini-xception") if format == "onnx" else dense_network()
    path = export(network, tmp_path / f"made{FORMATS[format]}", format=format, quantize="int8")
    found = read_card(path)["quantized"]
    faces = load_fer7().select(classes=network.classes) if DATA else make_faces(6)
    images, labels = faces["validation"] if DATA else (faces.images, faces.labels)
    got, wanted = run(path, images.astype(np.float32)), network.predict(images)
    assert 0 < np.abs(got - wanted).mean() < 0.05
    agreement = (got.argmax(axis=1) == wanted.argmax(axis=1)).mean()
    assert found["agreement"] == pytest.approx(agreement, abs=1e-3 if DATA else 1.5 / len(images)), "ties"
    assert (found["kind"], found["num_images"]) == ("int8", len(images))
    assert ("accuracy" in found) == bool(DATA), "there is none on synthetic faces"
    if DATA:
        assert found["accuracy"] == pytest.approx((got.argmax(axis=1) == labels).mean(), abs=1e-3), "a few may be ties"
        accuracy = (wanted.argmax(axis=1) == labels).mean()
        assert found["accuracy_float32"] == pytest.approx(accuracy, abs=2e-3)
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


@pytest.fixture
def converted(monkeypatch):
    """A network whose conversion takes no time: its file holds some bytes, and predicts what the network does."""
    network = dense_network()
    monkeypatch.setattr(exporter, "write", lambda model, path, *_: path.write_bytes(os.urandom(9)))
    monkeypatch.setattr(exporter, "run", lambda path, images: network.predict(images))
    return network


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("wrong", [lambda found: found[:, ::-1], lambda found: found * np.nan], ids=["order", "nan"])
def test_a_file_that_predicts_something_else_is_not_kept(quantize, wrong, converted, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "run", lambda path, images: wrong(converted.predict(images)))
    path = tmp_path / "made.onnx"
    path.write_text("what was there before")
    with pytest.raises(ValueError, match=r"quick: Expected .*Received: a difference of .*Nothing was written"):
        export(converted, path, quantize=quantize)
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
def test_what_cannot_be_written_is_refused(options, message, converted, tmp_path, monkeypatch, own_folders):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    backend = options.pop("backend", "tensorflow")
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ValueError, match=message):
        export(**{"network": converted, **options})
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.onnx"]


def test_what_a_killed_export_left_is_gone_at_the_next_start_and_a_live_one_s_stays(converted, tmp_path, monkeypatch):
    ended, path = subprocess.Popen([sys.executable, "-S", "-c", ""]), tmp_path / "made.tflite"
    ended.wait()

    def write(model, path, *_):
        path.write_bytes(b"half")
        tempfile.mkdtemp()
        raise KeyboardInterrupt

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = patch.object(os, "getpid", lambda: ended.pid), patch.object(shutil, "rmtree")  # it cleans nothing up
    with other[0], other[1], patch.object(exporter, "write", write), pytest.raises(KeyboardInterrupt):
        export(converted, path, format="litert")
    (left,) = tmp_path.iterdir()
    assert len(list(left.iterdir())) == 2, "the half file, and what a converter keeps for itself"
    alive = tmp_path / f".other.onnx.{os.getppid()}.tmp"
    alive.mkdir()
    export(converted, path, format="litert")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, f"{path.name}.json", alive.name}


def test_an_export_that_stops_between_file_and_card_leaves_no_card_of_another(converted, tmp_path):
    path = export(converted, tmp_path / "made.tflite", format="litert")
    for module, name in ((os, "replace"), (paths, "write_whole")):
        before = path.read_bytes()
        with patch.object(module, name, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            export(converted, path, format="litert")
        assert (path.read_bytes() == before) == (name == "replace")
        with pytest.raises(ValueError, match=r"tflite\.json: Expected a card .*Received: none"):
            read_card(path)
        assert list(tmp_path.iterdir()) == [path]
