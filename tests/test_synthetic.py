"""Synthetic faces: repeatable, varied, and showing their emotion to a network but not to a line through pixel space."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from moving import emotion_face

from fer_keras.data import synthetic_features as features
from fer_keras.data.synthetic_faces import Sketch, make_faces, sample_face
from fer_keras.labels import FER4, FER7, FERPLUS8


@pytest.fixture(scope="module")
def faces():
    return make_faces(200)


def test_no_two_faces_are_equal_and_each_split_has_as_many_of_each_class(faces):
    assert (faces.images.shape, faces.images.dtype, faces.protocol) == ((1400, 48, 48, 1), np.uint8, "drawn")
    assert "synthetic" in faces.source
    assert faces.counts()[list(FER7)].to_numpy().tolist() == [[142] * 7, [29] * 7, [29] * 7]
    assert (make_faces(3).counts()[list(FER7)] == 1).all(axis=None)
    assert len(np.unique(faces.digests)) == len(faces)
    assert faces.images.std(axis=(1, 2, 3)).min() > 15
    assert 80 < faces.images.mean() < 170
    # The mean picture of one class says little about a member: faces differ more from each other than classes do.
    means = np.stack([faces.images[faces.labels == label].mean(axis=0) for label in range(7)])
    assert means.std(axis=0).mean() < 0.3 * faces.images.std(axis=0).mean()


def test_a_smaller_set_is_the_beginning_of_a_larger_one_in_another_process_too(faces):
    code = "from fer_keras.data.synthetic_faces import make_faces; print(make_faces(10).fingerprint)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    small = faces.take(np.arange(70))
    assert small.fingerprint == printed != make_faces(10, seed=6).fingerprint
    four = make_faces(10, classes=FER4)
    assert (four.classes, four.fingerprint) == (FER4, small.select(classes=FER4).fingerprint)


def test_other_sizes_are_drawn_and_impossible_requests_refused():
    for size in (8, 64):
        faces = make_faces(3, classes=("happy", "contempt"), size=size)
        assert (faces.images.shape, len(np.unique(faces.digests))) == ((6, size, size, 1), 6)
    for arguments, message in (
        ({"num_per_class": 2}, "`num_per_class` must be an integer of at least 3. Received: 2"),
        ({"num_per_class": "3"}, "`num_per_class` must be an integer of at least 3. Received: '3'"),
        ({"classes": ("happy", "bored")}, "Unknown class 'bored'"),
        ({"classes": ("happy", "happy")}, "one or more different names"),
        ({"classes": ()}, "one or more different names"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"size": 4}, "`size` must be an integer of at least 8"),
    ):
        with pytest.raises(ValueError, match=message):
            make_faces(**{"num_per_class": 5, **arguments})


def test_one_person_shows_each_emotion():
    shown = {emotion: emotion_face(emotion, seed=2, size=96)[:, :, 0].astype(int) for emotion in FERPLUS8}
    for first, second in itertools.combinations(FERPLUS8, 2):
        difference = np.abs(shown[first] - shown[second])
        assert difference[30:].mean() > 0.5, (first, second)
        assert difference[36:52, :12].max() <= 2, "the ears do not move: same person, same place"


@pytest.mark.parametrize("seed", range(3))
def test_brows_and_mouth_follow_the_emotion(seed):
    inner, sag = {}, {}
    for emotion in FER7:
        brows, mouth, person = Sketch(), Sketch(), sample_face(np.random.default_rng(seed), emotion, intensity=1.0)
        features.brows(brows, person)
        features.mouth(mouth, person)
        x, y, *_ = brows.shapes[0]  # y points down
        inner[emotion] = y[np.abs(x).argmin()]
        _, y, *_ = mouth.shapes[-1]  # the edge of the upper lip, from corner to corner
        sag[emotion] = y[[0, -1]].mean() - y[6]
    assert inner["surprise"] < inner["neutral"] < inner["angry"]
    assert sag["happy"] < sag["neutral"] < sag["sad"]


def test_linear_model_finds_them_hard_and_small_network_learns_them(faces):
    import keras
    from keras import layers
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, y), held_out = faces["train"], faces.select(splits=("validation", "test"))
    linear = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1e4)).fit(x.reshape(len(x), -1), y)
    linear_accuracy = linear.score(held_out.images.reshape(len(held_out), -1), held_out.labels)

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((48, 48, 1)), layers.Rescaling(1 / 127.5, offset=-1)])
    for filters in (16, 32, 64):
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.MaxPooling2D())
    for layer in (layers.Flatten(), layers.Dropout(0.3), layers.Dense(7, activation="softmax")):
        model.add(layer)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=5, verbose=0)
    network_accuracy = model.evaluate(held_out.images, held_out.labels, verbose=0)[1]
    assert 0.25 < linear_accuracy < 0.55, "measured: 0.42"
    assert network_accuracy > max(0.6, linear_accuracy + 0.15), "measured: 0.76"
