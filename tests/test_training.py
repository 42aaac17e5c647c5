"""`fit` with recipes: what it trains, remembers, resumes and records."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest

from fer_keras import paths, ray_cluster
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4, FER7
from fer_keras.models import build
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
    monitor="val_accuracy",
)  # fmt: skip


@pytest.fixture(scope="module")
def faces():
    return make_faces(20, classes=FER4, seed=1)


class Kill(keras.callbacks.Callback):
    """Ends the work as a kill would, at the end of an epoch or in one of its batches."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.epoch, self.batch = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == (self.epoch, self.batch):
            raise KeyboardInterrupt


def state_of(run):
    return run_folder(run.run, run.data["fingerprint"]) / "state.npz"


def assert_same_training(one, other):
    """Check that two runs have the same record, history, predictions and weights."""
    assert json.loads(one.to_json())["metrics"] == json.loads(other.to_json())["metrics"]
    assert (one.epochs_run, one.best_epoch, one.stopped) == (other.epochs_run, other.best_epoch, other.stopped)
    pd.testing.assert_frame_equal(one.history().drop(columns="seconds"), other.history().drop(columns="seconds"))
    for mine, theirs in zip(one.predictions("validation"), other.predictions("validation"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("recipe", [LIVELY, SMOOTH], ids=lambda recipe: recipe.name)
def test_a_resumed_run_is_the_unbroken_one(recipe, faces, own_folders, monkeypatch):
    unbroken = fit(recipe, faces=faces, results=own_folders / "unbroken", verbose=0)
    expected = load_network(unbroken).get_weights()
    monkeypatch.setenv("FER_KERAS_BUILD", str(own_folders / "other"))
    for kill in (Kill(0), Kill(1, batch=2), Kill(2), Kill(3)):
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, faces=faces, verbose=0, callbacks=[kill])
    resumed = fit(recipe, faces=faces, verbose=0)
    assert resumed.resumed == 3, "the first kill came before anything was saved"
    assert_same_training(resumed, unbroken)
    for mine, theirs in zip(load_network(resumed).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    watched = pd.read_csv(state_of(resumed).with_name("history.csv"))
    assert list(watched.epoch) == list(range(resumed.epochs_run))
    np.testing.assert_allclose(watched.val_loss, resumed.history().val_loss, rtol=1e-4)
    assert not state_of(resumed).exists()


SCRIPT = """
import dataclasses, os, signal, sys
from fer_keras import paths
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.training import callbacks, fit
moment = sys.argv[2]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
savez, calls = callbacks.np.savez, []
def half_a_state(file, **arrays):
    calls.append(0)
    if len(calls) == 2:
        file.write(b"PK half of a state"); file.flush(); die()
    savez(file, **arrays)
if moment == "state":
    callbacks.np.savez = half_a_state
if moment == "record":
    write = paths.write_whole
    def die_before_the_record(path, content):
        die() if path.suffix == ".json" else write(path, content)
    paths.write_whole = die_before_the_record
recipe = dataclasses.replace(
    RECIPES["capstone-model-1"], name="killed", batch_size=8, epochs=4, rotation_degrees=9.0, final=False
)
fit(recipe, 3, faces=make_faces(30, classes=FER4, seed=1), results=sys.argv[1], verbose=2)
"""


def train_in_a_process(folder, moment="", *, kill_after_lines=None):
    """Run SCRIPT; return its exit status."""
    environment = {**os.environ, "FER_KERAS_BUILD": str(folder / "build"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder / "results"), moment]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "env": environment}
    with subprocess.Popen(command, **options) as process:
        lines = 0
        for line in process.stdout:
            lines += "val_accuracy" in line
            if lines == kill_after_lines:
                time.sleep(0.1)
                process.send_signal(signal.SIGKILL)
                break
        return process.wait()


def test_kill_minus_nine_at_any_moment_and_the_same_command_give_the_unbroken_record(tmp_path):
    """Processes of their own, killed by the kernel: in an epoch, in the writing of the state and of the record."""
    assert train_in_a_process(tmp_path / "unbroken") == 0
    unbroken = find_run("killed", 3, folder=tmp_path / "unbroken" / "results")
    killed = tmp_path / "killed"
    assert train_in_a_process(killed, kill_after_lines=2) == -signal.SIGKILL
    for moment in ("state", "record"):
        assert train_in_a_process(killed, moment) == -signal.SIGKILL, moment
        assert find_run("killed", 3, folder=killed / "results") is None, moment
    assert train_in_a_process(killed) == 0
    run = find_run("killed", 3, folder=killed / "results")
    assert run.resumed > 0
    assert_same_training(run, unbroken)
    assert not [path for path in killed.rglob("*") if path.name.endswith(".tmp")], "leftovers are swept"
    assert not list(killed.rglob("state.npz"))


def test_a_state_that_is_not_whole_is_named_and_force_begins_anew(faces, own_folders):
    with pytest.raises(KeyboardInterrupt):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Kill(2)])
    path = next(own_folders.rglob("state.npz"))
    memory, groups = load_state(path)
    save_state(path, memory | {"version": None}, groups)  # as before there were versions
    with pytest.raises(ValueError, match="that another version of fer_keras began"):
        fit(LIVELY, faces=faces, verbose=0)
    for content in (b"", b"something else", path.read_bytes()[:-1000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.npz: Expected the state of a training.*--force"):
            fit(LIVELY, faces=faces, verbose=0)
    assert fit(LIVELY, faces=faces, verbose=0, force=True).resumed == 0


def test_force_begins_anew_once_and_is_resumed_like_any_run(faces, own_folders):
    with pytest.raises(KeyboardInterrupt):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Kill(2)])
    with pytest.raises(KeyboardInterrupt):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Kill(3)], force=True)
    run = fit(LIVELY, faces=faces, verbose=0, force=True)
    assert run.resumed == 1
    again = fit(LIVELY, faces=faces, verbose=0, force=True)
    assert again.resumed == 0
    assert_same_training(run, again)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_whole_epoch(faces, own_folders):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.network.layers[-1].bias.assign(np.full(4, np.nan))

    with pytest.raises(ValueError, match=r"Expected a finite loss. Received: loss nan in epoch 3.*2 whole epochs"):
        fit(LIVELY, faces=faces, verbose=0, callbacks=[Spoil()])
    assert len(load_state(next(own_folders.rglob("state.npz")))[0]["history"]) == 2
    assert not read_runs(own_folders / "build" / "synthetic")


