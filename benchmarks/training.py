"""How much of the bare network's speed a real training keeps, and how it compares with the student projects' feeding.

For each network, four things are timed in turn:
- real path: whole epochs as `fer_keras train` runs them: order and augmentation drawn, pictures gathered and changed
  in the compiled step, progress bar written. These epochs are much shorter than the recipes', so that what an epoch
  costs once weighs more than it does in truth.
- bare step: the compiled train function of the same network as Keras makes it, called on one fixed batch; no feeding,
  no augmentation, no callbacks. The real path can be faster: it normalises batches in one operation
  (`training_model.fused_batch_norm`), where Keras takes a dozen.
- ImageDataGenerator: the same network and augmentation, fed by Keras' `ImageDataGenerator` from an array in memory (the
  projects read JPEG files, which is slower), without its rescaling (the networks rescale themselves).
- forward pass: the compiled network on the fixed batch.
In the same rounds a large matrix product says what the machine can do at best.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import contextlib
import dataclasses
import itertools

import keras
import numpy as np
import ratios
import tensorflow as tf

from fer_keras.data.dataset import FaceDataset
from fer_keras.models import build, multiply_adds
from fer_keras.models.transfer import backbones_in, fine_tune
from fer_keras.recipes import find_recipe
from fer_keras.training import features, trainer
from fer_keras.training.callbacks import make_optimizer
from fer_keras.training.training_model import Batches, DrawEpochs, fused_batch_norm

STEPS = {"capstone-model-2": 24, "mini-xception": 192}  # of an epoch: three to six seconds each
NUM_IMAGES = {"fer4": 20_181, "fer7": 28_709}  # on the device: FER-2013's Training rows
REAL, BARE, FED, FORWARD = "real path", "bare step", "ImageDataGenerator", "forward pass"
PRODUCT = "float32 matrix product"


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    rounds, side = (2, 256) if asked.quick else (5, 4096)
    if keras.backend.backend() != "tensorflow":
        raise SystemExit(f"Expected the backend tensorflow: unset KERAS_BACKEND. Received: {keras.backend.backend()}.")
    found = []
    for name, steps in list(STEPS.items())[: 1 if asked.quick else None]:
        recipe = find_recipe(name)
        if asked.quick:
            recipe, steps = dataclasses.replace(recipe, batch_size=4), 2
        found += measure(recipe, steps, rounds, side)
    where = ratios.machine("tensorflow", "keras", "numpy")
    ratios.show(found, where, rounds)
    if asked.json:
        ratios.write(found, where, rounds, asked.json)


def measure(recipe, steps, rounds, side):
    """The ratios of one recipe, over epochs of so many steps."""
    keras.utils.clear_session()
    faces = random_faces(recipe, steps * recipe.batch_size)
    images, labels = faces["train"]
    targets = np.eye(len(recipe.classes), dtype=np.float32)[labels]
    pieces = {
        REAL: real_path(recipe, faces),
        BARE: bare_step(recipe, images, targets, steps),
        FED: image_data_generator(recipe, images, targets),
        FORWARD: forward_pass(recipe, images, steps),
        PRODUCT: matrix_product(side),
    }
    seconds = ratios.seconds_in_turn(pieces, rounds)
    return compare(recipe, seconds, len(images), side)


def compare(recipe, seconds, num_images, side):
    """The ratios between the seconds of the pieces, which saw so many images each."""
    macs = multiply_adds(new_network(recipe))
    rate = {name: num_images / min(seconds[name]) for name in (REAL, BARE, FED, FORWARD)}

    def faster(name, against, goal):
        scale = f"{rate[name]:,.0f} against {rate[against]:,.0f} images/s"
        return ratios.Ratio(f"{recipe.name}: {name}", against, seconds[against], seconds[name], goal=goal, scale=scale)

    def share(name, passes):
        # A step is taken as three forward passes: forward, gradient of the inputs, gradient of the weights.
        work, best = passes * num_images * macs, side**3 / min(seconds[PRODUCT])
        scale = f"{work / min(seconds[name]) / 1e9:,.1f} against {best / 1e9:,.1f} G multiply-adds/s"
        name_of = f"{recipe.name}: multiply-adds, {name}"
        return ratios.Ratio(name_of, PRODUCT, seconds[PRODUCT], seconds[name], work / side**3, scale=scale)

    return [faster(REAL, BARE, 0.95), faster(REAL, FED, 1.0), share(BARE, 3), share(FORWARD, 1)]


def random_faces(recipe, num_train):
    """A `FaceDataset` of noise, as large as the recipe's data; `num_train` images of it are to train on."""
    generator = np.random.default_rng(0)
    total = max(NUM_IMAGES[recipe.data], num_train)
    split = np.full(total, "validation", "<U10")
    split[generator.permutation(total)[:num_train]] = "train"
    return FaceDataset(
        images=generator.integers(0, 256, (total, 48, 48, 1), dtype=np.uint8),
        labels=generator.integers(0, len(recipe.classes), total),
        split=split,
        classes=recipe.classes,
        source="noise",
    )


