"""The notebook runner, on small notebooks with real kernels, and the checks of notebooks as files."""

import json

import nbformat
import pytest

from fer_keras import paths
from fer_keras.reporting import check, figures, notebook_files, notebooks, report
from fer_keras.reporting.catalogue import FIGURES, Entry
from fer_keras.reporting.make import borrowed_figures

CELLS = ["import os\nvalue = 2", "print(os.environ['FER_PROFILE'], os.path.basename(os.getcwd()), value)"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project in the full profile."""
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    for name in ("RESULTS", "FIGURES", "BUILD", "DATA"):
        monkeypatch.delenv(f"FER_KERAS_{name}", raising=False)
    monkeypatch.setenv("FER_PROFILE", "full")
    monkeypatch.setattr(figures, "FIGURES", {})
    return tmp_path


def write(project, cells=CELLS, *, name="01_data.ipynb", tags=()):
    """Write a notebook that was never executed; the tags are those of its last cell."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell("# 01 What is it?\n\nWhat?", id="title")]
    notebook.cells += [nbformat.v4.new_code_cell(source, id=f"c{place}") for place, source in enumerate(cells)]
    notebook.cells[-1].metadata["tags"] = list(tags)
    path = project / "notebooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(notebook))
    return path


def test_a_full_run_executes_stamps_and_leaves_the_file_alone_the_next_time(project, capsys):
    path = write(project, [*CELLS, "import sys\nprint('noise', file=sys.stderr)\nobject()"])
    assert notebooks.execute_all(data="abc") == [path]
    assert "notebook 1 of 1: 01_data …" in capsys.readouterr().out
    done = nbformat.read(path, as_version=4)
    assert done.cells[2].outputs[0]["text"] == "full notebooks 2\n"
    assert [cell.execution_count for cell in done.cells[1:]] == [1, 2, 3]
    assert [output.data["text/plain"] for output in done.cells[3].outputs] == ["<object at 0x…>"]
    stamped = done.metadata["fer_keras"]
    assert (stamped["profile"], stamped["data"]) == ("full", "abc")
    assert stamped["code"] == notebook_files.code_digest(notebook_files.read(path))
    assert notebook_files.problems(path) == []
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert notebooks.execute_all(data="abc") == []
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert notebooks.execute_all(data="another") == [path]


def test_the_quick_profile_writes_beside_the_committed_notebook(project, monkeypatch):
    path = write(project)
    before = path.read_bytes()
    monkeypatch.setenv("FER_PROFILE", "quick")
    assert notebooks.execute_all(data="drawn") == [project / "build" / "notebooks" / path.name]
    assert path.read_bytes() == before
    done = nbformat.read(project / "build" / "notebooks" / path.name, as_version=4)
    assert done.cells[2].outputs[0]["text"] == "quick notebooks 2\n"


def test_a_relative_path_to_the_data_holds_in_the_kernel_too(project, monkeypatch):
    path = write(project, ["import os\nprint(os.environ['FER_KERAS_DATA'])"])
    monkeypatch.chdir(project)
    monkeypatch.setenv("FER_KERAS_DATA", "faces")
    done = notebooks.execute(path)
    assert done.cells[1].outputs[0]["text"] == f"{project / 'faces'}\n"


def test_a_failing_cell_is_named_and_the_file_untouched(project):
    path = write(project, ["good = 1", "bad = good / 0", "never = 1"])
    before = path.read_bytes()
    with pytest.raises(
        notebooks.NotebookError, match=r"01_data.ipynb, cell 3: (?s:.*)bad = good / 0(?s:.*)ZeroDivision"
    ) as error:
        notebooks.execute_all(data="abc")
    assert "\x1b" not in str(error.value)
    assert path.read_bytes() == before


def test_a_kernel_that_dies_is_told(project):
    path = write(project, ["good = 1", "import os\nos._exit(1)"])
    with pytest.raises(notebooks.NotebookError, match=r"01_data.ipynb, cell \d"):
        notebooks.execute(path)


def executed(output, *, tags=(), **stamp):
    """Return a notebook as a run left it, in memory."""
    cell = nbformat.v4.new_code_cell("x", execution_count=1, id="a", metadata={"tags": list(tags)})
    cell.outputs = [nbformat.v4.new_output("stream", text=output)]
    stamp = {"profile": "full", "code": "c", "data": "d", "results": "r", **stamp}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"fer_keras": stamp})


