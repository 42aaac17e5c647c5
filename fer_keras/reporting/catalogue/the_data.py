"""Figures of notebook 01: what is in the data."""

import numpy as np
import pandas as pd

from fer_keras.data.synthetic import drawn_faces
from fer_keras.data.transforms import Augmentation, apply_plan, draw_plan
from fer_keras.labels import FER7, SPLITS
from fer_keras.reporting import plotting
from fer_keras.reporting.catalogue.entry import Entry
from fer_keras.results.runs import find_table, read_table


def audited(*names):
    """Return a function that reads parts of the recorded audit, or None if there is none."""

    def read():
        found = find_table("audit")
        return found and {name: found[name] for name in names}

    return read


def mean_face_inputs():
    """Return the recorded mean faces and how many images are in each."""
    counts = audited("counts")()
    return counts and {"means": read_table("mean_faces"), "counts": counts["counts"]["train"]}


def copies(found):
    """Draw how many images of a split are also in another."""
    pairs = (("validation", "train"), ("test", "train"), ("test", "validation"))
    counts = {f"{split}, also in {other}": found["copies"][split][other] for split, other in pairs}
    repeated = {f"{split}, repeated inside": found["copies"][split][split] for split in SPLITS}
    return plotting.bars(counts | repeated, axis="images that are exact copies of another")


def agreement(found):
    """Draw the share of each class' test labels that FER+'s voters chose too."""
    shares = {name: found["agreement"]["test"][name] for name in FER7}
    return plotting.bars(shares, axis="test images whose label is the FER+ plurality", shares=True)


def drawn(request):
    """Draw a grid of drawn faces, a row a class."""
    faces = drawn_faces(request["columns"], seed=request["seed"])
    order = np.argsort(faces.labels, kind="stable")
    titles = [faces.classes[label] for label in faces.labels[order]]
    return plotting.gallery(faces.images[order], titles, columns=request["columns"])


def transforms(request):
    """Draw one drawn face, changed at random in each way that training may change it."""
    faces = drawn_faces(3, seed=request["seed"])
    face = faces.images[faces.labels == faces.classes.index("happy")][:1]
    images, titles = [], []
    for name, change in request["changes"].items():
        many = np.repeat(face, request["columns"], axis=0)
        generator = np.random.default_rng(request["seed"])
        plan = draw_plan(Augmentation(**change), len(many), many.shape[1:3], generator)
        images.extend(apply_plan(many, plan).round().astype(np.uint8))
        titles.extend([name] * len(many))
    return plotting.gallery(images, titles, columns=request["columns"])


CHANGES = {
    "flip": {"flip": True},
    "rotation": {"rotation_degrees": 15},
    "shift": {"shift_fraction": 0.1},
    "zoom": {"zoom": (0.8, 1.2)},
    "brightness": {"brightness": (0.4, 1.6)},
    "erasing": {"erase_probability": 1.0},
}
FIGURES = {
    "class-counts": Entry(
        1,
        "Number of images of each class in the training, validation and test split of FER-2013.",
        audited("counts"),
        lambda found: plotting.class_counts(pd.DataFrame(found["counts"]).loc[list(FER7), list(SPLITS)].T),
    ),
    "mean-faces": Entry(
        1,
        "Mean face of each class over the training images of FER-2013.",
        mean_face_inputs,
        lambda found: plotting.mean_faces({name: found["means"][name] for name in FER7}, counts=found["counts"]),
    ),
    "copies": Entry(1, "Number of exact copies inside and across the splits of FER-2013.", audited("copies"), copies),
    "agreement": Entry(
        1, "Share of FER-2013's test labels that FER+'s voters chose too, by class.", audited("agreement"), agreement
    ),
    "drawn-faces": Entry(1, "Drawn faces of the seven classes, a row each.", lambda: {"columns": 7, "seed": 0}, drawn),
    "transforms": Entry(
        1,
        "One drawn face after each of the random changes of training, a row each.",
        lambda: {"columns": 7, "seed": 0, "changes": CHANGES},
        transforms,
    ),
}
