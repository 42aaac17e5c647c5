"""How fast, and how well, this package recognises beside what people install for the same job: `fer` and DeepFace.

    python benchmarks/peers.py --peer fer=PYTHON --peer deepface=PYTHON

PYTHON is the interpreter of an environment of the peer's own (README.md says how to make it); a peer that is not given
is left out. Each runs in a process of its own (`peer_workers.py`), all on the same core with one thread, on the same
pictures, in turn, round by round. `fer` runs as it comes: the quantised network, the Haar cascade. DeepFace's weights
are downloaded at first use; here its network has random weights, which its time does not depend on, and only its way
from a cut-out face to an emotion is timed, on TensorFlow and on ONNX Runtime.
- faces whose box is given: one, alone as a picture of 48x48 or in a picture of 640x480, and 64 in a picture; and the
  bare networks, on noise; our network as it ships and, beside `fer`, exported to int8, as that of `fer` is.
- picture files of 640x480 from end to end, those of `detection.py` and the astronaut of scikit-image, with recall and
  false alarms on them: faces of PublicTest where `FER_KERAS_DATA` is set, drawn ones if not.
- the film of `video.py`: every frame by itself against the defaults of `recognize_video`, with recall.
- start-up: from the start of a process to its first face.
- of ours alone: what recognition takes beside detector and network, and the memory held over 10,000 picture files.
- where `FER_KERAS_DATA` is set, accuracy on PublicTest, each given the faces as they are: `fer` as it takes boxes, with
  a margin of 10 pixels around them, and without, as its network was trained. Its network was chosen on PublicTest and
  PrivateTest together, ours on PublicTest; nothing here looks at PrivateTest.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import detection
import numpy as np
import peer_pictures
import ratios
import video
from peer_pictures import DEEPFACE, DEEPFACE_ONNX, FER, INT8, OURS
from PIL import Image

from fer_keras import paths
from fer_keras.paths import write_changed
from fer_keras.recognition.recognizer import DEFAULT_NETWORK

CALLED = {
    FER: "fer",
    DEEPFACE: "DeepFace on TensorFlow, random weights",
    DEEPFACE_ONNX: "DeepFace on ONNX Runtime, random weights",
}
WORKERS = Path(__file__).with_name("peer_workers.py")
ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
}
ALONE, FACE, FACES = "one face, a picture of 48x48", "one face, box given", "64 faces, boxes given"
BARE, BARE_64 = "bare network, one face", "bare network, 64 faces"
PICTURES, FILM, START_UP = "pictures end to end", "film", "start-up and one face"
OVERHEAD = ("recognition of arrays", "recognition of files")
MEMORY = "memory at the end"
PARTS = "its detector and network"
GOALS = {
    **{(name, FER): 1 for name in (ALONE, FACE, FACES)},
    **{(f"{name}, int8", FER): 1 for name in (ALONE, FACE, FACES)},
    **{(name, peer): 5 for name in (ALONE, FACE, FACES) for peer in (DEEPFACE, DEEPFACE_ONNX)},
    (PICTURES, FER): 2,
    (FILM, FER): 5,
}
MOST_OVERHEAD, MOST_MEMORY = 1.1, 1.05
WEIGHTS = ".deepface/weights/facial_expression_model_weights.onnx"  # below DEEPFACE_HOME


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    scenes: int  # a round, so many that each round has all backgrounds
    shots: tuple  # of the film
    pictures: int  # over which memory is watched
    starts: int


WHOLE = Size(rounds=4, scenes=3 * 19, shots=video.SHOTS[:2], pictures=10_000, starts=2)
QUICK = Size(rounds=1, scenes=2, shots=(6,), pictures=40, starts=1)


class Work(NamedTuple):
    """Something that is timed: a worker's method, its arguments by round, over how many pieces, and how often."""

    method: str
    arguments: object
    pieces: int
    times: int = 1
    unit: str = "face"
    warm: bool = True


