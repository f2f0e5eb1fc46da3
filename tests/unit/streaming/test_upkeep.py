"""Events that wait come before windows that do, and windows still get their turn."""

from __future__ import annotations

import datetime

import pytest

from wattline_streaming.figures import Figures
from wattline_streaming.upkeep import Upkeep
from wattline_streaming.vitals import Vitals


@pytest.mark.parametrize(
    ("busy", "settled_ago_s", "can_wait"),
    [(True, 50, True), (True, 61, False), (True, None, True), (False, 50, False)],
)
def test_settling_waits_a_minute_at_most(busy: bool, settled_ago_s: float | None, can_wait: bool) -> None:
    """Only behind a backlog and never for long, from the start on: a stream that always has one settles, too."""
    figures = Figures()
    if settled_ago_s is not None:
        figures.last_settling_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=settled_ago_s)
    upkeep = Upkeep(None, None, None, figures, Vitals(1.0))  # type: ignore[arg-type]  # it is not asked
    assert upkeep.can_wait(busy=busy) is can_wait
