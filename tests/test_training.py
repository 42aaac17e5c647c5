"""The trainer: what it learns from, what it remembers, what it records."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from fer_keras import machines, recipes
from fer_keras.data.faces import four_fifths
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.models import build
from fer_keras.recipes import RECIPES
from fer_keras.results import find_run, read_runs
from fer_keras.training import fit, load_network, record, session, trainer
from fer_keras.training.callbacks import averaged
from fer_keras.training.data import make_targets
from fer_keras.training.optimizers import make_optimizer
from fer_keras.training.session import Session, class_weights
from fer_keras.training.trainee import augment, epoch_inputs

# Everything that has a memory or a random state: dropout, augmentation, Adam, both callbacks.
LIVELY = dataclasses.replace(
    RECIPES["capstone-model-1"],
    name="lively",
    batch_size=16,
    epochs=6,
    learning_rate=0.02,
    reduce_patience_epochs=1,
    stop_patience_epochs=4,
    rotation_degrees=10.0,
    erase_probability=0.5,
    mixup_alpha=0.2,
)
# The other half: momentum, schedule, averaged weights, smoothing, class weights.
SMOOTH = dataclasses.replace(
    LIVELY,
    name="smooth",
    optimizer="sgd",
    schedule="cosine",
    warmup_epochs=1.0,
    reduce_patience_epochs=0,
    stop_patience_epochs=0,
    ema_decay=0.9,
    weight_decay=1e-3,
    label_smoothing=0.1,
    class_weights=True,
    monitor="val_accuracy",
)


@pytest.fixture(scope="module")
def faces():
    return drawn_faces(20, classes=FER4, seed=1)


def session_of(recipe, faces, folder, seed=0):
    keras.utils.set_random_seed(seed)
    network = build(recipe.model, len(recipe.classes))
    return Session(recipe, network, faces, make_targets(recipe, faces), seed=seed, folder=folder)


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


class Kill(keras.callbacks.Callback):
    """Ends the process's work as a kill would: between a chosen epoch's training and its being saved."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("recipe", [LIVELY, SMOOTH], ids=lambda recipe: recipe.name)