class Process:
    """A package in a process of its own, that does as it is asked."""

    def __init__(self, command, folder):
        environment = {**os.environ, **ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3", "DEEPFACE_HOME": str(folder)}
        self.log = (folder / f"{command[2]}.log").open("w+", encoding="utf-8")
        self.running = subprocess.Popen(
            command,
            env={**environment, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):  # it ended before
            self.running.stdin.close()
        self.running.wait()
        self.running.stdout.close()
        self.log.close()

    def ask(self, work, *, times=1, **arguments):
        """Have it do something; return its answer, a dict with `seconds`, `processor` and `answer`."""
        with contextlib.suppress(BrokenPipeError):  # `answer` raises with the reason why it ended
            self.running.stdin.write(json.dumps({"work": work, "times": times, **arguments}) + "\n")
            self.running.stdin.flush()
        return self.answer()

    def answer(self):
        """Its next answer."""
        line = self.running.stdout.readline()
        if not line:
            self.running.wait()
            self.log.seek(0)
            raise RuntimeError(f"{self.running.args} ended: {self.log.read()[-2000:]}")
        return json.loads(line)


def main():
    """Measure, print, record."""
    asked = arguments()
    os.environ["DETECTOR"] = asked.detector  # the workers inherit it
    size = QUICK if asked.quick else WHOLE
    if hasattr(os, "sched_setaffinity"):  # the workers inherit it
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        commands = {name: [python, WORKERS, name] for name, python in {OURS: sys.executable, **asked.peer}.items()}
        if FER in commands:
            network = in_int8(folder, quick=asked.quick)
            commands |= {INT8: [sys.executable, WORKERS, OURS, network]} if network else {}
        processes = {name: stack.enter_context(Process(command, folder)) for name, command in commands.items()}
        if DEEPFACE in processes:
            processes[DEEPFACE].ask("export", path=str(written(folder / WEIGHTS)))
            commands[DEEPFACE_ONNX] = [asked.peer[DEEPFACE], WORKERS, DEEPFACE_ONNX]
            processes[DEEPFACE_ONNX] = stack.enter_context(Process(commands[DEEPFACE_ONNX], folder))
        found, about = measure(processes, commands, folder, size, quick=asked.quick)
    show(found, about, size.rounds)
    if asked.json:
        ratios.write(found, about["machine"], size.rounds, asked.json)
        entries = {**json.loads(asked.json.read_text(encoding="utf-8")), "about": about}
        rounded = json.loads(json.dumps(entries), parse_float=lambda text: round(float(text), 4))
        write_changed(asked.json, json.dumps(rounded, sort_keys=True, indent=1) + "\n")


def arguments():
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=PYTHON", help="fer or deepface")
    parser.add_argument("--detector", default="haar", choices=("haar", "yunet"), help="of ours; fer's is always Haar")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the ratios into this JSON file")
    asked = parser.parse_args()
    asked.peer = dict(asked.peer)
    for name in (FER, DEEPFACE):
        if name not in asked.peer:
            print(f"{name} is not measured: no --peer {name}=PYTHON was given.")
    return asked


def peer(text):
    """The name of a peer and the path of its Python."""
    name, _, python = text.partition("=")
    if name not in (FER, DEEPFACE) or not Path(python).is_file():
        raise argparse.ArgumentTypeError(
            f"Expected fer=PYTHON or deepface=PYTHON, with the path of a Python. Received: {text}"
        )
    return name, os.path.abspath(python)


def measure(processes, commands, folder, size, *, quick):
    """The ratios, and what else is to be known, as a dict."""
    images, labels, source = detection.faces(quick)
    scenes = [*detection.paste(images, num_scenes=size.rounds * size.scenes), peer_pictures.astronaut()]
    places = video.write_film(folder / "film.avi", size.shots, video.some_faces(quick=quick))
    work = all_work(folder, images, scenes, size)
    seconds, answers = in_turn(processes, work, size.rounds)
    found = compared(work, seconds) + compared_starts(commands, folder, size.starts)
    files, small = (
        peer_pictures.picture_paths(folder, size.scenes),
        peer_pictures.small_pictures(folder, scenes[: size.scenes]),
    )
    many = {"number": size.pictures, "every": size.pictures // 20}
    held = processes[OURS].ask("memory", pictures=small, **many)["answer"]
    found += [*own_overhead(processes[OURS], files), memory(held, size.pictures)]
    return found, {
        "machine": f"one core, one thread of {ratios.machine('onnxruntime', 'opencv-python-headless', 'numpy')}",
        "pictures": f"{len(scenes) - 1} scenes of {detection.FACES} faces, {source}, and the astronaut of scikit-image",
        "found in pictures": peer_pictures.in_pictures(scenes, by_peer(answers, PICTURES)),
        "found in the film": peer_pictures.in_film(places, size.shots, by_peer(answers, FILM)),
        "MB held": held,
        "peers": {peer: process.ask("versions")["answer"] for peer, process in processes.items()},
        "accuracy": {} if "PublicTest" not in source else peer_pictures.accuracies(processes, folder, images, labels),
    }


def in_int8(folder, *, quick):
    """The path of our default network in int8, or None where it cannot be exported; quickly, as it ships."""
    if quick:
        return paths.PACKAGE / "weights" / f"{DEFAULT_NETWORK}.onnx"
    path = folder / "int8.onnx"
    export = ["-m", "fer_keras", "export", DEFAULT_NETWORK, "--quantize", "int8", "--out", path]
    done = subprocess.run([sys.executable, *export], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"Our network in int8 is not measured: {done.stderr.strip().splitlines()[-1]}")
    return path if done.returncode == 0 else None


def written(path):
    """A path whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def all_work(folder, images, scenes, size):
    """Write what the packages look at; return the `Work` by name."""
    files = peer_pictures.picture_paths(folder, len(scenes))
    for path, scene in zip(files, scenes, strict=True):
        Image.fromarray(scene.picture).save(path, quality=95)
    cut_out, few = images[np.resize(np.arange(len(images)), 64)], files[: size.scenes]
    np.save(folder / "faces.npy", cut_out)
    np.save(folder / "face.npy", cut_out[:1])
    sheet, places = peer_pictures.picture_of_many(cut_out)
    Image.fromarray(sheet).save(folder / "sheet.png")
    one = {"pictures": few, "boxes": [scene.boxes[:1] for scene in scenes[: size.scenes]]}
    many = {"pictures": [str(folder / "sheet.png")], "boxes": [places]}

    def of_round(number):
        end = len(files) if number == size.rounds - 1 else (number + 1) * size.scenes
        return {"pictures": files[number * size.scenes : end]}

    return {
        ALONE: Work("cut_out", lambda _: {"faces": str(folder / "faces.npy")}, 64, 2),
        FACE: Work("given", lambda _: one, size.scenes, 2),
        FACES: Work("given", lambda _: many, 64, 2),
        BARE: Work("network", lambda _: {"number": 1}, 1, 100),
        BARE_64: Work("network", lambda _: {"number": 64}, 64, 2),
        PICTURES: Work("files", of_round, size.scenes, unit="picture"),
        FILM: Work("film", lambda _: {"path": str(folder / "film.avi")}, sum(size.shots), unit="frame", warm=False),
    }


def in_turn(processes, work, rounds):
    """Have all do the same in turn; return seconds of each round and answers, by name of the work and of the peer."""
    seconds, answers = {}, {}
    for number in range(-1, rounds):  # the first is for warming up
        for name, (method, arguments, _, times, _, warm) in work.items():
            able = [peer for peer in processes if name not in (PICTURES, FILM) or peer in (OURS, FER)]
            first = max(number, 0) % len(able)
            for peer in able[first:] + able[:first] if number >= 0 or warm else []:
                asked = arguments(max(number, 0))
                answer = processes[peer].ask(method, times=1 if number < 0 else times, **asked)
                if number >= 0:
                    taken = seconds.setdefault((name, peer), ratios.Seconds())
                    taken.append(answer["seconds"] / times)
                    taken.processor += answer["processor"] / times
                    answers.setdefault((name, peer), []).append(answer["answer"])
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return seconds, answers


def by_peer(answers, name):
    """The answers to one work, by peer."""
    return {peer: rounds for (each, peer), rounds in answers.items() if each == name}


def compared(work, seconds):
    """The ratios of peers' times to ours."""
    found = []
    for name, peer in seconds:
        if peer not in (OURS, INT8):
            found.append(between(work[name], seconds[name, peer], seconds[name, OURS], name, peer))
        if peer == FER and (name, INT8) in seconds:
            found.append(between(work[name], seconds[name, peer], seconds[name, INT8], f"{name}, int8", peer))
    return found


def between(work, theirs, ours, name, peer):
    """The ratio of a peer's time to ours."""
    each = [f"{1000 * min(times) / work.pieces:.3g}" for times in (ours, theirs)]
    goal, scale = GOALS.get((name, peer)), f"{each[0]} against {each[1]} ms a {work.unit}"
    return ratios.Ratio(name, CALLED[peer], theirs, ours, goal=goal, scale=scale)


def compared_starts(commands, folder, starts):
    """The ratios of the times that processes take to start and name a face."""
    seconds = {peer: ratios.Seconds() for peer in commands if peer != INT8}
    for _ in range(starts):
        for peer in seconds:
            started, worked = time.perf_counter(), processor_of_children()
            with Process(commands[peer], folder) as process:
                process.ask("cut_out", faces=str(folder / "face.npy"))
                seconds[peer].append(time.perf_counter() - started)
            seconds[peer].processor += processor_of_children() - worked
    return [
        ratios.Ratio(
            START_UP,
            CALLED[peer],
            taken,
            seconds[OURS],
            scale=f"{min(seconds[OURS]):.2f} against {min(taken):.2f} s",
        )
        for peer, taken in seconds.items()
        if peer != OURS
    ]


def processor_of_children():
    """The processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def own_overhead(process, files):
    """The ratios of all that recognition takes to what detector and network take in it."""
    found = []
    for name, taken in zip(OVERHEAD, process.ask("parts", pictures=files)["answer"], strict=True):
        whole, detector, network = taken
        each = [f"{1000 * part / len(files):.3g}" for part in taken]
        found.append(
            ratios.Ratio(
                name,
                PARTS,
                [whole],
                [detector + network],
                goal=MOST_OVERHEAD if name == OVERHEAD[0] else None,
                at_most=True,
                scale=f"{each[0]} against {each[1]} + {each[2]} ms of processor a picture",
            )
        )
    return found


def memory(held, pictures):
    """The ratio of the memory held at the end to that held soon after the start."""
    against, times = "soon after the start", (held[-1:], held[:1])
    scale = f"{held[-1]:.1f} MB after {pictures:,} pictures against {held[0]:.1f} after {pictures // len(held):,}"
    return ratios.Ratio(MEMORY, against, *times, goal=MOST_MEMORY, at_most=True, scale=scale)


def show(found, about, rounds):
    """Print the ratios, and what stands beside them."""
    ratios.show(found, about["machine"], rounds)
    print()
    for name in ("peers", "pictures", "found in pictures", "found in the film", "accuracy", "MB held"):
        print(f"{name}: {json.dumps(about[name], indent=1) if isinstance(about[name], dict) else about[name]}")
    if DEEPFACE in about["peers"]:
        print("\nDeepFace ran with RANDOM weights: its times stand for it, what it answers does not.")


if __name__ == "__main__":
    main()
