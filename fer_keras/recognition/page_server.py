"""The server of the page: on this machine only, for this page only, with nothing kept."""

import asyncio
import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from fer_keras.recognition import page_words
from fer_keras.recognition.page import build_page, gradio
from fer_keras.recognition.page_guard import LARGEST, Guard

KEPT_SECONDS = 120  # for which a file is there, so that the browser can show it
MOST_CONNECTIONS = 100


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are deleted then too
    with contextlib.suppress(KeyboardInterrupt), open_page(host=host, port=port, **options) as (server, listening):
        print(f"The page is at {address(listening)}; Ctrl-C ends it.", flush=True)
        server.run(sockets=[listening])


@contextlib.contextmanager
def open_page(*, host="127.0.0.1", port=0, **options):
    """Yield a `uvicorn.Server` of the page, not yet running, and the socket it is to listen at; then delete all files.

    Args, Raises: as `serve`.
    """
    with listen(host, port) as listening, own_folder() as folder:
        gradio()
        import uvicorn

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
        if not 0 <= port < 2**16:
            raise OSError("ports are from 0 to 65535")
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
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
    page.has_launched = True  # Gradio checks the paths of files only then
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
