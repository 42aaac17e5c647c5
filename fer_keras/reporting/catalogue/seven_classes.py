"""Figures of notebook 03: seven classes from scratch."""

import numpy as np

from fer_keras.data.synthetic import drawn_faces
from fer_keras.recipes import RECIPES
from fer_keras.reporting import plotting
from fer_keras.reporting.catalogue.entry import Entry, architectures, histories, of_each, recalls, recorded

SEVEN = (
    "emovision-baseline",
    "emovision-eyes",
    "emovision-vgg-draft",
    "emovision-vgg",
    "scratch-four-conv",
    "mini-xception",
    "mini-xception@64x64",
)
NETWORKS = ("emovision-baseline", "emovision-vgg-draft", "emovision-vgg", "scratch-four-conv", "mini-xception")


def eyes(request):
    """Draw a drawn face of each class, with what a crop cuts away made pale."""
    faces = drawn_faces(3, seed=request["seed"])
    top, bottom, left, right = request["crop"]
    first = [np.flatnonzero(faces.labels == label)[0] for label in range(len(faces.classes))]
    pale = (191 + faces.images[first] // 4).astype(np.uint8)
    height, width = pale.shape[1:3]
    kept = slice(None), slice(top, height - bottom), slice(left, width - right)
    pale[kept] = faces.images[first][kept]
    return plotting.gallery(pale, faces.classes, columns=len(first), side=1.0)


FIGURES = {
    "eyes-crop": Entry(
        3,
        "A drawn face of each class; the part outside eyes and brows, which is cut away, is pale.",
        lambda: {"crop": dict(RECIPES["emovision-eyes"].model_options)["crop"], "seed": 1},
        eyes,
    ),
    "curves-seven": Entry(
        3, "Validation accuracy by epoch of the seven-class networks from scratch.", recorded(*SEVEN), histories
    ),
    "recall-seven": Entry(
        3, "Recall of each of the seven classes by the networks from scratch.", recorded(*SEVEN), recalls
    ),
    **of_each(3, SEVEN),
    **architectures(3, NETWORKS),
}
