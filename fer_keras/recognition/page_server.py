"""The server of the page: on this machine only, for this page only, with nothing kept."""

import asyncio
import contextlib
import ipaddress
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from fer_keras.recognition import page_words
from fer_keras.recognition.page import build_page, gradio

LARGEST = 20 * 2**20  # bytes, of whatever is sent to the page
KEPT_SECONDS = 120  # for which a file is there, so that the browser can show it
MOST_CONNECTIONS = 100
API = "/gradio_api/"
PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"} | {
    API + name
    for name in (
        "startup-events",
        "theme.css",
        "upload",
        "upload_progress",
        "queue/join",
        "queue/data",
        "cancel",
        "reset",
    )
}
FOLDERS = ("/assets/", "/static/", API + "heartbeat/")
FILES, JOIN = API + "file=", API + "queue/join"
# A browser that keeps to it asks no other machine for anything, whatever the page holds. Gradio's
# templates are made by evaluating strings.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


def serve(*, host="127.0.0.1", port=7860, **options):
    """Serve the page until Ctrl-C is pressed. What was uploaded is deleted after two minutes, and at the end.

    Args:
        host: str, the address to listen at; others than this machine's own are warned of.
        port: int; 0 takes a free one.
        options: those of `page.build_page`.

    Raises:
        ImportError: if Gradio is not installed.
        ValueError: if the port is taken or the host is not this machine's; as `page.build_page`.
    """
    if not is_loopback(host):
        print(
            f"warning: at {host} others can reach this page, without a password and not encrypted. "
            "Only with --host 127.0.0.1, the default, is it for this machine alone.",
            file=sys.stderr,
        )
    with open_page(host=host, port=port, **options) as (server, listening):
        print(f"The page is at {address(listening)}; Ctrl-C ends it.", flush=True)
        server.run(sockets=[listening])


@contextlib.contextmanager
def open_page(*, host="127.0.0.1", port=0, **options):
    """Yield a `uvicorn.Server` of the page, not yet running, and the socket it is to listen at; then delete all files.

    Args, Raises: as `serve`.
    """
    gradio()
    import uvicorn

    with own_folder() as folder, listen(host, port) as listening:
        app = Guard(application(build_page(**options), folder), folder, hosts(host))
        settings = {"log_level": "warning", "server_header": False, "timeout_graceful_shutdown": 1}
        yield uvicorn.Server(uvicorn.Config(app, limit_concurrency=MOST_CONNECTIONS, **settings)), listening


@contextlib.contextmanager
def own_folder():
    """Yield a new folder, in which Gradio keeps its files while this context lasts; then delete it."""
    names = ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="fer_keras_page_", ignore_cleanup_errors=True) as folder:
        folder = os.path.realpath(folder)
        os.environ.update({name: folder for name in names})
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def listen(host, port):
    """Return a socket that listens at a host and port; raise a `ValueError` if that can't be."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"Expected a free --port, and an address of this machine as --host. Received: {host}, port {port}: {error}."
        ) from error


def application(page, folder):
    """Return the page as an ASGI application that deletes old files while it runs."""
    from fastapi import FastAPI

    gr = gradio()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        sweeping = asyncio.create_task(keep_sweeping(folder))
        yield
        sweeping.cancel()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    system = ["system-ui", "sans-serif"]  # fonts that are there: none is fetched
    theme = gr.themes.Base(font=system, font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app, page, "/", theme=theme, css=page_words.STYLE, max_file_size=LARGEST, footer_links=[],
        run_history=False, show_error=False, enable_monitoring=False, mcp_server=False, ssr_mode=False, pwa=False,
    )  # fmt: skip


async def keep_sweeping(folder):
    """Delete old files for ever."""
    while True:
        await asyncio.sleep(KEPT_SECONDS / 4)
        await asyncio.to_thread(sweep, folder, time.time() - KEPT_SECONDS)


def sweep(folder, until):
    """Delete what lies in a folder and was last changed before a time, in seconds since 1970."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            newest = max(each.stat().st_mtime for each in (path, *path.rglob("*")))
            if newest < until:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class Guard:
    """An ASGI application that lets to another only what the page itself asks for.

    Gradio serves more than a page needs: it fetches addresses for whoever asks, and takes what other sites send.

    Args:
        app: the ASGI application.
        folder: `Path` of the only files served, beside Gradio's own.
        hosts: set of the names by which the machine may be called, or None for any.
    """

    def __init__(self, app, folder, hosts):
        self.app, self.folder, self.hosts = app, folder, hosts

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            raise ValueError(f"The page takes HTTP only. Received: {scope['type']}.")
        problem = self.problem(scope)
        if problem is None and scope["path"] == JOIN:
            content = await whole(receive)
            problem = (403, "Send a picture, not its address.") if names_address(content) else None
            receive = again(content, receive)
        if problem:
            return await refuse(send, *problem)
        return await self.app(scope, receive, with_headers(send, private=scope["path"].startswith(FILES)))

    def problem(self, scope):
        """Return the status and the reason for which a request is refused, or None."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path, host = scope["path"], headers.get("host", "")
        if self.hosts is not None and urlsplit(f"//{host}").hostname not in self.hosts:
            return 403, "The page is for this machine alone."
        if scope["method"] not in ("GET", "HEAD", "POST") or not self.serves(path):
            return 404, "Not found."
        if scope["method"] == "POST":
            if headers.get("origin") and urlsplit(headers["origin"]).netloc != host:
                return 403, "Only the page itself may send anything."
            if "transfer-encoding" in headers or not headers.get("content-length", "").isdecimal():
                return 411, "Say how long it is."
            if int(headers["content-length"]) > LARGEST:
                return 413, f"Send at most {LARGEST // 2**20} MiB."
        return None

    def serves(self, path):
        """Tell whether the page itself asks for a path."""
        if path.startswith(FILES):
            return Path(os.path.realpath(path.removeprefix(FILES))).is_relative_to(self.folder)
        return path in PAGES or path.startswith(FOLDERS)


async def whole(receive):
    """Return the body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def again(content, receive):
    """Return a function that receives a body which was read already, then what comes after it."""
    waiting = [{"type": "http.request", "body": content, "more_body": False}]

    async def first():
        return waiting.pop() if waiting else await receive()

    return first


def names_address(content):
    """Tell whether JSON holds the web address of a file, which Gradio would fetch, or is no JSON."""
    try:
        waiting = [json.loads(content)]
    except (ValueError, RecursionError):
        return True
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and "://" in str(each.get("path", "")):
            return True
        waiting.extend(each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
    return False


def with_headers(send, *, private):
    """Return a function that sends a response with the headers that protect the page; the browser keeps no picture."""
    added = {**HEADERS, **({b"cache-control": b"no-store"} if private else {})}

    async def sending(message):
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in added]
            message = {**message, "headers": [*kept, *added.items()]}
        await send(message)

    return sending


async def refuse(send, status, reason):
    """Answer with a status and a reason."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})


def hosts(host):
    """Return the names by which the page may be called; None for any, where it is not for this machine alone."""
    return {"127.0.0.1", "localhost", "::1", host} if is_loopback(host) else None


def is_loopback(host):
    """Tell whether a host is this machine, reached from itself only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address(listening):
    """Return the address of a socket's page, as one types it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
