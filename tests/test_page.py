"""The page shows numbered, named faces and where the network looks, to this machine alone, and keeps nothing."""

import contextlib
import http.client
import importlib.util
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import browser
import numpy as np
import pytest
import skimage.data
from PIL import Image

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data.dataset import DataError
from fer_keras.labels import COLOURS, FER7
from fer_keras.models import weights
from fer_keras.recognition import page as page_module
from fer_keras.recognition import page_guard, page_server, page_words
from fer_keras.recognition.page import explained, face_at, keras_model, look
from fer_keras.recognition.photos import ENOUGH_SIDE
from fer_keras.recognition.recognizer import Face, Recognizer

NETWORK = "mini-xception"
PROJECT = Path(fer_keras.__file__).parents[1]
LARGE = 20_000  # pixels, either side of a picture of many pixels in a small file


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(NETWORK)


def as_file(rgb, kind="PNG"):
    """Return the bytes of a picture."""
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, kind)
    return content.getvalue()


def bomb():
    """Return a small PNG of very many pixels."""

    def part(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", LARGE, LARGE, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes(LARGE * (LARGE // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", lines) + part(b"IEND", b"")


def made_face(emotion="happy", **shares):
    """Return a `Face` with these probabilities."""
    named = {name: shares.get(name, 0.0) for name in FER7}
    return Face((10, 20, 30, 40), emotion, max(named.values()), named, 0.9)


def test_faces_are_numbered_and_named(recognizer):
    astronaut = skimage.data.astronaut()
    picture, shown = look(recognizer, as_file(astronaut))
    assert [face.emotion for face in shown.faces] == ["happy"]
    assert shown.crops.shape == (1, 48, 48, 1)
    assert shown.faces == recognizer.recognize(astronaut)
    left, top, width, height = shown.faces[0].box
    changed = (picture != astronaut).any(axis=2)
    assert changed[top, left : left + width].all()
    assert not changed[top + height + 10 :].any()
    words = page_words.faces(shown, recognizer)
    assert "Face 1: happy, 99%" in words
    assert all(f">{name}</th>" in words and COLOURS[name] in words for name in FER7)


def test_a_large_picture_is_shown_at_a_size_that_browsers_like(recognizer):
    large = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((2600, 2600)))
    picture, shown = look(recognizer, as_file(large, "BMP"))
    assert picture.shape == (ENOUGH_SIDE, ENOUGH_SIDE, 3)
    left, top, width, height = np.array(shown.faces[0].box) * 512 / ENOUGH_SIDE
    assert face_at(shown.faces, (224 * ENOUGH_SIDE / 512, 120 * ENOUGH_SIDE / 512)) == 0
    assert (left, top, width, height) == pytest.approx(recognizer.recognize(skimage.data.astronaut())[0].box, abs=12)


def test_no_face_is_said_and_is_no_error(recognizer):
    picture, shown = look(recognizer, as_file(np.full((80, 90, 3), 127, np.uint8)))
    assert (picture == 127).all()
    assert shown.faces == []
    assert len(shown.crops) == 0
    assert page_words.faces(shown, recognizer) == "<p class='none'>No face found.</p>"
    assert page_words.faces(None, recognizer) == ""


def test_an_uncertain_face_gets_no_number(recognizer):
    words = page_words.face(2, made_face("uncertain", sad=0.334, fear=0.33), 0.5)
    assert "Face 2: uncertain</h2>" in words
    assert "No class reaches 50%; the likeliest is sad." in words
    assert "33.4%" in words


def test_names_of_classes_are_no_html():
    face = Face((0, 0, 9, 9), "<b>", 0.9, {"<b>": 0.9, "<i>": 0.1}, 1.0)
    words = page_words.face(1, face, 0.5) + page_words.explained(0, face) + page_words.problem(DataError("<u>"))
    assert not re.search("<[biu]>", words)
    assert "&lt;b&gt;" in words


def test_where_a_file_lay_is_not_said():
    words = page_words.problem(FileNotFoundError(2, "No such file", "/tmp/secret.png"))
    assert words == "<p class='problem'>This picture cannot be read. It is gone: give it again.</p>"


