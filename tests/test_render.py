"""Generated text, the page, and the search for numbers that someone typed."""

import json

import made_up
import pytest

from fer_keras import paths
from fer_keras.evaluation import compare
from fer_keras.labels import FER7, SPLITS
from fer_keras.reporting import blocks, figures, page, render
from fer_keras.reporting.runs import find_run
from fer_keras.reporting.tables import write_table

REPORT = """# The report & more

mini-xception scores <!-- generated: score mini-xception --><!-- end -->.

<!-- generated: results -->
old
<!-- end -->

<!-- generated: figure leaderboard -->
<!-- end -->
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project with made-up records, figures and a report."""
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    for name in ("RESULTS", "FIGURES", "BUILD"):
        monkeypatch.delenv(f"FER_KERAS_{name}", raising=False)
    monkeypatch.setenv("FER_PROFILE", "full")
    made_up.results(tmp_path / "reports" / "results")
    write_table(
        "audit", {"counts": {split: {"happy": 3, "sad": 1} for split in SPLITS}, "copies": {"test": {"train": 1288}}}
    )
    figures.write(made_up_figure(), "leaderboard", [1], paths.figures())
    (tmp_path / "reports" / "report.md").write_text(REPORT)
    return tmp_path


def made_up_figure():
    from fer_keras.reporting import plotting

    return plotting.bars({"happy": 3}, axis="images")


def notebook(project, name, *cells):
    (project / "notebooks").mkdir(exist_ok=True)
    found = [{"cell_type": "markdown", "source": source.splitlines(keepends=True)} for source in cells]
    (project / "notebooks" / name).write_text(json.dumps({"cells": found, "metadata": {}}))


def test_refill_writes_numbers_between_the_marks_and_nothing_else(project):
    (path,) = render.refill()
    text = path.read_text()
    scores = find_run("mini-xception").metrics["test"]
    expected = (
        f"{100 * scores['accuracy']:.1f} % ({100 * scores['accuracy_low']:.1f} to {100 * scores['accuracy_high']:.1f})"
    )
    line = text.splitlines()[2]
    assert line.startswith("mini-xception scores <!-- generated: score mini-xception -->" + expected)
    assert line.endswith("<!-- end -->.")
    assert "old" not in text
    assert "**7 classes, official split**\n\n| recipe |" in text
    assert f"![{figures.find_entry('leaderboard').alt}](figures/leaderboard.png)" in text
    assert [part for part in text.splitlines() if part.startswith("#")] == ["# The report & more"]


def test_refill_twice_changes_nothing(project):
    assert render.stale() == ["report.md: generated text is not today's: run `make report`"]
    render.refill()
    assert render.stale() == []
    assert render.refill() == []


def test_a_new_run_makes_the_report_stale(project):
    render.refill()
    made_up.write_run(*made_up.run("mini-xception", seed=3))
    assert render.stale() == ["report.md: generated text is not today's: run `make report`"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- generated: results --> x", "results.*alone"),
        ("x <!-- end -->", "'end' alone"),
        ("<!-- generated: results --><!-- generated: costs --><!-- end -->", "costs.*alone"),
        ("<!-- generated: reslts --><!-- end -->", "no generated text 'reslts'.*results"),
        ("<!-- generated: chance --><!-- end -->", "'chance' cannot take"),
        ("<!-- generated: metric mini-xception acuracy --><!-- end -->", "no metric 'acuracy'"),
        ("<!-- generated: metric mini-xception confusion --><!-- end -->", "no metric 'confusion'"),
        ("<!-- generated: accuracy mini-xception@no-flip test --><!-- end -->", "no metrics on 'test'"),
        ("<!-- generated: value audit copies.tset.train --><!-- end -->", "no 'tset'"),
        ("<!-- generated: figure leadrboard --><!-- end -->", "no figure 'leadrboard'"),
    ],
)
def test_a_wrong_mark_is_named(project, text, message):
    (project / "README.md").write_text(text)
    with pytest.raises(ValueError, match=message):
        render.refilled(text, project)
    assert any(problem.startswith("README.md: ") for problem in render.stale())


def test_what_is_not_recorded_yet_says_so(project):
    for arguments in (
        ("score", "vgg16"),
        ("confused", "vgg16"),
        ("difference", "vgg16", "mini-xception"),
        ("value", "x", "y"),
        ("trains", "bare", "step"),
    ):
        assert blocks.text(*arguments) == "(not recorded yet)"
    assert blocks.text("figure", "cost") == f"*{figures.find_entry('cost').alt[:-1]} (not recorded yet).*"


def test_speed_of_training_is_said_over_the_networks_that_were_timed(project):
    ratios = {"a: real path / bare step": 1.234, "b: real path / bare step": 0.97, "a: forward pass / bare step": 9.0}
    write_table("speed", {what: {"ratio": ratio} for what, ratio in ratios.items()} | {"bytes": {"value": 1}})
    assert blocks.text("trains", "bare", "step") == "0.97 to 1.2 times"
    write_table("speed", {"a: real path / bare step": {"ratio": 1.26}})
    assert blocks.text("trains", "bare", "step") == "1.3 times"
    assert blocks.text("trains", "ImageDataGenerator") == "(not recorded yet)"


