"""The page shows faces with their emotions, and where the network looks, to this machine alone, and keeps nothing."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import browser
import moving
import numpy as np
import pytest
import skimage.data
from PIL import Image

import fer_keras
from fer_keras.__main__ import main
from fer_keras.labels import FER7
from fer_keras.recognition import page
from fer_keras.recognition.recognizer import Recognizer

pytest.importorskip("gradio")
NETWORK = "mini-xception"
PROJECT = Path(fer_keras.__file__).parents[1]


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(NETWORK, detector="haar")


def as_file(rgb, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, kind)
    return content.getvalue()


def test_a_picture_is_shown_with_its_faces_at_a_size_that_browsers_like(recognizer):
    astronaut = skimage.data.astronaut()
    picture, faces, crops = page.look(recognizer, as_file(astronaut))
    assert faces == recognizer.recognize(astronaut)
    assert (faces[0].emotion, crops.shape) == ("happy", (1, 48, 48, 1))
    assert (picture != astronaut).any()
    large = as_file(np.asarray(Image.fromarray(astronaut).resize((2600, 2600))), "BMP")
    assert page.look(recognizer, large)[0].shape == (page.ENOUGH_SIDE, page.ENOUGH_SIDE, 3)
    assert page.look(recognizer, as_file(np.full((80, 90, 3), 127, np.uint8)))[1] == []
    boxes = [SimpleNamespace(box=box) for box in [(0, 0, 100, 100), (20, 20, 30, 30), (200, 0, 10, 10)]]
    points = [(5, 5), (20, 49), (50, 49), (209, 9), (210, 9), (-1, 5)]
    assert [page.face_at(boxes, point) for point in points] == [0, 1, 0, 2, None, None]  # a click: the smallest face


def test_a_face_is_explained_beside_what_the_network_sees_by_the_network_that_was_exported(recognizer, tmp_path):
    _, faces, crops = page.look(recognizer, as_file(skimage.data.astronaut()))
    picture, likeliest = page.explained(page.keras_model(recognizer.network, NETWORK), faces, crops, 0)
    seen, heat = np.split(picture.astype(int), 2, axis=1)
    assert likeliest == "happy"
    assert np.abs(seen.mean() - crops[0].mean()) < 3
    assert (heat[..., 0] - heat[..., 2]).max() > 80  # red or yellow somewhere
    assert page.keras_model(SimpleNamespace(model=3), "whatever") == 3
    with pytest.raises(ValueError, match="exported from"):
        page.keras_model(SimpleNamespace(card={"sha256": "0" * 64}), NETWORK)
    with pytest.raises(ValueError, match="no network"):
        page.keras_model(recognizer.network, str(tmp_path / "mine.onnx"))


def test_words_tell_limits_and_reasons_but_no_places_and_hold_no_html(recognizer):
    words, card = page.small_print(recognizer), recognizer.network.card
    assert all(part in words for part in ("A face is not a feeling.", page.html.escape(card["limits"])))
    assert f"right on {card['metrics']['test']['accuracy']:.1%}" in words
    assert page.problem("clip", "read", FileNotFoundError(2, "No such file", "/tmp/secret")).endswith("again.</p>")
    assert page.problem("clip", "read", ValueError("/tmp/a b: Expected <b>.")).endswith("</b> Expected &lt;b&gt;.</p>")
    assert "fer_keras[all]" in page.problem("network", "explained", ImportError("pip install fer_keras[all]"))


def test_faces_of_the_camera_keep_their_numbers_and_their_last_minute(recognizer):
    live, frame = page.Live(recognizer), skimage.data.astronaut()
    tables = [live.frame(frame, seconds)[1] for seconds in (0.0, 0.1, 30.0, 30.1, 95.0)]
    assert [table is None for table in tables] == [False, True, False, True, False]
    assert list(tables[0]["emotion"]) == list(FER7)
    assert tables[2]["time"].min() == -30
    assert tables[4]["time"].unique().tolist() == [0.0]
    assert len({row[1] for row in live.rows}) == 1


@pytest.mark.filterwarnings("always:at ")
def test_what_cannot_be_served_is_an_error_in_words(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["demo", "--port", str(taken.getsockname()[1])]) == 2
    assert "Expected a free --port, and this machine's --host. Received: " in capsys.readouterr().err
    assert main(["demo", "--port", "70000"]) == 2
    assert main(["demo", "--port", "0", "--host", "203.0.113.7"]) == 2
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for host, local in {"127.0.0.1": True, "localhost": True, "0.0.0.0": False}.items():
        assert main(["demo", "--port", "0", "--host", host]) == 2
        found = capsys.readouterr().err
        assert "fer_keras[page]" in found
        assert ("warning: at" in found) != local


JSON, FORM = {"Content_Type": "application/json"}, {"Content_Type": "multipart/form-data; boundary=x"}
SERVE = "import fer_keras.recognition.page as p, fer_keras.__main__ as m; p.KEPT_SECONDS = 60; m.main()"


class Running:
    """A page that a process of its own serves behind a proxy that is not there, its files kept for a minute."""

    def __init__(self, folder):
        command = [sys.executable, "-c", SERVE, "demo", "--port", "0", "--weights", NETWORK, "--detector", "haar"]
        more = {"TMPDIR": str(folder), "PYTHONPATH": str(PROJECT), "ALL_PROXY": "socks5://127.0.0.1:9"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=os.environ | more, **pipes)
        first = self.process.stdout.readline()
        found = re.fullmatch(r"The page is at (http://127\.0\.0\.1:(\d+)); Ctrl-C ends it\.\n", first)
        assert found, first + self.process.communicate()[0]
        self.address, self.port = found[1], int(found[2])
        (self.folder,) = folder.iterdir()  # the one of the page that was killed is gone
        self.first = Path(json.loads(self.upload(b"some words")[2])[0])
        assert self.first.exists()

    def ask(self, path, content=None, *, method=None, **headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if content is None else "POST"), path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def upload(self, content, name="picture.png"):
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        return self.ask("/gradio_api/upload", head.encode() + content + b"\r\n--x--\r\n", **FORM)

    def join(self, data, session="one", number=None):
        config = json.loads(self.ask("/config")[2])
        given = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == "given")
        first = next(each["id"] for each in config["dependencies"] if [given, "change"] in each["targets"])
        call = {"data": data, "fn_index": first if number is None else number, "session_hash": session}
        return self.ask("/gradio_api/queue/join", json.dumps(call).encode(), **JSON)

    def look(self, path, session):
        assert self.join([{"path": path, "meta": {"_type": "gradio.FileData"}}], session)[0] == 200
        lines = self.ask(f"/gradio_api/queue/data?session_hash={session}")[2].decode().splitlines()
        messages = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        return next(each for each in messages if each["msg"] == "process_completed")["output"]["data"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / ".fer_keras-page-x.4194305.tmp" / "upload").mkdir(parents=True)  # of a page that was killed
    served = Running(folder)
    yield served
    served.process.send_signal(signal.SIGTERM)
    assert "Traceback" not in served.process.communicate(timeout=30)[0]
    assert (served.process.returncode, list(folder.iterdir())) == (0, [])  # nothing is kept


def test_a_picture_is_uploaded_looked_at_and_fetched(running):
    (path,) = json.loads(running.upload(as_file(skimage.data.astronaut()))[2])
    assert Path(path).is_relative_to(running.folder)
    picture, _, choice, _ = running.look(path, "two")
    assert choice["choices"] == [["1: happy", 0]]
    status, headers, content = running.ask(f"/gradio_api/file={picture['path']}")
    assert (status, headers["Cache-Control"], headers["Content-Type"]) == (200, "no-store", "image/jpeg")
    assert Image.open(io.BytesIO(content)).size == (512, 512)


def test_what_is_no_picture_is_a_problem_on_the_page(running):
    Image.new("1", (20_000, 20_000)).save(bomb := io.BytesIO(), "PNG")
    cut_off = as_file(skimage.data.astronaut())[:5000]
    for content in (b"no picture", cut_off, b"<svg xmlns='http://www.w3.org/2000/svg'/>", bomb.getvalue()):
        picture, note, choice, _ = running.look(json.loads(running.upload(content, "a.svg")[2])[0], "three")
        assert (picture, choice["visible"]) == (None, False)
        assert note.startswith("<p class='problem'><b>This picture cannot be read.</b>")
        assert "fer_keras-page" not in note


def test_only_uploaded_files_are_looked_at(running):
    (running.folder / "link").symlink_to("/etc/passwd")
    before, own = set(running.folder.rglob("*")), running.folder.as_posix()
    paths = [f"{own}/{name}" for name in ("../a.png", "link", "a\0")] + ["/etc/passwd", "http://example.org", [own]]
    for path in paths:
        for data in ([{"path": path, "meta": {"_type": "gradio.FileData"}}], [[{"a": {"path": path}}]]):
            assert running.join(data)[::2] == (403, b"Expected a file that was uploaded."), path
    for body in (b"no JSON", b"[" * 100_000):
        assert running.ask("/gradio_api/queue/join", body, **JSON)[0] == 403
    assert set(running.folder.rglob("*")) == before


PATHS = """
    gradio_api/file={0}/link gradio_api/file=/etc/passwd gradio_api/file={0}/../../etc/passwd docs openapi.json
    gradio_api/file={0}/%2e%2e/%2e%2e/etc/passwd static/../../../../../../../../etc/passwd gradio_api/call/on_picture
    assets/%2e%2e/%2e%2e/%2e%2e/routes.py gradio_api/file=https://example.org/ gradio_api/file=%68ttp:/%2fexample.org
    gradio_api/file/http://127.0.0.1:9 gradio_api/proxy=https://example.org/ monitoring gradio_api/vibe-code/
