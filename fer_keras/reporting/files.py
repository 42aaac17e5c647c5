"""Writing files: whole or not at all, and only where something changed."""

import hashlib
import os
from pathlib import Path

from fer_keras import paths


def write_whole(path, content):
    """Write bytes or text (as UTF-8) beside the file's place, then rename: nobody ever reads half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_changed(path, content):
    """Write bytes or text unless the file holds exactly that; return whether it was written.

    A file that says the same keeps its time and, under git, its state.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == content:
        return False
    write_whole(path, content)
    return True


def digest_of_code(*folders):
    """Return a hex digest (16 characters) of the modules that lie in folders of the package."""
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted((paths.PACKAGE / folder).glob("*.py")):
            total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:16]
