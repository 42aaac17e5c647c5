"""`fit`: the only trainer, for recipes and for anyone's own compiled network. From a seed to a recorded run."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from fer_keras import paths
from fer_keras.data import FaceDataset, load_faces
from fer_keras.data.dataset import say
from fer_keras.evaluation import summarise, with_temperature
from fer_keras.labels import SPLITS
from fer_keras.models import build, multiply_adds, weights
from fer_keras.models.transfer import backbones_in, fine_tune
from fer_keras.recipes import Recipe, find_recipe, for_split
from fer_keras.results import Run, find_run, run_id, runs, write_run
from fer_keras.training import scoring
from fer_keras.training.callbacks import BestEpoch, ExactResume, load_state, make_callbacks, make_optimizer, save_state
from fer_keras.training.data import (
    check_faces,
    load_recipe_data,
    make_targets,
    own_recipe,
    to_recipe_classes,
    with_validation,
)
from fer_keras.training.devices import ONE, choose
from fer_keras.training.ensembles import combine
from fer_keras.training.features import backbone_features, split_backbone
from fer_keras.training.scoring import BATCH
from fer_keras.training.training_model import (
    PRECISIONS,
    Batches,
    DrawEpochs,
    TrainingModel,
    computing_in,
    fused_batch_norm,
    macro_metrics,
    validation_batches,
)


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained on what, and how `fit` was called."""

    recipe: Recipe
    seed: int = 0
    faces: FaceDataset | None = None
    path: object = None
    results: Path | None = None
    callbacks: Sequence = ()
    force: bool = False
    minutes: float | None = None
    precision: str = "float32"
    devices: object = ONE
    verbose: object = "auto"
    announce: bool = True  # that a record was read

    @property
    def index(self):
        """Rows of the training images."""
        return np.flatnonzero(self.faces.split == "train")

    @property
    def folder(self):
        """Folder of the state and the trained network."""
        return scoring.run_folder(run_id(self.recipe.name, self.recipe.digest, self.seed), self.faces.fingerprint)

    @property
    def results_folder(self):
        """Folder of results; records of synthetic faces lie apart."""
        synthetic = self.faces is not None and self.faces.protocol == "drawn"
        return Path(self.results or (paths.build() / "synthetic" if synthetic else paths.own_results()))


def fit(
    recipe: str | Recipe | keras.Model,
    seed: int = 0,
    *,
    faces=None,
    epochs: int | None = None,
    batch_size: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    results: str | os.PathLike | None = None,
    force: bool = False,
    minutes: float | None = None,
    precision: str | None = None,
    devices=None,
    verbose="auto",
) -> Run:
    """Train a recipe, or a compiled Keras model, to its end and record the run; asked again, read the record.

    Killed at any moment and called again, it resumes after the last whole epoch and ends with the same record. The
    weights of the best epoch on validation are kept.

    Args:
        recipe: the name of a recipe, a `Recipe`, or a compiled `keras.Model` from pixels in [0, 255], `(batch, height,
            width, 1)`, to the classes of `faces`; its targets follow its loss.
        seed: int; initial weights, order, dropout and augmentation follow from it.
        faces: a `FaceDataset`, or the path of a data set; None looks in `FER_KERAS_DATA`, the cache and Kaggle. A
            recipe given another split or data set than its own becomes a variant, and says so.
        epochs: the most to train; default the recipe's, or 1 of a model.
        batch_size: of a model; default 32.
        callbacks: further Keras callbacks; their plain numbers survive a kill.
        results: folder of results; default below `paths.build()`. A record there or in `paths.results()` is read.
        force: train although there is a record, or a state that cannot be read.
        minutes: stop after the epoch in which so many minutes of training have passed, earlier sessions' included.
        precision: `"float32"` (default) or `"mixed_bfloat16"`, in which a recipe's network trains.
        devices: None trains on one; `"all"` or a number shares each batch (JAX; see `training.devices`).
        verbose: as in `keras.Model.fit`.

    Returns:
        A `results.Run`. A compiled model ends with the weights of its best epoch.

    Raises:
        ValueError: if recipe, data, model or devices do not fit each other, or the loss is no finite number any more.

    Example:

    >>> run = fit("capstone-model-1", faces=faces)  # doctest: +SKIP
    >>> run.history().plot(x="epoch", y=["accuracy", "val_accuracy"])  # doctest: +SKIP
    """
    precision = precision or "float32"
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}. Received: {precision!r}.")
    path, faces = (None, faces) if isinstance(faces, FaceDataset) else (faces, None)
    how = {"path": path, "results": results, "callbacks": tuple(callbacks), "force": force, "minutes": minutes}
    job = Job(recipe, seed, faces, **how, precision=precision, devices=choose(devices), verbose=verbose)
    if isinstance(recipe, keras.Model):
        if job.devices is not ONE:
            raise ValueError(f"Several devices train recipes. Received: a keras.Model, {devices=}. Train it on one.")
        return fit_model(recipe, job, epochs or 1, batch_size or 32)
    if batch_size is not None:
        raise ValueError(f"`batch_size` is for a keras.Model; recipes have their own. Received: {batch_size}.")
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    if epochs not in (None, recipe.epochs):
        warmup = recipe.warmup_epochs
        warmup = warmup * epochs / recipe.epochs if warmup >= epochs else warmup  # else it would not end
        changes = {"epochs": epochs, "warmup_epochs": warmup, "final": False}
        recipe = dataclasses.replace(recipe, name=f"{recipe.name}@epochs-{epochs}", **changes)
    with job.devices.together(), contextlib.ExitStack() as after:  # float32 whatever the global policy says
        after.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
        keras.config.set_dtype_policy("float32")
        return read_or_train(dataclasses.replace(job, recipe=recipe))


