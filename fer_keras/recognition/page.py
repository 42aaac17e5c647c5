"""A page in the browser: a picture or the camera in, named faces out, and where the network looks."""

import functools
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_keras.data.dataset import DataError
from fer_keras.recognition import page_words
from fer_keras.recognition.detectors import scaled
from fer_keras.recognition.drawing import draw_faces
from fer_keras.recognition.networks import keras_network
from fer_keras.recognition.photos import ENOUGH_SIDE, read_reduced
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer

HEIGHT = 400  # pixels, of a picture
SIDE = 320  # pixels, of an explained face
MOST_HEAT = 0.7  # how much of a pixel is heat, where it is hottest
KEPT_SECONDS = 1800  # for which the faces of a picture wait for a click
WAITING = 16  # pictures in the queue; more are refused


class Shown(NamedTuple):
    """What is kept of a picture while it is shown: its `Face`s, and the crops that the network took."""

    faces: list
    crops: np.ndarray


def look(recognizer, source):
    """Return a picture with numbered, named faces, uint8 RGB, at most `ENOUGH_SIDE` pixels long, and what is `Shown`.

    Raises:
        DataError: if the source is no picture.
    """
    rgb, _ = read_reduced(source)
    rgb = np.asarray(scaled(rgb, min(1.0, ENOUGH_SIDE / max(rgb.shape[:2]))))
    detections = recognizer.detect(rgb)
    crops = recognizer.crops(rgb, detections)
    faces = recognizer.faces(detections, recognizer.calibrated(crops))
    return draw_faces(rgb, faces, names=map(str, range(1, len(faces) + 1))), Shown(faces, crops)


def face_at(faces, point):
    """Return the index of the face whose box holds a point `(x, y)`, of several the smallest; None if none does."""
    found = [
        (width * height, index)
        for index, (left, top, width, height) in enumerate(face.box for face in faces)
        if left <= point[0] < left + width and top <= point[1] < top + height
    ]
    return min(found)[1] if found else None


def explained(crop, model):
    """Return a face as the network sees it and, beside it, where what speaks for its likeliest class lies.

    Args:
        crop: uint8 `(height, width, 1)`.
        model: the `keras.Model`.

    Returns:
        uint8 RGB `(SIDE, 2 * SIDE, 3)`.

    Raises:
        ValueError: if the network has no layer that can be explained, or Keras runs on a backend that cannot.
    """
    from fer_keras.evaluation.explain import explain

    heat = explain(model, crop)[0]
    size, smooth = (SIDE, SIDE), Image.Resampling.BICUBIC
    heat = np.asarray(Image.fromarray(heat).resize(size, smooth)).clip(0, 1)[..., None]
    grey = np.asarray(Image.fromarray(crop[..., 0]).resize(size, smooth))[..., None].astype(float)
    colour = 255 * (3 * heat - np.arange(3)).clip(0, 1)  # black, red, yellow, white
    mixed = grey + MOST_HEAT * heat * (colour - grey)
    return np.rint(np.hstack([grey.repeat(3, axis=2), mixed])).astype(np.uint8)


def keras_model(network, name):
    """Return the `keras.Model` of a network that was opened by a name; ONNX Runtime has no gradients.

    Raises:
        ValueError: if it is not on this machine.
        ImportError: if Keras or its backend is not installed.
    """
    if hasattr(network, "model"):
        return network.model
    path = Path(name)
    found = keras_network(path.with_suffix(".keras") if path.suffix == ".onnx" else name)
    if found.card["sha256"] != network.card["sha256"]:
        raise ValueError(f"Expected the network that {name} was exported from. Received: another {path.stem}.keras.")
    return found.model


def build_page(network=DEFAULT_NETWORK, **options):
    """Return the page as `gradio.Blocks`, its network and detector loaded.

    Args:
        network: as for `Recognizer`.
        options: further ones of `Recognizer`.

    Raises:
        ImportError: if Gradio is not installed.
        ValueError: as `Recognizer`.
    """
    gr = gradio()
    recognizer = Recognizer(network, **options)
    model = functools.cache(lambda: keras_model(recognizer.network, str(network)))  # loaded at the first click
    framed = {"type": "filepath", "height": HEIGHT, "buttons": ["fullscreen"]}
    with gr.Blocks(title="Facial expressions", analytics_enabled=False) as page:
        gr.HTML(page_words.HEADING)
        with gr.Row():
            given = gr.Image(label="Picture", sources=["upload", "webcam", "clipboard"], elem_id="given", **framed)
            named = gr.Image(label="Faces", format="jpeg", interactive=False, elem_id="named", **framed)
        told = gr.HTML(elem_id="told")
        with gr.Row():
            with gr.Column():
                number = gr.Radio(label=page_words.ASK, visible=False, elem_id="number")
                why = gr.HTML(elem_id="why")
            heat = gr.Image(label="Where it looks", interactive=False, visible=False, elem_id="heat", **framed)
        gr.HTML(page_words.small_print(recognizer), elem_id="small-print")
        shown = gr.State(time_to_live=KEPT_SECONDS)

        def on_picture(file):
            try:
                picture, found = look(recognizer, Path(file["path"]).read_bytes()) if file else (None, None)
            except (DataError, OSError) as error:
                return None, page_words.problem(error), gr.Radio(value=None, visible=False), None
            return picture, page_words.faces(found, recognizer), choices(gr, found), found

        def on_click(found, event: gr.SelectData):
            return face_at(found.faces, event.index) if found else None

        def on_number(index, found):
            if index is None or not found or index >= len(found.faces):
                return gr.Image(value=None, visible=False), ""
            try:
                picture = explained(found.crops[index], model())
            except (ImportError, ValueError) as error:
                return gr.Image(value=None, visible=False), page_words.unexplained(error)
            return gr.Image(value=picture, visible=True), page_words.explained(index, found.faces[index])

        closed = {"api_visibility": "private"}
        # Not through Gradio's own reading: it opens pictures of any size, and says nothing clear of what is none.
        given.change(on_picture, given, [named, told, number, shown], preprocess=False, **closed)
        named.select(on_click, shown, number, show_progress="hidden", **closed)
        number.change(on_number, [number, shown], [heat, why], **closed)
    page.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    return page


def choices(gr, found):
    """Return the change of the choice of a face: one for each that is shown."""
    faces = found.faces if found else []
    names = [(f"{index}: {face.emotion}", index - 1) for index, face in enumerate(faces, start=1)]
    return gr.Radio(choices=names, value=None, visible=bool(faces))


def gradio():
    """Import and return Gradio, with nothing sent to anyone; an `ImportError` says what to do where it is missing."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported too
    try:
        import gradio
    except ImportError as error:
        raise ImportError(f"The page needs Gradio: pip install 'fer_keras[page]'. ({error})") from error
    return gradio
