"""Networks are opened by name, run by ONNX Runtime or Keras, and exported; what is broken or differs is refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import Mock, patch

import keras
import numpy as np
import onnx
import pytest

from fer_keras import paths
from fer_keras.data import load_fer7
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4, FER7
from fer_keras.models import build, weights
from fer_keras.recipes import Recipe
from fer_keras.recognition import export as exporter
from fer_keras.recognition import networks
from fer_keras.recognition.export import FORMATS, export, read_card, run
from fer_keras.recognition.networks import OnnxNetwork, open_network
from fer_keras.training.data import load_recipe_data

FILE = weights.folder() / "mini-xception.onnx"
SHIPPED = sorted(path.name for path in weights.folder().iterdir() if path.suffix in (".keras", ".onnx"))
FACES = make_faces(3, seed=5).images.astype(np.float32)
# One of each kind of stage: repeated channels, resizing, dense layers on maps, depthwise convolutions.
CASES = [(name, "onnx") for name in ("capstone-model-1", "capstone-model-2", "fer-small", "mini-xception", "nested")]
CASES += [("capstone-model-1", "litert"), ("capstone-model-1", "savedmodel")]


@pytest.mark.parametrize("name", weights.shipped())
def test_what_ships_for_onnx_runtime_is_the_network_that_ships_for_keras(name):
    network, keras_network = open_network(name), weights.load(name)
    assert isinstance(network, OnnxNetwork)
    for each in ("name", "classes", "size", "temperature"):
        assert getattr(network, each) == getattr(keras_network, each)
    digest = hashlib.sha256((weights.folder() / f"{name}.keras").read_bytes()).hexdigest()
    assert network.card["sha256"] == digest, f"python -m fer_keras export {name}"
    assert network.card == {**keras_network.card, "size": [48, 48], "parity": network.card["parity"]}
    images = np.resize(make_faces(3, classes=network.classes).images, (networks.BATCH + 3, 48, 48, 1))
    found = network.predict(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[::6], keras_network.model(images[::6].astype(np.float32)), atol=1e-5)
    np.testing.assert_allclose(network.predict(images[-3:, :, :, 0].astype(float)), found[-3:], atol=1e-6)
    assert network.predict(images[:0]).shape == (0, len(network.classes))


def test_an_unknown_name_is_refused_with_what_comes_close_before_keras_is_imported(own_folders, monkeypatch):
    with pytest.raises(ValueError, match="Expected a network that was trained on this machine"):
        open_network("capstone-model-1")
    monkeypatch.setattr(networks, "import_part", lambda name: pytest.fail("imported"))
    for name, message in {
        "fer-smal": r"^There is no network 'fer-smal'\. Did you mean 'fer-small'\?$",
        "gone.keras": r"'gone\.keras'\. Expected one of: the path of a \.keras or \.h5 file, .*mini-xception",
        "gone.onnx": r"^gone\.onnx: Expected an \.onnx file.*Received: no file there",
    }.items():
        for use in (open_network, networks.keras_network) if name != "gone.onnx" else [open_network]:
            with pytest.raises(ValueError, match=message):
                use(name)


def test_what_ships_for_onnx_runtime_alone_says_so_and_what_to_take(monkeypatch):
    message = r"fer-small-int8: .*Received: an \.onnx file.*pip install .*\. Pass 'fer-small'\."
    for use in (export, networks.keras_network):
        with pytest.raises(ValueError, match=message):
            use("fer-small-int8")
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=message):
        open_network("fer-small-int8")


def test_keras_runs_it_where_onnx_runtime_or_the_file_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    assert isinstance(open_network("mini-xception"), weights.Network)
    monkeypatch.undo()
    (tmp_path / "weights").mkdir()
    for suffix in (".keras", ".json"):
        shutil.copy(FILE.with_suffix(suffix), tmp_path / "weights" / f"mine{suffix}")
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    assert isinstance(open_network("mine"), weights.Network)


USELESS = {
    "sha256": [None],
    "classes": ["happy", ["happy"], ["sad", "sad"], ["sad", 1], ["sad", ""]],
    "temperature": [0, -1, 1e-300, float("nan"), float("inf"), "1", []],
    "temperature_mirrored": [0],
    "size": [[48.0, 48.0], [48], [0, 48], [True, True], 48],
}
WRONG = [(text, r"a card with .*\. Received: none") for text in (None, "{", "[1]", "[" * 100_000)]
WRONG += [({name: value}, f"without a usable {name}") for name, values in USELESS.items() for value in values]
WRONG += [({"size": [64, 64]}, r"\['batch', 64, 64, 1\].* Received: \[\['batch', 48, 48, 1\]")]
WRONG += [({"classes": list(FER7[:6])}, r"\['batch', 6\].* Received: .*\['batch', 7\]")]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_card_that_does_not_fit_is_refused(changes, message, tmp_path):
    proto, text = onnx.load(FILE), changes
    if isinstance(changes, dict):
        card = read_card(FILE) | changes
        text = json.dumps({name: value for name, value in card.items() if value is not None})
    del proto.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(proto, {networks.CARD: text})
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(ValueError, match=rf"odd\.onnx: Expected .*{message}"):
        open_network(tmp_path / "odd.onnx")
    if "usable" in message and "size" not in changes:
        shutil.copy(FILE.with_suffix(".keras"), tmp_path / "odd.keras")
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(ValueError, match=rf"odd\.json: Expected .*{message}"):
            open_network(tmp_path / "odd.keras")


def test_a_broken_file_and_values_that_are_not_finite_are_refused(tmp_path, capfd):
    proto, path = onnx.load(FILE), tmp_path / "broken.onnx"
    kernel = max(proto.graph.initializer, key=lambda each: len(each.raw_data))
    kernel.raw_data = np.full(len(kernel.raw_data) // 4, np.nan, np.float32).tobytes()
    for content in (b"", b"no network", FILE.read_bytes()[:50_000], proto.SerializeToString()):
        path.write_bytes(content)
        message = "predicts.*NaN" if len(content) > 50_000 else "a whole .* Received: "
        with pytest.raises(ValueError, match=rf"broken\.onnx: Expected .*{message}"):
            open_network(path)
    assert capfd.readouterr().err == "", "what goes wrong is raised, not printed"
    network = weights.load("mini-xception")
    network.model.run_eagerly = True
    network.model.set_weights([value * np.nan for value in network.model.get_weights()])
    with pytest.raises(ValueError, match="Expected finite probabilities"):
        network.predict(np.zeros((1, 48, 48, 1)))
    card = {name: value for name, value in network.card.items() if name != "sha256"}
    weights.save(network.model, tmp_path / "nan.keras", card, half=False)
    with pytest.raises(ValueError, match=r"nan\.keras: Expected finite weights"):
        weights.load(tmp_path / "nan.keras")


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.endswith(".onnx")])
def test_one_flipped_bit_of_a_shipped_file_or_of_its_sum_is_refused(name, tmp_path):
    path, beside = (Path(shutil.copy(weights.folder() / f"{name}{more}", tmp_path)) for more in ("", ".json"))
    content, random = path.read_bytes(), np.random.default_rng(0)
    open_network(path)
    for place in random.integers(0, len(content), 8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << random.integers(8)]) + content[place + 1 :])
        with pytest.raises(ValueError, match=rf"{name}: Expected the file that {name}\.json describes.*was changed"):
            open_network(path)
    path.write_bytes(content)
    for text in ("{}", "", "{", '{"file_sha256": "0"}'):
        beside.write_text(text)
        with pytest.raises(ValueError, match="Expected the file that"):
            open_network(path)


def test_one_network_ships_in_int8_too_which_predicts_about_the_same():
    assert {f"{name}{suffix}" for name in weights.shipped() for suffix in (".keras", ".onnx")} <= set(SHIPPED)
    found, whole = open_network("fer-small-int8"), open_network("fer-small")
    assert (found.classes, found.size, found.card["sha256"]) == (whole.classes, whole.size, whole.card["sha256"])
    assert found.card["quantized"]["agreement"] > 0.97
    difference = np.abs(found.predict(images := make_faces(10).images) - whole.predict(images))
    assert (difference.max() > 1e-4, difference.mean() < 0.03) == (True, True), "8 bits are not 32"


@pytest.mark.data
@pytest.mark.parametrize("file", SHIPPED)
def test_every_shipped_file_scores_on_publictest_what_its_card_says(file, fer2013_path):
    """On every processor: rounding moves a few answers of 3,589; saturating 8-bit kernels move hundreds."""
    network = open_network(weights.folder() / file)
    card, quantized = network.card, network.card.get("quantized")
    recipe = Recipe(**{key: card["recipe"][key] for key in ("name", "system", "title", "model", "data")})
    images, labels = load_recipe_data(recipe, fer2013_path)["validation"]
    answers, expected = network.predict(images).argmax(axis=1), quantized or card["metrics"]["validation"]
    assert expected["num_images"] == len(labels)
    assert (answers == labels).mean() == pytest.approx(expected["accuracy"], abs=0.003 if quantized else 0.0015)
    if quantized:
        whole = open_network(card["name"].removesuffix("-int8")).predict(images).argmax(axis=1)
        assert (answers == whole).mean() == pytest.approx(quantized["agreement"], abs=0.005)


def as_network(name, model):
    """A `Network` of a model, which runs eagerly: that takes less time than to compile it."""
    model.run_eagerly = True
    return weights.Network(model, {"name": name, "classes": list(FER4), "sha256": "none"})


def nested():
    """Normalisation inside a network in a network of images that are not square."""
    normalization = keras.layers.Normalization()
    normalization.adapt(FACES[:, :16, :12])
    backbone = keras.Sequential([keras.Input((16, 12, 1)), normalization, keras.layers.GlobalAveragePooling2D()])
    return keras.Sequential([keras.Input((16, 12, 1)), backbone, keras.layers.Dense(4, activation="softmax")])


@pytest.mark.parametrize(("name", "format"), CASES)
def test_every_kind_and_format_predicts_the_same_and_carries_its_card(name, format, tmp_path):
    keras.utils.set_random_seed(1)
    model = nested() if name == "nested" else build(name, 4, input_shape=(48, 48, 1), weights=None)
    network, path = as_network(name, model), tmp_path / f"made{FORMATS[format]}"
    faces = FACES[:5, : network.size[0], : network.size[1]]
    wanted = network.predict(faces)
    if format == "savedmodel":  # an older one is replaced whole
        path.mkdir()
        (path / "variables").mkdir()
        for older in ("saved_model.pb", "variables/of the older one"):
            (path / older).write_text("old")
    assert export(network, path, format=format) == path
    assert not (path / "variables" / "of the older one").exists()
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / f"{path.name}.json"])
    card = read_card(path)
    assert {**network.card, **card, "size": list(network.size)} == card
    assert card["parity"]["largest_difference"] < 1e-5
    for found in (run(path, faces), run(path, faces[:1]), network.predict(faces)):
        np.testing.assert_allclose(found, wanted[: len(found)], atol=1e-5)
    if (name, format) == ("fer-small", "onnx"):  # what slows ONNX Runtime down is gone, and nothing else
        found = Counter(node.op_type for node in onnx.load(path).graph.node)
        assert [found[kind] for kind in ("BatchNormalization", "Transpose", "Shape", "Reshape")] == [0, 0, 0, 1]
        kernels = sum(len(each.shape) == 4 for each in network.model.weights)
        assert found["Conv"] == kernels + 8, "of convolutions, and the dense layers of four blocks"


@pytest.mark.parametrize("format", FORMATS)
def test_layers_of_augmentation_do_nothing_in_an_exported_file(format, tmp_path):
    random = [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2), keras.layers.RandomContrast(0.5)]
    random += [keras.layers.RandomZoom(0.2), keras.layers.Pipeline([keras.layers.RandomBrightness(0.5)])]
    inside = keras.Sequential([keras.Input((48, 48, 1)), keras.layers.RandomTranslation(0.2, 0.2)])
    stages = [*random, inside, keras.layers.BatchNormalization()]
    ends = [keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    network = as_network("random", keras.Sequential([keras.Input((48, 48, 1)), *stages, *ends]))
    path = export(network, tmp_path / f"made{FORMATS[format]}", format=format)
    np.testing.assert_allclose(run(path, FACES), network.predict(FACES), atol=1e-4)


def dense_network():
    """A network of few layers, many values and firm answers."""
    keras.utils.set_random_seed(1)
    head = keras.layers.Dense(4, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=3))
    stages = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(8, activation="relu"), head]
    return as_network("quick", keras.Sequential([keras.Input((48, 48, 1)), *stages]))


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_int8_is_smaller_and_its_card_holds_what_it_costs(format, tmp_path, monkeypatch):
    network = weights.load("mini-xception") if format == "onnx" else dense_network()
    if format == "onnx":  # on synthetic faces, the other on FER-2013 where there is one
        monkeypatch.delenv("FER_KERAS_DATA", raising=False)
    path = export(network, tmp_path / f"made{FORMATS[format]}", format=format, quantize="int8")
    found, faces = read_card(path)["quantized"], make_faces(6)
    images, labels = faces.images, None
    if os.environ.get("FER_KERAS_DATA"):
        images, labels = load_fer7().select(classes=network.classes)["validation"]
    got, wanted = run(path, images.astype(np.float32)), network.predict(images)
    assert 0 < np.abs(got - wanted).mean() < 0.05
    answers, expected = got.argmax(axis=1), wanted.argmax(axis=1)
    assert found["agreement"] == pytest.approx((answers == expected).mean(), abs=0.001 + 1.5 / len(images)), "ties"
    assert (found["kind"], found["num_images"]) == ("int8", len(images))
    assert ("accuracy" in found) == (labels is not None), "there is none on synthetic faces"
    if labels is not None:
        assert found["accuracy"] == pytest.approx((answers == labels).mean(), abs=1e-3), "a few may be ties"
        assert found["accuracy_float32"] == pytest.approx((expected == labels).mean(), abs=2e-3)
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
def test_a_file_that_predicts_something_else_is_not_kept(quantize, converted, tmp_path, monkeypatch):
    path = tmp_path / "made.onnx"
    path.write_text("before")
    for wrong in (np.fliplr, lambda found: found * np.nan):
        monkeypatch.setattr(exporter, "run", lambda path, images, of=wrong: of(converted.predict(images)))
        with pytest.raises(ValueError, match=r"quick: Expected .*Received: a difference of .*Nothing was written"):
            export(converted, path, quantize=quantize)
        assert (path.read_text(), [*tmp_path.iterdir()]) == ("before", [path])


def test_what_cannot_be_written_is_refused(converted, tmp_path, monkeypatch, own_folders):
    (here := tmp_path / "here").mkdir()  # beside the cache, into which FER-2013 goes
    monkeypatch.chdir(here)
    for place in ("folder.onnx/saved_model.pb", "folder.onnx/my notes", "mine/notes"):
        (here / place).mkdir(parents=True)
    for options, message in (
        ({"format": "tflite"}, r"one of: onnx, litert, savedmodel\. Received: 'tflite'"),
        ({"quantize": "int4"}, r"None, or 'int8' for onnx, litert\. Received: 'int4' for 'onnx'"),
        ({"format": "savedmodel", "quantize": "int8"}, "Received: 'int8' for 'savedmodel'"),
        ({"path": "made.keras"}, r"ends in \.onnx\. Received: made\.keras"),
        ({"path": "folder.onnx"}, "Received: folder.onnx, where other things lie"),
        ({"path": "folder.onnx", "format": "savedmodel"}, "Received: folder.onnx, where other things lie"),
        ({"path": "mine", "format": "savedmodel"}, "Received: mine, where other things lie"),
        ({"network": "nonsense"}, "no network 'nonsense'"),
    ):
        with pytest.raises(ValueError, match=message):
            export(**{"network": converted, **options})
    monkeypatch.setattr(exporter, "write", Mock(side_effect=RuntimeError("No Op registered\nfor Erf")))
    with pytest.raises(
        ValueError, match=r"quick: Expected a network .*to onnx\. Received: No Op registered for Erf\. N"
    ):
        export(converted)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"Received: Keras on 'jax'\. Set KERAS_BACKEND=tensorflow"):
        export(converted)
    assert sorted(path.name for path in here.rglob("*")) == [
        "folder.onnx", "mine", "my notes", "notes", "saved_model.pb"
    ]  # fmt: skip


def test_what_a_killed_export_and_its_converter_left_is_gone_after_the_next(converted, tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    (tmp_path / f".other.onnx.{ended.pid}.tmp" / "of a converter").mkdir(parents=True)

    def write(model, path, *_):
        path.write_bytes(b"whole")
        assert Path(tempfile.mkdtemp()).parent == path.parent != tmp_path == path.parent.parent

    monkeypatch.setattr(exporter, "write", write)
    path = export(converted, tmp_path / "made.tflite", format="litert")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}


def test_an_export_that_stops_between_file_and_card_leaves_no_card_of_another(converted, tmp_path):
    path = export(converted, tmp_path / "made.tflite", format="litert")
    for module, name in ((os, "replace"), (paths, "write_whole")):
        with patch.object(module, name, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            export(converted, path, format="litert")
        with pytest.raises(ValueError, match=r"tflite\.json: Expected a card .*Received: none"):
            read_card(path)
        assert list(tmp_path.iterdir()) == [path]
