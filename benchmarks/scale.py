"""What recognition costs a picture, and whether two workers on two cores do twice the work of one, here and in a sweep.

The pictures are JPEGs of scikit-image's astronaut, 512x512 pixels with one face, each turned and lit differently.
- A picture: decode, detection, crop and network, each timed alone in one process with one thread; and the whole way
  from the file to the Parquet file of faces; bytes in, bytes out.
- Start-up: a new process until it can recognise; Ray until it is there; its workers until the first begins.
- Two workers against one, one thread each: Ray with one core, then with two, taking turns. Each time, recognition of
  the pictures, and a sweep of equal trainings. Work is counted from when the first worker begins to when the last ends.
- Memory: that of each worker's process, what it shares with others counted in part (PSS) and in full (RSS).
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything counts the cores
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import dataclasses
import json
import math
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import ratios
import skimage.data
from PIL import Image, ImageEnhance

from fer_keras.paths import write_changed
from fer_keras.ray_cluster import num_cores, ray_cluster
from fer_keras.recognition.networks import BATCH
from fer_keras.recognition.photos import ENOUGH_SIDE, open_photo
from fer_keras.recognition.ray_folders import Worker, begin, find_pictures, map_parts, parts_left
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer

GOAL = 1.7  # times as fast with two workers as with one
RECOGNITION, SWEEP = "recognition, two workers", "sweep, two workers"
RECIPE = "capstone-model-1"
MANY = (10_000, 10_000_000)  # pictures
START_UP = """
import time
began = time.perf_counter()
from fer_keras.recognition.recognizer import Recognizer
imported = time.perf_counter()
Recognizer(detector="haar")
print(imported - began, time.perf_counter() - imported)
"""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        pictures: how many.
        part: of how many pictures a part is.
        staged: how many of them are timed stage by stage.
        rounds: how often the workers take turns.
        trainings: of the sweep.
        faces: of each class, that a training sees.
        epochs: of each training.
    """

    pictures: int
    part: int
    staged: int
    rounds: int
    trainings: int
    faces: int
    epochs: int


FULL, QUICK = Size(256, 16, 128, 3, 4, 120, 12), Size(12, 3, 6, 1, 2, 8, 1)


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    cv2.setNumThreads(1)
    size = QUICK if asked.quick else FULL
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        os.environ["FER_KERAS_BUILD"] = str(place / "build")
        draw(place / "pictures", size.pictures)
        figures = {"a picture": a_picture(place, size), "start-up": start_up(size.rounds)}
        runs = in_turn(place, size)
    figures |= summary(runs, figures, size)
    found = compare(runs)
    where = ratios.machine("ray", "onnxruntime", "opencv-python-headless", "pillow")
    ratios.show(found, where, size.rounds)
    print(json.dumps(figures, indent=1))
    if asked.json:
        record(found, where, size, figures, asked.json)


def draw(folder, number):
    """Write the pictures."""
    folder.mkdir()
    astronaut, generator = Image.fromarray(np.asarray(skimage.data.astronaut())), np.random.default_rng(0)
    for index in range(number):
        turned = astronaut.rotate(generator.uniform(-8, 8), Image.Resampling.BILINEAR)
        lit = ImageEnhance.Brightness(turned).enhance(generator.uniform(0.7, 1.2))
        lit.save(folder / f"{index}.jpg", quality=90)


def a_picture(place, size):
    """The cost of one picture for one process with one thread: milliseconds a stage, pictures a second, bytes."""
    recognizer = Recognizer(detector="haar")
    files = sorted((place / "pictures").iterdir())
    for name, size_of_part in (("warm", size.part), ("alone", size.pictures)):  # then one file, as where there are many
        part, *_ = parts_of(place, size_of_part)
        begin(place / name, [], size_of_part)
        worker = Worker(place / name, pickle.dumps(recognizer))
        began = time.perf_counter()
        counted = worker.write(part)
    whole = (time.perf_counter() - began) / size.pictures
    stages = {name: 1000 * seconds for name, seconds in by_stage(files[: size.staged], recognizer).items()}
    written = sum(file.stat().st_size for file in (place / "alone").glob("*.parquet"))
    return {
        "network": DEFAULT_NETWORK,
        "kind": "JPEG, 512x512 pixels, one face",
        "pictures": size.pictures,
        "faces": counted["faces"],
        "pictures a second and core": 1 / whole,
        "milliseconds": stages | {"rest": 1000 * whole - sum(stages.values()), "whole": 1000 * whole},
        "bytes in": sum(file.stat().st_size for file in files) / size.pictures,
        "bytes out": written / size.pictures,
        "pictures a file of faces": size.pictures,
    }


def parts_of(place, part):
    """The parts of the pictures."""
    return list(parts_left(*find_pictures(place / "pictures"), place / "nothing", part))


def by_stage(files, recognizer):
    """The seconds a picture of each stage, over some pictures; faces are named in batches as everywhere."""
    read, decode = timed(lambda: [open_photo(file, side=ENOUGH_SIDE).rgb for file in files])
    detections, detection = timed(lambda: [recognizer.detect(rgb) for rgb in read])
    crops, cut = timed(lambda: [recognizer.crops(*pair) for pair in zip(read, detections, strict=True)])
    crops = np.concatenate(crops)
    batches = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    _, network = timed(lambda: [recognizer.calibrated(batch) for batch in batches])
    seconds = {"decode": decode, "detection": detection, "crop": cut, "network": network}
    return {name: value / len(files) for name, value in seconds.items()}


def timed(work):
    """The result of a function, and the seconds of the faster of two calls."""
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return result, min(seconds)


