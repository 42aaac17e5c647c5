"""Build the report: execute the notebooks, write the leaderboard, README's tables, report.md and report.html.

    python reports/build.py [--notebooks-only [04 11 ...]]
    python reports/build.py --check [--redrawn DIR]

With FER-2013 (`FER_KERAS_DATA`) the notebooks run in the full profile, over the committed ones; without it in the quick
one, into build/notebooks. Where nothing changed nothing is written. `--check` prints what is not fresh.
"""

import argparse
import ast
import base64
import contextlib
import dataclasses
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this checkout, whatever is installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import nbformat
import numpy as np
import pandas as pd
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from fer_keras import audit, load_fer4, load_fer7, paths, plots
from fer_keras.data import DataError, FaceDataset, mean_faces
from fer_keras.data.ferplus import names_emotion, plurality
from fer_keras.evaluation import label_crowd_agreement
from fer_keras.labels import REST, SPLITS
from fer_keras.paths import profile, write_changed, write_whole
from fer_keras.results import (
    Run,
    as_csv,
    as_published,
    leaderboard,
    peer_table,
    read_runs,
    row_name,
    with_interval,
    write_table,
)

CHECKOUT = Path(__file__).resolve().parents[1]
STAMP, CHECKED, VARIES = "fer_keras", "nbval-check-output", "nbval-ignore-output"
LARGEST_BYTES = 1_500_000
OUR_NETWORKS = ("fer-base", "fer-small", "mini-xception")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
DURATION = re.compile(r"[\d.]+ ?(?:ms|s|seconds|min)\b")
NUMBER = re.compile(r"[-+−]?\d[\d.,]*(?:e[-+]?\d+)?|[━\s]+")
FIGURE = re.compile(r"figures/([\w@-]+)\.png")
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")
# Where a percentage may stand: code, tables (which carry their sources), links and comments; 95 % is that of intervals.
EXEMPT = r"^```.*?^```|`[^`\n]*`|^\s*\|.*?$|<!--.*?-->|\]\([^)]*\)|(?<![\d.,])95\s?%"
PERCENTAGE = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)?\s?(?:%|percent\b|per cent\b)")
STYLE = (
    "<style>body { max-width: 64rem; margin: 2rem auto !important } .jp-InputPrompt { display: none } "
    "td, th { text-align: left !important }</style>"
)


def main(arguments: list | None = None) -> int:
    """Build the report or check it; the exit status is 1 if something is not fresh, 2 after an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--notebooks-only", nargs="*", metavar="NN", help="execute notebooks, all or these, and write their figures")
    add("--check", action="store_true", help="print what is not fresh; exit with 1 if anything is not")
    add("--redrawn", type=Path, metavar="DIR", help="with --check: the figures that notebooks drew just now")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            build(only=options.notebooks_only)
            return 0
        found = problems(options.redrawn)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) or "Leaderboard, tables, report, notebooks and figures are fresh.")
    return 1 if found else 0


def build(*, only: list[str] | None = None) -> None:
    """Execute the notebooks, then write what is made from them and from the records; no recipe is trained.

    With `only`, numbers of notebooks such as `["04"]`, these are executed and nothing else; an empty list means all.
    """
    data = "synthetic faces"
    if only is None:
        from fer_keras.models.summary import record_networks

        record_networks()
    if profile() == "full":
        print("reading FER-2013 …", flush=True)
        data = record_data()
    found = [path for path in notebooks() if not only or path.name[:2] in only]
    for number, path in enumerate(found, start=1):
        print(f"notebook {number} of {len(found)}: {path.stem} …", end=" ", flush=True)
        started = time.perf_counter()
        write_notebook(path, data)
        print(f"{time.perf_counter() - started:.0f} s", flush=True)
    if only is not None:
        return
    write_changed(paths.results() / "leaderboard.csv", as_csv(read_runs()))
    readme, reports = paths.project() / "README.md", paths.project() / "reports"
    write_changed(readme, with_tables(readme.read_text(encoding="utf-8")))
    if report := report_notebook(executed_folder()):
        write_changed(reports / "report.md", as_markdown(report))
        write_changed(reports / "report.html", as_html(report))
    print(f"\nThe report:    {reports / 'report.html'}\nThe notebooks: {executed_folder()}")
    print(f"The results:   {paths.results() / 'leaderboard.csv'}")


def record_data() -> str:
    """Record audit, mean faces, published forms and agreement with FER+ of FER-2013, and the course set if it is there.

    A form is made from FER-2013's rows as its reader does; Kaggle's folders train and validation, another kind of
    selection, cannot be made so. The fingerprint of the data is returned.
    """
    faces = as_published(load_fer7())
    write_table("audit", audit(faces).as_dict())
    write_table("mean_faces", dict(zip(faces.classes, mean_faces(faces).round().astype(np.uint8), strict=True)))
    if faces.votes is not None:
        write_table("crowd", count_sides(faces, read_runs()))
    folders = dataclasses.replace(faces, split=np.where(faces.split == "train", "train", "test"))
    forms = {
        "fer2013-csv": faces,
        "challenge-csv": faces.select(splits=("train",)).resplit(0),
        "fer2013-folders": faces,
        "fer2013-unnamed-folders": folders.resplit(0, fractions=(0.9, 0.1, 0), within=("train",)),
    }
    with contextlib.suppress(DataError):
        forms["course-folders"] = load_fer4(protocol="course")
    official, counts = pd.Series(faces.split, index=faces.rows), {}
    for name, form in forms.items():
        table = pd.crosstab(as_published(form).split, official.loc[form.rows].to_numpy())
        counts[name] = table.reindex(index=SPLITS, columns=SPLITS, fill_value=0).to_dict("index")
    write_table("forms", counts)
    if course := forms.get("course-folders"):
        write_table("course", {"audit": audit(course).as_dict(), "official_split": counts["course-folders"]})
    return faces.fingerprint


def count_sides(faces: FaceDataset, runs: list[Run]) -> dict[str, dict[str, int]]:
    """Count by run, on FER-2013's test rows, with whom predictions agree where the label and the FER+ voters differ."""
    judged = np.where(names_emotion(faces.votes), plurality(faces.votes), "")
    by_row, found = pd.Series(judged, index=faces.rows), {}
    for run in runs:
        labelled = run.recipe["data"] in ("fer7", "fer4") and run.classes[0] != REST
        if labelled and run.protocol == "official" and "test" in run.metrics:
            test, classes = run.predictions("test"), np.array(run.classes)
            given = classes[test.labels], classes[test.probabilities.argmax(axis=1)], by_row.loc[test.rows].to_numpy()
            found[run.run] = label_crowd_agreement(*given)
    return found


