"""What the notebooks teach: networks are written, compiled, fitted and plotted in their cells, not by an engine."""

import ast
import json

import pytest

from fer_keras import paths

NOTEBOOKS = sorted((paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PLOTS = {"plot", "lineplot", "relplot"}


def cells_of(path):
    """The code cells of a notebook as syntax trees."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]


def root(node):
    """The name that a chain of calls, attributes and subscripts begins with, or None."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def method(node):
    """The name of the method or function that is called, or None."""
    return getattr(node.func, "attr", getattr(node.func, "id", None)) if isinstance(node, ast.Call) else None


def names_in(node):
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def assignments(cells):
    """Pairs of a name and the value that it is assigned, in their order, outside functions and loops."""
    for cell in cells:
        for statement in cell.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                yield statement.targets[0].id, statement.value


def callbacks_behind(node, values):
    """The callbacks that an expression names, through the variables that it is made of."""
    seen, found, open_names = set(), set(), [node]
    while open_names:
        each = open_names.pop()
        found |= {method(call) for call in ast.walk(each)}
        for name in names_in(each) - seen:
            seen.add(name)
            open_names += values.get(name, [])
    return found & {"ReduceLROnPlateau", "EarlyStopping"}


def lessons(path):
    """Names of models written in the cells, and of those that are compiled, fitted with both callbacks, and plotted."""
    cells, values = cells_of(path), {}
    for name, value in assignments(cells):
        values.setdefault(name, []).append(value)
    built = {
        name
        for name, all_values in values.items()
        if any(method(value) in ("Sequential", "Model") and root(value) == "keras" for value in all_values)
    }
    calls = [node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Call)]
    compiled = {root(call) for call in calls if method(call) == "compile"}
    fits = [
        (history, value) for history, value in assignments(cells) if method(value) == "fit" and root(value) in built
    ]
    plotted = set()
    for cell in cells:
        if PLOTS & {method(node) for node in ast.walk(cell)} and "history" in {
            node.attr for node in ast.walk(cell) if isinstance(node, ast.Attribute)
        }:
            plotted |= names_in(cell)
    whole = {root(value) for history, value in fits if len(callbacks_behind(value, values)) == 2 and history in plotted}
    # Values of a name that comes again, such as `curves`, stand for all of its uses: whoever plots it plots its source.
    through = {source for name in plotted for value in values.get(name, []) for source in names_in(value)}
    whole |= {
        root(value) for history, value in fits if history in through and len(callbacks_behind(value, values)) == 2
    }
    return built, whole & compiled


@pytest.mark.parametrize("path", NOTEBOOKS[1:6], ids=lambda path: path.stem)
def test_a_model_is_written_compiled_fitted_with_both_callbacks_and_plotted(path):
    built, whole = lessons(path)
    assert whole
    if path.stem[:2] in ("02", "03", "05"):
        assert whole == built, "every network that is written is trained too"


def test_what_stands_for_a_lesson_is_seen(tmp_path):
    good = [
        "model = keras.Sequential([])",
        "both = [keras.callbacks.ReduceLROnPlateau(), keras.callbacks.EarlyStopping()]",
        "model.compile('adam')\nhistory = model.fit(x, callbacks=both)",
        "pd.DataFrame(history.history).plot()",
    ]
    for missing in (None, 0, 2, 3):
        sources = [text for place, text in enumerate(good) if place != missing]
        cells = [{"cell_type": "code", "source": text} for text in sources]
        (tmp_path / "01_x.ipynb").write_text(json.dumps({"cells": cells}))
        assert bool(lessons(tmp_path / "01_x.ipynb")[1]) is (missing is None)
    for old, new in (("keras.callbacks.EarlyStopping()", ""), ("history.history", "table"), ("compile", "summary")):
        cells = [{"cell_type": "code", "source": text.replace(old, new)} for text in good]
        (tmp_path / "01_x.ipynb").write_text(json.dumps({"cells": cells}))
        assert not lessons(tmp_path / "01_x.ipynb")[1], old


def ours_in(cells):
    """The names that a notebook imports from the package."""
    imports = [node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {
        (alias.asname or alias.name).partition(".")[0]
        for node in imports
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] == "fer_keras"
    }


def test_at_most_a_third_of_the_cells_are_a_single_call_of_ours():
    single = total = 0
    for path in NOTEBOOKS:
        cells = cells_of(path)
        ours = ours_in(cells)
        total += len(cells)
        for cell in cells:
            alone = len(cell.body) == 1 and isinstance(cell.body[0], ast.Expr)
            single += alone and isinstance(cell.body[0].value, ast.Call) and root(cell.body[0].value) in ours
    assert total > 150
    assert single <= total / 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_markdown_comes_from_the_package(path):
    cells = cells_of(path)
    for call in (node for cell in cells for node in ast.walk(cell) if method(node) == "Markdown"):
        assert root(call.args[0]) not in ours_in(cells), ast.unparse(call)