def start_up(rounds):
    """The seconds until a new process can recognise: importing, and opening detector and network."""
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", START_UP], check=True, capture_output=True, text=True)
        found.append([float(value) for value in done.stdout.split()])
    imports, opens = (min(column) for column in zip(*found, strict=True))
    return {"import": imports, "network and detector": opens}


def in_turn(place, size):
    """The measurements of each round, a dict by kind of work and number of workers of lists of dicts."""
    runs = {}
    for number in range(size.rounds):
        for workers in ((1, 2), (2, 1))[number % 2]:
            began = time.perf_counter()
            with ray_cluster(cores=workers) as ray:
                connected = time.perf_counter() - began
                name = f"{number}-{workers}"
                here = {"ray": connected, **recognise(place, name, size, workers)}
                runs.setdefault((RECOGNITION, workers), []).append(here)
                runs.setdefault((SWEEP, workers), []).append(sweep(place / "build" / name, size, workers))
                del ray
        print(f"round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
    return runs


def recognise(place, name, size, workers):
    """The seconds of recognising all pictures with some workers, and the memory of each."""

    class Timed(Worker):  # inside a function, it travels to the workers as it is
        def __call__(self, row):
            began = time.time()
            return {**super().__call__(row), "began": began, "ended": time.time()}

    out = place / f"faces-{name}"
    begin(out, [], size.part)
    arguments = (str(out), pickle.dumps(Recognizer(detector="haar")))
    asked, spans, memory = time.time(), [], {}
    for each in map_parts(parts_of(place, size.part), Timed, arguments, workers=workers):
        spans.append((each["began"], each["ended"]))
        memory = most(memory, memory_of_workers())
    first, last = min(began for began, _ in spans), max(ended for _, ended in spans)
    return {"work": last - first, "workers": first - asked, "whole": time.time() - asked, "memory": memory}


def sweep(folder, size, workers):
    """The seconds of equal trainings with some workers, and the memory of each."""
    from fer_keras.data.synthetic_faces import make_faces
    from fer_keras.labels import FER4
    from fer_keras.recipes import find_recipe
    from fer_keras.training.search import train_on_ray

    recipe = find_recipe(RECIPE)
    recipe = dataclasses.replace(recipe, name=f"{recipe.name}@scale", final=False, epochs=size.epochs)
    cells, faces = {seed: (recipe, seed) for seed in range(size.trainings)}, make_faces(size.faces, classes=FER4)
    options = {"results": folder / "results", "verbose": 0}
    options["results"].mkdir(parents=True, exist_ok=True)
    asked, spans, memory = time.time(), [], {}
    for _, run in train_on_ray(cells, (faces, None), options, ends=math.inf, address=None, workers=workers):
        if isinstance(run, str):
            raise RuntimeError(run)
        spans.append((time.time() - run.seconds, time.time()))
        memory = most(memory, memory_of_workers())
    first, last = min(began for began, _ in spans), max(ended for _, ended in spans)
    return {"work": last - first, "workers": first - asked, "whole": time.time() - asked, "memory": memory}


def memory_of_workers():
    """The largest `Rss` and `Pss`, in MB, of the processes of this Ray that work; nothing where Linux is not."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if (place / "cmdline").read_bytes().startswith(b"ray::") and grandparent(place) == os.getpid():
                lines = [line.split() for line in (place / "smaps_rollup").read_text().splitlines()[1:]]
                found = most(
                    found, {line[0][:-1]: int(line[1]) / 1024 for line in lines if line[0] in ("Rss:", "Pss:")}
                )
    return found


def grandparent(place):
    """The id of the process that started the one that started a process, given by its folder in `/proc`."""
    parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
    return int(Path("/proc", parent, "stat").read_text().rpartition(")")[2].split()[1])


def most(some, others):
    """The larger of the values of two dicts, by key."""
    return {key: max(some.get(key, 0), others.get(key, 0)) for key in {*some, *others}}


def summary(runs, figures, size):
    """The figures of all rounds: seconds until Ray and its workers are there, their share, memory a worker."""
    ones, twos = (runs[RECOGNITION, workers] for workers in (1, 2))
    ray, workers = (min(each[name] for each in twos) for name in ("ray", "workers"))
    rate = size.pictures / min(each["work"] for each in twos)
    started = ray + workers
    shares = {f"{number}": started / (started + number / rate) for number in MANY}
    memory = {}
    for kind, name in ((RECOGNITION, "recognition"), (SWEEP, "sweep")):
        found = {}
        for each in runs[kind, 2]:
            found = most(found, each["memory"])
        memory[name] = {key.lower(): value for key, value in found.items()}
    return {
        "start-up": figures["start-up"] | {"ray": ray, "workers": workers, "share of pictures on two cores": shares},
        "memory a worker in MB": memory,
        "pictures a second": {
            "one worker": size.pictures / min(each["work"] for each in ones),
            "two workers": rate,
        },
    }


def compare(runs):
    """The ratios of two workers to one."""
    found = []
    for kind in (RECOGNITION, SWEEP):
        for name, goal in (("work", GOAL), ("whole", None)):
            one, two = ([each[name] for each in runs[kind, workers]] for workers in (1, 2))
            scale = f"{min(one):.3g} against {min(two):.3g} s"
            words = kind if name == "work" else f"{kind}, start of the workers included"
            found.append(ratios.Ratio(words, "one worker", one, two, goal=goal, scale=scale))
    return found


def record(found, where, size, figures, path):
    """Put the ratios and the figures into a JSON file."""
    ratios.write(found, f"{num_cores()} cores used of {where}", size.rounds, path)
    entries = {**json.loads(path.read_text(encoding="utf-8")), "figures": figures}
    rounded = json.loads(json.dumps(entries), parse_float=lambda text: round(float(text), 4))
    write_changed(path, json.dumps(rounded, sort_keys=True, indent=1) + "\n")


if __name__ == "__main__":
    main()
