"""Links from a page to tests, and whether these exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["TestLink", "links"]

_LINK = re.compile(r"\]\((?P<file>(?:\.\./)*tests/[^)#]+)(?:#(?P<test>[^)]+))?\)")


@dataclass(frozen=True)
class TestLink:
    """A link to a file of tests, a folder of them, or to one test (`file.py#test_name`)."""

    __test__ = False  # its name begins as those of tests do

    text: str
    path: Path
    test: str | None

    @property
    def exists(self) -> bool:
        """Whether there is such a test; a file or a folder must hold at least one."""
        if self.path.is_dir():
            return any(_tests(path) for path in self.path.rglob("test_*.py"))
        tests = _tests(self.path)
        return self.test in tests if self.test else bool(tests)


def links(text: str, page: Path) -> Iterator[TestLink]:
    """Yield each link to tests in a text of a page."""
    for link in _LINK.finditer(text):
        yield TestLink(link[0], (page.parent / link["file"]).resolve(), link["test"])


@cache
def _tests(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))
