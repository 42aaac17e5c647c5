"""Exported networks say what the Keras networks say; what does not is never kept."""

import os
import signal
import subprocess
import sys
from collections import Counter

import keras
import numpy as np
import onnx
import pytest

from fer_keras.data import load_fer7
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4, FER7
from fer_keras.models import build, weights
from fer_keras.recognition import export as exporting
from fer_keras.recognition import networks
from fer_keras.recognition.export import FORMATS, export, read_card

# One of each kind of stage: repeated channels, resizing, dense layers on maps, depthwise convolutions.
KINDS = ("capstone-model-1", "capstone-model-2", "fer-small", "mini-xception", "sep-se")


def untrained(name, num_classes=4, *, size=(48, 48), **options):
    """A `Network` with random initialisation."""
    keras.utils.set_random_seed(1)
    model = build(name, num_classes, input_shape=(*size, 1), weights=None, **options)
    return weights.Network(model, {"name": name, "classes": list(FER7[:num_classes]), "sha256": "none"})


@pytest.mark.parametrize("name", KINDS)
def test_networks_of_every_kind_export_to_onnx(name, tmp_path):
    network = untrained(name)
    path = export(network, tmp_path / "made.onnx")
    found = networks.open_network(path)
    assert (found.name, found.classes, found.size) == (name, FER7[:4], (48, 48))
    assert found.card["parity"]["largest_difference"] < 1e-5
    images = make_faces(3, classes=FER4, seed=5).images
    np.testing.assert_allclose(found.predict(images), network.predict(images), atol=1e-5)
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "made.onnx.json"]


def test_normalisation_inside_a_nested_network_that_is_not_square_exports(tmp_path):
    normalization = keras.layers.Normalization()
    backbone = keras.Sequential([keras.Input((16, 12, 1)), normalization, keras.layers.GlobalAveragePooling2D()])
    normalization.adapt(make_faces(3, size=16).images[:, :, 2:-2])
    model = keras.Sequential([keras.Input((16, 12, 1)), backbone, keras.layers.Dense(4, activation="softmax")])
    network = weights.Network(model, {"name": "nested", "classes": list(FER4), "sha256": "none"})
    images = make_faces(3, size=16, seed=5).images[:, :, 2:-2]
    expected = network.predict(images)
    found = networks.open_network(export(network, tmp_path / "made.onnx"))
    assert found.size == (16, 12)
    np.testing.assert_allclose(found.predict(images), expected, atol=1e-5)
    np.testing.assert_allclose(network.predict(images), expected, atol=1e-6)


def test_what_slows_onnx_runtime_down_is_gone_and_nothing_else(tmp_path):
    network = untrained("fer-small")
    expected = network.predict(images := make_faces(3).images.astype(np.float32))
    network.model.export(tmp_path / "as-keras-does.onnx", format="onnx", verbose=False)
    path = export(network, tmp_path / "made.onnx")
    graphs = (onnx.load(file).graph for file in (tmp_path / "as-keras-does.onnx", path))
    before, after = (Counter(node.op_type for node in graph.node) for graph in graphs)
    assert before["Transpose"] + before["Shape"] + before["Reshape"] > 20
    assert (after["Transpose"], after["Shape"], after["Reshape"]) == (0, 0, 1)
    assert after["Conv"] == before["Conv"] + 8, "the dense layers of four blocks"
    assert "BatchNormalization" not in after
    np.testing.assert_allclose(exporting.run_onnx(path, images), expected, atol=1e-5)


@pytest.mark.parametrize("format", ["litert", "savedmodel"])
def test_other_formats_carry_their_card_beside_them(format, tmp_path):
    network, path = untrained("fer-small"), tmp_path / f"made{FORMATS[format].suffix}"
    if format == "savedmodel":  # an older one is replaced whole
        path.mkdir()
        for name in ("saved_model.pb", "of the older one"):
            (path / name).write_text("old")
    assert export(network, path, format=format) == path
    assert not (path / "of the older one").exists()
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / f"{path.name}.json"])
    card = read_card(path)
    assert {**network.card, **card} == card
    assert card["size"] == [48, 48]
    images = make_faces(3, seed=5).images.astype(np.float32)
    for number in (1, 5):
        found = FORMATS[format].run(path, images[:number])
        np.testing.assert_allclose(found, network.predict(images[:number]), atol=1e-5)


