"""Several devices of one machine on TensorFlow: its MirroredStrategy, fed so that every device has an equal part."""

import functools

import keras
import tensorflow as tf
from keras import layers

from fer_keras.models.counting import leaves
from fer_keras.training.devices import Devices
from fer_keras.training.feeding import in_batches, length


class Mirrored(Devices):
    """Devices of this machine, each with a copy of the network and a part of every batch.

    Batch normalisation takes its statistics of the whole batch, as on one device; MirroredStrategy by itself would take
    those of each device's part. Dropout draws the same mask on every device, each for its part.

    Args:
        names: of the devices, as `keras.distribution.list_devices` names them.
    """

    def __init__(self, names):
        self.count = len(names)
        self.strategy = strategy_of(tuple(names))

    def scope(self):
        """Return the strategy's context."""
        return self.strategy.scope()

    def spread(self, network, seed):
        """Return a copy of a network whose variables are mirrored."""
        with self.scope():
            copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
        for layer in leaves(copy):
            if isinstance(layer, layers.BatchNormalization):
                layer.synchronized = True
        return copy

    def fit(self, model, arrays, *, batch_size, **options):
        """Call `model.fit` on batches that are cut into the devices' parts here."""
        parts = self.parts(tuple(array for array in arrays if array is not None), batch_size)
        return model.fit(parts, steps_per_epoch=steps(arrays, batch_size), shuffle=False, **options)

    def predict(self, model, inputs, *, batch_size):
        """Return `model.predict` of batches that are cut into the devices' parts here."""
        return model.predict(self.parts((inputs,), batch_size), steps=steps(inputs, batch_size), verbose=0)

    def parts(self, arrays, batch_size):
        """Return a data set of each device's part of each batch; those of the last batch are smaller, but equal.

        Left to itself, the strategy gives all of a small last batch to the first devices, and weighs them wrongly.
        """
        whole = length(arrays) // batch_size * batch_size

        def make(context):
            sets = []
            for start, stop in ((0, whole), (whole, length(arrays))):
                if stop > start:
                    cut = keras.tree.map_structure(lambda array, a=start, b=stop: array[a:b], arrays)
                    size = min(batch_size, stop - start) // self.count
                    sets.append(in_batches(cut, size))
            return sets[0] if len(sets) == 1 else sets[0].concatenate(sets[1])

        return self.strategy.distribute_datasets_from_function(make)

    def of_all(self, pixels):
        """Return the pictures of all devices, in their order."""
        return tf.distribute.get_replica_context().all_gather(pixels, axis=0)


@functools.cache
def strategy_of(names):
    """Return the MirroredStrategy of some devices: a second one would give its messages the numbers of the first's."""
    return tf.distribute.MirroredStrategy([name.upper() for name in names])


def steps(arrays, batch_size):
    """Return how many batches nested arrays make."""
    return -(-length(arrays) // batch_size)
