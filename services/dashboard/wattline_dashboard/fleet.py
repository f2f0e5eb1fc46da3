"""Windows of many runs to what a fleet's overview shows, real and simulated energy held apart throughout; pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wattline_common.store import Document
from wattline_dashboard.curves import KINDS
from wattline_dashboard.filters import DIMENSIONS, Filters, is_simulated
from wattline_dashboard.periods import Bar, bar_start, bar_starts

__all__ = ["CLASSES", "OTHERS", "Fleet", "FleetRow", "Group", "RunClass", "RunShare", "Totals", "fold", "ranked"]

CLASSES = ("real", "simulated")
"""The two kinds of runs that are never added up: on a real machine, measured or modelled, and simulated ones."""

OTHERS = "others"


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One run's windows of one stretch of time, added up."""

    run_id: str
    start: datetime.datetime
    is_current: bool  # in the period, not in the one before
    energy_kwh: float
    measured_energy_kwh: float
    emissions_kg: float
    kind_energy_kwh: Mapping[str, float]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> FleetRow:
        """Return the row of a document as the query gives it."""
        identity = document["_id"]
        return cls(
            run_id=identity["run_id"],
            start=identity["start"],
            is_current=identity["is_current"],
            energy_kwh=document["energy_kwh"],
            measured_energy_kwh=document["measured_energy_kwh"],
            emissions_kg=document["emissions_kg"],
            kind_energy_kwh={kind: document[f"energy_{kind.lower()}_kwh"] for kind in KINDS},
        )


@dataclass(slots=True)
class Totals:
    """What some runs of one class used and emitted in a period."""

    energy_kwh: float = 0.0
    measured_energy_kwh: float = 0.0
    emissions_kg: float = 0.0
    run_ids: set[str] = field(default_factory=set)

    def add(self, row: FleetRow) -> None:
        """Add a row."""
        self.energy_kwh += row.energy_kwh
        self.measured_energy_kwh += row.measured_energy_kwh
        self.emissions_kg += row.emissions_kg
        self.run_ids.add(row.run_id)

    def add_all(self, other: Totals) -> None:
        """Add other runs of the same class."""
        self.energy_kwh += other.energy_kwh
        self.measured_energy_kwh += other.measured_energy_kwh
        self.emissions_kg += other.emissions_kg
        self.run_ids |= other.run_ids

    @property
    def measured_share(self) -> float | None:
        """The part of the energy that was measured, or none without energy."""
        return self.measured_energy_kwh / self.energy_kwh if self.energy_kwh else None

    def of(self, measure: str) -> float:
        """Return the energy in kWh, or the emissions in kg."""
        return self.emissions_kg if measure == "emissions" else self.energy_kwh


@dataclass(frozen=True, slots=True)
class Group:
    """The runs that share a user, a model and so on."""

    label: str
    totals: Totals
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class RunShare:
    """What one run used in the period."""

    summary: Document
    totals: Totals


@dataclass(frozen=True, slots=True)
class RunClass:
    """All that a period has of one class of runs."""

    name: str
    totals: Totals
    before: Totals | None  # the same in the period before; none when there is no such
    bars: Sequence[Totals]
    bar_kinds: Mapping[str, Sequence[float]]  # kWh in each bar, by kind of device
    groups: Mapping[str, Sequence[Group]]  # by dimension, biggest energy first
    runs: Sequence[RunShare]  # biggest energy first

    @property
    def is_empty(self) -> bool:
        """Say whether no run of this class was seen in the period."""
        return not self.totals.run_ids


@dataclass(frozen=True, slots=True)
class Fleet:
    """A period of a fleet."""

    starts: Sequence[datetime.datetime]  # of the bars, on the viewer's clock
    bar: Bar
    classes: Mapping[str, RunClass]
    options: Mapping[str, Sequence[str]]  # what occurs, for the filters
    strays: int = 0  # runs that have windows and no summary: they are in no figure

    @property
    def shown(self) -> list[RunClass]:
        """Return the classes that have something to show."""
        return [each for each in self.classes.values() if not each.is_empty]


