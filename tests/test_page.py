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

from fer_keras.__main__ import main
from fer_keras.labels import FER7
from fer_keras.recognition import page
from fer_keras.recognition.recognizer import Recognizer
from fer_keras.recognition.tracking import Tracker

pytest.importorskip("gradio")
NETWORK = "mini-xception"
ASTRONAUT = skimage.data.astronaut()
JSON, FORM = {"Content-Type": "application/json"}, {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(NETWORK, detector="haar")


def as_file(rgb, kind="PNG"):
    Image.fromarray(rgb).save(content := io.BytesIO(), kind)
    return content.getvalue()


def test_a_picture_is_shown_at_a_size_that_browsers_like_and_explained_by_its_own_network(recognizer, monkeypatch):
    monkeypatch.setattr(page, "ENOUGH_SIDE", 300)
    picture, *seen = page.look(recognizer, as_file(ASTRONAUT, "BMP"))
    assert (picture.shape, len(seen[0])) == ((300, 300, 3), 1)
    boxes = [SimpleNamespace(box=box) for box in [(0, 0, 100, 100), (20, 20, 30, 30), (200, 0, 10, 10)]]
    points = [(5, 5), (20, 49), (50, 49), (209, 9), (210, 9), (-1, 5)]
    assert [page.face_at(boxes, point) for point in points] == [0, 1, 0, 2, None, None]  # a click: the smallest face
    monkeypatch.setattr(page, "opened", lambda name: SimpleNamespace(card={"sha256": name}))
    with pytest.raises(ValueError, match=r"exported from\. Received: another"):
        page.explained(SimpleNamespace(card={"sha256": "a.keras"}), "b.onnx", *seen, 0)
    assert page.problem("clip", "read", ValueError("/tmp/a b: Expected <b>.")).endswith("</b> Expected &lt;b&gt;.</p>")


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
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for host in ("localhost", "0.0.0.0"):
        assert main(["demo", "--port", "0", "--host", host]) == 2
        assert ("warning: at 0.0.0.0 others can reach" in capsys.readouterr().err) == (host == "0.0.0.0")


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
        more = os.environ | {"TMPDIR": str(folder), "ALL_PROXY": "socks5://127.0.0.1:9"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=more, **pipes)
        self.address = re.search(r"http://127\.0\.0\.1:\d+", self.process.stdout.readline())[0]
        (self.folder,) = folder.iterdir()  # the one of the page that was killed is gone

    def files(self):
        return set(self.folder.rglob("*"))

    def ask(self, path, content=None, headers=()):
        place = self.address.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(place, timeout=120)) as connection:
            connection.request("GET" if content is None else "POST", path, content, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def upload(self, content, name=b"a.png"):
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name + b'"\r\n\r\n'
        return json.loads(self.ask("/gradio_api/upload", head + content + b"\r\n--x--\r\n", FORM)[2])[0]

    def join(self, data, session="one", number=None, event=("given", "change")):
        config = json.loads(self.ask("/config")[2])
        part = next(each["id"] for each in config["components"] if each["props"].get("elem_id") == event[0])
        first = next(each["id"] for each in config["dependencies"] if [part, event[1]] in each["targets"])
        call = {"data": data, "fn_index": first if number is None else number, "session_hash": session}
        return self.ask("/gradio_api/queue/join", json.dumps(call).encode(), JSON)

    def answer(self, data, session, event=("given", "change")):
        assert self.join(data, session, event=event)[0] == 200
        lines = self.ask(f"/gradio_api/queue/data?session_hash={session}")[2].decode().splitlines()
        (done,) = (line.removeprefix("data: ") for line in lines if '"process_completed"' in line)
        return json.loads(done)["output"]["data"]

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
    shown = running.picture(found)
    assert (shown.format, (np.asarray(shown).astype(int) - ASTRONAUT).max() > 100) == ("JPEG", True), "boxes and bars"
    heat, note = running.answer([0, None], "two", event=("ask", "click"))
    grey, red = np.split(np.asarray(running.picture(heat["value"])).astype(int), 2, axis=1)
    assert grey.mean() == pytest.approx(page.look(recognizer, as_file(ASTRONAUT))[2].mean(), abs=3)
    assert (red[..., 0] - red[..., 2]).max() > 80  # red or yellow somewhere
    assert "Face 1: the brighter a place, the more it speaks for “happy”" in note
    files, later = [Path(running.upload(b"some words")), Path(found["path"])], running.folder.parent / "later"
    assert set(files) <= running.files()
    later.touch()
    browser.until(lambda: not set(files) & running.files(), seconds=60)
    later.unlink()


def test_what_is_no_picture_is_a_problem_on_the_page_and_no_face_is_none(running):
    Image.new("1", (20_000, 20_000)).save(bomb := io.BytesIO(), "PNG")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    for content in (b"no picture", as_file(ASTRONAUT)[:5000], svg, bomb.getvalue()):
        picture, note, choice, _ = running.look(content, "three")
        assert (picture, choice["visible"], "fer_keras-page" in note) == (None, False, False)
        assert note.startswith("<p class='problem'><b>This picture cannot be read.</b>")
    assert running.look(as_file(np.full((80, 90, 3), 127, np.uint8)), "three")[1] == "<p>No face found.</p>"


def test_a_clip_that_is_a_playlist_is_refused_and_a_long_one_is_cut_with_a_word(running, tmp_path):
    frame = np.asarray(Image.fromarray(ASTRONAUT).resize((64, 64)))
    private = moving.write(tmp_path / "private.ts", [frame] * 10)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3.0,\n{private}\n#EXT-X-ENDLIST\n"
    long = moving.write(tmp_path / "long.avi", [frame] * 125, four="MJPG", rate=1.0)
    for name, content, is_shown, words in (
        (b"a.m3u8", playlist.encode(), False, "This clip cannot be read.</b> Expected a video, as MP4"),
        (b"a.avi", long.read_bytes(), True, "120 frames; faces followed: 0. Only its first 120 seconds were read."),
    ):
        file = {"path": running.upload(content, name), "meta": {"_type": "gradio.FileData"}}
        shown, note, _ = running.answer([file], name[2:].decode(), event=("clip", "change"))
        assert (shown is not None, words in note) == (is_shown, True), note


PATHS = """
    gradio_api/file={0}/link gradio_api/file=/etc/passwd gradio_api/file={0}/../../etc/passwd docs openapi.json
    gradio_api/file={0}/%2e%2e/%2e%2e/etc/passwd static/../../../../../../../../etc/passwd gradio_api/call/on_picture
    assets/%2e%2e/%2e%2e/%2e%2e/routes.py gradio_api/file=https://example.org/ gradio_api/file=%68ttp:/%2fexample.org
    gradio_api/file/http://127.0.0.1:9 gradio_api/proxy=https://example.org/ monitoring gradio_api/vibe-code/
"""


def test_only_uploaded_files_are_looked_at_and_no_other_file_and_no_address_is_served(running):
    (running.folder / "link").symlink_to("/etc/passwd")
    before, own = running.files(), running.folder.as_posix()
    for path in (f"{own}/../a.png", f"{own}/link", f"{own}/a\0", "/etc/passwd", "http://example.org", [own]):
        for data in ([{"path": path, "meta": {"_type": "gradio.FileData"}}], [[{"a": {"path": path}}]]):
            assert running.join(data)[::2] == (403, b"Expected a file that was uploaded."), path
    for body in (b"no JSON", b"[" * 100_000):
        assert running.ask("/gradio_api/queue/join", body, JSON)[0] == 403
    assert running.files() == before
    for path in PATHS.split():
        status, _, body = running.ask("/" + path.format(own))
        assert (400 <= status < 500, re.search(b"root:|import ", body)) == (True, None), path


def test_only_the_page_itself_may_ask_for_anything_and_not_for_too_much(running):
    reset, join, before = "/gradio_api/reset", "/gradio_api/queue/join", running.files()
    assert running.ask(reset, b"{}", {"Origin": running.address, **JSON})[0] not in (403, 404)
    assert running.ask("/", None, {"Host": running.address.replace("http://127.0.0.1", "localhost")})[0] == 200
    assert running.join([None], number=999)[::2] == (400, b"The page has nothing of this name or number.")
    for status, path, content, headers in (
        (403, reset, b"{}", {"Origin": "https://example.org", **JSON}),
        (403, "/config", None, {"Origin": "null"}),
        *((400, "/", None, {"Host": host}) for host in ("example.org", "[::1", "")),  # another site's name, or none
        (400, "/gradio_api/call/nothing", b'{"data": []}', JSON),
        (411, reset, b"0\r\n\r\n", {"Transfer-Encoding": "chunked"}),
        (413, "/gradio_api/upload", b"", {"Content-Length": str(page.LARGEST_UPLOAD + 1), **FORM}),
        (413, join, b"", {"Content-Length": str(page.LARGEST_MESSAGE + 1), **JSON}),
        (422, join, b'{"data": []}', FORM),
    ):
        assert running.ask(path, content, headers)[0] == status, (path, headers)
    assert running.files() == before


def test_the_page_loads_from_nowhere_else_and_names_its_limits(running, recognizer):
    _, headers, body = running.ask("/")
    assert re.fullmatch("default-src 'self' (?!.*http).*", headers["Content-Security-Policy"])
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not re.search(rb"<(script|link|img|iframe)[^>]*\b(src|href)=\"?(https?:)?//", body)
    content = running.ask("/config")[2].decode()
    assert {each["api_visibility"] for each in json.loads(content)["dependencies"]} == {"private"}
    right = f"right on {recognizer.network.card['metrics']['test']['accuracy']:.1%}"
    assert all(words in content for words in ('"analytics_enabled":false', "A face is not a feeling.", right))


@pytest.mark.parametrize("card", [{}, {"metrics": None}, {"metrics": {"test": {"accuracy": 0.5}}}, {"data": "mine"}])
def test_a_card_that_says_little_is_enough(card):
    network = SimpleNamespace(name="own", card=card | {"limits": None}, temperature=1.0)
    words = page.small_print(SimpleNamespace(network=network, min_confidence=0.5))
    assert "Network own; its test accuracy is not recorded; temperature 1." in words


@pytest.fixture(scope="module")
def window(running, tmp_path_factory):
    if not (browser.CHROMIUM and browser.DRIVER):
        pytest.skip("Chromium or chromedriver is not installed")
    folder = tmp_path_factory.mktemp("browser")
    frame = np.asarray(Image.fromarray(ASTRONAUT).crop((60, 0, 444, 288)).resize((640, 480)))
    (folder / "camera.mjpeg").write_bytes(as_file(frame, "JPEG") * 3)
    (folder / "photo.png").write_bytes(as_file(ASTRONAUT))
    moving.write(folder / "clip.avi", [frame] * 10, four="MJPG")
    with contextlib.closing(browser.Browser(folder / "profile", folder / "camera.mjpeg")) as window:
        window.folder = folder
        yield window


SHOWN = "const e = document.querySelector(arguments[0]); return e && (e.videoWidth || e.complete && e.naturalWidth)"
HAS = "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])"
LINES = "return document.querySelectorAll('#live-timeline path[aria-roledescription=\"line mark\"]').length == 7"


def test_a_photo_in_the_browser_is_recognised_and_explained_and_nobody_else_is_asked(running, window):
    window.open(running.address, "Picture")
    window.give("#given input[type=file]", window.folder / "photo.png")
    for words in ("Face 1: happy", *FER7):
        window.wait(HAS, "#shares", words)
    window.wait(SHOWN, "#found img")
    window.click("#ask")
    assert window.wait(SHOWN, "#heat img", seconds=120) == 2 * page.SIDE  # Keras starts now
    window.wait(HAS, "#note", "the more it speaks for “happy”")
    sent = [json.loads(entry["message"])["message"] for entry in window.ask("/se/log", type="performance")]
    asked = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    assert f"{running.address}/" in asked
    assert not [each for each in asked if each.startswith(("http", "ws")) and not each.startswith(running.address)]
    assert not [entry for entry in window.ask("/se/log", type="browser") if entry["level"] == "SEVERE"]


def test_the_camera_streams_on_a_narrow_screen_and_leaves_nothing_on_the_disk(running, window):
    window.open(running.address, "Camera", width=390)
    before = running.files()
    window.wait(HAS, "#camera", "Click to Access Webcam")
    window.click("#camera [title='grant webcam access'] button")
    window.wait(SHOWN, "#camera video")
    window.click("#camera button[aria-label='capture photo']")
    window.wait(SHOWN, "#live img")
    assert window.run("return document.querySelector('#live img').src").startswith("data:image/jpeg")
    window.wait(LINES)
    assert window.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert running.files() == before
    window.click("#camera button[aria-label='capture photo']")


def test_a_clip_is_shown_with_its_faces(running, window):
    window.open(running.address, "Clip")
    window.wait("return document.querySelector('#clip input[type=file]')")
    window.give("#clip input[type=file]", window.folder / "clip.avi")
    window.wait(HAS, "#clip-note", "10 frames; faces followed: 1.", seconds=60)
    assert window.wait(SHOWN, "#clip-faces video") == 640
