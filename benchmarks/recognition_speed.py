"""How fast networks name faces that were cut out, on one core: `fer-small` against the published mini-Xception.

The networks have random weights, which the time does not depend on, and are exported by `fer_keras.export`:
- fer-small: ours, at 48x48;
- mini-Xception: the same network as the published one, at FER-2013's own 48x48;
- published: mini-Xception at 64x64, as the packages ship it that people install.
Each runs on ONNX Runtime, on LiteRT and as a compiled `tf.function` of Keras, on one face and on 64, one thread each,
the process held on one core. Beside float32 stand fer-small in int8, and ONNX files as Keras alone writes them. And
start-up: a new process that opens the shipped mini-Xception and names one face, on ONNX Runtime alone and on Keras.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if hasattr(os, "sched_setaffinity"):  # before TensorFlow counts the cores
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import ratios
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from fer_keras.labels import FER7
from fer_keras.models import build
from fer_keras.models.weights import Network
from fer_keras.recognition import networks
from fer_keras.recognition.export import export

OURS, SMALLER, PUBLISHED = "fer-small", "mini-Xception", "published"
NETWORKS = {OURS: ("fer-small", 48), SMALLER: ("mini-xception", 48), PUBLISHED: ("mini-xception", 64)}
ONNX, LITERT, FUNCTION = "ONNX Runtime", "LiteRT", "tf.function"
ALONE = "ONNX Runtime, exported by Keras alone"
INT8 = {ONNX: "ONNX Runtime int8", LITERT: "LiteRT int8"}
SIZES = {"one face": 1, "64 faces": 64}
AT_A_TIME = {1: 60, 64: 2}  # calls that are timed together
MOST_MS = 1  # for one face
START_UP = "start-up and one face"
OPENING = {ONNX: "open_network", FUNCTION: "keras_network"}
MOST_SECONDS = 1  # for start-up


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rounds = 2 if asked.quick else 12
    with tempfile.TemporaryDirectory() as folder:
        pieces = make_pieces(Path(folder), quick=asked.quick)
        seconds = ratios.seconds_in_turn(pieces, rounds)
    found = compare(seconds)
    where = f"one core, one thread of {ratios.machine('onnxruntime', 'ai-edge-litert', 'tensorflow', 'keras')}"
    ratios.show(found, where, rounds)
    if asked.json:
        ratios.write(found, where, rounds, asked.json)


def make_pieces(folder, *, quick):
    """The pieces to time, by `(network, runtime, number of faces)`; quickly, without what starts slowly."""
    pieces = {}
    for name in (OURS, PUBLISHED) if quick else NETWORKS:
        builder, side = NETWORKS[name]
        model = build(builder, len(FER7), input_shape=(side, side, 1), weights=None)
        network = Network(model, {"name": name, "classes": list(FER7), "sha256": "random weights"})
        runtimes = {ONNX: on_onnx(export(network, folder / f"{name}.onnx")), FUNCTION: as_function(model)}
        if not quick:
            runtimes[LITERT] = on_litert(export(network, folder / f"{name}.tflite", format="litert"))
        if name == OURS or (name == PUBLISHED and not quick):
            runtimes[ALONE] = on_onnx(exported_by_keras(model, folder / f"{name}-keras.onnx"))
        if name == OURS and not quick:
            runtimes[INT8[ONNX]] = on_onnx(export(network, folder / "int8.onnx", quantize="int8"))
            path = export(network, folder / "int8.tflite", format="litert", quantize="int8")
            runtimes[INT8[LITERT]] = on_litert(path)
        for runtime, make in runtimes.items():
            for number in SIZES.values():
                faces = np.random.default_rng(0).uniform(0, 255, (number, side, side, 1)).astype(np.float32)
                pieces[name, runtime, number] = repeated(make(faces), AT_A_TIME[number])
    for runtime in [ONNX] if quick else OPENING:
        pieces[START_UP, runtime, 1] = started(OPENING[runtime])
    return pieces


def repeated(call, times):
    """A piece of work: so many calls."""

    def work():
        for _ in range(times):
            call()

    return work


def on_onnx(path):
    """A function from faces to a function that names them on ONNX Runtime."""
    session = networks.new_session(path, threads=1)
    name = session.get_inputs()[0].name
    return lambda faces: lambda: session.run(None, {name: faces})


def on_litert(path):
    """A function from faces to a function that names them on LiteRT, with an interpreter for their number."""

    def make(faces):
        interpreter = Interpreter(str(path), num_threads=1)
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(source["index"], faces.shape)
        interpreter.allocate_tensors()

        def name():
            interpreter.set_tensor(source["index"], faces)
            interpreter.invoke()
            return interpreter.get_tensor(target["index"])

        return name

    return make


def as_function(model):
    """A function from faces to a function that names them by a compiled function of Keras."""
    compiled = tf.function(lambda faces: model(faces, training=False))
    return lambda faces: lambda: compiled(tf.constant(faces)).numpy()


def exported_by_keras(model, path):
    """The path of an ONNX file as `keras.Model.export` writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.export(path, format="onnx", verbose=False)
    return path


