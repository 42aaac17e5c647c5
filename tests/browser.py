"""Headless Chromium, driven through chromedriver by the W3C's WebDriver protocol; nothing but the standard library."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
DRIVER = "/usr/bin/chromedriver" if Path("/usr/bin/chromedriver").exists() else shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's own name for a reference to one
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """A window of Chromium; use it as a context.

    Args:
        folder: `Path` of an empty folder, for what Chromium writes.
        camera: path of a video that stands for the camera, or None.
    """

    def __init__(self, folder, *, camera=None):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.session = f"http://127.0.0.1:{port}"
        arguments = [*QUIET, f"--user-data-dir={folder}"]
        if camera:
            arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
            arguments += [f"--use-file-for-fake-video-capture={camera}"]
        wanted = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        try:
            self.until(self.answers)
            found = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self.driver.kill()
            raise
        self.session += f"/session/{found['sessionId']}"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        try:
            self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)

    def answers(self):
        """Tell whether chromedriver does."""
        try:
            return self.ask("GET", "/status")["ready"]
        except OSError:
            return False

    def ask(self, method, path, body=None):
        """Return the value of the answer to a command."""
        content = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.session + path, content, {"Content-Type": "application/json"})
        request.method = method
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def open(self, address):
        """Open a page."""
        self.ask("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """Return what the body of a JavaScript function returns in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
        """Return the reference of an element."""
        return self.ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def type(self, selector, words):
        """Type into an element; into one for files, their paths."""
        self.ask("POST", f"/element/{self.find(selector)}/value", {"text": str(words)})

    def click(self, selector, offset=(0, 0)):
        """Click on an element, so many pixels right of and below its middle."""
        origin = {ELEMENT: self.find(selector)}
        self.run("arguments[0].scrollIntoView({block: 'center'})", origin)
        move = {"type": "pointerMove", "origin": origin, "x": offset[0], "y": offset[1], "duration": 0}
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": "mouse", "actions": [move, *press]}
        self.ask("POST", "/actions", {"actions": [pointer]})

    def text(self, selector="body"):
        """Return the visible words of an element."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def until(self, condition, seconds=30):
        """Wait until a condition holds, and return its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.05)
        raise TimeoutError(f"This never came true in {seconds} s: {condition}")

    def wait(self, script, *arguments, seconds=30):
        """Wait until the body of a JavaScript function returns what is true, and return that."""
        try:
            return self.until(lambda: self.run(script, *arguments), seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{script} with {arguments}; the page shows: {self.text()}") from error

    def resize(self, width, height):
        """Give the page a size in pixels, as a telephone has it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def picture(self, path):
        """Write a picture of the whole page."""
        options = {"format": "png", "captureBeyondViewport": True}
        found = self.ask("POST", "/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": options})
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def log(self, kind="browser"):
        """Return what was logged since it was last asked for: by the `browser`, or of its `performance`."""
        return self.ask("POST", "/se/log", {"type": kind})

    def asked_for(self):
        """Return the addresses that were asked for since the log was last read."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
