"""Training on several devices and machines, on JAX: the same as on one device, and on TensorFlow, and after kills."""

import dataclasses
import functools
import json
import multiprocessing
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from data_files import write_tree
from keras import layers
from small_networks import small

from fer_keras.__main__ import main
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER4
from fer_keras.recipes import RECIPES
from fer_keras.training import fit, load_network, trainer
from fer_keras.training.devices import ADDRESSES, ONE, PROCESS, PROCESSES, Devices, choose, named_group

SECONDS = 600  # after which a process counts as hanging, on however busy a machine
EPOCHS = 12  # of a group that is killed
COMPILE_QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
TEACHER = dataclasses.replace(
    RECIPES["capstone-model-1"], name="teacher", batch_size=16, epochs=1, optimizer="sgd", learning_rate=0.02,
    rotation_degrees=10.0, flip=True, brightness=(0.7, 1.3), erase_probability=0.5, mixup_alpha=0.4, ema_decay=0.5,
    reduce_patience_epochs=1, stop_patience_epochs=0, label_smoothing=0.1, class_weights=True, final=False,
)  # fmt: skip
STUDENT = dataclasses.replace(
    TEACHER, name="student", epochs=4, teachers=(("teacher", TEACHER.digest, 0),), teachers_see="changes",
    teacher_temperature=2.0,
)  # fmt: skip
ALIKE = dataclasses.replace(TEACHER, name="alike", epochs=2)


def work(function, arguments, folder, environment):
    """Call a function in a process of its own, with what it prints in files of its folder."""
    import jax

    os.environ.update(environment)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    jax.config.update("jax_compilation_cache_dir", str(folder.parent.parent / f"compiled-{folder.name}"))
    trainer.build = small
    sys.exit(function(*arguments))


def train_on_devices(folder, command):
    """Train on one device, on two, on two in bfloat16; and as on TensorFlow; then a command on one."""
    RECIPES["teacher"] = TEACHER
    faces = make_faces(21, classes=FER4, seed=2)
    left_out = [np.flatnonzero(faces.split == split)[:count] for split, count in (("validation", 1), ("train", 4))]
    faces = faces.take(~np.isin(np.arange(len(faces)), np.concatenate(left_out)))
    assert (faces.split == "train").sum() % 16 == 8, "a small last batch"
    assert (faces.split == "validation").sum() % 2 == 1
    fit("teacher", faces=faces, results=folder / "teacher", devices="all", verbose=0)

    def train(name, devices, **options):
        shutil.copytree(folder / "teacher", folder / name, dirs_exist_ok=True)
        run = fit(STUDENT, faces=faces, results=folder / name, devices=devices, verbose=0, **options)
        network = load_network(run)
        found = run.history().drop(columns="seconds").to_dict("list")
        found["weights"] = np.concatenate([values.ravel() for values in network.get_weights()]).tolist()
        found["predicted"] = run.predictions("validation").probabilities.tolist()
        found["by the network"] = network.predict(faces["validation"][0], verbose=0).tolist()
        return found | {"device": run.device}

    answers = {"one": train("one", None), "two": train("two", "all")}
    answers["bfloat16"] = train("bfloat16", 2, precision="mixed_bfloat16")
    trainer.build = functools.partial(small, rate=0)
    answers["alike"] = history_of_alike(folder / "alike")
    (folder / "answers.json").write_text(json.dumps(answers))
    return call(command)


def history_of_alike(folder):
    run = fit(ALIKE, faces=make_faces(12, classes=FER4, seed=1), results=folder, verbose=0)
    return [run.versions["backend"], run.history().drop(columns="seconds").values.tolist()]


