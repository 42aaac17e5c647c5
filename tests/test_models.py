"""Every network by its contract: size, input, output, saving, loading; and the nested backbone."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from fer_keras.models import MODELS, build, fine_tune, multiply_adds, stages
from fer_keras.models.attention import squeeze_and_excite
from fer_keras.models.counting import leaves
from fer_keras.models.resnet import residual_block

OFFLINE = {"vgg16": {"weights": None}}
PARAMETERS = {  # (classes, parameters), the published ones first
    "capstone-model-1": (4, 605_572),
    "capstone-model-2": (4, 391_652),
    "capstone-final": (4, 1_782_340),
    "mini-xception": (7, 58_423),
    "scratch-four-conv": (7, 4_478_727),
    "vgg16": (4, 14_887_684),
    "emovision-vgg-draft": (7, 5_682_439),
    "emovision-vgg": (7, 9_485_575),
    "general": (7, 684_199),
    "sep-baseline": (6, 2_608_006),
    "sep-se": (6, 2_651_526),
    "sep-se-residual": (6, 5_926_406),
    "resnet18": (6, 11_189_190),
}
SEQUENTIAL = {
    "capstone-model-1",
    "capstone-model-2",
    "capstone-final",
    "emovision-baseline",
    "emovision-vgg-draft",
    "emovision-vgg",
    "scratch-four-conv",
    "general",
    "one-vs-rest",
    "sep-baseline",
}


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1)).astype("float32")


def made(name, num_classes=7, **options):
    """Return a network with random values."""
    keras.utils.set_random_seed(0)
    return build(name, num_classes, **OFFLINE.get(name, {}), **options)


def answers(model, faces):
    return keras.ops.convert_to_numpy(model(faces))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_the_published_one_and_the_docstring_s(name):
    num_classes, expected = PARAMETERS[name]
    model = made(name, num_classes)
    assert model.count_params() == expected
    words = " ".join(MODELS[name].__doc__.split())
    assert f"{expected:,} parameters" in words
    said = re.search(r"(\d+) M multiply-adds", words)
    assert not said or int(said[1]) == round(multiply_adds(model) / 1e6)


@pytest.mark.parametrize("name", MODELS)
def test_contract(name, faces, tmp_path):
    for num_classes in (2, 4, 6, 8, 7):
        model = made(name, num_classes)
        assert model.input_shape == (None, 48, 48, 1)
        assert model.output_shape == (None, num_classes)
    assert isinstance(model, keras.Sequential) == (name in SEQUENTIAL)

    before = [np.array(value) for value in model.get_weights()]
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    model.train_on_batch(faces, np.eye(7, dtype="float32")[:3])
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

    probabilities = answers(model, faces)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(answers(again, faces), probabilities)

    started = build(name, 7, weights=tmp_path / "model.keras")
    np.testing.assert_array_equal(answers(started, faces), probabilities)
    with pytest.raises(ValueError, match="does not hold the weights"):
        build(name, 4, weights=tmp_path / "model.keras")


@pytest.mark.parametrize("name", MODELS)
def test_pixels_are_scaled_inside(name, faces):
    """A network that takes pixels in [0, 255] answers otherwise when somebody scales them first."""
    model = made(name)
    assert np.abs(answers(model, faces) - answers(model, faces / 255)).max() > 1e-6
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling))
    assert first.name in {"to_unit", "to_signed", "minus_means"}


@pytest.mark.parametrize("name", ["sep-baseline", "sep-se", "sep-se-residual", "resnet18", "mini-xception"])
def test_the_picture_is_resized_inside(name, faces):
    """At 64 pixels inside, a face of 48 is answered as what Keras makes of it at 64."""
    model = made(name, side=64)
    larger = keras.ops.image.resize(faces, (64, 64))
    same = made(name, input_shape=(64, 64, 1), side=64)
    np.testing.assert_allclose(answers(model, faces), answers(same, larger), atol=1e-6)
    assert multiply_adds(model) == multiply_adds(same) > multiply_adds(made(name, side=48))
    with pytest.raises(ValueError, match="`side` must be an integer of at least"):
        made(name, side=12)


def test_squeeze_and_excite_scales_channels_by_their_gates():
    inputs = keras.Input((5, 4, 32))
    model = keras.Model(inputs, squeeze_and_excite(inputs))
    first, second = (weight.numpy() for weight in model.weights)
    assert (first.shape, second.shape) == ((32, 2), (2, 32))
    x = np.random.default_rng(1).normal(size=(2, 5, 4, 32)).astype("float32")
    gates = 1 / (1 + np.exp(-np.maximum(x.mean(axis=(1, 2)) @ first, 0) @ second))
    np.testing.assert_allclose(answers(model, x), x * gates[:, None, None], rtol=1e-4, atol=1e-6)


def test_a_residual_block_adds_what_its_shortcut_carries():
    """With a branch of zeros, what is left is the rectified input, or every other pixel of it under a 1x1 kernel."""
    x = np.random.default_rng(1).normal(size=(3, 6, 6, 4)).astype("float32")
    inputs = keras.Input((6, 6, 4))
    same = keras.Model(inputs, residual_block(inputs, 4, attention=lambda branch: 0 * branch))
    np.testing.assert_allclose(answers(same, x), np.maximum(x, 0), rtol=1e-6)
    halved = keras.Model(inputs, residual_block(inputs, 8, strides=2, attention=lambda branch: 0 * branch))
    kernel = next(w for w in halved.weights if w.shape == (1, 1, 4, 8)).numpy()[0, 0]
    expected = np.maximum(x[:, ::2, ::2] @ kernel / np.sqrt(1 + 1e-3), 0)
    np.testing.assert_allclose(answers(halved, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_no_convolution_of_ours_strides_with_a_kernel_of_one_pixel(name):
    """Its gradient on a batch of odd size is what TensorFlow 2.21 on CPUs gets wrong."""
    for layer in leaves(made(name)):
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            assert layer.strides == (1, 1), layer.name


def test_three_channels_repeats_the_grey_one(faces):
    stage = stages.three_channels((48, 48, 1))
    assert stage.count_params() == 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(stage(faces)), faces.repeat(3, axis=-1))


def test_vgg16_subtracts_the_means_that_keras_subtracts(faces):
    model = build("vgg16", 4, weights=None)
    until_backbone = keras.Model(model.input, model.get_layer("minus_means").output)
    expected = keras.applications.vgg16.preprocess_input(faces.repeat(3, axis=-1))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(until_backbone(faces)), expected, atol=1e-4)


def test_the_eyes_network_sees_only_its_crop(faces):
    keras.utils.set_random_seed(0)
    model = build("emovision-baseline", 7, crop=(8, 24, 4, 4))
    elsewhere = faces.copy()
    elsewhere[:, 24:] = 0
    elsewhere[:, :, :4] = 0
    inside = faces.copy()
    inside[:, 8:24, 4:44] = 0
    answer, same, other = (keras.ops.convert_to_numpy(model(x)) for x in (faces, elsewhere, inside))
    np.testing.assert_array_equal(answer, same)
    assert np.abs(answer - other).max() > 1e-4


def test_a_frozen_backbone_keeps_its_values_and_a_fine_tuned_one_changes_from_the_named_layer(faces):
    targets = np.eye(4, dtype="float32")[:3]
    keras.utils.set_random_seed(0)
    model = build("vgg16", 4, weights=None)
    backbone = model.get_layer("vgg16")

    def changed_layers():
        before = {layer.name: layer.get_weights() for layer in backbone.layers if layer.weights}
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="categorical_crossentropy")
        model.train_on_batch(faces, targets)
        return {
            name
            for name, values in before.items()
            if any(
                not np.array_equal(a, b) for a, b in zip(values, backbone.get_layer(name).get_weights(), strict=True)
            )
        }

    assert changed_layers() == set()
    assert len(model.trainable_weights) == 10
    fine_tune(model, "block5_conv2")
    assert changed_layers() == {"block5_conv2", "block5_conv3"}
    fine_tune(model, None)
    assert changed_layers() == set()


def test_fine_tuning_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="no layer 'block9'"):
        fine_tune(build("vgg16", 4, weights=None), "block9")
    with pytest.raises(ValueError, match="one nested backbone"):
        fine_tune(build("mini-xception", 7), "conv2d")


def test_backbone_weights_come_from_a_file_of_keras(tmp_path, faces):
    keras.utils.set_random_seed(5)
    published = keras.applications.VGG16(include_top=False, weights=None, input_shape=(48, 48, 3))
    path = tmp_path / "vgg16_notop.weights.h5"
    published.save_weights(path)
    model = build("vgg16", 4, weights=str(path))
    for mine, theirs in zip(model.get_layer("vgg16").get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_imagenet_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    def fail(*args, **kwargs):
        raise Exception("URL fetch failure on https://example.org: None -- unreachable")

    monkeypatch.setattr(keras.src.applications.vgg16.file_utils, "get_file", fail)
    with pytest.raises(ConnectionError, match=r"vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 .* weights=None"):
        build("vgg16", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "at least 2"),
        ({"num_classes": 4, "input_shape": (48, 48, 3)}, "grey"),
        ({"num_classes": 4, "input_shape": (48, 48)}, "height, width, 1"),
        ({"num_classes": 4, "input_shape": (4, 48, 1)}, "at least"),
        ({"num_classes": 4, "weights": "imagenet"}, "never trained on ImageNet"),
        ({"num_classes": 4, "weights": "missing.keras"}, "existing .keras"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build("capstone-model-1", **arguments)
    with pytest.raises(ValueError, match="no network 'lenet'"):
        build("lenet", 4)


def test_multiply_adds_count_every_kind_of_layer():
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(4, 3, strides=2, padding="same"),  # 4*4 positions * 3*3*2*4
            layers.SeparableConv2D(8, 3, padding="same"),  # 16 * (3*3*4 + 4*8)
            layers.DepthwiseConv2D(3, padding="same"),  # 16 * 3*3*8
            layers.Dense(6),  # 16 * 8*6, once a position
            keras.Sequential([layers.Input((4, 4, 6)), layers.Flatten(), layers.Dense(5)]),  # 96 * 5
            layers.Reshape((1, 5, 1)),
            layers.Resizing(8, 8),
            layers.DepthwiseConv2D(3, depth_multiplier=4),  # 6*6 * 3*3*1*4
        ]
    )
    assert multiply_adds(model) == 16 * 72 + 16 * (36 + 32) + 16 * 72 + 768 + 480 + 36 * 36


def test_multiply_adds_and_parameters_are_those_published_of_resnet18():
    """torchvision's table: 11,689,512 parameters and 1.814 G multiply-adds for 1000 classes at 224 pixels."""
    model = build("resnet18", 1000, side=224)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == 11_689_512
    assert round(multiply_adds(model) / 1e9, 3) == 1.814


JAX_ANSWERS = """
import sys, numpy as np, keras
model = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
np.save(sys.argv[3], keras.ops.convert_to_numpy(model(np.load(sys.argv[2]))))
"""


def test_a_saved_network_answers_alike_on_jax(tmp_path, faces):
    """One subprocess for all networks would hide which fails; the smallest with every kind of layer stands for them."""
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    keras.utils.set_random_seed(0)
    model = build("mini-xception", 7)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "faces.npy", faces)
    arguments = [str(tmp_path / name) for name in ("model.keras", "faces.npy", "answers.npy")]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", JAX_ANSWERS, *arguments], check=True, env=environment)
    expected = keras.ops.convert_to_numpy(model(faces))
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, atol=1e-5)
