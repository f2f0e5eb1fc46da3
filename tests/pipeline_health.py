"""What the stream writes of itself, by its own report: what tests of the page Pipeline read.

A shape that the stream writes and the page cannot read shows here.
"""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

from pymongo.results import UpdateResult

from wattline_common.store import AUDIT, STREAMING, AuditHealth, Document, LedgerRows, RejectedEvent
from wattline_streaming.figures import Figures
from wattline_streaming.report import Report
from wattline_streaming.settle import Settled
from wattline_streaming.vitals import QUERY, Vitals

__all__ = ["LEDGER", "audit_document", "rejected_document", "streaming_document"]

LEDGER: LedgerRows = {
    "rows_booked": 12_345,
    "rows_filled": 123,
    "filled_share": 123 / 12_345,
    "rows_rejected": {"truncated": 3, "out_of_range": 40},
}


class _Kept:
    """A collection of one document, as far as the report needs it."""

    def __init__(self) -> None:
        self.fields: Document = {}

    def update_one(self, _: Document, change: Document, **__: object) -> UpdateResult:
        """Keep what is set."""
        self.fields |= change["$set"]
        return UpdateResult({"n": 1}, acknowledged=True)


def streaming_document(now: datetime.datetime, *, problem: str | None = None, error: str | None = None) -> Document:
    """Return the document `streaming` of a stream that works, or is kept from it by a problem; an error is over."""
    figures = Figures(
        ledger=LEDGER,
        batch_ms=Counter({"addBatch": 9_000, "queryPlanning": 700, "triggerExecution": 10_000}),
        late_rows=17,
        settled=Settled(windows=4_008, late=21, folded_anew=5),
        watermark=now - datetime.timedelta(minutes=2),
        newest_event_at=now - datetime.timedelta(seconds=3),
        lag_messages=1_234,
        lag_s=65.0,
        dirty_windows=6,
        runs_closed=2,
    )
    vitals = Vitals(stall_s=60.0)
    vitals.note(QUERY, error)
    vitals.note(QUERY, problem)
    kept: Any = _Kept()
    Report(kept, figures, vitals).step()
    kept.fields["figures"]["at"] = now
    return {
        "_id": STREAMING,
        "batch_id": 7,
        "batch_at": now - datetime.timedelta(seconds=4),
        "batch_s": 0.75,
        "ledger": LEDGER,
        "registry": {"problem": None, "checked_at": now},
        **kept.fields,
    }


def audit_document(now: datetime.datetime, *, differences: int = 0) -> Document:
    """Return the document `audit`."""
    told: AuditHealth = {
        "at": now,
        "clean": not differences,
        "runs": 18,
        "differences": differences,
        "pending": 4,
        "repaired": 1,
    }
    return {"_id": AUDIT, **told}


def rejected_document(
    offset: int, rejected_at: datetime.datetime, reason: str = "truncated", value: bytes | None = b"\x00<b>"
) -> RejectedEvent:
    """Return a document of rejected_events."""
    return {
        "_id": f"cluster:training.events:3:{offset}",
        "reason": reason,
        "detail": f"<i>detail</i> of offset {offset}",
        "key": b"run-1",
        "value": value,
        "headers": [{"k": "traceparent", "v": b"00-abc"}, {"k": "h", "v": None}],
        "partition": 3,
        "offset": offset,
        "append_time": rejected_at,
        "rejected_at": rejected_at,
    }