@pytest.mark.parametrize(
    ("standing", "now", "stays"),
    [
        (executed("1.21 s"), executed("1.23 s"), True),  # noise
        (executed("a", tags=["nbval-check-output"]), executed("b", tags=["nbval-check-output"]), False),
        (executed("a"), executed("a", results="new"), True),  # a run that this notebook does not show
        (executed("a"), executed("b", results="new"), False),
        (executed("a"), executed("a", code="new"), False),
        (executed("a"), executed("a", data="new"), False),
        (executed("a", profile="quick"), executed("a"), False),
        (nbformat.v4.new_notebook(), executed("a"), False),
    ],
)
def test_what_makes_a_notebook_be_written(standing, now, stays):
    assert notebooks.says_the_same(standing, now) is stays


def test_the_results_digest_sees_a_new_record(project):
    before = notebooks.results_digest()
    (project / "reports" / "results" / "runs").mkdir(parents=True)
    (project / "reports" / "results" / "runs" / "a.json").write_text("{}")
    assert notebooks.results_digest() != before


def committed(project, change=lambda content: None, sources=("x = 1",)):
    """Write a notebook as a full run left it, changed, and return what is said of it."""
    cells = [
        {"cell_type": "code", "source": text, "execution_count": n, "outputs": []} for n, text in enumerate(sources, 1)
    ]
    content = {"cells": cells, "metadata": {}}
    content["metadata"]["fer_keras"] = {"profile": "full", "code": notebook_files.code_digest(content)}
    change(content)
    path = project / "01_x.ipynb"
    path.write_text(json.dumps(content))
    return " ".join(notebook_files.problems(path))


def quick(content):
    content["metadata"]["fer_keras"]["profile"] = "quick"


def unstamped(content):
    del content["metadata"]["fer_keras"]


def edited(content):
    content["cells"][0]["source"] = "x = 2"


def uncounted(content):
    content["cells"][0]["execution_count"] = None


def failed(content):
    content["cells"][0]["outputs"] = [{"output_type": "error"}]


def heavy(content):
    content["cells"][0]["outputs"] = [{"output_type": "stream", "text": "x" * notebook_files.LARGEST_BYTES}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (quick, "not those of a full run"),
        (unstamped, "not those of a full run"),
        (edited, "code has changed"),
        (uncounted, "counts are not 1, 2, 3"),
        (failed, "traceback"),
        (heavy, "larger than"),
    ],
)
def test_a_notebook_that_is_not_as_a_full_run_left_it_is_named(tmp_path, change, message):
    assert committed(tmp_path) == ""
    assert message in committed(tmp_path, change)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["def f():\n    pass"], "cell 1 defines"),
        (["x = 1", "class A:\n    pass"], "cell 2 defines"),
        (["if x:\n    async def f(): pass"], "cell 1 defines"),
        (["\n".join(["x = 1"] * 16)], "more than 15 lines"),
        (["x = 1"] * 26, "26 cells"),
    ],
)
def test_a_notebook_tells_and_the_package_does(tmp_path, sources, message):
    assert message in committed(tmp_path, sources=sources)


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    (tmp_path / "01_x.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"01_x.ipynb is not a notebook"):
        notebook_files.read(tmp_path / "01_x.ipynb")


def test_a_figure_belongs_to_one_notebook(project, monkeypatch):
    monkeypatch.setitem(figures.FIGURES, "sketch", Entry(9, "A sketch."))
    code = 'figures.save(plotting.bars(found, axis="images"), "sketch", inputs=found)'
    assert borrowed_figures(write(project, [code], name="09_x.ipynb")) == []
    (message,) = borrowed_figures(write(project, [code], name="02_x.ipynb"))
    assert message == "02_x.ipynb: saves figure 'sketch', which belongs to notebook 09"


def test_report_makes_what_check_asks_for(project, monkeypatch, capsys):
    monkeypatch.setattr("fer_keras.reporting.from_data.record_data", lambda: "fingerprint")
    monkeypatch.setitem(figures.FIGURES, "transforms", FIGURES["transforms"])
    write(project)
    (project / "README.md").write_text("<!-- generated: notebooks --><!-- end -->\n")
    (project / "reports").mkdir()
    (project / "reports" / "report.md").write_text("# Report\n\n<!-- generated: figure transforms --><!-- end -->\n")
    problems = "\n".join(check())
    for expected in (
        "leaderboard.csv is not",
        "full run",
        "transforms.png is not drawn",
        "README.md: gen",
        "report.md: gen",
    ):
        assert expected in problems
    page = report()
    assert check() == []
    assert page.is_file()
    assert str(page) in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*.*") if path.is_file()}
    report()
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*.*") if path.is_file()} == before
    assert report(run_notebooks=False) == page


def test_a_project_without_notebooks_is_noticed(project):
    assert any(message.startswith("there are no notebooks") for message in check())