def test_a_resumed_session_is_the_unbroken_one(recipe, faces, tmp_path):
    unbroken = session_of(recipe, faces, tmp_path / "unbroken")
    ended = unbroken.train(verbose=0)

    for epoch in (0, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            session_of(recipe, faces, tmp_path / "broken").train(verbose=0, callbacks=[Kill(epoch)])
    resumed = session_of(recipe, faces, tmp_path / "broken")
    assert resumed.train(verbose=0) == ended

    assert resumed.resumed == 2  # The first kill came before anything was saved.
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    assert resumed.best == unbroken.best
    assert list(pd.read_csv(tmp_path / "broken" / "history.csv").epoch) == list(range(1, len(unbroken.history) + 1))
    for mine, theirs in zip(resumed.network.get_weights(), unbroken.network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(resumed.predict("validation"), unbroken.predict("validation"))


def test_each_fall_of_the_validation_loss_leaves_a_network_that_scores_so(own_folders, faces):
    recipe = dataclasses.replace(SMOOTH, name="checkpointed", epochs=4)
    run = fit(recipe, faces=faces, checkpoints=own_folders / "checkpoints", verbose=0, precision="mixed_bfloat16")
    history = run.history()
    falls = history[history.val_loss < history.val_loss.cummin().shift(fill_value=np.inf)]
    written = sorted((own_folders / "checkpoints").iterdir())
    expected = [f"checkpointed-{row.epoch:03d}-{row.val_accuracy:.4f}.keras" for row in falls.itertuples()]
    assert [path.name for path in written] == expected
    images, labels = faces["validation"]
    for path, row in zip(written, falls.itertuples(), strict=True):
        network = keras.saving.load_model(path, compile=False)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
        right = network.predict(images, verbose=0).argmax(axis=1) == labels
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


def test_the_learning_rate_falls_and_training_stops_on_a_plateau(faces, tmp_path):
    """A rate of zero is a plateau for certain: reduction after 1, 2, ... epochs without gain, stop after 4."""
    recipe = dataclasses.replace(LIVELY, learning_rate=1e-12, epochs=20)
    session = session_of(recipe, faces, tmp_path)
    assert session.train(verbose=0) == "early stop"
    rates = [row["learning_rate"] for row in session.history]
    assert len(rates) < 20
    assert rates[-1] < rates[0] * 0.2**2 * 1.01


SCRIPT = """
import dataclasses, sys
from fer_keras.data.synthetic import drawn_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.training import fit
recipe = dataclasses.replace(RECIPES["capstone-model-1"], name="killed", batch_size=8, epochs=8, rotation_degrees=9.0)
fit(recipe, 3, faces=drawn_faces(60, classes=FER4, seed=1), results=sys.argv[1], verbose=2)
"""


def train_in_a_process(folder, *, kill_after_epochs=None):
    """Run SCRIPT; return its exit status. With `kill_after_epochs`, kill it in the middle of the epoch that follows."""
    environment = {**os.environ, "FER_KERAS_BUILD": str(folder / "build"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder / "results")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        epochs_seen = 0
        for line in process.stdout:
            epochs_seen += line.startswith("val_accuracy")
            if epochs_seen == kill_after_epochs:
                time.sleep(0.1)
                process.send_signal(signal.SIGKILL)
                break
        return process.wait()


def test_kill_minus_nine_and_the_same_command_give_the_unbroken_record(tmp_path):
    """The real thing: a process of its own, killed by the kernel in the middle of an epoch."""
    assert train_in_a_process(tmp_path / "unbroken") == 0
    assert train_in_a_process(tmp_path / "killed", kill_after_epochs=2) == -signal.SIGKILL
    assert not list((tmp_path / "killed" / "results").rglob("*.json"))
    assert train_in_a_process(tmp_path / "killed") == 0

    files = [next((tmp_path / name).rglob("runs/*.json")) for name in ("unbroken", "killed")]
    unbroken, killed = (json.loads(file.read_text()) for file in files)
    assert killed.pop("resumed") == 1
    assert unbroken.pop("resumed") == 0
    for each in (unbroken, killed):
        del each["seconds"], each["seconds_per_epoch"]
    assert killed == unbroken
    unbroken, killed = (find_run("killed", 3, folder=tmp_path / name / "results") for name in ("unbroken", "killed"))
    for mine, expected in zip(killed.predictions("validation"), unbroken.predictions("validation"), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert list(killed.history().val_loss) == list(unbroken.history().val_loss)


JAX = """
import dataclasses, json, sys
from fer_keras.data.synthetic import drawn_faces
from fer_keras.recipes import RECIPES
from fer_keras.training import fit
recipe = dataclasses.replace(
    RECIPES["emovision-baseline"], name="on-jax", weights=sys.argv[1], epochs=2, optimizer="sgd", learning_rate=0.01,
    rotation_degrees=10.0, flip=True, brightness=(0.7, 1.3), erase_probability=0.5, mixup_alpha=0.3, ema_decay=0.5,
)
run = fit(recipe, 0, faces=drawn_faces(12, seed=1), results=sys.argv[2], verbose=0)
print(json.dumps([run.versions["backend"], run.history().drop(columns="seconds").values.tolist()]))
"""


def test_the_same_recipe_trains_alike_on_jax(tmp_path):
    """From the same values, through augmentation, mixup and averaging, both backends walk the same way."""
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
    assert run.folder == own_folders / "build" / "results"  # Drawn faces never enter the results.
    assert run.versions["backend"] == keras.backend.backend()
    assert run.epochs_run == 1
    assert run.num_parameters == 605_572
    assert set(run.metrics) == {"train", "validation"}  # Fewer epochs make it a variant, and a variant is not final.
    assert find_run(recipe, folder=run.folder) == run

    again = fit(recipe, faces=faces, verbose=0)
    assert again == run
    assert "recorded on data" not in capsys.readouterr().err
    assert fit(recipe, faces=drawn_faces(20, classes=FER4, seed=2), verbose=0) == run
    assert "recorded on data" in capsys.readouterr().err

    network = load_network(run)
    x, y = faces["validation"]
    accuracy = (keras.ops.convert_to_numpy(network(x.astype("float32"))).argmax(axis=1) == y).mean()
    assert accuracy == pytest.approx(run.metrics["validation"]["accuracy"], abs=1.5 / len(y)), "one may be a tie"


def test_a_run_that_was_cut_short_says_so_and_goes_on(faces, own_folders, monkeypatch):
    recipe = dataclasses.replace(LIVELY, stop_patience_epochs=0)
    whole = fit(recipe, faces=faces, results=own_folders / "whole", verbose=0)
    ticks = iter(range(0, 10_000, 60))  # each epoch takes a minute
    monkeypatch.setattr(session, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    short = fit(recipe, faces=faces, verbose=0, minutes=2)
    assert (short.stopped, short.stopped_by_time, short.epochs_run) == ("cut short", True, 2)
    assert fit(recipe, faces=faces, verbose=0, minutes=2) == short, "its time is up"
    longer = fit(recipe, faces=faces, verbose=0, minutes=4)
    assert (longer.stopped, longer.epochs_run, longer.resumed) == ("cut short", 4, 1)
    again = fit(recipe, faces=faces, verbose=0, minutes=3, force=True)
    assert (again.epochs_run, again.resumed) == (3, 0), "--force starts anew"
    end = fit(recipe, faces=faces, verbose=0)
    assert (end.stopped, end.epochs_run) == ("epochs", recipe.epochs)
    assert end.metrics == whole.metrics
    assert len(read_runs(own_folders / "build" / "results")) == 1
    assert not list((own_folders / "build").rglob("state.npz"))


@pytest.mark.parametrize("name", ["ferplus-vgg13", "fer-large", "dual-channel"])
def test_what_is_prepared_for_accelerators_trains_three_steps(name, own_folders):
    assert find_run(name) is None
    recipe = RECIPES[name]
    steps = {
        "name": f"{name}@steps",
        "epochs": 1,
        "batch_size": 4,
        "warmup_epochs": 0.0,
        "targets": "labels",
        "seeds": (0,),
    }
    synthetic = drawn_faces(3, classes=recipe.classes, seed=2)
    run = fit(dataclasses.replace(recipe, **steps), faces=synthetic, verbose=0)
    assert run.epochs_run == 1
    assert np.isfinite(run.history()[["loss", "val_loss"]]).all(axis=None)


def test_four_fifths_of_all_rows_are_drawn_with_their_duplicates(faces):
    drawn = four_fifths(faces)
    assert (drawn.split == "validation").sum() == len(faces) // 5
    assert set(drawn.split) == {"train", "validation"}
    assert drawn.protocol == "four-fifths"
    twice = dataclasses.replace(faces, **{name: np.repeat(getattr(faces, name), 2, axis=0)
                                          for name in ("images", "labels", "split", "rows")})  # fmt: skip
    sides = pd.Series(four_fifths(twice).split).groupby(np.arange(len(twice)) // 2).nunique()
    assert (sides == 2).any()


def test_a_run_sees_the_test_split_when_its_recipe_is_marked_final(faces, own_folders, monkeypatch):
    variant = dataclasses.replace(LIVELY, name="chosen", epochs=1, flip_view=True, final=False)
    monkeypatch.setitem(RECIPES, "chosen", variant)
    before = fit(variant, faces=faces, verbose=0)
    chosen = dataclasses.replace(variant, final=True)
    monkeypatch.setitem(RECIPES, "chosen", chosen)
    after = fit(chosen, faces=faces, verbose=0)
    assert set(after.metrics) - set(before.metrics) == {"test", "test_flip"}
    assert {name: after.metrics[name] for name in before.metrics} == before.metrics
    pd.testing.assert_frame_equal(after.history(), before.history())
    images, labels = faces["test"]
    expected = load_network(after).predict(images, verbose=0)
    np.testing.assert_allclose(after.predictions("test").probabilities, expected, atol=2e-3)
    np.testing.assert_array_equal(after.predictions("test").labels, labels)
    assert fit(chosen, faces=faces, verbose=0) == after


def test_only_a_final_recipe_is_scored_on_test(faces, own_folders, monkeypatch):
    final = dataclasses.replace(LIVELY, name="final", epochs=1, final=True)
    monkeypatch.setitem(RECIPES, "final", final)
    ablation = dataclasses.replace(final, name="final@ablation", final=False)
    monkeypatch.setitem(RECIPES, "final@ablation", ablation)
    assert "test" in fit(final, faces=faces, verbose=0).metrics
    assert "test" not in fit(ablation, faces=faces, verbose=0).metrics
    altered = dataclasses.replace(final, learning_rate=0.5)
    assert "test" not in fit(altered, faces=faces, verbose=0).metrics


def test_mirror_images_are_looked_at_too_where_the_recipe_says_so(faces, own_folders, monkeypatch):
    recipe = dataclasses.replace(RECIPES["capstone-model-1"], name="mirrored", epochs=1, flip_view=True)
    monkeypatch.setitem(recipes.RECIPES, "mirrored", recipe)
    run = fit(recipe, faces=faces, verbose=0)
    assert set(run.metrics) == {"train", "validation", "validation_flip", "test", "test_flip"}
    assert run.scores["views"] == "single"
    assert (run.metrics["test_flip"]["views"], run.metrics["test_flip"]["split"]) == ("flip", "test")
    pixels = faces.images[faces.split == "test"].astype(np.float32)
    network = load_network(run)
    both = [network.predict_on_batch(images) for images in (pixels, pixels[:, :, ::-1])]
    said = run.predictions("test_flip")
    np.testing.assert_allclose(said.probabilities, np.mean(both, axis=0), atol=2e-3)
    assert (said.probabilities != run.predictions("test").probabilities).any()
    assert dataclasses.replace(recipe, flip_view=False).digest == recipe.digest


def test_copies_of_training_images_are_counted(faces, own_folders):
    train, validation = (np.flatnonzero(faces.split == split) for split in ("train", "validation"))
    images = np.array(faces.images)
    images[validation[:5]] = images[train[:5]]
    copied = dataclasses.replace(faces, images=images)
    run = fit(dataclasses.replace(LIVELY, epochs=1), faces=copied, verbose=0)
    assert run.metrics["validation"]["num_copies"] == 5


def test_fine_tuning_starts_from_the_head_that_was_trained(own_folders, monkeypatch):
    faces = drawn_faces(4, classes=FER4)
    head = dataclasses.replace(RECIPES["vgg16"], name="head", weights=None, epochs=1)
    tuned = dataclasses.replace(head, name="head@tuned", start_recipe="head", trainable_from="block5_conv3")
    monkeypatch.setitem(RECIPES, "head", head)
    run = fit(tuned, faces=faces, verbose=0)
    before = load_network(find_run(head, folder=run.folder)).get_layer("vgg16")
    after = load_network(run).get_layer("vgg16")
    for layer in filter(lambda layer: layer.weights, before.layers):
        same = all(map(np.array_equal, layer.get_weights(), after.get_layer(layer.name).get_weights()))
        assert same == (layer.name != "block5_conv3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "fer7"}, "expects the classes"),
        ({"targets": "votes"}, "learns from FER"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, faces, own_folders):
    with pytest.raises(ValueError, match=message):
        fit(dataclasses.replace(LIVELY, **changes), faces=faces, verbose=0)
    assert not (own_folders / "results").exists()


def test_faces_of_another_split_are_refused(faces, own_folders):
    for protocol in ("course", "folders", "raf-db", "own"):
        other = dataclasses.replace(faces, protocol=protocol)
        with pytest.raises(ValueError, match=f"for the official split. Received: faces of the {protocol} split"):
            fit(LIVELY, faces=other, verbose=0)
    with pytest.raises(ValueError, match="no validation images"):
        fit(LIVELY, faces=faces.select(splits=("train",)), verbose=0)


def test_a_variant_starts_from_the_same_variant_of_its_start(faces, own_folders, monkeypatch):
    short = dataclasses.replace(LIVELY, epochs=1)
    monkeypatch.setitem(RECIPES, "lively", short)
    second = dataclasses.replace(short, name="second", start_recipe="lively")
    own = dataclasses.replace(faces, protocol="own")
    run = fit(recipes.for_split(second, "own"), faces=own, verbose=0)
    assert sorted(found.recipe_name for found in read_runs(run.folder)) == ["lively@own", "second@own"]


def test_a_recipe_may_tell_one_class_from_the_rest(faces, own_folders):
    recipe = dataclasses.replace(RECIPES["one-vs-rest-sad"], epochs=1, batch_size=16)
    run = fit(recipe, faces=faces, verbose=0)
    assert run.classes == ("rest", "sad")
    labels = faces["validation"][1]
    assert run.metrics["validation"]["per_class"]["sad"]["support"] == (labels == FER4.index("sad")).sum()
    assert load_network(run).output_shape == (None, 2)


def test_a_network_learns_what_its_teachers_say_of_training_images(faces, own_folders, monkeypatch):
    teacher = dataclasses.replace(RECIPES["capstone-model-1"], name="teacher", epochs=1, final=False)
    monkeypatch.setitem(recipes.RECIPES, "teacher", teacher)
    teachers = tuple(("teacher", teacher.digest, seed) for seed in (0, 1))
    pupil = dataclasses.replace(teacher, name="pupil", teachers=teachers, teacher_share=0.25, teacher_temperature=2.0)
    run = fit(pupil, faces=faces, verbose=0)
    assert {run.recipe_name for run in read_runs(own_folders / "build" / "results")} == {"teacher", "pupil"}
    networks = [load_network(fit(teacher, seed, faces=faces, verbose=0)) for seed in (0, 1)]
    found = trainer.find_teachers(pupil, faces, None, None, 0)
    for mine, theirs in zip(found, networks, strict=True):
        assert all(map(np.array_equal, mine.get_weights(), theirs.get_weights()))
    taught = trainer.ask(found, faces, 2.0)
    pixels = faces.images.astype(np.float32)
    said = np.mean(
        [network.predict(view, verbose=0) for network in networks for view in (pixels, pixels[:, :, ::-1])], axis=0
    )
    softened = np.sqrt(said) / np.sqrt(said).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(taught, softened, atol=1e-4)
    targets, labels = make_targets(pupil, faces, taught), np.eye(len(faces.classes))[faces.labels]
    train = faces.split == "train"
    np.testing.assert_array_equal(targets[~train], labels[~train])
    np.testing.assert_allclose(targets[train], (0.75 * labels + 0.25 * taught)[train], atol=1e-6)
    assert run.recipe_digest != dataclasses.replace(pupil, teachers=teachers[:1]).digest
    beside = fit(dataclasses.replace(pupil, name="beside", teachers_see="changes"), faces=faces, verbose=0)
    assert beside.history().loss[0] != run.history().loss[0], "what is said of augmented pictures is something else"


TAUGHT = dataclasses.replace(LIVELY, name="taught", teachers_see="changes", teacher_share=0.25, teacher_temperature=2.0)


def test_teachers_may_see_the_pictures_that_the_network_sees(faces, tmp_path):
    """The loss of a step by hand: a quarter of each target is what they say of the augmented, mixed picture."""
    keras.utils.set_random_seed(5)
    teachers = [build(TAUGHT.model, 4) for _ in range(2)]
    before = [teacher.get_weights() for teacher in teachers]
    options = {"seed": 0, "targets": make_targets(TAUGHT, faces), "teachers": teachers}
    taught = Session(TAUGHT, build(TAUGHT.model, 4), faces, folder=tmp_path, **options)
    taught.build()
    index, generator = np.flatnonzero(faces.split == "train"), np.random.default_rng(3)
    inputs, order, _ = epoch_inputs(TAUGHT, index, faces.images.shape[1:3], generator)
    inputs = {name: values[:16] for name, values in inputs.items()}
    targets, answers = taught.targets[index[order]][:16], np.full((16, 4), [0.4, 0.3, 0.2, 0.1], np.float32)

    pictures = augment(faces.images[inputs["index"]].astype(np.float32), inputs)
    said = np.sqrt(np.mean([teacher(pictures, training=False) for teacher in teachers], axis=0))
    mixed = 0.75 * targets + 0.25 * said / said.sum(axis=1, keepdims=True)
    for training, expected in ((True, mixed), (False, targets)):
        loss = taught.trainee.compute_loss(inputs, targets, answers, training=training)
        assert float(loss) == pytest.approx(-(expected * np.log(answers)).sum(axis=1).mean(), rel=1e-4)

    taught.train(verbose=0)
    for teacher, weights in zip(teachers, before, strict=True):
        assert all(map(np.array_equal, teacher.get_weights(), weights)), "teachers do not learn"
    number = len(taught.network.trainable_variables)
    assert len(taught.trainee.trainable_variables) == number


def test_teachers_see_no_features(faces, own_folders, monkeypatch):
    monkeypatch.setattr(trainer, "what_to_train", lambda recipe, network, faces, verbose: (network.layers[-1], None))
    with pytest.raises(
        ValueError, match=r"Teachers see pictures\. Received: recipe taught, which trains on a backbone's"
    ):
        trainer.make_session(TAUGHT, 0, build(TAUGHT.model, 4), faces, ["a teacher"], 0, "float32", trainer.ONE)


def test_targets_from_votes_are_used_on_training_images_only(faces):
    votes = np.zeros((len(faces), 10), np.float32)
    votes[:, 1] = 5  # happiness
    votes[:, 0] = 5  # neutral
    crowd = dataclasses.replace(faces, votes=votes)
    targets = make_targets(dataclasses.replace(LIVELY, targets="votes"), crowd)
    training = faces.split == "train"
    np.testing.assert_allclose(targets[training], np.tile([0.5, 0, 0, 0.5], (training.sum(), 1)))
    np.testing.assert_array_equal(targets[~training], np.eye(4)[faces.labels[~training]])


def test_class_weights_balance_the_classes():
    labels = np.array([0, 0, 0, 1, 1, 2])
    weights = class_weights(labels, True)
    np.testing.assert_allclose([weights[labels == label].sum() for label in range(3)], 2)
    assert class_weights(labels, False) is None


def test_the_cosine_warms_up_and_ends_at_zero():
    recipe = dataclasses.replace(SMOOTH, learning_rate=0.4, epochs=10, warmup_epochs=2.0)
    rate = make_optimizer(recipe, 5)._learning_rate
    values = [float(rate(step)) for step in range(51)]
    assert values[0] == 0
    assert values[10] == pytest.approx(0.4)
    assert values[5] == pytest.approx(0.2)
    assert values[30] == pytest.approx(0.2, abs=1e-6)
    assert values[50] == pytest.approx(0, abs=1e-6)


def test_weight_decay_spares_biases_and_normalisation():
    recipe = dataclasses.replace(SMOOTH, learning_rate=0.1, schedule="constant", weight_decay=0.5, ema_decay=0.0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = make_optimizer(recipe, 1)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    found = {v.name: float(np.mean(v)) for v in model.trainable_variables}
    assert found == {"kernel": pytest.approx(0.95), "bias": 1, "gamma": 1, "beta": 1}


def test_the_averaged_weights_are_what_is_validated_and_kept(faces, tmp_path):
    """Recomputed by hand: the exponential average of the weights after each step."""
    recipe = dataclasses.replace(SMOOTH, epochs=1, schedule="constant", batch_size=8, ema_decay=0.7)
    session = session_of(recipe, faces, tmp_path)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([np.array(keras.ops.convert_to_numpy(v)) for v in session.network.trainable_variables])

    callbacks = session.progress(0)
    watch = Watch()
    watch.set_model(session.trainee)
    callbacks.callbacks.append(watch)
    session.progress = lambda verbose: callbacks
    session.train(verbose=0)
    average = seen[0]
    for values in seen[1:]:
        average = [0.7 * a + 0.3 * v for a, v in zip(average, values, strict=True)]
    kept = [np.array(keras.ops.convert_to_numpy(v)) for v in session.network.trainable_variables]
    for mine, expected in zip(kept, average, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-5)
    assert max(np.abs(k - v).max() for k, v in zip(kept, seen[-1], strict=True)) > 1e-4


def test_averaging_leaves_the_weights_as_they_were(faces, tmp_path):
    session = session_of(SMOOTH, faces, tmp_path)
    session.build()
    before = session.network.get_weights()
    with averaged(session.trainee):
        pass
    for mine, expected in zip(session.network.get_weights(), before, strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-6)


def test_tensorboard_gets_the_epochs_when_asked_for(faces, own_folders):
    recipe = dataclasses.replace(LIVELY, epochs=2)
    fit(recipe, faces=faces, verbose=0, tensorboard=own_folders / "board")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for writer in ("train", "validation"):
        board = EventAccumulator(str(own_folders / "board" / writer), size_guidance={"tensors": 0})
        board.Reload()
        assert [event.step for event in board.Tensors("epoch_loss")] == [0, 1]


@pytest.mark.parametrize(
    ("cores", "threads", "words"),
    [
        (8, None, "cpu, 8 cores"),
        (8, "2", "cpu, 2 cores"),
        (1, "4", "cpu, 1 core"),
        (8, "0", "cpu, 8 cores"),
        (8, "x", "cpu, 8 cores"),
    ],
)
def test_a_record_names_the_cores_that_were_used(cores, threads, words, monkeypatch):
    monkeypatch.setattr(machines, "num_cores", lambda: cores)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    assert record.processor() == words
