"""What runs have cost, from the spool and the accounts of what was delivered: no Kafka, no store, no network."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from wattline.accounts import Account
from wattline.spool_folders import SpoolRoot

__all__ = ["FORMATS", "RunReport", "collect", "columns"]

_G_PER_KG = 1000.0
_WORST_FIRST = ("FAILED", "UNFINISHED", "RUNNING", "STOPPED", "UNKNOWN", "COMPLETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run: the sums over its sources on this host. Energies are IT energy, before PUE."""

    run_id: str
    model_name: str
    dataset_name: str
    project: str | None
    user_id: str
    status: str
    """As its sources say; RUNNING while one lives, UNFINISHED when one ended without a word."""
    began: str | None
    duration_s: float
    energy_kwh: float
    energy_low_kwh: float
    energy_high_kwh: float
    measured_energy_kwh: float
    emissions_g: float
    grid_intensity_source: str
    methods: tuple[str, ...]
    steps: int
    sources: int
    events_dropped: int
    events_waiting: int
    """Not delivered to Kafka yet, or not heard of."""


def collect(root: SpoolRoot) -> list[RunReport]:
    """Return every run that the spool or its history knows, oldest first."""
    accounts = {account.source_id: account for account in root.history()}
    waiting: dict[str, int] = {}
    live: set[str] = set()
    for folder in root.folders():
        found = folder.waiting()
        accounts[found.account.source_id] = found.account
        waiting[found.account.source_id] = found.events
        if found.live:
            live.add(found.account.source_id)
    runs: dict[str, list[Account]] = {}
    for account in accounts.values():
        runs.setdefault(account.run_id, []).append(account)
    reports = [_run(sources, waiting, live) for sources in runs.values()]
    return sorted(reports, key=lambda report: report.began or "")


def _run(sources: Sequence[Account], waiting: dict[str, int], live: set[str]) -> RunReport:
    first = min(sources, key=lambda source: source.started_at_s or float("inf"))
    begins = [source.started_at_s for source in sources if source.started_at_s is not None]
    ends = [source.ended_at_s for source in sources if source.ended_at_s is not None]
    states = {_state(source, live) for source in sources}
    measured = [source for source in sources if source.methods] or [first]
    return RunReport(
        run_id=first.run_id,
        model_name=first.model_name,
        dataset_name=first.dataset_name,
        project=first.project,
        user_id=first.user_id,
        status=next((state for state in _WORST_FIRST if state in states), "UNKNOWN"),
        began=first.began.isoformat(timespec="seconds") if first.began else None,
        duration_s=max(ends) - min(begins) if begins and ends else 0.0,
        energy_kwh=sum(source.energy_kwh for source in sources),
        energy_low_kwh=sum(source.energy_low_kwh for source in sources),
        energy_high_kwh=sum(source.energy_high_kwh for source in sources),
        measured_energy_kwh=sum(source.measured_energy_kwh for source in sources),
        emissions_g=sum(source.emissions_kg for source in sources) * _G_PER_KG,
        grid_intensity_source=measured[0].grid_intensity_source,
        methods=tuple(sorted({method for source in sources for method in source.methods})),
        steps=sum(source.steps for source in sources),
        sources=len(sources),
        events_dropped=sum(source.events_dropped for source in sources),
        events_waiting=sum(waiting.get(source.source_id, 0) for source in sources),
    )


def _state(source: Account, live: set[str]) -> str:
    if source.finished:
        return source.status
    return "RUNNING" if source.source_id in live else "UNFINISHED"


_HEADINGS = ("run", "model", "status", "began (UTC)", "duration", "kWh", "band", "g CO2e", "method", "steps", "waiting")


def _cells(run: RunReport) -> tuple[str, ...]:
    return (
        run.run_id,
        run.model_name,
        run.status,
        (run.began or "unknown")[:19].replace("T", " "),
        str(datetime.timedelta(seconds=round(run.duration_s))),
        f"{run.energy_kwh:.3g}",
        f"{run.energy_low_kwh:.3g} to {run.energy_high_kwh:.3g}",
        f"{run.emissions_g:.3g}",
        "+".join(run.methods) or "none",
        str(run.steps),
        str(run.events_waiting),
    )


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equally many cells as aligned lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(f"{'  '.join(map(str.ljust, row, widths)).rstrip()}\n" for row in rows)


def _text(runs: Sequence[RunReport]) -> str:
    if not runs:
        return "no run is known here: none was measured yet, or WATTLINE_SPOOL_DIR names another folder\n"
    return columns([_HEADINGS, *map(_cells, runs)]) + _notes(runs)


def _notes(runs: Iterable[RunReport]) -> str:
    return "".join(
        f"{run.run_id}: {run.events_dropped} events were dropped, so its steps are a lower bound\n"
        for run in runs
        if run.events_dropped
    )


def _markdown(runs: Sequence[RunReport]) -> str:
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, runs)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def _json(runs: Sequence[RunReport]) -> str:
    return f"{json.dumps([asdict(run) for run in runs], indent=2)}\n"


FORMATS: dict[str, Callable[[Sequence[RunReport]], str]] = {"text": _text, "json": _json, "markdown": _markdown}
"""How a report may be written."""
