"""Who is measured: how each is started, and where in the store its three outputs stand."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench.line import Line
from bench.recording import Sums
from tools.venvs import locked_python
from wattline_common import kafka, store
from wattline_common.errors import ResourceError
from wattline_stack.progress import ProgressView

__all__ = ["PLAIN_LOOP", "QUIX", "WATTLINE", "Contestant", "Output", "contestants", "problems"]

_HERE = Path(__file__).parent
_MJ_PER_KWH = 3.6e9
WATTLINE, QUIX, PLAIN_LOOP = "Wattline", "Quix Streams", "plain loop"


@dataclass(frozen=True, slots=True)
class Output:
    """A collection that must add up to the ledger; fields by path, no ``events`` where a document is one event."""

    collection: str
    energy: str
    events: str = ""
    run_id: str = "run_id"

    def sums(self, line: Line, database: str, run_id: str | None = None) -> Sums:
        """Return what it holds, by run; of one run alone if it is named."""
        wanted = {} if run_id is None else {self.run_id: run_id}
        found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        # Raw energies are whole millijoules each; a sum of kWh is one within rounding.
        energies: dict[str, float] = defaultdict(float)
        projection = {name: 1 for name in (self.run_id, self.energy, self.events) if name}
        for document in line.client[database][self.collection].find(wanted, projection, batch_size=10_000):
            run_id = document[self.run_id]
            events, millijoules = found[run_id]
            energy = _at(document, self.energy) * _MJ_PER_KWH
            energies[run_id] += energy
            found[run_id] = events + (_at(document, self.events) if self.events else 1), millijoules + round(energy)
        if not self.events:
            return found
        return {run_id: (events, round(energies[run_id])) for run_id, (events, _) in found.items()}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the work."""

    name: str
    database: str
    raw: Output
    runs: Output
    windows: Output
    command: Callable[[Line], Sequence[str]]
    environment: Callable[[Line], Mapping[str, str]] = lambda _: {}
    settled: Callable[[Line], bool] = lambda _: True

    def start(self, line: Line) -> psutil.Process:
        """Start it."""
        return line.start(self.name, self.command(line), self.environment(line))

    def require_running(self, line: Line, process: psutil.Process) -> None:
        """Raise `ResourceError` when it has ended."""
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise ResourceError(f"{self.name} has ended; its log ends:\n{line.tail(self.name)}")

    def stored(self, line: Line) -> int:
        """Return how many raw events are in the store, at little cost."""
        return line.client[self.database][self.raw.collection].estimated_document_count()


def problems(contestant: Contestant, line: Line, expected: Sums) -> list[str]:
    """Return what differs from the ledger, by output; nothing when all three agree in every run."""
    found = []
    for output in (contestant.raw, contestant.runs, contestant.windows):
        sums = output.sums(line, contestant.database)
        wrong = [run_id for run_id in expected.keys() | sums.keys() if sums.get(run_id) != expected.get(run_id)]
        if wrong:
            first = min(wrong)
            found.append(
                f"{output.collection}: {len(wrong)} of {len(expected)} runs differ from the ledger; "
                f"{first} has {sums.get(first)}, not {expected.get(first)} (events, millijoules)"
            )
    return found


def contestants(cache_dir: Path, names: Sequence[str], progress: ProgressView) -> list[Contestant]:
    """Return the named contestants, after making what they need."""
    makers = {
        WATTLINE: _wattline,
        QUIX: lambda: _quix(locked_python(_HERE / "peers" / "quix.lock", cache_dir, progress)),
        PLAIN_LOOP: _plain_loop,
    }
    return [makers[name]() for name in names]


def _wattline() -> Contestant:
    return Contestant(
        WATTLINE,
        store.DATABASE,
        Output(store.TRAINING_METRICS, "energy_kwh"),
        Output(store.TRAINING_RUN_SUMMARY, "energy_kwh", "events_expected"),
        Output(store.AGGREGATED_METRICS, "aggregate.energy_kwh", "aggregate.events"),
        lambda _: [sys.executable, "-m", "wattline_streaming"],
        lambda line: {"WATTLINE_CHECKPOINT_DIR": str(line.data_dir / "checkpoint")},
        lambda line: line.client[store.DATABASE][store.DIRTY_WINDOWS].estimated_document_count() == 0,
    )


def _plain_loop() -> Contestant:
    def command(line: Line) -> list[str]:
        at = {"--mongodb": line.endpoints.mongodb_uri, "--database": "plain_loop", **_kafka(line)}
        return [sys.executable, str(_HERE / "peers" / "plain_loop.py"), *_options(at)]

    return _peer(PLAIN_LOOP, "plain_loop", command)


def _quix(python: Path) -> Contestant:
    def command(line: Line) -> list[str]:
        uri = urlsplit(line.endpoints.mongodb_uri)
        at = {"--mongodb-host": str(uri.hostname), "--mongodb-port": str(uri.port), "--database": "quix"}
        options = {**at, "--state": str(line.data_dir / "state"), **_kafka(line)}
        return [str(python), str(_HERE / "peers" / "quix.py"), *_options(options)]

    return _peer(QUIX, "quix", command)


def _peer(name: str, database: str, command: Callable[[Line], Sequence[str]]) -> Contestant:
    raw = Output("events", "energy_kwh")
    runs, windows = (Output(name, "energy_kwh", "events") for name in ("runs", "windows"))
    return Contestant(name, database, raw, Output("runs", runs.energy, "events", "_id"), windows, command)


def _kafka(line: Line) -> dict[str, str]:
    at = line.endpoints
    return {
        "--brokers": at.kafka_bootstrap_servers,
        "--registry": at.schema_registry_url,
        "--topic": kafka.TRAINING_EVENTS,
    }


def _options(values: Mapping[str, str]) -> list[str]:
    return [part for option in values.items() for part in option]


def _at(document: store.Document, path: str) -> Any:  # noqa: ANN401  # a number
    value: Any = document
    for name in path.split("."):
        value = value.get(name, 0)
    return value or 0
