"""A network in training: images on the device, augmentation and distillation inside the compiled step, its batches."""

import contextlib
import functools

import keras
import numpy as np
from keras import layers, ops

from fer_keras.data.augmentation import draw_plan, mix_targets
from fer_keras.evaluation.calibration import SMALLEST
from fer_keras.models.inputs import leaves
from fer_keras.training.devices import ONE


class TrainingModel(keras.Model):
    """A network that takes the indices of images, uint8 pixels or a backbone's features, instead of images.

    All lie on the device; a step gathers its batch there and augments it: feeding costs next to nothing. In training,
    the teachers' mean probabilities for an augmented image, softened by `temperature`, have `share` of its target.
    """

    def __init__(self, network, images, *, teachers=(), share=0.0, temperature=1.0):
        super().__init__(name="training_model", dtype="float32")
        self.network, self.teachers, self.share, self.temperature = network, list(teachers), share, temperature
        for teacher in self.teachers:
            teacher.trainable = False
        self.images = keras.Variable(images, trainable=False, dtype=images.dtype.name, name="images")

    def call(self, inputs, training=False):
        return self.network(self.pixels(inputs, training), training=training)

    def pixels(self, inputs, training):
        pixels = ops.cast(ops.take(self.images, ops.cast(inputs["index"], "int32"), axis=0), "float32")
        return augment(pixels, inputs) if training else pixels

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        sample_weight = x.get("weight") if training else sample_weight
        if self.teachers and training:
            pixels = self.pixels(x, training)
            mean = ops.mean(ops.stack([teacher(pixels, training=False) for teacher in self.teachers]), axis=0)
            softened = ops.softmax(ops.log(ops.maximum(mean, SMALLEST)) / self.temperature)
            y = (1.0 - self.share) * y + self.share * softened
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)


def augment(pixels, plan):
    """Augment float pixels, `(batch, height, width, 1)` in [0, 255], by an `augmentation.Plan` of the batch."""
    if "transform" in plan:
        pixels = ops.image.affine_transform(pixels, plan["transform"], interpolation="bilinear", fill_mode="nearest")
    for axis in (1, 2) if "blur" in plan else ():  # columns, then rows, by a pixel and its neighbours
        w, size = plan["blur"][:, :, None, None, None], pixels.shape[axis]
        padded = ops.pad(pixels, [(2, 2) if each == axis else (0, 0) for each in range(4)], mode="symmetric")
        at = [padded[:, i : i + size] if axis == 1 else padded[:, :, i : i + size] for i in range(5)]
        pixels = w[:, 2] * (at[0] + at[4]) + w[:, 1] * (at[1] + at[3]) + w[:, 0] * at[2]
    if "gamma" in plan:
        pixels = 255.0 * ops.power(ops.clip(pixels, 0.0, 255.0) / 255.0, plan["gamma"][:, None, None, None])
    if "light" in plan:
        light = plan["light"][:, :, None, None, None]
        pixels = ops.clip(pixels * light[:, 0] + light[:, 1], 0.0, 255.0)
    if "box" in plan:
        rows = ops.arange(pixels.shape[1], dtype="float32")[None, :, None, None]
        columns = ops.arange(pixels.shape[2], dtype="float32")[None, None, :, None]
        top, left, bottom, right, grey = (plan["box"][:, i][:, None, None, None] for i in range(5))
        sides = (rows >= top, rows < bottom, columns >= left, columns < right)
        pixels = ops.where(functools.reduce(ops.logical_and, sides), grey, pixels)
    if "partner" in plan:
        share = plan["share"][:, None, None, None]
        pixels = share * pixels + (1.0 - share) * ops.take(pixels, plan["partner"], axis=0)
    return pixels