def new_network(recipe):
    """The recipe's network, at random initialisation, its backbone frozen as in the recipe."""
    network = build(recipe.model, len(recipe.classes), weights=None, **dict(recipe.model_options))
    return fine_tune(network, recipe.trainable_from) if backbones_in(network) else network


def compiled(recipe, steps):
    """The recipe's network, compiled as a training compiles it."""
    network = new_network(recipe)
    network.compile(
        optimizer=make_optimizer(recipe, steps),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    return network


def real_path(recipe, faces, on_features=False):
    """A function that trains one more epoch as `fer_keras train` does, of the head on features if asked for."""
    targets = np.eye(len(recipe.classes), dtype=np.float32)[faces.labels]
    network, images = new_network(recipe), faces.images
    if on_features:
        backbone, network = features.split_backbone(recipe, network)
        images = backbone.predict(faces.images, verbose=0)
    job = trainer.Job(recipe, 0, faces)
    model = trainer.training_model(job, network, images, [])
    augmentation = (recipe.augmentation, faces.images.shape[1:3])
    how = {"batch_size": recipe.batch_size, "augmentation": augmentation}
    draw = DrawEpochs(network, (job.index, targets, None), seed=0, **how)
    draw.batches = Batches(draw.draw(0), recipe.batch_size)
    feed, epochs = draw.batches.feed(), itertools.count()

    def epoch():
        number = next(epochs)
        with silence(), fused_batch_norm(network):
            model.fit(feed, initial_epoch=number, epochs=number + 1, callbacks=[draw], shuffle=False)

    return epoch


def bare_step(recipe, images, targets, steps):
    """A function that calls the network's compiled train function `steps` times on one fixed batch."""
    network = compiled(recipe, steps)
    batch = images[: recipe.batch_size].astype(np.float32), targets[: recipe.batch_size]
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    network.make_train_function()

    def run():
        for _ in range(steps):
            logs = network.train_function(iterator)
        return float(logs["loss"])

    return run


def image_data_generator(recipe, images, targets):
    """A function that trains one epoch, fed as the student projects did."""
    network = compiled(recipe, len(images) // recipe.batch_size)
    generator = tf.keras.preprocessing.image.ImageDataGenerator(
        horizontal_flip=recipe.flip,
        rotation_range=recipe.rotation_degrees,
        width_shift_range=recipe.shift_fraction,
        height_shift_range=recipe.shift_fraction,
        zoom_range=recipe.zoom,
        shear_range=recipe.shear_degrees,
        brightness_range=None if recipe.brightness == (1.0, 1.0) else recipe.brightness,
    )
    flow = generator.flow(images, targets, batch_size=recipe.batch_size, seed=0)

    def epoch():
        with silence():
            network.fit(flow, epochs=1)

    return epoch


def forward_pass(recipe, images, steps):
    """A function that calls the compiled network `steps` times on one fixed batch, without training."""
    network = new_network(recipe)
    batch = tf.constant(images[: recipe.batch_size], tf.float32)
    function = tf.function(lambda pixels: network(pixels, training=False))

    def run():
        for _ in range(steps):
            probabilities = function(batch)
        return probabilities.numpy()

    return run


def matrix_product(side):
    """A function that multiplies two square matrices."""
    a, b = np.random.default_rng(0).standard_normal((2, side, side), dtype=np.float32)
    a, b = tf.constant(a), tf.constant(b)
    return lambda: tf.matmul(a, b)[0, 0].numpy()


@contextlib.contextmanager
def silence():
    """Send what is printed to nowhere: a progress bar costs what it costs, unread."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


if __name__ == "__main__":
    main()