def test_a_click_finds_the_smallest_face_around_it():
    boxes = [(0, 0, 100, 100), (20, 20, 30, 30), (200, 0, 10, 10)]
    faces = [Face(box, "happy", 1.0, {"happy": 1.0}, 1.0) for box in boxes]
    points = [(5, 5), (20, 49), (50, 49), (209, 9), (210, 9), (-1, 5)]
    assert [face_at(faces, point) for point in points] == [0, 1, 0, 2, None, None]


def test_the_small_print_is_that_of_the_card(recognizer):
    words, scores = page_words.small_print(recognizer), recognizer.network.card["metrics"]["test"]
    assert page_words.NOT_A_FEELING in words
    assert page_words.tidy(recognizer.network.card["limits"]) in words
    assert f"Network {NETWORK}; right on {scores['accuracy']:.1%} of {scores['num_images']:,} test faces" in words
    assert f"{scores['accuracy_low']:.1%} to {scores['accuracy_high']:.1%}" in words
    assert f"temperature {recognizer.network.temperature:g}." in words
    assert page_words.accuracy({}) == "its accuracy on a test split is not recorded"


def test_a_face_is_explained_beside_what_the_network_sees(recognizer):
    _, shown = look(recognizer, as_file(skimage.data.astronaut()))
    model = keras_model(recognizer.network, NETWORK)
    picture, side = explained(shown.crops[0], model), page_module.SIDE
    assert picture.shape == (side, 2 * side, 3)
    seen, heat = picture[:, :side].astype(int), picture[:, side:].astype(int)
    assert (seen == seen[..., :1]).all()
    small = np.asarray(Image.fromarray(picture[:, :side, 0]).resize((48, 48), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - shown.crops[0, ..., 0]).mean() < 3
    assert (heat[..., 0] - heat[..., 2]).max() > 80  # red or yellow somewhere
    assert explained(shown.crops[0], model).tolist() == picture.tolist()


def test_the_keras_network_is_the_one_that_was_exported(recognizer, tmp_path):
    keras_network = weights.load(NETWORK)
    assert keras_model(keras_network, "whatever") is keras_network.model
    with pytest.raises(ValueError, match=r"no network.*\.keras"):
        keras_model(recognizer.network, tmp_path / "mine.onnx")
    for suffix in (".keras", ".json"):
        (tmp_path / f"mine{suffix}").write_bytes((weights.folder() / f"{NETWORK}{suffix}").read_bytes())
    assert keras_model(recognizer.network, tmp_path / "mine.onnx").output_shape == (None, 7)
    other = type(recognizer.network)(None, {**recognizer.network.card, "sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"exported from\. Received: another mini-xception\.keras"):
        keras_model(other, NETWORK)


def test_why_a_face_is_not_explained_is_said():
    assert "pip install &#x27;fer_keras[tensorflow]&#x27;" in page_words.unexplained(
        ImportError("no tensorflow")
    ).replace("'", "&#x27;")
    assert "TensorFlow or JAX" in page_words.unexplained(ValueError("Grad-CAM needs Keras on TensorFlow or JAX."))


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", "--port", "0"]) == 2
    assert "error: The page needs Gradio: pip install 'fer_keras[page]'." in capsys.readouterr().err


def test_a_port_that_is_taken_is_an_error(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 2
    assert f"Expected a free --port, and an address of this machine as --host. Received: 127.0.0.1, port {port}" in (
        capsys.readouterr().err
    )
    assert main(["demo", "--port", "70000"]) == 2
    assert main(["demo", "--port", "0", "--host", "203.0.113.7"]) == 2


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("name", False)],
)
def test_another_host_is_warned_of(monkeypatch, capsys, host, local):
    class Server:
        def run(self, sockets):
            assert sockets == [listening]

    listening = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(page_server, "open_page", lambda **_: contextlib.nullcontext((Server(), listening)))
    with listening:
        assert main(["demo", "--host", host]) == 0
        found = capsys.readouterr()
        assert found.out == f"The page is at http://127.0.0.1:{listening.getsockname()[1]}; Ctrl-C ends it.\n"
    assert ("warning: at" in found.err) != local
    assert (page_server.hosts(host) is None) != local


def test_old_files_are_swept(tmp_path):
    for name, age in (("old", 500), ("new", 5)):
        (tmp_path / name).mkdir()
        for path in (tmp_path / name / "picture.png", tmp_path / f"{name}.part"):
            path.touch()
            os.utime(path, (time.time() - age,) * 2)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    page_server.sweep(tmp_path, time.time() - 100)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "new.part", "picture.png"]


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ('{"data": [{"path": "FOLDER/a.png", "url": "http://127.0.0.1/file"}, {"path": null}, 3]}', False),
        ('{"data": [{"path": "FOLDER/../a.png"}]}', True),
        ('{"data": [{"path": "FOLDER/link"}]}', True),
        ('{"data": [{"path": "http://example.org/a.png"}]}', True),
        ('{"data": [[{"a": {"path": "\\u0068ttps://example.org"}}]]}', True),
        ('{"data": [{"path": ["FOLDER/a.png"]}]}', True),
        ('{"data": [{"path": "FOLDER/a\\u0000"}]}', True),
        ("no JSON", True),
        ("[" * 100_000, True),
    ],
)
def test_files_that_are_not_the_page_s_own_are_found(content, refused, tmp_path):
    (tmp_path / "link").symlink_to(__file__)
    content = content.replace("FOLDER", tmp_path.as_posix())
    assert page_guard.names_other_file(content.encode(), tmp_path.resolve()) == refused


