"""Millions of pictures on Ray Data: parts of a folder go to workers, and each writes a file of faces."""

import contextlib
import dataclasses
import logging
import os
import pickle
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from fer_keras.labels import check_classes
from fer_keras.ray_cluster import ray_cluster
from fer_keras.recognition.face_files import begin, done, folder_of, write_faces
from fer_keras.recognition.picture_parts import find_pictures, part_size, to_do
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer

MOST_BLOCKS = 10_000  # that the driver keeps account of
STOPPED = "A worker stopped: {} What was done is kept; the same call goes on from there."
ONE_THREAD = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclasses.dataclass(frozen=True)
class FaceFiles:
    """A data set of faces, written to a folder of Parquet files, and what this run did for it.

    Args:
        folder: `pathlib.Path`; `pandas.read_parquet(folder)` reads it.
        before: how many pictures were done before this run.
        pictures: how many pictures this run did.
        faces: how many faces it found in them.
        errors: how many of its pictures could not be read.
    """

    folder: Path
    before: int = 0
    pictures: int = 0
    faces: int = 0
    errors: int = 0


def recognize_on_ray(path, *, out, address=None, workers=None, **options):
    """Write the faces in all pictures of a folder to a folder of Parquet files; what is there is not done again.

    See `folders.recognize_folder`, whose engine "ray" this is.
    """
    options = portable(**options)
    out, recognizer = folder_of(out), Recognizer(**options)
    refuse_number(workers)
    pictures = find_pictures(path, without=out)
    run, size = begin(out, settings(pictures, path, recognizer, options), part_size(pictures))
    parts, left = [], 0
    for part in to_do(pictures, size, **done(out)):
        parts.append({"part": pickle.dumps(part)})
        left += part.num_pictures
    before, counts = pictures.number - left, Counter()
    bar = tqdm(total=pictures.number, initial=before, unit=" pictures", disable=None)
    with bar, on_ray(parts, Worker, (str(out), run, options), address, workers) as found:
        for each in found:
            if stopped := each.pop("stopped"):
                raise ValueError(STOPPED.format(stopped))
            counts.update(each)
            bar.update(each["pictures"])
    return FaceFiles(out, before, **counts)


def portable(*, network=DEFAULT_NETWORK, detector="auto", **options):
    """Return the options of a `Recognizer` as every worker can take them: names, and whole paths.

    Raises:
        ValueError: if the network or the detector is an object.
    """
    if not isinstance(network, str | os.PathLike) or not (detector is None or isinstance(detector, str)):
        raise ValueError(
            "On Ray, `network` and `detector` must be names or paths, from which every worker makes its own. "
            f"Received: {network!r}, {detector!r}."
        )
    if Path(network).is_file():
        network = str(Path(network).resolve())
    if detector is not None and detector.startswith("yunet:"):
        detector = f"yunet:{Path(detector.removeprefix('yunet:')).resolve()}"
    if options.get("classes") is not None:
        options["classes"] = list(check_classes(options["classes"]))
    return {"network": str(network), "detector": detector, **options}


def refuse_number(workers):
    """Raise a `ValueError` for a number of workers that is none."""
    if workers is not None and not (isinstance(workers, int) and workers > 0):
        raise ValueError(f"`workers` must be a whole number above 0, or None for all cores. Received: {workers!r}.")


def settings(pictures, path, recognizer, options):
    """Return what must stay the same for a data set of faces to go on, as plain values."""
    network = {name: recognizer.network.card[name] for name in ("name", "sha256")}
    place = pictures.folder if Path(path).is_dir() else path
    return {"path": str(Path(place).resolve()), **options, "network": network, "classes": list(recognizer.classes)}


class Worker:
    """What recognises in a process of its own, with one thread, so that workers do not fight over cores.

    Args:
        folder: of the data set of faces.
        run: name of the run.
        options: of the `Recognizer`.
    """

    def __init__(self, folder, run, options):
        self.folder, self.run, self.stopped = Path(folder), run, ""
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        try:
            self.recognizer = Recognizer(**options)
            one_thread()
        except Exception as error:
            self.stopped = f"{type(error).__name__}: {error}"

    def __call__(self, row):
        """Write the faces of one part; return what was counted, and in `stopped` what went wrong, which is no picture.

        Errors are returned because Ray prints those that are raised, at length, and in part tries again for ever.
        """
        try:
            counted = (
                {} if self.stopped else write_faces(pickle.loads(row["part"]), self.recognizer, self.folder, self.run)
            )
        except Exception as error:
            return {"stopped": f"{type(error).__name__}: {error}"}
        return {**counted, "stopped": self.stopped}


def one_thread():
    """Let OpenCV work with one thread, if it is there."""
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)


@contextlib.contextmanager
def on_ray(parts, worker, arguments, address, workers):
    """Give, while the context lasts, what workers return of parts, as it comes.

    Args:
        parts: list of dicts of plain values.
        worker: a class that is made once a process; it is called with each part and returns a dict.
        arguments: tuple of what it is made with.
        address: of a cluster, or None.
        workers: int, or None for one a core.

    Raises:
        ValueError: if a worker failed, or there are fewer cores than workers.
    """
    if not parts:
        yield ()
        return
    with ray_cluster(address, cores=workers) as ray:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if (workers or 1) > cores:
            raise ValueError(f"Expected at most a worker for each of the cluster's {cores} cores. Received: {workers}.")
        quiet(ray)
        found = ray.data.from_items(parts, override_num_blocks=min(len(parts), MOST_BLOCKS)).map(
            worker,
            fn_constructor_args=arguments,
            compute=ray.data.ActorPoolStrategy(size=min(workers or cores, len(parts))),
            num_cpus=1,
        )
        try:
            yield found.iter_rows()
        except ray.exceptions.RayError as error:
            raise ValueError(STOPPED.format(str(error).strip().splitlines()[-1])) from None


def quiet(ray):
    """Let Ray Data print nothing; what goes wrong is raised."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
