"""`fit`: the only trainer, for recipes and for anyone's own compiled network. From a seed to a recorded run."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_sample_weight

from fer_keras import paths
from fer_keras.data import FaceDataset, load_faces
from fer_keras.data.dataset import say
from fer_keras.evaluation import with_temperature
from fer_keras.labels import SPLITS
from fer_keras.models import BUILDERS, build, multiply_adds, weights
from fer_keras.models.transfer import backbones_in, fine_tune
from fer_keras.names import check_name
from fer_keras.recipes import (
    RECIPES,
    Recipe,
    describe,
    find_recipe,
    for_split,
    make_targets,
    to_recipe_classes,
    variant_for,
)  # fmt: skip
from fer_keras.results import HISTORY_COLUMNS, Run, combine, find_own_run, run_id, write_run
from fer_keras.results.runs import identity, is_final, network_path, reading, run_folder
from fer_keras.results.studies import check_stacking
from fer_keras.training import scoring
from fer_keras.training.callbacks import BestEpoch, ExactResume, make_callbacks, make_optimizer, monitor_of
from fer_keras.training.data import check_options, load_recipe_data, with_validation
from fer_keras.training.devices import ONE, Devices, choose
from fer_keras.training.features import backbone_features, split_backbone
from fer_keras.training.own_models import check_loadable, targets_for
from fer_keras.training.training_model import DrawEpochs, MacroMetric, TrainingModel, computing_in, fused_batch_norm


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained on what, and how `fit` was called."""

    recipe: Recipe
    seed: int = 0
    faces: FaceDataset | None = None
    path: str | os.PathLike | None = None
    results: str | os.PathLike | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    force: bool = False
    minutes: float | None = None
    precision: str = "float32"
    devices: Devices = ONE
    verbose: str | int = "auto"
    announce: bool = True  # that a record was read

    @property
    def index(self):  # rows of the training images
        return np.flatnonzero(self.faces.split == "train")

    @property
    def folder(self):  # of the state and the trained network
        return run_folder(run_id(self.recipe.name, self.recipe.digest, self.seed), self.faces.fingerprint)

    @property
    def results_folder(self):  # records of synthetic faces lie apart
        synthetic = self.faces is not None and self.faces.protocol == "drawn"
        return paths.own_results(self.results or (paths.build() / "synthetic" if synthetic else None))