def read_or_train(job):
    """Read the record of a run, or train it."""
    recipe, devices = job.recipe, job.devices
    at_hand = job.faces is not None or job.path or os.environ.get("FER_KERAS_DATA")
    recorded, at_hand = devices.broadcast(lambda: (find_record(job), bool(at_hand)))
    if recorded and not job.force and not at_hand:
        return announce_record(job, recorded)
    given = load_recipe_data(recipe, job.path, any_split=at_hand) if job.faces is None else with_validation(job.faces)
    if given.difference:  # what is not FER-2013 as it was published has no official split, and is never final
        given = dataclasses.replace(given, protocol="own")
    recipe = variant_for(recipe, given)
    faces = to_recipe_classes(recipe, given)
    check_faces(recipe, faces)
    job = dataclasses.replace(job, recipe=recipe, faces=faces)
    devices.agree(f"{run_id(recipe.name, recipe.digest, job.seed)} on {faces.fingerprint}, {job.precision}")
    recorded = devices.broadcast(lambda: find_record(job))
    if recorded and not job.force and not is_resumable(recorded, job.minutes):
        scored = devices.broadcast(lambda: scored_on_test(job, recorded))
        return scored or announce_record(job, recorded)
    if recipe.members:
        members = [fit_one(job, name, (own or [job.seed])[0], given) for name, _, *own in recipe.members]
        return devices.broadcast(lambda: record_ensemble(job, members))
    return train(job, given)


def fit_one(job, recipe, seed, faces):
    """Train, or read, a run that another one is made of, starts from or learns from."""
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    how = {"force": False, "minutes": None, "callbacks": (), "announce": False}
    return read_or_train(dataclasses.replace(job, recipe=recipe, seed=seed, faces=faces, **how))


def variant_for(recipe, faces):
    """The recipe, or its variant for faces of another split or with classes of one's own; a variant is announced."""
    own = faces.protocol == "own" and not set(recipe.classes) <= {*faces.classes, *recipe.classes[:1]}
    variant = own_recipe(recipe, faces) if own else for_split(recipe, faces.protocol)
    if variant != recipe:
        say(f"{recipe.name} is for the {recipe.protocol} split; this is {variant.name}, on {faces.source}")
    return variant


