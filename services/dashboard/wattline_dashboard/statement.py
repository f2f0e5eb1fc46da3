"""A statement of what a user, project or model used in a month, quarter or year: a table, and one page for paper."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wattline_common.store import Document
from wattline_dashboard.budget_use import BudgetUse
from wattline_dashboard.facts import method_labels
from wattline_dashboard.fleet import CLASSES
from wattline_dashboard.fleet_charts import QUANTITIES
from wattline_dashboard.formats import EMISSIONS, ENERGY, MISSING, percent
from wattline_dashboard.paper import template
from wattline_dashboard.people import GroupUse, Usage, total
from wattline_dashboard.spans import Span

__all__ = ["Statement", "groups_to_save", "printable", "runs_to_save"]

_MOST_RUNS = 60  # of each class, on paper
_CONTEXT = ("user_id", "project", "model_name", "dataset_name", "region_iso", "environment")
_SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")


@dataclass(frozen=True, slots=True)
class Statement:
    """All that is known of whom and when it is about."""

    owner: str  # user, project or model
    name: str | None  # none: all of them
    span: Span
    zone: datetime.tzinfo
    groups: Sequence[GroupUse]  # those that it is about
    runs: Mapping[tuple[str, str], Usage]  # by run and class, the most energy first
    summaries: Mapping[str, Document]
    budgets: Sequence[BudgetUse] = ()

    @property
    def title(self) -> str:
        """Whom it is about."""
        return f"All {self.owner}s" if self.name is None else f"{self.owner.capitalize()} {self.name}"


def runs_to_save(statement: Statement) -> pd.DataFrame:
    """Return the runs with what each used in the span; figures are the store's, moments UTC."""
    edges = {"span_start": statement.span.since(statement.zone), "span_end": statement.span.until(statement.zone)}
    rows = []
    for (run_id, class_name), usage in statement.runs.items():
        summary = statement.summaries.get(run_id, {})
        context = {name: summary.get(name) for name in _CONTEXT}
        methods = {"methods": " ".join(summary.get("methods", ()))}
        figures = {f"span_{name}": getattr(usage, name) for name in _SUMS}
        rows.append({"run_id": run_id, "simulated": class_name == "simulated"} | methods | context | edges | figures)
    columns = ("run_id", "simulated", "methods", *_CONTEXT, *edges, *(f"span_{name}" for name in _SUMS))
    return pd.DataFrame(rows, columns=list(columns))


def groups_to_save(owner: str, span: Span, zone: datetime.tzinfo, groups: Sequence[GroupUse]) -> pd.DataFrame:
    """Return users, projects or models with what each used in the span and in the one before."""
    edges = {"span_start": span.since(zone), "span_end": span.until(zone)}
    columns = (owner, "simulated", "runs", *edges, *(f"span_{n}" for n in _SUMS), *(f"before_{n}" for n in _SUMS))
    return pd.DataFrame(
        [
            {owner: group.name, "simulated": group.class_name == "simulated", "runs": len(group.run_ids)}
            | edges
            | {f"span_{name}": getattr(group.now, name) for name in _SUMS}
            | {f"before_{name}": getattr(group.before, name) for name in _SUMS}
            for group in groups
        ],
        columns=list(columns),
    )


def printable(statement: Statement, now: datetime.datetime) -> bytes:
    """Return the statement as one HTML page that fetches nothing and prints well; every name in it is escaped."""
    span, zone = statement.span, statement.zone
    last_day = span.until(zone).astimezone(zone) - datetime.timedelta(seconds=1)
    page = template("statement.html.j2").render(
        title=statement.title,
        span=span.label,
        before=span.shifted(-1).label,
        since=f"{span.since(zone).astimezone(zone):%Y-%m-%d}",
        until=f"{last_day:%Y-%m-%d}",
        zone=f"time zone {zone}",
        goes_on=now < span.until(zone),
        made_at=f"{now.astimezone(zone):%Y-%m-%d %H:%M}",
        budgets=[_budget(use) for use in statement.budgets],
        classes=[found for name in CLASSES if (found := _class(statement, name))],
    )
    return page.encode()


def _budget(use: BudgetUse) -> Mapping[str, Any]:
    used = QUANTITIES[use.budget.measure].text(use.used)
    return {"words": use.budget.words, "used": used, "share": percent(use.ratio), "is_passed": use.is_passed}


def _class(statement: Statement, name: str) -> Mapping[str, Any] | None:
    runs = [(run_id, usage) for (run_id, class_name), usage in statement.runs.items() if class_name == name]
    now, before = total(statement.groups, name)
    if not runs and not now.energy_kwh:
        return None
    is_simulated = name == "simulated"
    rest = Usage()
    for _, usage in runs[_MOST_RUNS:]:
        rest.add({field: getattr(usage, field) for field in _SUMS})
    return {
        "name": name,
        "heading": "Simulated runs" if is_simulated else "Real runs",
        "note": "Simulated: no machine drew this energy, and it is in no other figure." if is_simulated else "",
        **_figures(now, ""),
        **_figures(before, "_before"),
        "runs": [_run(run_id, usage, statement.summaries) for run_id, usage in runs[:_MOST_RUNS]],
        "more": max(0, len(runs) - _MOST_RUNS),
        "more_energy": ENERGY.text(rest.energy_kwh),
        "more_emissions": EMISSIONS.text(rest.emissions_kg),
    }


def _figures(usage: Usage, ending: str) -> Mapping[str, str]:
    return {
        f"energy{ending}": ENERGY.text(usage.energy_kwh),
        f"band{ending}": ENERGY.band(usage.energy_low_kwh, usage.energy_high_kwh),
        f"measured{ending}": percent(usage.measured_share),
        f"emissions{ending}": EMISSIONS.text(usage.emissions_kg),
    }


def _run(run_id: str, usage: Usage, summaries: Mapping[str, Document]) -> Mapping[str, str]:
    summary = summaries.get(run_id, {})
    return {
        "run_id": run_id,
        "model": summary.get("model_name") or MISSING,
        "user": summary.get("user_id") or MISSING,
        "project": summary.get("project") or MISSING,
        "method": ", ".join(method_labels(summary)) if summary else MISSING,
        "energy": ENERGY.text(usage.energy_kwh),
        "emissions": EMISSIONS.text(usage.emissions_kg),
    }
