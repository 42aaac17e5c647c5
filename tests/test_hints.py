"""What an editor shows: the stub names what the package offers, and everything public has type hints."""

import ast
import functools
import importlib
import inspect
from pathlib import Path

import pytest

import fer_keras

PACKAGE = Path(fer_keras.__file__).parent


def stub():
    """The names of the stub, each with the object that its import gives."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    lines = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.name == alias.asname for node in lines for alias in node.names), "else they are private there"
    return {
        alias.name: getattr(importlib.import_module(node.module), alias.name) for node in lines for alias in node.names
    }


def test_the_stub_names_what_the_package_offers_from_where_it_is_defined():
    found = stub()
    assert sorted(found) == fer_keras.__all__
    for name, value in found.items():
        assert getattr(fer_keras, name) is value, name


def functions(name):
    """The public functions of a public name: itself, or the methods and properties of a class."""
    value = getattr(fer_keras, name)
    if not inspect.isclass(value):
        return {name: value} if inspect.isfunction(value) else {}
    found = {}
    for each, member in vars(value).items():
        if isinstance(member, property | functools.cached_property):
            member = member.fget if isinstance(member, property) else member.func
        member = getattr(member, "__func__", member)
        if inspect.isfunction(member) and (each == "__init__" or each[0] != "_"):
            found[f"{name}.{each}"] = member
    return found


@pytest.mark.parametrize("name", fer_keras.__all__)
def test_every_public_function_and_method_has_type_hints(name):
    for each, function in functions(name).items():
        signature = inspect.signature(function)
        hints = {key: given.annotation for key, given in signature.parameters.items() if key not in ("self", "cls")}
        hints |= {} if each.endswith("__init__") else {"return": signature.return_annotation}
        missing = [key for key, hint in hints.items() if hint is inspect.Parameter.empty]
        assert not missing, f"{each}: {missing}"


def test_an_editor_completes_from_the_stub():
    jedi = pytest.importorskip("jedi")
    script = jedi.Script("import fer_keras\nfer_keras.fit(", project=jedi.Project(PACKAGE.parent))
    (found,) = script.get_signatures(2, len("fer_keras.fit("))
    assert [given.name for given in found.params][:3] == ["recipe", "seed", "faces"]
    assert found.params[1].description == "param seed: int=0"
