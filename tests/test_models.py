"""Every network by its contract: size, input, output, training, saving, loading, on TensorFlow and on JAX."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from lively import answers, change_of_a_step, lively, pictures

from fer_keras.models import MODELS, build, fine_tune, multiply_adds
from fer_keras.models.inputs import leaves, three_channels
from fer_keras.models.residual import pool, residual_block, squeeze_and_excite
from fer_keras.models.transfer import backbones_in

PARAMETERS = {  # (classes, parameters), where they are published
    "capstone-model-1": (4, 605_572), "capstone-model-2": (4, 391_652), "capstone-final": (4, 1_782_340),
    "mini-xception": (7, 58_423), "scratch-four-conv": (7, 4_478_727), "vgg16": (4, 14_887_684),
    "inception-resnet-v2": (4, 54_771_876), "efficientnet": (4, 5_402_215), "resnet101": (7, 42_672_547),
    "efficientnet-b5": (7, 28_527_898), "emovision-vgg-draft": (7, 5_682_439), "emovision-vgg": (7, 9_485_575),
    "general": (7, 684_583), "sep-baseline": (6, 2_608_006), "sep-se": (6, 2_651_526),
    "sep-se-residual": (6, 5_926_406), "resnet18": (6, 11_189_190), "fer-small": (7, 324_311),
    "fer-base": (7, 1_287_525), "fer-large": (7, 6_460_919), "ferplus-vgg13": (8, 8_757_704),
    "dual-channel": (4, 647_844),
}  # fmt: skip
DEEP = ("resnet101", "efficientnet-b5", "inception-resnet-v2")  # too deep to be built more than once
# Of each kind of layer and block one.
ON_JAX = ("capstone-model-2", "mini-xception", "sep-se-residual", "vgg16")


def made(name, **options):
    keras.utils.set_random_seed(0)
    return build(name, PARAMETERS.get(name, (7,))[0], weights=None, **options)


@pytest.fixture(scope="module")
def faces():
    return pictures(3, (48, 48, 1))


@pytest.fixture(scope="module", params=MODELS)
def network(request):
    """Name and network, from random initialisation, as few are built as can be: what trains it comes last."""
    return request.param, lively(made(request.param))


def test_size_is_the_published_one_and_all_of_it_trains(network):
    """A convolution with a kernel of 1x1 does not stride: TensorFlow's gradient of it is wrong on some CPUs."""
    name, model = network
    num_classes, parameters = PARAMETERS.get(name, (7, None))
    assert (model.input_shape, model.output_shape) == ((None, 48, 48, 1), (None, num_classes))
    words = " ".join(MODELS[name].__doc__.split())
    assert not parameters or (model.count_params(), f"{parameters:,} parameters" in words) == (parameters, True)
    published = re.search(r"(\d+) M multiply-adds", words)
    assert not published or int(published[1]) == round(multiply_adds(model) / 1e6)
    every = leaves(model)
    assert all(layer.trainable for layer in every), "without pretrained weights"
    convolutions = [layer for layer in every if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.strides for layer in convolutions if layer.kernel_size == (1, 1)} <= {(1, 1)}


def test_a_network_that_is_only_called_does_not_train_and_scales_pixels_inside(network, faces):
    model = network[1]
    before, found = model.get_weights(), answers(model, faces)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, answers(model, faces, training=False))
    assert all(map(np.array_equal, before, model.get_weights()))
    assert np.abs(found - answers(model, faces / 255)).max() > 1e-3


def test_a_network_trains_is_saved_and_starts_from_its_file(network, faces, tmp_path):
    name, model = network
    if name in DEEP:
        pytest.skip("the layers around its backbone are those of another network")
    if backbone := {layer.name for layer in backbones_in(model)}:
        fine_tune(model, None)
    changed = change_of_a_step(model, faces, run_eagerly=True)
    assert changed == {layer.name for layer in model.layers if layer.weights} - backbone
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    started = build(name, model.output_shape[1], weights=tmp_path / "model.keras")
    for each in (again, started):
        np.testing.assert_array_equal(answers(each, faces), answers(model, faces))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEP])
def test_probabilities_are_float32_and_layers_channels_last_whatever_keras_json_says(name):
    """The mixed policy is that of a training in half precision."""
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
def test_the_picture_is_resized_inside(name, faces):
    """At 64 pixels inside, the probabilities of a face of 48 are those of what Keras makes of it at 64."""
    model = made(name, side=64)
    larger = keras.ops.image.resize(faces, (64, 64))
    same = made(name, input_shape=(64, 64, 1), side=64)
    np.testing.assert_allclose(answers(model, faces), answers(same, larger), atol=1e-6)
    assert multiply_adds(model) == multiply_adds(same) > multiply_adds(made(name, side=48))


def graph(block, *shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, block(inputs))


