"""Headless Chromium, driven through chromedriver by the W3C's WebDriver protocol; nothing but the standard library."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --disable-dev-shm-usage "
    "--disable-background-networking --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionError, urllib.request.URLError):
            if found := condition():
                return found
        time.sleep(0.05)
    raise TimeoutError(f"This never came true in {seconds} s: {condition}")


class Browser:
    """A window of Chromium, to be closed; `folder` is empty, and `camera` a video that stands for one."""

    def __init__(self, folder, camera):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, start_new_session=True)
        self.session = f"http://127.0.0.1:{port}"
        own = [f"--use-file-for-fake-video-capture={camera}", f"--user-data-dir={folder}"]
        wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": [*ARGUMENTS.split(), *own]}}
        wanted |= {"goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        made = until(lambda: self.ask("/session", capabilities={"alwaysMatch": wanted}))
        self.session += f"/session/{made['sessionId']}"

    def close(self):
        self.ask("", "DELETE")
        self.driver.terminate()
        self.driver.wait(10)

    def ask(self, path, method="POST", **body):
        content, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(self.session + path, content, kind, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, address, tab, width=1280):
        """Open a tab of a page in a window of a width in pixels, as a telephone has it."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=size)
        self.ask("/url", url=address)
        self.wait("return document.querySelector('#given input[type=file]')")
        self.run("[...document.querySelectorAll('[role=tab]')].find(e => e.innerText == arguments[0]).click()", tab)

    def run(self, script, *arguments):
        return self.ask("/execute/sync", script=script, args=arguments)

    def wait(self, script, *arguments, seconds=30):
        return until(lambda: self.run(script, *arguments), seconds)

    def give(self, selector, file):
        (element,) = self.ask("/element", using="css selector", value=selector).values()
        self.ask(f"/element/{element}/value", text=str(file))

    def click(self, selector):
        self.run("document.querySelector(arguments[0]).click()", selector)
