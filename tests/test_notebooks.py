"""The committed notebooks are there, and are as a full run left them."""

import re

import pytest

from fer_keras import paths
from fer_keras.reporting import figures, notebook_files
from fer_keras.reporting.catalogue import FIGURES
from fer_keras.reporting.make import borrowed_figures

NOTEBOOKS = notebook_files.all_notebooks()
EXPECTED = (
    "01_data",
    "02_four_classes",
    "03_seven_classes",
    "04_transfer",
    "05_final_network",
    "06_attention_and_grid",
    "07_one_against_the_rest",
    "08_our_networks",
    "09_explanations",
    "10_photos_and_video",
    "11_report",
)
SHOWN = re.compile(r"figures\.(?:show|draw)\(([^)]*)\)")


def test_notebooks_are_found():
    assert set(EXPECTED) <= {path.stem for path in NOTEBOOKS}
    assert len(NOTEBOOKS) == len({path.name[:2] for path in NOTEBOOKS}), "two notebooks have the same number"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_as_a_full_run_left_it(path):
    assert notebook_files.problems(path) + borrowed_figures(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_a_title_with_its_number_and_asks_a_question(path):
    title, question = notebook_files.headline(path)
    first = notebook_files.source(notebook_files.read(path)["cells"][0])
    assert first.startswith(f"# {path.name[:2]} {title}\n")
    assert question.endswith("?")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_cells_that_are_checked_and_these_write_what_they_show(path):
    checked = [
        cell for cell in notebook_files.read(path)["cells"] if "nbval-check-output" in cell["metadata"].get("tags", ())
    ]
    assert checked
    assert all(cell["outputs"] for cell in checked)
    assert all("image/png" not in output.get("data", {}) for cell in checked for output in cell["outputs"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_figures_that_there_are(path):
    code = "\n".join(map(notebook_files.source, notebook_files.cells(notebook_files.read(path), "code")))
    names = {name for shown in SHOWN.findall(code) for name in re.findall(r"(?<!f)\"([\w@-]+)\"", shown)}
    assert names - set(FIGURES) - {"architecture-", "confusion-", "curves-", "recall-"} == set()


def test_every_figure_of_the_catalogue_belongs_to_a_notebook_that_is_there():
    numbers = {int(path.name[:2]) for path in NOTEBOOKS}
    assert {entry.notebook for entry in FIGURES.values()} <= numbers


def test_the_committed_figures_are_drawn_from_the_records():
    assert figures.stale(folder=paths.PACKAGE.parent / "reports" / "figures") == []