def test_each_fall_of_the_validation_loss_leaves_a_network_that_scores_so(own_folders, faces):
    recipe = dataclasses.replace(SMOOTH, name="checkpointed", epochs=4)
    checkpoints = Checkpoints(own_folders / "checkpoints", "checkpointed")
    run = fit(recipe, faces=faces, callbacks=[checkpoints], verbose=0, precision="mixed_bfloat16")
    history = run.history()
    falls = history[history.val_loss < history.val_loss.cummin().shift(fill_value=np.inf)]
    written = sorted((own_folders / "checkpoints").iterdir())
    expected = [f"checkpointed-{row.epoch:03d}-{row.val_accuracy:.4f}.keras" for row in falls.itertuples()]
    assert [path.name for path in written] == expected
    images, labels = faces["validation"]
    smoothed = keras.losses.CategoricalCrossentropy(label_smoothing=SMOOTH.label_smoothing)
    for path, row in zip(written, falls.itertuples(), strict=True):
        network = keras.saving.load_model(path, compile=False)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
        probabilities = network.predict(images, verbose=0)
        loss = float(smoothed(np.eye(4)[labels], probabilities))
        assert loss == pytest.approx(row.val_loss, rel=2e-3), "averaged weights, as they were validated"
        right = probabilities.argmax(axis=1) == labels
        # Scored in bfloat16 while training: an image or two may lie at a tie.
        assert right.mean() == pytest.approx(row.val_accuracy, abs=2.5 / len(labels))