def notebooks() -> list[Path]:
    """Find the numbered notebooks, in their order."""
    return sorted((paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def executed_folder() -> Path:
    """Where executed notebooks are written: over the committed ones in the full profile only."""
    return (paths.project() if profile() == "full" else paths.build()) / "notebooks"


def read(path: Path) -> NotebookNode:
    """Read a notebook; ValueError if the file is none."""
    try:
        return nbformat.read(path, as_version=4)
    except ValueError as error:
        raise ValueError(f"Expected a notebook at {path}. Received: {error} Restore the file.") from error


def write_notebook(path: Path, data: str) -> None:
    """Execute and stamp a notebook, take over the figures that it drew, and write it unless it says the same."""
    drawn = paths.build() / "drawn" / path.stem
    shutil.rmtree(drawn, ignore_errors=True)
    notebook, figures = execute(path, drawn, profile()), {}
    for figure in sorted(drawn.glob("*.png")):
        target = paths.figures() / figure.name
        if not target.is_file() or plots.differs(figure, target):
            write_whole(target, figure.read_bytes())
        figures[figure.stem] = digest_of(target.read_bytes())
    notebook.metadata[STAMP] = {"profile": profile(), "data": data, "figures": figures, **digests(notebook)}
    target = executed_folder() / path.name
    if not target.is_file() or not says_the_same(read(target), notebook):
        write_whole(target, nbformat.writes(notebook) + "\n")


def execute(path: Path, figures: Path, profile: str) -> NotebookNode:
    """Execute a notebook in a fresh kernel, started in its folder; the figures that it saves go to `figures`.

    A ValueError names notebook and cell if one fails, takes longer than 20 minutes or kills the kernel.
    """
    notebook = read(path)
    options = {"timeout": 1200, "kernel_name": "python3", "record_timing": False, "coalesce_streams": True}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}, **options)
    # The kernel starts in another folder and may find another package installed.
    ours = {name: value for name, value in os.environ.items() if name.startswith("FER_KERAS_") and value}
    folders = {name: str(Path(value).expanduser().resolve()) for name, value in ours.items()}
    folders |= {"FER_KERAS_FIGURES": str(figures.resolve()), "PYTHONPATH": str(CHECKOUT), "FER_PROFILE": profile}
    try:
        # What the notebook itself writes to stderr reaches its outputs; the kernel's own remarks are of no use here.
        client.execute(env=os.environ | folders, stderr=subprocess.DEVNULL)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        errors = [any(output.output_type == "error" for output in cell.get("outputs", ())) for cell in notebook.cells]
        ran = [place for place, cell in enumerate(notebook.cells, 1) if cell.get("execution_count")]
        where = f"{path}, cell {(errors.index(True) if True in errors else max(ran, default=0)) + 1}"
        raise ValueError(f"{where}: {ANSI.sub('', str(error))}") from None
    # What differs from one machine to the next goes: Python's version, stderr, addresses in memory.
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            texts = output if "text" in output else output.get("data", {})
            for kind in {"text", "text/plain"} & set(texts):
                texts[kind] = ADDRESS.sub("0x…", texts[kind])
    return nbformat.reads(nbformat.writes(notebook), as_version=4)  # as it will be read, to compare and digest


