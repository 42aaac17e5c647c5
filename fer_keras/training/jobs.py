"""The runs that are trained side by side, and which of them may begin: what others start from comes first."""

import dataclasses
import time

from fer_keras.data.transforms import Augmentation
from fer_keras.recipes import find_recipe, for_split
from fer_keras.results import runs


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to train.

    Args:
        recipe: a `Recipe`.
        seed: int.
        given: whether it trains on the faces that were given, or on what its recipe names.
        number: its place among those asked for, or None if others only start from it.
        needs: names of the jobs that must have ended before it begins.
    """

    recipe: object
    seed: int
    given: bool = True
    number: int | None = None
    needs: tuple = ()

    @property
    def name(self):
        """The name of its record."""
        return runs.run_id(self.recipe.name, self.recipe.digest, self.seed)

    @property
    def shares(self):
        """What decides the features of a frozen backbone, which are kept for others to find; None if it has none."""
        recipe, start = self.recipe, (self.recipe.weights, self.recipe.start_recipe)
        if not any(start) or recipe.trainable_from or recipe.augmentation != Augmentation():
            return None
        return (
            recipe.model,
            recipe.model_options,
            recipe.data,
            recipe.positive,
            recipe.train_fraction,
            self.seed,
            *start,
        )


def plan(wanted, faces, results):
    """Return the jobs that train the wanted runs, after those that they start from and that are not recorded yet.

    Args:
        wanted: list of `(recipe, seed)`.
        faces: a `FaceDataset`.
        results: folder of results.
    """
    starts, jobs = {}, []
    for number, (recipe, seed) in enumerate(wanted):
        needs = []
        for start in before(Job(recipe, seed), faces.protocol):
            if runs.find_run(start.recipe, start.seed, folder=results) is None:
                starts[start.name] = dataclasses.replace(start, needs=tuple(needs))
                needs.append(start.name)
        jobs.append(Job(recipe, seed, number=number, needs=tuple(needs)))
    return [*starts.values(), *jobs]


def before(job, protocol):
    """Yield the jobs that a job starts or learns from, and before each of them what that one starts from."""
    recipe = job.recipe
    named = [(recipe.start_recipe, job.seed)] if recipe.start_recipe else []
    for name, seed in [*named, *((name, seed) for name, _, seed in recipe.teachers)]:
        start = for_split(find_recipe(name), protocol)
        start = Job(start, seed, given=job.given and start.classes == recipe.classes)
        yield from before(start, protocol)
        yield start


class Queue:
    """The jobs that wait, those that run, and what became of the others.

    What several frozen backbones share is computed by the first of them, alone; the others wait for it.

    Args:
        jobs: list of `Job`, in the order in which they begin if they may.
        workers: how many run at once.
        minutes: none begins so many minutes after the first; None is no limit.
    """

    def __init__(self, jobs, *, workers, minutes=None):
        self.waiting, self.workers, self.minutes = list(jobs), workers, minutes
        self.running, self.done, self.failed, self.began = {}, set(), {}, None

    def begin(self, key):
        """Return the next job, which runs under this key from now on; None if none may begin now."""
        if self.began is None:
            self.began = time.monotonic()
        elif self.minutes and time.monotonic() - self.began >= 60 * self.minutes:
            self.waiting.clear()
        if len(self.running) >= self.workers:
            return None
        job = next((job for job in self.waiting if self.may_begin(job)), None)
        if job is not None:
            self.waiting.remove(job)
            self.running[key] = job
        return job

    def may_begin(self, job):
        """Tell whether what a job needs is there, and nobody is about to compute what it shares."""
        computed_now = {other.shares for other in self.running.values()} - self.done - {None}
        return self.done.issuperset(job.needs) and job.shares not in computed_now

    def end(self, key, error=None):
        """Return the job of this key, which has ended, well or with an error; with it fails what starts from it."""
        job = self.running.pop(key)
        if error is None:
            self.done |= {job.name, job.shares}
            return job
        self.failed[job.name] = error
        for other in [other for other in self.waiting if job.name in other.needs]:
            self.waiting.remove(other)
            self.failed[other.name] = f"it starts from {job.name}, which failed"
        return job