def test_precision_and_recall_of_each_epoch_are_recorded_and_may_be_monitored(own_folders, faces):
    recipe = dataclasses.replace(SMOOTH, name="monitored", epochs=3, monitor="val_recall")
    run = fit(recipe, faces=faces, verbose=0)
    history = run.history()
    assert run.best_epoch == history.epoch[history.val_recall.idxmax()]
    recalls = [scores["recall"] for scores in run.metrics["validation"]["per_class"].values()]
    assert history.val_recall.max() == pytest.approx(np.mean(recalls), abs=1e-4)
    assert history[["precision", "recall", "val_precision"]].notna().all(axis=None)


def test_the_learning_rate_falls_and_training_stops_on_a_plateau(faces, own_folders):
    """A rate near zero is a plateau for certain: reduction after 1, 2, ... epochs without gain, stop after 4."""
    run = fit(dataclasses.replace(LIVELY, learning_rate=1e-12, epochs=20), faces=faces, verbose=0)
    rates = run.history().learning_rate
    assert run.stopped == "early stop"
    assert len(rates) < 20
    assert rates.iloc[-1] < rates[0] * 0.2**2 * 1.01


JAX = """
import dataclasses, json, sys
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.recipes import RECIPES
from fer_keras.training import fit
recipe = dataclasses.replace(
    RECIPES["emovision-baseline"], name="on-jax", weights=sys.argv[1], epochs=2, optimizer="sgd", learning_rate=0.01,
    rotation_degrees=10.0, flip=True, brightness=(0.7, 1.3), erase_probability=0.5, mixup_alpha=0.3, ema_decay=0.5,
)
run = fit(recipe, 0, faces=make_faces(12, seed=1), results=sys.argv[2], verbose=0)
print(json.dumps([run.versions["backend"], run.history().drop(columns="seconds").values.tolist()]))
"""


