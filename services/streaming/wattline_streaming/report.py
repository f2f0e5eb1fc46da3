"""How the stream does, written into pipeline_health from time to time for whoever has no Prometheus."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from wattline_common.store import STREAMING, Document, StreamFigures
from wattline_streaming.figures import Figures
from wattline_streaming.vitals import Vitals

__all__ = ["Report"]

_LOG = logging.getLogger(__name__)


class Report:
    """Writes what figures and vitals know; rates are those since the last report."""

    def __init__(
        self,
        health: Collection[Document],
        figures: Figures,
        vitals: Vitals,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._health = health
        self._figures = figures
        self._vitals = vitals
        self._clock_s = clock_s
        self._before: tuple[float, int, int] | None = None  # when, messages read and events booked by then

    def step(self) -> None:
        """Write once; a store that is away does not matter, the next report tells it."""
        found, told = {"_id": STREAMING}, {"$set": {"figures": self._told()}}
        try:  # an embedded store that is full refuses upserts, and still takes a change: so the cause is told there
            if not self._health.update_one(found, told).matched_count:
                self._health.update_one(found, told, upsert=True)
        except PyMongoError as error:
            _LOG.warning("how the stream does is not in the store: %s", error)

    def _told(self) -> StreamFigures:
        figures, ledger = self._figures, self._figures.ledger
        now = (self._clock_s(), figures.messages_read, ledger["rows_booked"] if ledger else 0)
        before, self._before = self._before or now, now
        elapsed_s = max(now[0] - before[0], 1e-9)
        errors = [
            (at, {"part": part, "problem": words, "at": at}) for part, (at, words) in list(self._vitals.errors.items())
        ]
        _, last_error = max(errors, key=lambda error: error[0], default=(None, None))
        return {
            "at": datetime.datetime.now(datetime.UTC),
            "messages_per_s": (now[1] - before[1]) / elapsed_s,
            "events_per_s": (now[2] - before[2]) / elapsed_s,
            "lag_messages": figures.lag_messages,
            "lag_s": figures.lag_s,
            "watermark": figures.watermark,
            "newest_event_at": figures.newest_event_at,
            "late_rows": figures.late_rows,
            "windows_dirty": figures.dirty_windows,
            "windows_settled": figures.settled.windows,
            "windows_late": figures.settled.late,
            "windows_folded_anew": figures.settled.folded_anew,
            "raw_events_deleted": figures.raw_deleted.events,
            "runs_closed": figures.runs_closed,
            "batch_ms": dict(figures.batch_ms),
            "problems": {part: words for part, words in self._vitals.problems().items() if words},
            "last_error": last_error,
        }
