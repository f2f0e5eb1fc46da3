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

PLACES = {
    "marked, not inserted": Place("started", "insert", store.TRAINING_METRICS),
    "inserted, not summarised": Place("succeeded", "insert", store.TRAINING_METRICS),
    "booked, no window written": Place("started", "update", store.AGGREGATED_METRICS, settled=False),
    "windows written, batch not committed": Place("succeeded", "update", store.AGGREGATED_METRICS, settled=False),
    "folded anew, marks not removed": Place("succeeded", "update", store.AGGREGATED_METRICS, settled=True),
}
RUNS_PER_KILL = 6


@pytest.fixture(scope="module")
def line(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultedLine]:
    """Run a line for all kills."""
    with faulted_line(tmp_path_factory.mktemp("kills")) as faulted:
        yield faulted


@pytest.mark.parametrize("name", PLACES)
def test_a_stream_killed_at_a_place_of_its_work_ends_right(line: FaultedLine, name: str) -> None:
    """It was at that place and had work under way; after a restart nothing is missing, doubled or different."""
    place = PLACES[name]
    for kill in range(KILLS):
        most = 2 if place.settled else 4
        line.arm(place, passes=line.chance(name, kill).randint(1, most))
        history = line.history(RUNS_PER_KILL)
        struck = line.struck()
        line.bury_stream()
        assert_at(line, place, struck)
        line.start_stream()
        line.expect_fleet(*history)
    line.assert_healed(line.wait_until_up())


def assert_at(line: FaultedLine, place: Place, struck: Struck) -> None:
    """Hold the store and Spark's checkpoint to what is so at the place, and nowhere after it."""
    database, ids = line.line.database, struck["ids"]
    assert ids
    if place.collection == store.TRAINING_METRICS:
        assert line.is_in_a_batch()
        stored = database[store.TRAINING_METRICS].count_documents({"_id": {"$in": ids}})
        assert stored == len(ids) or place.moment == "started"
        runs = {key.partition("|")[0] for key in ids}
        assert set(database[store.DIRTY_WINDOWS].distinct("run_id")) >= runs, "the marks come first"
        return
    windows = list(database[store.AGGREGATED_METRICS].find({"_id": {"$in": ids}}))
    if place.settled:
        assert len(windows) == len(ids)
        assert all(window["aggregate"]["revision"] >= SETTLEMENT for window in windows)
        assert database[store.DIRTY_WINDOWS].count_documents({"_id": {"$in": ids}}) == len(ids), "the marks go last"
    else:
        assert line.is_in_a_batch()
        assert len(windows) == len(ids) or place.moment == "started"