def test_the_same_recipe_trains_alike_on_jax(tmp_path):
    """From the same weights, through augmentation, mixup and averaging, both backends walk the same way."""
    pytest.importorskip("jax")
    keras.utils.set_random_seed(0)
    build("emovision-baseline", 7).save(tmp_path / "start.keras")
    answers = {}
    for backend in ("tensorflow", "jax"):
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "FER_KERAS_BUILD": str(tmp_path)}
        command = [sys.executable, "-c", JAX, str(tmp_path / "start.keras"), str(tmp_path / backend)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        answers[backend] = json.loads(done.stdout.splitlines()[-1])
    assert answers["jax"][0] == "jax"
    np.testing.assert_allclose(answers["jax"][1], answers["tensorflow"][1], rtol=2e-3, atol=2e-3)


def test_a_run_is_recorded_once_and_read_afterwards(faces, own_folders, capsys):
    recipe = dataclasses.replace(RECIPES["capstone-model-1"], epochs=1)
    run = fit(recipe, faces=faces, verbose=0)
    assert run.folder == own_folders / "build" / "synthetic", "records of synthetic faces lie apart"
    assert run.versions["backend"] == keras.backend.backend()
    assert (run.epochs_run, run.num_parameters) == (1, 605_572)
    assert set(run.metrics) == {"train", "validation"}, "with fewer epochs it is a variant, and no variant is final"
    assert "read the record" not in capsys.readouterr().err

    assert fit(recipe, faces=faces, verbose=0) == run
    message = capsys.readouterr().err
    assert "read the record of capstone-model-1" in message
    assert "--force" in message
    assert "is recorded on data" not in message
    assert fit(recipe, faces=make_faces(20, classes=FER4, seed=2), verbose=0) == run
    assert "is recorded on data" in capsys.readouterr().err

    images, labels = faces["validation"]
    accuracy = (load_network(run).predict(images, verbose=0).argmax(axis=1) == labels).mean()
    assert accuracy == pytest.approx(run.metrics["validation"]["accuracy"], abs=1.5 / len(labels)), "one may be a tie"


def test_a_builder_that_has_changed_under_its_name_is_said(faces, own_folders, monkeypatch, capsys):
    recipe = dataclasses.replace(LIVELY, epochs=1)
    fit(recipe, faces=faces, verbose=0)
    other = build("capstone-model-2", 4)
    monkeypatch.setattr(trainer, "build", lambda *args, **options: other)
    fit(recipe, faces=faces, verbose=0)
    assert "the builder has changed" in capsys.readouterr().err


def test_ones_own_tries_go_to_build_and_are_recorded_when_asked(faces, own_folders):
    own = dataclasses.replace(faces, protocol="official")
    recipe = dataclasses.replace(LIVELY, epochs=1)
    run = fit(recipe, faces=own, verbose=0)
    assert run.folder == own_folders / "build" / "results"
    assert not (own_folders / "results").exists()
    recorded = fit(recipe, faces=own, verbose=0, results=paths.results())
    assert recorded.folder == own_folders / "results"
    assert recorded == run, "trained once"
    assert_same_training(recorded, run)
    assert find_run(recipe) == run
    assert fit(recipe, 0, faces=own, verbose=0, results=own_folders / "else").folder == own_folders / "else"


def test_epochs_make_a_variant(faces, own_folders):
    run = fit(LIVELY, faces=faces, epochs=2, verbose=0)
    assert (run.recipe_name, run.epochs_run) == ("lively@epochs-2", 2)
    with pytest.raises(ValueError, match=r"`batch_size` is for a keras\.Model"):
        fit(LIVELY, faces=faces, batch_size=3)


class Tick:
    """A clock by which each epoch takes a minute."""

    def __init__(self):
        self.now = 0

    def perf_counter(self):
        self.now += 60
        return self.now


def test_a_run_that_was_stopped_by_time_says_so_and_trains_on(faces, own_folders, monkeypatch, capsys):
    recipe = dataclasses.replace(LIVELY, stop_patience_epochs=0, monitor="val_accuracy")
    monkeypatch.setitem(RECIPES, "lively", dataclasses.replace(recipe, final=True))
    recipe = RECIPES["lively"]
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
def test_what_is_prepared_for_accelerators_trains_three_steps(name, own_folders):
    assert find_run(name) is None
    steps = {"name": f"{name}@steps", "epochs": 1, "batch_size": 4, "warmup_epochs": 0.0, "targets": "labels"}
    recipe = dataclasses.replace(RECIPES[name], **steps, seeds=(0,), final=False)
    run = fit(recipe, faces=make_faces(3, classes=recipe.classes, seed=3), verbose=0)
    assert run.epochs_run == 1
    assert np.isfinite(run.history()[["loss", "val_loss"]]).all(axis=None)


def test_a_run_sees_the_test_split_when_its_recipe_is_marked_final(faces, own_folders, monkeypatch):
    variant = dataclasses.replace(LIVELY, name="chosen", epochs=1, flip_view=True, final=False)
    monkeypatch.setitem(RECIPES, "chosen", variant)
    before = fit(variant, faces=faces, verbose=0)
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


def test_duplicates_of_training_images_are_counted(faces, own_folders):
    train, validation = (np.flatnonzero(faces.split == split) for split in ("train", "validation"))
    images = np.array(faces.images)
    images[validation[:5]] = images[train[:5]]
    run = fit(dataclasses.replace(LIVELY, epochs=1), faces=dataclasses.replace(faces, images=images), verbose=0)
    assert run.metrics["validation"]["num_copies"] == 5


def test_fine_tuning_starts_from_the_head_that_was_trained(own_folders, monkeypatch):
    faces = make_faces(4, classes=FER4)
    head = dataclasses.replace(RECIPES["vgg16"], name="head", weights=None, epochs=1, final=False)
    tuned = dataclasses.replace(head, name="head@tuned", start_recipe="head", trainable_from="block5_conv3")
    monkeypatch.setitem(RECIPES, "head", head)
    run = fit(tuned, faces=faces, verbose=0)
    before = load_network(find_run(head, folder=run.folder)).get_layer("vgg16")
    after = load_network(run).get_layer("vgg16")
    for layer in filter(lambda layer: layer.weights, before.layers):
        same = all(map(np.array_equal, layer.get_weights(), after.get_layer(layer.name).get_weights()))
        assert same == (layer.name != "block5_conv3")


@pytest.mark.parametrize("name", ["capstone-model-1", "fer-small", "vgg16"])
def test_all_but_the_head_is_copied_from_a_network_for_other_classes(name):
    keras.utils.set_random_seed(0)
    ours, theirs = build(name, 4, weights=None), build(name, 7, weights=None)
    head = ours.layers[-1].get_weights()
    trainer.copy_weights(trainer.backbone_layers(ours), trainer.backbone_layers(theirs))
    for layer, other in zip(trainer.backbone_layers(ours), trainer.backbone_layers(theirs), strict=True):
        assert all(map(np.array_equal, layer.get_weights(), other.get_weights()))
    assert all(map(np.array_equal, ours.layers[-1].get_weights(), head))
    with pytest.raises(ValueError, match="the same backbone"):
        trainer.copy_weights(trainer.backbone_layers(ours), trainer.backbone_layers(build("capstone-model-2", 7)))


def test_a_recipe_starts_from_one_of_other_classes(own_folders, monkeypatch):
    seven = dataclasses.replace(RECIPES["capstone-model-1"], name="seven", data="fer7", epochs=1, final=False)
    four = dataclasses.replace(seven, name="four", data="fer4", start_recipe="seven", learning_rate=1e-30)
    monkeypatch.setitem(RECIPES, "seven", seven)
    synthetic = {"fer7": make_faces(12, classes=FER7, seed=1), "fer4": make_faces(12, classes=FER4, seed=1)}
    monkeypatch.setattr(trainer, "load_recipe_data", lambda recipe, *_, **__: synthetic[recipe.data])
    monkeypatch.setenv("FER_KERAS_DATA", "synthetic")
    run, started = (fit(each, results=own_folders / "results", verbose=0) for each in (four, seven))
    assert run.classes == FER4
    networks = [trainer.backbone_layers(load_network(each)) for each in (run, started)]
    for layer, other in zip(*networks, strict=True):
        for value, expected in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-25)  # the rate moves a zero by 1e-30


