"""A page in the browser for this machine alone: pictures, the camera and clips in, faces with their emotions out."""

import base64
import contextlib
import functools
import html
import io
import ipaddress
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fer_keras import paths
from fer_keras.data.dataset import DataError
from fer_keras.labels import COLOURS
from fer_keras.recognition.detectors import Detection, scaled
from fer_keras.recognition.drawing import draw_faces
from fer_keras.recognition.heat import painted
from fer_keras.recognition.networks import keras_network
from fer_keras.recognition.photos import ENOUGH_SIDE, read_photo, read_reduced
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer
from fer_keras.recognition.tracking import Tracker
from fer_keras.recognition.video import recognize_video

LARGEST_UPLOAD, LARGEST_MESSAGE = 100 * 2**20, 4 * 2**20  # bytes; a frame of the camera comes as a message
KEPT_SECONDS = 600  # for which files, and what was seen in them, wait for the browser
FRAME_SECONDS, PLOT_SECONDS, SHOWN_SECONDS, EVERY = 0.1, 1.0, 60, 2  # of the camera; frames between two detections
MOST_SECONDS, MOST_POINTS = 120, 300  # of a clip; of a line
HEIGHT, SIDE = 400, 320  # pixels, of a picture and of an explained face
# A browser that keeps to the policy asks no other machine for anything. Gradio's templates are evaluated strings.
HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
HEADING = (
    "# Facial expressions\n"
    "Give a picture or a clip, or use the camera. All stays on the machine that runs this page, and is deleted."
)


def serve(network=DEFAULT_NETWORK, *, host: str = "127.0.0.1", port: int = 7860, **options) -> None:
    """Serve the page until Ctrl-C is pressed. What was uploaded is deleted after ten minutes, and at the end.

    Args:
        network: as for `Recognizer`.
        host: the address to listen at; others than this machine's own are warned of.
        port: 0 takes a free one.
        options: further ones of `Recognizer`.

    Raises:
        ImportError: if Gradio is not installed.
        ValueError: if the port is taken or the host is not this machine's; as `Recognizer`.
    """
    hosts = ["127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host] if is_loopback(host) else ["*"]
    if "*" in hosts and sys.stderr is not None:
        print(
            f"warning: at {host} others can reach this page, without a password and not encrypted. "
            "Only with --host 127.0.0.1, the default, is it for this machine alone.",
            file=sys.stderr,
        )
    place = Path(tempfile.gettempdir()).resolve()
    paths.sweep(place, "fer_keras-page-*")  # of pages that were killed
    own = {"prefix": ".fer_keras-page-", "suffix": f".{os.getpid()}.tmp", "dir": place, "ignore_cleanup_errors": True}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are deleted then too
    with (
        contextlib.suppress(KeyboardInterrupt),
        listen(host, port) as listening,
        tempfile.TemporaryDirectory(**own) as folder,
    ):
        # As it is imported, Gradio makes clients for the proxies that are set, though nothing is asked of anyone.
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_EXAMPLES_CACHE=folder, NO_PROXY="*", no_proxy="*")
        page = build_page(network, **options)
        import uvicorn

        settings = {"log_level": "warning", "server_header": False, "timeout_graceful_shutdown": 1}
        app = application(page, Path(folder), hosts)
        server = uvicorn.Server(uvicorn.Config(app, limit_concurrency=100, **settings))
        name, number = listening.getsockname()[:2]
        print(f"The page is at http://{f'[{name}]' if ':' in name else name}:{number}; Ctrl-C ends it.", flush=True)
        server.run(sockets=[listening])


def is_loopback(host: str) -> bool:
    """True if a host is this machine, reached from itself only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host, port):
    """Open a socket that listens at a host and port."""
    try:
        if not 0 <= port < 2**16:
            raise OSError("ports are from 0 to 65535")
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ValueError(
            f"Expected a free --port, and an address of this machine as --host. Received: {host}, port {port}: {error}."
        ) from error


def application(page, folder, hosts):
    """Make an ASGI application of the page, for those who call it by one of some names, with files of one folder."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    async def guard(request, answer_to):
        problem = await refusal(request, folder)
        answer = PlainTextResponse(problem[1], problem[0]) if problem else await answer_to(request)
        answer.headers.update(HEADERS)
        if str(folder) in request.scope["path"]:
            answer.headers["cache-control"] = "no-store"
        return answer

    async def not_known(request, error):
        return PlainTextResponse("The page has nothing of this name or number.", 400)

    closed = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    app = FastAPI(**closed)
    app.add_middleware(BaseHTTPMiddleware, dispatch=guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)  # the last added is the first
    kinds = (AttributeError, LookupError, TypeError, ValueError, gr.route_utils.FnIndexInferError)
    page.has_launched = True  # Gradio checks the paths of files only then
    return gr.mount_gradio_app(
        app, page, "/", app_kwargs={**closed, "exception_handlers": dict.fromkeys(kinds, not_known)},
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),  # not fetched
        max_file_size=LARGEST_UPLOAD, footer_links=[], run_history=False, show_error=False, enable_monitoring=False,
        mcp_server=False, ssr_mode=False, pwa=False,
    )  # fmt: skip