def find_record(job):
    """The record of a run in its folder; one's own results and the recorded ones stand in for each other."""
    folder = job.results_folder
    if folder == paths.own_results():
        return scoring.find_own_run(job.recipe, job.seed)
    found = find_run(job.recipe, job.seed, folder=folder)
    if found or folder != paths.results():
        return found
    found = find_run(job.recipe, job.seed, folder=paths.own_results())
    if found and not found.stopped_by_time:  # trained before, now to be recorded
        predictions = {split: found.predictions(split) for split in found.metrics if split != "train"}
        return write_run(found, found.history(), predictions, folder=folder)
    return None


def is_resumable(run, minutes):
    """True if a recorded run was stopped by time and may train on."""
    return run.stopped_by_time and (minutes is None or run.seconds < 60 * minutes)


def announce_record(job, run):
    """The run, announced as read and not trained, with what differs from what would be trained now."""
    recipe, faces = job.recipe, job.faces
    if faces is not None and run.data["fingerprint"] != faces.fingerprint:
        say(f"{run.run} is recorded on data with fingerprint {run.data['fingerprint']}; this has {faces.fingerprint}")
    if faces is not None and not recipe.members and recipe.model != "own":
        shape, how = faces.images.shape[1:], dict(recipe.model_options)
        network = build(recipe.model, len(recipe.classes), input_shape=shape, weights=None, **how)
        if network.count_params() != run.num_parameters:
            now, then = f"{network.count_params():,}", f"{run.num_parameters:,}"
            say(f"{run.run} has {then} parameters, but {recipe.model} is built with {now} now: the builder has changed")
    if job.announce:
        say(f"read the record of {run.run}; nothing was trained. To train it anew: force=True (--force)")
    return run


def scored_on_test(job, run):
    """The run with its test scores, recorded, if its recipe was marked final after it had ended; else None."""
    recipe, faces = job.recipe, job.faces
    same = run.data["fingerprint"] == faces.fingerprint
    if run.final or run.stopped_by_time or not scoring.is_final(recipe) or not same or recipe.members:
        return None
    predict = scoring.predictor(scoring.load_network(run))
    metrics, predictions = scoring.score(recipe, faces, predict, faces.images, splits=("test",))
    kept = {name: run.predictions(name) for name in run.metrics if name.startswith("validation")}
    run = dataclasses.replace(run, metrics=run.metrics | metrics, recipe=run.recipe | {"final": True})
    return write_run(run, run.history(), kept | predictions, folder=job.results_folder, force=True)


def train(job, given):
    """Train a recipe's network from where it starts, or from its saved state, and record it."""
    recipe, faces, devices, seed = job.recipe, job.faces, job.devices, job.seed
    devices.check(recipe.batch_size, len(job.index))
    network = make_network(job, given)
    trained, images = network, faces.images
    if parts := split_backbone(recipe, network):
        trained, images = parts[1], backbone_features(parts[0], faces, verbose=job.verbose)
    targets, teachers = learn_from_teachers(job, trained is network)
    copy, *teachers = (devices.spread(each, seed) for each in (trained, *teachers))
    with devices.scope(), contextlib.ExitStack() as precision:
        model = training_model(job, copy, np.ascontiguousarray(images), teachers)
        for each in (copy, *teachers):
            precision.enter_context(computing_in(each, job.precision))
        precision.enter_context(fused_batch_norm(copy))
        weights_of = class_weights(faces.labels[job.index]) if recipe.class_weights else None
        augmentation = (recipe.augmentation, faces.images.shape[1:3])
        how = {"augmentation": augmentation, "weights": weights_of, "devices": devices}
        draw = DrawEpochs(copy, job.index, targets, seed=seed, batch_size=recipe.batch_size, **how)
        best = BestEpoch(copy, recipe.monitor)
        resume = run_epochs(job, model, draw, best)
    trained.set_weights(best.weights)
    return devices.broadcast(lambda: record(job, network, scoring.predictor(trained), images, best, resume))


