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
from fer_keras.data.synthetic import drawn_faces
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
    patches,
    run_layers,
)
from fer_keras.models import MODELS, build

FACES = drawn_faces(3, seed=2).images[:4]
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


def finder(kind, *, size=24, strength=300.0, end=(layers.Softmax,), weights=WEIGHTS):
    """Build a network that is known by construction: bright spots speak for class 1, dark ones for class 0.

    Its convolution separates bright from dark on mid-grey, and the mean over the picture forgets where they were.
    """
    seen = layers.Conv2D(2, 3, padding="same", activation="relu", name="seen")
    dense = layers.Dense(weights.shape[1], name="dense")
    last = [layers.GlobalAveragePooling2D(), dense, *(make() for make in end)]
    scale, inputs = layers.Rescaling(1 / 127.5, offset=-1.0), keras.Input((size, size, 1))
    if kind == "sequential":
        model = keras.Sequential([inputs, scale, seen, *last])
    elif kind == "functional":
        model = keras.Model(inputs, through(last, seen(scale(inputs))))
    else:
        inside = keras.Input((size, size, 1))
        # A branch without weights beside the convolution: the way through the backbone is no chain.
        branches = [seen(scale(inside)), layers.Rescaling(0.0)(inside)]
        backbone = keras.Model(inside, layers.Add(name="sum")(branches), name="backbone")
        model = keras.Model(inputs, through(last, backbone(inputs)))
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = 1, -1
    seen.set_weights([kernel, np.zeros(2, np.float32)])
    dense.set_weights([strength * weights, np.zeros(weights.shape[1], np.float32)])
    return model


def through(stack, x):
    for layer in stack:
        x = layer(x)
    return x


def spotted(size=24):
    """Draw grey pictures, each with a bright and a dark spot of 6x6, and masks of both."""
    pictures, masks = np.full((4, size, size, 1), 127, np.uint8), np.zeros((2, 4, size, size), bool)
    for number, ((top, left), (other_top, other_left)) in enumerate(
        (((2, 2), (14, 14)), ((15, 3), (3, 15)), ((3, 13), (9, 2)), ((9, 16), (1, 4)))
    ):
        masks[BRIGHT, number, top : top + 6, left : left + 6] = True
        masks[DARK, number, other_top : other_top + 6, other_left : other_left + 6] = True
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


@pytest.fixture(scope="module", params=["sequential", "functional", "nested"])
def known(request):
    return finder(request.param)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [BRIGHT, DARK])
def test_every_method_points_at_what_speaks_for_the_class_and_not_at_what_speaks_against_it(known, method, target):
    pictures, masks = spotted()
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


class Apply(layers.Layer):
    """A layer that Keras cannot look into."""

    def call(self, x):
        return ops.softmax(x)