"""


@pytest.mark.parametrize("path", PATHS.split())
def test_no_other_file_and_no_address_is_served(running, path):
    status, _, body = running.ask("/" + path.format(running.folder))
    assert 400 <= status < 500
    assert not re.search(b"root:|import ", body)


def test_only_the_page_itself_may_ask_for_anything_and_not_for_too_much(running):
    assert running.ask("/gradio_api/reset", b"{}", Origin="https://example.org", **JSON)[0] == 403
    assert running.ask("/config", Origin="null")[0] == 403
    assert running.ask("/gradio_api/reset", b"{}", Origin=running.address, **JSON)[0] not in (403, 404)
    for host in ("example.org", "[::1", ""):  # another site's name that leads here, and what is no name
        assert running.ask("/", Host=host)[0] == 400
    assert running.ask("/", Host=f"localhost:{running.port}")[0] == 200
    assert running.join([None], number=999)[::2] == (400, b"The page has nothing of this name or number.")
    assert running.ask("/gradio_api/call/nothing", b'{"data": []}', **JSON)[0] == 400
    assert running.ask("/", method="PUT")[0] >= 400
    assert running.ask("/gradio_api/reset", b"0\r\n\r\n", Transfer_Encoding="chunked")[0] == 411
    before = set(running.folder.rglob("*"))
    assert running.ask("/gradio_api/upload", b"", Content_Length=str(page.LARGEST_UPLOAD + 1), **FORM)[0] == 413
    assert running.ask("/gradio_api/queue/join", b"", Content_Length=str(page.LARGEST_MESSAGE + 1), **JSON)[0] == 413
    assert running.ask("/gradio_api/queue/join", b'{"data": []}', **FORM)[0] >= 400
    assert set(running.folder.rglob("*")) == before


def test_the_page_loads_from_nowhere_else(running):
    _, headers, body = running.ask("/")
    assert re.fullmatch("default-src 'self' (?!.*http).*", headers["Content-Security-Policy"])
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not re.search(rb"<(script|link|img|iframe)[^>]*\b(src|href)=\"?(https?:)?//", body)
    assert not re.search(rb"(url\(|@import)\W*(https?:)?//", running.ask("/theme.css")[2])
    config = json.loads(running.ask("/config")[2])
    assert not config["analytics_enabled"]
    assert {each["api_visibility"] for each in config["dependencies"]} == {"private"}


@pytest.fixture(scope="module")
def window(running, tmp_path_factory):
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("Chromium or chromedriver is not installed")
    folder = tmp_path_factory.mktemp("browser")
    frame = np.asarray(Image.fromarray(skimage.data.astronaut()).crop((60, 0, 444, 288)).resize((640, 480)))
    (folder / "camera.mjpeg").write_bytes(as_file(frame, "JPEG") * 3)
    (folder / "photo.png").write_bytes(as_file(skimage.data.astronaut()))
    (folder / "broken.jpg").write_bytes(as_file(skimage.data.astronaut(), "JPEG")[:9000])
    moving.write(folder / "clip.avi", [frame] * 10, four="MJPG")
    with contextlib.closing(browser.Browser(folder / "profile", folder / "camera.mjpeg")) as window:
        window.folder = folder
        yield window


def open_tab(window, running, name, width=1280):
    window.open(running.address, width)
    window.wait("return document.querySelector('#given input[type=file]')")
    window.run("[...document.querySelectorAll('[role=tab]')].find(e => e.innerText == arguments[0]).click()", name)


SHOWN = "const e = document.querySelector(arguments[0]); return e && (e.videoWidth || e.complete && e.naturalWidth)"
HAS = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"


def test_a_photo_in_the_browser_is_recognised_and_explained(running, window):
    window.log("performance")
    open_tab(window, running, "Picture")
    window.wait(HAS, "#small-print", "A face is not a feeling.")
    window.type("#given input[type=file]", window.folder / "photo.png")
    window.wait(HAS, "#shares", "happy")
    assert all(name in window.text("#shares") for name in ("Face 1: happy", *FER7))
    window.wait(SHOWN, "#found img")
    window.click("#found img", 224 / 512, 115 / 512)  # on the face
    window.click("#ask")
    assert window.wait(SHOWN, "#heat img", seconds=120) == 2 * page.SIDE  # Keras starts now
    assert "the more it speaks for “happy”" in window.text("#note")
    sent = [json.loads(entry["message"])["message"] for entry in window.log("performance")]
    asked = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    assert f"{running.address}/" in asked
    assert not [each for each in asked if each.startswith(("http", "ws")) and not each.startswith(running.address)]
    assert not [entry for entry in window.log() if entry["level"] == "SEVERE"]
    window.type("#given input[type=file]", window.folder / "broken.jpg")
    window.wait(HAS, "#note", "This picture cannot be read. Expected a whole picture")


def test_the_camera_streams_on_a_narrow_screen(running, window):
    open_tab(window, running, "Camera", width=390)
    before = set(running.folder.rglob("*"))
    window.wait(HAS, "#camera", "Click to Access Webcam")
    window.click("#camera [title='grant webcam access'] button")
    window.wait(SHOWN, "#camera video")
    window.click("#camera button[aria-label='capture photo']")
    window.wait(SHOWN, "#live img")
    assert window.run("return document.querySelector('#live img').src").startswith("data:image/jpeg")
    window.wait(
        "return document.querySelectorAll('#live-timeline path[aria-roledescription=\"line mark\"]').length == 7"
    )
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert set(running.folder.rglob("*")) == before  # no frame lies on the disk
    window.click("#camera button[aria-label='capture photo']")


def test_a_clip_is_shown_with_its_faces(running, window):
    open_tab(window, running, "Clip")
    window.type("#clip input[type=file]", window.folder / "clip.avi")
    window.wait(HAS, "#clip-note", "10 frames; faces followed: 1.", seconds=60)
    assert window.wait(SHOWN, "#clip-faces video") == 640


def test_what_was_uploaded_is_deleted_after_a_while(running):
    browser.until(lambda: not running.first.exists(), seconds=90)
