"""Train many runs at once on Ray Tune, on this machine or on a cluster; who asked is told of each as it ends."""

import contextlib
import os
import shutil
from pathlib import Path

import keras

from fer_keras import paths
from fer_keras.ray_cluster import ray_cluster
from fer_keras.training.jobs import Queue, plan

# Tune prints nothing, writes no logs of trials, stays in the working directory and leaves Ctrl-C to us.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
# How many threads a backend may use: TensorFlow's two pools, and XLA's, with which JAX computes.
THREADS = ("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")


def fit_all(wanted, told, *, faces, folder, address=None, workers=None, minutes=None, **options):
    """Train runs on Ray, as many at once as there is room for.

    A trial takes one GPU where the cluster has some, and its share of the processors, with as many threads. On several
    machines `paths.build()` must be a folder that all of them see; a training that does not find it says so.

    Args:
        wanted: list of `(recipe, seed)`.
        told: function of a place in that list and the `Run`, called on this machine as soon as it has ended.
        faces: a `FaceDataset`, sent to the workers once.
        folder: `pathlib.Path` below `paths.build()`: records go to its `results`, Tune's own files lie there meanwhile.
        address: of a cluster, as `ray.init` takes it; None starts a Ray on this machine for as long as it is needed.
        workers: how many are trained at once; None is one a GPU, or one a processor where there is no GPU.
        minutes: begin none so many minutes after the first; None begins all.
        options: of `fit`, the same for all.

    Returns:
        dict from the name of each run that failed to what went wrong; the others go on.

    Raises:
        ImportError: if Ray is not installed.
        ValueError: if there is no cluster at the address, or no room for so many workers.
    """
    if address and address.startswith("ray://"):
        raise ValueError(
            "Who asked is told on its own machine, so that must be one of the cluster. Expected an address like auto "
            f"or HOST:PORT. Received: {address}."
        )
    folder = folder.resolve()
    options["results"], storage = folder / "results", folder / "tune"
    jobs = plan(wanted, faces, options["results"])
    with environment(QUIET), ray_cluster(address) as ray:
        from ray import tune

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        workers, resources = share(nodes, workers)
        queue = Queue(jobs, workers=workers, minutes=minutes)
        trial = tune.with_parameters(trainable(resources["cpu"], options), faces=faces)
        shutil.rmtree(storage, ignore_errors=True)  # of a search that was killed
        try:
            tune.Tuner(
                tune.with_resources(trial, resources),
                tune_config=tune.TuneConfig(search_alg=asking(queue, told), num_samples=-1, reuse_actors=True),
                run_config=tune.RunConfig(name="trials", storage_path=str(storage), verbose=0),
            ).fit()
        finally:
            shutil.rmtree(storage, ignore_errors=True)
    return queue.failed


def trainable(threads, options):
    """Return what Tune runs for each job in another process, perhaps on another machine.

    A function inside a function travels as it is, so that no Keras is imported before its settings are there.
    """
    names = [name for name in ("FER_KERAS_CACHE", "FER_KERAS_DATA") if os.environ.get(name)]
    settings = {name: str(Path(os.environ[name]).resolve()) for name in names}
    settings |= {"FER_KERAS_BUILD": str(paths.build().resolve()), "KERAS_BACKEND": keras.backend.backend()}
    settings |= dict.fromkeys(THREADS, str(threads))

    def train(config, faces):
        os.environ.update(settings)
        from fer_keras.training.trainer import fit

        try:
            if not options["results"].parent.is_dir():
                raise ValueError(
                    f"{options['results'].parent} is not on this machine: the machines of a Ray must share the folder "
                    "that FER_KERAS_BUILD names."
                )
            given = faces if config["given"] else None
            return {"run": fit(config["recipe"], config["seed"], faces=given, **options)}
        except Exception as error:  # of whatever kind: it is told, and the others go on
            return {"error": f"{type(error).__name__}: {error}"}

    return train


def asking(queue, told):
    """Return the `ray.tune` searcher that asks a queue what to train next, and tells what became of it."""
    from ray.tune.search import Searcher

    class Asking(Searcher):
        def suggest(self, trial_id):
            job = queue.begin(trial_id)
            if job is None:  # none now, or none any more
                return None if queue.waiting else Searcher.FINISHED
            return {"recipe": job.recipe, "seed": job.seed, "given": job.given}

        def on_trial_complete(self, trial_id, result=None, error=False):
            lost = "its process ended, killed or for want of memory" if error else None
            job = queue.end(trial_id, (result or {}).get("error", lost))
            if job.number is not None and job.name not in queue.failed:
                told(job.number, result["run"])

        def save_to_dir(self, *_, **__):
            """Save nothing: who is told keeps the book."""

    return Asking()


def share(nodes, workers=None):
    """Return how many trials run at once and what each takes: as many processors as leave room for all.

    Args:
        nodes: list of dicts, what each machine has: `"CPU"`, `"GPU"`.
        workers: how many are wanted; None is one a GPU, or one a processor where there is no GPU.

    Raises:
        ValueError: if there is no room for so many.

    Example:

    >>> share([{"CPU": 8.0}])
    (8, {'cpu': 1, 'gpu': 0})
    >>> share([{"CPU": 8.0}, {"CPU": 4.0}], workers=3)
    (3, {'cpu': 4, 'gpu': 0})
    >>> share([{"CPU": 32.0, "GPU": 4.0}, {"CPU": 64.0}])
    (4, {'cpu': 8, 'gpu': 1})
    """
    gpu = int(any(node.get("GPU") for node in nodes))
    cores = [(int(node.get("CPU", 0)), int(node.get("GPU", 0)) if gpu else None) for node in nodes]

    def room(cpus):
        return sum(cpu // cpus if gpus is None else min(cpu // cpus, gpus) for cpu, gpus in cores)

    most = room(1)
    workers = most if workers is None else workers
    if not 0 < workers <= most:
        raise ValueError(f"`workers` must be 1 to {most}, as there is room for no more here. Received: {workers}.")
    return workers, {"cpu": max(cpus for cpus in range(1, max(cores)[0] + 1) if room(cpus) >= workers), "gpu": gpu}


@contextlib.contextmanager
def environment(settings):
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
