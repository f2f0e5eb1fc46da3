"""The stream is killed with all its processes at five places of its work; each time it goes on and ends right.

WATTLINE_TEST_SEED varies at which pass of a place; WATTLINE_TEST_KILLS is how often each place is struck.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.faulted_line import KILLS, FaultedLine, faulted_line
from tests.faults.stream_places import PLACES, assert_at
from wattline_stack import StackSettings

pytestmark = pytest.mark.timeout(600 + 120 * KILLS)

RUNS_PER_KILL = 6


@pytest.fixture(scope="module")
def line(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultedLine]:
    """Run a line for all kills."""
    with faulted_line(tmp_path_factory.mktemp("kills"), batch=400) as faulted:
        yield faulted


@pytest.mark.parametrize("name", PLACES)
def test_a_stream_killed_at_a_place_of_its_work_ends_right(line: FaultedLine, name: str) -> None:
    """It was at that place and had work under way; after a restart nothing is missing, doubled or different."""
    place, most = PLACES[name]
    for kill in range(KILLS):
        line.arm(place, passes=line.chance(name, kill).randint(1, most))
        # The settler folds only what the stream left out, and that is what comes behind its watermark.
        history = line.history(RUNS_PER_KILL, behind=place.settled is True)
        struck = line.struck()
        line.bury_stream()
        assert_at(line, place, struck)
        line.start_stream()
        line.expect_fleet(*history)
    line.assert_healed(line.wait_until_up())
