"""The network as it is trained: images on the device, augmentation inside the compiled step, on any backend."""

import keras
import numpy as np
from keras import ops

from fer_keras.data import transforms
from fer_keras.evaluation.calibration import SMALLEST
from fer_keras.training.devices import ONE

PLAN_KEYS = ("transform", "blur", "gamma", "light", "box", "partner", "share")


class Trainee(keras.Model):
    """A network that is fed with the numbers of images instead of images.

    All images lie on the device as uint8; a step gathers its batch there and changes it as the plan says, so that
    feeding costs next to nothing on any backend.

    Args:
        network: the `keras.Model` to train, from pixels in [0, 255], or a backbone's features, to probabilities.
        images: uint8 `(n, height, width, 1)`, or features `(n, ...)`.
        devices: the `Devices` that the network lies on; make a trainee in their scope.
        teachers: frozen `keras.Model`s with the network's inputs and outputs. In training, the mean of what they say of
            a changed picture, softened by `temperature`, has `share` of that picture's target.
        share: in [0, 1].
        temperature: above 0; 1 softens nothing.
    """

    def __init__(self, network, images, devices=ONE, *, teachers=(), share=0.0, temperature=1.0):
        super().__init__(name="trainee")
        self.network, self.devices = network, devices
        self.teachers, self.share, self.temperature = list(teachers), share, temperature
        self.images = keras.Variable(devices.place(images), trainable=False, dtype=images.dtype.name, name="images")

    def call(self, inputs, training=False):
        """Return probabilities `(batch, classes)` for `inputs["index"]`; the plan counts in training only."""
        if training:
            return self.network(self.changed(inputs), training=True)
        return self.devices.for_all(self.network(self.pixels(inputs), training=training))

    def pixels(self, inputs):
        """Return the images of `inputs["index"]`, float32."""
        # Where Keras builds a model on several devices, it takes the mean of their indices, a float.
        index = ops.cast(inputs["index"], "int32")
        return ops.cast(ops.take(self.images, index, axis=0), "float32")

    def changed(self, inputs):
        """Return the images of `inputs["index"]` as the plan changes them."""
        return augment(self.pixels(inputs), inputs, self.devices)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss, in training with the teachers' part in the targets."""
        if self.teachers and training:
            pictures = self.changed(x)
            said = ops.mean(ops.stack([teacher(pictures, training=False) for teacher in self.teachers]), axis=0)
            softened = ops.softmax(ops.log(ops.maximum(said, SMALLEST)) / self.temperature)
            y = (1.0 - self.share) * y + self.share * softened
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)


def augment(pixels, plan, devices=ONE):
    """Apply a plan to float pixels, `(batch, height, width, 1)` in [0, 255], with the backend's operations.

    The counterpart of `data.transforms.apply_plan`, without its rounding; `plan["partner"]` counts inside the batch,
    that of all devices.
    """
    if "transform" in plan:
        pixels = ops.image.affine_transform(pixels, plan["transform"], interpolation="bilinear", fill_mode="nearest")
    if "blur" in plan:
        pixels = blur(pixels, plan["blur"])
    if "gamma" in plan:
        pixels = 255.0 * ops.power(ops.clip(pixels, 0.0, 255.0) / 255.0, plan["gamma"][:, None, None, None])
    if "light" in plan:
        light = plan["light"][:, :, None, None, None]
        pixels = ops.clip(pixels * light[:, 0] + light[:, 1], 0.0, 255.0)
    if "box" in plan:
        pixels = erase(pixels, plan["box"])
    if "partner" in plan:
        share = plan["share"][:, None, None, None]
        pixels = share * pixels + (1.0 - share) * ops.take(devices.of_all(pixels), plan["partner"], axis=0)
    return pixels


def blur(pixels, weights):
    """Blur columns, then rows, by the weights `(batch, 3)` of a pixel and its neighbours; the border mirrors."""
    w = weights[:, :, None, None, None]
    for axis in (1, 2):
        size = pixels.shape[axis]
        padded = ops.pad(pixels, [(2, 2) if each == axis else (0, 0) for each in range(4)], mode="symmetric")
        at = [padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size] for i in range(5)]
        pixels = w[:, 2] * (at[0] + at[4]) + w[:, 1] * (at[1] + at[3]) + w[:, 0] * at[2]
    return pixels


def erase(pixels, box):
    """Paint a rectangle of one grey into each picture; `box` is `(batch, 5)`: top, left, bottom, right, grey."""
    rows = ops.reshape(ops.arange(pixels.shape[1], dtype="float32"), (1, -1, 1, 1))
    columns = ops.reshape(ops.arange(pixels.shape[2], dtype="float32"), (1, 1, -1, 1))
    top, left, bottom, right, grey = (box[:, i][:, None, None, None] for i in range(5))
    inside_rows = ops.logical_and(rows >= top, rows < bottom)
    inside_columns = ops.logical_and(columns >= left, columns < right)
    return ops.where(ops.logical_and(inside_rows, inside_columns), grey, pixels)


def epoch_inputs(recipe, index, size, generator, count=1):
    """Draw one epoch: the images' order and what happens to each.

    So that `count` devices can share every batch, up to `count - 1` images sit an epoch out, others in each.

    Args:
        recipe: a `Recipe`.
        index: int array, the numbers of the training images.
        size: `(height, width)` in pixels.
        generator: a `numpy.random.Generator`, seeded by run and epoch.
        count: int, how many devices share a batch.

    Returns:
        `(inputs, order, plan)`: the dict of arrays that a `Trainee` takes, the positions in `index`, and the `Plan`.
    """
    order = generator.permutation(len(index))[: len(index) // count * count]
    plan = transforms.draw_plan(recipe.augmentation, len(order), size, generator, group=recipe.batch_size)
    inputs = {key: getattr(plan, key) for key in PLAN_KEYS if getattr(plan, key) is not None}
    if plan.partner is not None:
        inputs["partner"] = plan.partner % recipe.batch_size
    return {"index": index[order].astype(np.int32), **inputs}, order, plan