@pytest.mark.parametrize("model", ["fer-small", "capstone-model-2"])
def test_a_frozen_backbone_keeps_its_weights_and_the_head_learns(own_folders, monkeypatch, model):
    start = dataclasses.replace(RECIPES["fer-small@four"], name="start", model=model, epochs=1, warmup_epochs=0.0)
    frozen = dataclasses.replace(start, name="frozen", start_recipe="start", frozen_body=True)
    monkeypatch.setitem(RECIPES, "start", start)
    faces = make_faces(12, classes=FER4, seed=1)
    before, after = (load_network(fit(recipe, faces=faces, verbose=0)) for recipe in (start, frozen))
    for layer, other in zip(trainer.backbone_layers(after), trainer.backbone_layers(before), strict=True):
        assert all(map(np.array_equal, layer.get_weights(), other.get_weights()))
    assert not np.array_equal(after.layers[-1].get_weights()[0], before.layers[-1].get_weights()[0])


def test_a_share_of_the_training_images_is_taken_once(own_folders, monkeypatch, faces):
    start = dataclasses.replace(LIVELY, name="start", epochs=1, train_fraction=0.5)
    end = dataclasses.replace(start, name="end", start_recipe="start")
    monkeypatch.setitem(RECIPES, "start", start)
    run = fit(end, faces=faces, verbose=0)
    assert run.data["num_images"]["train"] == (faces.split == "train").sum() // 2
    assert fit(start, faces=faces, verbose=0).data == run.data


