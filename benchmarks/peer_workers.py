"""What `peers.py` runs in each peer's own Python: a process that does as it is asked, and says what it took.

    python peer_workers.py NAME [NETWORK]

Each line of input is a JSON object: `work`, the name of a worker's method; `times`, how often to do it; and the
method's arguments. Each line of output answers one: `seconds` and `processor`, the time that all calls took together
and their processor time, and `answer`, what the last one found. A method loads what it needs and returns the function
that is timed, and another that makes plain values of what it returns. Only the worker `ours` needs `fer_keras`, which
the peers' environments do not have.
"""

import copy
import functools
import itertools
import json
import os
import sys
import time
from importlib import metadata


class Worker:
    """What packages do alike. Pictures come as paths of files, faces go as `(box, probabilities by class)`."""

    def cut_out(self, faces):
        """Recognise faces, which lie in a file of NumPy's, one after another, each a picture of its own."""
        pictures = list(as_colours(faces))
        return lambda: [self.name_whole(picture) for picture in pictures], self.as_values

    def given(self, pictures, boxes):
        """Recognise the faces in given boxes of one picture after another."""
        pairs = list(zip(map(self.picture, pictures), boxes, strict=True))
        return lambda: [self.name_boxes(*pair) for pair in pairs], self.as_values

    def versions(self):
        """The versions of the packages that it is made of."""
        return lambda: {name: version(name) for name in self.packages}, dict

    def as_values(self, found):
        """The faces of each picture as plain values."""
        return [[self.face(face) for face in faces] for faces in found]


class Ours(Worker):
    """fer_keras, as it stands in this checkout: its default network, on ONNX Runtime, or that in a file."""

    def __init__(self, *network):
        import fer_keras

        self.recognizer = fer_keras.Recognizer(*network, detector=os.environ.get("DETECTOR", "haar"))
        self.alone = fer_keras.Recognizer(self.recognizer.network, detector=None)
        self.packages = ("fer_keras", "onnxruntime", "opencv-python-headless", "pillow", "numpy")

    def picture(self, path):
        from fer_keras.recognition.photos import open_photo

        return open_photo(path).rgb

    def face(self, face):
        return face.box, face.probabilities

    def name_whole(self, picture):
        return self.alone.recognize(picture)

    def name_boxes(self, picture, boxes):
        from fer_keras.recognition.detectors import Detection

        found = [Detection(tuple(box), 1.0) for box in boxes]
        return self.recognizer.faces(found, self.recognizer.calibrated(self.recognizer.crops(picture, found)))

    def files(self, pictures):
        """Find and name the faces of picture files."""
        return lambda: [self.recognizer.recognize(path) for path in pictures], self.as_values

    def film(self, path):
        """Follow the faces of a film as `recognize_video` does; tell frame and box of each."""
        import fer_keras

        def tell(table):
            return table[["frame", "left", "top", "width", "height"]].to_numpy().tolist()

        options = {"network": self.recognizer.network, "detector": os.environ.get("DETECTOR", "haar")}
        return lambda: fer_keras.recognize_video(path, **options), tell

    def network(self, number):
        """Run the bare network on so many faces at once."""
        session = self.recognizer.network.session
        name, faces = session.get_inputs()[0].name, noise(number, *self.recognizer.network.size)
        return lambda: session.run(None, {name: faces}), len

    def parts(self, pictures):
        """Recognise arrays, then files; tell for both the processor time of it all, of detector and of bare network."""
        import fer_keras

        detector = Timed(self.recognizer.detector, "detect")
        session = Timed(self.recognizer.network.session, "run")
        network = copy.copy(self.recognizer.network)
        network.session = session
        recognizer = fer_keras.Recognizer(network, detector=detector)
        arrays = list(map(self.picture, pictures))

        def taken(sources):
            detector.seconds = session.seconds = 0.0
            started = time.process_time()
            for source in sources:
                recognizer.recognize(source)
            return time.process_time() - started, detector.seconds, session.seconds

        return lambda: (taken(arrays), taken(pictures)), list

    def memory(self, pictures, number, every):
        """Recognise so many picture files as a folder's are; tell the MB that are held after each `every` of them."""
        from fer_keras.recognition.folders import recognize_each

        def work():
            sources = ((path, path) for path in itertools.islice(itertools.cycle(pictures), number))
            done = enumerate(recognize_each(sources, self.recognizer), 1)
            return [resident() for count, (_, _, error) in done if fine(error) and count % every == 0]

        return work, list