def fit(
    recipe: str | Recipe | keras.Model,
    seed: int = 0,
    *,
    faces: FaceDataset | str | os.PathLike | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    results: str | os.PathLike | None = None,
    force: bool = False,
    minutes: float | None = None,
    precision: str | None = None,
    devices: str | int | None = None,
    verbose: str | int = "auto",
) -> Run:
    """Train a recipe, or a compiled Keras model, to its end and record the run; asked again, read the record.

    Killed at any moment and called again, it resumes after the last whole epoch and ends with the same record. The
    weights of the best epoch on validation are kept: by the recipe's `monitor`; of a model, by that of an
    `EarlyStopping` with `restore_best_weights`, else by the loss.

    Args:
        recipe: the name of a recipe, a `Recipe`, or a compiled `keras.Model` from pixels in [0, 255], `(batch, height,
            width, 1)`, to the classes of `faces`; its targets are one-hot, or labels if its loss takes no others. Its
            own layers must be registered (`keras.saving.register_keras_serializable`), so that its file can be loaded.
        seed: order, dropout, augmentation and a recipe's initial weights follow from it. A model is known again by its
            initial weights: call `keras.utils.set_random_seed` before it is built.
        faces: a `FaceDataset`, or the path of a data set; None looks in `FER_KERAS_DATA`, the cache and Kaggle. A
            recipe given another split or data set than its own becomes a variant, and says so.
        epochs: the most to train; default the recipe's, or 1 of a model.
        batch_size: of a model; default 32.
        callbacks: further Keras callbacks; their plain numbers survive a kill, and so does a `CSVLogger`'s file.
        results: folder of results; default below `paths.build()`. A record there or in `paths.results()` is read.
        force: train although there is a record, or a state that cannot be read.
        minutes: stop after the epoch in which so many minutes have passed; called again, it trains for as many more.
        precision: `"float32"` (default) or `"mixed_bfloat16"`, in which a recipe's network trains.
        devices: None trains on one; `"all"` or a number shares each batch (JAX; see `training.devices`).
        verbose: as in `keras.Model.fit`.

    Returns:
        A `results.Run`. A compiled model ends with the weights of its best epoch.

    Raises:
        ValueError: if recipe, data, model or devices do not fit each other, or the loss is no finite number any more.
    """
    numbers = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "minutes": minutes}
    seed, epochs, batch_size, minutes = check_options(**numbers)
    if precision not in (None, "float32", "mixed_bfloat16"):
        raise ValueError(f"`precision` must be one of float32, mixed_bfloat16. Received: {precision!r}.")
    check_kinds(recipe, faces, callbacks)
    given = (faces, None) if isinstance(faces, FaceDataset) else (None, faces)
    how = (tuple(callbacks), force, minutes, precision or "float32", choose(devices), verbose)
    job = Job(recipe, seed, *given, results, *how)
    if isinstance(recipe, keras.Model):
        if job.devices is not ONE or precision:
            words = "`devices` and `precision` are for recipes. Received: a keras.Model"
            raise ValueError(f"{words}, {devices=}, {precision=}. Leave them out: a model keeps its own dtype policy.")
        return fit_model(recipe, job, epochs or 1, batch_size or 32)
    if batch_size is not None:
        raise ValueError(f"`batch_size` is for a keras.Model; recipes have their own. Received: {batch_size}.")
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    check_parts(recipe)
    if recipe.members and epochs is not None:
        raise ValueError(f"An ensemble trains no epochs itself. Received: {recipe.name}, {epochs=}. Leave it out.")
    if epochs not in (None, recipe.epochs):
        warmup = recipe.warmup_epochs
        warmup = warmup * epochs / recipe.epochs if warmup >= epochs else warmup  # else it would not end
        # Before the name of the data that it is a variant for: a recipe that becomes one later is called so.
        base = recipe.name if recipe.name in RECIPES else recipe.name.removesuffix(f"@{recipe.protocol}")
        name = f"{base}@epochs-{epochs}{recipe.name.removeprefix(base)}"
        recipe = dataclasses.replace(recipe, name=name, epochs=epochs, warmup_epochs=warmup, final=False)
    with job.devices.together(), contextlib.ExitStack() as after:  # float32 whatever the global policy says
        after.callback(keras.config.set_dtype_policy, keras.config.dtype_policy())
        keras.config.set_dtype_policy("float32")
        return read_or_train(dataclasses.replace(job, recipe=recipe))


def check_kinds(recipe, faces, callbacks):
    """Raise a `ValueError` for what is none of the kinds that `fit` takes."""
    made = callbacks if isinstance(callbacks, list | tuple) else ()
    for name, value, kind, expected in (
        ("recipe", recipe, str | Recipe | keras.Model, "the name of a recipe, a Recipe or a compiled keras.Model"),
        ("faces", faces, FaceDataset | str | os.PathLike | None, "a FaceDataset, such as of load_folder, or a path"),
        ("callbacks", callbacks, list | tuple, "a list of keras.callbacks.Callback"),
        *(("callbacks", each, keras.callbacks.Callback, "callbacks such as EarlyStopping()") for each in made),
    ):
        if not isinstance(value, kind):
            raise ValueError(f"`{name}` must be {expected}. Received: {value!r:.99}.")


def check_parts(recipe):
    """Raise a `ValueError` for a recipe whose network, start, teachers or members there are not."""
    for name in filter(None, [recipe.start_recipe, *(name for name, *_ in (*recipe.members, *recipe.teachers))]):
        check_parts(find_recipe(name))
    if not recipe.members:
        check_name("network", recipe.model, BUILDERS)


def check_targets(job):
    """Raise a `ValueError` unless state, record and what callbacks write can be written, before hours of training."""
    folders = [getattr(each, "log_dir", None) or getattr(each, "folder", None) for each in job.callbacks]
    for folder in filter(None, [job.folder, job.results_folder / "runs", *folders]):
        paths.check_writable(Path(folder) / "file")


def read_or_train(job):
    """Read the record of a run, or train it."""
    recipe, devices = job.recipe, job.devices
    at_hand = job.faces is not None or job.path or os.environ.get("FER_KERAS_DATA")
    recorded, at_hand = devices.broadcast(lambda: (find_record(job), bool(at_hand)))
    if recorded and not at_hand:
        return announce_record(job, recorded)
    given = load_recipe_data(recipe, job.path, any_split=at_hand) if job.faces is None else job.faces
    given = with_validation(given)
    recipe = variant_for(recipe, given)
    faces = to_recipe_classes(recipe, given)
    job = dataclasses.replace(job, recipe=recipe, faces=faces)
    devices.agree(f"{run_id(recipe.name, recipe.digest, job.seed)} on {faces.fingerprint}, {job.precision}")
    if recorded := devices.broadcast(lambda: find_record(job)):
        return devices.broadcast(lambda: scored_on_test(job, recorded)) or announce_record(job, recorded)
    devices.broadcast(lambda: check_targets(job))
    if recipe.members:
        if recipe.rule == "stacking":
            check_stacking(faces.labels[faces.split == "validation"], len(recipe.classes))
        members = [fit_one(job, name, (own or [job.seed])[0], given) for name, _, *own in recipe.members]
        return devices.broadcast(lambda: record_ensemble(job, members))
    return train(job, given)