ENDS = {
    "logits": (),
    "logits, dropout": (lambda: layers.Dropout(0.5), lambda: layers.Activation("linear")),
    "log softmax": (lambda: layers.Activation("log_softmax"),),
    "activation, reshape": (lambda: layers.Activation("softmax"), lambda: layers.Reshape((3,))),
    "operation": (lambda: ops.softmax,),
    "custom layer": (Apply,),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("target", [None, BRIGHT, DARK])
def test_maps_are_those_of_the_network_that_ends_in_softmax(end, target):
    assert_same_maps(finder("nested", strength=40.0), finder("nested", strength=40.0, end=end), target_class=target)


def test_a_convolution_in_the_place_of_a_dense_layer_gives_the_same_maps():
    model, (pictures, _) = finder("functional", strength=40.0), spotted()
    for activation in (None, "softmax"):
        conv = layers.Conv2D(3, 1, activation=activation)
        last = [conv, layers.GlobalAveragePooling2D()] if activation is None else [conv, layers.Flatten()]
        pooled = layers.GlobalAveragePooling2D(keepdims=True)
        other = keras.Model(model.inputs, through([pooled, *last], model.get_layer("seen").output))
        conv.set_weights([model.get_layer("dense").get_weights()[0][None, None], np.zeros(3)])
        for each in (BRIGHT, DARK):
            maps = [explain(one, pictures, target_class=each, layer="seen") for one in (model, other)]
            np.testing.assert_allclose(*maps, atol=1e-4)


@pytest.mark.parametrize("kind", ["sequential", "functional", "nested"])
@pytest.mark.parametrize("strength", [40.0, 1000.0])  # where the network is sure, a sigmoid is flat
def test_a_single_unit_is_class_1_and_its_complement_class_0(kind, strength):
    two = finder(kind, strength=strength, weights=np.pad(SINGLE, ((0, 0), (1, 0))))
    ends = (), SIGMOID, (lambda: ops.sigmoid,)
    for end in ends[: 2 if kind == "sequential" else 3]:
        one = finder(kind, strength=strength, weights=SINGLE, end=end)
        for target in (None, 0, 1, np.array([0, 1, 1, 0])):
            assert_same_maps(two, one, target_class=target)
        with pytest.raises(ValueError, match=r"lie in 0\.\.1\. Received: 2"):
            explain(one, spotted()[0], target_class=2)


def test_of_several_sigmoids_each_is_a_class_on_its_own():
    many = finder("nested", end=SIGMOID)
    pictures, _ = spotted()
    for number in (BRIGHT, DARK):
        single = finder("nested", weights=WEIGHTS[:, [number]], end=SIGMOID)
        for method in METHODS:
            maps = [
                explain(model, pictures, method=method, target_class=k) for model, k in ((many, number), (single, 1))
            ]
            np.testing.assert_allclose(*maps, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("end", [(layers.Softmax,), (), (lambda: layers.Activation("softmax", dtype="float32"),)])
def test_networks_of_mixed_precision_have_the_maps_of_float32(policy, end):
    exact = finder("nested", strength=1000.0)
    try:
        keras.mixed_precision.set_global_policy(policy)
        mixed, loaded = finder("nested", strength=1000.0, end=end), fer_keras.load("mini-xception").model
        mixed.compile("adam", lambda y, outputs: ops.mean(outputs))  # which Keras cannot compile a copy with
        for target in (BRIGHT, DARK):
            assert_same_maps(exact, mixed, target_class=target)
        assert explain(loaded, FACES).any()
        built = lively(build("capstone-model-1", 4))
        assert explain(built, FACES).any()
        assert feature_maps(built, FACES).dtype == np.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert mixed.get_layer("dense").compute_dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(explain(loaded, FACES), explain(fer_keras.load("mini-xception").model, FACES), atol=1e-4)


def test_a_network_whose_channels_meet_after_pooling_has_no_one_map():
    model = build("dual-channel", 4)
    with pytest.raises(ValueError, match=r"dual_channel has no convolution .*method='occlusion'"):
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
    outputs = run_layers(model, images, lambda name, layer, inputs, was: other if name == path else was)
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


def test_inputs_and_outputs_in_lists_are_taken():
    model = finder("functional", strength=40.0)
    (inputs,), (outputs,) = model.inputs, model.outputs
    for boxed in (keras.Model([inputs], [outputs]), keras.Model({inputs.name: inputs}, {"classes": outputs})):
        assert_same_maps(model, boxed)


def test_one_face_or_many_and_the_likeliest_class_or_any():
    model = lively(build("capstone-model-1", 4))
    many = explain(model, FACES)
    for one in (FACES[1], FACES[1, :, :, 0], FACES[1:2]):
        np.testing.assert_allclose(explain(model, one), many[1:2], atol=1e-4)
    probabilities = model.predict_on_batch(FACES)
    assert np.ptp(np.sort(probabilities)[:, -2:], axis=1).min() > 1e-4, "no tie"
    np.testing.assert_allclose(explain(model, FACES, target_class=probabilities.argmax(axis=1)), many, atol=1e-4)
    for method in METHODS:
        assert explain(model, FACES[:0], method=method).shape == (0, 48, 48)
    assert feature_maps(model, FACES[:0]).shape == (0, *feature_maps(model, FACES).shape[1:])
    repeated = explain(model, np.repeat(FACES, 20, axis=0))
    np.testing.assert_allclose(repeated[::20], many, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "lime"}, r"no method 'lime'\. Expected one of: grad-cam, grad-cam\+\+, occlusion"),
        ({"target_class": 4}, r"must lie in 0\.\.3"),
        ({"target_class": "happy"}, "must be an int"),
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
    functional = finder("functional")
    inputs, output, subclassed = functional.inputs[0], functional.outputs[0], Subclassed()
    subclassed(spotted()[0])
    average = layers.Average()([layers.Activation("sigmoid")(functional.get_layer("dense").output)] * 2)
    relu = finder("functional", end=(lambda: layers.ReLU(),))
    cases = {
        "network": (fer_keras.load("mini-xception"), r"has it as `\.model`.*Received: Network"),
        "subclassed": (subclassed, r"functional.*Received: .*a Subclassed\. Build it"),
        "call overridden": (Overridden(inputs, output), r"functional.*Received: .*a Overridden\. Build it"),
        "not built": (keras.Sequential([layers.Dense(3)]), r"built Sequential.*a Sequential\. Build it"),
        "two outputs": (
            keras.Model(inputs, [output, output]),
            r"one output.*outputs \[\(None, 3\), \(None, 3\)\]\. Make",
        ),
        "two inputs": (keras.Model([inputs, keras.Input((3,))], output), r"one input.*2 inputs"),
        "maps": (keras.Model(inputs, functional.get_layer("seen").output), r"\(batch, classes\).*24, 24, 2"),
        "relu": (relu, r"softmax, in sigmoids or in a linear layer.*ends in relu .*Append"),
        "mean of sigmoids": (keras.Model(inputs, average), r"ends in average .*Append"),
    }
    return [pytest.param(*case, id=name) for name, case in cases.items()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("model", "message"), refused())
def test_networks_of_other_forms_are_refused(model, message, method):
    with pytest.raises(ValueError, match=message):
        explain(model, spotted()[0], method=method)


def test_a_network_without_a_convolution_has_occlusion_only():
    dense = keras.Sequential([layers.Input((48, 48, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    with pytest.raises(ValueError, match="none, as no layer returns maps; or method='occlusion'"):
        explain(dense, FACES)
    assert explain(dense, FACES, method="occlusion").shape == (4, 48, 48)


def test_a_layer_that_runs_twice_or_a_nested_subclassed_model_is_not_looked_into():
    inputs, twice = keras.Input((24, 24, 1)), layers.Conv2D(1, 3, padding="same", name="twice")
    x = twice(twice(layers.Rescaling(1 / 255)(inputs)))
    x = layers.Conv2D(2, 3, name="once")(x)
    outputs = layers.Softmax()(Subclassed()(x))
    model = keras.Model(inputs, outputs)
    assert "once" in map_layers(model)
    assert "twice" not in map_layers(model)
    assert find_layer(layer_trace(model), model.name) == "once"
    assert explain(model, spotted()[0]).shape == (4, 24, 24)
    with pytest.raises(ValueError, match=r"0 layers 'twice'.*Expected one of: .*once"):
        explain(model, spotted()[0], layer="twice")


def test_a_layer_of_a_nested_model_is_named_by_its_path_or_its_name():
    model, (pictures, _) = finder("nested"), spotted()
    assert "backbone/seen" in map_layers(model)
    by_path, by_name = (explain(model, pictures, layer=name) for name in ("backbone/seen", "seen"))
    np.testing.assert_array_equal(by_path, by_name)
    assert find_layer(layer_trace(model), model.name) == "backbone/sum"


def test_occlusion_asks_for_whole_batches_and_covers_every_pixel():
    asked = []

    def score(images, targets):
        asked.append(images.shape)
        bright = images[:, 20:30, 10:20].mean(axis=(1, 2, 3)) / 255
        return log_odds(np.stack([1 - bright, bright], axis=1), targets, "softmax")

    images = FACES.astype(np.float32)
    maps = occlusion(score, images, np.ones(4, int))
    assert len(set(asked)) == 1
    covered = np.zeros((48, 48), int)
    for box in patches((48, 48)):
        covered[box] += 1
    assert covered.min() >= 1
    far = np.ones((48, 48), bool)
    far[12:38, 2:28] = False
    assert maps.any()
    assert not maps[:, far].any()
    np.testing.assert_array_equal(images, FACES)


def test_odds_go_on_where_probabilities_are_flat():
    sure = np.array([[1.0, 1e-12, 1e-12], [1.0, 1e-20, 0.0]])
    odds = np.asarray(log_odds(sure, np.array([0, 0]), "softmax"))
    assert odds[1] > odds[0] + 10
    assert np.isfinite(np.asarray(log_odds(np.array([[1.0, 0.0]]), np.array([1]), "softmax"))).all()


ON_JAX = """
import sys
from pathlib import Path

import keras
import numpy as np

from fer_keras.evaluation.explain import METHODS, explain

folder = Path(sys.argv[1])
faces = np.load(folder / "faces.npy")
for path in folder.glob("*.keras"):
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    np.savez(path.with_suffix(".npz"), **{method: explain(model, faces, method=method) for method in METHODS})
"""


def test_the_maps_are_the_same_on_jax(tmp_path):
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    pictures, _ = spotted()
    models = {
        "softmax": finder("nested", strength=40.0),
        "sigmoid": finder("nested", strength=40.0, weights=SINGLE, end=SIGMOID),
    }
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    np.save(tmp_path / "faces.npy", pictures)
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", ON_JAX, str(tmp_path)], check=True, env=environment)
    for name, model in models.items():
        maps = np.load(tmp_path / f"{name}.npz")
        for method in METHODS:
            expected = explain(model, pictures, method=method)
            assert expected.max() == 1
            np.testing.assert_allclose(maps[method], expected, atol=1e-4, err_msg=f"{name}, {method}")
