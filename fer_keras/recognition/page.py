"""A page in the browser for this machine alone: pictures, the camera and clips in, faces with their emotions out."""

import base64
import contextlib
import functools
import html
import json
import os
import re
import signal
import socket
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_keras import paths
from fer_keras.data.dataset import DataError
from fer_keras.labels import COLOURS
from fer_keras.recognition.annotate import draw_faces, paint_heatmap
from fer_keras.recognition.detectors import Detection, scaled, shared
from fer_keras.recognition.networks import keras_network
from fer_keras.recognition.photos import ENOUGH_SIDE, open_photo
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer
from fer_keras.recognition.tracking import Tracker
from fer_keras.recognition.video import find_ffmpeg, follow, recognize_video

LARGEST_UPLOAD, LARGEST_MESSAGE = 100 * 2**20, 4 * 2**20  # bytes; a frame of the camera comes as a message
KEPT_SECONDS = 600  # for which files, and what was seen in them, wait for the browser
SHOWN_SECONDS, CLIP_SECONDS = 60, 120  # of the camera, of a clip
HEIGHT, SIDE = 400, 320  # pixels of a picture, of a heatmap
SHOWN = {"height": HEIGHT, "interactive": False, "buttons": ["fullscreen"]}  # not Gradio's button to share
opened = functools.cache(keras_network)  # at the first click: ONNX Runtime has no gradients
HEADERS = {  # a browser that keeps to this policy asks no other machine for anything; Gradio evaluates strings
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def serve(network=DEFAULT_NETWORK, *, host: str = "127.0.0.1", port: int = 7860, **options) -> None:
    """Serve the page, with `Recognizer`'s options, until Ctrl-C; uploads go after ten minutes; port 0 is a free one."""
    hosts = ["127.0.0.1", "localhost", "[::1]", host]
    if not re.fullmatch(r"localhost|::1|127(\.\d+){3}", host):
        hosts = ["*"]
        warnings.warn(f"at {host} others can reach this page, without a password and not encrypted", stacklevel=2)
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        expected = "Expected a free --port, and this machine's --host"
        raise ValueError(f"{expected}. Received: {port}, {host}: {error}.") from error
    place = Path(tempfile.gettempdir()).resolve()
    paths.sweep(place, "fer_keras-page-*")  # of pages that were killed
    own = {"prefix": ".fer_keras-page-", "suffix": f".{os.getpid()}.tmp", "ignore_cleanup_errors": True}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are deleted then too
    with contextlib.suppress(KeyboardInterrupt), listening, tempfile.TemporaryDirectory(dir=place, **own) as folder:
        # As it is imported, Gradio makes clients for the proxies that are set, though nothing is asked of anyone.
        os.environ.update(NO_PROXY="*", no_proxy="*", GRADIO_ANALYTICS_ENABLED="False")
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_EXAMPLES_CACHE=folder)
        app = application(build_page(network, **options), Path(folder), hosts)
        import uvicorn

        config = uvicorn.Config(app, log_level="warning", limit_concurrency=100, timeout_graceful_shutdown=1)
        name, number = listening.getsockname()[:2]
        print(f"The page is at http://{f'[{name}]' if ':' in name else name}:{number}; Ctrl-C ends it.", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def application(page, folder, hosts):
    """Make an ASGI application of the page, for those who call it by one of some names, with files of one folder."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse

    closed = {"docs_url": None, "redoc_url": None, "openapi_url": None}
    app = FastAPI(**closed)

    @app.middleware("http")
    async def guard(request, answer_to):
        problem = await refusal(request, folder)
        answer = PlainTextResponse(problem[1], problem[0]) if problem else await answer_to(request)
        answer.headers.update(HEADERS | ({"cache-control": "no-store"} if str(folder) in request.scope["path"] else {}))
        return answer

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)  # the last added is the first
    kinds = (AttributeError, LookupError, TypeError, ValueError, gr.route_utils.FnIndexInferError)
    unknown = dict.fromkeys(kinds, lambda *_: PlainTextResponse("The page has nothing of this name or number.", 400))
    page.has_launched = True  # Gradio checks the paths of files only then
    return gr.mount_gradio_app(
        app, page, "/", app_kwargs={**closed, "exception_handlers": unknown}, max_file_size=LARGEST_UPLOAD,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),  # not fetched
        footer_links=[], run_history=False, show_error=False, enable_monitoring=False,
    )  # fmt: skip


async def refusal(request, folder):
    """Find status and reason to refuse a request, or None: Gradio has no options for addresses, senders and lengths."""
    headers, host = request.headers, request.headers.get("host", "")
    if headers.get("origin", f"//{host}").partition("//")[2] != host:
        return 403, "Only the page itself may ask for anything."
    if re.search("https?:", request.scope["path"], re.IGNORECASE):
        return 403, "The page fetches no address."
    if request.method in ("GET", "HEAD"):
        return None
    is_upload, places = headers.get("content-type", "").startswith("multipart/form-data"), []
    most = LARGEST_UPLOAD if is_upload else LARGEST_MESSAGE
    if "transfer-encoding" in headers or not headers.get("content-length", "").isdecimal():
        return 411, "Expected the length of what is sent."
    if int(headers["content-length"]) > most:
        return 413, f"Expected at most {most // 2**20} MiB."
    with contextlib.suppress(RecursionError, TypeError, ValueError):
        content = b"{}" if is_upload else await request.body()
        json.loads(content, object_hook=lambda record: places.append(record.get("path")) or record)
        if all(path is None or Path(os.path.realpath(path)).is_relative_to(folder) for path in places):
            return None
    return 403, "Expected a file that was uploaded."


def build_page(network=DEFAULT_NETWORK, **options):
    """Build the page as `gradio.Blocks`, its network and detector loaded; arguments and errors as of `Recognizer`."""
    import gradio as gr

    recognizer = Recognizer(network, **options)
    with gr.Blocks(title="Facial expressions", delete_cache=(KEPT_SECONDS // 10, KEPT_SECONDS)) as page:
        gr.Markdown("# Facial expressions\nAll stays on the machine that runs this page, and is deleted.")
        for name, lay_out in (("Picture", picture_tab), ("Camera", camera_tab), ("Clip", clip_tab)):
            with gr.Tab(name):
                lay_out(gr, recognizer, str(network))
        gr.HTML(small_print(recognizer), elem_id="small-print")
    for function in page.fns.values():
        function.api_visibility = "private"
    return page.queue(max_size=16, default_concurrency_limit=1, api_open=False)


def picture_tab(gr, recognizer, name):
    """Lay out a picture, its faces, the probabilities of one of them, and where the network looks in it."""
    with gr.Row():
        given = gr.Image(label="Picture", height=HEIGHT, buttons=["fullscreen"], elem_id="given")
        found = gr.Image(label="Faces", format="jpeg", elem_id="found", **SHOWN)
    note = gr.HTML(elem_id="note")
    with gr.Row():
        with gr.Column():
            number = gr.Radio(label="Face (or click it)", visible=False, elem_id="number")
            shares = gr.Label(show_heading=False, visible=False, elem_id="shares")
            ask = gr.Button("Where does the network look?", visible=False, elem_id="ask")
        heat = gr.Image(label="Where it looks", visible=False, elem_id="heat", **SHOWN | {"height": None})
    state = gr.State(time_to_live=KEPT_SECONDS)

    def on_picture(file):
        try:
            picture, faces, crops = look(recognizer, Path(file["path"]).read_bytes()) if file else (None, [], None)
        except (DataError, OSError) as error:
            return None, problem("picture", "read", error), gr.Radio(value=None, visible=False), None
        names = [(f"{index}: {face.emotion}", index - 1) for index, face in enumerate(faces, start=1)]
        words = "<p>No face found.</p>" if file and not faces else ""
        return picture, words, gr.Radio(names, value=0 if faces else None, visible=bool(faces)), (faces, crops)

    def on_click(index, seen, event: gr.SelectData):
        return face_at(seen[0] if seen else [], event.index, index)

    def on_number(index, seen):
        found = [] if index is None or not seen else seen[0][index : index + 1]
        values = {"value": found[0].probabilities, "label": f"Face {index + 1}: {found[0].emotion}"} if found else {}
        return gr.Label(visible=bool(found), **values), gr.Button(visible=bool(found)), gr.Image(visible=False)

    def on_ask(index, seen):
        try:
            if not seen:
                raise DataError("It is gone: give it again.")
            picture, likeliest = explained(recognizer.network, name, *seen, index)
        except (ImportError, ValueError) as error:
            return gr.Image(visible=False), problem("network" if seen else "picture", "explained", error)
        words = f"Face {index + 1}: the brighter a place, the more it speaks for “{html.escape(likeliest)}” (Grad-CAM)."
        return gr.Image(picture, visible=True), f"<p>{words} Read the coarse map as a region, not as a feature.</p>"

    # Not through Gradio's own reading: it opens pictures of any size, and its errors say little of what is none.
    picture = given.change(on_picture, given, [found, note, number, state], preprocess=False)
    click = found.select(on_click, [number, state], number, show_progress="hidden")
    for event in (picture.then, click.then, number.input):
        event(on_number, [number, state], [shares, ask, heat], show_progress="hidden")
    ask.click(on_ask, [number, state], [heat, note])


def look(recognizer, source):
    """Draw numbered faces into a picture of at most `ENOUGH_SIDE` pixels: the picture, its `Face`s and their crops."""
    rgb = open_photo(source, side=ENOUGH_SIDE).rgb
    rgb = np.asarray(scaled(rgb, min(1.0, ENOUGH_SIDE / max(rgb.shape[:2]))))
    [faces] = recognizer.recognize_seen([seen := recognizer.see(rgb)])
    return draw_faces(rgb, faces, names=map(str, range(1, len(faces) + 1)), bars=True), faces, seen.crops


def face_at(faces, point, default=None):
    """Find the index of the smallest face whose box holds a point `(x, y)`."""
    areas = {i: face.box[2] * face.box[3] for i, face in enumerate(faces) if shared((*point, 1, 1), face.box)}
    return min(areas, key=areas.get, default=default)


def explained(network, name, faces, crops, index):
    """Draw a face as the network sees it and, beside it, what speaks for its likeliest class; `(picture, class)`."""
    from fer_keras.evaluation.explain import explain

    found = network if hasattr(network, "model") else opened(re.sub(r"\.onnx$", ".keras", name))
    if found.card.get("sha256") != network.card.get("sha256"):
        raise ValueError(f"Expected the network that {name} was exported from. Received: another.")
    grey = np.asarray(Image.fromarray(crops[index, ..., 0]).resize((SIDE, SIDE)).convert("RGB"))  # bicubic
    heat = paint_heatmap(grey, explain(found.model, crops[index])[0], Detection((0, 0, SIDE, SIDE), 1.0))
    return np.hstack([grey, heat]), max(faces[index].probabilities, key=faces[index].probabilities.get)


def camera_tab(gr, recognizer, _):
    """Lay out the camera's picture, its faces, and what the face seen most showed in the last minute."""
    wanted = gr.WebcamOptions(constraints={"video": {"width": {"ideal": 640}, "height": {"ideal": 480}}})
    seen = {"sources": ["webcam"], "streaming": True, "webcam_options": wanted}
    with gr.Row():
        camera = gr.Image(label="Camera", height=HEIGHT, elem_id="camera", **seen)
        faces = gr.Image(label="Faces", elem_id="live", **SHOWN)
    plot = timeline(gr, elem_id="live-timeline", x_lim=[-SHOWN_SECONDS, 0])
    state = gr.State(time_to_live=KEPT_SECONDS)

    def on_frame(file, live):
        live = live or {"tracker": Tracker(every=2), "rows": [], "tabulated": -np.inf}
        try:
            rgb = open_photo(f"data:{file['url']}").rgb  # never a path
            rgb, table = live_frame(recognizer, live, rgb, time.monotonic())
        except (DataError, KeyError, TypeError):
            return gr.skip(), gr.skip(), live
        content = base64.b64encode(cv2.imencode(".jpg", rgb[..., ::-1])[1]).decode()
        found = gr.skip() if table is None else plot.postprocess(table).model_dump()
        return {"url": f"data:image/jpeg;base64,{content}"}, found, live

    # Frames are read and written here, in memory: otherwise each would lie in Gradio's folder for a while.
    options = {"stream_every": 0.1, "concurrency_limit": 4, "show_progress": "hidden"}
    camera.stream(on_frame, [camera, state], [faces, plot, state], preprocess=False, postprocess=False, **options)


def live_frame(recognizer, live, rgb, seconds):
    """Draw the faces of the camera's next frame into a copy of it; once a second, tabulate the last minute too."""
    import pandas as pd

    tracks, faces = follow(recognizer, live["tracker"], rgb, seconds)
    drawn = draw_faces(rgb, faces, names=[str(track.id) for track in tracks], bars=True)
    new = [(seconds, one.id, *face.probabilities.values()) for one, face in zip(tracks, faces, strict=True)]
    live["rows"] = [row for row in live["rows"] if row[0] >= seconds - SHOWN_SECONDS] + new
    if seconds - live["tabulated"] < 1.0:
        return drawn, None
    live["tabulated"], table = seconds, pd.DataFrame(live["rows"], columns=["time", "id", *recognizer.classes])
    return drawn, one_face(table.assign(time=table["time"] - seconds), recognizer.classes)


def clip_tab(gr, recognizer, _):
    """Lay out a clip with its faces, and what the face seen most showed in it."""
    clip = gr.File(label=f"Clip (its first {CLIP_SECONDS} seconds)", file_types=["video"], elem_id="clip")
    faces = gr.Video(label="Faces", interactive=False, autoplay=True, height=HEIGHT, elem_id="clip-faces")
    note, plot = gr.HTML(elem_id="clip-note"), timeline(gr, elem_id="clip-timeline")

    def on_clip(file):
        if not file:
            return None, "", None
        suffix = ".mp4" if find_ffmpeg() else ".webm"  # what browsers play
        try:
            target = os.path.join(tempfile.mkdtemp(dir=clip.GRADIO_CACHE), f"faces{suffix}")
            table = recognize_video(
                file["path"], target, network=recognizer.network, detector=recognizer.detector, stop=CLIP_SECONDS,
                min_confidence=recognizer.min_confidence, mirrored=recognizer.mirrored, bars=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            return None, problem("clip", "read", error), None
        rest = f" Only its first {CLIP_SECONDS} seconds were read." * (table.attrs["seconds"] >= CLIP_SECONDS)
        rest += " The rest is missing or broken." * (table.attrs["ended"] != "whole")
        words = f"<p>{table.attrs['frames']:,} frames; faces followed: {table['id'].nunique():,}.{rest}</p>"
        return target, words, one_face(table, recognizer.classes)

    clip.change(on_clip, clip, [faces, note, plot], preprocess=False)


def timeline(gr, **options):
    """Lay out an empty plot of probabilities over time."""
    axes = {"x": "time", "y": "probability", "color": "emotion", "color_map": COLOURS, "y_lim": [0, 1]}
    return gr.LinePlot(label="The face seen most", x_title="seconds", buttons=[], **axes, **options)


def one_face(table, classes):
    """Reshape a table of faces to one row per time and class, of the face that has most rows, few enough to draw."""
    rows = table[table["id"] == table["id"].mode().min()].sort_values("time")
    return rows.iloc[:: 1 + len(rows) // 300].round(3).melt("time", list(classes), "emotion", "probability")


def problem(name, verb, error):
    """Write why something could not be done, without where a file lies."""
    words = "It is gone: give it again." if isinstance(error, OSError) else re.sub(r"^(/|\w:\\).*?: ", "", str(error))
    words = html.escape(re.sub("cannot identify .*", "another kind of file.", words))
    return f"<p class='problem'><b>This {name} cannot be {verb}.</b> {words}</p>"


def small_print(recognizer):
    """Write what one must know of the network before one believes it, from its card."""
    network, card = recognizer.network, recognizer.network.card
    known = {key: card[key] for key in ("metrics", "data") if isinstance(card.get(key), dict)}
    source, accuracy = known.get("data", {}).get("source", "its data"), "its test accuracy is not recorded"
    right = "{accuracy:.1%} ({accuracy_low:.1%} to {accuracy_high:.1%}) of {num_images:,} test faces of {source}"
    with contextlib.suppress(LookupError, TypeError, ValueError):  # others' cards may lack any of it
        accuracy = f"right on {right.format(**known['metrics']['test'], source=source)}"
    limits = f"A face is not a feeling. {card.get('limits') or ''} Below {recognizer.min_confidence:.0%}: uncertain."
    facts = f"Network {network.name}; {accuracy}; temperature {network.temperature:g}."
    return "".join(f"<p><small>{html.escape(line)}</small></p>" for line in (limits, facts))