def fit_one(job, recipe, seed, faces):
    """Train, or read, a run that another one is made of, starts from or learns from."""
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    how = {"force": False, "minutes": None, "callbacks": (), "announce": False}
    return read_or_train(dataclasses.replace(job, recipe=recipe, seed=seed, faces=faces, **how))


def fit_network(job, recipe, seed, faces):
    """Train, or read, the network of such a run; other machines than the first process's get a copy of its file."""
    run = fit_one(job, recipe, seed, faces)
    if job.devices.processes > 1:
        content = job.devices.broadcast(lambda: network_path(run).read_bytes())
        paths.write_changed(run_folder(run.run, run.data["fingerprint"]) / "model.keras", content)
    return scoring.load_network(run)


def find_record(job):
    """The record of a run that need not be trained."""
    found = None if job.force else find_own_run(job.recipe, job.seed, folder=job.results_folder)
    if found and found.stopped_by_time:  # it is resumed while its state is there
        fingerprint = found.data["fingerprint"] if job.faces is None else job.faces.fingerprint
        return None if (run_folder(found.run, fingerprint) / "state.npz").is_file() else found
    return found


def announce_record(job, run):
    """The run, announced as read and not trained, with what differs from what would be trained now."""
    recipe, faces = job.recipe, job.faces
    if faces is not None and run.data["fingerprint"] != faces.fingerprint:
        say(f"{run.run} is recorded on data with fingerprint {run.data['fingerprint']}; this has {faces.fingerprint}")
    if faces is not None and not recipe.members and recipe.model != "own":
        now, then = new_network(recipe, faces, weights=None).count_params(), run.num_parameters
        if now != then:
            say(f"{run.run} has {then:,} parameters, {recipe.model} is built with {now:,} now: the builder has changed")
    if job.announce:
        say(f"read the record of {run.run}; nothing was trained. To train it anew: force=True (--force)")
    return run


def scored_on_test(job, run):
    """The run with its test scores, recorded, if its recipe was marked final after it had ended; else None."""
    recipe, faces = job.recipe, job.faces
    same = run.data["fingerprint"] == faces.fingerprint
    if run.final or run.stopped_by_time or not is_final(recipe) or not same or recipe.members:
        return None
    predict = scoring.predictor(scoring.load_network(run))
    metrics, predictions = scoring.score(recipe, faces, predict, faces.images, splits=("test",))
    predictions |= {name: run.predictions(name) for name in run.metrics if name.startswith("validation")}
    run = dataclasses.replace(run, metrics=run.metrics | metrics, recipe=run.recipe | {"final": True})
    return write_run(run, run.history(), predictions, folder=job.results_folder, force=True)


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
    balanced = compute_sample_weight("balanced", faces.labels[job.index]).astype(np.float32)
    examples = job.index, targets, balanced if recipe.class_weights else None
    how = {"augmentation": (recipe.augmentation, faces.images.shape[1:3]), "devices": devices}
    draw = DrawEpochs(copy, examples, seed=seed, batch_size=recipe.batch_size, **how)
    best = BestEpoch(copy, recipe.monitor)
    with devices.scope(), contextlib.ExitStack() as precision:
        model = training_model(job, copy, np.ascontiguousarray(images), teachers)
        for each in (copy, *teachers):
            precision.enter_context(computing_in(each, job.precision))
        precision.enter_context(fused_batch_norm(copy))
        resume = run_epochs(job, model, draw, best)
    trained.set_weights(best.weights)
    return devices.broadcast(lambda: record(job, network, scoring.predictor(trained), images, best, resume))


def new_network(recipe, faces, **how):
    """Build a recipe's network for faces."""
    how = dict(recipe.model_options) | how
    return build(recipe.model, len(recipe.classes), input_shape=faces.images.shape[1:], **how)


