"""Which runs a fleet has: a history spread over its days, and an endless supply of live ones."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from wattline_trainer.simulate.chance import seeded
from wattline_trainer.simulate.plan import Draw, RunPlan, plan_run

__all__ = ["HISTORY_EMIT_INTERVAL_S", "history", "live"]

HISTORY_EMIT_INTERVAL_S = 30.0
_HOUR_S = 3600.0
_HISTORY_LENGTHS_S = (1.5 * _HOUR_S, 12 * _HOUR_S)
_LIVE_LENGTHS_S = (600.0, 5400.0)
_LONGEST_SHARE = 0.6  # of the whole history; a restart makes it longer
_SHORTEST_SHARE = 0.1


def history(
    seed: int, runs: int, start: datetime.datetime, length_s: float, emit_interval_s: float = HISTORY_EMIT_INTERVAL_S
) -> Iterator[tuple[float, RunPlan]]:
    """Yield start (seconds after ``start``) and plan of each run; all are over by the end.

    Lengths and outcomes are spread evenly over the runs, so that 20 of them already show every outcome, and a day of
    them always has about as many events. The ids carry the start to the second: another history has other runs.
    """
    shortest_s, longest_s = _HISTORY_LENGTHS_S
    longest_s = min(longest_s, _LONGEST_SHARE * length_s)
    lengths_s = (min(shortest_s, _SHORTEST_SHARE * length_s), longest_s)
    lengths, outcomes = list(range(runs)), list(range(runs))
    seeded(seed, "lengths").shuffle(lengths)
    seeded(seed, "outcomes").shuffle(outcomes)
    for k in range(runs):
        chance = seeded(seed, "history", k)
        draw = Draw(
            run_id=f"sim-{seed}-{k:03d}-{start:%Y%m%dT%H%M%S}",
            chance=chance,
            at_length=(lengths[k] + chance.random()) / runs,
            at_outcome=(outcomes[k] + chance.random()) / runs,
            lengths_s=lengths_s,
            emit_interval_s=emit_interval_s,
            tags={"simulator": "history", "seed": str(seed)},
        )
        plan = plan_run(draw)
        yield round(chance.random() * (length_s - plan.length_s), 3), plan


def live(seed: int, session: str, emit_interval_s: float) -> Iterator[RunPlan]:
    """Yield plans without end. ``session`` names this start of the simulator and makes its ids unique."""
    k = 0
    while True:
        chance = seeded(seed, "live", k)
        draw = Draw(
            run_id=f"sim-{seed}-live-{session}-{k:04d}",
            chance=chance,
            at_length=chance.random(),
            at_outcome=chance.random(),
            lengths_s=_LIVE_LENGTHS_S,
            emit_interval_s=emit_interval_s,
            tags={"simulator": "live", "seed": str(seed)},
        )
        yield plan_run(draw)
        k += 1