def make_network(job, faces):
    """Build a recipe's network, with the weights of the recipe that it starts from.

    A start of other classes is trained on its own faces, and only its backbone is copied.
    """
    recipe, start, initial = job.recipe, None, job.recipe.weights
    if recipe.start_recipe:
        named = for_split(find_recipe(recipe.start_recipe), faces.protocol)
        run = fit_one(job, named, job.seed, faces if named.classes == recipe.classes else None)
        start, initial = trained_network(run, job.devices), None
    keras.utils.set_random_seed(job.seed)
    how = dict(recipe.model_options) | ({"trainable_from": recipe.trainable_from} if recipe.trainable_from else {})
    shape = faces.images.shape[1:]
    network = build(recipe.model, len(recipe.classes), input_shape=shape, weights=initial, **how)
    if start is not None and named.classes == recipe.classes:
        network.set_weights(start.get_weights())
    elif start is not None:
        copy_backbone_weights(network, start)
    if start is not None and backbones_in(network) and not recipe.trainable_from:
        fine_tune(network, None)
    for layer in backbone_layers(network) if recipe.frozen_body else ():
        layer.trainable = False
    return network


def copy_backbone_weights(network, source):
    """Copy the weights of the nested backbone, or of all layers but the last, from a network for other classes."""
    ours, theirs = backbone_layers(network), backbone_layers(source)
    shapes = [[[value.shape for value in layer.get_weights()] for layer in each] for each in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"Expected a start with the same backbone. Received: {network.name} and {source.name}, whose layers differ "
            "before the head. Start from a recipe of the same network."
        )
    for layer, other in zip(ours, theirs, strict=True):
        layer.set_weights(other.get_weights())


def backbone_layers(network):
    """The nested backbone, or all layers with weights but the last."""
    return backbones_in(network) or [layer for layer in network.layers if layer.weights][:-1]


def trained_network(run, devices):
    """The network of a run; other machines than the first process's get a copy of its file."""
    if devices.processes > 1:
        content = devices.broadcast(lambda: scoring.network_path(run).read_bytes())
        folder = scoring.run_folder(run.run, run.data["fingerprint"])
        paths.write_changed(folder / "model.keras", content)
    return scoring.load_network(run)


def learn_from_teachers(job, sees_images):
    """The targets of all images, and the teachers that see each augmented batch; teachers are trained first."""
    recipe, faces = job.recipe, job.faces
    runs_of = [fit_one(job, name, seed, faces) for name, _, seed in recipe.teachers]
    teachers = [trained_network(run, job.devices) for run in runs_of]
    if recipe.teachers_see != "changes":
        return make_targets(recipe, faces, teacher_probabilities(teachers, faces, recipe.teacher_temperature)), []
    if teachers and not sees_images:
        raise ValueError(f"Teachers see images. Received: {recipe.name}, which trains on a backbone's features.")
    return make_targets(recipe, faces), teachers


def teacher_probabilities(teachers, faces, temperature):
    """Mean probabilities of teachers for each image and its mirror image, softened, `(n, classes)`; None without."""
    found = [each for teacher in teachers for each in scoring.both_views(scoring.predictor(teacher), faces.images)]
    return with_temperature(np.mean(found, axis=0), temperature) if found else None


