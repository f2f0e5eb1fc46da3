"""Each promise in docs/guarantees.md names tests, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "guarantees.md"
LINK = re.compile(r"\]\((?P<file>\.\./tests/[^)#]+)(?:#(?P<test>[^)]+))?\)")


def _promises() -> list[str]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [row for row in rows if not row.startswith(("| promise |", "| fault |"))]


def _tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_there_are_promises() -> None:
    """Each row of the tables is looked at."""
    assert len(_promises()) > 30


@pytest.mark.parametrize("promise", _promises(), ids=lambda row: str(row)[2:60])
def test_a_promise_names_tests_that_exist(promise: str) -> None:
    """A file of tests, and the test in it where one is named."""
    links = list(LINK.finditer(promise.rsplit(" | ", 1)[-1]))
    assert links, "no test is named"
    for link in links:
        path = (DOCS / link["file"]).resolve()
        assert path.is_file(), link["file"]
        tests = _tests(path)
        assert (link["test"] in tests) if link["test"] else tests, link[0]
