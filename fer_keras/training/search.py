"""Train a grid of settings, one cell after the other or several at once on Ray; the best is chosen on validation."""

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fer_keras import paths
from fer_keras.data import FaceDataset
from fer_keras.data.transforms import Augmentation
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recipes import Recipe, Space, find_recipe, find_space
from fer_keras.results import Run, find_run, run_id, write_table

SCORES = ("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "log_loss")
EFFORT = ("best_epoch", "epochs_run", "seconds", "device")
# How many threads a backend may use: TensorFlow's two pools, and XLA's, with which JAX computes.
THREADS = ("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")


class Training(NamedTuple):
    """A cell of a grid, or what cells start or learn from, on other faces than theirs if it has other classes."""

    recipe: Recipe
    seed: int
    same_faces: bool = True

    @property
    def name(self):
        """Name of its record."""
        return run_id(self.recipe.name, self.recipe.digest, self.seed)

    @property
    def backbone(self):
        """What the cached features of a frozen backbone depend on; None if there is no such backbone."""
        recipe, start = self.recipe, (self.recipe.weights, self.recipe.start_recipe)
        if not any(start) or recipe.trainable_from or recipe.augmentation != Augmentation():
            return None
        return recipe.model, recipe.train_fraction, *start


def search(
    space: Space | str,
    seed: int = 0,
    *,
    faces: FaceDataset | str | os.PathLike | None = None,
    results: str | os.PathLike | None = None,
    minutes: float | None = None,
    precision: str | None = None,
    ray: bool | str | None = None,
    workers: int | None = None,
    verbose: str | int = "auto",
) -> pd.DataFrame:
    """Train the cells of a grid that are not trained yet, and record the table of all that are.

    A trained cell is read back, and one that was stopped is resumed: the same call finishes a search that was stopped
    or killed, with Ray or without. The table is written as `search-<space>` even then. No cell sees the test split.

    Args:
        space: a `recipes.Space`, or its name.
        seed: int, of every cell, unless the grid has seeds of its own.
        faces: a `FaceDataset`, or the path of data, as for `fit`.
        results: folder of results for the table; None is `results` below `paths.build()`.
        minutes: begin no cell after so many minutes; None trains the whole grid.
        precision: as for `fit`, of every cell.
        ray: None trains one cell after the other. True trains several at once, on a Ray of this machine; a string is
            the address of a running cluster, whose machines must share the folder `paths.build()`.
        workers: how many cells Ray trains at once; None is one a GPU, or one a core where there is no GPU.
        verbose: as for `fit`; with Ray, a line for each cell, or nothing for 0.

    Returns:
        A `pandas.DataFrame`, the best cell first: the settings, validation scores, images, epochs, seconds and device.

    Raises:
        ValueError: if the grid has a field that recipes lack, if the data does not fit, if there is no such cluster;
            and at the end if cells failed, which stop no other.
        ImportError: if Ray is asked for and not installed.
    """
    from sklearn.model_selection import ParameterGrid

    from fer_keras.training.data import load_recipe_data
    from fer_keras.training.trainer import variant_for

    space = find_space(space) if isinstance(space, str) else space
    recipe, path = find_recipe(space.recipe), None
    if not isinstance(faces, FaceDataset):
        faces, path = load_recipe_data(recipe, faces, any_split=True), faces
    recipe = variant_for(recipe, faces)
    folder = paths.build() / "searches" / f"{space.name}-{recipe.digest[:8]}-s{seed}-{faces.fingerprint[:8]}"
    options = {"results": folder.resolve() / "results", "precision": precision, "verbose": 0 if ray else verbose}
    settings = list(ParameterGrid(space.grid))
    cells = [Training(variant(space, recipe, chosen), chosen.get("seed", seed)) for chosen in settings]
    found = {cell.name: find_run(cell.recipe, cell.seed, folder=options["results"]) for cell in cells}
    runs, failed = {name: run for name, run in found.items() if run}, {}
    waiting = [cell for cell in cells if cell.name not in runs]
    if ray and waiting:
        trained = train_on_ray(waiting, (faces, path), options, minutes, None if ray is True else ray, workers)
    else:
        trained = train_here(waiting, path or faces, options, minutes)
    try:
        for name, ended in trained:
            (runs if isinstance(ended, Run) else failed)[name] = ended
            if ray and verbose and name in runs:
                accuracy = ended.metrics["validation"]["accuracy"]
                print(f"{name}: validation {accuracy:.4f}, {ended.seconds:.0f} s", flush=True)
    finally:  # also when it is stopped
        table = as_table(space, [(chosen, runs.get(cell.name)) for chosen, cell in zip(settings, cells, strict=True)])
        if len(table):
            write_table(f"search-{space.name}", table, folder=results or paths.build() / "results")
    if failed:
        lines = sorted(f"{name}: {error}" for name, error in failed.items())
        raise ValueError(
            f"Expected every training of {space.name} to end. Received: {len(failed)} that failed; {len(table)} cells "
            "are in the table. The same call tries again:\n" + "\n".join(lines)
        )
    return table


def variant(space, recipe, chosen):
    """The recipe of one cell, named after its settings."""
    named = {name: value for name, value in chosen.items() if name != "seed"}
    words = ",".join(f"{name}={value}" for name, value in sorted(named.items()))
    changes = {**space.variants.get(named.pop("variant", None), {}), **named}
    unknown = set(changes) - {field.name for field in dataclasses.fields(recipe)}
    if unknown:
        raise ValueError(f"A grid varies fields of a recipe. Received: {', '.join(sorted(unknown))}.")
    return dataclasses.replace(recipe, name=f"{recipe.name}@{words.replace(' ', '-')}", final=False, **changes)


def as_table(space, cells):
    """The settings and scores of the cells that are trained, the best first."""
    rows = []
    for chosen, run in cells:
        if run:
            scores = {name: run.metrics["validation"][name] for name in SCORES}
            images = {f"{split}_images": run.data["num_images"][split] for split in ("train", "validation")}
            rows.append({**chosen, **scores, **images, **{name: getattr(run, name) for name in EFFORT}})
    columns = [*space.grid, *SCORES, "train_images", "validation_images", *EFFORT]
    table = pd.DataFrame(rows, columns=columns).sort_values(["accuracy", *space.grid], ascending=False)
    return table.reset_index(drop=True).rename_axis("place")


def train_here(cells, faces, options, minutes):
    """Train one cell after the other; yield the name of each with its `Run`, or with why it failed."""
    from fer_keras.training import fit

    began = time.monotonic()
    for cell in cells:
        if minutes and time.monotonic() - began >= 60 * minutes:
            return
        try:
            ended = fit(cell.recipe, cell.seed, faces=faces, **options)
        except ValueError as error:
            ended = str(error)
        yield cell.name, ended


def train_on_ray(cells, data, options, minutes, address, workers):
    """Train cells as tasks of Ray; yield as `train_here`, in the order in which they end.

    A task takes one GPU where there are some, and its share of the cores, with as many threads. If its process is
    killed, Ray starts it once more, and it resumes.
    """
    options["results"].mkdir(parents=True, exist_ok=True)
    with ray_cluster(address) as ray:
        resources = share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
        environment = {"env_vars": worker_environment(max(1, int(resources["num_cpus"])))}
        task = ray.remote(**resources, max_retries=1, runtime_env=environment)(train_in_worker)
        ends = time.time() + 60 * minutes if minutes else math.inf
        faces, refs = ray.put(data[0]), {None: None}
        for training, leader, starts in plan(cells):
            given = faces if training.same_faces else data[1]
            after = [refs[name] for name in (leader, *starts)]
            refs[training.name] = task.remote(training, given, options, ends, *after)
        names = {ref: name for name, ref in refs.items() if ref}
        running = list(names)
        try:
            while running:
                (ref,), running = ray.wait(running)
                try:
                    ended = ray.get(ref)[1]
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[-1]
                    ended = f"it was lost, or a training that it waits for. {type(error).__name__}: {reason}"
                if ended:
                    yield names[ref], ended
        finally:
            for ref in running:
                ray.cancel(ref, force=True)


def plan(cells):
    """What each training waits for: a list of `(Training, name of its leader or None, names of its starts)`.

    What cells start or learn from comes before them, once. Of trainings with the same frozen backbone, the first leads:
    it computes the features that the others read.
    """
    planned, first = {}, {}

    def add(training):
        recipe, starts = training.recipe, []
        named = [(recipe.start_recipe, training.seed)] if recipe.start_recipe else []
        for name, seed in [*named, *((name, seed) for name, _, seed in recipe.teachers)]:
            start = find_recipe(name)
            starts.append(Training(start, seed, training.same_faces and start.classes == recipe.classes))
            if starts[-1].name not in planned:
                add(starts[-1])
        leader = first.setdefault(training.backbone or training.name, training.name)
        leader = None if leader == training.name else leader
        planned[training.name] = training, leader, [start.name for start in starts]

    for cell in cells:
        add(cell)
    return list(planned.values())


def train_in_worker(training, faces, options, ends, _, *starts):
    """Train in a process of Ray; its name, with the `Run`, the error, or None if it is too late to begin.

    Errors are returned, since Ray prints raised ones at length; the other trainings go on.
    """
    if time.time() >= ends:
        return training.name, None
    failed = [name for name, ended in starts if not isinstance(ended, Run)]
    try:
        if failed:
            raise ValueError(f"it starts from {failed[0]}, which failed")
        if not options["results"].is_dir():
            raise ValueError(
                f"Expected {options['results']} on every machine of the cluster. Received: one that has no such "
                "folder. Let FER_KERAS_BUILD name a folder that all share."
            )
        from fer_keras.training import fit

        return training.name, fit(training.recipe, training.seed, faces=faces, **options)
    except Exception as error:
        return training.name, f"{type(error).__name__}: {error}"


def worker_environment(threads):
    """The variables of a worker, which has them before it imports Keras."""
    import keras

    folders = {name: str(Path(value).resolve()) for name, value in os.environ.items() if name.startswith("FER_KERAS_")}
    folders["FER_KERAS_BUILD"] = str(paths.build().resolve())
    return {**folders, "KERAS_BACKEND": keras.backend.backend(), **dict.fromkeys(THREADS, str(threads))}


def share(nodes, workers=None):
    """The resources of a task, of which as many as `workers` run at once on machines with this `"CPU"` and `"GPU"`.

    >>> share([{"CPU": 8.0}, {"CPU": 4.0}])
    {'num_cpus': 1.0, 'num_gpus': 0}
    >>> share([{"CPU": 8.0}, {"CPU": 4.0}], workers=3)
    {'num_cpus': 4.0, 'num_gpus': 0}
    >>> share([{"CPU": 32.0, "GPU": 4.0}, {"CPU": 64.0}])
    {'num_cpus': 8.0, 'num_gpus': 1}
    """
    gpu = int(any(node.get("GPU") for node in nodes))
    cores = [(int(node.get("CPU", 0)), int(node.get("GPU", 0)) if gpu else math.inf) for node in nodes]

    def room(cpus):
        return sum(min(int(cpu / cpus), gpus) for cpu, gpus in cores)

    most = room(1)
    workers = most if workers is None else workers
    if not 0 < workers <= most:
        raise ValueError(f"`workers` must be 1 to {most}, as there is room for no more here. Received: {workers}.")
    shares = {1.0, *(math.floor(1e4 * cpu / parts) / 1e4 for cpu, _ in cores for parts in range(1, workers + 1))}
    return {"num_cpus": max(cpus for cpus in shares if cpus >= 1 and room(cpus) >= workers), "num_gpus": gpu}
