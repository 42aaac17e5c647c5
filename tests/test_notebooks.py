"""What the notebooks teach: networks are written, compiled, fitted and plotted in their cells, not by an engine."""

import ast
import json

import pytest

from fer_keras import paths

NOTEBOOKS = sorted((paths.project() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def cells_of(path):
    """The code cells of a notebook as syntax trees."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]


def root(node):
    """The name that a chain of calls, attributes and subscripts begins with, or None."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def calls(cells, name):
    """The calls of a method or function of this name."""
    nodes = (node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Call))
    return [node for node in nodes if getattr(node.func, "attr", getattr(node.func, "id", None)) == name]


def targets(cells, value):
    """The names that calls are assigned to, outside functions and loops."""
    statements = (each for cell in cells for each in cell.body if isinstance(each, ast.Assign))
    return {each.targets[0].id for each in statements if each.value in value and isinstance(each.targets[0], ast.Name)}


@pytest.mark.parametrize("path", NOTEBOOKS[1:6], ids=lambda path: path.stem)
def test_a_model_is_written_compiled_fitted_with_both_callbacks_and_plotted(path):
    cells = cells_of(path)
    built = targets(cells, [each for kind in ("Sequential", "Model") for each in calls(cells, kind)])
    fits = [call for call in calls(cells, "fit") if root(call.func) in built]
    fitted = {root(call.func) for call in fits} & {root(call.func) for call in calls(cells, "compile")}
    assert fitted
    if path.stem[:2] in ("02", "03", "05"):
        assert fitted == built, "every network that is written is trained too"
    assert all({"callbacks", None} & {option.arg for option in call.keywords} for call in fits), "or in **settings"
    assert calls(cells, "ReduceLROnPlateau")
    assert calls(cells, "EarlyStopping")
    plotted = {node.id for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Name)}
    assert targets(cells, fits) <= plotted
    assert any(calls(cells, name) for name in ("plot", "lineplot", "relplot"))


def ours_in(cells):
    """The names that a notebook imports from the package."""
    nodes = [node for cell in cells for node in ast.walk(cell)]
    ours = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module.startswith("fer_keras")]
    return {"fer_keras"} | {alias.asname or alias.name for node in ours for alias in node.names}


def test_at_most_a_third_of_the_cells_are_a_single_call_of_ours():
    single = total = 0
    for path in NOTEBOOKS:
        cells = cells_of(path)
        total += len(cells)
        alone = [cell.body[0].value for cell in cells if len(cell.body) == 1 and isinstance(cell.body[0], ast.Expr)]
        single += sum(isinstance(value, ast.Call) and root(value) in ours_in(cells) for value in alone)
        from_us = [call for call in calls(cells, "Markdown") if root(call.args[0]) in ours_in(cells)]
        assert not from_us, "no Markdown comes from the package"
    assert total > 150
    assert single <= total / 3
