"""Maps point at the evidence where it is known; every network can be asked, on every backend alike."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from lively import lively

import fer_keras
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation.explain import METHODS, explain, feature_maps, map_layers
from fer_keras.evaluation.inside import find_layer, way
from fer_keras.evaluation.occlusion import log_odds, occlusion, patches
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


def finder(kind, *, size=24, strength=300.0):
    """Return a network that is known by construction: bright spots speak for class 1, dark ones for class 0.

    Its convolution tells bright from dark on mid-grey, and the mean over the picture forgets where they were.
    """
    seen = layers.Conv2D(2, 3, padding="same", activation="relu", name="seen")
    last = [layers.GlobalAveragePooling2D(), layers.Dense(3), layers.Softmax()]
    scale, inputs = layers.Rescaling(1 / 127.5, offset=-1.0), keras.Input((size, size, 1))
    if kind == "sequential":
        model = keras.Sequential([inputs, scale, seen, *last])
    elif kind == "functional":
        model = keras.Model(inputs, through(last, seen(scale(inputs))))
    else:
        inside = keras.Input((size, size, 1))
        # A branch without weights beside the convolution: the way through the backbone is no chain.
        body = keras.Model(
            inside, layers.Add(name="sum")([seen(scale(inside)), layers.Rescaling(0.0)(inside)]), name="body"
        )
        model = keras.Model(inputs, through(last, body(inputs)))
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[1, 1, 0] = 1, -1
    seen.set_weights([kernel, np.zeros(2, np.float32)])
    last[1].set_weights([np.array([[0, strength, 0], [strength, 0, 0]], np.float32), np.zeros(3, np.float32)])
    return model


def through(stack, x):
    """Return a tensor after a list of layers."""
    for layer in stack:
        x = layer(x)
    return x


def spotted(size=24):
    """Return grey pictures, each with a bright and a dark spot of 6x6, and masks of both."""
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


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_speaks_for_a_class_there_is_no_heat(known, method):
    assert not explain(known, spotted()[0], method=method, target_class=NOTHING).any()


def test_grad_cam_is_its_formula():
    """With a mean over places and one dense layer, the gradients are known: the class' weights less its rivals'."""
    model, (pictures, _) = finder("functional", strength=40.0), spotted()
    maps = feature_maps(model, pictures, "seen")
    said = np.asarray(model(pictures.astype("float32")))
    kernel = model.layers[-2].get_weights()[0]
    rivals = said[:, [DARK, NOTHING]] / said[:, [DARK, NOTHING]].sum(axis=1, keepdims=True)
    slopes = (kernel[:, BRIGHT] - rivals @ kernel[:, [DARK, NOTHING]].T) / 24**2
    expected = np.maximum((maps * slopes[:, None, None]).sum(axis=-1), 0)
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(explain(model, pictures, target_class=BRIGHT), expected, atol=1e-5)


def test_grad_cam_still_points_where_the_network_is_sure():
    model, (pictures, masks) = finder("functional", strength=1000.0), spotted()
    pictures = np.where(masks[DARK][..., None], 127, pictures).astype(np.uint8)
    assert (model.predict_on_batch(pictures)[:, BRIGHT] == 1).all()
    assert (share_inside(explain(model, pictures), masks[BRIGHT]) > 0.75).all()


def test_a_network_whose_channels_meet_after_pooling_has_no_one_map():
    model = build("dual-channel", 4)
    with pytest.raises(ValueError, match=r"dual_channel has no convolution .*method='occlusion'"):
        explain(model, FACES)
    assert explain(model, FACES[:1], method="occlusion").shape == (1, 48, 48)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in (*HEAVY, "dual-channel")])
def test_every_network_can_be_asked(name):
    keras.utils.set_random_seed(1)
    model = lively(build(name, 4, weights=None))
    before = [layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)
    layer = find_layer(way(model), model.name)
    maps = feature_maps(model, FACES)
    assert maps.shape == (4, *map_layers(model)[layer])
    assert maps.shape[1:3] == SIZES.get(name, maps.shape[1:3])
    for method in METHODS[:2]:
        heat = explain(model, FACES, method=method, target_class=1)
        assert (heat.shape, heat.dtype) == ((4, 48, 48), np.float32)
        assert set(heat.max(axis=(1, 2))) <= {0, 1}
        assert np.isfinite(heat).all()
    assert ([layer.name for layer in model.layers], len(model.layers[1]._inbound_nodes)) == before


def test_the_answer_rests_on_the_layer_that_is_taken():
    """Another picture's map of that layer makes the network say what it says of that picture."""
    from fer_keras.evaluation.inside import answer, heard

    model = lively(build("fer-small", 7))
    path, images = find_layer(way(model), model.name), FACES.astype(np.float32)
    other = heard(model, images[::-1], path)
    said = answer(model, images, lambda name, layer, given, was: other if name == path else was)
    np.testing.assert_allclose(np.asarray(said), model.predict_on_batch(images[::-1]), atol=1e-5)