class Running:
    """A page that is being served by a process of its own, and what is needed to ask it.

    Args:
        folder: `Path` of a folder in which it may write.
    """

    def __init__(self, folder):
        command = [sys.executable, "-m", "fer_keras", "demo", "--port", "0", "--weights", NETWORK]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
        said = self.process.stdout.readline()
        found = re.fullmatch(r"The page is at (http://127\.0\.0\.1:(\d+)); Ctrl-C ends it\.\n", said)
        if not found:
            raise RuntimeError(said + self.process.communicate()[0])
        self.address, self.port = found[1], int(found[2])
        (self.folder,) = folder.iterdir()

    def ask(self, path, content=None, *, method=None, **headers):
        """Return status, headers and body of the answer to a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if content is None else "POST"), path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def upload(self, content, name="picture.png"):
        """Return the answer to the upload of a file."""
        body = (
            f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        ).encode()
        kind = {"Content_Type": "multipart/form-data; boundary=x"}
        return self.ask("/gradio_api/upload", body + content + b"\r\n--x--\r\n", **kind)

    def join(self, path, session):
        """Return the answer to the request to look at a file."""
        config = json.loads(self.ask("/config")[2])
        given = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "given")
        number = next(each["id"] for each in config["dependencies"] if [given, "change"] in each["targets"])
        data = [{"path": str(path), "meta": {"_type": "gradio.FileData"}}]
        body = json.dumps({"data": data, "fn_index": number, "session_hash": session}).encode()
        return self.ask("/gradio_api/queue/join", body, Content_Type="application/json")

    def look(self, path, session):
        """Return the last message about a file that is looked at."""
        assert self.join(path, session)[0] == 200
        body = self.ask(f"/gradio_api/queue/data?session_hash={session}")[2].decode()
        messages = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
        return next(each for each in messages if each["msg"] == "process_completed")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed")
    folder = tmp_path_factory.mktemp("page")
    page = Running(folder)
    yield page
    page.process.send_signal(signal.SIGTERM)
    said = page.process.communicate(timeout=30)[0]
    assert page.process.returncode == 0
    assert list(folder.iterdir()) == []  # nothing is kept
    assert "Traceback" not in said


def test_a_picture_is_uploaded_looked_at_and_fetched(running):
    status, _, body = running.upload(as_file(skimage.data.astronaut()))
    assert status == 200
    path = Path(json.loads(body)[0])
    assert path.is_relative_to(running.folder)
    message = running.look(path, "one")
    assert message["success"]
    picture, told, choice, _ = message["output"]["data"]
    assert "Face 1: happy, 99%" in told
    assert choice["choices"] == [["1: happy", 0]]
    status, headers, content = running.ask(f"/gradio_api/file={picture['path']}")
    assert (status, headers["Cache-Control"], headers["Content-Type"]) == (200, "no-store", "image/jpeg")
    assert Image.open(io.BytesIO(content)).size == (512, 512)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: b"no picture", "another kind of file"),
        (lambda: as_file(skimage.data.astronaut())[:5000], "Expected a whole picture"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "another kind of file"),
        (bomb, "picture"),
    ],
    ids=["words", "cut short", "svg", "bomb"],
)
def test_what_is_no_picture_is_said_on_the_page(running, content, said):
    path = json.loads(running.upload(content(), "picture.svg")[2])[0]
    message = running.look(path, "two")
    assert message["success"]
    picture, told, choice, _ = message["output"]["data"]
    assert picture is None
    assert told.startswith("<p class='problem'>This picture cannot be read.")
    assert said in told
    assert "fer_keras_page" not in told
    assert choice["visible"] is False


def test_files_that_were_not_uploaded_are_not_looked_at(running, tmp_path):
    (tmp_path / "own.png").write_bytes(as_file(skimage.data.astronaut()))
    before = set(running.folder.rglob("*"))
    for path in (tmp_path / "own.png", f"{running.folder}/../../{tmp_path}/own.png", "https://example.org/a.png"):
        status, _, body = running.join(path, "three")
        assert (status, body) == (403, b"Send a picture itself."), path
    assert set(running.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file={folder}/../../etc/passwd",
        "/gradio_api/file={folder}/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file={folder}/link",
        "/gradio_api/file=https://example.org/",
        "/gradio_api/proxy=https://example.org/",
        "/static/../../../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/routes.py",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/call/on_picture",
        "/gradio_api/runs",
        "/gradio_api/vibe-code/",
        "/monitoring",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_but_the_page_is_served(running, path):
    link = running.folder / "link"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    status, _, body = running.ask(path.format(folder=running.folder))
    assert status in (403, 404)
    assert b"root:" not in body
    assert b"import " not in body


def test_only_the_page_itself_may_send_anything_and_not_too_much(running):
    content = as_file(np.zeros((8, 8, 3), np.uint8))
    own = f"http://127.0.0.1:{running.port}"
    kind = {"Content_Type": "application/json"}
    assert running.ask("/gradio_api/reset", b"{}", Origin="https://example.org", **kind)[0] == 403
    assert running.ask("/gradio_api/reset", b"{}", Origin=own, **kind)[0] not in (403, 404)
    assert running.ask("/", Host="example.org")[0] == 403  # another site's name that leads here
    assert running.ask("/", Host=f"localhost:{running.port}")[0] == 200
    assert running.ask("/", method="PUT")[0] == 404
    assert running.ask("/gradio_api/reset", b"0\r\n\r\n", Transfer_Encoding="chunked")[0] == 411
    assert running.upload(content)[0] == 200
    before = set(running.folder.rglob("*"))
    assert running.ask("/gradio_api/upload", b"", Content_Length=str(page_guard.LARGEST + 1))[0] == 413
    assert running.ask("/gradio_api/queue/join", b"", Content_Length=str(page_guard.LARGEST + 1))[0] == 413
    assert set(running.folder.rglob("*")) == before


def test_the_page_loads_from_nowhere_else(running):
    status, headers, body = running.ask("/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "http" not in policy
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not re.search(rb"<(script|link|img|iframe)[^>]*\b(src|href)=\"?(https?:)?//", body)
    assert not re.search(rb"(url\(|@import)\W*(https?:)?//", running.ask("/theme.css")[2])
    config = json.loads(running.ask("/config")[2])
    assert config["analytics_enabled"] is False
    assert {each["api_visibility"] for each in config["dependencies"]} == {"private"}


@pytest.fixture(scope="module")
def window(running, tmp_path_factory):
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("Chromium or chromedriver is not installed")
    folder = tmp_path_factory.mktemp("browser")
    frame = np.asarray(Image.fromarray(skimage.data.astronaut()).crop((60, 0, 444, 288)).resize((640, 480)))
    (folder / "camera.mjpeg").write_bytes(as_file(frame, "JPEG") * 3)
    Image.fromarray(skimage.data.astronaut()).save(folder / "photo.png")
    with browser.Browser(folder / "profile", camera=folder / "camera.mjpeg") as window:
        window.photo = folder / "photo.png"
        yield window


def open_page(window, running, width=1280):
    """Open the page in the browser, new."""
    window.resize(width, 900)
    window.open(running.address)
    window.wait("return document.querySelector('#given input[type=file]')")


LOADED = "const e = document.querySelector(arguments[0]); return e && e.complete && e.naturalWidth"


def test_a_photo_in_the_browser_is_named_and_explained(running, window):
    window.log("performance")
    open_page(window, running)
    assert page_words.NOT_A_FEELING in window.text("#small-print")
    window.type("#given input[type=file]", window.photo)
    window.wait("return document.querySelector('#told .face')")
    assert window.text("#told h2") == "Face 1: happy, 99%"
    bars = window.run(
        "return [...document.querySelectorAll('#told .bar > div')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(bars) == len(FER7)
    assert np.argmax(bars) == FER7.index("happy")
    assert bars[FER7.index("happy")] > 50  # pixels
    window.wait(LOADED, "#named img")
    assert window.text("#why") == ""
    scale = window.run("return document.querySelector('#named img').getBoundingClientRect().height") / 512
    window.click("#named img", (round((224 - 256) * scale), round((115 - 256) * scale)))  # on the face
    window.wait(LOADED, "#heat img", seconds=120)  # Keras starts now
    assert window.run(LOADED, "#heat img") == 2 * page_module.SIDE
    assert "the more it speaks for “happy”" in window.text("#why")
    asked = {address for address in window.asked_for() if not address.startswith(("data:", "blob:", "chrome"))}
    assert len(asked) > 5
    assert {address for address in asked if not address.startswith(running.address)} == set()
    assert [entry for entry in window.log() if entry["level"] == "SEVERE"] == []


# Gradio starts the camera twice, and its first frames are blank.
SEEN = """
const video = document.querySelector('#given video');
if (!video?.videoWidth || video.currentTime < 1) return false;
const canvas = Object.assign(document.createElement('canvas'), {width: 8, height: 8}).getContext('2d');
canvas.drawImage(video, 0, 0, 8, 8);
const values = canvas.getImageData(0, 0, 8, 8).data.filter((value, index) => index % 4 < 3);
return Math.max(...values) - Math.min(...values) > 100;
"""


def test_a_picture_of_the_camera_is_named_on_a_narrow_screen(running, window):
    open_page(window, running, width=390)
    window.click("#given button[aria-label='Capture from camera']")
    window.wait("return document.querySelector('#given [title=\"grant webcam access\"] button')")
    window.click("#given [title='grant webcam access'] button")
    window.wait(SEEN)
    window.click("#given button[aria-label='capture photo']")
    window.wait("return document.querySelector('#told .face')")
    assert window.text("#told h2").startswith("Face 1: happy")
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
    window.click("#given button[aria-label='Remove Image']")
    window.wait("return !document.querySelector('#told .face')")


def test_a_broken_upload_is_told_of_in_the_browser(running, window, tmp_path):
    open_page(window, running)
    (tmp_path / "broken.jpg").write_bytes(as_file(skimage.data.astronaut(), "JPEG")[:9000])
    window.type("#given input[type=file]", tmp_path / "broken.jpg")
    window.wait("return document.querySelector('#told .problem')")
    assert window.text("#told").startswith("This picture cannot be read. Expected a whole picture")
