"""What the page People asks for, by way of `data`: sums of rollups, each answer for all viewers for half a minute."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import streamlit as st

from wattline_common.errors import ConfigurationError
from wattline_common.store import Document
from wattline_dashboard import data, fleet_queries, people_queries
from wattline_dashboard.budget_use import BudgetUse, uses
from wattline_dashboard.budgets import Budget, BudgetFile, Budgets
from wattline_dashboard.filters import DIMENSIONS
from wattline_dashboard.people import GroupUse, Usage, by_group, by_run
from wattline_dashboard.spans import Span

__all__ = ["budget_uses", "budgets", "course", "groups", "is_cut", "runs", "summaries", "zone"]

_PATIENCE = 10  # times the usual wait: years take longer to add up
_TTL_S = 30


def budgets() -> tuple[Budgets, ConfigurationError | None]:
    """Return the budgets that were last right, and what is wrong with their file now."""
    return _budget_file().read()


def zone() -> datetime.tzinfo:
    """Return by whose clock months begin: the budgets' where their file says so, else the viewer's."""
    return budgets()[0].zone or data.viewer_zone()


def groups(owner: str, span: Span, zone: datetime.tzinfo) -> list[GroupUse]:
    """Return what each user, project or model used in a span, and in the one before."""
    since, until = span.since(zone), span.until(zone)
    rows = _group_sums(DIMENSIONS[owner], span.shifted(-1).since(zone), since, until)
    return by_group(rows, _run_sums(DIMENSIONS[owner], since, until))


def runs(owner: str, name: str | None, span: Span, zone: datetime.tzinfo) -> dict[tuple[str, str], Usage]:
    """Return what each run used in a span, of one user, project or model, or without a name of all."""
    rows = _run_sums(DIMENSIONS[owner], span.since(zone), span.until(zone))
    return by_run(rows, name, of_all=name is None)


def course(owner: str, name: str | None, spans: Sequence[Span], zone: datetime.tzinfo) -> list[Document]:
    """Return what one user, project or model, or without a name all, used over spans in a row, in small pieces."""
    boundaries = (*(span.since(zone) for span in spans), spans[-1].until(zone))
    return _course(DIMENSIONS[owner], name, boundaries)


def budget_uses(entries: Sequence[Budget], span: Span | None, zone: datetime.tzinfo) -> list[BudgetUse]:
    """Return how far budgets are used up in a span, or each in the one that goes on."""
    now = data.now()
    return uses(
        entries,
        lambda budget: span or Span.of(budget.per, now, zone),
        lambda owner, of_span: groups(owner, of_span, zone),
    )


def is_cut(owner: str, span: Span, zone: datetime.tzinfo) -> bool:
    """Say whether a span has more runs than can be added up at once: then some are not listed."""
    return len(_run_sums(DIMENSIONS[owner], span.since(zone), span.until(zone))) >= people_queries.MAX_ROWS


@st.cache_data(ttl=_TTL_S, max_entries=32, show_spinner=False)
def summaries(run_ids: tuple[str, ...]) -> dict[str, Document]:
    """Return the summaries of some runs, by identity."""
    return {run["_id"]: run for run in data.ask(fleet_queries.summaries, run_ids)}


@st.cache_resource(show_spinner=False)
def _budget_file() -> BudgetFile:
    return BudgetFile(data.settings().budgets_path)


@st.cache_data(ttl=_TTL_S, max_entries=64, show_spinner=False)
def _group_sums(
    dimension: str, before: datetime.datetime, since: datetime.datetime, until: datetime.datetime
) -> list[Document]:
    return data.ask_within(_wait_s(), people_queries.group_sums, dimension, before, since, until)


@st.cache_data(ttl=_TTL_S, max_entries=32, show_spinner=False)
def _run_sums(dimension: str, since: datetime.datetime, until: datetime.datetime) -> list[Document]:
    return data.ask_within(_wait_s(), people_queries.run_sums, dimension, since, until)


@st.cache_data(ttl=_TTL_S, max_entries=64, show_spinner=False)
def _course(dimension: str, name: str | None, boundaries: tuple[datetime.datetime, ...]) -> list[Document]:
    return data.ask_within(_wait_s(), people_queries.course, dimension, name, boundaries, of_all=name is None)


def _wait_s() -> float:
    return data.settings().store_timeout_s * _PATIENCE
