"""How many rows the ledger had to fill because their schema id was registered while the query ran, and of how many."""

from __future__ import annotations

import logging

from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812  # Spark's own convention
from pyspark.sql.streaming.listener import StreamingQueryProgress

from wattline_common.store import STREAMING, Document, LedgerRows
from wattline_streaming.typed import FILLED

__all__ = ["FilledRows", "observed"]

_LOG = logging.getLogger(__name__)
_METRIC = "ledger"


def observed(booked: DataFrame) -> DataFrame:
    """Return the typed columns of the ledger's rows; Spark's progress then tells how many of them were filled."""
    counted = booked.observe(_METRIC, F.count(F.lit(1)).alias("booked"), F.count_if(FILLED).alias("filled"))
    return counted.drop(FILLED)


class FilledRows:
    """Adds up what each batch's progress tells, and keeps the sums in pipeline_health across restarts."""

    def __init__(self, health: Collection[Document]) -> None:
        self._health = health
        self._sums: LedgerRows | None = None
        self._last_batch_id = -1
        self._told = False

    def note(self, progress: StreamingQueryProgress | None) -> None:
        """Add a batch once, however often it is shown; a store that is away costs no batch, the next note mends it."""
        if progress is None or progress.batchId <= self._last_batch_id or _METRIC not in progress.observedMetrics:
            return
        row = progress.observedMetrics[_METRIC]
        try:
            sums = self._sums or self._stored()
            booked, filled = sums["rows_booked"] + row["booked"], sums["rows_filled"] + row["filled"]
            self._sums = {"rows_booked": booked, "rows_filled": filled, "filled_share": filled / max(booked, 1)}
            self._last_batch_id = progress.batchId
            self._health.update_one({"_id": STREAMING}, {"$set": {"ledger": self._sums}}, upsert=True)
        except PyMongoError as error:
            _LOG.warning("the count of filled rows is not in the store yet: %s", error)
        if row["filled"] and not self._told:
            self._told = True
            _LOG.info(
                "events come whose schema was registered after this start: they are decoded in Python, which costs "
                "speed only; after a restart of the service Spark decodes them, too"
            )

    def _stored(self) -> LedgerRows:
        found = self._health.find_one({"_id": STREAMING}) or {}
        kept: LedgerRows = found.get("ledger", {"rows_booked": 0, "rows_filled": 0, "filled_share": 0.0})
        return kept
