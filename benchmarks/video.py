"""How much faster a video is read when faces are followed between the detector's looks, and what that costs in recall.

A video is made whose face places are known: the astronaut of scikit-image and, where `FER_KERAS_DATA` is set, faces of
PublicTest (in memory and a temporary folder only) go their ways over photographs that pan, in shots that are cut hard,
none as long as a multiple of the detector's rest. `recognize_video` reads it with the detector at every frame and at
every 2nd, 5th and 10th, in turn; with the default, also writing the video with boxes. A face counts as found in a
frame if a box overlaps its place by `FOUND` (intersection over union) or more; a box that lies on no face by that much
is a false alarm.
"""

import json
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import ratios
import skimage.data

from fer_keras.data import load_fer7
from fer_keras.paths import write_changed
from fer_keras.recognition import networks
from fer_keras.recognition.detectors import find_detector, overlap
from fer_keras.recognition.recognizer import DEFAULT_NETWORK
from fer_keras.recognition.video import EVERY, recognize_video

SIZE, RATE = (480, 640), 25.0
SHOTS = (41, 33, 47, 29)  # frames
FACES = 2  # in each shot
RESTS = (1, 2, 5, 10)
FOUND = 0.4  # a detector's frame is not quite the one that a face is pasted with
ASTRONAUT = (178, 70, 98, 98)  # the square of the face, in a picture of 512 x 512
WRITTEN = "and written"
GOAL = 3


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    rounds, shots = (1, (6,)) if asked.quick else (3, SHOTS)
    network = networks.open_network(shipped())
    with tempfile.TemporaryDirectory() as name:
        film = Path(name) / "film.avi"
        faces = some_faces(quick=asked.quick)
        places = write_film(film, shots, faces)
        tables = {}
        pieces = {rest: reading(film, rest, network, tables) for rest in RESTS}
        for rest in (1, EVERY):
            pieces[rest, WRITTEN] = reading(film, rest, network, tables, Path(name) / f"named-{rest}.mp4")
        seconds = ratios.seconds_in_turn(pieces, rounds)
    scores = {rest: score(tables[rest], places, shots, rest) for rest in RESTS}
    found = compare(seconds, scores, sum(shots))
    where = ratios.machine("opencv-python-headless", "onnxruntime", "numpy")
    ratios.show(found, where, rounds)
    for rest, values in scores.items():
        print(f"every {rest}: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
    if asked.json:
        ratios.write(found, where, rounds, asked.json)
        add_scores(asked.json, scores, network=network.name, num_faces=len(faces))


def shipped():
    """The network that is used by default, or, where it is not there yet, one that is."""
    there = sorted(path.stem for path in networks.paths.PACKAGE.joinpath("weights").glob("*.onnx"))
    return DEFAULT_NETWORK if DEFAULT_NETWORK in there else there[0]


def reading(film, rest, network, tables, target=None):
    """The function that reads the film once, and keeps the table."""

    def read():
        tables[rest] = recognize_video(film, target, every=rest, network=network, detector="haar")

    return read


def some_faces(*, quick):
    """Faces as square RGB pictures: the astronaut's, and PublicTest's where they are at hand."""
    left, top, width, height = ASTRONAUT
    faces = [skimage.data.astronaut()[top : top + height, left : left + width]]
    if os.environ.get("FER_KERAS_DATA") and not quick:
        images = load_fer7()["validation"][0]
        chosen = np.random.default_rng(0).choice(len(images), 200, replace=False)
        # A face that the detector does not know even when it stands still says nothing about following.
        haar, known = find_detector("haar"), [np.repeat(image, 3, axis=2) for image in images[np.sort(chosen)]]
        faces += [face for face in known if haar.detect(in_the_middle(face))][:7]
    return faces


def in_the_middle(face):
    """A face as it is pasted, on grey."""
    picture = np.full((200, 200, 3), 128, np.uint8)
    paste(picture, face, np.array([40, 40, 120, 120]))
    return picture


def write_film(path, shots, faces):
    """Write the film; return the places of the faces in each frame, as a list of arrays `(n, 4)`."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), RATE, SIZE[::-1])
    generator, places = np.random.default_rng(0), []
    scenes = [skimage.data.coffee(), skimage.data.rocket(), skimage.data.grass(), skimage.data.brick()]
    for number, length in enumerate(shots):
        cast = [faces[(FACES * number + side) % len(faces)] for side in range(FACES)]
        ways = [way(generator, length, side) for side in range(FACES)]
        for frame, boxes in enumerate(np.stack(ways, axis=1)):
            picture = pan(scenes[number % len(scenes)], frame / length)
            for face, box in zip(cast, boxes, strict=True):
                paste(picture, face, box)
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            places.append(boxes)
    writer.release()
    return places


def pan(scene, share):
    """The part of a photograph that a camera sees when it has turned by a share of its way."""
    scene = np.repeat(scene[..., None], 3, axis=2) if scene.ndim == 2 else scene
    width = scene.shape[1]
    part = round(0.75 * width)
    left = round(share * (width - part))
    return cv2.resize(scene[:, left : left + part], SIZE[::-1], interpolation=cv2.INTER_LINEAR)


def way(generator, length, side):
    """The boxes `(length, 4)` of a face that wanders and grows or shrinks in its half of the picture."""
    time = np.linspace(0, 1, length)
    size = np.linspace(*generator.uniform(80, 170, 2), length)
    phase, turns = generator.uniform(0, 2 * np.pi, 2), generator.uniform(0.3, 1.2, 2)
    x = 160 + 320 * side + 70 * np.sin(phase[0] + 2 * np.pi * turns[0] * time)
    y = 240 + 90 * np.sin(phase[1] + 2 * np.pi * turns[1] * time)
    return np.stack([x - size / 2, y - size / 2, size, size], axis=1)


def paste(picture, face, box):
    """Draw a face into a box of a picture, with soft edges."""
    left, top, width, height = np.round(box).astype(int).tolist()
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    opaque = np.clip((1 - np.hypot(x, y) ** 2) * 4, 0, 1)[..., None]
    target = picture[top : top + height, left : left + width]
    target[:] = opaque * cv2.resize(face, (width, height)) + (1 - opaque) * target


def score(table, places, shots, rest):
    """Recall, that from each shot's first look on, mean overlap of what was found, and false alarms a frame."""
    boxes = [np.zeros((0, 4))] * len(places)
    for frame, rows in table.groupby("frame"):
        boxes[frame] = rows[["left", "top", "width", "height"]].to_numpy()
    frames = list(zip(boxes, places, strict=True))
    best = [max((overlap(box, face) for box in there), default=0.0) for there, faces in frames for face in faces]
    wrong = [max(overlap(box, face) for face in faces) < FOUND for there, faces in frames for box in there]
    found = [value for value in best if value >= FOUND]
    starts = np.repeat(np.cumsum(shots) - shots, shots)
    looked = np.arange(len(places)) >= -(-starts // rest) * rest
    return {
        "recall": len(found) / len(best),
        "recall_from_first_look": float((np.array(best)[np.repeat(looked, FACES)] >= FOUND).mean()),
        "overlap": float(np.mean(found)) if found else 0.0,
        "false_alarms": sum(wrong) / len(places),
    }


def compare(seconds, scores, num_frames):
    """The ratios of the readings to those with the detector at every frame."""
    found = []
    for rest in RESTS[1:]:
        scale = (
            f"{num_frames / min(seconds[rest]):.1f} against {num_frames / min(seconds[1]):.1f} frames/s; "
            f"recall {scores[rest]['recall']:.3f} against {scores[1]['recall']:.3f}"
        )
        goal = GOAL if rest == EVERY else None
        found.append(ratios.Ratio(f"every {rest}", "every 1", seconds[1], seconds[rest], goal=goal, scale=scale))
    above, below = seconds[1, WRITTEN], seconds[EVERY, WRITTEN]
    scale = f"{num_frames / min(below):.1f} against {num_frames / min(above):.1f} frames/s"
    return [*found, ratios.Ratio(f"every {EVERY}, {WRITTEN}", f"every 1, {WRITTEN}", above, below, scale=scale)]


def add_scores(path, scores, **about):
    """Put what was found, and what else is to be known of the film, beside the ratios."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    for rest in RESTS[1:]:
        entries[f"every {rest} / every 1"] |= {**about, "scores": scores[rest], "scores_against": scores[1]}
    rounded = json.loads(json.dumps(entries), parse_float=lambda text: round(float(text), 4))
    write_changed(path, json.dumps(rounded, sort_keys=True, indent=1) + "\n")


if __name__ == "__main__":
    main()
