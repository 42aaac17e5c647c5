"""Facial expression recognition in Keras, with numbers one can believe.

Names are imported when they are first used: `import fer_keras` loads neither Keras nor a backend.
"""

from fer_keras.names import import_part

__version__ = "0.1.0"

# Public name -> the module that holds it.
_PUBLIC = {
    "FaceDataset": "fer_keras.data",
    "audit": "fer_keras.data",
    "concatenate": "fer_keras.data",
    "explain": "fer_keras.evaluation.explain",
    "make_faces": "fer_keras.data.synthetic_faces",
    "load_ckplus": "fer_keras.data",
    "Network": "fer_keras.models.weights",
    "load": "fer_keras.models.weights",
    "load_faces": "fer_keras.data",
    "load_fer4": "fer_keras.data",
    "load_fer7": "fer_keras.data",
    "load_ferplus": "fer_keras.data",
    "load_folder": "fer_keras.data",
    "load_rafdb": "fer_keras.data",
    "RECIPES": "fer_keras.recipes",
    "find_recipe": "fer_keras.recipes",
    "MODELS": "fer_keras.models",
    "build": "fer_keras.models",
    "fine_tune": "fer_keras.models",
    "evaluate": "fer_keras.training",
    "fit": "fer_keras.training",
    "load_network": "fer_keras.training",
    "Face": "fer_keras.recognition.recognizer",
    "annotate": "fer_keras.recognition.annotate",
    "Recognizer": "fer_keras.recognition.recognizer",
    "export": "fer_keras.recognition.export",
    "recognize": "fer_keras.recognition.recognizer",
    "recognize_folder": "fer_keras.recognition.folders",
    "recognize_on_ray": "fer_keras.recognition.ray_folders",
    "recognize_video": "fer_keras.recognition.video",
    "profile": "fer_keras.paths",
    "reduce": "fer_keras.paths",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_part(_PUBLIC[name]), name)
    raise AttributeError(f"module 'fer_keras' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PUBLIC])
