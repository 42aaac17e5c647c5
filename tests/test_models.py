"""Every network by its contract: size, input, output, training, saving, loading, on TensorFlow and on JAX."""

import functools
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from lively import lively, pictures

from fer_keras.models import MODELS, build, fine_tune, multiply_adds, transfer
from fer_keras.models.inputs import leaves, three_channels
from fer_keras.models.residual import pool, residual_block, squeeze_and_excite
from fer_keras.models.transfer import load_backbone

TRANSFER = {  # the layer that is the backbone
    "vgg16": "vgg16",
    "resnet101": "resnet101",
    "efficientnet-b5": "efficientnetb5",
    "inception-resnet-v2": "inception_resnet_v2",
    "efficientnet": "efficientnetb0",
}
OFFLINE = {name: {"weights": None} for name in TRANSFER}
PARAMETERS = {  # (classes, parameters), the published ones first
    "capstone-model-1": (4, 605_572),
    "capstone-model-2": (4, 391_652),
    "capstone-final": (4, 1_782_340),
    "mini-xception": (7, 58_423),
    "scratch-four-conv": (7, 4_478_727),
    "vgg16": (4, 14_887_684),
    "inception-resnet-v2": (4, 54_771_876),
    "efficientnet": (4, 5_402_215),
    "resnet101": (7, 42_672_547),
    "efficientnet-b5": (7, 28_527_898),
    "emovision-vgg-draft": (7, 5_682_439),
    "emovision-vgg": (7, 9_485_575),
    "general": (7, 684_583),
    "sep-baseline": (6, 2_608_006),
    "sep-se": (6, 2_651_526),
    "sep-se-residual": (6, 5_926_406),
    "resnet18": (6, 11_189_190),
    "fer-small": (7, 324_311),
    "fer-base": (7, 1_287_525),
    "fer-large": (7, 6_460_919),
    "ferplus-vgg13": (8, 8_757_704),
    "dual-channel": (4, 647_844),
}
SEQUENTIAL = {
    "capstone-model-1",
    "capstone-model-2",
    "capstone-final",
    "emovision-baseline",
    "emovision-vgg-draft",
    "emovision-vgg",
    "ferplus-vgg13",
    "scratch-four-conv",
    "general",
    "one-vs-rest",
    "sep-baseline",
}


@pytest.fixture(scope="module")
def faces():
    return pictures(3, (48, 48, 1))


@pytest.fixture(autouse=True)
def shared_backbones(monkeypatch):
    """Build each random backbone once: what differs between these tests' networks is what is around it."""
    monkeypatch.setattr(transfer, "load_backbone", shared)


@functools.cache
def shared(application, weights, input_shape):
    return load_backbone(application, weights, input_shape)


def made(name, num_classes=7, **options):
    """A network with random initialisation; the step of a deep backbone would take minutes, so it is frozen."""
    keras.utils.set_random_seed(0)
    model = build(name, num_classes, **OFFLINE.get(name, {}), **options)
    return fine_tune(model, None) if name in TRANSFER else model


def answers(model, faces):
    return keras.ops.convert_to_numpy(model(faces))


def change_of_a_step(model, faces):
    """Train a compiled network on one batch; return the names of its layers whose values changed."""
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.train_on_batch(faces, np.eye(model.output_shape[1], dtype="float32")[: len(faces)])
    return {
        layer.name for layer in model.layers if not all(map(np.array_equal, before[layer.name], layer.get_weights()))
    }


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

    # Compiling what is around a backbone takes half a minute in all, and the step is the same without.
    lively(model).compile(optimizer="sgd", loss="categorical_crossentropy", run_eagerly=name in TRANSFER)
    changed = change_of_a_step(model, faces)
    assert changed == {layer.name for layer in model.layers if layer.weights} - {TRANSFER.get(name)}

    probabilities = answers(model, faces)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(answers(again, faces), probabilities)

    keras.utils.set_random_seed(1)
    started = build(name, 7, weights=tmp_path / "model.keras")
    np.testing.assert_array_equal(answers(started, faces), probabilities)
    with pytest.raises(ValueError, match="does not hold the weights"):
        build(name, 4, weights=tmp_path / "model.keras")


