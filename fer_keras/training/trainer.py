"""`fit`: the only trainer. From a recipe and a seed to a recorded run."""

import os
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.evaluation import with_temperature
from fer_keras.models import build, multiply_adds
from fer_keras.recipes import find_recipe, for_split
from fer_keras.results import runs
from fer_keras.training.data import check_faces, load_recipe_data, make_targets, to_recipe_classes
from fer_keras.training.devices import ONE, choose
from fer_keras.training.features import backbone_features, split_backbone
from fer_keras.training.places import fetch_network, load_network, run_folder
from fer_keras.training.precision import check_precision
from fer_keras.training.record import circumstances, identity, is_final, score, score_ensemble, with_test_scores
from fer_keras.training.session import EVALUATION_BATCH, Session
from fer_keras.training.transplant import body, give_body


def fit(
    recipe,
    seed=0,
    *,
    faces=None,
    path=None,
    force=False,
    results=None,
    verbose="auto",
    tensorboard=None,
    checkpoints=None,
    minutes=None,
    precision="float32",
    devices=None,
):
    """Train a recipe to its end and record it; asked again, read the record.

    Killed at any moment and called again, it goes on from the last whole epoch and ends with the same record. A run
    that was cut short goes on where it was, if its state is on this machine, and its record is replaced.

    Args:
        recipe: a `Recipe`, or the name of one.
        seed: int; initial values, order, dropout and augmentation follow from it.
        faces: a `FaceDataset`; None loads what the recipe names.
        path: where the data lies, if `faces` is None, and that of a start recipe of other classes; None looks in
            `FER_KERAS_DATA`, the cache and Kaggle.
        force: train anew although there is a record, and overwrite it.
        results: folder of results; None is `paths.results()`, or for drawn faces a folder below `paths.build()`.
        verbose: as in `keras.Model.fit`.
        tensorboard: folder for TensorBoard's logs, or None.
        checkpoints: folder for a `.keras` file at each fall of the validation loss, named
            `<recipe>-<epoch>-<accuracy>.keras` after the epoch and its accuracy on validation; or None.
        minutes: cut the training short after so many minutes, earlier sessions' included, and record that; None trains
            to the end.
        precision: one of `precision.PRECISIONS`, in which the network trains; the record names it beside the device.
        devices: None trains on one device; `"all"` on all of this machine, a number on so many. They share each batch
            of the recipe equally, so that a step is that of the whole batch, batch normalisation's too; of an epoch's
            images, up to one fewer than there are devices sit out. On the JAX backend, `"all"` joins the processes of
            other machines that Keras' environment variables name (see `machines.named`): all call this alike, the
            first one alone writes state, network and record, and all get that record. Or `Devices` chosen before.

    Returns:
        A `results.Run`.

    Raises:
        ValueError: if the recipe is unknown, the data has other classes than the recipe, or the devices can't share it.
        machines.LostProcess: if another process of the group ended, or can't be reached any more.
    """
    check_precision(precision)
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    if results is None and faces is not None and faces.protocol == "drawn":
        results = paths.build() / "results"
    devices = choose(devices)  # Before anything computes: here a process joins its group.
    with devices.together():
        devices.agree(f"{runs.run_id(recipe.name, recipe.digest, seed)}, {precision}, {force=}, {minutes=}")
        at_hand = faces is not None or path or os.environ.get("FER_KERAS_DATA")
        recorded, at_hand = devices.told(lambda: (runs.find_run(recipe, seed, folder=results), bool(at_hand)))
        if recorded and not force and not at_hand:
            return recorded
        given = load_recipe_data(recipe, path) if faces is None else faces
        faces = to_recipe_classes(recipe, given)
        if recorded and not force and not goes_on(recorded, minutes):
            scored = devices.told(lambda: scored_on_test(recorded, recipe, faces, results))
            return scored or same_data(recorded, faces)
        check_faces(recipe, faces)
        devices.agree(f"data with fingerprint {faces.fingerprint}")
        verbose = verbose if devices.first else 0
        if recipe.members:
            return fit_ensemble(recipe, seed, given, results=results, force=force, verbose=verbose, devices=devices)
        network = make_network(recipe, seed, given, path, results, verbose, devices)
        teachers = find_teachers(recipe, faces, path, results, verbose, devices)
        session = make_session(recipe, seed, network, faces, teachers, verbose, precision, devices)
        if devices.first and force and recorded and session.epochs_saved() == recorded.epochs_run:
            session.path.unlink()  # of a run that was cut short; with other epochs it would be of a killed --force
        where = circumstances(precision, devices)
        callbacks = board(tensorboard) if devices.first else []
        checkpoint = checkpoint_writer(network, recipe.name, checkpoints) if checkpoints and devices.first else None
        stopped = session.train(verbose=verbose, callbacks=callbacks, minutes=minutes, checkpoint=checkpoint)
        ended = outcome(recipe, seed, network, session, stopped, where)
        return devices.told(lambda: keep(session, network, *ended, folder=results, force=force or recorded is not None))