def test_sentences_say_what_the_record_says(project):
    run = find_run("capstone-model-1@course")
    assert (
        blocks.text("training", run.recipe_name) == "cut short after 12 epochs, best at 9, 1 h 12 min on cpu, 2 cores"
    )
    assert blocks.text("score", run.recipe_name).endswith("on 240 test images, single view, seed 0, cut short")
    recall = {name: entry["recall"] for name, entry in run.metrics["test"]["per_class"].items()}
    best, worst = max(recall, key=recall.get), min(recall, key=recall.get)
    expected = f"best on {best} ({100 * recall[best]:.0f} %), worst on {worst} ({100 * recall[worst]:.0f} %)"
    assert blocks.text("extremes", run.recipe_name) == expected
    confusion = run.metrics["test"]["confusion"]
    wrong = max((row[j] / sum(row), i, j) for i, row in enumerate(confusion) for j in range(4) if i != j)
    expected = f"{run.classes[wrong[1]]} taken for {run.classes[wrong[2]]} ({100 * wrong[0]:.0f} %)"
    assert blocks.text("confused", run.recipe_name) == expected
    assert blocks.text("confused", run.recipe_name, "3").count("taken for") == 3
    assert [line.split(" | ")[0] for line in blocks.text("per-class", "mini-xception").splitlines()[2:]] == [
        f"| {name}" for name in FER7
    ]
    assert blocks.text("published", "emovision-baseline") == "24.71 % (test)"
    assert blocks.text("published", "capstone-model-1") == "no number"
    assert blocks.text("value", "audit", "copies.test.train") == "1,288"
    assert blocks.text("majority", "test") == "75.0 %"
    assert blocks.text("runs") == "6"


def test_runs_are_compared_on_the_same_images_only(project):
    first, second = find_run("emovision-baseline"), find_run("mini-xception")
    said = [run.predictions("test") for run in (first, second)]
    expected = str(compare(said[0].labels, said[0].probabilities, said[1].probabilities))
    assert blocks.text("difference", "emovision-baseline", "mini-xception") == expected
    with pytest.raises(ValueError, match="not scored on the same images"):
        blocks.text("difference", "capstone-model-1", "capstone-model-1@course")


def test_tables_show_what_the_leaderboard_shows(project):
    four = blocks.text("results", "4")
    assert "**4 classes, official split**" in four
    assert "**4 classes, course split**" in four
    assert "7 classes" not in four
    assert "capstone-model-1@course, cut short" in blocks.text("results", "4", "course")
    assert "65 %, validation, CS337" in blocks.text("results", "7", "official")
    assert blocks.text("results", "5") == "(not recorded yet)"
    costs = blocks.text("costs").splitlines()
    assert len(costs) == 2 + 5  # a row a recipe, not a row a seed
    assert "| 58,423 | 5.5 M | 12 | 360 | 1 h 12 min | cpu, 2 cores |" in costs[2]


def test_the_index_of_notebooks_links_from_where_the_document_lies(project):
    notebook(project, "01_data.ipynb", "# 01 · What is in it?\n\nCan the data\nbe trusted?\n\nMore.", "x")
    assert "| 01 | [What is in it?](notebooks/01_data.ipynb) | Can the data be trusted? |" in blocks.text("notebooks")
    below = blocks.text("notebooks", folder=project / "reports")
    assert "(../notebooks/01_data.ipynb)" in below


@pytest.mark.parametrize(
    "typed",
    ["It scores 65.1 %.", "about 65% of", "sixty, 12 percent", "7 per cent", "(24.9 %)", "- 3 % more", "**65 %**"],
)
def test_a_typed_percentage_is_found(typed):
    ((line, message),) = render.typed_percentages(f"# Title\n\n{typed}\n")
    assert line == 3
    assert "a percentage is typed" in message


@pytest.mark.parametrize(
    "fine",
    [
        "with its 95 % interval",
        "<!-- generated: accuracy x -->65.1 %<!-- end --> of",
        "<!-- generated: results -->\n\ntext 5 %\n\n<!-- end -->",
        "| Goodfellow | 65 % | test |",
        "`100 %`",
        "```\n99 %\n```",
        "[this](http://x/50%25.html)",
        "version 3.11.9 and 48x48",
    ],
)
def test_other_numbers_may_be_typed(fine):
    assert render.typed_percentages(fine) == []


def test_typed_percentages_are_found_in_documents_and_notebooks(project):
    (project / "README.md").write_text("one\n\ntwo 12 %\n")
    notebook(project, "02_four.ipynb", "# Four", "It reaches 88.1 % here.")
    render.refill()
    first, second = render.stale()
    assert first.startswith("README.md:3: a percentage is typed, '12 %'")
    assert second.startswith("02_four.ipynb: a percentage is typed, '88.1 %'")


def test_the_page_needs_nothing_beside_it(project):
    render.refill()
    text = page.write_page().read_text()
    assert "<title>The report &amp; more</title>" in text
    assert '<img alt="' in text
    assert 'src="data:image/png;base64,iVBOR' in text
    assert text.count("<table>") == 3
    assert "<!--" not in text
    assert "generated:" not in text


def test_the_page_names_a_figure_that_is_missing(project):
    (project / "reports" / "report.md").write_text("![x](figures/none.png)")
    with pytest.raises(ValueError, match=r"figures/none.png.*not there"):
        page.write_page()
    (project / "reports" / "report.md").unlink()
    with pytest.raises(ValueError, match="Expected the report at"):
        page.write_page()
