"""What an editor shows: the stub names what the package offers, and everything public has type hints."""

import ast
import functools
import importlib
import inspect
from pathlib import Path

import pytest

import fer_keras


def test_the_stub_names_what_the_package_offers_from_where_it_is_defined():
    tree = ast.parse(Path(fer_keras.__file__).with_suffix(".pyi").read_text())
    found = [(node.module, alias) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(alias.name for _, alias in found) == fer_keras.__all__
    for module, alias in found:
        assert alias.name == alias.asname, "else it is private there"
        assert getattr(fer_keras, alias.name) is getattr(importlib.import_module(module), alias.name)
    assert set(fer_keras.__all__) <= set(dir(fer_keras))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fer_keras.nonsense  # noqa: B018


def functions(value):
    """The public functions of a public object by name: itself, or the methods and properties of a class."""
    members = vars(value) if inspect.isclass(value) else {"itself": value}
    for name, member in members.items():
        if isinstance(member, property | functools.cached_property):
            member = member.fget if isinstance(member, property) else member.func
        member = getattr(member, "__func__", member)
        if inspect.isfunction(member) and (name == "__init__" or name[0] != "_"):
            yield name, member


@pytest.mark.parametrize("name", fer_keras.__all__)
def test_every_public_function_and_method_has_type_hints(name):
    for each, function in functions(getattr(fer_keras, name)):
        signature = inspect.signature(function)
        hints = {key: given.annotation for key, given in signature.parameters.items() if key not in ("self", "cls")}
        hints |= {} if each == "__init__" else {"return": signature.return_annotation}
        assert inspect.Parameter.empty not in hints.values(), f"{each}: {hints}"