def make_session(recipe, seed, network, faces, teachers, verbose, precision, devices):
    """Return the `Session` of a network, or of its head if the rest is frozen."""
    folder = run_folder(recipe, seed, faces)
    trained, images = what_to_train(recipe, network, faces, verbose)
    beside = teachers if recipe.teachers_see == "changes" else []
    if beside and trained is not network:
        raise ValueError(
            f"Teachers see pictures. Received: recipe {recipe.name}, which trains on a backbone's features."
        )
    taught = ask(teachers, faces, recipe.teacher_temperature) if teachers and not beside else None
    targets = make_targets(recipe, faces, taught)
    options = {"seed": seed, "folder": folder, "images": images, "precision": precision, "devices": devices}
    return Session(recipe, trained, faces, targets, teachers=beside, **options)


def outcome(recipe, seed, network, session, stopped, where):
    """Return the `Run`, history and predictions of a session that has ended."""
    history = pd.DataFrame(session.history)
    metrics, predictions = score(recipe, session)
    run = runs.Run(
        **identity(recipe, seed, session.faces),
        **where,
        seconds=round(float(history.seconds.sum()), 1),
        seconds_per_epoch=round(float(history.seconds.median()), 2),
        num_parameters=network.count_params(),
        multiply_adds=multiply_adds(network),
        epochs_run=len(history),
        best_epoch=session.best["epoch"],
        stopped=stopped,
        resumed=session.resumed,
        metrics=metrics,
    )
    return run, history, predictions


def keep(session, network, run, history, predictions, *, folder, force):
    """Write network and record of a session that has ended, and forget its state unless it may go on."""
    network.save(session.path.with_name("model.keras"))
    run = runs.write_run(run, history, predictions, folder=folder, force=force)
    if not run.stopped_by_time:
        session.path.unlink()
    return run


def fit_ensemble(recipe, seed, faces, *, results, force, verbose, devices):
    """Train the members of an ensemble, or read their records; combine what they say; record that."""
    options = {"faces": faces, "results": results, "verbose": verbose, "devices": devices}
    members = [fit(name, *(own or [seed]), **options) for name, _, *own in recipe.members]
    return devices.told(lambda: keep_ensemble(recipe, seed, faces, members, results, force))


def keep_ensemble(recipe, seed, faces, members, results, force):
    """Combine what the members of an ensemble say, and record that."""
    metrics, predictions = score_ensemble(recipe, members, seed)
    run = runs.Run(
        **identity(recipe, seed, faces),
        **circumstances("float32", ONE),
        seconds=round(sum(run.seconds for run in members), 1),
        seconds_per_epoch=0.0,
        num_parameters=sum(run.num_parameters for run in members),
        multiply_adds=sum(run.multiply_adds for run in members),
        epochs_run=0,
        best_epoch=0,
        stopped="combined",
        resumed=0,
        metrics=metrics,
    )
    history = pd.DataFrame(columns=runs.HISTORY_COLUMNS)
    return runs.write_run(run, history, predictions, folder=results, force=force)


