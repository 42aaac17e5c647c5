"""The data room: readers, cache, audit."""

from fer_keras.data.faces import FaceDataset
from fer_keras.data.problems import DataError
from fer_keras.data.readers import load_fer4, load_fer7

__all__ = ["DataError", "FaceDataset", "load_fer4", "load_fer7"]
