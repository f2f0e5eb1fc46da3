"""What will happen in a simulated run, drawn before it starts: who, what, where, how it learns and how it ends."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import wattline
from wattline.recorder import Context, Plan, Price
from wattline_common import carbon
from wattline_common.events import RunStatus
from wattline_trainer.simulate.catalog import POOLS, TEAMS, Family, Pool, Team
from wattline_trainer.simulate.chance import log_between, pick
from wattline_trainer.simulate.curves import Curve, Shape
from wattline_trainer.simulate.outcome import OUTCOMES, Outcome, Start, ends_at, starts
from wattline_trainer.simulate.schedule import Schedule

__all__ = ["Draw", "RunPlan", "SourcePlan", "plan_run"]


_DISTRIBUTED_SHARE = 0.25  # of the runs on GPUs
_FURTHER_RANKS_STEP_EVERY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a run is planned from. ``at_*`` are shares of 1 that pick length and outcome, so a fleet can spread them."""

    run_id: str
    chance: random.Random
    at_length: float
    at_outcome: float
    lengths_s: tuple[float, float]
    """Shortest and longest planned training."""
    emit_interval_s: float
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """One process of a run. ``start_s`` and ``end_s`` are seconds from the run's start."""

    context: Context
    start_s: float
    end_s: float
    status: RunStatus
    schedule: Schedule
    gpus: int
    samples_hardware: bool
    """One process a host reads the meters."""
    first_step: int
    """Steps that an earlier start had done, at its last checkpoint."""
    step_every: int
    """A step is reported with every so manieth sample interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A run: what all of its processes share, and the processes."""

    run_id: str
    pool: Pool
    family: Family
    curve: Curve
    plan: Plan
    price: Price
    total_steps: int
    peak_learning_rate: float
    memory_share: float
    emit_interval_s: float
    sources: tuple[SourcePlan, ...]

    @property
    def length_s(self) -> float:
        """Seconds from the start of the first process to the end of the last."""
        return max(source.end_s for source in self.sources)


def plan_run(draw: Draw) -> RunPlan:
    """Draw a run."""
    chance = draw.chance
    team = chance.choice(TEAMS)
    family = chance.choice(team.families)
    pool = POOLS[chance.choice([name for name in team.pools if POOLS[name].gpus >= family.gpus[0]])]
    outcome = pick(OUTCOMES, draw.at_outcome)
    schedule = _schedule(
        family, log_between(*draw.lengths_s, draw.at_length), max(30.0, 3 * draw.emit_interval_s), chance
    )
    end = ends_at(outcome, chance)
    peak_learning_rate = log_between(1e-4, 1e-2, chance.random())
    gpus = min(pool.gpus, chance.randint(*family.gpus))
    processes = _ranks(starts(outcome, schedule, end, chance), _context(draw, team, family, pool), pool, gpus, chance)
    return RunPlan(
        run_id=draw.run_id,
        pool=pool,
        family=family,
        curve=_curve(outcome, family, end, chance),
        plan=_plan(draw, family, schedule, peak_learning_rate),
        price=Price(carbon.grid_intensity(pool.region_iso), pool.pue),
        total_steps=schedule.epochs * schedule.steps_per_epoch,
        peak_learning_rate=peak_learning_rate,
        memory_share=chance.uniform(0.35, 0.9),
        emit_interval_s=draw.emit_interval_s,
        sources=tuple(processes),
    )


def _context(draw: Draw, team: Team, family: Family, pool: Pool) -> Context:
    """Return what all processes of the run have in common."""
    return Context(
        run_id=draw.run_id,
        source_id="",
        user_id=draw.chance.choice(team.users),
        model_name=draw.chance.choice(family.model_names),
        dataset_name=draw.chance.choice(family.datasets),
        framework=family.framework,
        environment=pool.environment,
        region_iso=pool.region_iso,
        project=team.project,
        simulated=True,
    )


