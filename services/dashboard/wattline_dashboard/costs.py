"""What a run's energy has bought so far, and what its end will cost: epochs, samples, idle time, forecast. Pure.

Energy between two of a run's samples is taken to grow evenly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wattline_common.forecast import Forecast, Spent
from wattline_common.outlook import Outlook
from wattline_common.store import RunSummary, WindowDocument
from wattline_common.sums import total
from wattline_dashboard.curves import Banded
from wattline_dashboard.history import Sample, Step

__all__ = ["IDLE_PCT", "EpochCost", "IdleEnergy", "LearningCost", "forecast", "idle_energy", "idle_windows", "learning"]

IDLE_PCT = 5.0
"""Below it, in percent, a CPU or a GPU counts as idle."""


@dataclass(frozen=True, slots=True)
class EpochCost:
    """The energy of an epoch, or of each of several between whose ends nothing was seen."""

    epoch: int
    energy_kwh: float  # of one
    epochs: int = 1
    is_open: bool = False  # it may go on


@dataclass(frozen=True, slots=True)
class LearningCost:
    """What learning has cost, by the steps that the run reported."""

    epochs: Sequence[EpochCost] = ()
    per_epoch_kwh: float | None = None  # mean of those that are over
    per_thousand_samples_kwh: float | None = None
    thinning: int = 1  # of the steps; with more than one, sums over steps are estimates


@dataclass(frozen=True, slots=True)
class IdleEnergy:
    """Energy used while CPU and GPU were both under `IDLE_PCT`, of that whose use is known."""

    idle_kwh: float = 0.0
    known_kwh: float = 0.0

    @property
    def share(self) -> float | None:
        """The idle part, none where nothing is known."""
        return self.idle_kwh / self.known_kwh if self.known_kwh else None


def learning(summary: RunSummary, steps: Sequence[Step], energy: Banded, *, thinning: int = 1) -> LearningCost:
    """Return what epochs and samples have cost; ``energy`` is the run's running total, ``steps`` in order of time."""
    total = _from_start(summary, energy)
    epochs = list(_epochs(_of_leaders(summary, steps), total, is_over=summary["status"] == "COMPLETED"))
    closed = [each for each in epochs if not each.is_open]
    count = sum(each.epochs for each in closed)
    seen = [step for step in steps if step.samples]
    samples = sum(step.samples or 0 for step in seen) * thinning
    return LearningCost(
        epochs=epochs,
        per_epoch_kwh=sum(each.energy_kwh * each.epochs for each in closed) / count if count else None,
        per_thousand_samples_kwh=1_000 * total.at(seen[-1].timestamp_us) / samples if samples else None,
        thinning=thinning,
    )


def forecast(summary: RunSummary, steps: Sequence[Step], energy: Banded, *, thinning: int = 1) -> Forecast | None:
    """Return what the planned end will show; none without a plan, before a first block, or when the run is over."""
    total = _from_start(summary, energy)
    outlook = Outlook.of(*_plan(summary), total.times_us[0] / 1e6) if summary["status"] == "RUNNING" else None
    kg_per_kwh = _kg_per_kwh(summary)
    if outlook is None or kg_per_kwh is None:
        return None
    for step in _of_leaders(summary, steps):
        covered = step.steps_covered * thinning
        at_s = step.timestamp_us / 1e6
        outlook.step(at_s, epoch=step.epoch, steps_covered=covered, energy_kwh=total.at(step.timestamp_us))
    return outlook.forecast(
        Spent(
            energy_kwh=summary["energy_kwh"],
            energy_low_kwh=summary["energy_low_kwh"],
            energy_high_kwh=summary["energy_high_kwh"],
            emissions_kg=summary["emissions_kg"],
            kg_per_kwh=kg_per_kwh,
        )
    )


def idle_energy(samples: Iterable[Sample]) -> IdleEnergy:
    """Return the idle energy by samples; one that does not tell its CPU's use counts in neither figure."""
    return _idle((each.interval_energy_kwh, each.cpu_utilization_pct, each.gpu_utilization_pct) for each in samples)


def idle_windows(windows: Iterable[WindowDocument]) -> IdleEnergy:
    """Return the idle energy by the mean use in each window: a minute that is busy for a part is not idle."""
    aggregates = (window["aggregate"] for window in windows)
    return _idle(
        (each["energy_kwh"], each.get("cpu_utilization_avg_pct"), each.get("gpu_utilization_avg_pct"))
        for each in aggregates
    )


def _idle(parts: Iterable[tuple[float, float | None, float | None]]) -> IdleEnergy:
    idle, known = [], []
    for energy_kwh, cpu_pct, gpu_pct in parts:
        if cpu_pct is None:
            continue
        known.append(energy_kwh)
        if cpu_pct < IDLE_PCT and (gpu_pct is None or gpu_pct < IDLE_PCT):
            idle.append(energy_kwh)
    return IdleEnergy(total(idle), total(known))


def _from_start(summary: RunSummary, energy: Banded) -> Banded:
    """Return the running total with a point of nothing at the run's start."""
    start_us = round(summary["started_at"].timestamp() * 1e6)
    first_us = min([start_us, *energy.times_us[:1]]) - 1
    return Banded([first_us, *energy.times_us], [0.0, *energy.value])


def _epochs(steps: Iterable[Step], total: Banded, *, is_over: bool) -> Iterator[EpochCost]:
    """Yield what each epoch cost: the energy from the last step before it to its own last one."""
    current: int | None = None
    began_kwh = last_kwh = 0.0
    count = 1
    for step in steps:
        if step.epoch is None:
            continue
        if current is not None and step.epoch > current:
            yield EpochCost(current, (last_kwh - began_kwh) / count, count)
            began_kwh, count = last_kwh, step.epoch - current
        current, last_kwh = step.epoch, total.at(step.timestamp_us)
    if current is not None:
        yield EpochCost(current, (last_kwh - began_kwh) / count, count, is_open=not is_over)


def _of_leaders(summary: RunSummary, steps: Sequence[Step]) -> list[Step]:
    """Return the steps of the lowest rank, and of its restarts, that take the run forward: every rank does the same."""
    ranks = {source_id: _rank(source) for source_id, source in summary["sources"].items()}
    reporting = {step.source_id: ranks.get(step.source_id, 0) for step in steps}
    lowest = min(reporting.values(), default=0)
    leading: list[Step] = []
    furthest = -math.inf
    for step in steps:
        if reporting[step.source_id] == lowest and (step.epoch is None or step.epoch >= furthest):
            furthest = furthest if step.epoch is None else step.epoch
            leading.append(step)
    return leading


def _rank(source: Mapping[str, object]) -> int:
    context = source.get("context")
    rank = context.get("rank") if isinstance(context, dict) else None
    return rank if isinstance(rank, int) else 0


def _plan(summary: RunSummary) -> tuple[int | None, int | None]:
    """Return the planned epochs and steps that the first source told."""
    for source in sorted(summary["sources"].values(), key=lambda each: each.get("first_timestamp_us", 0)):
        started = source.get("started") or {}
        if started.get("planned_epochs") or started.get("planned_steps"):
            return started.get("planned_epochs"), started.get("planned_steps")
    return None, None


def _kg_per_kwh(summary: RunSummary) -> float | None:
    """Return what a further kWh emits, by the latest sample of the source last heard of."""
    for source in sorted(summary["sources"].values(), key=lambda each: -each.get("last_timestamp_us", 0)):
        if latest := source.get("latest_sample"):
            return float(latest["pue"] * latest["grid_intensity_g_per_kwh"] / 1000)
    return None
