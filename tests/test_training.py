"""`fit`: what it trains, remembers, resumes and records, of recipes and of anyone's models; and `evaluate`."""

import dataclasses
import itertools
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from sklearn.metrics import accuracy_score
from small_networks import Kill, nested, small

from fer_keras import models, paths, recipes
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import calibration_error
from fer_keras.labels import FER4, FER7
from fer_keras.models import build
from fer_keras.models.inputs import leaves
from fer_keras.recipes import RECIPES
from fer_keras.results import comparable_fields, find_run, read_run, read_runs, run_folder
from fer_keras.training import callbacks, evaluate, fit, load_network, own_models, trainer
from fer_keras.training.callbacks import Checkpoints, load_state, save_state

# Everything that has a memory or a random state: dropout, augmentation, Adam, both callbacks.
LIVELY = dataclasses.replace(
    RECIPES["capstone-model-1"], name="lively", batch_size=16, epochs=6, learning_rate=0.02, reduce_patience_epochs=1,
    stop_patience_epochs=4, rotation_degrees=10.0, erase_probability=0.5, mixup_alpha=0.2, final=False,
)  # fmt: skip
# The other half: momentum, schedule, averaged weights, smoothing, class weights.
SMOOTH = dataclasses.replace(
    LIVELY, name="smooth", optimizer="sgd", schedule="cosine", warmup_epochs=1.0, reduce_patience_epochs=0,
    stop_patience_epochs=0, ema_decay=0.9, weight_decay=1e-3, label_smoothing=0.1, class_weights=True,
    monitor="val_recall",
)  # fmt: skip
ONE = dataclasses.replace(LIVELY, name="one", epochs=1)
SMOOTHED = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch, own_folders):
    monkeypatch.setattr(trainer, "build", small)


def assert_same_training(one, other):
    """Check that two runs have the same record, history and predictions."""
    assert comparable_fields(one) == comparable_fields(other)
    pd.testing.assert_frame_equal(one.history().drop(columns="seconds"), other.history().drop(columns="seconds"))
    for mine, theirs in zip(one.predictions("validation"), other.predictions("validation"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_resumed_run_is_the_unbroken_one(faces, own_folders, monkeypatch):
    unbroken = fit(SMOOTH, faces=faces, results=own_folders / "unbroken", verbose=0)
    expected, history = load_network(unbroken).get_weights(), unbroken.history()
    best = history.val_recall.idxmax()
    assert unbroken.best_epoch == history.epoch[best]
    assert history[["precision", "recall"]].notna().all(axis=None)
    for score in ("precision", "recall"):
        classes = unbroken.metrics["validation"]["per_class"].values()
        assert history[f"val_{score}"][best] == pytest.approx(np.mean([each[score] for each in classes]), abs=1e-4)
    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "other"))
    for kill in (Kill(0), Kill(1, batch=2), Kill(3)):
        with pytest.raises(KeyboardInterrupt):
            fit(SMOOTH, faces=faces, verbose=0, callbacks=[kill])
    resumed = fit(SMOOTH, faces=faces, verbose=0)
    assert resumed.resumed == 2, "the first kill came before anything was saved"
    assert_same_training(resumed, unbroken)
    assert all(map(np.array_equal, load_network(resumed).get_weights(), expected))
    watched = pd.read_csv(run_folder(resumed.run, resumed.data["fingerprint"]) / "history.csv")
    pd.testing.assert_frame_equal(watched[resumed.history().columns], resumed.history(), rtol=1e-4)