def _schedule(family: Family, length_s: float, shortest_epoch_s: float, chance: random.Random) -> Schedule:
    warm_up_s = min(chance.uniform(20.0, 150.0), 0.03 * length_s)
    epochs = max(3, min(chance.randint(*family.epochs), int(length_s / shortest_epoch_s)))
    epoch_s = (length_s - warm_up_s) / epochs
    evaluate_s = min(180.0, chance.uniform(0.04, 0.12) * epoch_s)
    count = chance.choice((0, 0, 0, 1, 2, 4))
    each_s = min(chance.uniform(40.0, 240.0), 0.02 * length_s)
    # Each stall has a part of the time to itself, so that none lies within another.
    part_s = (length_s - warm_up_s) / max(1, count)
    stalls = [(warm_up_s + part_s * (k + chance.random() * 0.9), each_s) for k in range(count)]
    return Schedule(
        warm_up_s=warm_up_s,
        train_s=epoch_s - evaluate_s,
        evaluate_s=evaluate_s,
        epochs=epochs,
        steps_per_epoch=max(1, round(family.steps_per_s * chance.uniform(0.6, 1.4) * (epoch_s - evaluate_s))),
        stalls=tuple(stalls),
    )


def _curve(outcome: Outcome, family: Family, end: float, chance: random.Random) -> Curve:
    turn, shape = 0.5, Shape.PLATEAU if chance.random() < 0.3 else Shape.POWER_LAW
    if outcome is Outcome.DIVERGED:
        shape, turn = Shape.DIVERGENCE, end - 0.04
    elif outcome is Outcome.EARLY_STOP:
        shape, turn = Shape.OVERFITTING, end - 0.15
    elif shape is Shape.PLATEAU:
        turn = chance.uniform(0.3, 0.6)
    start, floor = family.loss
    chance_level, best = family.accuracy or (None, 1.0)
    return Curve(
        shape=shape,
        start=start * chance.uniform(0.97, 1.03),
        floor=floor * chance.uniform(0.95, 1.1),
        knee=chance.uniform(0.01, 0.03),
        exponent=chance.uniform(0.7, 1.1),
        turn=turn,
        chance=chance_level,
        best=best * chance.uniform(0.97, 1.0),
    )


def _plan(draw: Draw, family: Family, schedule: Schedule, peak_learning_rate: float) -> Plan:
    return Plan(
        hyperparameters={
            "learning_rate": f"{peak_learning_rate:.3g}",
            "batch_size": str(family.batch_size),
            "optimizer": draw.chance.choice(("adamw", "sgd", "lamb")),
        },
        tags=draw.tags,
        planned_epochs=schedule.epochs,
        planned_steps=schedule.epochs * schedule.steps_per_epoch,
        git_commit=f"{draw.chance.getrandbits(160):040x}",
        tracker_version=wattline.__version__,
    )


def _ranks(starts: Iterable[Start], context: Context, pool: Pool, gpus: int, chance: random.Random) -> list[SourcePlan]:
    """Return the processes of each start: one, or several ranks over one or two hosts; one a host samples."""
    distributed = gpus > 1 and chance.random() < _DISTRIBUTED_SHARE
    hosts = [f"{pool.name}-{number:02d}" for number in chance.sample(range(1, pool.size + 1), 2)]
    ranks = [(0, hosts[0]), (1, hosts[0]), (2, hosts[1]), (3, hosts[1])] if distributed else [(None, hosts[0])]
    found = []
    for start in starts:
        for rank, host in ranks:
            own: dict[str, Any] = {"source_id": f"{host}-{chance.getrandbits(32):08x}", "host": host, "rank": rank}
            found.append(
                SourcePlan(
                    context=dataclasses.replace(context, **own),
                    start_s=start.start_s,
                    end_s=start.end_s,
                    status=start.status,
                    schedule=start.schedule,
                    gpus=gpus,
                    samples_hardware=not (rank or 0) % 2,
                    first_step=start.first_step,
                    step_every=_FURTHER_RANKS_STEP_EVERY if rank else 1,
                )
            )
    return found
