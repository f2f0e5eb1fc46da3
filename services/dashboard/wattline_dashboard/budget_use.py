"""How far budgets are used up, and when they would be passed; pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wattline_dashboard.budgets import Budget
from wattline_dashboard.people import GroupUse
from wattline_dashboard.spans import Span

__all__ = ["NEAR", "BudgetUse", "uses"]

NEAR = 0.8  # of a budget: from here on viewers are warned


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How much of a budget is used in a span."""

    budget: Budget
    span: Span
    used: float  # kWh or kg CO2e

    @property
    def ratio(self) -> float:
        """The used part: above 1 it is passed."""
        return self.used / self.budget.limit

    @property
    def is_passed(self) -> bool:
        """Say whether more was used than there was."""
        return self.used > self.budget.limit

    @property
    def is_near(self) -> bool:
        """Say whether it is nearly used up."""
        return not self.is_passed and self.ratio >= NEAR

    @property
    def state(self) -> str:
        """One word for how it stands."""
        return "passed" if self.is_passed else "near" if self.is_near else "within"

    def passes_at(self, now: datetime.datetime, zone: datetime.tzinfo) -> datetime.datetime | None:
        """Return when it would be passed if all went on as in the span so far; none if it would not, or has been."""
        since, until = self.span.since(zone), self.span.until(zone)
        if self.is_passed or not self.used or not since < now < until:
            return None
        if self.ratio <= (now - since) / (until - since):  # looked at first: a tiny one would be beyond all years
            return None
        return since + (now - since) / self.ratio


def uses(
    budgets: Iterable[Budget],
    span_of: Callable[[Budget], Span],
    groups_of: Callable[[str, Span], Sequence[GroupUse]],
) -> list[BudgetUse]:
    """Return how far each budget is used up, the fullest first; ``groups_of`` is asked once an owner and span."""
    asked: dict[tuple[str, Span], Sequence[GroupUse]] = {}
    found = []
    for budget in budgets:
        span = span_of(budget)
        if (budget.owner, span) not in asked:
            asked[budget.owner, span] = groups_of(budget.owner, span)
        used = sum(
            group.now.of(budget.measure)
            for group in asked[budget.owner, span]
            if group.name == budget.name and group.class_name == budget.counts
        )
        found.append(BudgetUse(budget, span, used))
    return sorted(found, key=lambda use: -use.ratio)
