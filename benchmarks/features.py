"""How much faster a head trains on a frozen backbone's features, computed once, than through the backbone.

For each network, randomly initialised, with noise as pictures, three things are timed in turn:
- through the backbone: epochs of the whole network as `fer_keras train` runs them when a recipe changes its images;
- on features: the same epochs, as it runs them when it does not;
- computing: the features of the same images.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dataclasses
import tempfile
from pathlib import Path

import keras
import ratios
import training

from fer_keras.data.augmentation import Augmentation
from fer_keras.recipes import find_recipe
from fer_keras.training import features

NETWORKS = ("vgg16", "efficientnet")
EPOCHS = 20  # of the recipes
STEPS = 12
THROUGH, ON, COMPUTING = "through the backbone", "on features", "computing"
PLAIN = {field.name: field.default for field in dataclasses.fields(Augmentation)}


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    rounds, steps = (2, 2) if asked.quick else (4, STEPS)
    found = []
    for name in NETWORKS[:1] if asked.quick else NETWORKS:
        found += measure(find_recipe(name), rounds, steps, batch_size=4 if asked.quick else 32)
    where = ratios.machine("tensorflow", "keras", "numpy")
    ratios.show(found, where, rounds)
    if asked.json:
        ratios.write(found, where, rounds, asked.json)


def measure(recipe, rounds, steps, batch_size):
    """The ratios of one recipe, over epochs of so many steps."""
    keras.utils.clear_session()
    recipe = dataclasses.replace(recipe, **PLAIN, weights=None, batch_size=batch_size)
    faces = training.random_faces(recipe, steps * batch_size).select(splits=("train",))
    trunk, _ = features.split_backbone(recipe, training.new_network(recipe))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pieces = {
            THROUGH: training.real_path(recipe, faces),
            ON: training.real_path(recipe, faces, on_features=True),
            COMPUTING: lambda: features.compute(trunk, faces.images, folder / "features.npy", verbose=0),
        }
        seconds = ratios.seconds_in_turn(pieces, rounds)
    together = [computing / EPOCHS + on for computing, on in zip(seconds[COMPUTING], seconds[ON], strict=True)]
    scale = f"{len(faces) / min(seconds[ON]):,.0f} against {len(faces) / min(seconds[THROUGH]):,.0f} images/s"
    return [
        ratios.Ratio(f"{recipe.name}: head epoch {ON}", THROUGH, seconds[THROUGH], seconds[ON], scale=scale),
        ratios.Ratio(f"{recipe.name}: {EPOCHS} head epochs, features and all", THROUGH, seconds[THROUGH], together),
    ]


if __name__ == "__main__":
    main()