async def refusal(request, folder):
    """Find the status and the reason for which a request is refused, or None.

    Gradio has no options for this: it takes what other sites send, and messages of any length, and fetches addresses.
    """
    headers, host = request.headers, request.headers.get("host", "")
    if headers.get("origin", f"//{host}").partition("//")[2] != host:
        return 403, "Only the page itself may ask for anything."
    if re.search("https?:", request.scope["path"], re.IGNORECASE):
        return 403, "The page fetches no address."
    if request.method in ("GET", "HEAD"):
        return None
    is_upload = headers.get("content-type", "").startswith("multipart/form-data")
    most = LARGEST_UPLOAD if is_upload else LARGEST_MESSAGE
    if "transfer-encoding" in headers or not headers.get("content-length", "").isdecimal():
        return 411, "Expected the length of what is sent."
    if int(headers["content-length"]) > most:
        return 413, f"Expected at most {most // 2**20} MiB."
    if not is_upload and not is_own(await request.body(), folder):
        return 403, "Expected a file that was uploaded."
    return None


def is_own(content, folder):
    """True if bytes are JSON, and every path in it leads into a folder, links followed: not elsewhere or to the web."""

    def check(record):
        if record.get("path") is not None and not Path(os.path.realpath(record["path"])).is_relative_to(folder):
            raise ValueError(record["path"])
        return record

    try:
        json.loads(content, object_hook=check)
    except (RecursionError, TypeError, ValueError):
        return False
    return True


