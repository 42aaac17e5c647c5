"""`reports/build.py` on a small project with made-up records: what it writes, what it leaves, what `--check` sees."""

import ast
import dataclasses
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
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fer_keras import paths, results
from fer_keras.data import DataError
from fer_keras.data.synthetic_faces import make_faces
from fer_keras.labels import FER7, FERPLUS_VOTES, SPLITS
from fer_keras.results import find_run, read_table, write_run

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("reports_build", ROOT / "reports" / "build.py")
build = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build)

README = "# A project\n\n![recall of each class](reports/figures/recalls.png)\n\n"
README += "".join(f"<!-- table: {name} -->\n<!-- end -->\n\n" for name in ("networks", "projects"))
CHECK = ["--check", "--redrawn", "build/redrawn"]
IMPORTS = "import pandas as pd\nfrom fer_keras import plots\n"
IMPORTS += "from fer_keras.results import find_run, leaderboard, with_interval\n"
FIRST = [
    "# 01 What is confused?\n\nWhich faces?\n\n![pictures](../reports/figures/pictures.png)",
    "import os, sys\nimport fer_keras\nprint('noise', file=sys.stderr)\n"
    "print(os.environ['FER_PROFILE'], os.path.relpath(os.environ['FER_KERAS_DATA']), fer_keras.__file__)",
    f"{IMPORTS}round(find_run('mini-xception').scores['accuracy'], 4)",
    f"{IMPORTS}figure = plots.recalls([find_run('mini-xception')])\nplots.save(figure, 'recalls')\nfigure",
    "import numpy as np\nfigure = plots.gallery(np.arange(48 * 48).reshape(1, 48, 48) % 255)\n"
    "plots.save(figure, 'pictures', from_images=True)\nobject()",
]
REPORT = [
    "# 11 The report & more\n\nWhat came out? See [the first](01_first.ipynb#end).\n\n"
    "![recall of each class](../reports/figures/recalls.png)\n",
    f"{IMPORTS}board = leaderboard().assign(test=with_interval).set_index(['num_classes', 'recipe'])\n"
    "pd.concat({'a|b': board[['test']]}, axis=1)",
    "figure = plots.confusion_matrix(find_run('mini-xception').confusion())\nplots.save(figure, 'confusion')\nfigure",
]


def write_notebook(project, *sources, name="01_first.ipynb"):
    """Write a notebook that was never executed: a Markdown cell, then code cells, of which the second is checked."""
    cells = [new_markdown_cell(sources[0], id="title")]
    cells += [new_code_cell(source, id=f"c{place}") for place, source in enumerate(sources[1:])]
    cells[2].metadata["tags"] = ["nbval-check-output"]
    (project / "notebooks").mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), project / "notebooks" / name)
    return project / "notebooks" / name


def stand_in(project, patch):
    """Make a folder the project, in the full profile, without FER-2013 and without networks to record."""
    patch.chdir(project)
    patch.setattr(paths, "project", lambda: project)
    patch.delenv("FER_KERAS_FIGURES", raising=False)
    for name, value in {"RESULTS": "reports/results", "BUILD": "build", "DATA": "faces"}.items():
        patch.setenv(f"FER_KERAS_{name}", value)
    patch.setenv("FER_PROFILE", "full")
    patch.setattr(build, "record_data", lambda: "fingerprint")
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
    """A copy of the built project, with its figures drawn again as by the quick profile: none from images."""
    shutil.copytree(built, tmp_path / "project")
    stand_in(tmp_path / "project", monkeypatch)
    shutil.copytree("reports/figures", "build/redrawn", ignore=shutil.ignore_patterns("pictures.png"))
    return tmp_path / "project"


