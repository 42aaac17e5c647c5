"""Does the detector find faces, where are they in its boxes, and what does the network make of the crops?

Faces of FER-2013's PublicTest (drawn ones where `FER_KERAS_DATA` is not set) are pasted at known places, 64 to 200
pixels large, onto pictures of scikit-image that show nobody and onto noise, 640x480. Nothing of it is written anywhere.
For each detector:
- recall and false alarms: a face is found if a detection, framed as fits best, overlaps its box by half (intersection
  over union). What else is detected is a false alarm, also on the backgrounds alone.
- framing: the `Framing` that fits FER-2013's squares best, found on one half of the faces, and how well the one in the
  package fits on the other half; and the log loss of the networks by scale. The package's lies between the two optima.
- accuracy: of each network that ships, on the detected crops, on crops at the true boxes, and on the same faces as they
  are; and how many of the crops it names at the default `min_confidence`, and how many of those rightly.
- score: the slope and middle of the logistic function that tells best which detections of the Haar cascade were faces.
Then `fer-small` on all faces, each pasted once, turned by 0, 15 and 30 degrees; a missed one counts as wrong. They lie
on the same pictures; then, as faces in photos have heads, on that of scikit-image's `astronaut`, which turns too.
Last the real photos of scikit-image: `astronaut`, and the 100 faces and 100 other patches of `lfw_subset`, enlarged.
"""

import functools
import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ratios
import skimage.data
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from fer_keras import paths
from fer_keras.data import load_fer7
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import wilson, with_temperature
from fer_keras.labels import FER7
from fer_keras.paths import write_changed
from fer_keras.recognition.detectors import (
    YUNET_FILES,
    Detection,
    Framing,
    Haar,
    Mtcnn,
    Yunet,
    crop,
    to_square,
    yunet_file,
)
from fer_keras.recognition.networks import open_network
from fer_keras.recognition.recognizer import MIN_CONFIDENCE

WIDTH, HEIGHT = 640, 480
SIDES = (64, 200)
FACES = 3  # a scene
FOUND = 0.5  # intersection over union
EMPTY_OF_PEOPLE = (
    "brick", "cat", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse", "hubble_deep_field",
    "immunohistochemistry", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
GRAINS = (1, 4, 16)  # pixels, of the noise
SCALES, DOWNS = np.arange(0.7, 1.6, 0.01), np.arange(-0.2, 0.2, 0.01)
TURNED = (0, 15, 30)  # degrees
TRUE = "true place"  # in the place of a detector's name
HEAD = (168, 62, 110)  # left, top and side of the square of the astronaut's photo that FER-2013 would cut out
TRIED = (0.92, 0.96, 1.0, 1.04, 1.08, 1.12, 1.16)  # scales at which the networks' log loss is measured


class Scene(NamedTuple):
    """A picture, the boxes of the faces in it, and their rows among the faces."""

    picture: np.ndarray
    boxes: list
    rows: list


class Match(NamedTuple):
    """A detection, the scene it is in, and the true box and row of its face; None if it shows none."""

    scene: Scene
    detection: tuple
    box: tuple | None
    row: int | None


class Usual(Haar):
    """OpenCV's best known cascade with the options that most programs call it with, as the package `fer` does."""

    cascade_file = "haarcascade_frontalface_default.xml"

    def detect(self, rgb):
        """`Detection`s, all of score 1."""
        grey = np.asarray(Image.fromarray(rgb).convert("L"))
        boxes = self.cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50))
        return [Detection(tuple(map(int, box)), 1.0) for box in boxes]


def yunet():
    """YuNet, from its file beside FER-2013 or where the package keeps it."""
    files = [Path(os.environ.get("FER_KERAS_DATA") or "") / name for name in YUNET_FILES]
    return Yunet(next((file for file in files if file.is_file()), yunet_file()))


