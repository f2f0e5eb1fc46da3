"""The stream's figures as the driver knows them, kept in memory for whoever asks: counters count since its start."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass, field

from pyspark.sql.streaming.listener import StreamingQueryProgress

from wattline_common.store import AuditHealth, LedgerRows
from wattline_streaming.retention import Deleted
from wattline_streaming.settle import Settled

__all__ = ["Figures"]


@dataclass
class Figures:
    """Each figure has one writer; none is there before it is known."""

    ledger: LedgerRows | None = None  # since the first start: the store keeps it
    messages_read: int = 0
    batches: int = 0
    batch_ms: Counter[str] = field(default_factory=Counter)  # by part, as Spark names the parts
    late_rows: int = 0
    windows_written: int = 0
    settled: Settled = field(default_factory=Settled)
    raw_deleted: Deleted = field(default_factory=Deleted)
    query_failures: int = 0
    settling_failures: int = 0
    watermark: datetime.datetime | None = None
    newest_event_at: datetime.datetime | None = None
    last_batch_at: datetime.datetime | None = None
    last_settling_at: datetime.datetime | None = None
    lag_messages: int | None = None
    lag_s: float | None = None  # of the oldest message that is left
    dirty_windows: int | None = None
    runs_closed: int | None = None  # whose raw events are deleted, or are being deleted
    audit: AuditHealth | None = None  # how the last one ended
    _last_batch_id: int = -1

    def note(self, progress: StreamingQueryProgress | None) -> None:
        """Add what Spark tells of a batch, once, however often it is shown."""
        if progress is None or progress.batchId <= self._last_batch_id:
            return
        self._last_batch_id = progress.batchId
        self.batches += 1
        self.messages_read += progress.numInputRows
        self.batch_ms.update(progress.durationMs)
        self.late_rows += sum(state.numRowsDroppedByWatermark for state in progress.stateOperators)
        self.watermark = _later(self.watermark, progress.eventTime.get("watermark"))
        self.newest_event_at = _later(self.newest_event_at, progress.eventTime.get("max"))


def _later(known: datetime.datetime | None, told: str | None) -> datetime.datetime | None:
    """Return the later time; Spark tells the start of 1970 where it knows none."""
    at = datetime.datetime.fromisoformat(told) if told else None
    if at is None or at.timestamp() <= 0:
        return known
    return at if known is None else max(known, at)