def started(opening):
    """A piece of work: a new process that opens a network and names a face."""
    script = (
        "import numpy as np\n"
        f"from fer_keras.recognition.networks import {opening}\n"
        f"{opening}('mini-xception').predict(np.zeros((1, 48, 48, 1), np.uint8))"
    )
    return lambda: subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def compare(seconds):
    """The ratios between what was timed; where one side was not, none."""
    goals = {(ONNX, 64): 1, (LITERT, 64): 1}
    pairs = [((START_UP, ONNX, 1), (START_UP, FUNCTION, 1), "Keras", None)]
    for number in SIZES.values():
        for runtime in (ONNX, LITERT, FUNCTION):
            published, goal = (PUBLISHED, runtime, number), goals.get((runtime, number))
            pairs += [((OURS, runtime, number), published, f"{PUBLISHED}, same runtime", goal)]
            pairs += [((SMALLER, runtime, number), published, f"{PUBLISHED}, same runtime", None)]
        for runtime, int8 in INT8.items():
            pairs.append(((OURS, int8, number), (OURS, runtime, number), "float32", None))
        for name in (OURS, PUBLISHED):
            pairs.append(((name, ONNX, number), (name, ALONE, number), "exported by Keras alone", None))
    found = [between(seconds, *pair) for pair in pairs if pair[0] in seconds and pair[1] in seconds]
    limits = [
        ((START_UP, ONNX, 1), MOST_SECONDS),
        *(((OURS, runtime, 1), MOST_MS / 1000) for runtime in (ONNX, LITERT)),
    ]
    return found + [within(seconds, *limit) for limit in limits if limit[0] in seconds]


def between(seconds, above, below, against, goal):
    """The ratio of one piece to another."""
    times = [plain(seconds, piece) for piece in (above, below)]
    scale = f"{milliseconds(seconds, above):.3g} against {milliseconds(seconds, below):.3g} ms a face"
    return ratios.Ratio(in_words(above), against, *times, goal=goal, at_most=True, scale=scale)


def within(seconds, piece, limit):
    """The ratio of the time of one call to the longest that it may take."""
    against = f"{limit:g} s" if limit >= 1 else f"{1000 * limit:g} ms"
    allowed = [limit * calls(piece)] * len(seconds[piece])
    scale = f"{milliseconds(seconds, piece):.3g} ms a face"
    return ratios.Ratio(in_words(piece), against, plain(seconds, piece), allowed, goal=1, at_most=True, scale=scale)


def plain(seconds, piece):
    """The seconds of a piece; those of another process without processor time, which is not this one's."""
    return list(seconds[piece]) if piece[0] == START_UP else seconds[piece]


def in_words(piece):
    """The name of a piece."""
    name, runtime, number = piece
    words = next(words for words, size in SIZES.items() if size == number)
    return f"{name}, {runtime}" if name == START_UP else f"{name}, {words}, {runtime}"


def milliseconds(seconds, piece):
    """The milliseconds that a piece takes for a face."""
    return 1000 * min(seconds[piece]) / calls(piece) / piece[2]


def calls(piece):
    """How many calls are timed together."""
    return 1 if piece[0] == START_UP else AT_A_TIME[piece[2]]


if __name__ == "__main__":
    main()
