"""One installation of the local overlay for all tests here; what was measured is told in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser import ARTIFACTS
from tests.k8s.kubectl import Kubectl
from tests.k8s.live.installation import Installation

__all__ = ["Ready", "pytest_collection_modifyitems", "pytest_terminal_summary", "ready", "report"]

_READY_S = 600.0
# The one has an installation of its own, which a small node holds alone; the other counts all that is in the one that
# the rest share.
_FIRST = ("test_cluster.py", "test_local.py")
_told: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that need a node, or an installation, with nothing in it be the first of those here."""
    here = Path(__file__).parent
    items.sort(key=lambda item: here in item.path.parents and item.path.name not in _FIRST)


@dataclass(frozen=True)
class Ready:
    """An installation, and how long it took from nothing until all was ready."""

    installation: Installation
    after_s: float


@pytest.fixture(scope="session")
def ready(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """Apply the local overlay, with the embedded store in MongoDB's place, to nothing; in the end all of it goes."""
    found = Installation(kubectl, "embedded-store", tmp_path_factory.mktemp("live"))
    found.create()
    try:
        found.apply()
        yield Ready(found, found.wait_settled(_READY_S))
    finally:
        found.remove()


@pytest.fixture(scope="session")
def report() -> Callable[[str], None]:
    """Return what takes a line of the report."""
    return _told.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was measured, and keep it."""
    if _told:
        terminalreporter.section("measured on the cluster")
        for line in _told:
            terminalreporter.write_line(line)
        ARTIFACTS.mkdir(exist_ok=True)
        (ARTIFACTS / "k8s-test.md").write_text("\n".join([*_told, ""]), encoding="utf-8")