DETECTORS = {"haar": Haar, "haar as usual": Usual, "mtcnn": Mtcnn, "yunet": yunet}


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    images, labels, source = faces(asked.quick)
    scenes = list(paste(images, num_scenes=4 if asked.quick else 300))
    networks = [open_network(path.stem) for path in sorted((paths.PACKAGE / "weights").glob("*.onnx"))]
    networks = [network for network in networks if network.classes == FER7]  # what the faces' labels name
    names = list(DETECTORS)[: 2 if asked.quick else None]
    both = {name: DETECTORS[name]() for name in {"haar", "yunet"} & set(names)}
    shared = functools.partial(paste, num_scenes=math.ceil(len(images) / FACES))
    record = {
        "machine": ratios.machine("opencv-python-headless", "mtcnn", "pillow"),
        "pictures": f"{len(scenes)} scenes of {FACES} faces, {source}, on {len(EMPTY_OF_PEOPLE)} pictures of "
        f"scikit-image and {len(GRAINS)} of noise, {WIDTH}x{HEIGHT}; faces {SIDES[0]} to {SIDES[1]} pixels",
        "detectors": {name: measure(DETECTORS[name](), scenes, images, labels, networks) for name in names},
    }
    best = {name: Framing(*record["detectors"][name]["best framing"]) for name in both}
    record |= {
        "turned": turned(both, best, images, labels, shared),
        "turned heads": turned(both, best, images, labels, on_heads),
        "photos": {name: photos(DETECTORS[name](), every=10 if asked.quick else 1) for name in names},
    }
    show(record)
    if asked.json:
        write_changed(asked.json, json.dumps(record, sort_keys=True, indent=1) + "\n")


def faces(quick):
    """Faces `(n, 48, 48, 1)`, their labels, and in words where they are from."""
    if os.environ.get("FER_KERAS_DATA") and not quick:
        images, labels = load_fer7()["validation"]
        return images, labels, "PublicTest of FER-2013"
    drawn = make_faces(10)
    return drawn.images, drawn.labels, drawn.source