def make_network(job, faces):
    """Build a recipe's network, with the weights of its start; of one of other classes, without the head's."""
    recipe, start, initial = job.recipe, None, job.recipe.weights
    if recipe.start_recipe:
        named = for_split(find_recipe(recipe.start_recipe), faces.protocol)
        same, initial = named.classes == recipe.classes, None
        start = fit_network(job, named, job.seed, faces if same else None)
    keras.utils.set_random_seed(job.seed)
    how = {"trainable_from": recipe.trainable_from} if recipe.trainable_from else {}
    network = new_network(recipe, job.faces, weights=initial, **how)
    if start is not None:
        pairs = zip(*([each] if same else backbone_layers(each) for each in (network, start)), strict=True)
        try:
            for layer, other in pairs:
                layer.set_weights(other.get_weights())
        except ValueError as error:
            expected = "Expected a start with the same backbone. Received: one whose layers differ before the head"
            raise ValueError(f"{expected}. Start from a recipe of the same network.") from error
        if backbones_in(network) and not recipe.trainable_from:
            fine_tune(network, None)
    for layer in backbone_layers(network) if recipe.frozen_body else ():
        layer.trainable = False
    return network


def backbone_layers(network):
    """The nested backbone, or all layers with weights but the last."""
    return backbones_in(network) or [layer for layer in network.layers if layer.weights][:-1]


def learn_from_teachers(job, sees_images):
    """The targets of all images, in which teachers' answers for each and its mirror image are; and other teachers."""
    recipe, faces = job.recipe, job.faces
    teachers = [fit_network(job, name, seed, faces) for name, _, seed in recipe.teachers]
    if teachers and recipe.teachers_see == "changes":
        if not sees_images:
            raise ValueError(f"Teachers see images. Received: {recipe.name}, which trains on a backbone's features.")
        return make_targets(recipe, faces), teachers
    answers = [each for teacher in teachers for each in scoring.both_views(scoring.predictor(teacher), faces.images)]
    mean = with_temperature(np.mean(answers, axis=0), recipe.teacher_temperature) if answers else None
    return make_targets(recipe, faces, mean), []


