"""The notebook runner: every notebook top to bottom in a fresh kernel, its outputs stamped with what made them."""

import hashlib
import os
import re
import subprocess
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from fer_keras import paths
from fer_keras.profile import profile
from fer_keras.reporting import notebook_files
from fer_keras.reporting.files import write_whole

SECONDS_A_CELL = 1200
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
CHECKED = "nbval-check-output"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookError(ValueError):
    """A notebook that does not run: the message names it and the cell, and holds the traceback."""


def execute_all(*, data, force=False):
    """Execute every notebook, with a line of progress each; return the paths of those that were written.

    In the full profile they are written over the committed ones, stamped with the profile, a digest of their own code
    and the data; one that says the same as before is left alone. In the quick profile the executed copies go to
    `build/notebooks`.

    Args:
        data: str, fingerprint of the data at hand, for the stamp.
        force: True writes every notebook anew, e.g. after a change of style.

    Raises:
        NotebookError: at the first notebook that fails; its file is left as it was.
    """
    found, written = notebook_files.all_notebooks(), []
    for number, path in enumerate(found, start=1):
        print(f"notebook {number} of {len(found)}: {path.stem} …", end=" ", flush=True)
        started = time.perf_counter()
        notebook = execute(path)
        stamp(notebook, data)
        target = path if profile() == "full" else paths.build() / "notebooks" / path.name
        if force or not target.is_file() or not says_the_same(nbformat.read(target, as_version=4), notebook):
            write_whole(target, nbformat.writes(notebook) + "\n")
            written.append(target)
        print(f"{time.perf_counter() - started:.0f} s")
    return written


def execute(path):
    """Return a notebook with the outputs of a fresh kernel, started in its folder, without what varies by itself.

    Raises:
        NotebookError: if a cell fails, takes longer than 20 minutes or kills its kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    options = {"timeout": SECONDS_A_CELL, "kernel_name": "python3", "record_timing": False, "coalesce_streams": True}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}, **options)
    try:
        # What the notebook itself says on stderr reaches its outputs; the kernel's own remarks are of no use here.
        client.execute(env=kernel_environment(), stderr=subprocess.DEVNULL)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print("failed", flush=True)
        started = [number for number, cell in enumerate(notebook.cells, start=1) if cell.get("execution_count")]
        raise NotebookError(
            f"{path}, cell {failed_cell(notebook) or (max(started, default=0) + 1)}: {ANSI.sub('', str(error))}"
        ) from None
    clean(notebook)
    return notebook


def kernel_environment():
    """Return the environment of the kernels: our folders as absolute paths, since a kernel starts in another folder."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("FER_KERAS_") and value}
    absolute = {name: str(Path(value).expanduser().resolve()) for name, value in ours.items()}
    return {**os.environ, **absolute, "FER_PROFILE": profile()}


def failed_cell(notebook):
    """Return the number, counted from 1 over all cells, of the cell that holds a traceback, or None."""
    for number, cell in enumerate(notebook.cells, start=1):
        if any(output.output_type == "error" for output in cell.get("outputs", ())):
            return number
    return None


def clean(notebook):
    """Remove from an executed notebook what differs from one machine or run to the next, in place.

    That is: the version of Python, times, what libraries say on stderr, and addresses in memory.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            texts = output if "text" in output else output.get("data", {})
            for kind in ("text", "text/plain"):
                if kind in texts:
                    texts[kind] = ADDRESS.sub("0x…", texts[kind])


def stamp(notebook, data):
    """Write into a notebook's metadata what made its outputs."""
    digests = {"code": notebook_files.code_digest(notebook), "results": results_digest()}
    notebook.metadata[notebook_files.STAMP] = {"profile": profile(), "data": data, **digests}


def results_digest():
    """Return a hex digest of the recorded runs and tables."""
    total = hashlib.sha256()
    for kind in ("runs", "tables"):
        for path in sorted((paths.results() / kind).glob("*.*")):
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:16]


def says_the_same(standing, executed):
    """Return whether a notebook on disk may stay: executed anew, it would say the same.

    What was made by the same code from the same data and records differs by noise only, such as times, unless a cell
    whose output is checked says something else. What was made from other records may stay if not one output differs.
    """
    before, now = (dict(notebook.metadata.get(notebook_files.STAMP, {})) for notebook in (standing, executed))
    same_records = before.pop("results", None) == now.pop("results")
    if before != now:
        return False
    return outputs(standing, only_checked=same_records) == outputs(executed, only_checked=same_records)


def outputs(notebook, *, only_checked):
    """Return the outputs and counts of the code cells: of all, or those that nbval checks."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        (cell.execution_count, cell.outputs if not only_checked or CHECKED in cell.metadata.get("tags", ()) else None)
        for cell in cells
    ]
