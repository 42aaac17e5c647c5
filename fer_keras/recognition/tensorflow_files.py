"""Networks as files of TensorFlow's: LiteRT for telephones and small machines, SavedModel for servers."""

import numpy as np


def write_litert(model, path, images=None):
    """Write a built `keras.Model` as a LiteRT file; with images, with int8 values.

    What flows between the layers is made int8 at run time, a scale for each tensor as it comes: scales fixed
    beforehand lose more. So the images themselves are not needed.
    """
    import tensorflow as tf

    options = {} if images is None else {"optimizations": [tf.lite.Optimize.DEFAULT]}
    model.export(path, format="litert", verbose=False, **options)


def run_litert(path, images):
    """Return what a LiteRT file says of images `(n, height, width, 1)`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], images.astype(np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


def write_saved_model(model, path):
    """Write a built `keras.Model` as the folder of a SavedModel, with one endpoint, `serve`."""
    model.export(path, format="tf_saved_model", verbose=False)


def run_saved_model(path, images):
    """Return what a SavedModel says of images `(n, height, width, 1)`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # its function does not hold on to the values
    return loaded.serve(images.astype(np.float32)).numpy()
