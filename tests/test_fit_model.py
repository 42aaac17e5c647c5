"""Anyone's compiled model in `fit`, and any network on any data set in `evaluate`."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.metrics import accuracy_score, f1_score
from small_networks import Kill

from fer_keras import models
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import calibration_error
from fer_keras.labels import FER4, FER7
from fer_keras.recipes import RECIPES
from fer_keras.results import read_run
from fer_keras.training import evaluate, fit, load_network


@pytest.fixture(scope="module")
def faces():
    return make_faces(20, classes=FER4, seed=1)


def small(outputs=4, activation="softmax", *, channels=1):
    keras.utils.set_random_seed(0)
    parts = [layers.Rescaling(1 / 255), layers.Conv2D(6, 3, strides=3, activation="relu"), layers.Flatten()]
    head = [layers.Dropout(0.3), layers.Dense(outputs, activation=activation, dtype="float32")]
    return keras.Sequential([keras.Input((48, 48, channels)), *parts, *head], name="mine")


SMOOTHED = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
CASES = {  # loss, metrics, the network
    "sparse": ("sparse_categorical_crossentropy", ["accuracy"], {}),
    "logits": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["acc"], {"activation": None}),
    "categorical": (SMOOTHED, ["categorical_accuracy"], {}),
    "divergence": ("kl_divergence", [], {}),
    "squares": ("mse", ["accuracy", keras.metrics.AUC(name="auc")], {"channels": 3}),
    "one sigmoid": ("binary_crossentropy", ["accuracy"], {"outputs": 1, "activation": "sigmoid"}),
}


@pytest.mark.parametrize("name", CASES)
def test_targets_follow_the_loss_and_the_run_is_recorded(name, faces, own_folders):
    loss, metrics, network = CASES[name]
    faces = make_faces(20, classes=("happy", "sad"), seed=1) if "outputs" in network else faces
    model = small(**network)
    model.compile("adam", loss, metrics=metrics)
    before = model.get_weights()
    run = fit(model, faces=faces, epochs=2, batch_size=16, verbose=0)
    assert not all(map(np.array_equal, before, model.get_weights()))
    assert (run.recipe_name, run.epochs_run, run.stopped, run.classes) == ("mine", 2, "epochs", faces.classes)
    assert set(run.metrics) == {"train", "validation"}
    assert read_run(run.place("runs", ".json")) == run
    history, scores = run.history(), run.metrics["validation"]
    assert run.best_epoch == history.epoch[history.val_loss.idxmin()]
    assert history.val_accuracy.notna().all() == bool(metrics)
    images, labels = faces["validation"]
    found = models.weights.as_network(model, faces.classes).predict(images)
    assert accuracy_score(labels, found.argmax(axis=1)) == pytest.approx(scores["accuracy"], abs=0.1)
    if metrics:
        assert history.val_accuracy[run.best_epoch - 1] == pytest.approx(scores["accuracy"], abs=1e-3)
    np.testing.assert_allclose(run.predictions("validation").probabilities, found, atol=2e-3)
    for mine, saved in zip(model.get_weights(), load_network(run).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, saved)


def compiled(*extra):
    model = small()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    how = [keras.callbacks.ReduceLROnPlateau(patience=1), keras.callbacks.EarlyStopping(patience=3), *extra]
    return model, {"callbacks": how, "epochs": 6, "verbose": 0}


def test_a_script_is_resumed_and_its_record_read_and_training_on_is_another_run(
    faces, own_folders, monkeypatch, capsys
):
    model, how = compiled()
    unbroken = fit(model, faces=faces, **how)
    expected = model.get_weights()
    model, how = compiled()
    assert fit(model, faces=faces, **how) == unbroken
    assert "read the record of mine" in capsys.readouterr().err
    assert all(map(np.array_equal, model.get_weights(), expected))
    assert fit(model, faces=faces, epochs=1, verbose=0).run != unbroken.run
    assert not all(map(np.array_equal, model.get_weights(), expected))

    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "other"))
    model, how = compiled(Kill(2))
    with pytest.raises(KeyboardInterrupt):
        fit(model, faces=faces, **how)
    model, how = compiled()
    run = fit(model, faces=faces, **how)
    assert (run.resumed, run.run, run.metrics) == (1, unbroken.run, unbroken.metrics)
    assert list(run.history().val_loss) == list(unbroken.history().val_loss)
    assert all(map(np.array_equal, model.get_weights(), expected))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_models_built_under_mixed_precision_train(policy, faces, own_folders):
    keras.config.set_dtype_policy(policy)
    try:
        model = small()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        run = fit(model, faces=faces, epochs=2, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(run.history().val_loss).all()


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def test_what_cannot_be_trained_is_refused(faces):
    model = small()
    with pytest.raises(ValueError, match=r"not compiled. Call model.compile"):
        fit(model, faces=faces)
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="faces=None"):
        fit(model)
    for wrong in (small(7), small(1, "sigmoid"), Subclassed()):
        wrong.compile("adam", "mse")
        with pytest.raises(ValueError, match="Expected"):
            fit(wrong, faces=faces)
    other = dataclasses.replace(faces, images=faces.images[:, :40])
    with pytest.raises(ValueError, match=r"images of shape \(40, 48, 1\). Received: input \(None, 48, 48, 1\)"):
        fit(model, faces=other)


def test_scores_are_those_of_the_predictions(faces):
    network, scores = models.load("fer-small-4"), evaluate("fer-small-4", faces)
    images, labels = faces["test"]
    probabilities = network.predict(images)
    predicted = probabilities.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-6)
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-6)
    assert scores["accuracy_low"] < scores["accuracy"] < scores["accuracy_high"]
    assert set(scores["per_class"]) == set(FER4)
    assert (scores["split"], scores["num_images"], scores["images_left_out"]) == ("test", len(labels), 0)
    calibrated = probabilities ** (1 / network.temperature)
    calibrated /= calibrated.sum(axis=1, keepdims=True)
    assert scores["calibration_error"] == pytest.approx(calibration_error(labels, calibrated), abs=1e-5)
    assert evaluate(network, faces, flip=True)["views"] == "flip"
    assert evaluate(network.model, faces, classes=FER4)["accuracy"] == scores["accuracy"]
    large = dataclasses.replace(faces, images=faces.images.repeat(2, axis=1).repeat(2, axis=2))
    assert evaluate(network, large)["accuracy"] == pytest.approx(scores["accuracy"], abs=0.1)


def test_networks_are_scored_across_data_sets():
    seven, four = (make_faces(6, classes=classes, seed=2) for classes in (FER7, FER4))
    scores = evaluate("fer-small-4", seven)
    assert scores["classes"] == list(FER4)
    assert scores["images_left_out"] == (~np.isin(seven["test"][1], [FER7.index(name) for name in FER4])).sum()
    scores = evaluate("fer-small", four)
    assert set(scores["classes_left_out"]) == {"angry", "disgust", "fear"}
    images, labels = four["test"]
    shared = models.load("fer-small").predict(images)[:, [FER7.index(name) for name in scores["classes"]]]
    right = np.array(scores["classes"])[shared.argmax(1)] == np.array(FER4)[labels]
    assert scores["accuracy"] == pytest.approx(right.mean())
    assert evaluate("fer-small", four.to_classes(FER4[::-1]))["accuracy"] == scores["accuracy"]


def test_training_images_in_the_data_are_counted_and_said(faces, own_folders, monkeypatch, capsys):
    recipe = dataclasses.replace(RECIPES["capstone-model-1"], name="counted", epochs=1, batch_size=16, final=False)
    monkeypatch.setitem(RECIPES, "counted", recipe)
    train, test = (np.flatnonzero(faces.split == split) for split in ("train", "test"))
    images = np.array(faces.images)
    images[test[:3]] = images[train[:3]]
    leaky = dataclasses.replace(faces, images=images)
    fit(recipe, faces=leaky, results=own_folders / "build" / "results", verbose=0)
    assert evaluate("counted", leaky)["training_images"] == 3
    assert "3 of 12 images are among the training images of counted" in capsys.readouterr().err
    assert evaluate("counted", make_faces(3, classes=FER4, seed=9))["training_images"] is None, "unknown"


def test_what_cannot_be_scored_is_refused(faces, tmp_path):
    untested = faces.select(splits=("train",))
    for network, data, split, message in (
        ("fer-smal", faces, "test", r"Expected a shipped network .*fer-small"),
        ("fer-small", faces, "tests", "Expected a split"),
        ("fer-small", untested, "test", "which has none"),
        (small(), faces, "test", "classes"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(network, data, split=split)
    small().save(tmp_path / "mine.keras")
    assert evaluate(tmp_path / "mine.keras", faces, classes=FER4)["network"] == "mine"
