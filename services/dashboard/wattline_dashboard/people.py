"""What users, projects and models used in a span: rows of the store to sums, curves and tables; pure.

Real and simulated energy is held apart throughout.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wattline_common.store import Document
from wattline_dashboard.fleet import CLASSES, Group, RunClass, Totals
from wattline_dashboard.spans import Span

__all__ = ["GroupUse", "Step", "Usage", "by_group", "by_run", "curve", "in_spans", "run_classes", "total"]

_SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")


@dataclass(slots=True)
class Usage:
    """What something used and emitted."""

    energy_kwh: float = 0.0
    energy_low_kwh: float = 0.0
    energy_high_kwh: float = 0.0
    measured_energy_kwh: float = 0.0
    emissions_kg: float = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of the store."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + row[name])

    def of(self, measure: str) -> float:
        """Return the energy in kWh, or the emissions in kg."""
        return self.emissions_kg if measure == "emissions" else self.energy_kwh

    @property
    def measured_share(self) -> float | None:
        """The part of the energy that was measured, or none without energy."""
        return self.measured_energy_kwh / self.energy_kwh if self.energy_kwh else None


@dataclass(slots=True)
class GroupUse:
    """One user, project or model, of one class of runs."""

    name: str | None  # none: runs without a project
    class_name: str
    now: Usage = field(default_factory=Usage)
    before: Usage = field(default_factory=Usage)
    run_ids: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Step:
    """What was used up to a moment since the span began."""

    until: datetime.datetime
    usage: Usage


def by_group(rows: Iterable[Document], runs: Iterable[Document]) -> list[GroupUse]:
    """Return every group of the rows of `group_sums`, the most energy first, with the runs of `run_sums`."""
    groups: dict[tuple[str | None, str], GroupUse] = {}
    for row in rows:
        identity = row["_id"]
        name, class_name = identity["key"], CLASSES[bool(identity["simulated"])]
        group = groups.setdefault((name, class_name), GroupUse(name, class_name))
        (group.now if identity["is_current"] else group.before).add(row)
    for row in runs:
        for name in _owners(row):
            used_by = groups.get((name, CLASSES[bool(row["_id"]["simulated"])]))
            if used_by is not None:
                used_by.run_ids.add(row["_id"]["key"])
    return sorted(groups.values(), key=lambda group: -group.now.energy_kwh)


def by_run(rows: Iterable[Document], owner: str | None, *, of_all: bool = False) -> dict[tuple[str, str], Usage]:
    """Return what each run of an owner used, by run and class, the most energy first."""
    runs: dict[tuple[str, str], Usage] = {}
    for row in rows:
        if of_all or owner in _owners(row):
            runs.setdefault((row["_id"]["key"], CLASSES[bool(row["_id"]["simulated"])]), Usage()).add(row)
    return dict(sorted(runs.items(), key=lambda item: -item[1].energy_kwh))


def total(groups: Iterable[GroupUse], class_name: str) -> tuple[Usage, Usage]:
    """Return what all groups of a class used in the span, and in the one before."""
    now, before = Usage(), Usage()
    for group in groups:
        if group.class_name == class_name:
            for into, usage in ((now, group.now), (before, group.before)):
                into.add({name: getattr(usage, name) for name in _SUMS})
    return now, before


def curve(rows: Iterable[Document], class_name: str, since: datetime.datetime, until: datetime.datetime) -> list[Step]:
    """Return the running total of a class between two boundaries of `course`, from nothing at the first on.

    It rises within a piece in which something was used, and is level between two of them.
    """
    sums: dict[tuple[datetime.datetime, datetime.datetime], Usage] = {}
    for row in rows:
        start = row["_id"]["start"]
        if CLASSES[bool(row["_id"]["simulated"])] == class_name and since <= start < until:
            end = start + datetime.timedelta(seconds=row["_id"]["length_s"])
            sums.setdefault((start, end), Usage()).add(row)
    steps, running = [Step(since, Usage())], Usage()
    for (start, end), usage in sorted(sums.items(), key=lambda item: item[0]):
        if start > steps[-1].until:
            steps.append(Step(start, steps[-1].usage))
        running.add({name: getattr(usage, name) for name in _SUMS})
        steps.append(Step(end, Usage(*(getattr(running, name) for name in _SUMS))))
    return steps


def in_spans(rows: Sequence[Document], spans: Sequence[Span], zone: datetime.tzinfo) -> dict[str, list[Usage]]:
    """Return, for each class, what was used in each of the spans whose boundaries `course` was given."""
    edges = [(span.since(zone), span.until(zone)) for span in spans]
    return {name: [curve(rows, name, since, until)[-1].usage for since, until in edges] for name in CLASSES}


def run_classes(groups: Sequence[GroupUse], dimension: str) -> list[RunClass]:
    """Return the groups as the overview's charts of shares take them; classes without any are left out."""
    classes = []
    for name in CLASSES:
        mine = [
            Group(group.name or "", _totals(group)) for group in groups if group.class_name == name and _has_any(group)
        ]
        if mine:
            whole = Totals()
            for group in mine:
                whole.add_all(group.totals)
            classes.append(RunClass(name, whole, None, (), {}, {dimension: mine}, ()))
    return classes


def _has_any(group: GroupUse) -> bool:
    return bool(group.now.energy_kwh or group.run_ids)


def _totals(group: GroupUse) -> Totals:
    now = group.now
    return Totals(now.energy_kwh, now.measured_energy_kwh, now.emissions_kg, group.run_ids or {""})


def _owners(row: Mapping[str, Any]) -> list[str | None]:
    """Return the groups that a run counts in; a window names one, a rollup a list."""
    of = row["_id"].get("of")
    return list(of) if isinstance(of, list) else [of]