def test_a_part_that_a_network_cuts_away_stays_cold():
    crop = (12, 20, 4, 8)
    model = lively(build("emovision-baseline", 7, crop=crop))
    for method in METHODS:
        heat = explain(model, FACES, method=method)
        outside = np.ones(heat.shape[1:], bool)
        outside[12:28, 4:40] = False
        spill = 4 if method == "occlusion" else 0  # what is left of a patch that lies half inside
        outside[12 - spill : 28 + spill, 4 - spill : 40 + spill] = False
        assert heat.max() == 1
        assert not heat[:, outside].any()


def test_one_face_or_many_and_the_likeliest_class_or_any():
    model = lively(build("capstone-model-1", 4))
    many = explain(model, FACES)
    for one in (FACES[1], FACES[1, :, :, 0], FACES[1:2]):
        np.testing.assert_allclose(explain(model, one), many[1:2], atol=1e-4)
    said = model.predict_on_batch(FACES)
    assert np.ptp(np.sort(said)[:, -2:], axis=1).min() > 1e-4, "no tie"
    np.testing.assert_allclose(explain(model, FACES, target_class=said.argmax(axis=1)), many, atol=1e-4)
    assert explain(model, FACES[:0]).shape == (0, 48, 48)
    assert explain(model, FACES[:0], method="occlusion").shape == (0, 48, 48)
    repeated = explain(model, np.repeat(FACES, 20, axis=0))
    np.testing.assert_allclose(repeated[::20], many, atol=1e-4)


def test_what_cannot_be_explained_is_refused():
    model = build("capstone-model-1", 4)
    for wrong, message in (
        ({"method": "lime"}, r"no method 'lime'\. Expected one of: grad-cam, grad-cam\+\+, occlusion"),
        ({"target_class": 4}, r"must lie in 0\.\.3"),
        ({"target_class": "happy"}, "must be an int"),
        ({"target_class": [1, 2]}, "one for each of the 4 images"),
        ({"layer": "conv9"}, r"0 layers 'conv9' that say maps\. Expected one of: .*conv2d"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(model, FACES, **wrong)
    with pytest.raises(ValueError, match=r"shape \(n, 48, 48, 1\)|of shape \(48, 48, 1\)"):
        explain(model, FACES[:, :40])
    with pytest.raises(ValueError, match=r"in \[0, 255\]"):
        explain(model, FACES.astype(float) - 300)
    with pytest.raises(ValueError, match=r"has it as `\.model`"):
        explain(fer_keras.load("mini-xception"), FACES)
    dense = keras.Sequential([layers.Input((48, 48, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    with pytest.raises(ValueError, match="none, as no layer says maps; or method='occlusion'"):
        explain(dense, FACES)
    assert explain(dense, FACES, method="occlusion").shape == (4, 48, 48)


def test_a_layer_of_a_nested_model_is_named_by_its_path_or_its_name():
    model = finder("nested")
    assert list(map_layers(model)) == [
        "body/rescaling",
        "body/seen",
        "body/rescaling_1",
        "body/sum",
    ] or "body/seen" in map_layers(model)
    pictures, _ = spotted()
    by_path, by_name = (explain(model, pictures, layer=name) for name in ("body/seen", "seen"))
    np.testing.assert_array_equal(by_path, by_name)
    assert find_layer(way(model), model.name) == "body/sum"


def test_occlusion_is_asked_in_whole_batches_and_covers_every_pixel():
    asked = []

    def predict(images):
        asked.append(images.shape)
        bright = images[:, 20:30, 10:20].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - bright, bright], axis=1)

    images = FACES.astype(np.float32)
    heat = occlusion(predict, images, np.ones(4, int))
    assert len(set(asked)) == 1
    covered = np.zeros((48, 48), int)
    for box in patches((48, 48)):
        covered[box] += 1
    assert covered.min() >= 1
    assert heat.shape == (4, 48, 48)
    far = np.ones((48, 48), bool)
    far[12:38, 2:28] = False
    assert not heat[:, far].any()
    np.testing.assert_array_equal(images, FACES)


def test_odds_go_on_where_probabilities_are_flat():
    sure = np.array([[1.0, 1e-12, 1e-12], [1.0, 1e-20, 0.0]])
    found = log_odds(sure, np.array([0, 0]))
    assert found[1] > found[0] + 10
    assert np.isfinite(log_odds(np.array([[1.0, 0.0]]), np.array([1]))).all()


ON_JAX = """
import sys
from pathlib import Path

import keras
import numpy as np

from fer_keras.evaluation.explain import METHODS, explain

folder = Path(sys.argv[1])
model = keras.saving.load_model(folder / "nested.keras", compile=False, safe_mode=True)
faces = np.load(folder / "faces.npy")
np.savez(folder / "maps.npz", **{method: explain(model, faces, method=method) for method in METHODS})
"""


def test_the_maps_are_the_same_on_jax(tmp_path):
    pytest.importorskip("jax")
    if keras.backend.backend() == "jax":
        pytest.skip("already on JAX")
    model, (pictures, _) = finder("nested", strength=40.0), spotted()
    model.save(tmp_path / "nested.keras")
    np.save(tmp_path / "faces.npy", pictures)
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", ON_JAX, str(tmp_path)], check=True, env=environment)
    found = np.load(tmp_path / "maps.npz")
    for method in METHODS:
        expected = explain(model, pictures, method=method)
        assert expected.max() == 1
        np.testing.assert_allclose(found[method], expected, atol=1e-4, err_msg=method)
