"""`__all__` of every module of wattline_common is exactly its public surface."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil

import pytest

import wattline_common

NAMES = sorted(each.name for each in pkgutil.walk_packages(wattline_common.__path__, prefix="wattline_common."))
NO_SURFACE = {"main"}  # what `python -m` runs is not for importers
TYPE_PARAMETERS = {"TypeVar", "ParamSpec"}


def _public(source: str) -> set[str]:
    """Return the public names that a module's top level defines."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(value=ast.Call(func=ast.Name(id=called))) if called in TYPE_PARAMETERS:
                continue
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return {name for name in found if not name.startswith("_")} - NO_SURFACE


@pytest.mark.parametrize("name", NAMES)
def test_all_is_exact(name: str) -> None:
    """Every public name that a module defines is exported once, and everything exported is defined there."""
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(_public(inspect.getsource(module)))
    assert all(hasattr(module, each) for each in module.__all__)


def test_a_missing_name_is_found() -> None:
    """The comparison above sees functions, classes, constants and annotated ones, and no imports or type parameters."""
    source = 'import a\nfrom b import c\nT = TypeVar("T")\nX = 1\nY: int = 2\n_z = 3\ndef f(): ...\nclass K: ...\n'
    assert _public(source) == {"X", "Y", "f", "K"}


def test_there_are_modules_to_check() -> None:
    """Guards the test above against an empty walk."""
    assert {"wattline_common.codec", "wattline_common.carbon", "wattline_common.store"} <= set(NAMES)
