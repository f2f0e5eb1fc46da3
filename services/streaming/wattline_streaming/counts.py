"""What the ledger did with each message: booked it, filled its columns as its schema id is new, or rejected it."""

from __future__ import annotations

import logging
from collections import Counter

from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # Spark's own convention
from pyspark.sql.streaming.listener import StreamingQueryProgress

from wattline_common.store import STREAMING, Document, LedgerRows
from wattline_streaming.typed import FILLED, REJECTED_REASON, REJECTED_ROWS

__all__ = ["LedgerCounts", "observed"]

_LOG = logging.getLogger(__name__)
_METRIC = "ledger"


def observed(booked: DataFrame) -> DataFrame:
    """Return the typed columns of the ledger's events; Spark's progress then tells what it counted on the way."""
    reason = F.col(REJECTED_REASON)
    counted = booked.observe(
        _METRIC,
        F.count_if(reason.isNull()).alias("booked"),
        F.count_if(FILLED).alias("filled"),
        F.collect_list(F.when(reason.isNotNull(), F.struct(REJECTED_REASON, REJECTED_ROWS))).alias("rejected"),
    )
    return counted.where(reason.isNull()).drop(FILLED, REJECTED_REASON, REJECTED_ROWS)


class LedgerCounts:
    """Adds up what each batch's progress tells, and keeps the sums in pipeline_health across restarts."""

    def __init__(self, health: Collection[Document]) -> None:
        self._health = health
        self.sums: LedgerRows | None = None
        self._last_batch_id = -1
        self._told = False

    def note(self, progress: StreamingQueryProgress | None) -> None:
        """Add a batch once, however often it is shown; a store that is away costs no batch, the next note mends it."""
        try:
            if self.sums is None:
                self.sums = self._stored()
            if progress is None or progress.batchId <= self._last_batch_id or _METRIC not in progress.observedMetrics:
                return
            row = progress.observedMetrics[_METRIC].asDict(recursive=True)
            self.sums = _added(self.sums, row)
            self._last_batch_id = progress.batchId
            self._health.update_one({"_id": STREAMING}, {"$set": {"ledger": self.sums}}, upsert=True)
        except PyMongoError as error:
            _LOG.warning("the ledger's counts are not in the store yet: %s", error)
            return
        if row["filled"] and not self._told:
            self._told = True
            _LOG.info(
                "events come whose schema was registered after this start: they are decoded in Python, which costs "
                "speed only; after a restart of the service Spark decodes them, too"
            )

    def _stored(self) -> LedgerRows:
        found = self._health.find_one({"_id": STREAMING}) or {}
        none: LedgerRows = {"rows_booked": 0, "rows_filled": 0, "filled_share": 0.0, "rows_rejected": {}}
        kept: LedgerRows = none | found.get("ledger", {})
        return kept


def _added(sums: LedgerRows, row: Document) -> LedgerRows:
    rejected = Counter(sums["rows_rejected"])
    for told in row["rejected"]:
        rejected[told[REJECTED_REASON]] += told[REJECTED_ROWS]
    booked, filled = sums["rows_booked"] + row["booked"], sums["rows_filled"] + row["filled"]
    return {
        "rows_booked": booked,
        "rows_filled": filled,
        "filled_share": filled / max(booked, 1),
        "rows_rejected": dict(rejected),
    }
