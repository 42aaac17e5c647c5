"""Train a grid of settings, one cell after the other or several at once on Ray; the best is chosen on validation."""

import math
import os
import time
from pathlib import Path

import pandas as pd

from fer_keras import paths
from fer_keras.data import FaceDataset
from fer_keras.data.augmentation import Augmentation
from fer_keras.ray_cluster import ray_cluster, share
from fer_keras.recipes import Space, find_recipe, find_space, variant_for
from fer_keras.results import Run, find_run, run_id, search_table, write_table


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
    """Train the cells of a grid that are not trained yet, and record the table of all that are as `search-<space>`.

    Stopped or killed, with Ray or without, the same call resumes. No cell sees the test split.

    Args:
        space: a `recipes.Space`, or its name.
        seed: of every cell, unless the grid has seeds of its own.
        faces: a `FaceDataset`, or the path of data, as for `fit`.
        results: folder of the table; None is `paths.own_results()`.
        minutes: begin no cell after so many minutes; None trains the whole grid.
        precision, verbose: as for `fit`, of every cell; with Ray, a line for each cell, or nothing for 0.
        ray: None trains one cell after the other; True several at once, on a Ray of this machine; a string is the
            address of a running cluster, whose machines must share the folder `paths.build()`.
        workers: how many cells Ray trains at once; None is one a GPU, or one a core where there is no GPU.

    Returns:
        A `pandas.DataFrame`, the best cell on validation first.

    Raises:
        ValueError: if the grid has a field that recipes lack, if the data does not fit, if there is no such cluster;
            and at the end if cells failed, which stop no other.
        ImportError: if Ray is asked for and not installed.
    """
    from sklearn.model_selection import ParameterGrid

    from fer_keras.training.data import check_options, load_recipe_data

    seed, minutes = check_options(seed=seed, minutes=minutes)
    results = paths.own_results(results)
    paths.check_writable(results / "tables" / "file")
    space = find_space(space) if isinstance(space, str) else space
    recipe, path = find_recipe(space.recipe), None
    if not isinstance(faces, FaceDataset):
        faces, path = load_recipe_data(recipe, faces, any_split=True), faces
    recipe = variant_for(recipe, faces)
    folder = paths.build() / "searches" / f"{space.name}-{recipe.digest[:8]}-s{seed}-{faces.fingerprint[:8]}"
    options = {"results": folder.resolve() / "results", "precision": precision, "verbose": 0 if ray else verbose}
    options["results"].mkdir(parents=True, exist_ok=True)
    settings, ended, waiting = {}, {}, {}
    for chosen in ParameterGrid(space.grid):
        cell = space.cell(recipe, chosen), chosen.get("seed", seed)
        name = run_id(cell[0].name, cell[0].digest, cell[1])
        settings[name], ended[name] = chosen, find_run(*cell, folder=options["results"])
        waiting |= {} if ended[name] else {name: cell}
    ends = time.time() + 60 * (minutes or math.inf)
    if ray and waiting:
        trained = train_on_ray(waiting, (faces, path), options, ends, None if ray is True else ray, workers)
    else:
        trained = ((name, train_cell(*cell, path or faces, options, ends)) for name, cell in waiting.items())
    try:
        for name, run in trained:
            ended[name] = run
            if ray and verbose and isinstance(run, Run):
                print(f"{name}: validation {run.scores['accuracy']:.4f}, {run.seconds:.0f} s", flush=True)
    finally:  # also when it is stopped
        table = search_table(space, [(settings[name], run) for name, run in ended.items() if isinstance(run, Run)])
        if len(table):
            write_table(f"search-{space.name}", table, folder=results)
    if failed := [f"\n{name}: {error}" for name, error in sorted(ended.items()) if isinstance(error, str)]:
        received = f"{len(failed)} that failed; {len(table)} cells are in the table. The same call tries again"
        raise ValueError(f"Expected every training of {space.name} to end. Received: {received}:{''.join(failed)}")
    return table


def train_on_ray(cells, data, options, ends, address, workers):
    """Train cells as tasks of Ray; yield the name of each and what `train_cell` returns, as they end.

    A task takes a GPU where there are some, and its share of the cores; if its process is killed, Ray starts it once
    more, and it resumes. Of cells that share work, the others wait for the first.
    """
    import keras

    places = {name: path for name, path in os.environ.items() if name.startswith("FER_KERAS_")}
    environment = {name: str(Path(path).resolve()) for name, path in places.items()}
    environment |= {"FER_KERAS_BUILD": str(paths.build().resolve()), "KERAS_BACKEND": keras.backend.backend()}
    with ray_cluster(address) as ray:
        resources = share([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
        # TensorFlow's two pools of threads, and that of XLA, with which JAX computes; set before Keras is imported.
        threads = ("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")
        environment |= dict.fromkeys(threads, str(max(1, int(resources["num_cpus"]))))
        task = ray.remote(**resources, max_retries=1, runtime_env={"env_vars": environment})(train_cell)
        faces, names, first = ray.put(data[0]), {}, {}
        for name, (recipe, seed) in cells.items():
            work = shared_work(recipe, seed)
            leaders = {first[each] for each in work if each in first}
            others = any(classes != recipe.classes for classes in work.values())  # whose faces the worker reads
            ref = task.remote(recipe, seed, (others and data[1]) or faces, options, ends, *leaders)
            names[ref], first = name, dict.fromkeys(work, ref) | first
        running = list(names)
        try:
            while running:
                (ref,), running = ray.wait(running)
                try:
                    ended = ray.get(ref)
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().splitlines()[-1]
                    ended = f"it was lost, or a training that it waits for. {type(error).__name__}: {reason}"
                yield names[ref], ended
        finally:
            for ref in running:
                ray.cancel(ref, force=True)


def shared_work(recipe, seed):
    """What `fit` computes first, or reads if another has: starts, teachers, features; a dict to their classes."""
    work, backbone = {}, (recipe.weights, recipe.start_recipe)
    for name, _, own in [(recipe.start_recipe, "", seed), *recipe.teachers]:
        if name:
            work |= {(name, own): find_recipe(name).classes, **shared_work(find_recipe(name), own)}
    if any(backbone) and not recipe.trainable_from and recipe.augmentation == Augmentation():  # it is frozen
        work[recipe.model, recipe.train_fraction, *backbone] = recipe.classes
    return work


def train_cell(recipe, seed, faces, options, ends, *_):
    """Train here or in a process of Ray; the `Run`, or the error's text, or None if it is too late to begin."""
    if time.time() >= ends:
        return None
    try:
        from fer_keras.training import fit

        if not options["results"].is_dir():
            words = f"Expected {options['results']} on every machine of the cluster. Received: one that has no such"
            raise ValueError(f"{words} folder. Let FER_KERAS_BUILD name a folder that all share.")
        return fit(recipe, seed, faces=faces, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
