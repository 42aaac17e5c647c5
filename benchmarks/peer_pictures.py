"""What `peers.py` shows to all packages, and how much of it each of them finds."""

import dataclasses

import detection
import numpy as np
import pandas as pd
import skimage.data
import video
from PIL import Image

from fer_keras.evaluation import compare, wilson
from fer_keras.labels import FER7
from fer_keras.recipes.published import PEERS
from fer_keras.recognition.detectors import Detection, Haar

OURS, INT8, FER, DEEPFACE, DEEPFACE_ONNX = "ours", "ours-int8", "fer", "deepface", "deepface-onnx"
SHEET = (8, 8)  # faces in rows and columns of the picture that shows 64


def astronaut():
    """The scene that is the photo of the astronaut, 640x480."""
    picture = np.zeros((detection.HEIGHT, detection.WIDTH, 3), np.uint8)
    left, top, width, height = video.ASTRONAUT
    picture[:, 64:576] = skimage.data.astronaut()[: detection.HEIGHT]
    return detection.Scene(picture, [(left + 64, top, width, height)], [-1])


def picture_paths(folder, number):
    """The paths of the first scenes' files."""
    return [str(folder / f"scene-{each}.jpg") for each in range(number)]


def small_pictures(folder, scenes):
    """Write pictures of 160x120; return their paths."""
    paths = [folder / f"small-{number}.jpg" for number in range(len(scenes))]
    for path, scene in zip(paths, scenes, strict=True):
        Image.fromarray(scene.picture).resize((160, 120)).save(path, quality=95)
    return list(map(str, paths))


def picture_of_many(faces):
    """A picture of 640x480 in colours that shows 64 faces, and their boxes."""
    picture = np.full((detection.HEIGHT, detection.WIDTH, 3), 128, np.uint8)
    down, across = detection.HEIGHT // SHEET[0], detection.WIDTH // SHEET[1]
    side = min(down, across) - 4
    boxes = [(column * across, row * down, side, side) for row in range(SHEET[0]) for column in range(SHEET[1])]
    for (left, top, *_), face in zip(boxes, faces, strict=True):
        large = np.asarray(Image.fromarray(face[..., 0]).resize((side, side)))
        picture[top : top + side, left : left + side] = large[..., None]
    return picture, boxes


def in_pictures(scenes, answers):
    """Scores of ours and `fer` on the faces in the scenes, and how they differ, as pairs."""
    scores, found = {}, {}
    for peer, rounds in answers.items():
        named = [faces for answer in rounds for faces in answer]
        boxes = [[Detection(tuple(box), 1.0) for box, _ in faces] for faces in named]
        matches = [list(detection.matched(*pair, Haar.framing)) for pair in zip(scenes, boxes, strict=True)]
        hits = [{match.row for match in there} for there in matches]
        found[peer] = [row in hit for scene, hit in zip(scenes, hits, strict=True) for row in scene.rows]
        alarms = sum(match.row is None for there in matches for match in there)
        low, high = wilson(sum(found[peer]), len(found[peer]))
        scores[peer] = {
            "faces": len(found[peer]),
            "false alarms a picture": alarms / len(scenes),
            "recall": float(np.mean(found[peer])),
            "recall_high": high,
            "recall_low": low,
        }
    if FER in found:
        scores[f"{OURS} against {FER}"] = difference(*(np.array(found[peer]) for peer in (FER, OURS)))
    return scores


def difference(theirs, ours):
    """By how much we are right more often, as it is recorded."""
    right = np.ones(len(ours), int)
    found = compare(right, *(np.stack([~each, each], axis=1).astype(float) for each in (theirs, ours)))
    return {**dataclasses.asdict(found), "in words": str(found)}


def in_film(places, shots, answers):
    """Scores of ours and `fer` on the faces in the film."""
    columns = ["frame", "left", "top", "width", "height"]
    return {
        peer: video.score(pd.DataFrame(rounds[0], columns=columns), places, shots, video.EVERY if peer == OURS else 1)
        for peer, rounds in answers.items()
    }


def accuracies(processes, folder, images, labels):
    """Accuracies on the faces of PublicTest, each picture given as one face, and how they differ, as pairs."""
    np.save(folder / "all.npy", images)
    asked = {OURS: (OURS, {}), INT8: (INT8, {}), FER: (FER, {}), "fer without margins": (FER, {"offsets": [0, 0]})}
    scores, right = {}, {}
    for name, (peer, options) in asked.items():
        if peer in processes:
            answer = processes[peer].ask("cut_out", faces=str(folder / "all.npy"), **options)["answer"]
            named = [[faces[0][1][emotion] for emotion in FER7] for faces in answer]
            right[name] = np.argmax(named, axis=1) == labels
            low, high = wilson(int(right[name].sum()), len(labels))
            scores[name] = {"accuracy": float(right[name].mean()), "accuracy_high": high, "accuracy_low": low}
    for name in set(right) - {OURS}:
        scores[name][f"{OURS} against it"] = difference(right[name], right[OURS])
    return {**scores, "faces": len(labels), "chosen on": {OURS: "PublicTest", FER: PEERS[0].chosen_on}}
