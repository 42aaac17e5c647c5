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

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's own name for a reference to one
QUIET = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip


def until(condition, seconds=30):
    """Wait until a condition holds, and give its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"This never came true in {seconds} s: {condition}")


class Browser:
    """A window of Chromium, to be used as a context; `folder` is empty, and `camera` a video that stands for one."""

    def __init__(self, folder, *, camera):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.driver = subprocess.Popen([DRIVER, f"--port={port}"], start_new_session=True, **null)
        self.session = f"http://127.0.0.1:{port}"
        fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        arguments = [*QUIET, *fake, f"--use-file-for-fake-video-capture={camera}", f"--user-data-dir={folder}"]
        wanted = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        try:
            until(self.answers)
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
        try:
            return self.ask("GET", "/status")["ready"]
        except OSError:
            return False

    def ask(self, method, path, body=None):
        content = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.session + path, content, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def open(self, address, width):
        """Open a page in a window of a width in pixels, as a telephone has it."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
        self.ask("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """Run the body of a JavaScript function in the page."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector):
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
        self.ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move, *press]}]})

    def text(self, selector="body"):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait(self, script, *arguments, seconds=30):
        """Wait until the body of a JavaScript function returns what is true, and return that."""
        try:
            return until(lambda: self.run(script, *arguments), seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{script} with {arguments}; the page shows: {self.text()}") from error

    def picture(self, path):
        """Write a picture of the whole page, to be looked at."""
        options = {"format": "png", "captureBeyondViewport": True}
        found = self.ask("POST", "/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": options})
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def log(self, kind="browser"):
        """What was logged since it was last asked for: by the `browser`, or of its `performance`."""
        return self.ask("POST", "/se/log", {"type": kind})

    def asked_for(self):
        """The addresses that were asked for since the log was last read."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return {each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"}
