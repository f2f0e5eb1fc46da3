"""Several runs beside each other: which, what their learning cost, the Pareto front, and in what they differ; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wattline_common.store import RunSummary
from wattline_dashboard.costs import LearningCost
from wattline_dashboard.curves import Banded, Learning, RunSeries
from wattline_dashboard.filters import is_simulated
from wattline_dashboard.formats import visible
from wattline_dashboard.queries import is_run_id

__all__ = [
    "FEWEST",
    "LETTERS",
    "MOST",
    "Compared",
    "Cost",
    "costs",
    "front",
    "runs_from_url",
    "runs_to_url",
]

FEWEST, MOST = 2, 6
LETTERS = "ABCDEF"  # what the runs are called on the page: the second cue beside colour

_COMMA_INSIDE = "|"  # no identity has one, so it can stand for a comma of theirs


def runs_from_url(text: str | None) -> list[str]:
    """Return the identities that a URL names, each once, in its order; what can be none is left out."""
    named = [part.replace(_COMMA_INSIDE, ",").strip() for part in (text or "").split(",")]
    return [run_id for run_id in dict.fromkeys(named) if is_run_id(run_id)]


def runs_to_url(run_ids: Iterable[str]) -> str:
    """Return how a URL names runs."""
    return ",".join(run_id.replace(",", _COMMA_INSIDE) for run_id in run_ids)


@dataclass(frozen=True, slots=True)
class Cost:
    """One curve of learning over what had been used by then: loss or accuracy, and kWh or kg."""

    used: Sequence[float] = field(default_factory=list)
    values: Sequence[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the runs that are compared."""

    letter: str
    colour: str
    summary: RunSummary
    series: RunSeries
    cost: LearningCost = LearningCost()  # noqa: RUF009 - frozen
    idle_share: float | None = None  # of the energy; none where it is not known

    @property
    def is_simulated(self) -> bool:
        """Say whether it, or a part of it, was simulated."""
        return is_simulated(self.summary)

    @property
    def label(self) -> str:
        """Its letter and its model, as they are shown."""
        return f"{self.letter} · {visible(self.summary['model_name'])}"

    def costs(self, what: str, measure: str) -> list[Cost]:
        """Return its loss or accuracy over the energy in kWh or the emissions in kg, a curve for each source."""
        used = self.series.emissions_kg if measure == "emissions" else self.series.energy_kwh
        learning = self.series.loss if what == "loss" else self.series.accuracy
        return costs(learning, used, since_us=round(self.summary["started_at"].timestamp() * 1e6))


def costs(learning: Sequence[Learning], used: Banded, *, since_us: int) -> list[Cost]:
    """Return each curve over what the whole run had used at its moments; between two samples it was used evenly."""
    if not used.times_us:
        return []
    first_us = used.times_us[0]
    total = Banded([since_us if since_us < first_us else first_us - 1, *used.times_us], [0.0, *used.value])
    return [Cost([total.at(at_us) for at_us in curve.times_us], list(curve.values)) for curve in learning]


def front(curves: Iterable[Cost], *, highest_is_best: bool) -> Cost:
    """Return the Pareto front of all points: each is better than every one that had used less or as much."""
    points = [
        (used, value)
        for curve in curves
        for used, value in zip(curve.used, curve.values, strict=True)
        if math.isfinite(used) and math.isfinite(value)
    ]
    sign = -1.0 if highest_is_best else 1.0
    best = math.inf
    on_front: list[tuple[float, float]] = []
    for used, value in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if sign * value < best:
            best = sign * value
            on_front.append((used, value))
    return Cost([used for used, _ in on_front], [value for _, value in on_front])
