"""What was measured, as JSON for machines and as a table for people: medians, with lowest and highest beside them."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.contestants import WATTLINE
from bench.speed import Pass, SpeedTrial
from bench.steady import SteadyTrial

__all__ = ["Report"]

T = TypeVar("T")

_PACKAGES = ("pyspark", "pyarrow", "confluent-kafka", "fastavro", "pymongo")
_LOCKED = Path(__file__).parent / "peers" / "quix.lock"


@dataclass
class Report:
    """All trials of one bench, kept in a file after each, so that an interrupted bench loses nothing."""

    path: Path
    speed: list[SpeedTrial] = field(default_factory=list)
    steady: list[SteadyTrial] = field(default_factory=list)

    def add(self, trial: SpeedTrial | SteadyTrial) -> None:
        """Take in a trial."""
        if isinstance(trial, SpeedTrial):
            self.speed.append(trial)
        else:
            self.steady.append(trial)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            **_machine(),
            "speed": [each.as_json() for each in self.speed],
            "steady": [each.as_json() for each in self.steady],
        }
        self.path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def as_text(self) -> str:
        """Return the tables in Markdown."""
        machine = _machine()
        head = f"{machine['date'][:10]}, {machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB; "
        head += ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + "."
        return "\n\n".join([head, *self._speed_tables(), *self._cost_table(), *self._steady_table()])

    def _speed_tables(self) -> list[str]:
        tables = []
        for fleet in dict.fromkeys(trial.fleet for trial in self.speed):
            trials = [trial for trial in self.speed if trial.fleet == fleet]
            rows = [self._speed_row(name, trials) for name in dict.fromkeys(trial.contestant for trial in trials)]
            titles = [
                "",
                "warm, events/s",
                "Wattline is times as fast",
                "warm, CPU s per 100,000",
                "cold, events/s",
            ]
            title = f"{fleet} runs, {len(trials) // len(rows)} repeats, load average {_spread(trials, _load, 1)}:"
            tables += [title, _table([*titles, "cold, CPU s per 100,000"], rows)]
        return tables

    @staticmethod
    def _speed_row(name: str, trials: Sequence[SpeedTrial]) -> list[str]:
        own = [trial for trial in trials if trial.contestant == name]
        ours = {trial.repeat: trial for trial in trials if trial.contestant == WATTLINE}
        ratios = [
            ours[trial.repeat].warm.events_per_s / trial.warm.events_per_s for trial in own if trial.repeat in ours
        ]
        return [
            name,
            _spread(own, lambda trial: trial.warm.events_per_s),
            "" if name == WATTLINE or not ratios else _spread(ratios, float, 2),
            _spread(own, lambda trial: trial.warm.cpu_s_per_100k, 1),
            _spread(own, lambda trial: trial.cold.events_per_s),
            _spread(own, lambda trial: trial.cold.cpu_s_per_100k, 1),
        ]

    def _cost_table(self) -> list[str]:
        """Return where the CPU seconds of the warm pass went."""
        groups = sorted({group for trial in self.speed for group in trial.warm.cpu_s})
        rows = []
        for contestant, fleet in dict.fromkeys((trial.contestant, trial.fleet) for trial in self.speed):
            passes = [each.warm for each in self.speed if (each.contestant, each.fleet) == (contestant, fleet)]
            spent = [statistics.median(_of_group(each, group) for each in passes) for group in groups]
            settling = statistics.median(each.settling_cpu_s * 1e5 / each.events for each in passes)
            rows.append([contestant, fleet, *(f"{seconds:.1f}" for seconds in spent), f"{settling:.1f}"])
        if not rows:
            return []
        titles = ["", "runs", *groups, "then settling, all"]
        return ["CPU seconds per 100,000 events, warm, by process (medians):", _table(titles, rows)]

    def _steady_table(self) -> list[str]:
        rows = []
        for trial in self.steady:
            first_mb, last_mb = trial.thirds_mb()
            rows.append(
                [
                    trial.contestant,
                    f"{trial.events / trial.seconds:.0f}",
                    f"{trial.seconds:.0f}",
                    *(f"{seconds:.2f}" for seconds in (trial.p50_s, trial.p95_s, trial.p99_s)),
                    f"{trial.cpu_s_per_100k:.0f}",
                    f"{first_mb:.0f} → {last_mb:.0f}",
                    f"{trial.load_average:.1f}",
                ]
            )
        if not rows:
            return []
        titles = ["", "events/s", "seconds", "p50, s", "p95, s", "p99, s", "CPU s per 100,000"]
        titles += ["memory in MB, first → last third", "load average"]
        return ["Live traffic, from the broker's append time to the raw event in the store:", _table(titles, rows)]


def _of_group(each: Pass, group: str) -> float:
    return each.cpu_s.get(group, 0.0) * 1e5 / each.events


def _load(trial: SpeedTrial) -> float:
    return trial.load_average


def _spread(values: Sequence[T], figure: Callable[[T], float], digits: int = 0) -> str:
    """Return the median, with lowest and highest when there are several."""
    figures = [figure(value) for value in values]
    middle = f"{statistics.median(figures):,.{digits}f}"
    if len(figures) == 1:
        return middle
    return f"{middle} ({min(figures):,.{digits}f} to {max(figures):,.{digits}f})"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _machine() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    locked = [line.split()[0].split("==") for line in _LOCKED.read_text(encoding="utf-8").splitlines() if "==" in line]
    versions["quixstreams"] = dict(locked)["quixstreams"]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": _cpu_name(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
