"""`fit` with recipes: what it trains, remembers, resumes and records."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from small_networks import Kill, nested, small

from fer_keras import paths, ray_cluster
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4, FER7
from fer_keras.models import build
from fer_keras.models.inputs import leaves
from fer_keras.recipes import RECIPES
from fer_keras.results import find_run, read_runs, run_folder
from fer_keras.training import callbacks, fit, load_network, scoring, trainer
from fer_keras.training.callbacks import Checkpoints, load_state, make_optimizer, save_state

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


@pytest.fixture(scope="module")
def faces():
    return make_faces(20, classes=FER4, seed=1)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch, own_folders):
    monkeypatch.setattr(trainer, "build", small)


def assert_same_training(one, other):
    """Check that two runs have the same record, history and predictions."""
    assert json.loads(one.to_json())["metrics"] == json.loads(other.to_json())["metrics"]
    assert (one.epochs_run, one.best_epoch, one.stopped) == (other.epochs_run, other.best_epoch, other.stopped)
    pd.testing.assert_frame_equal(one.history().drop(columns="seconds"), other.history().drop(columns="seconds"))
    for mine, theirs in zip(one.predictions("validation"), other.predictions("validation"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("recipe", [LIVELY, SMOOTH], ids=lambda recipe: recipe.name)
def test_a_resumed_run_is_the_unbroken_one(recipe, faces, own_folders, monkeypatch):
    unbroken = fit(recipe, faces=faces, results=own_folders / "unbroken", verbose=0)
    expected, history = load_network(unbroken).get_weights(), unbroken.history()
    best = history[recipe.monitor].idxmin() if recipe is LIVELY else history[recipe.monitor].idxmax()
    assert unbroken.best_epoch == history.epoch[best]
    recalls = [scores["recall"] for scores in unbroken.metrics["validation"]["per_class"].values()]
    assert history.val_recall[best] == pytest.approx(np.mean(recalls), abs=1e-4)
    assert history[["precision", "recall", "val_precision"]].notna().all(axis=None)
    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "other"))
    for kill in (Kill(0), Kill(1, batch=2), Kill(3)):
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, faces=faces, verbose=0, callbacks=[kill])
    resumed = fit(recipe, faces=faces, verbose=0)
    assert resumed.resumed == 2, "the first kill came before anything was saved"
    assert_same_training(resumed, unbroken)
    for mine, theirs in zip(load_network(resumed).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    folder = run_folder(resumed.run, resumed.data["fingerprint"])
    watched = pd.read_csv(folder / "history.csv")
    pd.testing.assert_frame_equal(watched[resumed.history().columns], resumed.history(), rtol=1e-4)
    assert not (folder / "state.npz").exists()


def train_killed(results, moment="", how=()):
    """Train until the kernel kills the process: in an epoch, in the writing of the state, or of the record."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def half_a_state(file, **arrays):
        file.write(b"PK half of a state")
        file.flush()
        die()

    def die_before_the_record(path, content):
        die() if path.suffix == ".json" else write(path, content)

    write, trainer.build = paths.write_whole, small
    if moment == "epoch":
        trainer.DrawEpochs.on_train_batch_end = die
    if moment == "state":
        callbacks.np.savez = half_a_state
    if moment == "record":
        paths.write_whole = die_before_the_record
    return fit(LIVELY, 3, faces=make_faces(20, classes=FER4, seed=1), results=results, callbacks=how, verbose=0)


def test_kill_minus_nine_at_any_moment_and_the_same_command_give_the_unbroken_record(own_folders, monkeypatch):
    """Processes of their own, killed by the kernel: in an epoch, in the writing of the state and of the record."""
    unbroken = train_killed(own_folders / "unbroken")
    killed = own_folders / "killed"
    monkeypatch.setenv("FER_KERAS_BUILD", str(killed / "build"))
    with pytest.raises(KeyboardInterrupt):
        train_killed(killed / "results", how=[Kill(1)])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    script = "import sys, test_training; test_training.train_killed(*sys.argv[1:])"
    for moment in ("epoch", "state", "record"):
        command = [sys.executable, "-c", script, str(killed / "results"), moment]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        assert find_run(LIVELY, 3, folder=killed / "results") is None, moment
    run = train_killed(killed / "results")
    assert run.resumed > 0
    assert_same_training(run, unbroken)
    assert not [path for path in killed.rglob("*") if path.name.endswith(".tmp")], "leftovers are swept"
    assert not list(killed.rglob("state.npz"))