def call(*commands):
    """Run command lines of training, of a livelier recipe, one after the other."""
    changes = {"learning_rate": 0.01, "mixup_alpha": 0.3, "stop_patience_epochs": 0, "reduce_patience_epochs": 2}
    RECIPES["capstone-model-1"] = dataclasses.replace(RECIPES["capstone-model-1"], **changes)
    # Rounding alone gives a bias before normalisation its gradient: with Adam, the moving mean must follow it slowly.
    trainer.build = functools.partial(small, momentum=0.99)
    statuses = [main(["train", "capstone-model-1", "--epochs", str(EPOCHS), *line.split()]) for line in commands]
    print(*statuses)
    return statuses[-1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which a process has trained alone, and two: killed one after the other, then given other seeds.

    All are forked from one that has imported JAX; each has folders of its own, as where no disk is shared.
    """
    pytest.importorskip("jax")
    folder, context, started = tmp_path_factory.mktemp("group"), multiprocessing.get_context("forkserver"), []
    context.set_forkserver_preload([__name__])

    def start(name, function, *arguments_of_each, flags=""):
        with socket.create_server(("127.0.0.1", 0)) as free:
            group = {ADDRESSES: f"127.0.0.1:{free.getsockname()[1]}", PROCESSES: str(len(arguments_of_each))}
        for number, arguments in enumerate(arguments_of_each):
            mine = folder / name / str(number)
            mine.mkdir(parents=True, exist_ok=True)
            own = {"FER_KERAS_BUILD": f"{mine}/build", "FER_KERAS_RESULTS": f"{mine}/recorded"}
            own["XLA_FLAGS"] = f"{COMPILE_QUICKLY} {flags}"
            own |= group | {PROCESS: str(number)} if len(arguments_of_each) > 1 else {}
            started.append(context.Process(target=work, args=(function, arguments, mine, own)))
            started[-1].start()
        return started[-len(arguments_of_each) :]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        try:
            train_and_kill(folder, start)
        finally:
            for process in started:
                process.kill()
                process.join()
    return folder


def train_and_kill(folder, start):
    faces = make_faces(25, classes=FER4, seed=1)
    pictures = enumerate(zip(faces.images[..., 0], faces.labels, strict=True))
    write_tree(folder, {f"faces/{FER4[label]}/{number}.png": image for number, (image, label) in pictures})
    line = f"--folder {folder / 'faces'}"
    alone = start("one", train_on_devices, (folder, line), flags="--xla_force_host_platform_device_count=2")
    line += " --devices all"
    saving = f"{line} --checkpoints {folder / 'checkpoints'}"
    for victim in (0, 1):
        until, enough = time.monotonic() + SECONDS, epochs_saved(folder) + 2
        two = start("both", call, [saving], [saving])
        while epochs_saved(folder) < enough and time.monotonic() < until:
            time.sleep(0.02)
        two[victim].kill()
        two[1 - victim].join(120)
        assert two[1 - victim].exitcode, "one that is killed ends the other"
        assert text(folder, "both", 1 - victim, "errors")
        assert not list((folder / "both").rglob("*.json"))
    two = start("both", call, *([f"{line} --seed {seed}", saving, line] for seed in "01"))
    for name, number, process in (("both", 0, two[0]), ("both", 1, two[1]), ("one", 0, alone[0])):
        process.join(SECONDS)
        assert process.exitcode == 0, text(folder, name, number, "errors")[-3000:]


def epochs_saved(place):
    """How many epochs the file for those who watch holds."""
    return sum(len(file.read_text().splitlines()) - 1 for file in place.glob("both/0/build/runs/*/history.csv"))


def text(place, name, number, stream):
    return (place / name / str(number) / stream).read_text()


def test_two_devices_train_as_one_does(place):
    """With a small last batch, an odd number of validation images and weighted classes; in bfloat16 nearly so."""
    answers = json.loads((place / "answers.json").read_text())
    one, both, halves = (answers[name] for name in ("one", "two", "bfloat16"))
    assert min(one["learning_rate"]) < max(one["learning_rate"])
    assert one["device"] + ", 2 devices" == both["device"]
    assert halves["weights"] != both["weights"]
    assert halves["device"].endswith("2 devices, mixed_bfloat16")
    for found, tolerance, ties in ((both, 1e-4, ()), (halves, 0.05, ("accuracy", "precision", "recall"))):
        np.testing.assert_allclose(found["predicted"], found["by the network"], atol=1e-3)
        for name in set(one) - {"device", "predicted"}:
            if not name.endswith(ties):
                np.testing.assert_allclose(found[name], one[name], tolerance, tolerance, err_msg=name)


def test_the_same_recipe_trains_alike_on_tensorflow(place, own_folders, monkeypatch):
    """From the same weights, through augmentation, mixup and averaging, both backends walk the same way."""
    monkeypatch.setattr(trainer, "build", functools.partial(small, rate=0))
    answers = json.loads((place / "answers.json").read_text())
    (backend, history), (other, expected) = history_of_alike(own_folders), answers["alike"]
    assert (backend, other) == ("tensorflow", "jax")
    np.testing.assert_allclose(history, expected, rtol=2e-3, atol=2e-3)


def test_two_processes_killed_and_resumed_end_with_the_metrics_of_one(place):
    found = []
    for name in ("one", "both"):
        (path,) = (place / name / "0" / "build" / "results" / "runs").glob("*.json")
        found.append((json.loads(path.read_text()), pd.read_csv(path.parents[1] / "histories" / f"{path.stem}.csv")))
    (alone, history), (together, of_both) = found
    assert len(history) == EPOCHS
    assert (together["resumed"], alone["resumed"]) == (2, 0)
    same = ["epoch", "loss", "val_loss", "learning_rate"]
    np.testing.assert_allclose(of_both[same], history[same], rtol=2e-3)
    for column, split in (("accuracy", "train"), ("val_accuracy", "validation")):
        scores, others = alone["metrics"][split], together["metrics"][split]
        image = 1.01 / scores["num_images"]  # one that two classes are as likely for may fall to either
        np.testing.assert_allclose(of_both[column], history[column], atol=image)
        assert others["num_images"] == scores["num_images"]
        assert others["accuracy"] == pytest.approx(scores["accuracy"], abs=image)
    assert together["device"].endswith("2 devices of 2 processes")
    assert "devices" not in alone["device"]


def test_all_stop_if_one_trains_something_else_and_all_read_one_record_and_the_first_alone_writes(place):
    outputs = {tuple(text(place, "both", number, "output").splitlines()[-3:]) for number in (0, 1)}
    ((trained, again, statuses),) = outputs
    assert (again, statuses) == (trained, "2 0 0")
    for number in (0, 1):
        errors = text(place, "both", number, "errors")
        assert "error: Every process of the group must train the same on the same data" in errors
        assert "Received otherwise in process 1" in errors
        assert errors.count("nothing was trained") == 1
    assert list((place / "both" / "0" / "build").rglob("model.keras"))
    assert list((place / "checkpoints").glob("*-001-*.keras"))
    assert {path.name for path in (place / "both" / "1").rglob("*") if path.is_file()} == {"errors", "output"}
    assert not list((place / "both").rglob("state.npz"))


def test_devices_that_cannot_be_had_or_cannot_share_a_batch_are_refused(monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0", "gpu:1"])
    assert choose() is choose(1) is ONE
    wrong = dict.fromkeys(("some", 0, -1, True, 1.5, "2"), "must be 'all' or a number from 1, or None")
    wrong |= {3: "at most 2", "all": r"JAX backend. Received: tensorflow\. Set KERAS_BACKEND=jax"}
    for devices, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            choose(devices)
    monkeypatch.setattr(trainer, "choose", lambda devices: Devices())
    with pytest.raises(ValueError, match="`devices` and `precision` are for recipes"):
        fit(keras.Sequential([layers.Dense(4)]), faces=make_faces(4, classes=FER4), devices=2)
    trio = Devices()
    trio.count = 3
    trio.check(129, 1000)
    for given, message in (
        ((128, 1000), r"divides a batch of 128 .*3\. Ask for 2"),
        ((3, 2), r"than the 2 .*Ask for 1"),
    ):
        with pytest.raises(ValueError, match=message):
            trio.check(*given)


def test_a_group_of_machines_is_read_from_the_environment_whole(monkeypatch):
    def name_group(*values):
        for name, value in zip((ADDRESSES, PROCESSES, PROCESS), values, strict=True):
            monkeypatch.setenv(name, value)

    assert named_group() is None
    name_group("a:1,b:2", "2", "1")
    assert named_group() == ("a:1", 2, 1)
    for values in (("a:1", "2", ""), ("a", "2", "0"), ("a:1", "2", "2"), ("a:1,b:2,c:3", "2", "0"), ("", "2", "0")):
        name_group(*values)
        with pytest.raises(ValueError, match=f"Expected {ADDRESSES}=HOST:PORT"):
            named_group()
    name_group("127.0.0.1:1234", "2", "0")
    for devices, message in (("all", "Set KERAS_BACKEND=jax"), (2, "On several machines, `devices` must be 'all'")):
        with pytest.raises(ValueError, match=message):
            choose(devices)