def fold(
    rows: Iterable[FleetRow],
    summaries: Mapping[str, Document],
    filters: Filters,
    since: datetime.datetime | None,
    until: datetime.datetime,
    zone: datetime.tzinfo,
) -> Fleet:
    """Return what a period's rows come to, of the runs that the filters let through."""
    rows = list(rows)
    known = [row for row in rows if row.run_id in summaries]
    begin = since or min((row.start for row in known), default=until)
    bar = filters.length.bar
    starts = bar_starts(min(begin, until), until, bar, zone)
    kept = [row for row in known if filters.matches(summaries[row.run_id])]
    by_class: dict[str, list[FleetRow]] = {name: [] for name in CLASSES}
    for row in kept:
        by_class[class_of(summaries[row.run_id])].append(row)
    return Fleet(
        starts=starts,
        bar=bar,
        classes={
            name: _run_class(name, mine, summaries, _Bars(starts, bar, zone), has_before=since is not None)
            for name, mine in by_class.items()
        },
        options=_options(summaries[run_id] for run_id in {row.run_id for row in known if row.is_current}),
        strays=len({row.run_id for row in rows} - summaries.keys()),
    )


def class_of(summary: Mapping[str, Any]) -> str:
    """Return the class of a run."""
    return CLASSES[is_simulated(summary)]


def ranked(groups: Sequence[Group], measure: str, most: int) -> list[Group]:
    """Return the biggest groups and, when there are more, the rest as one."""
    in_order = sorted(groups, key=lambda group: -group.totals.of(measure))
    if len(in_order) <= most:
        return in_order
    rest = Totals()
    for group in in_order[most - 1 :]:
        rest.add_all(group.totals)
    return [*in_order[: most - 1], Group(f"{len(in_order) - most + 1} {OTHERS}", rest, is_rest=True)]


class _Bars:
    """Finds the bar that a moment belongs to."""

    def __init__(self, starts: Sequence[datetime.datetime], bar: Bar, zone: datetime.tzinfo) -> None:
        self.count = len(starts)
        self._last = starts[-1] if starts else None
        self._numbers = {start: number for number, start in enumerate(starts)}
        self._bar, self._zone = bar, zone

    def number(self, moment: datetime.datetime) -> int:
        """Return the bar of a moment: the first one of what is just before the period, the last of what is ahead."""
        start = bar_start(moment, self._bar, self._zone)
        is_ahead = self._last is not None and start > self._last
        return self._numbers.get(start, self.count - 1 if is_ahead else 0)


def _run_class(
    name: str, rows: Sequence[FleetRow], summaries: Mapping[str, Document], bars: _Bars, *, has_before: bool
) -> RunClass:
    totals, before = Totals(), Totals()
    in_bars = [Totals() for _ in range(bars.count)]
    kinds = {kind: [0.0] * bars.count for kind in KINDS}
    runs: dict[str, Totals] = {}
    for row in rows:
        if not row.is_current:
            before.add(row)
            continue
        totals.add(row)
        number = bars.number(row.start)
        in_bars[number].add(row)
        for kind, energy_kwh in row.kind_energy_kwh.items():
            kinds[kind][number] += energy_kwh
        runs.setdefault(row.run_id, Totals()).add(row)
    shares = [RunShare(summaries[run_id], share) for run_id, share in runs.items()]
    return RunClass(
        name=name,
        totals=totals,
        before=before if has_before else None,
        bars=in_bars,
        bar_kinds={kind: values for kind, values in kinds.items() if any(values)},
        groups={dimension: _groups(shares, of_run) for dimension, of_run in DIMENSIONS.items()},
        runs=sorted(shares, key=lambda share: -share.totals.energy_kwh),
    )


def _groups(shares: Iterable[RunShare], of_run: str) -> list[Group]:
    by_label: dict[str, Totals] = {}
    for share in shares:
        by_label.setdefault(share.summary[of_run] or "", Totals()).add_all(share.totals)
    return [Group(label, totals) for label, totals in by_label.items()]


def _options(summaries: Iterable[Document]) -> dict[str, list[str]]:
    seen: dict[str, set[str]] = {name: set() for name in DIMENSIONS}
    for summary in summaries:
        for name, of_run in DIMENSIONS.items():
            if summary[of_run]:
                seen[name].add(summary[of_run])
    return {name: sorted(values, key=str.casefold) for name, values in seen.items()}
