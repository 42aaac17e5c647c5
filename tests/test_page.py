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
from unittest.mock import Mock

import browser
import moving
import numpy as np
import pytest
import skimage.data
from PIL import Image

from fer_keras.__main__ import main
from fer_keras.labels import FER7
from fer_keras.recognition import page
from fer_keras.recognition.recognizer import Recognizer
from fer_keras.recognition.tracking import Tracker

pytest.importorskip("gradio")
NETWORK = "mini-xception"
ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(NETWORK, detector="haar")


def as_file(rgb, kind="PNG"):
    Image.fromarray(rgb).save(content := io.BytesIO(), kind)
    return content.getvalue()


def test_a_picture_is_shown_with_its_faces_at_a_size_that_browsers_like(recognizer):
    picture, faces, crops = page.look(recognizer, as_file(ASTRONAUT))
    assert faces == recognizer.recognize(ASTRONAUT)
    assert (faces[0].emotion, crops.shape, (picture != ASTRONAUT).any()) == ("happy", (1, 48, 48, 1), True)
    large = as_file(np.asarray(Image.fromarray(ASTRONAUT).resize((2600, 2600))), "BMP")
    assert page.look(recognizer, large)[0].shape == (page.ENOUGH_SIDE, page.ENOUGH_SIDE, 3)
    assert page.look(recognizer, as_file(np.full((80, 90, 3), 127, np.uint8)))[1] == []
    boxes = [SimpleNamespace(box=box) for box in [(0, 0, 100, 100), (20, 20, 30, 30), (200, 0, 10, 10)]]
    points = [(5, 5), (20, 49), (50, 49), (209, 9), (210, 9), (-1, 5)]
    assert [page.face_at(boxes, point) for point in points] == [0, 1, 0, 2, None, None]  # a click: the smallest face


def test_a_network_is_explained_by_itself_or_by_the_one_that_it_was_exported_from(recognizer, monkeypatch):
    heatmap = np.eye(48)
    monkeypatch.setitem(sys.modules, "fer_keras.evaluation.explain", Mock(explain=lambda model, crop: [model]))
    monkeypatch.setattr(page, "opened", lambda name: SimpleNamespace(model=heatmap, card={"sha256": name}))
    _, *seen = page.look(recognizer, as_file(ASTRONAUT))
    exported, own = SimpleNamespace(card={"sha256": "a.keras"}), SimpleNamespace(card={}, model=heatmap)
    found = [page.explained(*network, *seen, 0) for network in ((exported, "a.onnx"), (own, "a network"))]
    assert (found[0][0] == found[1][0]).all()
    with pytest.raises(ValueError, match=r"exported from\. Received: another"):
        page.explained(exported, "b.onnx", *seen, 0)


def test_words_tell_limits_and_reasons_but_no_places_and_hold_no_html(recognizer):
    words, card = page.small_print(recognizer), recognizer.network.card
    right = f"right on {card['metrics']['test']['accuracy']:.1%}"
    assert all(part in words for part in ("A face is not a feeling.", page.html.escape(card["limits"]), right))
    for error, end in (
        (FileNotFoundError(2, "No such file", "/tmp/secret"), "</b> It is gone: give it again.</p>"),
        (ValueError("/tmp/a b: Expected <b>."), "</b> Expected &lt;b&gt;.</p>"),
        (ImportError("pip install fer_keras[all]"), "</b> pip install fer_keras[all]</p>"),
    ):
        assert page.problem("clip", "read", error).endswith(end)


def test_faces_of_the_camera_keep_their_numbers_and_their_last_minute(recognizer):
    live = {"tracker": Tracker(every=2), "rows": [], "tabulated": -np.inf}
    tables = [page.live_frame(recognizer, live, ASTRONAUT, at)[1] for at in (0.0, 0.1, 30.0, 30.1, 95.0)]
    assert [table is None for table in tables] == [False, True, False, True, False]
    assert list(tables[0]["emotion"]) == list(FER7)
    assert (tables[2]["time"].min(), tables[4]["time"].unique().tolist()) == (-30, [0.0])
    assert len({row[1] for row in live["rows"]}) == 1


