"""What stands before the page: it lets through only what the page itself asks for, of a bounded size."""

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

LARGEST = 20 * 2**20  # bytes, of whatever is sent to the page
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
            problem = (403, "Send a picture itself.") if names_other_file(content, self.folder) else None
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
            return lies_in(path.removeprefix(FILES), self.folder)
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


def names_other_file(content, folder):
    """Tell whether JSON names a file outside a folder, or on the web, or is no JSON.

    Gradio would fetch it, or, as it checks paths only in pages that it serves itself, take a copy of it.
    """
    try:
        waiting = [json.loads(content)]
    except (ValueError, RecursionError):
        return True
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and each.get("path") is not None and not lies_in(each["path"], folder):
            return True
        waiting.extend(each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
    return False


def lies_in(path, folder):
    """Tell whether a path leads into a folder, links followed."""
    return isinstance(path, str) and "\0" not in path and Path(os.path.realpath(path)).is_relative_to(folder)


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
