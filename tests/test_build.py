"""`reports/build.py` on a small project with made-up records: what it writes, what it leaves, what `--check` sees."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import made_up
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fer_keras import paths
from fer_keras.results import find_run, write_run

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("reports_build", ROOT / "reports" / "build.py")
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)

README = """# A project

![recall of each class](reports/figures/recalls.png)

<!-- table: networks -->
<!-- end -->

<!-- table: projects -->
<!-- end -->
"""
FIRST = [
    "# 01 What is confused?\n\nWhich faces?\n",
    "from fer_keras import plots\nfrom fer_keras.results import find_run\n"
    "run = find_run('mini-xception')\nprint('3.2 s')",
    "round(run.scores['accuracy'], 4)",
    "figure = plots.recalls([run])\nplots.save(figure, 'recalls')\nfigure",
]
REPORT = [
    "# 11 The report & more\n\nWhat came out? See [the first](01_first.ipynb#end).\n\n"
    "![recall of each class](../reports/figures/recalls.png)\n",
    "from fer_keras import plots\nfrom fer_keras.results import find_run, leaderboard, with_interval\n"
    "leaderboard().assign(test=with_interval)[['recipe', 'num_classes', 'test']]",
    "figure = plots.confusion_matrix(find_run('mini-xception').confusion())\nplots.save(figure, 'confusion')\nfigure",
]


def write_notebook(project, *sources, name="01_first.ipynb"):
    """Write a notebook that was never executed: a Markdown cell, then code cells, of which the second is checked."""
    cells = [new_markdown_cell(sources[0], id="title")]
    cells += [new_code_cell(source, id=f"c{place}") for place, source in enumerate(sources[1:])]
    cells[min(2, len(cells) - 1)].metadata["tags"] = ["nbval-check-output"]
    path = project / "notebooks" / name
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def stand_in(project, patch):
    """Make a folder the project, in the full profile, without FER-2013 and without networks to record."""
    patch.setattr(paths, "project", lambda: project)
    for name in ("FIGURES", "DATA"):
        patch.delenv(f"FER_KERAS_{name}", raising=False)
    patch.setenv("FER_KERAS_RESULTS", str(project / "reports" / "results"))  # for the kernels
    patch.setenv("FER_KERAS_BUILD", str(project / "build"))
    patch.setenv("FER_PROFILE", "full")
    patch.setattr("fer_keras.results.record_data", lambda: "fingerprint", raising=False)
    patch.setattr("fer_keras.models.summary.record_networks", lambda: None)
    patch.setattr("fer_keras.models.summary.networks_are_recorded", lambda: True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project that was built once; to be copied."""
    project = tmp_path_factory.mktemp("built")
    made_up.results(project / "reports" / "results")
    (project / "README.md").write_text(README)
    write_notebook(project, *FIRST)
    write_notebook(project, *REPORT, name="11_report.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        stand_in(project, patch)
        build.build()
    return project


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    """A copy of the built project."""
    shutil.copytree(built, tmp_path / "project")
    stand_in(tmp_path / "project", monkeypatch)
    return tmp_path / "project"


def redrawn(project):
    """Collect the figures that the first build drew, as if the notebooks had drawn them just now."""
    (project / "build" / "redrawn").mkdir(exist_ok=True)
    for path in (project / "build" / "drawn").glob("*/*.png"):
        shutil.copy(path, project / "build" / "redrawn")
    return project / "build" / "redrawn"


def state(project):
    """Bytes and times of all files besides those of build/."""
    files = [path for path in project.rglob("*") if path.is_file() and "build" not in path.relative_to(project).parts]
    return {path.relative_to(project).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_build_makes_all_that_check_asks_for_and_a_second_one_leaves_the_tree_clean(project, capsys):
    before = state(project)
    assert build.main([]) == 0
    assert state(project) == before
    printed = capsys.readouterr().out
    assert "notebook 1 of 2: 01_first …" in printed
    assert str(project / "reports" / "report.html") in printed
    assert build.main(["--check", "--redrawn", str(redrawn(project))]) == 0, capsys.readouterr().out
    assert state(project) == before


def test_the_report_is_notebook_11_and_readme_holds_two_tables(project):
    text, page = ((project / "reports" / name).read_text() for name in ("report.md", "report.html"))
    scores = find_run("mini-xception").scores
    interval = "{:.1f} ({:.1f} to {:.1f})".format(*(100 * scores[f"accuracy{end}"] for end in ("", "_low", "_high")))
    title = "# 11 The report & more\n\nWhat came out? See [the first](../notebooks/01_first.ipynb#end).\n"
    assert text.startswith(title)
    assert "|  | recipe | num_classes | test |\n| --- | --- | --- | --- |" in text
    assert f"| mini-xception | 7 | {interval} |" in text
    assert "![recall of each class](figures/recalls.png)" in text
    assert "![confusion](figures/confusion.png)" in text
    assert not re.search("import|base64", text)
    assert "<title>11 The report &amp; more</title>" in page
    assert len(re.findall(r'<img[^>]* src="data:image/png;base64,', page)) == 2
    assert interval in page
    assert not re.search(r'(?:src|href)="(?!data:|#|\.\./notebooks)', page), "the page needs nothing beside it"
    assert "import" not in re.sub(r"<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)
    readme = (project / "README.md").read_text()
    assert readme.startswith(README.split("<!--")[0])
    assert "| mini-xception | 58,423 | 5.5 M |" in readme
    assert "| 65.42 | PublicTest and PrivateTest together |" in readme
    row = r"\| emovision-baseline \| 7 \| 240 test images, official split \| [^|]+ \| 24.71 \| test \|"
    assert re.search(row, readme)


def test_a_new_record_changes_figures_leaderboard_readme_and_report(project):
    before = state(project)
    run, history, found = made_up.run("mini-xception", skill=0.9, published=65.0, published_split="validation")
    write_run(run, history, found, force=True)
    assert sorted(build.problems()) == [
        "01_first.ipynb: the output of checked cells has changed: [2]",
        "11_report.ipynb: the output of checked cells has changed: [2]",
        "README.md: its tables are not those of the records",
        "confusion.png looks different when it is drawn again",
        "leaderboard.csv is not that of the records",
        "recalls.png looks different when it is drawn again",
    ]
    build.build()
    changed = {path for path, content in state(project).items() if before[path] != content}
    files = ("README.md", "notebooks/01_first.ipynb", "notebooks/11_report.ipynb", "reports/report.html")
    files += ("reports/report.md", "reports/figures/confusion.png", "reports/figures/recalls.png")
    assert {path for path in changed if "results/" not in path} == set(files)
    assert "reports/results/leaderboard.csv" in changed
    assert build.problems(redrawn(project)) == []


def change_json(path, change):
    """Change what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def copied_figure(name):
    return lambda project: shutil.copy(*(project / "reports" / "figures" / each for each in ("confusion.png", name)))


def in_record(change):
    return lambda project: change_json(project / f"reports/results/runs/{made_up.run()[0].run}.json", change)


def in_notebook(place, *, name="01_first.ipynb", **values):
    """Change a cell of a notebook or, with None, its stamp."""

    def change(content):
        (content["metadata"]["fer_keras"] if place is None else content["cells"][place]).update(values)

    return lambda project: change_json(project / "notebooks" / name, change)


def in_text(name, old, new):
    return lambda project: (project / name).write_text((project / name).read_text().replace(old, new, 1))


OUTPUT = {"output_type": "stream", "name": "stdout"}
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
# What is changed by hand, each followed by what is printed.
MUTATIONS = {
    "texts and figures": (
        in_text("reports/results/leaderboard.csv", "mini-xception", "mini-exception"), "leaderboard.csv is not",
        in_text("README.md", "65.42", "66.42"), "README.md: its tables",
        in_text("reports/report.md", "# 11", "# 12"), "report.md is not what notebook 11 says",
        copied_figure("orphan.png"), "orphan.png is shown by no document",
        copied_figure("orphan.png"), "orphan.png is saved by no notebook",
        copied_figure("recalls.png"), "recalls.png looks different when it is drawn again",
        copied_figure("recalls.png"), "01_first.ipynb: figures that it saved have changed since",
        lambda project: (project / "reports" / "figures" / "confusion.png").unlink(), "confusion.png is missing",
        in_notebook(1, outputs=[OUTPUT | {"text": ["9.9 s\n"]}]), "its outputs have changed",
    ),
    "a notebook": (
        in_notebook(0, source="# 01\n\nIt reaches 88.1 % here."), "01_first.ipynb:3: '88.1 %' is typed",
        in_notebook(1, outputs=[ERROR, OUTPUT | {"text": ["x" * build.LARGEST_BYTES]}]), "it holds a traceback",
        in_notebook(2, source="0.99"), "its code has changed",
        in_notebook(3, execution_count=7), "its execution counts",
        in_notebook(None, profile="quick"), "its outputs are not those of a full run",
        in_notebook(None, more=""), "it is larger than",
    ),
    "an output": (in_notebook(3, outputs=[]), "its outputs have changed"),
    "a score": (in_record(lambda record: record["metrics"]["test"].update(accuracy=0.99)), "leaderboard.csv is not"),
    "a recipe": (in_record(lambda record: record["recipe"].update(batch_size=64)), "must hold the recipe"),
    "a mark": (in_text("README.md", "<!-- end -->", ""), "README.md, not found"),
    "a file": (in_text("notebooks/01_first.ipynb", "{", ""), "Expected a notebook at"),
    "all": (lambda project: shutil.rmtree(project / "notebooks"), "there are no notebooks"),
    "a cell": (in_notebook(2, name="11_report.ipynb", source="figure"), "plots.save(figure, NAME)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_check_sees_what_was_changed_by_hand(project, name, capsys):
    for mutate in MUTATIONS[name][::2]:
        mutate(project)
    assert build.main(["--check", "--redrawn", str(redrawn(project))]) == 1
    printed = capsys.readouterr().out
    assert [message for message in MUTATIONS[name][1::2] if message not in printed] == []


def test_a_figure_from_images_counts_with_its_bytes(project):
    code = """import numpy as np
from fer_keras import plots
figure = plots.gallery(np.arange(48 * 48).reshape(1, 48, 48) % 255)
plots.save(figure, 'pictures', from_images=True)
figure"""
    title = "# 02 Pictures\n\nWhich?\n\n![pictures](../reports/figures/pictures.png)"
    build.write_notebook(write_notebook(project, title, code, name="02_pictures.ipynb"), "fingerprint")
    assert build.problems(redrawn(project)) == []
    (redrawn(project) / "pictures.png").unlink()  # as the quick profile does not draw it from FER-2013
    copied_figure("pictures.png")(project)
    (line,) = build.problems(project / "build" / "redrawn")
    assert line == "02_pictures.ipynb: figures that it saved have changed since"


def test_a_run_cleans_and_stamps(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_KERAS_DATA", "faces")
    code = ["import os, sys\nprint(os.environ['FER_PROFILE'], os.path.basename(os.getcwd()))"]
    code += ["print('noise', file=sys.stderr)\nobject()"]
    code += ["import os, fer_keras\nprint(fer_keras.__file__, os.environ['FER_KERAS_DATA'])"]
    path = write_notebook(tmp_path, "# 01\n", *code)
    build.write_notebook(path, "abc")
    done = nbformat.read(path, as_version=4)
    assert done.cells[1].outputs[0].text == "full notebooks\n"
    assert [output.data["text/plain"] for output in done.cells[2].outputs] == ["<object at 0x…>"]
    assert done.cells[3].outputs[0].text == f"{ROOT / 'fer_keras' / '__init__.py'} {tmp_path / 'faces'}\n"
    assert [cell.execution_count for cell in done.cells[1:]] == [1, 2, 3]
    assert set(done.metadata) == {"kernelspec", "language_info", "fer_keras"}
    assert done.metadata["fer_keras"] == {"profile": "full", "data": "abc", "figures": {}, **build.digests(done)}
    before = path.read_bytes(), path.stat().st_mtime_ns
    build.write_notebook(path, "abc")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("bad", ["bad = good / 0", "import os\nos._exit(1)"])
def test_a_failing_cell_is_named_and_the_file_untouched(tmp_path, monkeypatch, bad, capsys):
    stand_in(tmp_path, monkeypatch)
    path = write_notebook(tmp_path, "# 01\n", "good = 1", bad)
    before = path.read_bytes()
    assert build.main(["--notebooks-only"]) == 2
    assert path.read_bytes() == before
    error = capsys.readouterr().err
    assert "01_first.ipynb, cell" in error
    assert "\x1b" not in error
    assert "os" in bad or ("cell 3" in error and "bad = good / 0" in error and "ZeroDivision" in error)


def executed(text, *, tags=(), image=None, **stamp):
    """A notebook as a run left it, in memory."""
    cell = new_code_cell("x", execution_count=1, id="a", metadata={"tags": list(tags)})
    cell.outputs = [new_output("display_data", {"image/png": image}) if image else new_output("stream", text=text)]
    notebook = new_notebook(cells=[cell])
    stamp = {"profile": "full", "data": "d", "figures": {}, **build.digests(notebook), **stamp}
    return nbformat.from_dict({**notebook, "metadata": {"fer_keras": stamp}})


CHECKED, VARIES = ["nbval-check-output"], ["nbval-ignore-output"]


@pytest.mark.parametrize(
    ("standing", "now", "stays"),
    [
        (executed("loss 1.21"), executed("loss 1.23"), True),  # another machine's rounding
        (executed("loss 1.21"), executed("accuracy 1.21"), False),
        (executed("in 1.2 s", tags=CHECKED), executed("in 1.3 s", tags=CHECKED), True),
        (executed("loss 1.21", tags=CHECKED), executed("loss 1.23", tags=CHECKED), False),
        (executed("a", tags=VARIES), executed("b", tags=VARIES), True),
        *((executed("a"), executed("a", **{key: "new"}), False) for key in ("code", "data", "figures")),
        (executed("a", profile="quick"), executed("a"), False),
        (executed("a", outputs="edited by hand"), executed("a"), False),
        (new_notebook(), executed("a"), False),
    ],
)
def test_what_makes_a_notebook_be_written(standing, now, stays):
    assert build.says_the_same(standing, now) is stays


def test_images_count_if_they_differ_visibly(built):
    one, two = [
        build.read(path).cells[-1].outputs[0].data["image/png"] for path in (built / "notebooks").glob("*.ipynb")
    ]
    assert build.says_the_same(executed("", image=one), executed("", image=one))
    assert not build.says_the_same(executed("", image=one), executed("", image=two))
    assert build.says_the_same(executed("", image=one, tags=VARIES), executed("", image=two, tags=VARIES))


def test_html_tables_become_markdown():
    head = '<thead><tr><th></th><th colspan="2">test</th></tr><tr><th>recipe</th><th>low</th><th>high</th></tr></thead>'
    body = '<tbody><tr><th rowspan="2">a</th><td>1|2</td><td>&lt;b&gt;</td></tr><tr><td>3</td><td>4</td></tr></tbody>'
    assert build.markdown_table(build.rows_of(f"<style>x</style><table>{head}{body}</table>")).splitlines() == [
        "| recipe | test low | test high |",
        "| --- | --- | --- |",
        r"| a | 1\|2 | &lt;b&gt; |",
        "|  | 3 | 4 |",
    ]


TYPED = ["It scores 65.1 %.", "about 65% of", "sixty, 12 percent", "7 per cent", "(24.9 %)", "- 3 % more", "**65 %**"]
FINE = ["with its 95 % interval", "| Goodfellow | 65 % | test |", "`100 %`", "```\n99 %\n```", "[this](http://x/50%25)"]


@pytest.mark.parametrize("prose", [*TYPED, *FINE, "version 3.11.9 and 48x48"])
def test_a_typed_percentage_is_found(tmp_path, monkeypatch, prose):
    stand_in(tmp_path, monkeypatch)
    (tmp_path / "README.md").write_text(f"# Title\n\n{prose}\n")
    lines = build.percentage_problems()
    assert [line.partition(": ")[0] for line in lines] == ["README.md:3"] * (prose in TYPED)


def test_build_and_nbval_test_the_checkout_that_they_stand_in(tmp_path):
    """A second checkout, with a package that is not quite this one's, records and one notebook."""
    ignored = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(ROOT / "fer_keras", tmp_path / "fer_keras", ignore=ignored)
    made_up.results(tmp_path / "reports" / "results")
    for name in ("conftest.py", "pyproject.toml", "reports/build.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    version = tmp_path / "fer_keras" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "second of '))
    shown = "import os, fer_keras\nprint(fer_keras.__version__[:6], os.environ.get('FER_KERAS_DATA'))"
    committed = write_notebook(tmp_path, "# 01\n", FIRST[1], shown, FIRST[3])
    before = committed.read_bytes()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FER_", "PYTHONPATH"))}

    def run(*command, **more):
        how = {"cwd": tmp_path, "env": ours | more, "capture_output": True, "text": True}
        return subprocess.run([sys.executable, *command], check=False, **how)

    done = run("reports/build.py", "--notebooks-only")
    assert done.returncode == 0, done.stderr
    notebook = build.read(tmp_path / "build" / "notebooks" / "01_first.ipynb")
    assert notebook.cells[2].outputs[0].text == "second None\n"
    assert notebook.metadata["fer_keras"]["profile"] == "quick"
    assert committed.read_bytes() == before, "the committed one is only for full runs"
    shutil.rmtree(tmp_path / "reports" / "figures")
    notebook.cells[2].outputs = [new_output("stream", text=f"second {tmp_path / 'faces'}\n")]
    nbformat.write(notebook, committed)
    for data, status in (("faces", 0), ("elsewhere", 1)):
        nbval = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "notebooks")
        done = run(*nbval, FER_KERAS_DATA=data, FER_KERAS_FIGURES="build/redrawn")
        assert done.returncode == status, done.stdout
    assert (tmp_path / "build" / "redrawn" / "recalls.png").is_file()
    assert not (tmp_path / "reports" / "figures").exists()


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_committed_notebooks_are_numbered_from_1_to_11_and_as_a_full_run_left_them():
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02d}_" for number in range(1, 12)]
    assert {path.name for path in (ROOT / "notebooks").iterdir()} - {".ipynb_checkpoints"} == {
        path.name for path in NOTEBOOKS
    }
    assert build.notebook_problems() == []
    assert build.percentage_problems() == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_asks_is_short_and_has_checked_cells(path):
    notebook = build.read(path)
    title, question = notebook.cells[0].source.split("\n\n")[:2]
    assert title.startswith(f"# {path.name[:2]} ")
    assert "?" in question
    code = build.code_cells(notebook)
    assert len(code) <= 25
    assert max(len(cell.source.strip().splitlines()) for cell in code) <= 20
    checked = [cell for cell in code if build.CHECKED in cell.metadata.get("tags", ())]
    assert checked
    for cell in checked:
        kinds = {kind for output in cell.outputs for kind in output.get("data", {"text": ""})}
        assert kinds - {"image/png"}, cell.source
