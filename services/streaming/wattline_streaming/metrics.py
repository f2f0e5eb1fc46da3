"""The figures as Prometheus reads them. A scrape asks no server: it shows what the driver knows."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wattline_streaming.figures import Figures
from wattline_streaming.vitals import Vitals

__all__ = ["StreamCollector"]


class StreamCollector(Collector):
    """Turns figures and vitals into metrics; README.md has the table of them."""

    def __init__(self, figures: Figures, vitals: Vitals) -> None:
        self._figures = figures
        self._vitals = vitals

    def collect(self) -> Iterator[Metric]:
        """Yield what is known."""
        yield from self._ledger()
        yield from self._batches()
        yield from self._windows()
        yield from self._retention()
        yield from self._audit()
        yield from self._health()

    def _ledger(self) -> Iterator[Metric]:
        ledger = self._figures.ledger
        if ledger is None:
            return
        yield _counter("events_booked", "First-seen good events.", ledger["rows_booked"])
        yield _counter("events_filled", "Booked events that Python had to decode.", ledger["rows_filled"])
        yield _gauge("events_filled_ratio", "Filled events of the booked ones.", ledger["filled_share"])
        rejected = CounterMetricFamily("wattline_events_rejected", "Messages not accepted.", labels=["reason"])
        for reason, rows in ledger["rows_rejected"].items():
            rejected.add_metric([reason], rows)
        yield rejected

    def _batches(self) -> Iterator[Metric]:
        figures = self._figures
        yield _counter("messages_read", "Messages of finished batches.", figures.messages_read)
        yield _counter("batches", "Finished batches.", figures.batches)
        parts = CounterMetricFamily("wattline_batch_seconds", "Time in batches, by part.", labels=["part"])
        for part, spent_ms in list(figures.batch_ms.items()):
            parts.add_metric([part], spent_ms / 1000)
        yield parts
        yield _counter("late_rows", "Partial windows behind the watermark, left to settling.", figures.late_rows)
        yield from _known("lag_messages", "Messages beyond the last committed batch.", figures.lag_messages)
        yield from _known("lag_seconds", "Age in Kafka of the oldest message beyond the last batch.", figures.lag_s)
        yield from _time("newest_event", "Newest event time seen.", figures.newest_event_at)
        yield from _time("watermark", "Watermark of the fast path.", figures.watermark)
        yield from _time("last_batch", "When a batch last succeeded.", figures.last_batch_at)

    def _windows(self) -> Iterator[Metric]:
        figures = self._figures
        yield _counter("windows_written", "Windows written by the fast path.", figures.windows_written)
        yield _counter("windows_settled", "Windows settled.", figures.settled.windows)
        yield _counter("windows_late", "Settled windows that got an event after they were due.", figures.settled.late)
        yield _counter("windows_folded_anew", "Settled windows folded anew.", figures.settled.folded_anew)
        yield from _known("windows_dirty", "Windows with events since they were last settled.", figures.dirty_windows)
        yield from _time("last_settling", "When settling last succeeded.", figures.last_settling_at)

    def _retention(self) -> Iterator[Metric]:
        figures = self._figures
        yield _counter("raw_events_deleted", "Raw events of old runs deleted.", figures.raw_deleted.events)
        yield from _known("runs_closed", "Runs whose raw events are deleted.", figures.runs_closed)

    def _audit(self) -> Iterator[Metric]:
        audit = self._figures.audit
        if audit is None:
            return
        yield from _time("audit", "When the last audit ended.", audit["at"])
        yield _gauge("audit_clean", "1 when the last audit found no difference.", audit["clean"])
        yield _gauge("audit_differences", "Differences that the last audit has left.", audit["differences"])
        yield _gauge("audit_pending", "Differences that settling was to mend.", audit["pending"])
        yield _gauge("audit_repaired", "What the last audit has mended.", audit["repaired"])

    def _health(self) -> Iterator[Metric]:
        yield _counter("query_failures", "Times the query failed.", self._figures.query_failures)
        yield _counter("settling_failures", "Settling steps that failed.", self._figures.settling_failures)
        problem = GaugeMetricFamily("wattline_problem", "1 while a part cannot do its work.", labels=["part"])
        for part, words in self._vitals.problems().items():
            problem.add_metric([part], 1 if words else 0)
        yield problem
        last = GaugeMetricFamily("wattline_last_error_timestamp_seconds", "A part's last error.", labels=["part"])
        for part, (at, _) in list(self._vitals.errors.items()):
            last.add_metric([part], at.timestamp())
        yield last


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"wattline_{name}", words, value=value)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"wattline_{name}", words, value=value)


def _known(name: str, words: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield _gauge(name, words, value)


def _time(name: str, words: str, at: datetime.datetime | None) -> Iterator[Metric]:
    if at is not None:
        yield _gauge(f"{name}_timestamp_seconds", words, at.timestamp())
