"""Whom and when the page People is about, as its URL says, and what the store has of that."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from wattline_dashboard import data, people_data
from wattline_dashboard.budget_use import BudgetUse
from wattline_dashboard.filters import PeopleFilters
from wattline_dashboard.fleet import CLASSES
from wattline_dashboard.people import GroupUse
from wattline_dashboard.spans import KINDS_OF_SPAN, Span
from wattline_dashboard.statement import Statement

__all__ = ["Found", "Scene", "found", "statement_of"]

_TO_CHOOSE = {"month": 24, "quarter": 12, "year": 6}


@dataclass(frozen=True, slots=True)
class Scene:
    """Whom and when the page is about."""

    filters: PeopleFilters
    span: Span
    current: Span  # of the same kind
    zone: datetime.tzinfo

    @classmethod
    def of(cls, filters: PeopleFilters, now: datetime.datetime, zone: datetime.tzinfo) -> Scene:
        """Return what filters mean at a moment."""
        span = Span.from_key(filters.span) or Span.of("month", now, zone)
        return cls(filters, span, Span.of(span.kind, now, zone), zone)

    @property
    def kind(self) -> str:
        """Which runs are shown."""
        return self.filters.kind if self.filters.kind in ("real", "simulated") else "all"

    def kinds_of_span(self) -> dict[str, str]:
        """Return what else than a month, quarter or year may be looked at: for each kind, the one nearest by."""
        moment = min(data.now(), self.span.until(self.zone) - datetime.timedelta(seconds=1))
        moment = max(moment, self.span.since(self.zone))
        return {Span.of(kind, moment, self.zone).key: label for kind, label in KINDS_OF_SPAN.items()}

    def spans_to_choose(self) -> dict[str, str]:
        """Return the last spans of the kind that is shown, the newest first, and the one that is shown."""
        spans = [self.current.shifted(-back) for back in range(_TO_CHOOSE[self.span.kind])]
        return {span.key: span.label for span in (spans if self.span in spans else [self.span, *spans])}


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a scene."""

    groups: Sequence[GroupUse]  # all users, projects or models of the classes that are shown
    mine: Sequence[GroupUse]  # those that the page is about
    uses: Sequence[BudgetUse]  # their budgets in the span


def found(scene: Scene) -> Found:
    """Return what there is; needs no viewer's session, so any thread may ask."""
    filters, span, zone = scene.filters, scene.span, scene.zone
    classes = filters.classes(CLASSES)
    groups = [group for group in people_data.groups(filters.by, span, zone) if group.class_name in classes]
    entries = [
        budget
        for budget in people_data.budgets()[0].entries
        if (budget.per, budget.owner) == (span.kind, filters.by)
        and filters.name in (None, budget.name)
        and budget.counts in classes
    ]
    mine = [group for group in groups if filters.name in (None, group.name)]
    return Found(groups, mine, people_data.budget_uses(entries, span, zone))


def statement_of(scene: Scene) -> Statement:
    """Return the statement of a scene; needs no viewer's session, so any thread may ask."""
    filters, span, zone = scene.filters, scene.span, scene.zone
    all_of = found(scene)
    classes = {group.class_name for group in all_of.mine}
    of_owner = people_data.runs(filters.by, filters.name, span, zone)
    runs = {key: usage for key, usage in of_owner.items() if key[1] in classes}
    summaries = people_data.summaries(tuple(sorted({run_id for run_id, _ in runs})))
    return Statement(filters.by, filters.name, span, zone, all_of.mine, runs, summaries, all_of.uses)
