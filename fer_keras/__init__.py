"""Facial expression recognition in Keras, with numbers one can believe.

Names are imported when they are first used: `import fer_keras` loads neither Keras nor a backend.
"""

from fer_keras.names import import_part

__version__ = "0.1.0"

_BY_MODULE = {
    "data": (
        "FaceDataset", "audit", "concatenate", "load_ckplus", "load_faces", "load_fer4", "load_fer7", "load_ferplus",
        "load_folder", "load_rafdb",
    ),
    "data.synthetic_faces": ("make_faces",),
    "evaluation.explain": ("explain",),
    "models": ("MODELS", "build", "fine_tune"),
    "models.weights": ("Network", "load"),
    "paths": ("profile", "reduce"),
    "recipes": ("RECIPES", "find_recipe"),
    "recognition.annotate": ("annotate",),
    "recognition.export": ("export",),
    "recognition.folders": ("recognize_folder",),
    "recognition.ray_folders": ("recognize_on_ray",),
    "recognition.recognizer": ("Face", "Recognizer", "recognize"),
    "recognition.video": ("recognize_video",),
    "training": ("evaluate", "fit", "load_network"),
}  # fmt: skip
_PUBLIC = {name: f"fer_keras.{module}" for module, names in _BY_MODULE.items() for name in names}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_part(_PUBLIC[name]), name)
    raise AttributeError(f"module 'fer_keras' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PUBLIC])
