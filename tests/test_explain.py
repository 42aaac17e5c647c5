"""Maps point at the evidence where it is known, for every network, output and backend alike, and are measured so."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops
from lively import lively

import fer_keras
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import heatmaps
from fer_keras.evaluation.explain import METHODS, explain, feature_maps, find_layer, layer_trace, map_layers
from fer_keras.models import MODELS, build

IMAGES = make_faces(7, seed=3).images
FACES = IMAGES[:4]
# Too slow for here; they differ from vgg16 in the size of their backbone only, or from those that run in their width.
HEAVY = {"resnet101", "efficientnet-b5", "inception-resnet-v2", "efficientnet", "fer-large", "emovision-vgg"}
BRIGHT, DARK, NOTHING = 1, 0, 2
WEIGHTS = (0, 1, 0), (1, 0, 0)  # from bright and dark to the classes
TWO, SINGLE = ((0, 1), (0, -0.7)), ((1,), (-0.7,))  # to two classes, and to a single unit for the second
SOFTMAX, SIGMOID = (layers.Softmax,), (lambda: layers.Activation("sigmoid"),)
# Grey pictures, each with a bright and a dark spot of 6x6, and masks of both.
MASKS = np.zeros((2, 4, 24, 24), bool)
for kind, corners in {BRIGHT: ((2, 2), (15, 3), (3, 13), (9, 16)), DARK: ((14, 14), (3, 15), (9, 2), (1, 4))}.items():
    for number, (top, left) in enumerate(corners):
        MASKS[kind, number, top : top + 6, left : left + 6] = True
PICTURES = np.select([MASKS[BRIGHT], MASKS[DARK]], [255, 0], 127).astype(np.uint8)[..., None]


def finder(kind, *, strength=300, end=SOFTMAX, weights=WEIGHTS):
    """Build a network that is known by construction: bright spots speak for class 1, dark ones for class 0.

    Its convolution separates bright from dark on mid-grey, and the mean over the picture forgets where they were.
    """
    seen = layers.Conv2D(2, 1, activation="relu", use_bias=False, name="seen")
    dense = layers.Dense(len(weights[0]), use_bias=False, name="dense")
    last = [layers.GlobalAveragePooling2D(), dense, *(make() for make in end)]
    inputs, scaled = keras.Input((24, 24, 1)), layers.Rescaling(1 / 127.5, offset=-1.0)
    if kind == "sequential":
        model = keras.Sequential([inputs])
        for layer in (scaled, seen, *last):  # Keras connects all layers anew each time, as where it reads a file
            model.add(layer)
    else:  # a branch without weights beside the convolution: no chain
        both = layers.Add(name="sum")([seen(scaled(inputs)), layers.Rescaling(0.0)(inputs)])
        both = keras.Model(inputs, both, name="backbone")(inputs) if kind == "nested" else both
        model = keras.Model(inputs, functools.reduce(lambda x, layer: layer(x), last, both))
    seen.set_weights([np.array([[[[1, -1]]]])])
    dense.set_weights([strength * np.array(weights)])
    return model


def share_inside(maps, masks):
    return (maps * masks).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))


known = functools.cache(finder)  # with its softmax


@functools.cache
def maps_of(model, target):
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
        assert (maps.shape, maps.dtype, maps.min()) == ((4, 24, 24), np.float32, 0)
        np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)
        assert (share_inside(maps, MASKS[target]) > (0.5 if method == "occlusion" else 0.75)).all()
        assert (share_inside(maps, MASKS[1 - target]) < 0.05).all()
    assert not any(maps.any() for maps in maps_of(known(kind), NOTHING))


def test_grad_cam_is_its_formula():
    """With a mean over places and one dense layer, the gradients are known: the class' weights less its rivals'."""
    model = known("functional", strength=40)
    maps = feature_maps(model, PICTURES, "seen")
    rivals = np.asarray(model(PICTURES.astype("float32")))[:, [DARK, NOTHING]]
    rivals /= rivals.sum(axis=1, keepdims=True)
    kernel = model.get_layer("dense").get_weights()[0]
    gradients = (kernel[:, BRIGHT] - rivals @ kernel[:, [DARK, NOTHING]].T) / 24**2
    expected = np.maximum((maps * gradients[:, None, None]).sum(axis=-1), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explain(model, PICTURES, target_class=BRIGHT), expected, atol=1e-5)
    sure, bright_only = known("functional", strength=1000), np.maximum(PICTURES, 127)
    assert (sure.predict_on_batch(bright_only)[:, BRIGHT] == 1).all()
    assert (share_inside(explain(sure, bright_only), MASKS[BRIGHT]) > 0.75).all()


ENDS = {
    "logits": (),
    "behind layers that change nothing": (lambda: layers.Dropout(0.5), lambda: layers.Activation("linear")),
    "log softmax": (lambda: layers.Activation("log_softmax"),),
    "pooled": (lambda: layers.Reshape((1, 1, 3)), layers.Softmax, layers.GlobalAveragePooling2D),
    "function": (lambda: ops.softmax,),
    "one logit": (),
    "one sigmoid": SIGMOID,
}
# Where the network is sure, at a strength of 1000, a sigmoid is flat. A Sequential cannot end in a function.
CASES = [(end, "nested", 40) for end in ENDS] + [(end, "sequential", 1000) for end in ENDS if end != "function"]


@pytest.mark.parametrize(("end", "kind", "strength"), CASES)
def test_maps_are_those_of_the_network_that_ends_in_softmax_and_a_single_unit_is_class_1(end, kind, strength):
    is_one = end.startswith("one")
    exact = known(kind, strength=strength, weights=TWO if is_one else WEIGHTS)
    other = finder(kind, strength=strength, weights=SINGLE if is_one else WEIGHTS, end=ENDS[end])
    assert_same_maps(exact, other, None, *((0, 1, 1, 0),) if is_one else (BRIGHT, DARK))


@pytest.mark.parametrize(("policy", "end"), [("mixed_float16", SOFTMAX), ("mixed_float16", ()), ("mixed_bfloat16", ())])
def test_networks_of_mixed_precision_have_the_maps_of_float32(policy, end):
    exact = known("nested", strength=1000)
    try:
        keras.mixed_precision.set_global_policy(policy)
        mixed = finder("nested", strength=1000, end=end)
        mixed.compile("adam", lambda y, outputs: ops.mean(outputs))  # which Keras cannot compile a copy with
        assert_same_maps(exact, mixed, BRIGHT, DARK)
        assert feature_maps(mixed, PICTURES).dtype == np.float32
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert mixed.get_layer("dense").compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("name", sorted({*MODELS} - HEAVY - {"dual-channel"}))
def test_every_network_can_be_explained(name):
    keras.utils.set_random_seed(1)
    model = lively(build(name, 4, weights=None))
    before = [layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)
    assert min(find_layer(layer_trace(model), model.name).output.shape[1:3]) >= 6, "coarser maps say little"
    maps = explain(model, FACES[:2], target_class=1)
    assert (maps.shape, maps.dtype) == ((2, 48, 48), np.float32)
    assert set(maps.max(axis=(1, 2))) <= {0, 1}
    assert ([layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)) == before


def test_a_part_that_a_network_crops_away_stays_cold():
    model = lively(build("emovision-baseline", 7, crop=(12, 20, 4, 8)))
    for method in METHODS:
        maps = explain(model, FACES, method=method)
        spill = 4 if method == "occlusion" else 0  # what is left of a patch that lies half inside
        maps[:, 12 - spill : 28 + spill, 4 - spill : 40 + spill] *= -1
        assert (maps.min(), maps.max()) == (-1, 0)


class Subclassed(keras.Model):
    def call(self, x):
        return ops.mean(x, axis=(1, 2))


class Overridden(keras.Model):
    def call(self, x):
        return 1 - super().call(x)


def test_one_face_or_many_and_the_likeliest_class_or_any_and_no_wrong_arguments():
    model = lively(build("capstone-model-1", 4))
    many, likeliest = explain(model, FACES), model.predict_on_batch(FACES).argmax(axis=1)
    for one in (FACES[1], FACES[1, :, :, 0], FACES[1:2]):
        np.testing.assert_allclose(explain(model, one), many[1:2], atol=1e-4)
    np.testing.assert_allclose(explain(model, FACES, target_class=likeliest), many, atol=1e-4)
    np.testing.assert_allclose(explain(model, np.repeat(FACES, 20, axis=0))[::20], many, atol=1e-4)
    dense = keras.Sequential([layers.Input((48, 48, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    assert explain(model, FACES[:0]).shape == explain(dense, FACES[:0], method="occlusion").shape == (0, 48, 48)
    for wrong, message in (
        ({"method": "lime"}, r"no method 'lime'\. Expected one of: grad-cam, grad-cam\+\+, occlusion"),
        ({"target_class": 4}, r"an int in 0\.\.3"),
        ({"target_class": [1, 2]}, "one for each of the 4 images"),
        ({"layer": "conv9"}, r"0 layers 'conv9' .*one of: .*conv2d"),
        ({"images": FACES[:, :40]}, r"of shape \(n, 48, 48, 1\)"),
        ({"images": FACES.astype(float) - 300}, r"in \[0, 255\]"),
        ({"model": build("dual-channel", 4)}, "has no convolution .* one of: .*conv2d.*; or method='occlusion'"),
        ({"model": dense}, "has no convolution .* one of: none, as no layer returns maps; or method='occlusion'"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(**{"model": model, "images": FACES} | wrong)


def test_networks_of_other_forms_are_refused():
    model, one = finder("sequential"), finder("nested", weights=SINGLE)
    inputs, output = model.inputs[0], model.outputs[0]
    for other, message in (
        (fer_keras.load("mini-xception"), r"has it as `\.model`.*Received: a Network"),
        (Subclassed(), r"functional.*Received: a Subclassed of"),
        (Overridden(inputs, output), r"functional.*Received: a Overridden of"),
        (keras.Sequential([layers.Dense(3)]), r"built Sequential.*a Sequential of"),
        (keras.Model(inputs, [output, output]), r"one output.*outputs \[\(None, 3\), \(None, 3\)\]"),
        (keras.Model([inputs, keras.Input((3,))], output), r"one input.*1\), \(None, 3\)\] and"),
        (keras.Model(inputs, model.get_layer("seen").output), r"\(batch, classes\).*24, 24, 2"),
        (finder("sequential", end=(layers.ReLU,)), "Received: relu of 3 outputs"),
        (finder("sequential", end=SIGMOID), "one sigmoid.*Received: sigmoid of 3 outputs"),
        (one, r"an int in 0\.\.1, .*Received: 2"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(other, PICTURES, target_class=2)


def test_a_layer_of_a_nested_model_has_a_path():
    model = finder("nested")
    np.testing.assert_array_equal(*(explain(model, PICTURES, layer=name) for name in ("backbone/seen", "seen")))
    assert find_layer(layer_trace(model), model.name).path == list(map_layers(model))[-1] == "backbone/sum"


def sigmoid_maps():
    return explain(finder("nested", strength=40, weights=SINGLE, end=SIGMOID), PICTURES, target_class=DARK)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="already on JAX")
def test_the_same_holds_on_jax(tmp_path):
    pytest.importorskip("jax")
    script = "import numpy, sys, test_explain\nnumpy.save(sys.argv[1], test_explain.sigmoid_maps())"
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, tmp_path / "maps.npy"]
    subprocess.run(command, env=environment, cwd=Path(__file__).parent, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "maps.npy"), sigmoid_maps(), atol=2e-4)


ONES = np.ones(len(IMAGES), int)
PART = np.s_[:, 30:40, 12:36]  # the more there is to be seen there, the surer is `predict` of class 1


def predict(images):
    seen = images[PART].astype(float).std(axis=(1, 2, 3))
    return np.stack([5 / (seen + 5), seen / (seen + 5)], axis=1)


TRUE, FALSE = np.zeros((2, *IMAGES.shape[:3]), np.float32)
TRUE[PART], FALSE[:, :20] = 1, 1


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_deleting_what_counts_lowers_the_probability_sooner_than_chance_and_elsewhere_later(fill):
    maps = {"true": TRUE, "false": FALSE}
    curves = heatmaps.deletion_curves(predict, IMAGES, ONES, maps, fill)
    gains = {name: curves[name]["sooner_than"] for name in maps}
    assert gains["true"]["chance"]["low"] > (0.1 if fill == "mean" else 0.03)  # a blurred face still shows something
    assert gains["false"]["chance"]["high"] < 0
    assert gains["true"]["another face"] == {"mean": 0, "low": 0, "high": 0}, "all have the same map"
    area = np.trapezoid(np.subtract(curves["chance"]["curve"], curves["true"]["curve"]), heatmaps.SHARES) / 0.5
    assert gains["true"]["chance"]["mean"] == pytest.approx(area, abs=1e-4)


def test_scores_start_at_the_whole_picture_and_delete_the_share_that_is_asked_for():
    asked, before, flat = [], IMAGES.copy(), np.zeros(IMAGES.shape[:3])

    def note(images):
        asked.append((images != before)[..., 0])
        return predict(images)

    scores = heatmaps.deletion_scores(note, IMAGES, TRUE, ONES, shares=(0.0, 0.1, 1.0))
    np.testing.assert_allclose(scores[:, 0], predict(before)[:, 1], rtol=1e-6)
    assert (scores.shape, asked[0].any(), asked[1][:, :30].any()) == ((len(IMAGES), 3), False, False)
    assert 0 < asked[1].sum(axis=(1, 2)).max() <= 230 < 240, "of 240 hot pixels"
    assert asked[2].mean() > 0.9
    heatmaps.deletion_scores(note, IMAGES, flat, ONES, shares=(0.5,))  # equal values are deleted in random order
    assert asked[3][:, :24].mean() == pytest.approx(asked[3][:, 24:].mean(), rel=0.1)
    np.testing.assert_array_equal(IMAGES, before)
    for maps, fill in ((flat[:2], "mean"), (flat, "black")):
        with pytest.raises(ValueError, match=r"a map for each image, \(49, 48, 48\), and a `fill` of mean or blur"):
            heatmaps.deletion_scores(predict, IMAGES, maps, ONES, fill=fill)


def test_the_parts_of_the_face_share_all_of_a_map_and_the_map_of_another_face_is_never_ones_own(monkeypatch):
    maps = np.stack([np.ones((48, 48)), np.zeros((48, 48)), np.zeros((48, 48))])
    maps[2, 32:43] = 3  # the mouth
    shares = heatmaps.region_shares(maps)
    np.testing.assert_allclose(sum(shares.values()), 1)
    for name, (above, below) in heatmaps.REGIONS.items():
        np.testing.assert_allclose(shares[name][:2], below - above)
    assert shares["mouth"][2] > 0.95
    given, own = [], heatmaps.random_heatmaps(IMAGES)
    score = lambda predict, images, maps, **_: given.append(maps) or np.zeros((len(images), len(heatmaps.SHARES)))  # noqa: E731
    monkeypatch.setattr(heatmaps, "deletion_scores", score)
    heatmaps.deletion_curves(predict, IMAGES, ONES, {"own": own}, "mean")
    others = given[-1]
    assert not (own == others).all(axis=(1, 2)).any()
    assert sorted(others.sum(axis=(1, 2))) == sorted(own.sum(axis=(1, 2)))
