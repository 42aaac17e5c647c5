"""Features of a frozen backbone: computed once, and the same training as through the whole network."""

import dataclasses

import keras
import numpy as np
import pytest
from small_networks import nested

from fer_keras import paths
from fer_keras.data.augmentation import Augmentation
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.models import build, fine_tune
from fer_keras.recipes import RECIPES
from fer_keras.training import features, fit, load_network, trainer

PLAIN = {field.name: field.default for field in dataclasses.fields(Augmentation)}
FROZEN = dataclasses.replace(
    RECIPES["vgg16"], **PLAIN, name="vgg16@features", weights=None, frozen_body=True, epochs=2, batch_size=8
)


@pytest.fixture(scope="module")
def faces():
    return make_faces(20, classes=FER4, seed=2)


@pytest.fixture
def backbone(own_folders, monkeypatch):
    """A frozen backbone, whose output of 32 images is a chunk."""
    monkeypatch.setattr(features, "CHUNK", 32)
    return features.split_backbone(FROZEN, nested("", 4))[0]


def test_backbone_and_head_together_are_the_network(faces):
    network = fine_tune(build("vgg16", 4, weights=None), None)
    backbone, head = features.split_backbone(FROZEN, network)
    assert (backbone.count_params(), head.count_params()) == (14_714_688, 172_996)
    pixels = faces.images[:4].astype("float32")
    expected = keras.ops.convert_to_numpy(network(pixels))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(head(backbone(pixels))), expected, atol=1e-6)
    head.layers[-1].kernel.assign(0 * head.layers[-1].kernel)
    assert np.ptp(keras.ops.convert_to_numpy(network(pixels)), axis=0).max() == 0, "the layers are shared"


def test_only_a_backbone_that_is_frozen_and_sees_each_image_once_is_split_off():
    network, mirrored = nested("", 4), dataclasses.replace(FROZEN, flip_view=True)
    assert features.split_backbone(RECIPES["vgg16"], network) is None, "its recipe augments the images"
    assert features.split_backbone(mirrored, network) is None, "it scores mirror images"
    assert features.split_backbone(FROZEN, fine_tune(network, "second")) is None
    assert features.split_backbone(FROZEN, build("capstone-model-1", 4)) is None


def test_training_on_features_is_training_the_whole_network(faces, own_folders, monkeypatch):
    monkeypatch.setattr(trainer, "build", nested)
    run = fit(FROZEN, faces=faces, verbose=0)
    assert list((paths.build() / "features").iterdir())
    network, history = load_network(run), run.history()
    monkeypatch.setattr(trainer, "split_backbone", lambda *arguments: None)
    whole = fit(FROZEN, faces=faces, verbose=0, force=True)
    columns = ["loss", "accuracy", "val_loss", "val_accuracy"]
    np.testing.assert_allclose(history[columns], whole.history()[columns], rtol=1e-3, atol=1e-4)
    assert (run.num_parameters, run.multiply_adds) == (whole.num_parameters, whole.multiply_adds)
    pixels = faces["validation"][0].astype("float32")
    predictions = [keras.ops.convert_to_numpy(model(pixels)) for model in (network, load_network(whole))]
    np.testing.assert_allclose(*predictions, atol=1e-3)


def test_features_are_computed_once_a_backbone_and_data_set(backbone, faces, monkeypatch):
    cached = features.backbone_features(backbone, faces, verbose=0)
    assert cached.shape == (len(faces), 2, 2, 6)
    np.testing.assert_allclose(cached, backbone.predict(faces.images, verbose=0), rtol=1e-4, atol=1e-4)
    with monkeypatch.context() as patched:
        patched.setattr(features, "compute", None)  # would fail if it was called
        np.testing.assert_array_equal(features.backbone_features(backbone, faces, verbose=0), cached)
    features.backbone_features(backbone, faces.take(np.arange(8)), verbose=0)
    backbone.set_weights([values + 1 for values in backbone.get_weights()])
    features.backbone_features(backbone, faces, verbose=0)
    assert len(list((paths.build() / "features").glob("*.npy"))) == 3


def test_a_computation_that_was_stopped_is_resumed(backbone, faces, monkeypatch):
    answers = [np.ones((32, 2, 2, 6), np.float32)]
    monkeypatch.setattr(backbone, "predict_on_batch", lambda images: answers.pop())
    with pytest.raises(IndexError):
        features.backbone_features(backbone, faces, verbose=0)
    assert not list((paths.build() / "features").glob("*.npy")), "half a file must not be taken for a whole one"
    monkeypatch.setattr(backbone, "predict_on_batch", lambda images: np.full((len(images), 2, 2, 6), 2, np.float32))
    cached = features.backbone_features(backbone, faces, verbose=0)[:, 0, 0, 0]
    assert (set(cached[:32].tolist()), set(cached[32:].tolist())) == ({1}, {2})


def test_processes_may_compute_the_same_features_at_once(backbone, faces, monkeypatch):
    calls = []

    def overtaken(images):
        calls.append(len(calls))
        if len(calls) == 2:  # what another process does in the meantime
            features.backbone_features(backbone, faces, verbose=0)
        return np.ones((len(images), 2, 2, 6), np.float32)

    monkeypatch.setattr(backbone, "predict_on_batch", overtaken)
    cached = features.backbone_features(backbone, faces, verbose=0)
    assert (len(cached), cached.min(), cached.max()) == (len(faces), 1, 1)
    assert [path.suffix for path in (paths.build() / "features").iterdir()] == [".npy"]