@pytest.mark.parametrize(("name", "format"), [("mini-xception", "onnx"), ("fer-small", "litert")])
def test_int8_is_smaller_and_says_what_it_costs(name, format, tmp_path):
    network = weights.load("mini-xception") if name == "mini-xception" else untrained(name)
    path = export(network, tmp_path / f"made{FORMATS[format].suffix}", format=format, quantize="int8")
    card = read_card(path)
    images = exporting.synthetic_faces(network).astype(np.float32)
    got, wanted = FORMATS[format].run(path, images), network.predict(images)
    assert 0 < np.abs(got - wanted).mean() < exporting.INT8_TOLERANCE
    if card["quantized"]["source"] == "synthetic faces":
        agreement = (got.argmax(axis=1) == wanted.argmax(axis=1)).mean()
        assert card["quantized"]["agreement"] == pytest.approx(agreement, abs=1.5 / len(images)), "one may be a tie"
        assert "accuracy" not in card["quantized"], "there is none on synthetic faces"
    assert card["quantized"]["kind"] == "int8"
    assert path.stat().st_size < 0.7 * 4 * network.model.count_params()
    if format == "onnx":
        check_no_sum_saturates(path)
        check_no_sum_saturates(weights.folder() / "fer-small-int8.onnx")


def check_no_sum_saturates(path):
    """Without VNNI, processors with AVX2 add two products of an activation and a weight in 16 bits."""
    graph = onnx.load(path).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    of = {node.output[0]: kinds[node.input[2]] for node in graph.node if node.op_type == "DequantizeLinear"}
    pairs = {tuple(of[name] for name in node.input[:2]) for node in graph.node if node.op_type == "Conv"}
    assert pairs == {(onnx.TensorProto.UINT8, onnx.TensorProto.INT8)}, "what ONNX Runtime is quick with"
    arrays = [onnx.numpy_helper.to_array(each).astype(int) for each in graph.initializer if each.data_type == 3]
    largest = max(np.abs(array).max() for array in arrays)
    assert largest > 60, "seven bits are used"
    assert 2 * 255 * largest <= np.iinfo(np.int16).max


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("wrong", [lambda found: found[:, ::-1], lambda found: found * np.nan], ids=["order", "nan"])
def test_a_file_that_says_something_else_is_not_kept(quantize, wrong, tmp_path, monkeypatch):
    kind = FORMATS["onnx"]._replace(
        write=lambda model, path, images=None: path.write_bytes((weights.folder() / "mini-xception.onnx").read_bytes()),
        run=lambda path, images: wrong(exporting.run_onnx(path, images)),
    )
    monkeypatch.setitem(exporting.FORMATS, "onnx", kind)
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
    ],
)
def test_what_cannot_be_written_is_refused(options, message, tmp_path, monkeypatch, own_folders):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match=message):
        export(**{"network": "mini-xception", **options})
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
    path, folder = tmp_path / "made.onnx", tmp_path / "system"
    folder.mkdir()
    command = [sys.executable, "-c", KILLED, str(path)]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"TMPDIR": str(folder)})
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = tmp_path.glob(".made.onnx.*.tmp")
    assert len(list(left.iterdir())) == 2, "the half file, and what a converter keeps for itself"
    assert [each for each in folder.iterdir() if not each.name.startswith("__")] == []
    alive = tmp_path / f".other.onnx.{os.getppid()}.tmp"
    alive.mkdir()
    export("mini-xception", path)
    assert {each.name for each in tmp_path.iterdir()} == {"made.onnx", "made.onnx.json", "system", alive.name}


def test_an_export_that_stops_between_file_and_card_leaves_no_card_of_another(tmp_path, monkeypatch):
    path, replace = export(untrained("capstone-model-1"), tmp_path / "made.tflite", format="litert"), os.replace
    for stopped in (1, 2):
        before, moved = path.read_bytes(), []

        def replace_or_stop(source, target, moved=moved, stopped=stopped):
            moved.append(target)
            if len(moved) == stopped:
                raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", replace_or_stop)
        with pytest.raises(KeyboardInterrupt):
            export(untrained("mini-xception"), path, format="litert")
        assert (path.read_bytes() == before) == (stopped == 1)
        with pytest.raises(ValueError, match=r"tflite\.json: Expected a card .*Received: none"):
            read_card(path)
        assert list(tmp_path.iterdir()) == [path]


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"Received: Keras on 'jax'\. Set KERAS_BACKEND=tensorflow"):
        export("mini-xception")


@pytest.mark.data
def test_the_accuracy_of_an_int8_file_is_that_on_publictest(fer2013_path, tmp_path):
    path = export("mini-xception", tmp_path / "made.onnx", quantize="int8")
    images, labels = load_fer7()["validation"]
    found = networks.open_network(path)
    right = (found.predict(images).argmax(axis=1) == labels).mean()
    assert found.card["quantized"]["accuracy"] == pytest.approx(right, abs=1e-3), "a few may be ties"
    assert found.card["quantized"]["num_images"] == len(labels) == 3589
    accuracy = weights.load("mini-xception").card["metrics"]["validation"]["accuracy"]
    assert found.card["quantized"]["accuracy_float32"] == pytest.approx(accuracy, abs=2e-3)