def test_faces_that_do_not_fit_are_refused(faces, own_folders):
    with pytest.raises(ValueError, match="expects the classes"):
        fit(dataclasses.replace(LIVELY, data="fer7"), faces=faces, verbose=0)
    with pytest.raises(ValueError, match="FER"):
        fit(dataclasses.replace(LIVELY, targets="votes"), faces=faces, verbose=0)
    with pytest.raises(ValueError, match="is for the official split"):
        fit(LIVELY, faces=dataclasses.replace(faces, protocol="course"), verbose=0)
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, mixed_bfloat16"):
        fit(LIVELY, faces=faces, precision="float64")
    assert not (own_folders / "results").exists()


def test_a_variant_starts_from_the_same_variant_of_its_start(faces, own_folders, monkeypatch, capsys):
    short = dataclasses.replace(LIVELY, epochs=1)
    monkeypatch.setitem(RECIPES, "lively", short)
    second = dataclasses.replace(short, name="second", start_recipe="lively")
    run = fit(second, faces=dataclasses.replace(faces, protocol="folders"), verbose=0)
    assert sorted(found.recipe_name for found in read_runs(run.folder)) == ["lively@folders", "second@folders"]
    assert "this is second@folders" in capsys.readouterr().err


def test_a_recipe_may_tell_one_class_from_the_rest(faces, own_folders):
    run = fit(dataclasses.replace(RECIPES["one-vs-rest-sad"], epochs=1, batch_size=16), faces=faces, verbose=0)
    assert run.classes == ("rest", "sad")
    labels = faces["validation"][1]
    assert run.metrics["validation"]["per_class"]["sad"]["support"] == (labels == FER4.index("sad")).sum()
    assert load_network(run).output_shape == (None, 2)


def test_a_network_learns_from_the_probabilities_of_its_teachers(faces, own_folders, monkeypatch):
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
    values = [float(rate._learning_rate(step)) for step in range(51)]
    assert values[0] == 0
    assert values[10] == pytest.approx(0.4)
    assert [values[5], values[30]] == pytest.approx([0.2, 0.2], abs=1e-6)
    assert values[50] == pytest.approx(0, abs=1e-6)


def test_weight_decay_spares_biases_and_normalisation():
    recipe = dataclasses.replace(
        SMOOTH, learning_rate=0.1, schedule="constant", warmup_epochs=0.0, weight_decay=0.5, ema_decay=0.0
    )
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = make_optimizer(recipe, 1)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    found = {v.name: float(np.mean(v)) for v in model.trainable_variables}
    assert found == {"kernel": pytest.approx(0.95), "bias": 1, "gamma": 1, "beta": 1}


def test_the_averaged_weights_are_what_is_validated_and_kept(faces, own_folders):
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


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_recipe_trains_in_its_precision_whatever_the_global_policy_says(policy, faces, own_folders):
    recipe = dataclasses.replace(LIVELY, epochs=1)
    plain = fit(recipe, faces=faces, results=own_folders / "plain", verbose=0)
    keras.config.set_dtype_policy(policy)
    try:
        run = fit(recipe, faces=faces, results=own_folders / policy, verbose=0, force=True)
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")
    assert_same_training(run, plain)


def test_tensorboard_gets_the_epochs(faces, own_folders):
    board = keras.callbacks.TensorBoard(str(own_folders / "board"), profile_batch=0)
    fit(dataclasses.replace(LIVELY, epochs=2), faces=faces, verbose=0, callbacks=[board])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for writer in ("train", "validation"):
        found = EventAccumulator(str(own_folders / "board" / writer), size_guidance={"tensors": 0})
        found.Reload()
        assert [event.step for event in found.Tensors("epoch_loss")] == [0, 1]


@pytest.mark.parametrize(
    ("cores", "threads", "words"),
    [(8, None, "cpu, 8 cores"), (8, "2", "cpu, 2 cores"), (1, "4", "cpu, 1 core"), (8, "x", "cpu, 8 cores")],
)
def test_a_record_names_the_cores_that_were_used(cores, threads, words, monkeypatch):
    monkeypatch.setattr(ray_cluster, "num_cores", lambda: cores)
    monkeypatch.setattr(scoring, "num_cores", lambda: cores)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    assert scoring.environment()["device"] == words