class Spoil(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.model.network.layers[-1].bias.assign(np.full(4, np.nan))


def test_a_spoilt_run_keeps_its_whole_epochs_and_force_begins_anew_once_and_is_resumed(faces, own_folders):
    with pytest.raises(ValueError, match=r"Expected a finite loss. Received: loss nan in epoch 3.*2 whole epochs"):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Spoil()])
    assert not read_runs(own_folders / "build" / "synthetic")
    path = next(own_folders.rglob("state.npz"))
    memory, groups = load_state(path)
    assert len(memory["history"]) == 2
    save_state(path, memory | {"version": None}, groups)  # as before there were versions
    with pytest.raises(ValueError, match="that another version of fer_keras began"):
        fit(LIVELY, faces=faces, verbose=0)
    for content in (path.read_bytes()[:-1000], b"", b"something else"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.npz: Expected the state of a training.*--force"):
            fit(LIVELY, faces=faces, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Kill(0)], force=True)
    save_state(path, memory, groups)  # which no forced run left
    with pytest.raises(KeyboardInterrupt):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Kill(3)], force=True)
    run = fit(LIVELY, faces=faces, verbose=0, force=True)
    assert run.resumed == 1
    again = fit(LIVELY, faces=faces, verbose=0, force=True)
    assert again.resumed == 0
    assert_same_training(run, again)