@pytest.mark.parametrize("name", MODELS)
def test_without_pretrained_weights_all_of_it_trains(name):
    keras.utils.set_random_seed(0)
    model = build(name, 4, **OFFLINE.get(name, {}))
    assert all(layer.trainable for layer in leaves(model))
    statistics = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in leaves(model))
    constants = 3 * any(isinstance(layer, keras.layers.Normalization) for layer in leaves(model))
    assert len(model.non_trainable_weights) == 2 * statistics + constants


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_float32_and_layers_channels_last_whatever_keras_is_told(name, monkeypatch):
    """As keras.json may say it; the mixed policy is that of a training in half precision."""
    monkeypatch.setattr(transfer, "load_backbone", load_backbone if name in ("vgg16", "efficientnet") else shared)
    expected = made(name)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = made(name)
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy("float32")
    assert {getattr(layer, "data_format", "channels_last") for layer in leaves(model)} == {"channels_last"}
    assert (model.layers[-1].compute_dtype, model.layers[-2].compute_dtype) == ("float32", "bfloat16")
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_that_is_only_called_does_not_train(name, faces):
    """Some layers take themselves to be training where nobody says so, and Keras tells those that follow."""
    model = lively(made(name))
    before = model.get_weights()
    expected = keras.ops.convert_to_numpy(model(faces, training=False))
    np.testing.assert_array_equal(answers(model, faces), expected)
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("name", MODELS)
def test_pixels_are_scaled_inside(name, faces):
    """A network that takes pixels in [0, 255] answers otherwise when somebody scales them first."""
    model = lively(made(name))
    assert np.abs(answers(model, faces) - answers(model, faces / 255)).max() > 1e-3
    scalings = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
    if "efficientnet" in name:
        assert scalings == [], "it scales inside its backbone"
    else:
        assert len(scalings) == 1
        assert scalings[0] in {"to_unit", "to_signed", "minus_means"}


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


def test_weighted_pooling_begins_as_a_mean_and_knows_places():
    inputs = keras.Input((3, 5, 4))
    weighted, mean = (keras.Model(inputs, pool(inputs, name)) for name in ("weighted", "mean"))
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype("float32")
    np.testing.assert_allclose(answers(weighted, x), answers(mean, x), atol=1e-6)
    places = np.random.default_rng(2).normal(size=(3, 5, 4)).astype("float32")
    weighted.set_weights([places[..., None]])
    np.testing.assert_allclose(answers(weighted, x), (x * places).sum(axis=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fer-small", "fer-base", "fer-large"])
def test_an_unknown_pooling_is_refused(name):
    with pytest.raises(ValueError, match=r"`pooling` must be one of mean, weighted\. Received: 'max'"):
        build(name, 7, pooling="max")


@pytest.mark.parametrize("name", MODELS)
def test_no_convolution_of_ours_strides_with_a_kernel_of_one_pixel(name):
    """Its gradient on a batch of odd size is what TensorFlow 2.21 on CPUs gets wrong."""
    for layer in leaves(made(name)):
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            assert layer.strides == (1, 1), layer.name


def test_three_channels_repeats_the_grey_one(faces):
    stage = three_channels((48, 48, 1))
    assert stage.count_params() == 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(stage(faces)), faces.repeat(3, axis=-1))


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "at least 2"),
        ({"num_classes": 4, "input_shape": (48, 48, 3)}, "grey"),
        ({"num_classes": 4, "input_shape": (48, 48)}, "height, width, 1"),
        ({"num_classes": 4, "input_shape": (4, 48, 1)}, "at least"),
        ({"num_classes": 4, "weights": "imagenet"}, "Only the networks of .*have 'imagenet'"),
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


ON_JAX = """
import sys, traceback
import keras, numpy as np
from pathlib import Path
from keras.src.backend import random
from test_models import change_of_a_step

assert keras.backend.backend() == "jax"
# Random weights that a file's replace at once: JAX would compile a function for each of their shapes.
random.truncated_normal = random.uniform = lambda shape, *args, **kwargs: np.zeros(shape, "float32")
folder = Path(sys.argv[1])
faces = np.load(folder / "faces.npy")
for path in sorted(folder.glob("*.keras")):
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        model.compile(optimizer="sgd", loss="categorical_crossentropy")
        before = model.predict_on_batch(faces)
        changed = change_of_a_step(model, faces)
        after = model.predict_on_batch(faces)
        model.save(folder / "again.keras")
        again = keras.saving.load_model(folder / "again.keras", compile=False, safe_mode=True)
        same = all(map(np.array_equal, again.get_weights(), model.get_weights()))
        np.savez(path.with_suffix(".npz"), before=before, after=after, same=same, changed=sorted(changed))
    except Exception:
        path.with_suffix(".txt").write_text(traceback.format_exc())
    (folder / "again.keras").unlink(missing_ok=True)
"""


@pytest.fixture(scope="module")
def on_jax(faces, tmp_path_factory):
    """Save every network and let one process answer, train and save each of them on JAX; return the folder."""
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    folder = tmp_path_factory.mktemp("on_jax")
    np.save(folder / "faces.npy", faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "load_backbone", shared)
        for name in MODELS:
            model = lively(made(name))
            np.save(folder / f"{name}.npy", answers(model, faces))
            model.save(folder / f"{name}.keras")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", ON_JAX, str(folder)], check=True, env=environment)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_network_answers_alike_and_trains_on_jax(name, on_jax):
    failure = on_jax / f"{name}.txt"
    assert not failure.exists(), failure.read_text()
    found = np.load(on_jax / f"{name}.npz")
    np.testing.assert_allclose(found["before"], np.load(on_jax / f"{name}.npy"), rtol=1e-3, atol=1e-4)
    assert TRANSFER.get(name) not in found["changed"]
    assert len(found["changed"]) > 1
    assert np.isfinite(found["after"]).all()
    assert np.abs(found["after"] - found["before"]).max() > 1e-6
    assert found["same"]