@pytest.mark.filterwarnings("always:at ")
def test_what_cannot_be_served_is_an_error_in_words(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options in (f"--port {taken.getsockname()[1]}", "--port 0 --host 203.0.113.7"):
            assert main(["demo", *options.split()]) == 2
            assert "Expected a free --port, and this machine's --host. Received: " in capsys.readouterr().err
    assert main(["demo", "--port", "70000"]) == 2
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for host, local in {"127.0.0.1": True, "localhost": True, "0.0.0.0": False}.items():
        assert main(["demo", "--port", "0", "--host", host]) == 2
        found = capsys.readouterr().err
        assert ("fer_keras[page]" in found, "warning: at" in found) == (True, not local)


JSON, FORM = {"Content_Type": "application/json"}, {"Content_Type": "multipart/form-data; boundary=x"}
SERVE = """
import os, pathlib, fer_keras.recognition.page as page, fer_keras.__main__ as command
def aged(path):  # files are ten minutes older as soon as there is one called "later"
    found = lstat(path)
    return os.stat_result((*found[:9], found.st_ctime - 600 * os.path.exists("later")))
lstat, pathlib.Path.lstat, page.KEPT_SECONDS = pathlib.Path.lstat, aged, 60
command.main()
"""


class Running:
    """A page that a process of its own serves behind a proxy that is not there, its files kept for a minute."""

    def __init__(self, folder):
        command = [sys.executable, "-c", SERVE, "demo", "--port", "0", "--weights", NETWORK, "--detector", "haar"]
        more = {"TMPDIR": str(folder), "ALL_PROXY": "socks5://127.0.0.1:9"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=os.environ | more, **pipes)
        first = self.process.stdout.readline()
        found = re.fullmatch(r"The page is at (http://127\.0\.0\.1:(\d+)); Ctrl-C ends it\.\n", first)
        assert found, first + self.process.communicate()[0]
        self.address, self.port = found[1], int(found[2])
        (self.folder,) = folder.iterdir()  # the one of the page that was killed is gone

    def ask(self, path, content=None, *, method=None, **headers):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if content is None else "POST"), path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def upload(self, content):
        head = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        return json.loads(self.ask("/gradio_api/upload", head.encode() + content + b"\r\n--x--\r\n", **FORM)[2])[0]

    def join(self, data, session="one", number=None, event=("given", "change")):
        config = json.loads(self.ask("/config")[2])
        asked = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == event[0])
        first = next(each["id"] for each in config["dependencies"] if [asked, event[1]] in each["targets"])
        call = {"data": data, "fn_index": first if number is None else number, "session_hash": session}
        return self.ask("/gradio_api/queue/join", json.dumps(call).encode(), **JSON)

    def answer(self, *call):
        assert self.join(*call)[0] == 200
        lines = self.ask(f"/gradio_api/queue/data?session_hash={call[1]}")[2].decode().splitlines()
        messages = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        return next(each for each in messages if each["msg"] == "process_completed")["output"]["data"]

    def look(self, content, session):
        return self.answer([{"path": self.upload(content), "meta": {"_type": "gradio.FileData"}}], session)

    def picture(self, file):
        status, headers, content = self.ask(f"/gradio_api/file={file['path']}")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        return Image.open(io.BytesIO(content))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / ".fer_keras-page-x.4194305.tmp" / "upload").mkdir(parents=True)  # of a page that was killed
    served = Running(folder)
    yield served
    served.process.send_signal(signal.SIGTERM)
    assert "Traceback" not in served.process.communicate(timeout=30)[0]
    assert (served.process.returncode, list(folder.iterdir())) == (0, [])  # nothing is kept


def test_a_picture_is_uploaded_looked_at_explained_and_fetched_and_all_is_deleted_after_a_while(recognizer, running):
    found, _, choice, _ = running.look(as_file(ASTRONAUT), "two")
    assert choice["choices"] == [["1: happy", 0]]
    assert (running.picture(found).format, running.picture(found).size) == ("JPEG", (512, 512))
    heat, note = running.answer([0, None], "two", None, ("ask", "click"))
    grey, red = np.split(np.asarray(running.picture(heat["value"])).astype(int), 2, axis=1)
    assert grey.mean() == pytest.approx(page.look(recognizer, as_file(ASTRONAUT))[2].mean(), abs=3)
    assert (red[..., 0] - red[..., 2]).max() > 80  # red or yellow somewhere
    assert "Face 1: the brighter a place, the more it speaks for “happy”" in note
    path, later = Path(running.upload(b"some words")), running.folder.parent / "later"
    assert (path.is_relative_to(running.folder), path.exists()) == (True, True)
    later.touch()
    browser.until(lambda: not any(Path(each).exists() for each in (path, found["path"])), seconds=60)
    later.unlink()


def test_what_is_no_picture_is_a_problem_on_the_page(running):
    Image.new("1", (20_000, 20_000)).save(bomb := io.BytesIO(), "PNG")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    for content in (b"no picture", as_file(ASTRONAUT)[:5000], svg, bomb.getvalue()):
        picture, note, choice, _ = running.look(content, "three")
        assert (picture, choice["visible"]) == (None, False)
        assert note.startswith("<p class='problem'><b>This picture cannot be read.</b>")
        assert "fer_keras-page" not in note


PATHS = """
    gradio_api/file={0}/link gradio_api/file=/etc/passwd gradio_api/file={0}/../../etc/passwd docs openapi.json
    gradio_api/file={0}/%2e%2e/%2e%2e/etc/passwd static/../../../../../../../../etc/passwd gradio_api/call/on_picture
    assets/%2e%2e/%2e%2e/%2e%2e/routes.py gradio_api/file=https://example.org/ gradio_api/file=%68ttp:/%2fexample.org
    gradio_api/file/http://127.0.0.1:9 gradio_api/proxy=https://example.org/ monitoring gradio_api/vibe-code/
"""