def test_callbacks_of_keras_and_ours_see_every_epoch(own_folders, faces):
    """Each fall of the validation loss leaves a network that scores so; TensorBoard gets the epochs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = keras.callbacks.TensorBoard(str(own_folders / "board"), profile_batch=0)
    how = {"verbose": 0, "precision": "mixed_bfloat16"}
    checkpoints = [Checkpoints(own_folders / "checkpoints", "checkpointed"), board]
    history = fit(SMOOTH, faces=faces, epochs=4, callbacks=checkpoints, **how).history()
    for writer in ("train", "validation"):
        found = EventAccumulator(str(own_folders / "board" / writer), size_guidance={"tensors": 0})
        found.Reload()
        assert [event.step for event in found.Tensors("epoch_loss")] == list(range(4))
    falls = history[history.val_loss < history.val_loss.cummin().shift(fill_value=np.inf)]
    written = sorted((own_folders / "checkpoints").iterdir())
    expected = [f"checkpointed-{row.epoch:03d}-{row.val_accuracy:.4f}.keras" for row in falls.itertuples()]
    assert [path.name for path in written] == expected
    images, labels = faces["validation"]
    for path, row in zip(written, falls.itertuples(), strict=True):
        network = keras.saving.load_model(path, compile=False)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
        network.compile(loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1), metrics=["accuracy"])
        loss, accuracy = network.evaluate(images, np.eye(4)[labels], verbose=0)
        assert loss == pytest.approx(row.val_loss, rel=2e-3), "averaged weights, as they were validated"
        # Scored in bfloat16 while training: an image or two may lie at a tie.
        assert accuracy == pytest.approx(row.val_accuracy, abs=2.5 / len(labels))


def test_the_learning_rate_falls_and_training_stops_on_a_plateau(faces):
    """A rate near zero is a plateau for certain: reduction after 1, 2, ... epochs without gain, stop after 4."""
    run = fit(dataclasses.replace(LIVELY, learning_rate=1e-12, epochs=20), faces=faces, verbose=0)
    rates = run.history().learning_rate
    assert run.stopped == "early stop"
    assert len(rates) < 20
    assert rates.iloc[-1] < rates[0] * 0.2**2 * 1.01


def test_a_run_is_recorded_once_and_read_afterwards(faces, own_folders, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "build", build)
    run = fit("capstone-model-1", faces=faces, epochs=1, verbose=0)
    assert run.folder == own_folders / "build" / "synthetic", "records of synthetic faces lie apart"
    assert run.versions["backend"] == keras.backend.backend()
    assert (run.recipe_name, run.epochs_run, run.num_parameters) == ("capstone-model-1@epochs-1", 1, 605_572)
    assert set(run.metrics) == {"train", "validation"}, "with fewer epochs it is a variant, and no variant is final"
    assert "read the record" not in capsys.readouterr().err

    assert fit("capstone-model-1", faces=faces, epochs=1, verbose=0) == run
    message = capsys.readouterr().err
    assert "read the record of capstone-model-1" in message
    assert "--force" in message
    assert "is recorded on data" not in message
    assert "the builder has changed" not in message
    monkeypatch.setattr(trainer, "build", small)
    other = make_faces(20, classes=FER4, seed=2)
    assert fit("capstone-model-1", faces=other, epochs=1, verbose=0) == run
    message = capsys.readouterr().err
    assert "is recorded on data" in message
    assert "the builder has changed" in message

    images, labels = faces["validation"]
    accuracy = (load_network(run).predict(images, verbose=0).argmax(axis=1) == labels).mean()
    assert accuracy == pytest.approx(run.metrics["validation"]["accuracy"], abs=1.5 / len(labels)), "one may be a tie"


def test_ones_own_tries_go_to_build_and_are_recorded_when_asked(faces, own_folders):
    own = dataclasses.replace(faces, protocol="official")
    run = fit(ONE, faces=own, verbose=0)
    assert run.folder == own_folders / "build" / "results"
    assert not (own_folders / "results").exists()
    recorded = fit(ONE, faces=own, verbose=0, results=paths.results())
    assert recorded.folder == own_folders / "results"
    assert recorded == run, "trained once"
    assert_same_training(recorded, run)
    assert find_run(ONE) == run
    assert fit(ONE, 0, faces=own, verbose=0, results=own_folders / "else").folder == own_folders / "else"


class Tick:
    """A clock by which each epoch takes a minute."""

    now = 0

    def perf_counter(self):
        self.now += 60
        return self.now


def test_a_run_that_was_stopped_by_time_says_so_and_trains_on(faces, own_folders, monkeypatch, capsys):
    recipe = dataclasses.replace(LIVELY, stop_patience_epochs=0, monitor="val_accuracy", final=True)
    monkeypatch.setitem(RECIPES, "lively", recipe)
    whole = fit(recipe, faces=faces, results=own_folders / "whole", verbose=0)
    monkeypatch.setattr(callbacks, "time", Tick())
    short = fit(recipe, faces=faces, verbose=0, minutes=1.5)
    assert (short.stopped, short.stopped_by_time, short.epochs_run) == ("cut short", True, 2)
    assert set(short.metrics) == {"train", "validation"}, "the test split is scored once, at the end"
    assert "stopped after 2 of 6 epochs" in capsys.readouterr().err
    assert fit(recipe, faces=faces, verbose=0, minutes=2) == short, "its time is up"
    longer = fit(recipe, faces=faces, verbose=0, minutes=4)
    assert (longer.stopped, longer.epochs_run, longer.resumed) == ("cut short", 4, 1)
    for _ in range(2):
        again = fit(recipe, faces=faces, verbose=0, minutes=3, force=True)
        assert (again.epochs_run, again.resumed) == (3, 0), "--force begins anew"
    assert again.best_epoch < again.epochs_run, "what is trained on from is not what is kept"
    end = fit(recipe, faces=faces, verbose=0)
    assert (end.stopped, end.epochs_run, "test" in end.metrics) == ("epochs", recipe.epochs, True)
    assert end.metrics == whole.metrics
    assert len(read_runs(own_folders / "build" / "synthetic")) == 1
    assert not list((own_folders / "build").rglob("state.npz"))


@pytest.mark.parametrize("name", ["ferplus-vgg13", "fer-large", "dual-channel"])
def test_what_is_prepared_for_accelerators_trains_three_steps(name, monkeypatch):
    assert find_run(name, folder=Path(__file__).parents[1] / "reports" / "results") is None
    monkeypatch.setattr(trainer, "build", build)
    steps = {"name": f"{name}@steps", "epochs": 1, "batch_size": 4, "warmup_epochs": 0.0, "targets": "labels"}
    recipe = dataclasses.replace(RECIPES[name], **steps, seeds=(0,), final=False)
    run = fit(recipe, faces=make_faces(3, classes=recipe.classes, seed=3), verbose=0)
    assert run.epochs_run == 1
    assert np.isfinite(run.history()[["loss", "val_loss"]]).all(axis=None)


def test_a_run_sees_the_test_split_when_its_recipe_is_marked_final(faces, monkeypatch):
    train, validation = (np.flatnonzero(faces.split == split) for split in ("train", "validation"))
    images = np.array(faces.images)
    images[validation[:5]] = images[train[:5]]
    faces = dataclasses.replace(faces, images=images)
    variant = dataclasses.replace(ONE, name="chosen", flip_view=True)
    monkeypatch.setitem(RECIPES, "chosen", variant)
    before = fit(variant, faces=faces, verbose=0)
    assert before.metrics["validation"]["num_copies"] == 5, "duplicates of training images are counted"
    chosen = dataclasses.replace(variant, final=True)
    assert "test" not in fit(chosen, faces=faces, verbose=0).metrics, "final as it stands among the recipes only"
    monkeypatch.setitem(RECIPES, "chosen", chosen)
    after = fit(chosen, faces=faces, verbose=0)
    assert set(after.metrics) - set(before.metrics) == {"test", "test_flip"}
    assert {name: after.metrics[name] for name in before.metrics} == before.metrics
    pd.testing.assert_frame_equal(after.history(), before.history())
    images, labels = faces["test"]
    network = load_network(after)
    views = [network.predict(view, verbose=0) for view in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(after.predictions("test").probabilities, views[0], atol=2e-3)
    np.testing.assert_allclose(after.predictions("test_flip").probabilities, np.mean(views, axis=0), atol=2e-3)
    np.testing.assert_array_equal(after.predictions("test").labels, labels)
    assert after.scores["views"] == "single"
    assert (after.metrics["test_flip"]["views"], after.metrics["test_flip"]["split"]) == ("flip", "test")
    assert fit(chosen, faces=faces, verbose=0) == after


def test_all_but_the_head_is_copied_from_a_network_for_other_classes():
    for name in ("capstone-model-1", "fer-small", "vgg16"):
        keras.utils.set_random_seed(0)
        ours, theirs = build(name, 4, weights=None), build(name, 7, weights=None)
        head, pair = ours.layers[-1].get_weights(), [trainer.backbone_layers(each) for each in (ours, theirs)]
        trainer.copy_weights(*pair)
        for layer, other in zip(*pair, strict=True):
            assert all(map(np.array_equal, layer.get_weights(), other.get_weights()))
        assert all(map(np.array_equal, ours.layers[-1].get_weights(), head))
        with pytest.raises(ValueError, match="the same backbone"):
            trainer.copy_weights(pair[0], trainer.backbone_layers(build("capstone-model-2", 7)))


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
    first = dataclasses.replace(ONE, name="first", train_fraction=0.5)
    monkeypatch.setitem(RECIPES, "first", first)
    second = dataclasses.replace(first, name="second", start_recipe="first", learning_rate=1e-30)
    run = fit(second, faces=dataclasses.replace(faces, protocol="folders"), verbose=0)
    started, ended = sorted(read_runs(run.folder), key=lambda each: each.recipe_name)
    assert (started.recipe_name, ended.recipe_name) == ("first@folders", "second@folders")
    assert "this is second@folders" in capsys.readouterr().err
    assert run.data["num_images"]["train"] == (faces.split == "train").sum() // 2, "a share is taken once"
    assert started.data == run.data
    pair = (load_network(each).trainable_variables for each in (run, started))
    for value, expected in zip(*pair, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-25)  # the rate moves a zero by 1e-30


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"data": "fer7"}, {}, "expects the classes"),
        ({"targets": "votes"}, {}, "FER"),
        ({}, {"protocol": "course"}, "is for the official split"),
        ({}, {"precision": "float64"}, "`precision` must be one of float32, mixed_bfloat16"),
        ({}, {"batch_size": 3}, r"`batch_size` is for a keras\.Model"),
    ],
)
def test_what_does_not_fit_is_refused(changes, options, message, faces, own_folders):
    faces = dataclasses.replace(faces, protocol=options.pop("protocol", faces.protocol))
    with pytest.raises(ValueError, match=message):
        fit(dataclasses.replace(LIVELY, **changes), faces=faces, verbose=0, **options)
    assert not (own_folders / "results").exists()


def test_a_network_learns_from_the_probabilities_of_its_teachers(faces, monkeypatch):
    teacher = dataclasses.replace(RECIPES["capstone-model-1"], name="teacher", epochs=1, final=False)
    monkeypatch.setitem(RECIPES, "teacher", teacher)
    teachers = tuple(("teacher", teacher.digest, seed) for seed in (0, 1))
    how = {"teachers": teachers, "teacher_share": 0.25, "teacher_temperature": 2.0}
    student = dataclasses.replace(teacher, name="student", **how)
    run = fit(student, faces=faces, verbose=0)
    assert {found.recipe_name for found in read_runs(run.folder)} == {"teacher", "student"}
    networks = [load_network(fit(teacher, seed, faces=faces, verbose=0)) for seed in (0, 1)]
    views = (faces.images, faces.images[:, :, ::-1])
    mean = np.mean([network.predict(view, verbose=0) for network in networks for view in views], axis=0)
    softened = np.sqrt(mean) / np.sqrt(mean).sum(axis=1, keepdims=True)
    targets, none = trainer.learn_from_teachers(trainer.Job(student, faces=faces, announce=False), True)
    train, hard = faces.split == "train", np.eye(4)[faces.labels]
    np.testing.assert_allclose(targets[train], (0.75 * hard + 0.25 * softened)[train], atol=1e-4)
    assert not none
    assert run.recipe_digest != dataclasses.replace(student, teachers=teachers[:1]).digest
    beside = fit(dataclasses.replace(student, name="beside", teachers_see="changes"), faces=faces, verbose=0)
    assert beside.history().loss[0] != run.history().loss[0], "for augmented images they answer otherwise"
    monkeypatch.setattr(trainer, "split_backbone", lambda recipe, network: (None, network.layers[-1]))
    monkeypatch.setattr(trainer, "backbone_features", lambda *_, **__: None)
    with pytest.raises(ValueError, match=r"Teachers see images\. Received: features"):
        fit(dataclasses.replace(student, name="features", teachers_see="changes"), faces=faces, verbose=0)


def test_the_cosine_warms_up_and_ends_at_zero():
    rate = make_optimizer(dataclasses.replace(SMOOTH, learning_rate=0.4, epochs=10, warmup_epochs=2.0), 5)
    values = [float(rate._learning_rate(step)) for step in (0, 5, 10, 30, 50)]
    assert values == pytest.approx([0, 0.2, 0.4, 0.2, 0], abs=1e-6)


def test_weight_decay_spares_biases_and_normalisation():
    constant = {"schedule": "constant", "warmup_epochs": 0.0, "weight_decay": 0.5, "ema_decay": 0.0}
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = make_optimizer(dataclasses.replace(SMOOTH, learning_rate=0.1, **constant), 1)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    found = {v.name: float(np.mean(v)) for v in model.trainable_variables}
    assert found == {"kernel": pytest.approx(0.95), "bias": 1, "gamma": 1, "beta": 1}


def test_the_averaged_weights_are_what_is_validated_and_kept(faces):
    """Recomputed by hand: the exponential average of the weights after each step."""
    recipe = dataclasses.replace(SMOOTH, epochs=1, schedule="constant", warmup_epochs=0.0, batch_size=8, ema_decay=0.7)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([np.array(keras.ops.convert_to_numpy(v)) for v in self.model.network.trainable_variables])

    run = fit(recipe, faces=faces, verbose=0, callbacks=[Watch()])
    average = seen[0]
    for values in seen[1:]:
        average = [0.7 * a + 0.3 * v for a, v in zip(average, values, strict=True)]
    kept = [keras.ops.convert_to_numpy(v) for v in load_network(run).trainable_variables]
    for mine, expected in zip(kept, average, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-5)
    assert max(np.abs(k - v).max() for k, v in zip(kept, seen[-1], strict=True)) > 1e-4


def test_a_recipe_trains_in_its_precision_whatever_the_global_policy_says(faces, own_folders):
    plain = fit(ONE, faces=faces, results=own_folders / "plain", verbose=0)
    for policy in ("mixed_float16", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            run = fit(ONE, faces=faces, results=own_folders / policy, verbose=0, force=True)
            assert keras.config.dtype_policy().name == policy
        finally:
            keras.config.set_dtype_policy("float32")
        assert_same_training(run, plain)


@pytest.mark.parametrize(
    ("cores", "threads", "words"),
    [(8, None, "cpu, 8 cores"), (8, "2", "cpu, 2 cores"), (1, "4", "cpu, 1 core"), (8, "x", "cpu, 8 cores")],
)
def test_a_record_names_the_cores_that_were_used(cores, threads, words, monkeypatch):
    for module in (ray_cluster, scoring):
        monkeypatch.setattr(module, "num_cores", lambda: cores)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads or "")
    assert scoring.environment()["device"] == words
