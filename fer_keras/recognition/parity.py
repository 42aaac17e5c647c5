"""Does an exported file say what its Keras network says: on drawn faces, and on real ones where they are at hand."""

import os

import numpy as np

from fer_keras import data
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.evaluation import wilson
from fer_keras.labels import FER7, FERPLUS8

TOLERANCE = 1e-4  # how far a probability may lie from that of the Keras network
INT8_TOLERANCE = 0.05  # the same for an int8 file, on average
DRAWN = 6  # faces of each class
REAL = 256  # faces of FER-2013 that a float32 file is compared on; an int8 one is on all of PublicTest
CALIBRATION = 512
AGREEMENT = "share of images with the same likeliest class as the float32 network, to which `metrics` belong"


def real_faces(network):
    """Return the train and validation faces of FER-2013 in a network's classes; None where there are none that fit."""
    fits = network.size == (48, 48) and set(network.classes) <= set(FERPLUS8)
    if not (fits and os.environ.get("FER_KERAS_DATA")):
        return None
    if set(network.classes) <= set(FER7):
        faces = data.load_fer7().select(classes=network.classes)
    else:
        faces = data.load_ferplus(classes=network.classes)
    published = faces.protocol == "official" and not faces.difference
    return faces.select(splits=("train", "validation")) if published else None


def drawn(network):
    """Return drawn faces of a network's input size, `(n, height, width, 1)`."""
    height, width = network.size
    return make_faces(DRAWN, size=max(height, width)).images[:, :height, :width]


def calibration(network, real):
    """Return the float32 images that scales are chosen on: some Training faces, or drawn ones."""
    images = drawn(network) if real is None else real["train"][0]
    chosen = np.random.default_rng(0).permutation(len(images))[:CALIBRATION]
    return images[np.sort(chosen)].astype(np.float32)


def compare(network, run, real, quantize):
    """Return what the card says of a file's agreement with its Keras network, or raise a `ValueError`.

    Args:
        network: a `Network`.
        run: function from images to the file's probabilities.
        real: a `FaceDataset`, or None.
        quantize: None or `"int8"`.
    """
    images, labels = (drawn(network), None) if real is None else real["validation"]
    if real is not None and not quantize:
        images = np.concatenate([drawn(network), images[:REAL]])
    wanted = network.predict(images)
    parts = [images[:1], *(images[start : start + REAL] for start in range(1, len(images), REAL))]
    got = np.concatenate([run(part) for part in parts])
    difference = np.abs(got - wanted)
    worst, allowed = (difference.mean(), INT8_TOLERANCE) if quantize else (difference.max(), TOLERANCE)
    if not worst <= allowed:  # also where it is no number
        raise ValueError(
            f"{network.name}: Expected a file that says what the Keras network says, within {allowed} on {len(images)} "
            f"faces. Received: a difference of {worst:.2g}. Nothing was written."
        )
    if not quantize:
        return {"parity": {"num_images": len(images), "largest_difference": float(f"{worst:.2g}")}}
    agreement = float((got.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    found = {"kind": quantize, "num_images": len(images), "source": "drawn faces", "agreement": round(agreement, 4)}
    found["agreement_is"] = AGREEMENT
    if real is not None:
        found |= {"source": real.source, "split": "validation", **accuracies(labels, got, wanted)}
    return {"quantized": found}


def accuracies(labels, got, wanted):
    """Return the accuracy of an int8 file with its 95 % interval, single view, and that of its Keras network."""
    right = int((got.argmax(axis=1) == labels).sum())
    low, high = wilson(right, len(labels))
    found = {
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_float32": float((wanted.argmax(axis=1) == labels).mean()),
    }
    return {name: round(value, 4) for name, value in found.items()}