def says_the_same(standing: NotebookNode, executed: NotebookNode) -> bool:
    """Compare an executed notebook with the one that stands, up to noise: see `same_outputs`."""
    before, now = standing.metadata.get(STAMP, {}), executed.metadata[STAMP]
    same = all(before.get(key) == now[key] for key in ("profile", "data", "code", "figures"))
    same = same and before.get("outputs") == digests(standing)["outputs"]  # nobody edited them
    texts = [[(cell.source, cell.metadata) for cell in each.cells] for each in (standing, executed)]
    pairs = zip(code_cells(standing), code_cells(executed), strict=False)
    return same and texts[0] == texts[1] and all(same_outputs(*pair) for pair in pairs)


def same_outputs(before: NotebookNode, now: NotebookNode) -> bool:
    """Compare the outputs of a cell, before and now, up to noise.

    Text in checked cells (`nbval-check-output`) counts but for durations, other text but for all numbers; an image
    counts if it differs visibly. What another machine computes differently, such as a training's curves, stands in
    cells tagged `nbval-ignore-output`, which do not count.
    """
    tags = now.metadata.get("tags", ())
    noise = DURATION if CHECKED in tags else NUMBER

    def same(one, other):
        if "image/png" in (one[0], other[0]):
            return one[0] == other[0] and not plots.differs(base64.b64decode(one[1]), base64.b64decode(other[1]))
        return one[0] == other[0] and noise.sub("", str(one[1])) == noise.sub("", str(other[1]))

    def contents(cell):
        outputs = (output.get("data") or {"text": output.get("text")} for output in cell.outputs)
        return [content for output in outputs for content in output.items()]

    old, new = contents(before), contents(now)
    return VARIES in tags or (len(old) == len(new) and all(map(same, old, new)))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Select the code cells that are not empty."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def digests(notebook: NotebookNode) -> dict:
    """Digest a notebook's code and all of its outputs."""
    code = code_cells(notebook)
    outputs = json.dumps([[cell.execution_count, cell.outputs] for cell in code], sort_keys=True)
    texts = {"code": "\n# ---\n".join(cell.source for cell in code), "outputs": outputs}
    return {name: digest_of(text.encode()) for name, text in texts.items()}


def digest_of(content: bytes) -> str:
    """Digest bytes, 16 hex characters."""
    return hashlib.sha256(content).hexdigest()[:16]


def networks_table() -> dict:
    """Our networks beside those that people install today: README's first table, by column."""
    table = peer_table(OUR_NETWORKS)
    single = (100 * table["accuracy"]).map("{:.2f}".format)
    scores = with_interval(table).where(table["accuracy_low"].notna(), single)
    sizes = {"parameters": table["num_parameters"].map("{:,}".format)}
    sizes["multiply-adds"] = (table["multiply_adds"] / 1e6).map("{:,.1f} M".format)
    scores = {"accuracy on PrivateTest in % (95 % interval)": scores, "chosen on": table["chosen_on"]}
    return {"network": table["network"], **sizes, **scores}


def projects_table() -> dict:
    """Of each project the published recipe that is best on validation, measured beside published, by column."""
    board = leaderboard()
    board = board[board["published"].notna() & (board["num_classes"] > 2)]
    best = board.sort_values("validation_accuracy", ascending=False).drop_duplicates("system").sort_values("system")
    images = best["num_images"].map("{:,}".format) + " " + best["split"] + " images"
    return {
        "project": best["published_source"],
        "recipe": best.apply(row_name, axis=1),
        "classes": best["num_classes"],
        "measured on": images + ", " + best["protocol"] + " split",
        "accuracy in % (95 % interval)": with_interval(best),
        "published, in %": (100 * best["published"]).map("{:.4g}".format),
        "published on": best["published_split"],
    }