def training_model(job, network, images, teachers):
    """Compile the `TrainingModel` of a network, with every variable created."""
    recipe, devices = job.recipe, job.devices
    how = {"share": recipe.teacher_share, "temperature": recipe.teacher_temperature}
    model = TrainingModel(network, devices.place(images), teachers=teachers, **how)
    steps = -(-(len(job.index) // devices.count * devices.count) // recipe.batch_size)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    macro = [MacroMetric(len(recipe.classes), name=name, axis=i) for i, name in enumerate(("precision", "recall"))]
    model.compile(make_optimizer(recipe, steps), loss, weighted_metrics=["accuracy", *macro])
    model({"index": np.zeros(1, np.int32)})
    return model


def run_epochs(job, model, draw, best, images=None):
    """Call Keras' `fit` once, from the saved state on, and keep the best weights; with `images`, pixels are fed."""
    devices, epochs = job.devices, job.recipe.epochs
    paths.sweep(job.folder)
    if unseen := set(job.faces.labels.tolist()) - set(job.faces.labels[job.index].tolist()):
        names = ", ".join(job.faces.classes[label] for label in sorted(unseen))
        say(f"{job.faces.source}: there is no training image of {names}, which cannot be learned so")
    model.optimizer.build(model.trainable_variables)
    callbacks = [*make_callbacks(job.recipe), *(job.callbacks if devices.first else ())]
    resume = ExactResume(job, best, callbacks)
    resume.load(model)
    if not (resume.early_stop or resume.begun == epochs):
        # Averaged weights are taken out again after all who look at what was validated.
        callbacks.sort(key=lambda each: isinstance(each, keras.callbacks.SwapEMAWeights))
        how = {"validation_data": draw.validation(job.faces, scoring.BATCH, images), "shuffle": False}
        how |= {"callbacks": [draw, best, *callbacks, resume], "verbose": job.verbose if devices.first else 0}
        model.fit(draw.feed(resume.begun, images), initial_epoch=resume.begun, epochs=epochs, **how)
    model.predict_function = None  # which would keep the precision that it was compiled in
    best.network.set_weights(best.weights)
    return resume


def record(job, network, predict, inputs, best, resume):
    """Score the trained network, write it and its record, and forget the state unless the run may train on."""
    history = pd.DataFrame(resume.rows)  # of a model that was compiled without accuracy, it lacks columns
    history = history.reindex(columns=history.columns.union(HISTORY_COLUMNS, sort=False))
    stopped = "early stop" if resume.early_stop else "epochs" if len(history) == job.recipe.epochs else "cut short"
    splits = ("train", "validation") if stopped == "cut short" else SPLITS
    metrics, predictions = scoring.score(job.recipe, job.faces, predict, inputs, splits)
    who, where = identity(job.recipe, job.seed, job.faces), scoring.environment(job.precision, job.devices.words)
    found = {"num_parameters": network.count_params(), "multiply_adds": multiply_adds(network), "metrics": metrics}
    found |= {"epochs_run": len(history), "best_epoch": best.epoch, "stopped": stopped, "resumed": resume.resumed}
    total, median = history.seconds.sum(), history.seconds.median()
    found |= {"seconds": round(float(total), 1), "seconds_per_epoch": round(float(median), 2)}
    with paths.replacing(job.folder / "model.keras") as temporary:
        network.save(temporary)
    run = write_run(Run(**who, **where, **found), history, predictions, folder=job.results_folder, force=True)
    if not run.stopped_by_time:
        resume.path.unlink(missing_ok=True)
        return run
    epochs = f"{run.epochs_run} of {job.recipe.epochs} epochs, the last one whole"
    again = f"the same command{', without force,' * job.force} trains on"
    say(f"stopped after {epochs}, as {job.minutes:g} minutes had passed; {again}")
    return run


def record_ensemble(job, members):
    """Combine the predictions of an ensemble's members, and record that."""
    metrics, predictions = {}, {}
    for split, found in combine(job.recipe, members, seed=job.seed).items():
        if split == "validation" or is_final(job.recipe):
            metrics[split], predictions[split] = scoring.as_recorded(found, job.recipe.classes, split=split)
    total = {name: sum(getattr(run, name) for run in members) for name in ("num_parameters", "multiply_adds")}
    total["seconds"] = round(sum(run.seconds for run in members), 1)
    counts = {"seconds_per_epoch": 0.0, "epochs_run": 0, "best_epoch": 0, "resumed": 0, "stopped": "combined"}
    who, where = identity(job.recipe, job.seed, job.faces), scoring.environment()
    run, history = Run(**who, **where, **total, **counts, metrics=metrics), pd.DataFrame(columns=HISTORY_COLUMNS)
    return write_run(run, history, predictions, folder=job.results_folder, force=True)


def fit_model(model, job, epochs, batch_size):
    """Train anyone's compiled model as `fit` says, and record it."""
    faces = load_faces(job.path) if job.path else job.faces
    if faces is None or not getattr(model, "compiled", False):
        received = "faces=None" if faces is None else f"{model.name}, which is not compiled"
        expected = f"Expected a compiled model and faces to train it on. Received: {received}"
        raise ValueError(f"{expected}. Call model.compile(...) first, and pass faces=load_folder(...), say.")
    weights.as_network(model, faces.classes)  # refuses what could not be scored afterwards
    faces = with_validation(faces)
    images = np.repeat(faces.images, model.input_shape[-1], axis=-1)
    if model.input_shape[1:] != images.shape[1:]:
        words = f"Expected a model for images of shape {faces.images.shape[1:]}. Received: input {model.input_shape}"
        raise ValueError(f"{words}. Begin it with keras.Input of that shape and keras.layers.Resizing.")
    how = {"class_names": faces.classes, "protocol": faces.protocol, "epochs": epochs, "batch_size": batch_size}
    how["monitor"] = monitor_of(job.callbacks)
    job = dataclasses.replace(job, recipe=describe(model, **how), faces=faces)
    if recorded := find_record(job):
        model.optimizer.build(model.trainable_variables)
        with reading(network_path(recorded), "the values of this model"):
            model.load_weights(network_path(recorded))
        return announce_record(job, recorded)
    check_targets(job)
    check_loadable(model)
    states = [*job.folder.parent.glob(f"{job.recipe.name}-*-s{job.seed}-{faces.fingerprint[:8]}/state.npz")]
    if states and job.folder / "state.npz" not in states:
        why = "of other settings or initial weights; keras.utils.set_random_seed keeps these the same"
        say(f"this begins a new run; there is an unfinished one in {states[0].parent}, {why}")
    best, targets = BestEpoch(model, job.recipe.monitor), targets_for(model, faces)
    draw = DrawEpochs(model, (job.index, targets, None), seed=job.seed, batch_size=batch_size)
    resume = run_epochs(job, model, draw, best, images)
    return record(job, model, weights.as_network(model, faces.classes).predict, faces.images, best, resume)
