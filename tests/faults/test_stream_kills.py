"""The stream is killed with all its processes at five places of its work; each time it goes on and ends right.

WATTLINE_TEST_SEED varies at which pass of a place; WATTLINE_TEST_KILLS is how often each place is struck.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.faulted_line import KILLS, FaultedLine, Struck, faulted_line
from tests.faults.places import Place
from wattline_common import store
from wattline_common.store import SETTLEMENT
from wattline_stack import StackSettings

pytestmark = pytest.mark.timeout(600 + 120 * KILLS)

RUNS_PER_KILL = 6
# With the most passes that a history of so many runs surely makes; the settler may do all of it in one step.
PLACES = {
    "marked, not inserted": (Place("started", "insert", store.TRAINING_METRICS), 3),
    "inserted, not summarised": (Place("succeeded", "insert", store.TRAINING_METRICS), 3),
    "booked, no window written": (Place("started", "update", store.AGGREGATED_METRICS, settled=False), 2),
    "windows written, not committed": (Place("succeeded", "update", store.AGGREGATED_METRICS, settled=False), 2),
    "folded anew, marks not removed": (Place("succeeded", "update", store.AGGREGATED_METRICS, settled=True), 1),
}


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
        history = line.history(RUNS_PER_KILL)
        struck = line.struck()
        line.bury_stream()
        assert_at(line, place, struck)
        line.start_stream()
        line.expect_fleet(*history)
    line.assert_healed(line.wait_until_up())


def assert_at(line: FaultedLine, place: Place, struck: Struck) -> None:
    """Hold the store and Spark's checkpoint to what is so at the place: a command answered, the marks still there."""
    database, ids = line.line.database, struck["ids"]
    assert ids
    found = list(database[place.collection].find({"_id": {"$in": ids}}))
    assert len(found) == len(ids) or place.moment == "started"
    if place.settled:
        assert all(window["aggregate"]["revision"] >= SETTLEMENT for window in found)
    else:
        assert line.is_in_a_batch()
    marks = database[store.DIRTY_WINDOWS]
    if place.collection == store.AGGREGATED_METRICS:
        assert marks.count_documents({"_id": {"$in": ids}}) == len(ids)
    else:
        assert set(marks.distinct("run_id")) >= {key.partition("|")[0] for key in ids}