class Fer(Worker):
    """The package `fer` with its defaults: Haar cascade, quantised network on TensorFlow Lite."""

    def __init__(self):
        from fer.fer import FER

        self.make = FER
        self.detector = FER()
        self.packages = ("fer", "tensorflow", "opencv-python-headless", "numpy")

    def picture(self, path):
        import cv2

        return cv2.imread(path)

    def face(self, face):
        return list(map(int, face["box"])), face["emotions"]

    def cut_out(self, faces, offsets=None):
        """As `Worker.cut_out`; `offsets` are the margins that are added to each box, by default the package's own."""
        pictures = list(as_colours(faces))
        detector = self.detector if offsets is None else self.make(offsets=tuple(offsets))
        box = [[0, 0, *pictures[0].shape[1::-1]]]
        return lambda: [detector.detect_emotions(picture, face_rectangles=box) for picture in pictures], self.as_values

    def name_boxes(self, picture, boxes):
        return self.detector.detect_emotions(picture, face_rectangles=boxes)

    def files(self, pictures):
        """Find and name the faces of picture files."""
        return lambda: [self.detector.detect_emotions(path) for path in pictures], self.as_values

    def film(self, path):
        """Find and name the faces in every frame, as its `Video.analyze` does, which itself needs a display."""
        import cv2

        def work():
            capture, found = cv2.VideoCapture(path), []
            while (read := capture.read())[0]:
                found.append(self.detector.detect_emotions(read[1].copy()))
            return found

        def tell(found):
            return [[frame, *self.face(face)[0]] for frame, faces in enumerate(found) for face in faces]

        return work, tell

    def network(self, number):
        """Run the bare network on so many faces, one after another, which is the package's way."""
        faces = noise(number, 64, 64)[..., 0] / 127.5 - 1
        return lambda: self.detector._classify_emotions(faces), len


class DeepFace(Worker):
    """DeepFace's way from a cut-out face to an emotion, on TensorFlow, with random weights: its own are not at hand."""

    engine, runtime = "tensorflow", "tensorflow"

    def __init__(self):
        os.environ["DEEPFACE_BACKEND_ENGINE"] = self.engine
        self.prepare()
        from deepface.modules import demography, modeling

        self.analyze = functools.partial(
            demography.analyze, actions=["emotion"], detector_backend="skip", enforce_detection=False, silent=True
        )
        self.client = modeling.build_model(task="facial_attribute", model_name="Emotion")
        self.packages = ("deepface", self.runtime, "opencv-contrib-python-headless", "numpy")

    def prepare(self):
        """Let its network keep the random weights that it is built with."""
        from deepface.commons import weight_utils

        weight_utils.download_weights_if_necessary = lambda **_: None
        weight_utils.load_model_weights = lambda model, **_: model

    def picture(self, path):
        import cv2

        return cv2.imread(path)

    def face(self, face):
        return None, {name: float(value) for name, value in face["emotion"].items()}

    def name_whole(self, picture):
        return self.analyze(picture)

    def name_boxes(self, picture, boxes):
        cut_out = [picture[top : top + height, left : left + width] for left, top, width, height in boxes]
        return [face for faces in self.analyze(cut_out) for face in faces]

    def network(self, number):
        """Run the bare network on so many faces at once."""
        faces = noise(number, 48, 48) / 255
        return lambda: self.client._predict_internal(faces), len

    def export(self, path):
        """Write the network as a file that the engine for ONNX Runtime loads."""
        self.network(1)[0]()  # Keras converts only what has run
        return lambda: self.client.model.export(path, format="onnx", verbose=False), str


class DeepFaceOnnx(DeepFace):
    """The same on DeepFace's engine for ONNX Runtime, which finds its file below `DEEPFACE_HOME`."""

    engine, runtime = "onnx", "onnxruntime"

    def prepare(self):
        """Give its session one thread, as all others have."""
        import onnxruntime

        usual = onnxruntime.SessionOptions

        def options():
            made = usual()
            made.intra_op_num_threads = 1
            return made

        onnxruntime.SessionOptions = options


class Timed:
    """Something whose method `name` is timed; all else is as it was."""

    def __init__(self, timed, name):
        self.timed, self.name, self.seconds = timed, name, 0.0

    def __getattr__(self, name):
        value = getattr(self.timed, name)
        return functools.partial(self.call, value) if name == self.name else value

    def call(self, method, *arguments):
        """Call the method, and add the processor time that it took."""
        started = time.process_time()
        result = method(*arguments)
        self.seconds += time.process_time() - started
        return result


WORKERS = {"ours": Ours, "fer": Fer, "deepface": DeepFace, "deepface-onnx": DeepFaceOnnx}


def as_colours(path):
    """The grey faces in a file of NumPy's as pictures of three channels, the form that all packages take."""
    import numpy as np

    return np.repeat(np.load(path), 3, axis=3)


def noise(number, height, width):
    """So many faces of noise, float32 in [0, 255]; what they show does not change the time."""
    import numpy as np

    return np.random.default_rng(0).uniform(0, 255, (number, height, width, 1)).astype(np.float32)


def resident():
    """The MB of memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def version(package):
    """The version of a package, or "unknown"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def fine(error):
    """True, or raise what went wrong."""
    if error is not None:
        raise ValueError(error)
    return True


def serve(worker, requests, answers):
    """Answer each request."""
    for line in requests:
        request = json.loads(line)
        work, times = getattr(worker, request.pop("work")), request.pop("times")
        call, tell = work(**request)
        started, worked = time.perf_counter(), time.process_time()
        for _ in range(times):
            found = call()
        taken = {"seconds": time.perf_counter() - started, "processor": time.process_time() - worked}
        print(json.dumps({**taken, "answer": tell(found)}), file=answers, flush=True)


def main():
    """Start the worker that is asked for, and serve."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what packages print is no answer
    worker = WORKERS[sys.argv[1]](*sys.argv[2:])
    serve(worker, sys.stdin, answers)


if __name__ == "__main__":
    main()