def with_tables(readme: str) -> str:
    """Fill README's two tables, each between `<!-- table: NAME -->` and `<!-- end -->`."""
    for name, columns in (("networks", networks_table()), ("projects", projects_table())):
        before, mark, rest = readme.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise ValueError(f"Expected `<!-- table: {name} -->` and `<!-- end -->` in README.md, not found. Add both.")
        table = markdown_table([list(columns), *zip(*columns.values(), strict=True)])
        readme = f"{before}{mark}\n{table}\n\n{end}{after}"
    return readme


def markdown_table(rows: list) -> str:
    """Write rows, the header first, as a Markdown table."""
    lines = [[str(cell).replace("|", r"\|") for cell in row] for row in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report_notebook(folder: Path) -> NotebookNode | None:
    """Read notebook 11 from a folder, its links as seen from reports/, its figures named; None if there is none."""
    path, project = next(folder.glob("11_*.ipynb"), None), paths.project()
    if path is None:
        return None

    def as_seen(link):
        return Path(os.path.relpath(project / "notebooks" / link[1], project / "reports")).as_posix()

    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(as_seen, cell.source)
            continue
        calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call) and len(node.args) > 1]
        saved = [call for call in calls if getattr(call.func, "attr", "") == "save"]
        saved = [call.args[1] for call in sorted(saved, key=lambda call: call.lineno)]
        names = [name.value for name in saved if isinstance(name, ast.Constant)]
        for output in (output for output in cell.outputs if "image/png" in output.get("data", {})):
            if not names:
                raise ValueError(f"Expected `plots.save(figure, NAME)` with each figure. Received:\n{cell.source}")
            output.metadata = {"image/png": {"alt": names.pop(0)}}
    return notebook


def as_markdown(report: NotebookNode) -> str:
    """Convert the report without its code: figures are links to reports/figures, tables are Markdown."""
    from nbconvert import MarkdownExporter

    report = nbformat.from_dict(json.loads(json.dumps(report)))
    for cell in code_cells(report):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = output.metadata["image/png"]["alt"]
                output.data = {"text/markdown": f"![{name}](figures/{name}.png)"}
            elif "<table" in data.get("text/html", ""):
                output.data = {"text/markdown": markdown_table(rows_of(data["text/html"]))}
    body, _ = MarkdownExporter(exclude_input=True).from_notebook_node(report)
    return re.sub(r"\n{3,}", "\n\n", body).strip() + "\n"


def rows_of(table: str) -> list[list[str]]:
    """Read the rows of an HTML table: lines of the header are joined, what spans several rows stands in the first."""
    from bs4 import BeautifulSoup

    heads, rows = [], []
    for line in BeautifulSoup(table, "html.parser").find_all("tr"):
        texts = []
        for cell in line.find_all(["th", "td"]):
            texts += [html.escape(cell.get_text(" ", strip=True), quote=False)] * int(cell.get("colspan", 1))
        (heads if line.find_parent("thead") else rows).append(texts)
    head = [" ".join(filter(None, texts)) for texts in zip(*heads, strict=True)]
    return [head, *([""] * (len(head) - len(row)) + row for row in rows)]


def as_html(report: NotebookNode) -> str:
    """Convert the report without its code into one page, figures inside, that loads nothing."""
    from nbconvert import HTMLExporter

    nothing = {"mathjax_url": "data:,", "require_js_url": "data:,"}
    exporter = HTMLExporter(exclude_input=True, exclude_output_prompt=True, embed_images=True, **nothing)
    title = report.cells[0].source.partition("\n")[0].strip("# ")
    resources = {"metadata": {"path": str(paths.project() / "reports"), "name": title}}
    body, _ = exporter.from_notebook_node(report, resources=resources)
    return body.replace("</head>", f"{STYLE}</head>", 1)


def problems(redrawn: Path | None = None) -> list[str]:
    """List what is not as `build` would make it, a line each.

    `redrawn` is the folder of the figures that the notebooks drew just now; None executes them, in the quick profile.
    """
    lines, checks = [], [notebook_problems, percentage_problems, record_problems, report_problems]
    if redrawn is None:
        redrawn = paths.build() / "redrawn"
        shutil.rmtree(redrawn, ignore_errors=True)
        checks.insert(0, lambda: [line for path in notebooks() for line in execution_problems(path, redrawn)])
    for check in (*checks, lambda: figure_problems(redrawn)):
        try:
            lines += check()
        except (ValueError, OSError) as error:
            lines.append(str(error))
    return lines