class Batches(keras.utils.PyDataset):
    """Nested arrays of as many rows, in batches; the inputs are rows of `images` if given. Arrays may be replaced."""

    def __init__(self, arrays, batch_size, images=None):
        super().__init__()
        self.arrays, self.batch_size, self.images = arrays, batch_size, images

    def __len__(self):
        return -(-len(keras.tree.flatten(self.arrays)[0]) // self.batch_size)

    def __getitem__(self, number):
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        inputs, *others = keras.tree.map_structure(lambda array: array[rows], self.arrays)
        return (inputs if self.images is None else self.images[inputs["index"]].astype(np.float32), *others)

    def feed(self):
        """These batches, on TensorFlow as a data set that is cut outside Python."""
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        def batches(*arrays):
            def batch(start):
                inputs, *others = keras.tree.map_structure(lambda rows: rows[start : start + self.batch_size], arrays)
                return (inputs if images is None else tf.cast(tf.gather(images, inputs["index"]), tf.float32), *others)

            return tf.data.Dataset.from_tensor_slices(np.arange(len(self)) * self.batch_size).map(batch)

        images = None if self.images is None else tf.convert_to_tensor(self.images)
        spec = keras.tree.map_structure(lambda rows: tf.TensorSpec((None, *rows.shape[1:]), rows.dtype), self.arrays)
        data = tf.data.Dataset.from_generator(lambda: iter([self.arrays]), output_signature=spec)
        options = tf.data.Options()
        options.autotune.enabled = False  # its thread makes a single core wait at each epoch's end
        cardinality = tf.data.experimental.assert_cardinality(len(self))
        return data.flat_map(batches).apply(cardinality).prefetch(2).with_options(options)


class DrawEpochs(keras.callbacks.Callback):
    """Draw each epoch's batches from the seed and the epoch's number alone, so that any epoch can be drawn again.

    The network's random layers begin each epoch in a drawn state, and mixup stays inside a batch. Where `n` devices
    share each batch, up to `n - 1` images sit an epoch out, others in each. `examples` are the rows of the training
    images, the targets of all and these images' weights or None; `augmentation`: `(Augmentation, (height, width))`.
    """

    def __init__(self, network, examples, *, seed, batch_size, augmentation=None, devices=ONE):
        super().__init__()
        self.network, self.seed, self.batch_size, self.augmentation = network, seed, batch_size, augmentation
        (self.index, self.targets, self.weights), self.devices, self.batches = examples, devices, None

    def feed(self, epoch, images=None):
        """The training batches, which begin with an epoch's; with `images`, their inputs are pixels."""
        self.batches = Batches(self.draw(epoch), self.batch_size // self.devices.processes, images)
        return self.batches.feed()

    def validation(self, faces, batch_size, images=None):
        """The batches of validation images; where devices can't share the last, some come twice and weigh nothing."""
        devices, index = self.devices, np.flatnonzero(faces.split == "validation").astype(np.int32)
        filled = np.concatenate([index, index[-1:].repeat(-len(index) % devices.count)])
        arrays = ({"index": filled}, self.targets[filled])
        if devices.count > 1:  # such that the means are those of the images
            arrays += ((np.arange(len(filled)) < len(index)).astype(np.float32) * len(filled) / len(index),)
        batch_size = -(-batch_size // devices.count) * devices.count
        return Batches(devices.own(arrays, batch_size), batch_size // devices.processes, images).feed()

    def draw(self, epoch):
        """The arrays of an epoch, in the images' order; the random layers are set to begin it."""
        generator = np.random.default_rng([self.seed, epoch])
        for variable in self.network.non_trainable_variables:
            if variable.path.endswith("seed_generator_state"):
                variable.assign(generator.integers(0, 2**32, variable.shape, dtype=np.uint32))
        size = len(self.index) // self.devices.count * self.devices.count
        order = generator.permutation(len(self.index))[:size]
        inputs, targets = {"index": self.index[order].astype(np.int32)}, self.targets[self.index[order]]
        if self.augmentation is not None:
            plan = draw_plan(self.augmentation[0], size, self.augmentation[1], generator, group=self.batch_size)
            inputs |= {name: array for name, array in vars(plan).items() if array is not None}
            if plan.partner is not None:
                inputs["partner"] = plan.partner % self.batch_size
                targets = mix_targets(targets, plan)
        if self.weights is not None:  # in the loss alone: metrics count every image
            inputs["weight"] = self.weights[order]
        return self.devices.own((inputs, targets), self.batch_size)

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.arrays = self.draw(epoch)


@contextlib.contextmanager
def computing_in(network, precision):
    """Let all of a network's layers but the last compute in a precision while the context lasts; variables do not."""
    before = {layer: layer.dtype_policy for layer in leaves(network) if layer is not network.layers[-1]}
    try:
        for layer in before:
            layer.dtype_policy = precision
        yield
    finally:
        for layer, policy in before.items():
            layer.dtype_policy = policy


@contextlib.contextmanager
def fused_batch_norm(network):
    """Train batch normalisation of images in TensorFlow's fused operation, faster on a CPU, while the context lasts."""
    able = []
    for layer in leaves(network) if keras.backend.backend() == "tensorflow" else ():
        if type(layer) is layers.BatchNormalization and layer.input_spec.ndim == 4 and layer.axis in (-1, 3):
            able += [layer] if layer.scale and layer.center and not (layer.renorm or layer.synchronized) else []
    for layer in able:
        layer.call = functools.partial(normalise, layer)
    try:
        yield
    finally:
        for layer in able:
            del layer.call


def normalise(layer, inputs, training=None, mask=None):
    """Compute what `keras.layers.BatchNormalization.call` does."""
    if not (training and layer.trainable and mask is None):
        return layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    inputs = tf.cast(inputs, tf.float32)  # as Keras does; the operation's own bfloat16 was slower than with the casts
    scale, offset = tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta)
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=layer.epsilon)
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance * (count - 1.0) / count)):
        moving.assign(moving * layer.momentum + now * (1.0 - layer.momentum))
    return tf.cast(outputs, layer.compute_dtype)


class MacroMetric(keras.metrics.Metric):
    """Mean over classes of precision (`axis` 0) or recall (1), which is 0 if one was never predicted, or never met."""

    def __init__(self, num_classes, *, name, axis):
        super().__init__(name=name)
        self.num_classes, self.axis = num_classes, axis
        self.counts = self.add_variable((num_classes, num_classes), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        true, predicted = (ops.one_hot(ops.argmax(y, axis=-1), self.num_classes) for y in (y_true, y_pred))
        if sample_weight is not None:
            true = true * ops.reshape(sample_weight, (-1, 1))
        self.counts.assign(self.counts + ops.matmul(ops.transpose(true), predicted))

    def result(self):
        return ops.mean(ops.diagonal(self.counts) / ops.maximum(ops.sum(self.counts, axis=self.axis), 1e-7))
