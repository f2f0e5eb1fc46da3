"""Tells at the end of a session how long each healing took, which a deadline alone does not show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.faulted_line import HEALED_WITHIN_S, HEALINGS

_PROPERTY = "healed"


@pytest.fixture(autouse=True)
def healings(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Hand on what was healed in a test, also from another process."""
    before = len(HEALINGS)
    yield
    for lag_s, load in HEALINGS[before:]:
        record_property(_PROPERTY, f"{lag_s:.0f} s at a load average of {load:.1f}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the healings, by test."""
    healed = [
        (report.nodeid, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if healed:
        terminalreporter.section(f"lag after the end of a fault (to be gone in {HEALED_WITHIN_S:.0f} s)")
        for nodeid, value in healed:
            terminalreporter.write_line(f"{value}: {nodeid}")