def training_model(job, network, images, teachers):
    """Compile the `TrainingModel` of a network, with every variable created."""
    recipe, devices = job.recipe, job.devices
    share, temperature = recipe.teacher_share, recipe.teacher_temperature
    model = TrainingModel(network, devices.place(images), teachers=teachers, share=share, temperature=temperature)
    steps = -(-(len(job.index) // devices.count * devices.count) // recipe.batch_size)
    metrics = ["accuracy", *macro_metrics(len(recipe.classes))]
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    model.compile(make_optimizer(recipe, steps), loss, weighted_metrics=metrics)
    model({"index": np.zeros(1, np.int32)})
    return model


def class_weights(labels):
    """A weight for each image, the inverse of its class's frequency, with mean 1."""
    counts = np.bincount(labels)
    return (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(np.float32)


def run_epochs(job, model, draw, best, images=None):
    """Call Keras' `fit` once, from the saved state if there is one; leave the best epoch's weights in the network.

    Returns the `ExactResume`, which holds the history. With `images`, pixels are fed, else indices.
    """
    devices, epochs = job.devices, job.recipe.epochs
    paths.sweep(job.folder)
    model.optimizer.build(model.trainable_variables)
    callbacks = [*make_callbacks(job.recipe), *(job.callbacks if devices.first else ())]
    how = {"minutes": job.minutes, "precision": job.precision, "forced": job.force}
    resume = ExactResume(job.folder / "state.npz", best, callbacks, devices=devices, **how)
    resume.load(model)
    begun = len(resume.rows)
    if not (resume.early_stop or begun == epochs or resume.out_of_time()):
        draw.batches = Batches(draw.draw(begun), draw.batch_size // devices.processes, images)
        watched = [history_file(job.folder / "history.csv", begun)] if devices.first else []
        # Averaged weights are taken out again after all who look at what was validated.
        callbacks.sort(key=lambda each: isinstance(each, keras.callbacks.SwapEMAWeights))
        try:
            model.fit(
                draw.batches.feed(),
                validation_data=validation_batches(job.faces, draw.targets, BATCH, images, devices),
                epochs=epochs,
                initial_epoch=begun,
                callbacks=[draw, best, *callbacks, *watched, resume],
                shuffle=False,
                verbose=job.verbose if devices.first else 0,
            )
        finally:
            for each in watched:
                each.on_train_end()  # closes its file, which Keras leaves open after an error
    model.predict_function = None  # which would keep the precision that it was compiled in
    best.network.set_weights(best.weights)
    return resume


def history_file(path, begun):
    """Keras' CSVLogger for those who watch, its file cut to the epochs that the saved state has behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines(keepends=True) if path.is_file() and begun else []
    path.write_text("".join(lines[: begun + 1]))
    return keras.callbacks.CSVLogger(path, append=True)


def record(job, network, predict, inputs, best, resume):
    """Score the trained network, write it and its record, and forget the state unless the run may train on."""
    history = pd.DataFrame(resume.rows)
    for name in set(runs.HISTORY_COLUMNS) - set(history.columns):  # of a model that was compiled without accuracy
        history[name] = np.nan
    stopped = "early stop" if resume.early_stop else "epochs" if len(history) == job.recipe.epochs else "cut short"
    splits = ("train", "validation") if stopped == "cut short" else SPLITS
    metrics, predictions = scoring.score(job.recipe, job.faces, predict, inputs, splits)
    run = Run(
        **scoring.identity(job.recipe, job.seed, job.faces),
        **scoring.environment(job.precision, job.devices.words()),
        seconds=round(float(history.seconds.sum()), 1),
        seconds_per_epoch=round(float(history.seconds.median()), 2),
        num_parameters=network.count_params(),
        multiply_adds=multiply_adds(network),
        epochs_run=len(history),
        best_epoch=best.epoch,
        stopped=stopped,
        resumed=resume.resumed,
        metrics=metrics,
    )
    with paths.replacing(job.folder / "model.keras") as temporary:
        network.save(temporary)
    run = write_run(run, history, predictions, folder=job.results_folder, force=True)
    if not run.stopped_by_time:
        resume.path.unlink(missing_ok=True)
        return run
    epochs = f"{run.epochs_run} of {job.recipe.epochs} epochs"
    say(
        f"stopped after {epochs}, the last one whole, as {job.minutes:g} minutes had passed; the same command trains on"
    )
    if job.force:  # next time, force begins anew
        memory, groups = load_state(resume.path)
        save_state(resume.path, memory | {"forced": False}, groups)
    return run


def record_ensemble(job, members):
    """Combine the predictions of an ensemble's members, and record that."""
    metrics, predictions = {}, {}
    for split, (found, probabilities) in combine(job.recipe, members, seed=job.seed).items():
        if split == "validation" or scoring.is_final(job.recipe):
            found = found._replace(probabilities=probabilities.astype(np.float16).astype(np.float32))
            options = {"split": split, "copies": found.copies}
            metrics[split] = summarise(found.labels, found.probabilities, job.recipe.classes, **options)
            predictions[split] = found
    total = {name: sum(getattr(run, name) for run in members) for name in ("num_parameters", "multiply_adds")}
    counts = {"seconds_per_epoch": 0.0, "epochs_run": 0, "best_epoch": 0, "resumed": 0}
    counts["seconds"] = round(sum(run.seconds for run in members), 1)
    who, where = scoring.identity(job.recipe, job.seed, job.faces), scoring.environment()
    run = Run(**who, **where, **total, **counts, stopped="combined", metrics=metrics)
    history = pd.DataFrame(columns=runs.HISTORY_COLUMNS)
    return write_run(run, history, predictions, folder=job.results_folder, force=True)


def fit_model(model, job, epochs, batch_size):
    """Train anyone's compiled model as `fit` says, and record it."""
    faces = load_faces(job.path) if job.path else job.faces
    if faces is None or not getattr(model, "compiled", False):
        received = "faces=None" if faces is None else f"{model.name}, which is not compiled"
        raise ValueError(
            "Expected a compiled model and faces to train it on. "
            f"Received: {received}. Call model.compile(...) first, and pass faces=load_folder(...), say."
        )
    weights.as_network(model, faces.classes)  # refuses what could not be scored afterwards
    faces = with_validation(faces)
    images = np.repeat(faces.images, 3, axis=-1) if model.input_shape[-1] == 3 else faces.images
    if any(size not in (None, given) for size, given in zip(model.input_shape[1:], images.shape[1:], strict=True)):
        raise ValueError(
            f"Expected a model for images of shape {faces.images.shape[1:]}. Received: input {model.input_shape}. "
            "Begin it with keras.Input of that shape and keras.layers.Resizing."
        )
    job = dataclasses.replace(job, recipe=describe(model, faces, epochs, batch_size), faces=faces)
    recorded = find_record(job)
    if recorded and not job.force and not is_resumable(recorded, job.minutes):
        model.set_weights(scoring.load_network(recorded).get_weights())
        return announce_record(job, recorded)
    best = BestEpoch(model, job.recipe.monitor)
    draw = DrawEpochs(model, job.index, targets_of_loss(model, faces), seed=job.seed, batch_size=batch_size)
    resume = run_epochs(job, model, draw, best, images)
    network = weights.as_network(model, faces.classes)
    return record(job, model, network.predict, faces.images, best, resume)


def targets_of_loss(model, faces):
    """The targets that a model's loss takes: class numbers, one column of 0 and 1, or one-hot rows."""
    loss = model.loss if isinstance(model.loss, str) else getattr(model.loss, "name", None)
    loss = loss or getattr(model.loss, "__name__", "")
    if "sparse" in loss:
        return faces.labels.astype(np.int32)
    if model.output_shape[-1] == 1:
        return faces.labels.astype(np.float32)[:, None]
    return np.eye(len(faces.classes), dtype=np.float32)[faces.labels]


def describe(model, faces, epochs, batch_size):
    """The `Recipe` of a compiled model: its name, and digests of its architecture, compilation and initial weights."""
    config = json.dumps([model.get_config(), model.get_compile_config()], default=str, sort_keys=True)
    names = dict.fromkeys(re.findall(r'"name": "([^"]+)"', config))
    for number, name in enumerate(names):  # names that Keras counts up from model to model are no difference
        config = config.replace(f'"{name}"', f'"#{number}"')
    values = b"".join(np.ascontiguousarray(array).tobytes() for array in model.get_weights())
    made_of = {"config": config.encode(), "weights": values}
    options = tuple((name, hashlib.sha256(content).hexdigest()[:12]) for name, content in made_of.items())
    name = re.sub(r"^(sequential|functional)_\d+$", r"\1", model.name)
    how = {"model_options": options, "class_names": faces.classes, "protocol": faces.protocol, "optimizer": "own"}
    how |= {"epochs": epochs, "batch_size": batch_size}
    return Recipe(name=name, system="own", title=name, model="own", data="own", **how)