@functools.cache
def backgrounds():
    """Pictures that show nobody, uint8 RGB."""
    seen = [Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB") for name in EMPTY_OF_PEOPLE]
    generator = np.random.default_rng(0)
    for grain in GRAINS:
        noise = generator.integers(0, 256, (HEIGHT // grain, WIDTH // grain, 3), dtype=np.uint8)
        seen.append(Image.fromarray(noise))
    return [np.asarray(ImageOps.fit(picture, (WIDTH, HEIGHT))) for picture in seen]


def paste(images, *, num_scenes, seed=0, turned=0):
    """Yield scenes: on each background in turn, faces at places drawn by lot that do not touch.

    They are turned about their centres by so many degrees, in the sense of `signed`.
    """
    generator, scenery = np.random.default_rng(seed), backgrounds()
    rows = generator.permutation(np.resize(np.arange(len(images)), num_scenes * FACES))
    for number in range(num_scenes):
        picture, boxes = scenery[number % len(scenery)].copy(), []
        for row in rows[number * FACES : (number + 1) * FACES]:
            left, top, side, _ = box = free_box(generator, boxes, turned)
            face = Image.fromarray(images[row, ..., 0]).resize((side, side), Image.Resampling.BICUBIC)
            angle = signed(turned, row)
            mask = Image.new("L", face.size, 255).rotate(-angle, Image.Resampling.BICUBIC, expand=True)
            face = face.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
            shift = (face.width - side) // 2
            scene = Image.fromarray(picture)
            scene.paste(face.convert("RGB"), (left - shift, top - shift), mask)
            picture = np.asarray(scene)
            boxes.append(box)
        yield Scene(picture, boxes, rows[number * FACES : (number + 1) * FACES].tolist())


def signed(degrees, row):
    """Degrees by which the face of a row is turned, clockwise: those of odd rows are turned the other way."""
    return -degrees if row % 2 else degrees


def on_heads(images, *, turned):
    """Yield a scene for each face: on the head of the astronaut, turned as by `paste`, in the middle of her photo."""
    left, top, side = HEAD
    generator, edge = np.random.default_rng(0), 2 * side
    photo = np.pad(np.asarray(Image.fromarray(skimage.data.astronaut()).convert("L")), edge, mode="edge")
    oval = Image.new("L", (side, side))
    ImageDraw.Draw(oval).ellipse((0.06 * side, 0, 0.94 * side, side), fill=255)
    oval = oval.filter(ImageFilter.GaussianBlur(0.04 * side))
    left, top = left + edge, top + edge
    around = (left - side, top - side, left + 2 * side, top + 2 * side)
    for row, face in enumerate(images[..., 0]):
        scene = Image.fromarray(photo)
        scene.paste(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC), (left, top), oval)
        middle = (left + side / 2, top + side / 2)
        scene = scene.rotate(-signed(turned, row), Image.Resampling.BICUBIC, center=middle).crop(around)
        new = int(generator.integers(SIDES[0], SIDES[1] + 1))
        scene = scene.convert("RGB").resize((3 * new, 3 * new), Image.Resampling.BICUBIC)
        yield Scene(np.asarray(scene), [(new, new, new, new)], [row])


def free_box(generator, taken, turned):
    """A square drawn by lot that, turned, keeps in the picture and away from those that are taken."""
    reach = abs(math.cos(math.radians(turned))) + abs(math.sin(math.radians(turned)))
    while True:
        side = int(generator.integers(SIDES[0], SIDES[1] + 1))
        more = math.ceil((reach - 1) * side / 2)  # on each side
        left, top = (int(generator.integers(more, length - side - more + 1)) for length in (WIDTH, HEIGHT))
        apart = [(abs(2 * (left - box[0]) + side - box[2]), abs(2 * (top - box[1]) + side - box[3])) for box in taken]
        if all(max(pair) > reach * (side + box[2]) for pair, box in zip(apart, taken, strict=True)):
            return left, top, side, side


def measure(detector, scenes, images, labels, networks):
    """Recall, false alarms and times of one detector on scenes."""
    detector.detect(scenes[0].picture)  # what is built at the first call does not count
    seconds, worked = [], time.process_time()
    found = []
    for scene in scenes:
        started = time.perf_counter()
        found.append(detector.detect(scene.picture))
        seconds.append(time.perf_counter() - started)
    worked = time.process_time() - worked
    best = best_framing([match for match in match_all(scenes, found, detector.framing) if match.row is not None][::2])
    matches = match_all(scenes, found, best)  # whether a face is found does not depend on how its crop is framed
    hits = [match for match in matches if match.row is not None]
    empty = backgrounds()
    return {
        "faces": len(scenes) * FACES,
        "recall": len(hits) / (len(scenes) * FACES),
        "false alarms a picture": (len(matches) - len(hits)) / len(scenes),
        "false alarms a background": sum(len(detector.detect(picture)) for picture in empty) / len(empty),
        "ms a picture": 1000 * float(np.median(seconds)),
        "processor ms a picture": 1000 * worked / len(scenes),
        "best framing": list(best),
        "framing": list(detector.framing),
        "overlap": overlap(hits[1::2], detector.framing),
        "overlap at best framing": overlap(hits[1::2], best),
        **({"score slope and middle": logistic(matches, detector)} if type(detector) is Haar else {}),
        "networks": {network.name: accuracies(network, hits, detector.framing, images, labels) for network in networks},
    }


def turned(detectors, best, images, labels, scenes):
    """How many of all faces, turned, detectors find in scenes with each once, and in how many `fer-small` is right.

    `best` are the framings that fit best, by which a face counts as found; the crops are those of the package.

    A face that is missed counts as wrong. Beside them stands how many it has right of the faces cut at their true place
    and angle, and on the faces themselves.
    """
    network, shares = open_network("fer-small"), {}
    for degrees in TURNED:
        found, right = ({name: np.zeros(len(images), bool) for name in (*detectors, TRUE)} for _ in range(2))
        for scene in scenes(images, turned=degrees):
            truth = zip(scene.rows, scene.boxes, strict=True)
            cuts = [(TRUE, row, Detection(box, 1.0, float(signed(degrees, row)))) for row, box in truth]
            for name, detector in detectors.items():
                matches = matched(scene, detector.detect(scene.picture), best[name])
                hits = [match for match in matches if match.row is not None]
                cuts += [(name, hit.row, to_square(hit.detection, detector.framing)) for hit in hits]
            for name, row, square in cuts:
                face = crop(scene.picture, square, network.size)
                found[name][row], right[name][row] = True, network.predict(face[None]).argmax() == labels[row]
        for name in found:
            shares[f"{name}, {degrees} degrees"] = {"recall": float(found[name].mean()), **accuracy(right[name])}
    return {"faces": len(images), "themselves": accuracy(network.predict(images).argmax(axis=1) == labels), **shares}


def accuracy(right):
    """The share of what is right, with its 95 % interval."""
    low, high = wilson(int(right.sum()), len(right))
    return {"accuracy": float(right.mean()), "accuracy_low": low, "accuracy_high": high}


def match_all(scenes, found, framing):
    """The list of `Match`es of the detections in all scenes."""
    return [match for pair in zip(scenes, found, strict=True) for match in matched(*pair, framing)]


def matched(scene, detections, framing):
    """Yield a `Match` for each detection of a scene; each face goes to the detection that overlaps it best."""
    left = dict(zip(scene.rows, scene.boxes, strict=True))
    for detection in detections:
        square = to_square(detection, framing).box
        row = max(left, key=lambda row: union_share(square, left[row]), default=None)
        if row is not None and union_share(square, left[row]) >= FOUND:
            yield Match(scene, detection, left.pop(row), row)
        else:
            yield Match(scene, detection, None, None)


def union_share(box, other):
    """The intersection over union of two boxes; of arrays `(4, ...)`, elementwise."""
    across = np.minimum(box[0] + box[2], other[0] + other[2]) - np.maximum(box[0], other[0])
    down = np.minimum(box[1] + box[3], other[1] + other[3]) - np.maximum(box[1], other[1])
    both = np.clip(across, 0, None) * np.clip(down, 0, None)
    return both / (box[2] * box[3] + other[2] * other[3] - both)


def overlap(hits, framing):
    """The mean intersection over union of framed detections and the faces' true boxes."""
    return float(np.mean([union_share(to_square(hit.detection, framing).box, hit.box) for hit in hits]))


def best_framing(hits):
    """The `Framing` of the largest mean overlap, by trying all on a grid."""
    boxes = np.array([hit.detection.box for hit in hits], float).T[:, None, None, :]
    true = np.array([hit.box for hit in hits], float).T[:, None, None, :]
    size = (boxes[2] + boxes[3]) / 2
    side = SCALES[:, None, None] * size
    across = boxes[0] + boxes[2] / 2 - side / 2
    down = boxes[1] + boxes[3] / 2 + DOWNS[None, :, None] * size - side / 2
    across, down, side = np.broadcast_arrays(across, down, side)
    shares = union_share((across, down, side, side), true).mean(axis=-1)
    scale, shift = np.unravel_index(shares.argmax(), shares.shape)
    return Framing(round(float(SCALES[scale]), 2), round(float(DOWNS[shift]), 2))


def logistic(matches, detector):
    """Slope and middle of the logistic function from the weight of a cascade's last stage to being a face."""
    scores = np.array([match.detection.score for match in matches]).clip(1e-9, 1 - 1e-9)
    raw = np.log(scores / (1 - scores)) / detector.slope + detector.middle  # the weights that the scores came from
    true = np.array([match.row is not None for match in matches], float)
    centre, weights = raw.mean(), np.zeros(2)
    inputs = np.stack([raw - centre, np.ones_like(raw)], axis=1)
    for _ in range(50):  # Newton's method; the small ridge bounds what is separable
        guess = 1 / (1 + np.exp(-inputs @ weights))
        curve = (inputs * (guess * (1 - guess))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        weights = weights + np.linalg.solve(curve, inputs.T @ (true - guess) - 1e-3 * weights)
    return [round(float(weights[0]), 2), round(float(centre - weights[1] / weights[0]), 2)]


def accuracies(network, hits, framing, images, labels):
    """A network's accuracy on detected crops, on crops at the true boxes, and on the faces as they are."""
    rows = [hit.row for hit in hits]
    seen = {
        "crops": [crop(hit.scene.picture, to_square(hit.detection, framing), network.size) for hit in hits],
        "true boxes": [crop(hit.scene.picture, Detection(hit.box, 1.0), network.size) for hit in hits],
        "faces": [
            crop(images[row].repeat(3, axis=-1), Detection((0, 0, *images.shape[2:0:-1]), 1.0), network.size)
            for row in rows
        ],
    }
    right = {}
    for name, crops in seen.items():
        probabilities = with_temperature(network.predict(np.stack(crops)), network.temperature)
        right[name] = probabilities.argmax(axis=1) == labels[rows]
        if name == "crops":
            named = probabilities.max(axis=1) >= MIN_CONFIDENCE
    return {
        **{f"accuracy, {name}": float(values.mean()) for name, values in right.items()},
        "log loss by scale": {str(scale): log_loss(network, hits, framing.down, scale, labels) for scale in TRIED},
        "named": float(named.mean()),
        "accuracy, crops named": float(right["crops"][named].mean()) if named.any() else None,
    }


def log_loss(network, hits, down, scale, labels):
    """The mean log loss of a network's calibrated probabilities on crops at a scale."""
    squares = [to_square(hit.detection, Framing(scale, down)) for hit in hits]
    crops = [crop(hit.scene.picture, square, network.size) for hit, square in zip(hits, squares, strict=True)]
    probabilities = with_temperature(network.predict(np.stack(crops)), network.temperature)
    return float(-np.log(probabilities[np.arange(len(hits)), labels[[hit.row for hit in hits]]].clip(1e-7)).mean())


def photos(detector, *, every):
    """Faces that a detector finds in the real photos of scikit-image; of `lfw_subset` it takes every so many-th."""
    patches = map(Image.fromarray, np.round(skimage.data.lfw_subset()[::every] * 255).astype(np.uint8))
    patches = [np.asarray(patch.resize((100, 100), Image.Resampling.BICUBIC)) for patch in patches]
    patches = [np.pad(patch, 50, mode="edge") for patch in patches]
    found = [len(detector.detect(np.repeat(patch[..., None], 3, axis=-1))) > 0 for patch in patches]
    return {
        "astronaut": [list(detection.box) for detection in detector.detect(np.asarray(skimage.data.astronaut()))],
        "lfw_subset, share of faces found": float(np.mean(found[: len(found) // 2])),
        "lfw_subset, share of other patches found": float(np.mean(found[len(found) // 2 :])),
    }


def show(record):
    """Print the record as a list."""
    print(f"{record['machine']}\n{record['pictures']}")
    for part in ("detectors", "turned", "turned heads", "photos"):
        for name, values in record[part].items():
            print(f"\n{part}: {name}")
            values = values if isinstance(values, dict) else {"": values}
            networks = values.get("networks", {})
            for key, value in values.items():
                if key != "networks":
                    print(f"  {key:44}{rounded(value)}")
            for network, found in networks.items():
                for key, value in found.items():
                    print(f"  {network + ': ' + key:44}{rounded(value)}")


def rounded(value):
    """A value with few digits, for print."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {rounded(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(str(rounded(each)) for each in value)
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else value


if __name__ == "__main__":
    main()
