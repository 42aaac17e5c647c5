"""The notebooks as files: which there are, what they are called, and whether they are as they should be."""

import hashlib
import json
import re

from fer_keras import paths

LARGEST_BYTES = 1_500_000
MOST_CELLS, MOST_LINES = 25, 15
STAMP = "fer_keras"
FORBIDDEN = re.compile(r"^\s*(async\s+def|def|class)\s", re.MULTILINE)


def all_notebooks():
    """Return the paths of the numbered notebooks, in their order."""
    return sorted((paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def read(path):
    """Return a notebook as a dict.

    Raises:
        ValueError: if the file holds no notebook.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a notebook: {error}") from error


def source(cell):
    """Return a cell's text, however the file holds it."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def cells(notebook, kind):
    """Return the cells of one kind, `"code"` or `"markdown"`; empty code cells do not count."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind and source(cell).strip()]


def code_digest(notebook):
    """Return a hex digest of a notebook's own code."""
    return hashlib.sha256("\n# ---\n".join(map(source, cells(notebook, "code"))).encode()).hexdigest()[:16]


def headline(path):
    """Return `(title, question)`: the first heading without its number, and the first paragraph below it."""
    first = source(cells(read(path), "markdown")[0]).strip()
    title, _, rest = first.partition("\n")
    question = rest.strip().partition("\n\n")[0].replace("\n", " ")
    return re.sub(r"^#+\s*\d*\W*", "", title).strip(), question.strip("*_ ")


def problems(path):
    """Return what is wrong with a committed notebook, a message each; empty if it is as a full run left it."""
    notebook = read(path)
    code, stamp = cells(notebook, "code"), notebook["metadata"].get(STAMP, {})
    found = []
    if stamp.get("profile") != "full":
        found.append("its outputs are not those of a full run: run `make report` with FER_KERAS_DATA set")
    if stamp and stamp.get("code") != code_digest(notebook):
        found.append("its code has changed since it was executed")
    if [cell.get("execution_count") for cell in code] != list(range(1, len(code) + 1)):
        found.append("its execution counts are not 1, 2, 3, …: it was not executed top to bottom")
    if any(output["output_type"] == "error" for cell in code for output in cell["outputs"]):
        found.append("it holds a traceback")
    if path.stat().st_size > LARGEST_BYTES:
        found.append(f"it is larger than {LARGEST_BYTES:,} bytes")
    if len(notebook["cells"]) > MOST_CELLS:
        found.append(f"it has {len(notebook['cells'])} cells, more than {MOST_CELLS}")
    for number, cell in enumerate(code, start=1):
        text = source(cell)
        if FORBIDDEN.search(text):
            found.append(f"code cell {number} defines a function or class: move it into the package")
        if len(text.strip().splitlines()) > MOST_LINES:
            found.append(f"code cell {number} has more than {MOST_LINES} lines")
    return [f"{path.name}: {message}" for message in found]