def build_page(network=DEFAULT_NETWORK, **options):
    """Build the page as `gradio.Blocks`, its network and detector loaded; arguments and errors as of `Recognizer`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported too
    try:
        import gradio as gr
    except ImportError as error:
        raise ImportError(f"The page needs Gradio: pip install 'fer_keras[page]'. ({error})") from error
    recognizer = Recognizer(network, **options)
    kept = (KEPT_SECONDS // 10, KEPT_SECONDS)
    with gr.Blocks(title="Facial expressions", analytics_enabled=False, delete_cache=kept) as page:
        gr.Markdown(HEADING)
        with gr.Tab("Picture"):
            picture_tab(gr, recognizer, str(network))
        with gr.Tab("Camera"):
            camera_tab(gr, recognizer)
        with gr.Tab("Clip"):
            clip_tab(gr, recognizer)
        gr.HTML(small_print(recognizer), elem_id="small-print")
    for function in page.fns.values():
        function.api_visibility = "private"
    return page.queue(max_size=16, default_concurrency_limit=1, api_open=False)


def picture_tab(gr, recognizer, network):
    """Lay out a picture, its faces, the probabilities of one of them, and where the network looks in it."""
    framed = {"type": "filepath", "height": HEIGHT, "buttons": ["fullscreen"]}
    with gr.Row():
        given = gr.Image(label="Picture", sources=["upload", "webcam", "clipboard"], elem_id="given", **framed)
        found = gr.Image(label="Faces", format="jpeg", interactive=False, elem_id="found", **framed)
    told = gr.HTML(elem_id="told")
    with gr.Row():
        with gr.Column():
            number = gr.Radio(label="Face (or click it)", visible=False, elem_id="number")
            shares = gr.Label(show_heading=False, visible=False, elem_id="shares")
            look_in = gr.Button("Where does the network look?", visible=False, elem_id="look-in")
        heat = gr.Image(label="Where it looks", interactive=False, visible=False, elem_id="heat", **framed)
    state = gr.State(time_to_live=KEPT_SECONDS)
    model = functools.cache(lambda: keras_model(recognizer.network, network))  # opened at the first click

    def on_picture(file):
        try:
            picture, seen = look(recognizer, Path(file["path"]).read_bytes()) if file else (None, None)
        except (DataError, OSError) as error:
            return None, problem("picture", error), gr.Radio(value=None, visible=False), None
        faces = seen[0] if seen else []
        names = [(f"{index}: {face.emotion}", index - 1) for index, face in enumerate(faces, start=1)]
        words = "<p>No face found.</p>" if seen and not faces else ""
        return picture, words, gr.Radio(choices=names, value=0 if faces else None, visible=bool(faces)), seen

    def on_click(index, seen, event: gr.SelectData):
        found = face_at(seen[0], event.index) if seen else None
        return index if found is None else found

    def on_number(index, seen):
        found = [] if index is None or not seen else seen[0][index : index + 1]
        values = {"value": found[0].probabilities, "label": f"Face {index + 1}: {found[0].emotion}"} if found else {}
        return gr.Label(visible=bool(found), **values), gr.Button(visible=bool(found)), gr.Image(visible=False)

    def on_look(index, seen):
        try:
            picture, likeliest = explained(model(), seen, index)
        except (ImportError, ValueError) as error:
            return gr.Image(value=None, visible=False), problem("network", error, "explained")
        return gr.Image(value=picture, visible=True), (
            f"<p>Face {index + 1}: the brighter a place, the more it speaks for “{html.escape(likeliest)}” (Grad-CAM). "
            "The map is coarse: read it as a region, not as a feature.</p>"
        )

    # Not through Gradio's own reading: it opens pictures of any size, and its errors say little of what is none.
    picture = given.change(on_picture, given, [found, told, number, state], preprocess=False)
    click = found.select(on_click, [number, state], number, show_progress="hidden")
    for event in (picture.then, click.then, number.input):
        event(on_number, [number, state], [shares, look_in, heat], show_progress="hidden")
    look_in.click(on_look, [number, state], [heat, told])


def look(recognizer, source):
    """Draw numbered faces into a picture of at most `ENOUGH_SIDE` pixels; `(picture, (faces, crops))`."""
    rgb, _ = read_reduced(source)
    rgb = np.asarray(scaled(rgb, min(1.0, ENOUGH_SIDE / max(rgb.shape[:2]))))
    detections = recognizer.detect(rgb)
    crops = recognizer.crops(rgb, detections)
    faces = recognizer.faces(detections, recognizer.calibrated(crops))
    return draw_faces(rgb, faces, names=map(str, range(1, len(faces) + 1))), (faces, crops)


def face_at(faces, point):
    """Find the index of the face whose box holds a point `(x, y)`, of several the smallest; None if none does."""
    found = [
        (width * height, index)
        for index, (left, top, width, height) in enumerate(face.box for face in faces)
        if left <= point[0] < left + width and top <= point[1] < top + height
    ]
    return min(found)[1] if found else None


def explained(model, seen, index):
    """Draw a face as the network sees it and, beside it, what speaks for its likeliest class; `(picture, class)`."""
    from fer_keras.evaluation.explain import explain

    (faces, crops), size = seen, (SIDE, SIDE)
    grey = np.asarray(Image.fromarray(crops[index, ..., 0]).resize(size, Image.Resampling.BICUBIC).convert("RGB"))
    heat = painted(grey, explain(model, crops[index])[0], (0, 0, *size))
    return np.hstack([grey, heat]), max(faces[index].probabilities, key=faces[index].probabilities.get)


def keras_model(network, name):
    """Find the `keras.Model` of a network that was opened by a name; ONNX Runtime has no gradients."""
    if hasattr(network, "model"):
        return network.model
    found = keras_network(re.sub(r"\.onnx$", ".keras", name))
    if found.card["sha256"] != network.card["sha256"]:
        raise ValueError(f"Expected the network that {name} was exported from. Received: another.")
    return found.model


def camera_tab(gr, recognizer):
    """Lay out the camera's picture, its faces, and what the face seen most showed in the last minute."""
    wanted = gr.WebcamOptions(constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}})
    framed = {"height": HEIGHT, "webcam_options": wanted}
    with gr.Row():
        camera = gr.Image(label="Camera", sources=["webcam"], streaming=True, elem_id="camera", **framed)
        faces = gr.Image(label="Faces", interactive=False, buttons=["fullscreen"], elem_id="live", **framed)
    plot = timeline(gr, recognizer, elem_id="live-timeline", x_lim=[-SHOWN_SECONDS, 0])
    state = gr.State(time_to_live=KEPT_SECONDS)

    def on_frame(file, live):
        live, seconds = live or Live(recognizer), time.monotonic()
        try:
            rgb = read_photo(file["url"])
        except (DataError, KeyError, TypeError):
            return gr.skip(), gr.skip(), live
        content = io.BytesIO()
        Image.fromarray(live.frame(rgb, seconds)).save(content, "JPEG", quality=85)
        picture = {"url": "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()}
        table = live.last_minute(seconds)
        return picture, gr.skip() if table is None else plot.postprocess(table).model_dump(), live

    # Frames are read and written here, in memory: otherwise each would lie in Gradio's folder for a while.
    options = {"stream_every": FRAME_SECONDS, "concurrency_limit": 4, "show_progress": "hidden"}
    camera.stream(on_frame, [camera, state], [faces, plot, state], preprocess=False, postprocess=False, **options)


class Live:
    """The faces of a camera, with numbers that stay, and what they showed in the last minute."""

    def __init__(self, recognizer):
        self.recognizer, self.tracker = recognizer, Tracker(every=EVERY)
        self.rows, self.plotted = [], -np.inf

    def frame(self, rgb, seconds):
        """Draw the faces of the next frame into a copy of it."""
        tracks = self.tracker.update(rgb, seconds, self.recognizer.detect)
        detections = [Detection(track.box(rgb.shape), track.score) for track in tracks]
        probabilities = self.recognizer.probabilities(rgb, detections)
        faces = self.recognizer.faces(detections, self.tracker.smooth(tracks, probabilities, seconds))
        self.rows = [row for row in self.rows if row["time"] >= seconds - SHOWN_SECONDS]
        self.rows += [
            {"time": seconds, "id": track.id, **face.probabilities} for track, face in zip(tracks, faces, strict=True)
        ]
        return draw_faces(rgb, faces, names=[str(track.id) for track in tracks])

    def last_minute(self, seconds):
        """Tabulate what the face seen most showed, in seconds from now; None where that was done just before."""
        if seconds - self.plotted < PLOT_SECONDS:
            return None
        import pandas as pd

        self.plotted, classes = seconds, self.recognizer.classes
        table = pd.DataFrame(self.rows, columns=["time", "id", *classes])
        return one_face(table.assign(time=table["time"] - seconds), classes)


def clip_tab(gr, recognizer):
    """Lay out a clip, the same with its faces, and what the face seen most showed in it."""
    with gr.Row():
        clip = gr.Video(label="Clip", sources=["upload"], height=HEIGHT, elem_id="clip")
        faces = gr.Video(label="Faces", interactive=False, autoplay=True, height=HEIGHT, elem_id="clip-faces")
    told = gr.HTML(elem_id="clip-told")
    plot = timeline(gr, recognizer, elem_id="clip-timeline")
    parts = {"network": recognizer.network, "detector": recognizer.detector, "mirrored": recognizer.mirrored}

    def on_clip(file):
        if not file:
            return None, "", None
        options = {**parts, "min_confidence": recognizer.min_confidence, "stop": MOST_SECONDS}
        try:
            target = os.path.join(tempfile.mkdtemp(dir=clip.GRADIO_CACHE), "faces.webm")
            table = recognize_video(file["path"], target, **options)
        except (OSError, ValueError) as error:
            return None, problem("clip", error), None
        rest = "" if table.attrs["ended"] == "whole" else " The rest is missing or damaged."
        words = f"<p>{table.attrs['frames']:,} frames; faces followed: {table['id'].nunique():,}.{rest}</p>"
        return target, words, one_face(table, recognizer.classes)

    clip.change(on_clip, clip, [faces, told, plot], preprocess=False)


def timeline(gr, recognizer, **options):
    """Lay out an empty plot of probabilities over time."""
    colours = {name: COLOURS[name] for name in recognizer.classes if name in COLOURS}
    axes = {"x": "time", "y": "probability", "color": "emotion", "color_map": colours, "y_lim": [0, 1]}
    return gr.LinePlot(label="The face seen most", x_title="seconds", height=260, buttons=[], **axes, **options)


def one_face(table, classes):
    """Reshape a table of faces to one row per time and class, of the face that has most rows, few enough to draw."""
    rows = table[table["id"] == table["id"].mode().min()].sort_values("time")
    return rows.iloc[:: 1 + len(rows) // MOST_POINTS].round(3).melt("time", list(classes), "emotion", "probability")


def problem(name, error, done="read"):
    """Write why something could not be done, without where a file lies."""
    words = "It is gone: give it again." if isinstance(error, OSError) else re.sub(r"^/\S.*?: ", "", str(error))
    words = re.sub("cannot identify .*", "another kind of file.", words)
    return f"<p class='problem'><b>This {name} cannot be {done} here.</b> {html.escape(words)}</p>"


def small_print(recognizer):
    """Write what one must know of the network before one believes it, from its card."""
    network, card = recognizer.network, recognizer.network.card
    scores, accuracy = card.get("metrics", {}).get("test"), "its accuracy on a test split is not recorded"
    if scores:
        accuracy = (
            f"right on {scores['accuracy']:.1%} of {scores['num_images']:,} test faces of "
            f"{card.get('data', {}).get('source', 'its data')} "
            f"(95% interval {scores['accuracy_low']:.1%} to {scores['accuracy_high']:.1%})"
        )
    uncertain = f"Below {recognizer.min_confidence:.0%}, a face is called uncertain."
    facts = f"Network {network.name}; {accuracy}; temperature {network.temperature:g}."
    lines = " ".join(["A face is not a feeling.", str(card.get("limits", "")), uncertain]), facts
    return "".join(f"<p><small>{html.escape(line)}</small></p>" for line in lines)
