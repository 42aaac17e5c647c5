"""Networks are opened by name; on ONNX Runtime alone, without Keras or a backend; what is broken is refused."""

import copy
import hashlib
import json
import pickle
import shutil

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
SHIPPED = sorted(path.name for path in weights.folder().iterdir() if path.suffix in (".keras", ".onnx"))


@pytest.mark.parametrize("name", weights.shipped())
def test_what_ships_for_onnx_runtime_is_the_network_that_ships_for_keras(name):
    path = weights.folder() / f"{name}.keras"
    network, keras_network = open_network(name), weights.load(name)
    assert isinstance(network, OnnxNetwork)
    for attribute in ("name", "classes", "size", "temperature"):
        assert getattr(network, attribute) == getattr(keras_network, attribute), attribute
    assert network.card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest(), f"python -m fer_keras export {name}"
    assert network.card == {**keras_network.card, "size": [48, 48], "parity": network.card["parity"]}
    images = np.resize(make_faces(3, classes=network.classes).images, (networks.BATCH + 3, 48, 48, 1))
    found = network.predict(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[::6], keras_network.model(images[::6].astype(np.float32)), atol=1e-5)
    np.testing.assert_allclose(network.predict(images[-3:, :, :, 0].astype(float)), found[-3:], atol=1e-6)
    assert network.predict(images[:0]).shape == (0, len(network.classes))
    for again in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert again.card == network.card
        np.testing.assert_array_equal(again.predict(images[:3]), network.predict(images[:3]))


def test_an_unknown_name_is_refused_with_what_comes_close_before_keras_is_imported(own_folders, monkeypatch):
    with pytest.raises(ValueError, match="Expected a network that was trained on this machine"):
        open_network("capstone-model-1")
    monkeypatch.setattr(networks, "import_part", lambda name: pytest.fail("imported"))
    for name, message in {
        "fer-smal": r"^There is no network 'fer-smal'\. Did you mean 'fer-small'\?$",
        "gone.keras": r"'gone\.keras'\. Expected the path of a \.keras or \.h5 file, or one of: .*mini-xception",
        "nonsense": "no network 'nonsense'",
        "gone.onnx": r"^gone\.onnx: Expected an \.onnx file that fer_keras\.export wrote\. Received: no file there",
    }.items():
        for use in (open_network, networks.keras_network) if name != "gone.onnx" else [open_network]:
            with pytest.raises(ValueError, match=message):
                use(name)


def test_keras_runs_it_where_onnx_runtime_or_the_file_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    for network in ("mini-xception", FILE.with_suffix(".keras")):
        assert isinstance(open_network(network), weights.Network)
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            (text, "a card with name, classes, size, sha256. Received: none")
            for text in (None, "{", "[1]", "[" * 100_000)
        ),
        *(({name: value}, f"without a usable {name}") for name, values in USELESS.items() for value in values),
        ({"size": [64, 64]}, r"\['batch', 64, 64, 1\].* Received: \[\['batch', 48, 48, 1\]"),
        ({"classes": list(FER7[:6])}, r"\['batch', 6\].* Received: .*\['batch', 7\]"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(changes, message, tmp_path):
    proto, text = onnx.load(FILE), changes
    if isinstance(changes, dict):
        card = {**open_network(FILE).card, **changes}
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


def test_a_broken_file_and_one_that_is_not_there_are_refused(tmp_path, capfd):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ValueError, match="Received: no file there"):
        open_network(tmp_path / "folder.onnx")
    proto = onnx.load(FILE)
    kernel = max(proto.graph.initializer, key=lambda each: len(each.raw_data))
    kernel.raw_data = np.full(len(kernel.raw_data) // 4, np.nan, np.float32).tobytes()
    path, broken = tmp_path / "broken.onnx", (b"", b"no network", FILE.read_bytes()[:50_000])
    wrong = [*((content, "a whole .* Received: ") for content in broken), (proto.SerializeToString(), "predicts.*NaN")]
    for content, message in wrong:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"broken\.onnx: Expected .*{message}"):
            open_network(path)
    assert capfd.readouterr().err == "", "what goes wrong is raised, not printed"


def test_weights_of_keras_that_are_not_finite_are_refused(tmp_path):
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
    for file in (name, f"{name}.json"):
        shutil.copy(weights.folder() / file, tmp_path)
    path, random = tmp_path / name, np.random.default_rng(0)
    content = path.read_bytes()
    open_network(path)
    for place in random.integers(0, len(content), 8):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << random.integers(8)]) + content[place + 1 :])
        with pytest.raises(ValueError, match=rf"{name}: Expected the file that {name}\.json describes.*was changed"):
            open_network(path)
    path.write_bytes(content)
    for text in ("{}", "", "{", '{"file_sha256": "0"}'):
        path.with_name(f"{name}.json").write_text(text)
        with pytest.raises(ValueError, match="Expected the file that"):
            open_network(path)


def test_every_network_ships_for_keras_and_onnx_runtime_and_one_in_int8():
    assert {f"{name}{suffix}" for name in weights.shipped() for suffix in (".keras", ".onnx")} <= set(SHIPPED)
    found, whole = open_network("fer-small-int8"), open_network("fer-small")
    assert found.card["sha256"] == whole.card["sha256"]
    assert (found.name, found.classes, found.size) == ("fer-small-int8", whole.classes, whole.size)
    images = make_faces(10).images
    difference = np.abs(found.predict(images) - whole.predict(images))
    assert difference.max() > 1e-4, "8 bits are not 32"
    assert difference.mean() < 0.03
    quantized = found.card["quantized"]
    assert (quantized["split"], quantized["agreement"] > 0.97) == ("validation", True)
    assert abs(quantized["accuracy"] - quantized["accuracy_float32"]) < 0.005


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
        whole = open_network(card["name"].removesuffix("-int8")).predict(images).argmax(axis=1)
        assert (answers == whole).mean() == pytest.approx(quantized["agreement"], abs=0.005)