def execution_problems(path: Path, redrawn: Path) -> list[str]:
    """Execute a notebook in the quick profile, and compare its checked cells with the committed ones."""
    committed, executed = code_cells(read(path)), code_cells(execute(path, redrawn, "quick"))
    checked = [pair for pair in zip(committed, executed, strict=True) if CHECKED in pair[0].metadata.get("tags", ())]
    changed = [before.execution_count for before, now in checked if not same_outputs(before, now)]
    return [f"{path.name}: the output of checked cells has changed: {changed}"] if changed else []


def notebook_problems() -> list[str]:
    """List what in the committed notebooks is not as a full run left it."""
    lines = [] if notebooks() else [f"there are no notebooks in {paths.project() / 'notebooks'}"]
    for path in notebooks():
        notebook = read(path)
        stamp, code, now = notebook.metadata.get(STAMP, {}), code_cells(notebook), digests(notebook)
        figures = {name: paths.figures() / f"{name}.png" for name in stamp.get("figures", ())}
        standing = {name: digest_of(path.read_bytes()) for name, path in figures.items() if path.is_file()}
        faults = {
            "its outputs are not those of a full run": stamp.get("profile") != "full",
            "its code has changed since it was executed": stamp.get("code") != now["code"],
            "its outputs have changed since it was executed": stamp.get("outputs") != now["outputs"],
            "figures that it saved have changed since": not standing.items() <= stamp.get("figures", {}).items(),
            "its execution counts are not 1, 2, 3, …": [cell.execution_count for cell in code]
            != [*range(1, len(code) + 1)],
            "it holds a traceback": any(output.output_type == "error" for cell in code for output in cell.outputs),
            f"it is larger than {LARGEST_BYTES:,} bytes": path.stat().st_size > LARGEST_BYTES,
        }
        lines += [f"{path.name}: {fault}" for fault, is_so in faults.items() if is_so]
    return lines


def record_problems() -> list[str]:
    """Compare leaderboard.csv, README's tables and the networks' descriptions with records and code."""
    from fer_keras.models.summary import networks_are_recorded

    board, readme = paths.results() / "leaderboard.csv", (paths.project() / "README.md").read_text(encoding="utf-8")
    same = board.is_file() and board.read_text(encoding="utf-8") == as_csv(read_runs())
    lines = [] if same else ["leaderboard.csv is not that of the records"]
    lines += [] if with_tables(readme) == readme else ["README.md: its tables are not those of the records"]
    return lines + ([] if networks_are_recorded() else ["the recorded networks are not those of today's code"])


def report_problems() -> list[str]:
    """Compare report.md with notebook 11."""
    report, written = report_notebook(paths.project() / "notebooks"), paths.project() / "reports" / "report.md"
    if report is None or (written.is_file() and written.read_text(encoding="utf-8") == as_markdown(report)):
        return []
    return ["report.md is not what notebook 11 says"]


def figure_problems(redrawn: Path) -> list[str]:
    """Compare the committed figures with those redrawn and with those that documents show."""
    committed, drawn = ({path.stem: path for path in folder.glob("*.png")} for folder in (paths.figures(), redrawn))
    shown = {name for text in documents().values() for name in FIGURE.findall(text)}
    saved = set(drawn).union(*(read(path).metadata.get(STAMP, {}).get("figures", ()) for path in notebooks()))
    faults = {
        "is missing": (shown | saved) - set(committed),
        "is shown by no document": set(committed) - shown,
        "is saved by no notebook": set(committed) - saved,
        "looks different when it is drawn again": {
            name for name in set(committed) & set(drawn) if plots.differs(committed[name], drawn[name])
        },
    }
    return [f"{name}.png {fault}" for fault, names in faults.items() for name in sorted(names)]


def percentage_problems() -> list[str]:
    """List the percentages that are typed in prose; report.md's prose is that of notebook 11."""
    lines, exempt = [], re.compile(EXEMPT, re.DOTALL | re.MULTILINE)
    for name, text in documents().items():
        prose = exempt.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), "" if name == "report.md" else text)
        for match in PERCENTAGE.finditer(prose):
            line = prose.count("\n", 0, match.start()) + 1
            lines.append(f"{name}:{line}: {match[0]!r} is typed: let a table or a checked cell compute it")
    return lines


def documents() -> dict[str, str]:
    """Read the prose of README, report, docs and the notebooks' Markdown cells, by name of the file."""
    project = paths.project()
    found = [project / "README.md", project / "reports" / "report.md", *sorted((project / "docs").glob("*.md"))]
    texts = {path.name: path.read_text(encoding="utf-8") for path in found if path.is_file()}
    for path in notebooks():
        texts[path.name] = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return texts


if __name__ == "__main__":
    sys.exit(main())