def train_until_killed(moment, results):
    """Train until the kernel kills the process: in an epoch, in the writing of the state, or before the record."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def half_a_state(file, **arrays):
        file.write(b"PK half of a state")
        file.flush()
        die()

    trainer.build = small
    if moment == "state":
        callbacks.np.savez = half_a_state
    if moment == "record":
        trainer.write_run = die
    in_epoch = [keras.callbacks.LambdaCallback(on_train_batch_end=die)] if moment == "epoch" else []
    faces = make_faces(20, classes=FER4, seed=1)
    fit(LIVELY, faces=faces, results=results, verbose=0, callbacks=in_epoch)


def test_kill_minus_nine_at_any_moment_and_the_same_command_give_the_unbroken_record(faces, own_folders, monkeypatch):
    """Those of a group of processes, and of Ray, are killed in their own tests."""
    unbroken, killed = fit(LIVELY, faces=faces, results=own_folders / "unbroken", verbose=0), own_folders / "killed"
    monkeypatch.setenv("FER_KERAS_BUILD", str(killed / "build"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    how = {"faces": faces, "results": killed / "results", "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        fit(LIVELY, callbacks=[Kill(1)], **how)
    for moment in ("epoch", "state", "record"):
        script = f"import test_training; test_training.train_until_killed({moment!r}, {str(killed / 'results')!r})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, (moment, done.stderr[-2000:])
        assert find_run(LIVELY, folder=killed / "results") is None, moment
    run = fit(LIVELY, **how)
    assert run.resumed == 2, "what was killed before it saved a state is not counted"
    assert_same_training(run, unbroken)
    assert not [path for path in killed.rglob("*") if path.name.endswith((".tmp", "state.npz"))], "leftovers are swept"


class Spoil(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.network.layers[-1].bias.assign(np.full(4, np.nan))


def test_a_spoilt_run_keeps_its_whole_epochs_and_force_begins_anew_once_and_is_resumed(faces, own_folders):
    def train(message=None, *how, **options):
        with pytest.raises(ValueError if message else KeyboardInterrupt, match=message):
            fit(LIVELY, faces=faces, verbose=0, callbacks=how, **options)

    train(r"Expected a finite loss. Received: loss nan in epoch 1\. Lower .* gradients\.$", Spoil(0))
    train(r"Expected a finite loss. Received: loss nan in epoch 3.*2 whole epochs", Spoil(2))
    assert not read_runs(own_folders / "build" / "synthetic")
    path = next(own_folders.rglob("state.npz"))
    memory, groups = load_state(path)
    assert len(memory["history"]) == 2
    save_state(path, memory | {"version": None}, groups)  # as before there were versions
    train("that another version of fer_keras began")
    for content in (path.read_bytes()[:-1000], b"", b"something else"):
        path.write_bytes(content)
        train(r"state\.npz: Expected the whole state of a training.*--force")
    for wrong in ({"history": None}, {"best": [1]}, {"callbacks": 3}):
        save_state(path, memory | wrong, groups)
        train(r"state\.npz: Expected the whole state")
    save_state(path, memory, groups | {"network": groups["network"][:2]})
    train(r"state\.npz: Expected the whole state")
    path.unlink()
    path.mkdir()
    train(r"state\.npz: Expected the whole state of a training. Received: IsADirectoryError")
    train(None, Kill(0), force=True)
    save_state(path, memory, groups)  # which no forced run left
    train(None, Kill(3), force=True)
    run = fit(LIVELY, faces=faces, verbose=0, force=True)
    again = fit(LIVELY, faces=faces, verbose=0, force=True)
    assert (run.resumed, again.resumed) == (1, 0)
    assert_same_training(run, again)


def test_checkpoints_hold_the_averaged_weights_as_they_were_validated(own_folders, faces):
    """At each fall of the validation loss, in float32; the first is the average of the weights after each step."""
    seen = []

    def watch(*_, **__):
        seen.append([np.array(each.numpy()) for each in watching.model.network.trainable_variables])

    watching = keras.callbacks.LambdaCallback(on_train_batch_end=watch)
    board = keras.callbacks.TensorBoard(str(own_folders / "board"), profile_batch=0)
    how = {"verbose": 0, "precision": "mixed_bfloat16", "epochs": 4}
    run = fit(SMOOTH, faces=faces, callbacks=[Checkpoints(own_folders / "kept", "mine"), watching, board], **how)
    assert {path.parent.name for path in (own_folders / "board").rglob("events*")} == {"train", "validation"}
    history, (images, labels) = run.history(), faces["validation"]
    falls = history[history.val_loss < history.val_loss.cummin().shift(fill_value=np.inf)]
    written = sorted((own_folders / "kept").iterdir())
    expected = [f"mine-{row.epoch:03d}-{row.val_accuracy:.4f}.keras" for row in falls.itertuples()]
    assert [path.name for path in written] == expected
    for path, row in zip(written, falls.itertuples(), strict=True):
        network = keras.saving.load_model(path, compile=False)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
        network.compile(loss=SMOOTHED)
        assert network.evaluate(images, np.eye(4)[labels], verbose=0) == pytest.approx(row.val_loss, rel=2e-3)
    average, *others = seen[: len(seen) // 4]
    for values in others:
        average = [0.9 * old + 0.1 * new for old, new in zip(average, values, strict=True)]
    for kept, expected in zip(keras.saving.load_model(written[0]).trainable_variables, average, strict=True):
        np.testing.assert_allclose(kept.numpy(), expected, atol=1e-5)


def test_the_learning_rate_falls_and_training_stops_on_a_plateau(faces):
    """A rate near zero is a plateau for certain: reduction after 1, 2, ... epochs without gain, stop after 4."""
    run = fit(dataclasses.replace(LIVELY, learning_rate=1e-12, epochs=20), faces=faces, verbose=0)
    rates = run.history().learning_rate
    assert run.stopped == "early stop"
    assert len(rates) < 20
    assert rates.iloc[-1] < rates[0] * 0.2**2 * 1.01


def test_a_run_is_recorded_once_and_read_afterwards_with_what_differs(faces, own_folders, monkeypatch, capsys):
    run = fit("capstone-model-1", faces=faces, epochs=1, verbose=0)
    assert run.folder == own_folders / "build" / "synthetic", "records of synthetic faces lie apart"
    assert (run.recipe_name, run.epochs_run) == ("capstone-model-1@epochs-1", 1)
    assert set(run.metrics) == {"train", "validation"}, "with fewer epochs it is a variant, and no variant is final"
    expected = ["read the record of capstone-model-1", "--force"]
    differs = ["is recorded on data", "builder has changed"]
    printed = [capsys.readouterr().err]
    for other in (faces, make_faces(20, classes=FER4, seed=2)):
        assert fit("capstone-model-1", faces=other, epochs=1, verbose=0) == run
        printed.append(capsys.readouterr().err)
        monkeypatch.setattr(trainer, "build", build)
    assert [[words in text for words in expected + differs] for text in printed] == [
        [False] * 4, [True, True, False, False], [True] * 4
    ]  # fmt: skip


def test_ones_own_tries_go_to_build_and_are_recorded_when_asked(faces, own_folders):
    own = dataclasses.replace(faces, protocol="official")
    run = fit(ONE, faces=own, verbose=0)
    assert run.folder == own_folders / "build" / "results"
    assert not (own_folders / "results").exists()
    recorded = fit(ONE, faces=own, verbose=0, results=paths.results())
    assert recorded.folder == own_folders / "results"
    assert recorded == find_run(ONE) == run, "trained once"
    assert_same_training(recorded, run)


def test_a_run_that_was_stopped_by_time_says_so_and_trains_on(faces, own_folders, monkeypatch, capsys):
    recipe = dataclasses.replace(LIVELY, stop_patience_epochs=0, monitor="val_accuracy", final=True)
    monkeypatch.setitem(RECIPES, "lively", recipe)
    whole = fit(recipe, faces=faces, results=own_folders / "whole", verbose=0)
    monkeypatch.setattr(callbacks, "time", Mock(perf_counter=itertools.count(0, 60).__next__))  # an epoch a minute
    short = fit(recipe, faces=faces, verbose=0, minutes=1.5)
    assert (short.stopped, short.stopped_by_time, short.epochs_run) == ("cut short", True, 2)
    assert set(short.metrics) == {"train", "validation"}, "the test split is scored once, at the end"
    assert "stopped after 2 of 6 epochs" in capsys.readouterr().err
    longer = fit(recipe, faces=faces, verbose=0, minutes=1.5)
    assert (longer.stopped, longer.epochs_run, longer.resumed) == ("cut short", 4, 1), "the same command trains on"
    next(own_folders.rglob("state.npz")).unlink()
    assert fit(recipe, faces=faces, verbose=0, minutes=9) == longer, "without its state it is read"
    for _ in range(2):
        again = fit(recipe, faces=faces, verbose=0, minutes=3, force=True)
        assert (again.epochs_run, again.resumed) == (3, 0), "--force begins anew"
    assert again.best_epoch < again.epochs_run, "what is trained on from is not what is kept"
    end = fit(recipe, faces=faces, verbose=0)
    assert (end.stopped, end.epochs_run, "test" in end.metrics) == ("epochs", recipe.epochs, True)
    assert end.metrics == whole.metrics
    assert len(read_runs(own_folders / "build" / "synthetic")) == 1
    assert not list((own_folders / "build").rglob("state.npz"))


def test_a_run_sees_the_test_split_when_its_recipe_is_marked_final(faces, monkeypatch):
    train, validation = (np.flatnonzero(faces.split == split) for split in ("train", "validation"))
    images = np.array(faces.images)
    images[validation[:5]] = images[train[:5]]
    faces = dataclasses.replace(faces, images=images)
    variant = dataclasses.replace(ONE, name="chosen", flip_view=True)
    chosen = dataclasses.replace(variant, final=True)
    monkeypatch.setitem(RECIPES, "chosen", variant)
    before = fit(variant, faces=faces, verbose=0)
    assert before.metrics["validation"]["num_copies"] == 5, "duplicates of training images are counted"
    assert "test" not in fit(chosen, faces=faces, verbose=0).metrics, "final as it stands among the recipes only"
    monkeypatch.setitem(RECIPES, "chosen", chosen)
    after = fit(chosen, faces=faces, verbose=0)
    assert set(after.metrics) - set(before.metrics) == {"test", "test_flip"}
    assert {name: after.metrics[name] for name in before.metrics} == before.metrics
    pd.testing.assert_frame_equal(after.history(), before.history())
    images, labels = faces["test"]
    views = [load_network(after).predict(view, verbose=0) for view in (images, images[:, :, ::-1])]
    for name, views_of_it, expected in (("test", "single", views[0]), ("test_flip", "flip", np.mean(views, axis=0))):
        found = after.predictions(name)
        np.testing.assert_allclose(found.probabilities, expected, atol=2e-3)
        np.testing.assert_array_equal(found.labels, labels)
        assert (after.metrics[name]["views"], after.metrics[name]["split"]) == (views_of_it, "test")
    assert fit(chosen, faces=faces, verbose=0) == after


@pytest.mark.parametrize(
    ("network", "changes"), [(small, {"frozen_body": True}), (nested, {}), (nested, {"trainable_from": "second"})]
)
def test_a_recipe_starts_from_one_of_other_classes(network, changes, own_folders, monkeypatch):
    monkeypatch.setattr(trainer, "build", network)
    seven = dataclasses.replace(ONE, name="seven", data="fer7")
    four = dataclasses.replace(seven, name="four", data="fer4", start_recipe="seven", **changes)
    monkeypatch.setitem(RECIPES, "seven", seven)
    synthetic = {"fer7": make_faces(12, classes=FER7, seed=1), "fer4": make_faces(12, classes=FER4, seed=1)}
    monkeypatch.setattr(trainer, "load_recipe_data", lambda recipe, *_, **__: synthetic[recipe.data])
    monkeypatch.setenv("FER_KERAS_DATA", "synthetic")
    runs = [fit(each, results=own_folders / "results", verbose=0) for each in (four, seven)]
    assert runs[0].classes == FER4
    ours, theirs = ([*leaves(load_network(run))] for run in runs)
    for layer, other in zip(ours[:-1], theirs[:-1], strict=True):
        same = all(map(np.array_equal, layer.get_weights(), other.get_weights()))
        assert same == (layer.name != "second" or "trainable_from" not in changes), layer.name
    keras.utils.set_random_seed(0)
    assert not np.array_equal(ours[-1].kernel, network("", 4).layers[-1].kernel), "the head is trained"


def test_a_variant_starts_from_the_same_variant_of_its_start_on_the_same_images(faces, monkeypatch, capsys):
    folders = dataclasses.replace(faces, protocol="folders")
    first = dataclasses.replace(ONE, name="first", train_fraction=0.5)
    monkeypatch.setitem(RECIPES, "first", first)
    second = dataclasses.replace(first, name="second", start_recipe="first", learning_rate=1e-30)
    run = fit(second, faces=folders, verbose=0)
    started, ended = sorted(read_runs(run.folder), key=lambda each: each.recipe_name)
    assert (started.recipe_name, ended.recipe_name) == ("first@folders", "second@folders")
    assert "this is second@folders" in capsys.readouterr().err
    assert run.data["num_images"]["train"] == (faces.split == "train").sum() // 2, "a share is taken once"
    assert started.data == run.data
    pair = (load_network(each).trainable_variables for each in (run, started))
    for value, expected in zip(*pair, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-25)  # the rate moves a zero by 1e-30
    monkeypatch.setattr(trainer, "build", nested)
    with pytest.raises(ValueError, match="the same backbone"):
        fit(dataclasses.replace(second, epochs=2), faces=folders, verbose=0)


def test_what_does_not_fit_is_refused(faces, own_folders, monkeypatch):
    few = dataclasses.replace(RECIPES["stacking"], data="fer4", members=(("general", RECIPES["general"].digest),))
    (own_folders / "file").touch()
    course = dataclasses.replace(faces, protocol="course")
    for changes, options, message in (
        ({"data": "fer7"}, {}, "expects the classes"),
        ({"targets": "votes"}, {}, "FER"),
        ({}, {"faces": course}, "is for the official split"),
        ({}, {"precision": "float64"}, "`precision` must be one of float32, mixed_bfloat16"),
        ({}, {"batch_size": 3}, r"`batch_size` is for a keras\.Model"),
        *(({}, {"seed": seed}, r"`seed` must be an integer in \[0, ") for seed in (-1, 2**32, True, 1.5, "1", None)),
        *(({}, {"epochs": epochs}, r"`epochs` must be an integer in \[1, inf\)") for epochs in (0, "2", 1.5)),
        *(({}, {"minutes": minutes}, r"`minutes` must be a number in \(0, inf\)") for minutes in (0, -1, math.nan)),
        *(({}, {"callbacks": given}, "`callbacks` must be") for given in (Kill(1), None, [Kill])),
        ({}, {"faces": faces.images}, "`faces` must be a FaceDataset"),
        ({}, {"faces": "/no/such"}, "/no/such: Expected a data set. Received: no such path"),
        ({"model": "vgg61"}, {}, r"no network 'vgg61'\. Did you mean 'vgg16'"),
        ({"start_recipe": "vgg61"}, {}, "no recipe 'vgg61'"),
        ({"teachers": (("fer-smal", "0" * 12, 0),)}, {}, "no recipe 'fer-smal'"),
        ({}, {"results": own_folders / "file"}, "Expected a place where a file can be written"),
        ({}, {"callbacks": [keras.callbacks.TensorBoard("/proc/nope")]}, r"/proc/nope.* can be written"),
        ({}, {"callbacks": [Checkpoints(own_folders / "file")]}, "can be written"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(dataclasses.replace(LIVELY, **changes), **{"faces": faces, "verbose": 0} | options)
    for recipe, options, message in (
        (123, {}, "`recipe` must be the name of a recipe"),
        (models.load("fer-small-4"), {}, "`recipe` must be the name of a recipe"),
        ("fer-ensemble", {"epochs": 1}, "An ensemble trains no epochs itself"),
        (
            few,
            {"faces": make_faces(20, classes=FER4, seed=1)},
            "5 validation images of each class.* Received: 3 of one",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            fit(recipe, **{"faces": faces, "verbose": 0} | options)
    assert not (own_folders / "results").exists()


@pytest.mark.parametrize("name", ["dual-channel", "fer-large", "ferplus-vgg13"])
def test_what_is_prepared_for_accelerators_trains_three_steps(name, monkeypatch):
    monkeypatch.setattr(trainer, "build", build)
    steps = {"epochs": 1, "batch_size": len(RECIPES[name].classes), "warmup_epochs": 0.0, "targets": "labels"}
    recipe = dataclasses.replace(RECIPES[name], name="steps", **steps)
    run = fit(recipe, faces=make_faces(5, classes=recipe.classes, seed=2), verbose=0)
    assert run.epochs_run == 1
    assert np.isfinite(run.history()[["loss", "val_loss"]]).all(axis=None)


def test_a_network_learns_from_the_probabilities_of_its_teachers(faces, monkeypatch):
    teacher = dataclasses.replace(ONE, name="teacher")
    monkeypatch.setitem(RECIPES, "teacher", teacher)
    how = {"teachers": tuple(("teacher", teacher.digest, seed) for seed in (0, 1))}
    how |= {"teacher_share": 0.25, "teacher_temperature": 2.0}
    student = dataclasses.replace(teacher, name="student", **how)
    run = fit(student, faces=faces, verbose=0)
    assert {found.recipe_name for found in read_runs(run.folder)} == {"teacher", "student"}
    networks = [load_network(fit(teacher, seed, faces=faces, verbose=0)) for seed in (0, 1)]
    views = (faces.images, faces.images[:, :, ::-1])
    softened = np.sqrt(np.mean([network.predict(view, verbose=0) for network in networks for view in views], axis=0))
    hard, train = np.eye(4)[faces.labels], (faces.split == "train")[:, None]
    expected = np.where(train, 0.75 * hard + 0.25 * softened / softened.sum(axis=1, keepdims=True), hard)
    targets, _ = trainer.learn_from_teachers(trainer.Job(student, faces=faces, announce=False), True)
    np.testing.assert_allclose(targets, expected, atol=1e-4)
    changes = dataclasses.replace(student, name="changes", teachers_see="changes")
    assert fit(changes, faces=faces, verbose=0).history().loss[0] != run.history().loss[0], "augmented images"
    with pytest.raises(ValueError, match=r"Teachers see images\. Received: changes, which trains on .* features"):
        trainer.learn_from_teachers(trainer.Job(changes, faces=faces, announce=False), False)


def test_a_recipe_trains_in_its_precision_whatever_the_global_policy_says(faces, own_folders, request):
    plain = fit(ONE, faces=faces, results=own_folders / "plain", verbose=0)
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    keras.config.set_dtype_policy("mixed_float16")
    run = fit(ONE, faces=faces, results=own_folders / "mixed", verbose=0, force=True)
    assert keras.config.dtype_policy().name == "mixed_float16"
    assert_same_training(run, plain)


def compiled(outputs=4, loss="sparse_categorical_crossentropy", metrics=("accuracy",), **how):
    model = small("", outputs, **how)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=list(metrics))
    return model


def of_labels(true, found):
    return keras.losses.sparse_categorical_crossentropy(true, found)


def of_neither(true, found):
    raise TypeError("no such shape")


@keras.saving.register_keras_serializable("tests")
class Shrink(layers.Layer):
    def call(self, pixels):
        return pixels[:, ::8, ::8]


class Unregistered(Shrink):
    pass


CASES = {  # loss, metrics, the network
    "sparse": ("sparse_categorical_crossentropy", ["accuracy"], {}),
    "logits": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["acc"], {"activation": None}),
    "categorical": (SMOOTHED, ["categorical_accuracy"], {}),
    "divergence": ("kl_divergence", [], {}),
    "a list": (["sparse_categorical_crossentropy"], ["accuracy"], {}),
    "labels": (of_labels, ["accuracy"], {}),
    "arrays": ("categorical_crossentropy", ["accuracy", keras.metrics.F1Score(), keras.metrics.AUC(name="epoch")], {}),
    "squares": ("mse", ["accuracy", keras.metrics.AUC(name="auc")], {"channels": 3}),
    "one sigmoid": ("binary_crossentropy", ["accuracy"], {"outputs": 1, "activation": "sigmoid"}),
    "mixed_float16": ("sparse_categorical_crossentropy", ["accuracy"], {}),
    "mixed_bfloat16": ("sparse_categorical_crossentropy", ["accuracy"], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_targets_follow_the_loss_and_the_run_is_recorded(name, faces, own_folders, request):
    """Under mixed precision, too."""
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    keras.config.set_dtype_policy(name if name.startswith("mixed") else "float32")
    loss, metrics, network = CASES[name]
    faces = make_faces(20, classes=("happy", "sad"), seed=1) if "outputs" in network else faces
    model = compiled(loss=loss, metrics=metrics, **network)
    before = model.get_weights()
    run = fit(model, faces=faces, epochs=2, batch_size=16, verbose=0)
    assert not all(map(np.array_equal, before, model.get_weights()))
    assert (run.recipe_name, run.epochs_run, run.stopped, run.classes) == ("sequential", 2, "epochs", faces.classes)
    assert set(run.metrics) == {"train", "validation"}
    assert read_run(run.place("runs", ".json")) == run
    history, accuracy = run.history(), run.metrics["validation"]["accuracy"]
    assert run.best_epoch == history.epoch[history.val_loss.idxmin()]
    if metrics:
        assert history.val_accuracy[run.best_epoch - 1] == pytest.approx(accuracy, abs=1e-3)
    else:
        assert history.val_accuracy.isna().all()
    images, labels = faces["validation"]
    found = models.weights.as_network(model, faces.classes).predict(images)
    assert accuracy_score(labels, found.argmax(axis=1)) == pytest.approx(accuracy, abs=0.1)
    np.testing.assert_allclose(run.predictions("validation").probabilities, found, atol=2e-3)
    assert all(map(np.array_equal, model.get_weights(), load_network(run).get_weights()))


def test_a_script_is_resumed_or_its_record_read_and_training_on_is_another(faces, own_folders, monkeypatch, capsys):
    def train(*extra):
        model = compiled()
        how = [keras.callbacks.ReduceLROnPlateau(patience=1), keras.callbacks.EarlyStopping(patience=3), *extra]
        return model, fit(model, faces=faces, callbacks=how, epochs=6, verbose=0)

    first, unbroken = train()
    expected = first.get_weights()
    model, run = train()
    assert run == unbroken
    assert "read the record of sequential" in capsys.readouterr().err
    assert all(map(np.array_equal, model.get_weights(), expected))
    assert fit(model, faces=faces, epochs=1, verbose=0).run != unbroken.run
    assert not all(map(np.array_equal, model.get_weights(), expected))
    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "other"))
    with pytest.raises(KeyboardInterrupt):
        train(Kill(2))
    fit(compiled(rate=0.2), faces=faces, epochs=6, verbose=0, minutes=1e-9)
    assert "begins a new run; there is an unfinished one in" in capsys.readouterr().err
    model, run = train()
    assert (run.resumed, run.run, run.metrics) == (1, unbroken.run, unbroken.metrics)
    assert list(run.history().val_loss) == list(unbroken.history().val_loss)
    assert all(map(np.array_equal, model.get_weights(), expected))


def test_the_best_epoch_is_that_of_an_early_stop_that_restores_weights_and_a_log_has_every_epoch(faces, own_folders):
    def train(monitor, *more, restore=True):
        stop = keras.callbacks.EarlyStopping(monitor, patience=9, restore_best_weights=restore)
        return fit(compiled(), faces=faces, epochs=5, callbacks=[stop, *more], verbose=0)

    log = own_folders / "log.csv"
    logger = keras.callbacks.CSVLogger(log)
    with pytest.raises(KeyboardInterrupt):
        train("val_accuracy", logger, Kill(2))
    logger.csv_file.close()
    run = train("val_accuracy", keras.callbacks.CSVLogger(log))
    history = run.history()
    assert (run.resumed, run.recipe["monitor"]) == (1, "val_accuracy")
    assert run.best_epoch == history.epoch[history.val_accuracy.idxmax()]
    assert history.val_accuracy[run.best_epoch - 1] == pytest.approx(run.metrics["validation"]["accuracy"], abs=1e-5)
    assert pd.read_csv(log)["epoch"].tolist() == [0, 1, 2, 2, 3, 4], "the third was killed before it was whole"
    assert train("accuracy").recipe["monitor"] == "val_loss", "only validation chooses"
    assert train("val_accuracy", restore=False).recipe["monitor"] == "val_loss"


def test_numbers_of_numpy_paths_with_a_tilde_and_names_of_variants(faces, own_folders, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(own_folders / "home"))
    first = fit(dataclasses.replace(ONE, learning_rate=np.float32(0.5)), np.int64(3), faces=faces, epochs=np.int8(2),
                results="~/mine", callbacks=[Checkpoints("~/kept")], verbose=0)  # fmt: skip
    assert (first.seed, first.recipe["epochs"]) == (3, 2)
    assert find_run("one@epochs-2", 3, folder="~/mine") == first
    assert first.folder == own_folders / "home" / "mine"
    assert any((own_folders / "home" / "kept").iterdir())
    cats = dataclasses.replace(make_faces(9, classes=("happy", "sad"), seed=3), classes=("cat", "dog"), protocol="own")
    names = {fit(recipe, faces=cats, epochs=2, verbose=0).run for recipe in (ONE, recipes.own_recipe(ONE, cats))}
    assert [name.rsplit("-", 2)[0] for name in names] == ["one@epochs-2@own"], "one name for one training"
    monkeypatch.setitem(RECIPES, "one@course", dataclasses.replace(ONE, name="one@course", protocol="course"))
    course = dataclasses.replace(faces, protocol="course")
    assert fit("one@course", faces=course, epochs=2, verbose=0).recipe_name == "one@course@epochs-2"


def test_data_that_is_not_as_published_is_ones_own_and_a_class_without_training_images_is_named(faces, capsys):
    other = dataclasses.replace(faces, protocol="official", difference="fewer", source="a FER-2013")
    for run in (fit(compiled(), faces=other, verbose=0), fit(ONE, faces=other, verbose=0)):
        assert run.protocol == "own"
    assert "no training image" not in capsys.readouterr().err
    unseen = faces.take((faces.split != "train") | (faces.labels != FER4.index("sad")))
    for what in (compiled(), dataclasses.replace(ONE, name="unseen")):
        fit(what, faces=unseen, verbose=0)
        assert "there is no training image of sad, which cannot be learned so" in capsys.readouterr().err


def test_a_model_is_known_by_its_layers_loss_and_functions_not_by_the_names_that_keras_counts(faces, capsys):
    def closed(factor):
        def loss(true, found):
            return factor * keras.losses.mse(true, found)

        return loss

    def own(*activations, loss="mse", dtype=None, names=None):
        keras.utils.set_random_seed(0)
        dense = [
            layers.Dense(4, each, dtype=dtype, name=names and f"{names}_{i}") for i, each in enumerate(activations)
        ]
        model = keras.Sequential([keras.Input((48, 48, 1)), layers.Flatten(), *dense])
        model.compile("adam", loss, metrics=["accuracy", keras.metrics.AUC()])
        return recipes.describe(model, class_names=FER4).digest

    ways = [
        {}, {"loss": "mae"}, {"loss": closed(1)}, {"loss": closed(np.ones(4))}, {"loss": closed(2)},
        {"dtype": "mixed_float16"}, {"dtype": "mixed_bfloat16"},
    ]  # fmt: skip
    assert own("relu", "softmax", names="relu") == own("relu", "softmax", names="x") != own("tanh", "softmax")
    assert [own("softmax", **way) for way in ways] == [own("softmax", **way) for way in ways]
    assert len({own("softmax", **way) for way in ways}) == len(ways)


def test_a_model_with_registered_code_is_recorded_read_and_loaded_and_with_other_code_refused(faces, own_folders):
    def train(own):
        keras.utils.set_random_seed(0)
        inputs = outputs = keras.Input((48, 48, 1))
        for layer in [own, layers.Flatten(), layers.Dense(4, "softmax")]:
            outputs = layer(outputs)
        model = keras.Model(inputs, outputs)
        model.compile("adam", {model.layers[-1].name: "mse"}, metrics=["accuracy"])
        return model, fit(model, faces=faces, verbose=0)

    for own, name in ((layers.Lambda(lambda pixels: pixels / 255), "`Lambda` layer"), (Unregistered(), "Unregistered")):
        with pytest.raises(
            ValueError, match=rf"(?s)or registered ones.* Received: \w+: .{{,150}}{name}.{{,90}}\. Register"
        ):
            train(own)
        assert not list(own_folders.rglob("state.npz")), "before it is trained"
    (first, run), (second, again) = train(Shrink()), train(Shrink())
    assert again == run
    for model in (second, load_network(run)):
        assert all(map(np.array_equal, first.get_weights(), model.get_weights()))
    before = random.getstate()
    own_models.check_loadable(first)
    assert random.getstate() == before, "the weights of models that are built later stay the same"
    path = run_folder(run.run, run.data["fingerprint"]) / "model.keras"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="a damaged file"):
        load_network(run)
    path.unlink()
    with pytest.raises(ValueError, match="Train it again with force=True"):
        load_network(run)


def test_what_cannot_be_trained_is_refused(faces):
    cut = dataclasses.replace(faces, images=faces.images[:, :40])
    for model, data, message in (
        (small("", 4), faces, r"not compiled. Call model.compile"),
        (compiled(4), None, "faces=None"),
        (compiled(7), faces, r"output of \(batch, 4\)"),
        (compiled(4), cut, r"images of shape \(40, 48, 1\). Received: input \(None, 48, 48, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(model, faces=data)
    for options in ({"batch_size": 0}, {"epochs": 0}, {"precision": "mixed_bfloat16"}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            fit(compiled(), faces=faces, **options)
    for loss, metric, form in (
        ("sparse_categorical_crossentropy", "categorical_accuracy", "labels"),
        ("sparse_categorical_crossentropy", keras.metrics.TopKCategoricalAccuracy(2), "labels"),
        ("sparse_categorical_crossentropy", keras.metrics.F1Score(), "labels"),
        ("categorical_crossentropy", "sparse_categorical_accuracy", "one-hot targets"),
        ("mse", keras.metrics.BinaryAccuracy(name="mine"), "one-hot targets"),
    ):
        name = metric if isinstance(metric, str) else ""
        with pytest.raises(ValueError, match=rf"Expected metrics of {form}.* Received: .*{name}\. Take 'accuracy'"):
            fit(compiled(loss=loss, metrics=["accuracy", metric]), faces=faces)
    with pytest.raises(ValueError, match=r"Expected training images\. Received: none in synthetic.*resplit"):
        fit(compiled(), faces=faces.select(splits=("validation", "test")))
    stop = keras.callbacks.EarlyStopping("val_accuracy", restore_best_weights=True)
    with pytest.raises(ValueError, match="measures accuracy, as val_accuracy is monitored"):
        fit(compiled(metrics=()), faces=faces, callbacks=[stop], verbose=0)
    for loss in (of_neither, {"dense": "mse"}, None):
        with pytest.raises(ValueError, match="Expected a loss of one-hot targets"):
            fit(compiled(loss=loss), faces=faces)


def test_scores_are_those_of_the_predictions(faces):
    network, scores = models.load("fer-small-4"), evaluate("fer-small-4", faces)
    images, labels = faces["test"]
    probabilities = network.predict(images)
    assert scores["accuracy"] == pytest.approx(accuracy_score(labels, probabilities.argmax(axis=1)), abs=1e-6)
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
    saturated = compiled(7)
    *weights, bias = saturated.get_weights()
    saturated.set_weights([*weights, bias + 300 * np.eye(7)[0]])
    scores = evaluate(saturated, four.to_classes(("happy", "sad"), drop=True), classes=FER7)
    assert scores["log_loss"] == pytest.approx(np.log(2), abs=1e-4), "of two classes of which it knows nothing"


def test_training_images_in_the_data_are_counted_and_said(faces, own_folders, monkeypatch, capsys):
    recipe = dataclasses.replace(ONE, name="counted")
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
    for network, data, split, message in (
        ("fer-smal", faces, "test", r"Expected a shipped network .*fer-small"),
        ("fer-small", faces, "tests", "Expected a split"),
        ("fer-small", faces.select(splits=("train",)), "test", "which has none"),
        (small("", 4), faces, "test", "classes"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(network, data, split=split)
    small("", 4).save(tmp_path / "mine.keras")
    assert evaluate(tmp_path / "mine.keras", faces, classes=FER4)["network"] == "mine"