def state(project):
    """Bytes and times of all files besides those of build/."""
    files = [path for path in project.rglob("*") if path.is_file() and "build" not in path.relative_to(project).parts]
    return {path.relative_to(project).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_build_makes_all_that_check_asks_for_and_a_second_one_leaves_the_tree_clean(project, capsys):
    before = state(project)
    assert build.main([]) == 0
    assert state(project) == before
    assert str(project / "reports" / "report.html") in capsys.readouterr().out
    assert build.main(CHECK) == 0, capsys.readouterr().out
    assert state(project) == before


def test_the_report_is_notebook_11_and_readme_holds_two_tables(project):
    text, page = ((project / "reports" / name).read_text() for name in ("report.md", "report.html"))
    scores = find_run("mini-xception").scores
    interval = "{:.1f} ({:.1f} to {:.1f})".format(*(100 * scores[f"accuracy{end}"] for end in ("", "_low", "_high")))
    for part in (
        "# 11 The report & more\n\nWhat came out? See [the first](../notebooks/01_first.ipynb#end).\n",
        "| num_classes | recipe | a\\|b test |\n| --- | --- | --- |",
        f" | mini-xception | {interval} |\n",
        "\n|  | capstone-model-1@course | ",
        "![recall of each class](figures/recalls.png)",
        "![confusion](figures/confusion.png)",
    ):
        assert part in text
    assert not re.search("import|base64", text)
    assert (len(re.findall(r'<img[^>]* src="data:image/png;base64,', page)), interval in page) == (2, True)
    assert not re.search(r'(?:src|href)="(?!data:|#|\.\./notebooks)', page), "the page needs nothing beside it"
    assert "import" not in re.sub(r"<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)
    readme = (project / "README.md").read_text()
    assert readme.startswith(README.split("<!--")[0])
    assert re.search(r"\| mini-xception \| 58,423 \| 5\.5 M \|", readme)
    assert re.search(r"\| emovision-baseline \| 7 \| 240 test images, official .* \| 24\.71 \| test \|", readme)


def test_a_run_cleans_and_stamps(project):
    done = build.read(project / "notebooks" / "01_first.ipynb")
    (printed,) = done.cells[1].outputs
    assert printed.text == f"full ../faces {ROOT / 'fer_keras' / '__init__.py'}\n"
    assert done.cells[4].outputs[0].data["text/plain"] == "<object at 0x…>"
    assert set(done.metadata) == {"kernelspec", "language_info", "fer_keras"}
    assert done.metadata["fer_keras"]["data"] == "fingerprint"


def test_a_new_record_changes_figures_leaderboard_readme_and_report(project):
    before = state(project)
    made = made_up.run("mini-xception", skill=0.9, published=65.0, published_split="validation")
    write_run(*made, force=True)
    assert {line.split()[0] for line in build.problems()} == {
        "01_first.ipynb:", "11_report.ipynb:", "README.md:", "confusion.png", "leaderboard.csv", "recalls.png",
    }  # fmt: skip
    build.build()
    changed = {path for path, content in state(project).items() if before[path] != content}
    assert {path for path in changed if not re.search("/(runs|histories|predictions)/", path)} == {
        "README.md", "notebooks/01_first.ipynb", "notebooks/11_report.ipynb", "reports/report.html",
        "reports/report.md", "reports/results/leaderboard.csv",
        "reports/figures/confusion.png", "reports/figures/recalls.png",
    }  # fmt: skip
    assert build.problems(project / "build" / "redrawn") == []


def copied_figure(name):
    return lambda project: shutil.copy(*(project / "reports" / "figures" / each for each in ("confusion.png", name)))


def in_text(name, old, new):
    return lambda project: (project / name).write_text((project / name).read_text().replace(old, new, 1))


def in_notebook(place, *, name="01_first.ipynb", **values):
    """Change a cell of a notebook or, with None, its stamp."""

    def change(project):
        content = json.loads((project / "notebooks" / name).read_text())
        (content["metadata"]["fer_keras"] if place is None else content["cells"][place]).update(values)
        (project / "notebooks" / name).write_text(json.dumps(content))

    return change


OUTPUT = {"output_type": "stream", "name": "stdout"}
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
RECORD = f"reports/results/runs/{made_up.run()[0].run}.json"
# What is changed by hand, each followed by what is printed.
MUTATIONS = {
    "texts and figures": (
        in_text("reports/results/leaderboard.csv", "mini-xception", "mini-exception"), "leaderboard.csv is not",
        in_text("README.md", "65.42", "66.42"), "README.md: its tables",
        in_text("reports/report.md", "# 11", "# 12"), "report.md is not what notebook 11 says",
        copied_figure("orphan.png"), "orphan.png is shown by no document",
        copied_figure("orphan.png"), "orphan.png is saved by no notebook",
        copied_figure("recalls.png"), "recalls.png looks different when it is drawn again",
        lambda project: (project / "reports" / "figures" / "confusion.png").unlink(), "confusion.png is missing",
        in_notebook(1, outputs=[OUTPUT | {"text": ["9.9 s\n"]}]), "01_first.ipynb: its outputs have changed",
        in_notebook(2, name="11_report.ipynb", outputs=[]), "11_report.ipynb: its outputs have changed",
    ),
    "a notebook": (
        in_notebook(0, source="# 01\n\nIt reaches 88.1 % here."), "01_first.ipynb:3: '88.1 %' is typed",
        in_notebook(1, outputs=[ERROR, OUTPUT | {"text": ["x" * build.LARGEST_BYTES]}]), "it holds a traceback",
        in_notebook(2, source="0.99"), "its code has changed",
        in_notebook(3, execution_count=7), "its execution counts",
        in_notebook(None, profile="quick"), "its outputs are not those of a full run",
        in_notebook(None, more=""), "it is larger than",
    ),
    "a figure from images": (copied_figure("pictures.png"), "01_first.ipynb: figures that it saved have changed"),
    "a score": (in_text(RECORD, '"accuracy": 0.', '"accuracy": 0.0'), "leaderboard.csv is not"),
    "a recipe": (in_text(RECORD, '"batch_size": 32', '"batch_size": 64'), "must hold the recipe"),
    "a mark": (in_text("README.md", "<!-- end -->", ""), "README.md, not found"),
    "a file": (in_text("notebooks/01_first.ipynb", "{", ""), "Expected a notebook at"),
    "all": (lambda project: shutil.rmtree(project / "notebooks"), "there are no notebooks"),
    "a cell": (in_notebook(2, name="11_report.ipynb", source="figure"), "plots.save(figure, NAME)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_check_sees_what_was_changed_by_hand(project, name, capsys):
    for mutate in MUTATIONS[name][::2]:
        mutate(project)
    assert build.main(CHECK) == 1
    printed = capsys.readouterr().out
    assert [message for message in MUTATIONS[name][1::2] if message not in printed] == []


@pytest.mark.parametrize("bad", ["bad = good / 0", "import os\nos._exit(1)"])
def test_a_failing_cell_is_named_and_the_file_untouched(tmp_path, monkeypatch, bad, capsys):
    stand_in(tmp_path, monkeypatch)
    path = write_notebook(tmp_path, "# 01\n", "good = 1", bad)
    before = path.read_bytes()
    assert build.main(["--notebooks-only"]) == 2
    assert path.read_bytes() == before
    error = capsys.readouterr().err
    assert ("01_first.ipynb, cell" in error, "\x1b" in error) == (True, False)
    assert "os" in bad or re.search(r"cell 3(?s:.*)bad = good / 0(?s:.*)ZeroDivision", error)


def executed(text, tag="plain", **stamp):
    """A notebook as a run left it, in memory, whose only cell printed a text."""
    cell = new_code_cell("x", execution_count=1, id="a", metadata={"tags": [tag]})
    cell.outputs = [new_output("stream", text=text)]
    notebook = new_notebook(cells=[cell])
    stamp = {"profile": "full", "data": "d", "figures": {}, **build.digests(notebook), **stamp}
    return nbformat.from_dict({**notebook, "metadata": {"fer_keras": stamp}})


@pytest.mark.parametrize(
    ("before", "now", "tag", "stays"),
    [
        ("loss 1.21", "loss 1.23", "plain", True),  # another machine's rounding
        ("loss 1.21", "accuracy 1.21", "plain", False),
        ("in 1.2 s", "in 1.3 s", build.CHECKED, True),
        ("loss 1.21", "loss 1.23", build.CHECKED, False),
        ("a", "b", build.VARIES, True),
    ],
)
def test_what_makes_a_notebook_be_written(before, now, tag, stays):
    assert build.says_the_same(executed(before, tag), executed(now, tag)) is stays
    for key in ("code", "data", "figures", "profile", "outputs"):
        assert not build.says_the_same(executed(before, tag, **{key: "another"}), executed(before, tag))


TYPED = ["It scores 65.1 %.", "about 65% of", "sixty, 12 percent", "7 per cent", "(24.9 %)", "- 3 % more", "**65 %**"]
FINE = ["with its 95 % interval", "| Goodfellow | 65 % | test |", "`100 %`", "```\n99 %\n```", "[this](http://x/50%25)"]


def test_typed_percentages_are_found(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch)
    (tmp_path / "README.md").write_text("\n\n".join([*TYPED, *FINE, "version 3.11.9 and 48x48"]))
    lines = [line.partition(": ")[0] for line in build.percentage_problems()]
    assert lines == [f"README.md:{2 * place + 1}" for place in range(len(TYPED))]


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
    committed = write_notebook(tmp_path, "# 01\n", FIRST[3], shown)
    before = committed.read_bytes()
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FER_", "PYTHONPATH"))}

    def run(*command, status=0, **more):
        how = {"cwd": tmp_path, "env": ours | more, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, *command], check=False, **how)
        assert done.returncode == status, done.stdout + done.stderr

    run("reports/build.py", "--notebooks-only")
    notebook = build.read(tmp_path / "build" / "notebooks" / "01_first.ipynb")
    assert notebook.cells[2].outputs[0].text == "second None\n"
    assert committed.read_bytes() == before, "the committed one is only for full runs"
    notebook.cells[2].outputs = [new_output("stream", text=f"second {tmp_path / 'faces'}\n")]
    nbformat.write(notebook, committed)
    for data, status in (("faces", 0), ("elsewhere", 1)):
        nbval = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "notebooks")
        run(*nbval, status=status, FER_KERAS_DATA=data, FER_KERAS_FIGURES="build/redrawn")
    assert (tmp_path / "build" / "redrawn" / "recalls.png").is_file()


NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").iterdir() if path.name[0] != ".")
CODES = [[cell.source for cell in build.code_cells(build.read(path))] for path in NOTEBOOKS]


def test_the_committed_notebooks_are_numbered_from_1_to_11_and_as_a_full_run_left_them():
    assert [int(re.match(r"(\d\d)_\w+\.ipynb$", path.name)[1]) for path in NOTEBOOKS] == [*range(1, 12)]
    assert build.notebook_problems() == build.percentage_problems() == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_asks_is_short_and_has_checked_cells(path):
    notebook = build.read(path)
    assert re.match(rf"# {path.name[:2]} .*\n\n.*\?", notebook.cells[0].source)
    code = build.code_cells(notebook)
    assert len(code) <= 25
    assert max(len(cell.source.strip().splitlines()) for cell in code) <= 20
    checked = [cell.outputs for cell in code if build.CHECKED in cell.metadata.get("tags", ())]
    assert checked
    for outputs in checked:
        assert {kind for output in outputs for kind in output.get("data", {"text": ""})} - {"image/png"}


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
def test_a_model_is_written_compiled_fitted_with_both_callbacks_and_plotted_in_a_notebook(number):
    code = "\n".join(CODES[number - 1])
    written = set(re.findall(r"^(\w+) = keras\.(?:Sequential|Model)\(", code, re.MULTILINE))
    fits = dict(re.findall(r"^(\w+) = (\w+)\.fit\(", code, re.MULTILINE))
    fitted = written & set(fits.values()) & set(re.findall(r"(\w+)\.compile\(", code))
    assert fitted
    assert fitted == written or number in (4, 6), "every network that is written is trained too"
    assert all(re.search(rf"\b{history}\b(?! =)", code) for history in fits), "and its history is looked at"
    for called in (r"callbacks\b", r"\.ReduceLROnPlateau\(", r"\.EarlyStopping\(", r"\b(plot|lineplot|relplot)\("):
        assert re.search(called, code)


def test_at_most_a_third_of_the_notebooks_cells_are_a_single_call_of_ours():
    total = single = 0
    for codes in CODES:
        imports = re.findall(r"^from fer_keras.* import (.+)$", "\n".join(codes), re.MULTILINE)
        ours = {"fer_keras", *re.findall(r"\w+", " ".join(imports))}
        for code in codes:
            match ast.parse(code).body:
                case [ast.Expr(ast.Call())]:
                    single += re.match(r"\w+", code)[0] in ours
        total += len(codes)
        assert not ours & set(re.findall(r"\bMarkdown\((\w+)", "\n".join(codes))), "no Markdown of the package"
    assert 3 * single <= total > 150


@pytest.mark.parametrize("course", [None, "as FER-2013"])
def test_data_are_counted_and_networks_are_held_against_the_voters(recorded_project, monkeypatch, course):
    """A row for each made-up prediction, whose voters all name fear."""
    faces, run = make_faces(40, seed=1), find_run("mini-xception")
    votes = np.tile(10 * np.eye(10, dtype=np.float32)[FERPLUS_VOTES.index("fear")], (len(faces), 1))
    faces = dataclasses.replace(faces, votes=votes, rows=np.arange(len(faces)))

    def load_course(protocol):
        if course is None:
            raise DataError("none")
        return faces

    monkeypatch.setattr(build, "load_fer7", lambda: faces)
    monkeypatch.setattr(build, "load_fer4", load_course)
    assert build.record_data() == faces.fingerprint
    found, test, fear = read_table("crowd"), run.predictions("test"), FER7.index("fear")
    predicted = test.probabilities.argmax(axis=1)
    assert found[run.run]["agreed"] == (test.labels == fear).sum()
    assert found[run.run]["with_crowd"] == ((predicted == fear) & (test.labels != fear)).sum()
    agreement, counts = results.agreement_table("validation").set_index("label"), faces.counts()
    assert agreement.loc[["fear", "sad"], "agreement_of_judged"].tolist() == [1, 0]
    assert agreement["images"].to_dict() == counts.loc["validation"].rename({"total": "all"}).to_dict()
    forms, totals = read_table("forms"), counts["total"].to_dict()
    whole = {split: dict.fromkeys(SPLITS, 0) | {split: totals[split]} for split in SPLITS}
    assert forms["fer2013-csv"] == whole
    assert all(one["validation"] == one["test"] == 0 for one in forms["challenge-csv"].values()), "Training rows alone"
    assert forms["fer2013-unnamed-folders"]["test"] == dict(totals, train=0)
    assert forms.get("course-folders") == (whole if course else None)
    assert (results.find_table("course") or {}).get("official_split") == (whole if course else None)
