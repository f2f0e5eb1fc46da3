"""Places of the stream's work: its writes, and five at which it is struck itself, with what must be so then."""

from __future__ import annotations

from tests.faults.faulted_line import FaultedLine, Struck
from tests.faults.places import Place
from wattline_common import store
from wattline_common.store import SETTLEMENT

__all__ = ["PLACES", "WRITES", "assert_at"]

# What the stream is at when a server is struck under it.
WRITES = [
    Place("started", "insert", store.TRAINING_METRICS),
    Place("started", "update", store.DIRTY_WINDOWS),
    Place("started", "update", store.TRAINING_RUN_SUMMARY),
    Place("started", "update", store.AGGREGATED_METRICS, settled=False),
]

# With the most passes that a history of so many runs surely makes; the settler may do all of it in one step.
PLACES = {
    "marked, not inserted": (Place("started", "insert", store.TRAINING_METRICS), 3),
    "inserted, not summarised": (Place("succeeded", "insert", store.TRAINING_METRICS), 3),
    "booked, no window written": (Place("started", "update", store.AGGREGATED_METRICS, settled=False), 2),
    "windows written, not committed": (Place("succeeded", "update", store.AGGREGATED_METRICS, settled=False), 2),
    "folded anew, marks not removed": (Place("succeeded", "update", store.AGGREGATED_METRICS, settled=True), 1),
}


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
