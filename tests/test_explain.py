"""Maps point at the evidence where it is known, for every network of the package, output and backend alike."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops
from lively import lively

import fer_keras
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation.explain import (
    METHODS,
    explain,
    feature_maps,
    find_layer,
    layer_output,
    layer_trace,
    log_odds,
    map_layers,
    occlusion,
    run_layers,
)
from fer_keras.models import MODELS, build

FACES = make_faces(3, seed=2).images[:4]
# Too slow for here; they differ from vgg16 in the size of their backbone only, or from those that run in their width.
HEAVY = ("resnet101", "efficientnet-b5", "inception-resnet-v2", "efficientnet", "fer-large", "emovision-vgg")
SIZES = {
    "mini-xception": (6, 6),  # its last map is 3x3: too coarse
    "fer-small": (6, 6),
    "capstone-model-1": (12, 12),
    "sep-se": (8, 8),
    "vgg16": (6, 6),
}
BRIGHT, DARK, NOTHING = 1, 0, 2
WEIGHTS = np.array([[0, 1, 0], [1, 0, 0]], np.float32)  # from bright and dark to the classes
SINGLE = np.array([[1], [-0.7]], np.float32)  # to a single unit
SIGMOID = (lambda: layers.Activation("sigmoid"),)


def finder(kind, *, strength=300.0, end=(layers.Softmax,), weights=WEIGHTS):
    """Build a network that is known by construction: bright spots speak for class 1, dark ones for class 0.

    Its convolution separates bright from dark on mid-grey, and the mean over the picture forgets where they were.
    """
    seen = layers.Conv2D(2, 3, padding="same", activation="relu", name="seen")
    dense = layers.Dense(weights.shape[1], name="dense")
    first = [layers.Rescaling(1 / 127.5, offset=-1.0), seen]
    last = [layers.GlobalAveragePooling2D(), dense, *(make() for make in end)]
    inputs = keras.Input((24, 24, 1))
    if kind == "sequential":
        model = keras.Sequential([inputs])
        for layer in (*first, *last):  # Keras connects all layers anew each time, as where it reads a file
            model.add(layer)
    else:  # a branch without weights beside the convolution: no chain
        both = layers.Add(name="sum")([through(first, inputs), layers.Rescaling(0.0)(inputs)])
        backbone = [keras.Model(inputs, both, name="backbone")]
        model = keras.Model(inputs, through(last, both) if kind == "functional" else through(backbone + last, inputs))
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = 1, -1
    seen.set_weights([kernel, np.zeros(2, np.float32)])
    dense.set_weights([strength * weights, np.zeros(weights.shape[1], np.float32)])
    return model


def through(stack, x):
    for layer in stack:
        x = layer(x)
    return x


def spotted():
    """Draw grey pictures, each with a bright and a dark spot of 6x6, and masks of both."""
    pictures, masks = np.full((4, 24, 24, 1), 127, np.uint8), np.zeros((2, 4, 24, 24), bool)
    places = {BRIGHT: ((2, 2), (15, 3), (3, 13), (9, 16)), DARK: ((14, 14), (3, 15), (9, 2), (1, 4))}
    for kind, corners in places.items():
        for number, (top, left) in enumerate(corners):
            masks[kind, number, top : top + 6, left : left + 6] = True
    pictures[masks[BRIGHT]], pictures[masks[DARK]] = 255, 0
    return pictures, masks


def share_inside(maps, masks):
    return (maps * masks).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))


def assert_same_maps(model, other, **options):
    """Compare the maps of two models by every method."""
    pictures, _ = spotted()
    for method in METHODS:
        maps, others = (explain(each, pictures, method=method, **options) for each in (model, other))
        assert maps.any()
        np.testing.assert_allclose(maps, others, atol=2e-4, err_msg=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [BRIGHT, DARK])
@pytest.mark.parametrize("kind", ["sequential", "functional", "nested"])
def test_every_method_points_at_what_speaks_for_the_class_and_not_at_what_speaks_against_it(kind, method, target):
    known, (pictures, masks) = finder(kind), spotted()
    maps = explain(known, pictures, method=method, target_class=target)
    assert (maps.shape, maps.dtype) == ((4, 24, 24), np.float32)
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)
    assert maps.min() >= 0
    assert (share_inside(maps, masks[target]) > (0.5 if method == "occlusion" else 0.75)).all()
    assert (share_inside(maps, masks[1 - target]) < 0.05).all()
    assert all(mask[one == 1].any() for mask, one in zip(masks[target], maps, strict=True))
    assert not explain(known, pictures, method=method, target_class=NOTHING).any()


def test_grad_cam_is_its_formula():
    """With a mean over places and one dense layer, the gradients are known: the class' weights less its rivals'."""
    model, (pictures, _) = finder("functional", strength=40.0), spotted()
    maps = feature_maps(model, pictures, "seen")
    probabilities = np.asarray(model(pictures.astype("float32")))
    kernel = model.get_layer("dense").get_weights()[0]
    rivals = probabilities[:, [DARK, NOTHING]] / probabilities[:, [DARK, NOTHING]].sum(axis=1, keepdims=True)
    gradients = (kernel[:, BRIGHT] - rivals @ kernel[:, [DARK, NOTHING]].T) / 24**2
    expected = np.maximum((maps * gradients[:, None, None]).sum(axis=-1), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explain(model, pictures, target_class=BRIGHT), expected, atol=1e-5)


def test_grad_cam_still_points_where_the_network_is_sure():
    model, (pictures, masks) = finder("functional", strength=1000.0), spotted()
    pictures = np.where(masks[DARK][..., None], 127, pictures).astype(np.uint8)
    assert (model.predict_on_batch(pictures)[:, BRIGHT] == 1).all()
    assert (share_inside(explain(model, pictures), masks[BRIGHT]) > 0.75).all()


ENDS = {
    "logits": (),
    "logits, dropout": (lambda: layers.Dropout(0.5), lambda: layers.Activation("linear")),
    "log softmax": (lambda: layers.Activation("log_softmax"),),
    "activation, reshape": (lambda: layers.Activation("softmax"), lambda: layers.Reshape((3,))),
    "operation": (lambda: ops.softmax,),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("target", [None, BRIGHT, DARK])
def test_maps_are_those_of_the_network_that_ends_in_softmax(end, target):
    assert_same_maps(finder("nested", strength=40.0), finder("nested", strength=40.0, end=end), target_class=target)


@pytest.mark.parametrize(("activation", "after"), [(None, layers.GlobalAveragePooling2D), ("softmax", layers.Flatten)])
def test_a_convolution_in_the_place_of_a_dense_layer_gives_the_same_maps(activation, after):
    model, (pictures, _) = finder("sequential", strength=40.0), spotted()
    last = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1, activation=activation), after()]
    other = keras.Model(model.inputs, through(last, model.get_layer("seen").output))
    last[1].set_weights([model.get_layer("dense").get_weights()[0][None, None], np.zeros(3)])
    maps = [explain(one, pictures, target_class=DARK, layer="seen") for one in (model, other)]
    np.testing.assert_allclose(*maps, atol=1e-4)


@pytest.mark.parametrize("kind", ["sequential", "functional", "nested"])
@pytest.mark.parametrize("strength", [40.0, 1000.0])  # where the network is sure, a sigmoid is flat
def test_a_single_unit_is_class_1_and_its_complement_class_0(kind, strength):
    two = finder(kind, strength=strength, weights=np.pad(SINGLE, ((0, 0), (1, 0))))
    for end in ((), SIGMOID):
        one = finder(kind, strength=strength, weights=SINGLE, end=end)
        for target in (None, np.array([0, 1, 1, 0])):
            assert_same_maps(two, one, target_class=target)
    with pytest.raises(ValueError, match=r"an int in 0\.\.1, .*Received: 2"):
        explain(one, spotted()[0], target_class=2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("end", [(layers.Softmax,), (), (lambda: layers.Activation("softmax", dtype="float32"),)])
def test_networks_of_mixed_precision_have_the_maps_of_float32(policy, end):
    exact = finder("nested", strength=1000.0)
    try:
        keras.mixed_precision.set_global_policy(policy)
        mixed = finder("nested", strength=1000.0, end=end)
        mixed.compile("adam", lambda y, outputs: ops.mean(outputs))  # which Keras cannot compile a copy with
        for target in (BRIGHT, DARK):
            assert_same_maps(exact, mixed, target_class=target)
        assert feature_maps(mixed, spotted()[0]).dtype == np.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert mixed.get_layer("dense").compute_dtype == policy.removeprefix("mixed_")


def test_a_network_without_a_map_on_which_all_rests_has_occlusion_only():
    dense = keras.Sequential([layers.Input((48, 48, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    for model, listed in ((build("dual-channel", 4), ".*conv2d.*"), (dense, "none, as no layer returns maps")):
        with pytest.raises(ValueError, match=rf"has no convolution .* one of: {listed}; or method='occlusion'"):
            explain(model, FACES)
        assert explain(model, FACES[:1], method="occlusion").shape == (1, 48, 48)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in (*HEAVY, "dual-channel")])
def test_every_network_can_be_explained(name):
    keras.utils.set_random_seed(1)
    model = lively(build(name, 4, weights=None))
    before = [layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)
    layer = find_layer(layer_trace(model), model.name)
    maps = feature_maps(model, FACES)
    assert maps.shape == (4, *map_layers(model)[layer])
    assert maps.shape[1:3] == SIZES.get(name, maps.shape[1:3])
    for method in METHODS[:2]:
        heatmaps = explain(model, FACES, method=method, target_class=1)
        assert (heatmaps.shape, heatmaps.dtype) == ((4, 48, 48), np.float32)
        assert set(heatmaps.max(axis=(1, 2))) <= {0, 1}
        assert np.isfinite(heatmaps).all()
    assert ([layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)) == before


def test_the_output_rests_on_the_layer_that_is_taken():
    """Another picture's map of that layer turns the network's output into that of the other picture."""
    model = lively(build("fer-small", 7))
    path, images = find_layer(layer_trace(model), model.name), FACES.astype(np.float32)
    other = layer_output(model, images[::-1], path)
    outputs = run_layers(model, images, lambda name, layer, taken, was: other if name == path else was)
    np.testing.assert_allclose(np.asarray(outputs), model.predict_on_batch(images[::-1]), atol=1e-5)


def test_a_part_that_a_network_crops_away_stays_cold():
    model = lively(build("emovision-baseline", 7, crop=(12, 20, 4, 8)))
    for method in METHODS:
        heatmaps = explain(model, FACES, method=method)
        outside = np.ones(heatmaps.shape[1:], bool)
        spill = 4 if method == "occlusion" else 0  # what is left of a patch that lies half inside
        outside[12 - spill : 28 + spill, 4 - spill : 40 + spill] = False
        assert heatmaps.max() == 1
        assert not heatmaps[:, outside].any()


def test_one_face_or_many_and_the_likeliest_class_or_any():
    model = lively(build("capstone-model-1", 4))
    many, likeliest = explain(model, FACES), model.predict_on_batch(FACES).argmax(axis=1)
    for one in (FACES[1], FACES[1, :, :, 0], FACES[1:2]):
        np.testing.assert_allclose(explain(model, one), many[1:2], atol=1e-4)
    np.testing.assert_allclose(explain(model, FACES, target_class=likeliest), many, atol=1e-4)
    np.testing.assert_allclose(explain(model, np.repeat(FACES, 20, axis=0))[::20], many, atol=1e-4)
    for method in METHODS:
        assert explain(model, FACES[:0], method=method).shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "lime"}, r"no method 'lime'\. Expected one of: grad-cam, grad-cam\+\+, occlusion"),
        ({"target_class": 4}, r"an int in 0\.\.3"),
        ({"target_class": [1, 2]}, "one for each of the 4 images"),
        ({"layer": "conv9"}, r"0 layers 'conv9' .*Expected one of: .*conv2d"),
        ({"images": FACES[:, :40]}, r"of shape \(48, 48, 1\)"),
        ({"images": FACES.astype(float) - 300}, r"in \[0, 255\]"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        explain(build("capstone-model-1", 4), **{"images": FACES} | wrong)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(ops.mean(x, axis=(1, 2)))


class Overridden(keras.Model):
    """Functional by its layers, but not by what it computes from them."""

    def call(self, x):
        return 1 - super().call(x)


def refused():
    """Models that cannot be explained, and what the error says of each."""
    known = finder("sequential")
    inputs, output, subclassed = known.inputs[0], known.outputs[0], Subclassed()
    subclassed(spotted()[0])
    cases = {
        "network": (fer_keras.load("mini-xception"), r"has it as `\.model`.*Received: Network"),
        "subclassed": (subclassed, r"functional.*Received: .*a Subclassed with"),
        "call overridden": (Overridden(inputs, output), r"functional.*Received: .*an? Overridden with"),
        "not built": (keras.Sequential([layers.Dense(3)]), r"built Sequential.*a Sequential with"),
        "two outputs": (keras.Model(inputs, [output, output]), r"one output.*outputs \[\(None, 3\), \(None, 3\)\]"),
        "two inputs": (keras.Model([inputs, keras.Input((3,))], output), r"one input.*1\), \(None, 3\)\] and"),
        "maps": (keras.Model(inputs, known.get_layer("seen").output), r"\(batch, classes\).*24, 24, 2"),
        "relu": (finder("sequential", end=(layers.ReLU,)), "Received: relu of 3 outputs"),
        "three sigmoids": (finder("sequential", end=SIGMOID), "one sigmoid.*Received: sigmoid of 3 outputs"),
    }
    return [pytest.param(*case, id=name) for name, case in cases.items()]


@pytest.mark.parametrize(("model", "message"), refused())
def test_networks_of_other_forms_are_refused(model, message):
    for method in METHODS:
        with pytest.raises(ValueError, match=message):
            explain(model, spotted()[0], method=method)


def test_a_layer_of_a_nested_model_has_a_path_and_a_subclassed_model_is_one_layer():
    model, (pictures, _) = finder("nested"), spotted()
    by_path, by_name = (explain(model, pictures, layer=name) for name in ("backbone/seen", "seen"))
    np.testing.assert_array_equal(by_path, by_name)
    assert find_layer(layer_trace(model), model.name) == "backbone/sum"
    # Of lists of one tensor, as `Model.inputs` is.
    other = keras.Model(model.inputs, [layers.Softmax()(Subclassed()(model.get_layer("backbone").outputs[0]))])
    assert list(map_layers(other))[-1] == "sum"
    assert explain(other, pictures).any()


def test_occlusion_asks_for_whole_batches_and_covers_every_pixel():
    asked = []

    def score(images, targets):
        asked.append(len(images))
        bright = images[:, 20:30, 10:20].mean(axis=(1, 2, 3)) / 255
        return log_odds(np.stack([1 - bright, bright], axis=1), targets)

    images, far = FACES.astype(np.float32), np.ones((48, 48), bool)
    maps = occlusion(score, images, np.ones(4, int))
    assert len(set(asked)) == 1
    far[12:38, 2:28] = False
    assert maps.any()
    assert not maps[:, far].any(), "not a number where no patch lies"
    np.testing.assert_array_equal(images, FACES)


def test_the_same_holds_on_jax():
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    chosen = "formula or (points_at and nested) or (single_unit and 40 and nested)"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen]
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()
