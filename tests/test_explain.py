"""Maps point at the evidence where it is known, for every network of the package, output and backend alike."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops
from lively import lively

import fer_keras
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import explain as saliency
from fer_keras.evaluation.explain import METHODS, explain, feature_maps, find_layer, layer_trace, map_layers
from fer_keras.models import MODELS, build

FACES = make_faces(3, seed=2).images[:4]
# Too slow for here; they differ from vgg16 in the size of their backbone only, or from those that run in their width.
HEAVY = {"resnet101", "efficientnet-b5", "inception-resnet-v2", "efficientnet", "fer-large", "emovision-vgg"}
# mini-Xception's last map is 3x3: too coarse.
SIZES = {"mini-xception": (6, 6), "fer-small": (6, 6), "capstone-model-1": (12, 12), "sep-se": (8, 8), "vgg16": (6, 6)}
BRIGHT, DARK, NOTHING = 1, 0, 2
WEIGHTS = np.array([[0, 1, 0], [1, 0, 0]], np.float32)  # from bright and dark to the classes
SINGLE = np.array([[1], [-0.7]], np.float32)  # to a single unit
SOFTMAX, SIGMOID = (layers.Softmax,), (lambda: layers.Activation("sigmoid"),)
# Grey pictures, each with a bright and a dark spot of 6x6, and masks of both.
MASKS = np.zeros((2, 4, 24, 24), bool)
for kind, corners in {BRIGHT: ((2, 2), (15, 3), (3, 13), (9, 16)), DARK: ((14, 14), (3, 15), (9, 2), (1, 4))}.items():
    for number, (top, left) in enumerate(corners):
        MASKS[kind, number, top : top + 6, left : left + 6] = True
PICTURES = np.select([MASKS[BRIGHT], MASKS[DARK]], [255, 0], 127).astype(np.uint8)[..., None]


def finder(kind, *, strength=300.0, end=SOFTMAX, weights=WEIGHTS):
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
    return functools.reduce(lambda x, layer: layer(x), stack, x)


known = functools.cache(finder)  # with its softmax


def share_inside(maps, masks):
    return (maps * masks).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))


@functools.cache
def maps_of(model, target):
    """The maps of a model by every method."""
    target = np.array(target) if isinstance(target, tuple) else target
    return [explain(model, PICTURES, method=method, target_class=target) for method in METHODS]


def assert_same_maps(model, other, *targets):
    for target in targets:
        assert all(maps.any() for maps in maps_of(model, target))
        np.testing.assert_allclose(maps_of(model, target), maps_of(other, target), atol=2e-4, err_msg=f"class {target}")


@pytest.mark.parametrize("target", [BRIGHT, DARK])
@pytest.mark.parametrize("kind", ["sequential", "functional", "nested"])
def test_every_method_points_at_what_speaks_for_the_class_and_not_at_what_speaks_against_it(kind, target):
    for method, maps in zip(METHODS, maps_of(known(kind), target), strict=True):
        assert (maps.shape, maps.dtype) == ((4, 24, 24), np.float32)
        np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)
        assert maps.min() >= 0
        assert (share_inside(maps, MASKS[target]) > (0.5 if method == "occlusion" else 0.75)).all()
        assert (share_inside(maps, MASKS[1 - target]) < 0.05).all()
        assert all(mask[one == 1].any() for mask, one in zip(MASKS[target], maps, strict=True))
    assert not any(maps.any() for maps in maps_of(known(kind), NOTHING))


def test_grad_cam_is_its_formula():
    """With a mean over places and one dense layer, the gradients are known: the class' weights less its rivals'."""
    model = known("functional", strength=40.0)
    maps = feature_maps(model, PICTURES, "seen")
    probabilities = np.asarray(model(PICTURES.astype("float32")))
    kernel = model.get_layer("dense").get_weights()[0]
    rivals = probabilities[:, [DARK, NOTHING]] / probabilities[:, [DARK, NOTHING]].sum(axis=1, keepdims=True)
    gradients = (kernel[:, BRIGHT] - rivals @ kernel[:, [DARK, NOTHING]].T) / 24**2
    expected = np.maximum((maps * gradients[:, None, None]).sum(axis=-1), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explain(model, PICTURES, target_class=BRIGHT), expected, atol=1e-5)
    sure, bright_only = known("functional", strength=1000.0), np.where(MASKS[DARK][..., None], 127, PICTURES)
    assert (sure.predict_on_batch(bright_only)[:, BRIGHT] == 1).all()
    assert (share_inside(explain(sure, bright_only), MASKS[BRIGHT]) > 0.75).all()


def test_maps_are_those_of_the_network_that_ends_in_softmax():
    for end in (
        (),
        (lambda: layers.Dropout(0.5), lambda: layers.Activation("linear")),
        (lambda: layers.Activation("log_softmax"),),
        (lambda: layers.Activation("softmax"), lambda: layers.Reshape((3,))),
        (lambda: ops.softmax,),
    ):
        other = finder("nested", strength=40.0, end=end)
        assert_same_maps(known("nested", strength=40.0), other, None, BRIGHT, DARK)


@pytest.mark.parametrize(("activation", "after"), [(None, layers.GlobalAveragePooling2D), ("softmax", layers.Flatten)])
def test_a_convolution_in_the_place_of_a_dense_layer_gives_the_same_maps(activation, after):
    model = finder("sequential", strength=40.0)
    last = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1, activation=activation), after()]
    other = keras.Model(model.inputs, through(last, model.get_layer("seen").output))
    last[1].set_weights([model.get_layer("dense").get_weights()[0][None, None], np.zeros(3)])
    maps = [explain(one, PICTURES, target_class=DARK, layer="seen") for one in (model, other)]
    np.testing.assert_allclose(*maps, atol=1e-4)


# Where the network is sure, at a strength of 1000, a sigmoid is flat.
@pytest.mark.parametrize("case", ["sequential 1000", "functional 1000", "nested 1000", "nested 40"])
def test_a_single_unit_is_class_1_and_its_complement_class_0(case):
    kind, strength = case.split()
    two = finder(kind, strength=float(strength), weights=np.pad(SINGLE, ((0, 0), (1, 0))))
    for end in ((), SIGMOID):
        one = finder(kind, strength=float(strength), weights=SINGLE, end=end)
        assert_same_maps(two, one, None, (0, 1, 1, 0))
    with pytest.raises(ValueError, match=r"an int in 0\.\.1, .*Received: 2"):
        explain(one, PICTURES, target_class=2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("end", [SOFTMAX, (), (lambda: layers.Activation("softmax", dtype="float32"),)])
def test_networks_of_mixed_precision_have_the_maps_of_float32(policy, end):
    exact = known("nested", strength=1000.0)
    try:
        keras.mixed_precision.set_global_policy(policy)
        mixed = finder("nested", strength=1000.0, end=end)
        mixed.compile("adam", lambda y, outputs: ops.mean(outputs))  # which Keras cannot compile a copy with
        assert_same_maps(exact, mixed, BRIGHT, DARK)
        assert feature_maps(mixed, PICTURES).dtype == np.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert mixed.get_layer("dense").compute_dtype == policy.removeprefix("mixed_")


def test_a_network_without_a_map_on_which_all_rests_has_occlusion_only():
    dense = keras.Sequential([layers.Input((48, 48, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    for model, listed in ((build("dual-channel", 4), ".*conv2d.*"), (dense, "none, as no layer returns maps")):
        with pytest.raises(ValueError, match=rf"has no convolution .* one of: {listed}; or method='occlusion'"):
            explain(model, FACES)
    assert explain(dense, FACES[:1], method="occlusion").shape == (1, 48, 48)


@pytest.mark.parametrize("name", sorted({*MODELS} - HEAVY - {"dual-channel"}))
def test_every_network_can_be_explained(name):
    keras.utils.set_random_seed(1)
    model = lively(build(name, 4, weights=None))
    before = [layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)
    taken = find_layer(layer_trace(model), model.name)
    assert taken.output.shape[1:3] == SIZES.get(name, taken.output.shape[1:3])
    heatmaps = explain(model, FACES[:2], target_class=1)
    assert (heatmaps.shape, heatmaps.dtype) == ((2, 48, 48), np.float32)
    assert set(heatmaps.max(axis=(1, 2))) <= {0, 1}
    assert np.isfinite(heatmaps).all()
    assert ([layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)) == before


def test_the_output_rests_on_the_layer_that_is_taken():
    """Another picture's map of that layer turns the network's output into that of the other picture."""
    model, images = lively(build("fer-small", 7)), FACES.astype(np.float32)
    taken = find_layer(layer_trace(model, images[::-1]), model.name)
    assert feature_maps(model, images).shape == (4, *map_layers(model)[taken.path])
    put = saliency.run_layers(model, images, lambda path, _, given, was: taken.output if path == taken.path else was)
    np.testing.assert_allclose(np.asarray(put), model.predict_on_batch(images[::-1]), atol=1e-5)


def test_a_part_that_a_network_crops_away_stays_cold():
    model = lively(build("emovision-baseline", 7, crop=(12, 20, 4, 8)))
    for method in METHODS:
        heatmaps = explain(model, FACES, method=method)
        outside = np.ones(heatmaps.shape[1:], bool)
        spill = 4 if method == "occlusion" else 0  # what is left of a patch that lies half inside
        outside[12 - spill : 28 + spill, 4 - spill : 40 + spill] = False
        assert heatmaps.max() == 1 > heatmaps[:, outside].max() == 0


def test_one_face_or_many_and_the_likeliest_class_or_any_and_no_wrong_arguments():
    model = lively(build("capstone-model-1", 4))
    many, likeliest = explain(model, FACES), model.predict_on_batch(FACES).argmax(axis=1)
    for one in (FACES[1], FACES[1, :, :, 0], FACES[1:2]):
        np.testing.assert_allclose(explain(model, one), many[1:2], atol=1e-4)
    np.testing.assert_allclose(explain(model, FACES, target_class=likeliest), many, atol=1e-4)
    np.testing.assert_allclose(explain(model, np.repeat(FACES, 20, axis=0))[::20], many, atol=1e-4)
    for method in METHODS:
        assert explain(model, FACES[:0], method=method).shape == (0, 48, 48)
    for wrong, message in (
        ({"method": "lime"}, r"no method 'lime'\. Expected one of: grad-cam, grad-cam\+\+, occlusion"),
        ({"target_class": 4}, r"an int in 0\.\.3"),
        ({"target_class": [1, 2]}, "one for each of the 4 images"),
        ({"layer": "conv9"}, r"0 layers 'conv9' .*one of: .*conv2d"),
        ({"images": FACES[:, :40]}, r"of shape \(48, 48, 1\)"),
        ({"images": FACES.astype(float) - 300}, r"in \[0, 255\]"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(model, **{"images": FACES} | wrong)


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


def test_networks_of_other_forms_are_refused():
    model, subclassed = finder("sequential"), Subclassed()
    inputs, output, _ = model.inputs[0], model.outputs[0], subclassed(PICTURES)
    for other, message in (
        (fer_keras.load("mini-xception"), r"has it as `\.model`.*Received: a Network"),
        (subclassed, r"functional.*Received: a Subclassed of"),
        (Overridden(inputs, output), r"functional.*Received: a Overridden of"),
        (keras.Sequential([layers.Dense(3)]), r"built Sequential.*a Sequential of"),
        (keras.Model(inputs, [output, output]), r"one output.*outputs \[\(None, 3\), \(None, 3\)\]"),
        (keras.Model([inputs, keras.Input((3,))], output), r"one input.*1\), \(None, 3\)\] and"),
        (keras.Model(inputs, model.get_layer("seen").output), r"\(batch, classes\).*24, 24, 2"),
        (finder("sequential", end=(layers.ReLU,)), "Received: relu of 3 outputs"),
        (finder("sequential", end=SIGMOID), "one sigmoid.*Received: sigmoid of 3 outputs"),
    ):
        for method in METHODS:
            with pytest.raises(ValueError, match=message):
                explain(other, PICTURES, method=method)


def test_a_layer_of_a_nested_model_has_a_path_and_a_subclassed_model_is_one_layer():
    model = finder("nested")
    np.testing.assert_array_equal(*(explain(model, PICTURES, layer=name) for name in ("backbone/seen", "seen")))
    assert find_layer(layer_trace(model), model.name).path == "backbone/sum"
    # Of lists of one tensor, as `Model.inputs` is.
    other = keras.Model(model.inputs, [layers.Softmax()(Subclassed()(model.get_layer("backbone").outputs[0]))])
    assert list(map_layers(other))[-1] == "sum"
    assert explain(other, PICTURES).any()


def test_occlusion_asks_for_whole_batches_and_covers_every_pixel():
    asked = []

    def predict(images):
        asked.append(len(images))
        bright = images[:, 20:30, 10:20].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - bright, bright], axis=1)

    images, far = FACES.astype(np.float32), np.ones((48, 48), bool)
    maps = saliency.occlusion(SimpleNamespace(predict_on_batch=predict), images, np.ones(4, int))
    assert len(set(asked)) == 1
    far[12:38, 2:28] = False
    assert maps.any()
    assert not maps[:, far].any(), "not a number where no patch lies"
    np.testing.assert_array_equal(images, FACES)


def sigmoid_maps():
    return maps_of(finder("nested", strength=40.0, weights=SINGLE, end=SIGMOID), DARK)


def test_the_same_holds_on_jax(tmp_path):
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    script = "import numpy, sys, test_explain\nnumpy.save(sys.argv[1], test_explain.sigmoid_maps())"
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, tmp_path / "maps.npy"]
    subprocess.run(command, env=environment, cwd=Path(__file__).parent, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "maps.npy"), sigmoid_maps(), atol=2e-4)