def scored_on_test(run, recipe, faces, results):
    """The run with its test scores, recorded, if its recipe was marked final after it had ended; else None.

    Variants are compared on validation; the one that is chosen there is marked final, and sees the test split then.
    """
    same = run.data["fingerprint"] == faces.fingerprint
    if run.final or run.stopped_by_time or not is_final(recipe) or not same or recipe.members:
        return None
    run, predictions = with_test_scores(run, recipe, load_network(run), faces)
    return runs.write_run(run, run.history(), predictions, folder=results, force=True)


def goes_on(run, minutes):
    """Tell whether a recorded run was cut short and may train on."""
    return run.stopped_by_time and (minutes is None or run.seconds < 60 * minutes)


def same_data(run, faces):
    """Return the run; say so if it was trained on other data than what is at hand."""
    if run.data["fingerprint"] != faces.fingerprint:
        print(
            f"Run {run.run} is recorded on data with fingerprint {run.data['fingerprint']}; "
            f"the data at hand has {faces.fingerprint}. The record stands; --force trains anew.",
            file=sys.stderr,
        )
    return run


def make_network(recipe, seed, faces, path, results, verbose, devices):
    """Build the recipe's network, starting from another recipe's best epoch if it says so.

    That of other classes is trained on its own faces, and only its body is taken.
    """
    weights, given = recipe.weights, None
    if recipe.start_recipe:
        start = for_split(find_recipe(recipe.start_recipe), faces.protocol)
        same = start.classes == recipe.classes
        options = {"path": path, "results": results, "verbose": verbose, "devices": devices}
        started = fit(start, seed, faces=faces if same else None, **options)
        place = fetch_network(started, devices)
        weights, given = (place, None) if same else (None, load_network(started))
    keras.utils.set_random_seed(seed)
    options = dict(recipe.model_options)
    if recipe.trainable_from:
        options["trainable_from"] = recipe.trainable_from
    size = faces.images.shape[1:]
    network = build(recipe.model, len(recipe.classes), input_shape=size, weights=weights, **options)
    if given is not None:
        give_body(network, given)
    for layer in body(network) if recipe.frozen_body else ():
        layer.trainable = False
    return network


def find_teachers(recipe, faces, path, results, verbose, devices=ONE):
    """Return the networks of a recipe's teachers; one that has no record is trained first, on the same faces."""
    found = []
    for name, _, seed in recipe.teachers:
        run = fit(name, seed, faces=faces, path=path, results=results, verbose=verbose, devices=devices)
        fetch_network(run, devices)
        found.append(load_network(run))
    return found


def ask(teachers, faces, temperature):
    """Return the mean of what teachers say of each image and its mirror image, `(n, classes)`."""
    views = (faces.images.astype(np.float32), faces.images[:, :, ::-1].astype(np.float32))
    said = [teacher.predict(view, batch_size=EVALUATION_BATCH, verbose=0) for teacher in teachers for view in views]
    return with_temperature(np.mean(said, axis=0), temperature)


def what_to_train(recipe, network, faces, verbose):
    """Return the model to train and what it takes: the network and pixels, or its head and frozen features."""
    parts = split_backbone(recipe, network)
    if parts is None:
        return network, faces.images
    trunk, head = parts
    return head, backbone_features(trunk, faces, verbose=verbose)


def checkpoint_writer(network, name, folder):
    """A function that writes a network, as it is when called, to a file named after a row of the history.

    It writes a plain copy: in training, layers may compute in another precision, which a file of them would keep.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    copy = keras.models.clone_model(network)

    def write(row):
        copy.set_weights(network.get_weights())
        target = folder / f"{name}-{row['epoch']:03d}-{row['val_accuracy']:.4f}.keras"
        temporary = target.with_name(f".{target.name}")  # Keras refuses a file with another suffix
        copy.save(temporary)
        temporary.replace(target)

    return write


def board(folder):
    """Return TensorBoard's callback for a folder, or nothing; imported only when asked for."""
    return [keras.callbacks.TensorBoard(log_dir=str(folder), profile_batch=0)] if folder else []
