"""Features of a frozen backbone: computed once, and the same training as through the whole network."""

import dataclasses

import keras
import numpy as np
import pytest

from fer_keras import paths
from fer_keras.data.augmentation import Augmentation
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.models import build, fine_tune
from fer_keras.recipes import RECIPES
from fer_keras.training import features, fit, load_network, trainer

PLAIN = {field.name: field.default for field in dataclasses.fields(Augmentation)}
FROZEN = dataclasses.replace(
    RECIPES["vgg16"],
    **PLAIN | {"name": "vgg16@features", "weights": None, "frozen_body": True, "epochs": 2, "batch_size": 8},
    stop_patience_epochs=0,
)


@pytest.fixture(scope="module")
def faces():
    return make_faces(8, classes=FER4, seed=1)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    return fine_tune(build("vgg16", 4, weights=None), None)


def test_backbone_and_head_together_are_the_network(network, faces):
    backbone, head = features.split_backbone(FROZEN, network)
    assert (backbone.count_params(), head.count_params()) == (14_714_688, 172_996)
    pixels = faces.images[:4].astype("float32")
    expected = keras.ops.convert_to_numpy(network(pixels))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(head(backbone(pixels))), expected, atol=1e-6)
    head.layers[-1].kernel.assign(0 * head.layers[-1].kernel)
    assert np.ptp(keras.ops.convert_to_numpy(network(pixels)), axis=0).max() == 0, "the layers are shared"


def test_only_a_backbone_that_is_frozen_and_sees_each_image_once_is_split_off(network):
    assert features.split_backbone(RECIPES["vgg16"], network) is None, "its recipe augments the images"
    assert features.split_backbone(dataclasses.replace(FROZEN, flip_view=True), network) is None, (
        "it scores mirror images"
    )
    assert features.split_backbone(FROZEN, fine_tune(network, "block5_conv3")) is None
    assert features.split_backbone(FROZEN, build("capstone-model-1", 4)) is None


def test_training_on_features_is_training_the_whole_network(faces, own_folders, monkeypatch):
    run = fit(FROZEN, faces=faces, verbose=0)
    network = load_network(run)
    history = run.history()
    monkeypatch.setattr(trainer, "split_backbone", lambda *arguments: None)
    whole = fit(FROZEN, faces=faces, verbose=0, force=True)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    np.testing.assert_allclose(history[columns], whole.history()[columns], rtol=1e-3, atol=1e-4)
    assert (run.num_parameters, run.multiply_adds) == (whole.num_parameters, whole.multiply_adds)
    pixels = faces["validation"][0].astype("float32")
    predictions = [keras.ops.convert_to_numpy(model(pixels)) for model in (network, load_network(whole))]
    np.testing.assert_allclose(*predictions, atol=1e-3)


def test_features_are_computed_once_a_backbone_and_data_set(network, faces, own_folders, monkeypatch):
    backbone, _ = features.split_backbone(FROZEN, network)
    cached = features.backbone_features(backbone, faces, verbose=0)
    assert cached.shape == (len(faces), 1, 1, 512)
    np.testing.assert_allclose(cached, backbone.predict(faces.images, verbose=0), rtol=1e-4, atol=1e-4)
    with monkeypatch.context() as patched:
        patched.setattr(features, "compute", None)  # would fail if it was called
        np.testing.assert_array_equal(features.backbone_features(backbone, faces, verbose=0), cached)
    features.backbone_features(backbone, faces.take(np.arange(8)), verbose=0)
    backbone.set_weights([values + 1 for values in backbone.get_weights()])
    features.backbone_features(backbone, faces, verbose=0)
    assert len(list(kept())) == 3


def test_a_computation_that_was_stopped_is_resumed(network, own_folders, monkeypatch):
    faces = make_faces(20, classes=FER4, seed=2)
    monkeypatch.setattr(features, "CHUNK", 32)
    backbone, _ = features.split_backbone(FROZEN, network)
    seen = []

    def stop_at_the_second(images):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(images)
        return np.ones((len(images), 1, 1, 512), np.float32)

    monkeypatch.setattr(backbone, "predict_on_batch", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        features.backbone_features(backbone, faces, verbose=0)
    assert kept() == [], "half a file must not be taken for a whole one"
    monkeypatch.setattr(backbone, "predict_on_batch", lambda images: np.full((len(images), 1, 1, 512), 2, np.float32))
    cached = features.backbone_features(backbone, faces, verbose=0)[:, 0, 0, 0]
    assert cached[:32].tolist() == [1] * 32
    assert set(cached[32:].tolist()) == {2}


def test_processes_may_compute_the_same_features_at_once(network, own_folders, monkeypatch):
    faces = make_faces(20, classes=FER4, seed=2)
    monkeypatch.setattr(features, "CHUNK", 32)
    backbone, _ = features.split_backbone(FROZEN, network)
    calls = []

    def overtaken(images):
        calls.append(len(calls))
        if len(calls) == 2:  # what another process does in the meantime
            features.backbone_features(backbone, faces, verbose=0)
        return np.ones((len(images), 1, 1, 512), np.float32)

    monkeypatch.setattr(backbone, "predict_on_batch", overtaken)
    cached = features.backbone_features(backbone, faces, verbose=0)
    assert (len(cached), cached.min(), cached.max()) == (len(faces), 1, 1)
    assert [path.suffix for path in (paths.build() / "features").iterdir()] == [".npy"]


def kept():
    return list((paths.build() / "features").glob("*.npy"))
