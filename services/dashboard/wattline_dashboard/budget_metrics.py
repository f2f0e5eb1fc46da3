"""How far budgets are used up, for Prometheus: so that a passed one alarms somebody though no page is open.

A thread and a port of its own, beside the pages: they may stand behind a login that a scraper has not.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator, Sequence

import pymongo
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pymongo.database import Database

from wattline_common.errors import ConfigurationError, StoreUnavailableError
from wattline_common.store import Document, connect
from wattline_dashboard import people_queries
from wattline_dashboard.budget_use import BudgetUse, uses
from wattline_dashboard.budgets import BudgetFile, Budgets
from wattline_dashboard.filters import DIMENSIONS
from wattline_dashboard.people import GroupUse, by_group
from wattline_dashboard.settings import DashboardSettings
from wattline_dashboard.spans import Span

__all__ = ["BudgetCollector", "serve"]

_KEPT_S = 15.0  # an answer of the store: scrapes in a row cost it nothing
_PATIENCE = 3  # times a viewer's wait
_LABELS = ("owner", "name", "per", "measure", "counts")


class BudgetCollector(Collector):
    """Turns budgets, and what the store says was used of them in the spans that go on, into metrics."""

    def __init__(self, budget_file: BudgetFile, database: Database[Document], timeout_s: float) -> None:
        self._file = budget_file
        self._database = database
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._kept: tuple[float, Budgets, list[BudgetUse]] | None = None

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not ask the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what is known; without the store's answer no budget has a figure, and the problem says so."""
        budgets, wrong = self._file.read()
        problem = GaugeMetricFamily("wattline_budgets_problem", "1 while budgets cannot be told.", labels=["part"])
        try:
            found = self._uses(budgets)
        except StoreUnavailableError:
            found, is_away = [], True
        else:
            is_away = False
        problem.add_metric(["file"], float(wrong is not None))
        problem.add_metric(["store"], float(is_away))
        yield problem
        yield from _gauges(found)

    def _uses(self, budgets: Budgets) -> list[BudgetUse]:
        with self._lock:
            if self._kept is None or self._kept[1] is not budgets or time.monotonic() - self._kept[0] > _KEPT_S:
                self._kept = (time.monotonic(), budgets, self._ask(budgets))
            return self._kept[2]

    def _ask(self, budgets: Budgets) -> list[BudgetUse]:
        zone, now = budgets.zone or datetime.UTC, datetime.datetime.now(datetime.UTC)

        def groups_of(owner: str, span: Span) -> list[GroupUse]:
            edges = (span.shifted(-1).since(zone), span.since(zone), span.until(zone))
            with pymongo.timeout(self._timeout_s):
                return by_group(people_queries.group_sums(self._database, DIMENSIONS[owner], *edges), ())

        return uses(budgets.entries, lambda budget: Span.of(budget.per, now, zone), groups_of)


def serve(settings: DashboardSettings) -> None:
    """Serve /metrics on a thread; port 0 serves nothing. Raises `ConfigurationError` when it cannot listen there."""
    if not settings.metrics_port:
        return
    registry = CollectorRegistry()
    database = connect(settings.mongodb_uri, timeout_ms=round(settings.store_timeout_s * 1000))
    registry.register(
        BudgetCollector(BudgetFile(settings.budgets_path), database, settings.store_timeout_s * _PATIENCE)
    )
    try:
        start_http_server(settings.metrics_port, settings.address, registry)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"cannot listen on WATTLINE_DASHBOARD_ADDRESS={settings.address}, "
            f"WATTLINE_DASHBOARD_METRICS_PORT={settings.metrics_port} ({error}): name another port, or 0 for no metrics"
        ) from error


def _gauges(found: Sequence[BudgetUse]) -> Iterator[Metric]:
    ratio = GaugeMetricFamily("wattline_budget_used_ratio", "Used part of a budget in its span.", labels=_LABELS)
    passed = GaugeMetricFamily("wattline_budget_passed", "1 when more was used than there was.", labels=_LABELS)
    for use in found:
        budget = use.budget
        labels = [budget.owner, budget.name, budget.per, budget.measure, budget.counts]
        ratio.add_metric(labels, use.ratio)
        passed.add_metric(labels, float(use.is_passed))
    yield ratio
    yield passed