def test_blocks_are_their_formulas():
    """With a branch of zeros, a residual block is the rectified input, or every other pixel of it, projected."""
    x = np.random.default_rng(1).normal(size=(3, 6, 4, 32)).astype("float32")
    excited = graph(squeeze_and_excite, 6, 4, 32)
    first, second = excited.get_weights()
    gates = 1 / (1 + np.exp(-np.maximum(x.mean(axis=(1, 2)) @ first, 0) @ second))
    np.testing.assert_allclose(answers(excited, x), x * gates[:, None, None], rtol=1e-4, atol=1e-6)
    nothing = {"attention": lambda branch: 0 * branch}
    same = graph(lambda inputs: residual_block(inputs, 32, **nothing), 6, 4, 32)
    np.testing.assert_allclose(answers(same, x), np.maximum(x, 0), rtol=1e-6)
    halved = graph(lambda inputs: residual_block(inputs, 8, strides=2, **nothing), 6, 4, 32)
    kernel = next(w for w in halved.weights if w.shape == (1, 1, 32, 8)).numpy()[0, 0]
    expected = np.maximum(x[:, ::2, ::2] @ kernel / np.sqrt(1 + 1e-3), 0)
    np.testing.assert_allclose(answers(halved, x), expected, rtol=1e-4, atol=1e-5)
    weighted = graph(lambda inputs: pool(inputs, "weighted"), 6, 4, 32)
    np.testing.assert_allclose(answers(weighted, x), x.mean(axis=(1, 2)), atol=1e-6)
    weighted.set_weights([x[0, ..., None]])
    np.testing.assert_allclose(answers(weighted, x), (x * x[0]).sum(axis=(1, 2)), rtol=1e-4, atol=1e-4)


def test_grey_is_repeated_and_the_eyes_network_sees_only_its_crop(faces):
    np.testing.assert_array_equal(answers(three_channels((48, 48, 1)), faces), faces.repeat(3, axis=-1))
    model = made("emovision-baseline", crop=(8, 24, 4, 4))
    elsewhere, inside = faces.copy(), faces.copy()
    elsewhere[:, 24:] = elsewhere[:, :, :4] = inside[:, 8:24, 4:44] = 0
    np.testing.assert_array_equal(answers(model, faces), answers(model, elsewhere))
    assert np.abs(answers(model, faces) - answers(model, inside)).max() > 1e-4


def test_bad_arguments_are_refused():
    missing = "of vgg16 must be None or the path of an existing .*Only the networks of"
    for name, num_classes, options, message in (
        ("capstone-model-1", 1, {}, "at least 2"),
        ("capstone-model-1", 4, {"input_shape": (48, 48, 3)}, "grey"),
        ("capstone-model-1", 4, {"input_shape": (48, 48)}, "height, width, 1"),
        ("capstone-model-1", 4, {"input_shape": (4, 48, 1)}, "at least"),
        ("capstone-model-1", 4, {"weights": "imagenet"}, "Only the networks of .*have 'imagenet'"),
        ("capstone-model-1", 4, {"weights": "missing.keras"}, r"existing \.keras"),
        ("fer-small", 7, {"pooling": "max"}, r"`pooling` must be one of mean, weighted\. Received: 'max'"),
        ("sep-se", 6, {"side": 12}, "`side` must be an integer of at least"),
        ("lenet", 4, {}, "no network 'lenet'"),
        ("vgg16", 4, {"weights": "missing.h5"}, missing),
        ("vgg16", 4, {"weights": "imagenet21k"}, missing),
        ("efficientnet", 4, {"weights": "hed"}, "are VGG16's"),
        ("efficientnet", 4, {"weights": None, "variant": "b9"}, "`variant` must be one of: b0, v2b2"),
        ("vgg16", 4, {"weights": None, "output_layer": "block6"}, "must be one of: block1_conv1.*'block6'"),
        ("vgg16", 4, {"weights": None, "trainable_from": "block9"}, "no layer 'block9'"),
    ):
        with pytest.raises(ValueError, match=message):
            build(name, num_classes, **options)


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
for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    faces, model = np.load(path.with_suffix(".npy")), keras.saving.load_model(path, compile=False, safe_mode=True)
    before, changed = model.predict_on_batch(faces), change_of_a_step(model, faces)
    np.savez(path.with_suffix(".npz"), before=before, after=model.predict_on_batch(faces), changed=sorted(changed))
    model.save(path)
"""


def test_saved_networks_answer_alike_and_train_on_jax(faces, tmp_path):
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    expected = {}
    for name in ON_JAX:
        model = lively(made(name))
        if backbones_in(model):
            fine_tune(model, None)
        expected[name] = answers(model, faces)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", faces)
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", JAX, str(tmp_path)], check=True, env=environment)
    for name in ON_JAX:
        found, path = np.load(tmp_path / f"{name}.npz"), tmp_path / f"{name}.keras"
        np.testing.assert_allclose(found["before"], expected[name], rtol=1e-3, atol=1e-4)
        again = keras.saving.load_model(path, compile=False, safe_mode=True)
        np.testing.assert_allclose(answers(again, faces), found["after"], rtol=1e-3, atol=1e-4)
        assert np.abs(found["after"] - found["before"]).max() > 1e-6
        assert set(found["changed"]) == {layer.name for layer in again.layers if layer.trainable_weights}