def test_only_uploaded_files_are_looked_at_and_no_other_file_and_no_address_is_served(running):
    (running.folder / "link").symlink_to("/etc/passwd")
    before, own = set(running.folder.rglob("*")), running.folder.as_posix()
    paths = [f"{own}/{name}" for name in ("../a.png", "link", "a\0")] + ["/etc/passwd", "http://example.org", [own]]
    for path in paths:
        for data in ([{"path": path, "meta": {"_type": "gradio.FileData"}}], [[{"a": {"path": path}}]]):
            assert running.join(data)[::2] == (403, b"Expected a file that was uploaded."), path
    for body in (b"no JSON", b"[" * 100_000):
        assert running.ask("/gradio_api/queue/join", body, **JSON)[0] == 403
    assert set(running.folder.rglob("*")) == before
    for path in PATHS.split():
        status, _, body = running.ask("/" + path.format(running.folder))
        assert 400 <= status < 500, path
        assert not re.search(b"root:|import ", body), path


def test_only_the_page_itself_may_ask_for_anything_and_not_for_too_much(running):
    reset, join = "/gradio_api/reset", "/gradio_api/queue/join"
    before, most = set(running.folder.rglob("*")), (page.LARGEST_UPLOAD, page.LARGEST_MESSAGE)
    assert running.ask(reset, b"{}", Origin=running.address, **JSON)[0] not in (403, 404)
    assert running.ask("/", Host=f"localhost:{running.port}")[0] == 200
    assert running.join([None], number=999)[::2] == (400, b"The page has nothing of this name or number.")
    for status, path, content, headers in (
        (403, reset, b"{}", {"Origin": "https://example.org", **JSON}),
        (403, "/config", None, {"Origin": "null"}),
        *((400, "/", None, {"Host": host}) for host in ("example.org", "[::1", "")),  # another site's name, or none
        (400, "/gradio_api/call/nothing", b'{"data": []}', JSON),
        (403, "/", None, {"method": "PUT"}),
        (411, reset, b"0\r\n\r\n", {"Transfer_Encoding": "chunked"}),
        (413, "/gradio_api/upload", b"", {"Content_Length": str(most[0] + 1), **FORM}),
        (413, join, b"", {"Content_Length": str(most[1] + 1), **JSON}),
        (422, join, b'{"data": []}', FORM),
    ):
        assert running.ask(path, content, **headers)[0] == status, (path, headers)
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
    frame = np.asarray(Image.fromarray(ASTRONAUT).crop((60, 0, 444, 288)).resize((640, 480)))
    (folder / "camera.mjpeg").write_bytes(as_file(frame, "JPEG") * 3)
    (folder / "photo.png").write_bytes(as_file(ASTRONAUT))
    (folder / "broken.jpg").write_bytes(as_file(ASTRONAUT, "JPEG")[:9000])
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
LINES = "return document.querySelectorAll('#live-timeline path[aria-roledescription=\"line mark\"]').length == 7"


def test_a_photo_in_the_browser_is_recognised_and_explained(running, window):
    window.log("performance")
    open_tab(window, running, "Picture")
    window.wait(HAS, "#small-print", "A face is not a feeling.")
    window.type("#given input[type=file]", window.folder / "photo.png")
    for words in ("Face 1: happy", *FER7):
        window.wait(HAS, "#shares", words)
    window.wait(SHOWN, "#found img")
    window.click("#ask")
    assert window.wait(SHOWN, "#heat img", seconds=120) == 2 * page.SIDE  # Keras starts now
    window.wait(HAS, "#note", "the more it speaks for “happy”")
    window.click("#found img", 224 / 512, 115 / 512)  # on the face, as if it were another
    window.wait("return !document.querySelector('#heat img')?.offsetWidth")
    sent = [json.loads(entry["message"])["message"] for entry in window.log("performance")]
    asked = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    assert f"{running.address}/" in asked
    assert not [each for each in asked if each.startswith(("http", "ws")) and not each.startswith(running.address)]
    assert not [entry for entry in window.log("browser") if entry["level"] == "SEVERE"]
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
    window.wait(LINES)
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert set(running.folder.rglob("*")) == before  # no frame lies on the disk
    window.click("#camera button[aria-label='capture photo']")


def test_a_clip_is_shown_with_its_faces(running, window):
    open_tab(window, running, "Clip")
    window.type("#clip input[type=file]", window.folder / "clip.avi")
    window.wait(HAS, "#clip-note", "10 frames; faces followed: 1.", seconds=60)
    assert window.wait(SHOWN, "#clip-faces video") == 640
