"""A line whose stream can be struck at a place, and what must hold of it once the fault is over."""

from __future__ import annotations

import datetime
import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults import places
from tests.faults.places import Fault, Place
from tests.ledgers import RunFigures, fleet_figures, ledger_differences
from tests.line import Line, running_line, topic_messages, wait_for
from wattline_common import kafka, store
from wattline_common.codec import Decoder
from wattline_common.registry import Registry
from wattline_stack.services import Service
from wattline_streaming.audit import audit
from wattline_streaming.backlog import committed_offsets, unread

__all__ = ["HEALED_WITHIN_S", "HEALINGS", "KILLS", "SEED", "FaultedLine", "Struck", "faulted_line", "now"]

KILLS = int(os.environ.get("WATTLINE_TEST_KILLS", "2"))
SEED = int(os.environ.get("WATTLINE_TEST_SEED", "1"))
HEALED_WITHIN_S = 60.0
HEALINGS: list[tuple[float, float]] = []
"""Of each healing in this process: how long the lag lasted, in seconds, and the load average at its end."""
_ROOT = Path(__file__).resolve().parents[2]
_STARTED = "streaming training.events into"
_SETTLE_DELAY_S = 2.0
_TOLD = f"WATTLINE_TEST_SEED={SEED} WATTLINE_TEST_KILLS={KILLS}"
_STORE_HEAP_MB = 768 + 64 * KILLS  # what every fault writes stays until the end

Struck = dict[str, Any]
"""What the process that struck has written: ids of the command it was at, moment, pid."""


def now() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.UTC)


def overload() -> float:
    """Return by how much a minute is longer here: in proportion to load beyond two tasks a core, which is ours."""
    return max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


class FaultedLine:
    """A line, its stream, and the figures of all that was ever produced on it."""

    def __init__(self, line: Line, folder: Path) -> None:
        self.line = line
        self.expected: dict[str, RunFigures] = {}
        self.rejected = 0
        self._folder = folder
        self._faults = 0
        self._fleets = 0
        self._revisions: dict[str, int] = {}
        self._log_bytes = 0
        # Histories follow each other in event time, or the watermark would keep them from the fast path.
        self._history_at = now().replace(microsecond=0) - datetime.timedelta(days=8)
        self._behind_at = self._history_at
        self.stream = self.start_stream()

    def state(self) -> Struck:
        """Return what another object on the same folder needs to go on."""
        times = {"history_at": self._history_at.isoformat(), "behind_at": self._behind_at.isoformat()}
        return {"faults": self._faults, "fleets": self._fleets, "rejected": self.rejected, **times}

    def take_up(self, state: Struck) -> None:
        """Go on where that object was."""
        self._faults, self._fleets, self.rejected = state["faults"], state["fleets"], state["rejected"]
        self._history_at = datetime.datetime.fromisoformat(state["history_at"])
        self._behind_at = datetime.datetime.fromisoformat(state["behind_at"])

    def skip_histories(self) -> None:
        """Leave out the day in which a fault that was broken off has its histories: runs are named by their start."""
        self._history_at += datetime.timedelta(days=1)
        self._behind_at -= datetime.timedelta(days=1)

    @property
    def checkpoint(self) -> Path:
        """Return where Spark keeps offsets and commits, or will."""
        folder = Path(self.line.data_dir, "checkpoint")
        return max(folder.glob("generation-*"), default=folder / "generation-none")

    def server_pid(self, name: str) -> int:
        """Return the process of a server; 0 when it is dead."""
        return next(each.pid or 0 for each in self.line.stack.status() if each.name == name)

    def start_stream(self) -> Service:
        """Start the stream, as a service that can be struck."""
        log = self.line.data_dir / "logs" / "streaming.log"
        self._log_bytes = log.stat().st_size if log.exists() else 0
        self.stream = self.line.services.start("streaming", ["tests.faults.killed_stream"])
        return self.stream

    def log(self) -> str:
        """Return what the stream has logged since it was started last, or since `forget_log`."""
        with self.stream.log.open("rb") as file:
            file.seek(self._log_bytes)
            return file.read().decode(errors="replace")

    def forget_log(self) -> None:
        """Read the log from here on."""
        self._log_bytes = self.stream.log.stat().st_size

    def wait_for_log(self, *words: str) -> None:
        """Wait until the log has all of the words."""
        wait_for(lambda: all(word in self.log() for word in words), lambda: f"{words} in the log: {self.stream.tail()}")

    def kill_stream(self) -> None:
        """End the stream and all its processes by SIGKILL."""
        places.kill_session(self.stream.pid)
        self.bury_stream()

    def bury_stream(self) -> None:
        """Wait until the killed stream is gone with all its processes."""
        assert self.stream.wait(30), f"the stream was not killed: {self.stream.tail()}"
        assert self.stream.exit_code == -signal.SIGKILL, self.stream.tail()
        left = self.stream.pid
        wait_for(lambda: not places.session(left), lambda: f"processes of {left} to end", 30)
        self.line.services.end(self.stream, 1)

    def arm(self, place: Place, passes: int, **how: Any) -> int:
        """Arm a fault; return its number."""
        self._faults += 1
        (self._folder / places.STRUCK).unlink(missing_ok=True)
        (self._folder / places.WRITES).unlink(missing_ok=True)
        Fault(place, passes, self._faults, **how).arm(self._folder / places.ARMED)
        return self._faults

    def struck(self) -> Struck:
        """Wait until the armed fault struck; return what is known of it."""
        path = self._folder / places.STRUCK
        wait_for(path.exists, lambda: f"a process to pass {Fault.read(self._folder / places.ARMED)}")
        found: Struck = json.loads(path.read_text())
        return found

    def writes(self) -> list[Mapping[str, Any]]:
        """Return the writes that failed or were slow since the fault was armed."""
        path = self._folder / places.WRITES
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def writes_under_way(self, at_s: float) -> list[Mapping[str, Any]]:
        """Return those of them that were sent before a moment and not answered by then."""
        return [write for write in self.writes() if write["started_s"] <= at_s <= write["ended_s"]]

    def simulate(self, *options: str) -> tuple[Service, Path]:
        """Start a fleet; return it, and where its ledger will be."""
        self._fleets += 1
        name = f"fleet-{self._fleets}"
        ledger = self.line.data_dir / f"{name}.json"
        arguments = ["--seed", str(SEED), "--ledger", str(ledger), *options]
        return self.line.services.start(name, ["wattline_trainer", "simulate", *arguments]), ledger

    def history(self, runs: int, *options: str, behind: bool = False) -> tuple[Service, Path]:
        """Start a history of some 200 events a run, after all histories before it; or behind the watermark of all."""
        days = 0.1
        if behind:
            self._behind_at -= datetime.timedelta(days=days)
            start = self._behind_at
        else:
            start, self._history_at = self._history_at, self._history_at + datetime.timedelta(days=days)
        when = ["--start", start.isoformat(), "--days", str(days)]
        return self.simulate("--runs", str(runs), *when, *options)

    def expect_fleet(self, fleet: Service, ledger: Path, exit_code: int = 0) -> dict[str, RunFigures]:
        """Wait for a fleet's end, and expect what its ledger says."""
        assert fleet.wait(120), "the fleet was not written"
        assert fleet.exit_code == exit_code, fleet.tail()
        told = json.loads(ledger.read_text())
        assert told["complete"] is True
        figures = fleet_figures(told)
        self.expected |= figures
        return figures

    def lag(self) -> int:
        """Return how many messages Spark has not committed yet."""
        offsets = kafka.offsets(self.line.endpoints.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
        left = unread(offsets, committed_offsets(self.checkpoint)).values()
        return sum(after - first for first, after in left)

    def is_in_a_batch(self) -> bool:
        """Return whether Spark has planned a batch and not committed it."""
        return max(self.batches("offsets"), default=-1) > max(self.batches("commits"), default=-1)

    def batches(self, kind: str) -> list[int]:
        """Return the numbers of the batches that Spark has planned (offsets) or committed (commits), as far as kept."""
        names = [path.name for path in self.checkpoint.glob(f"{kind}/*")]
        return [int(name) for name in names if name.isdecimal()]

    def forget_revisions(self) -> None:
        """Hold revisions to what they were no more: the store that had them is lost."""
        self._revisions.clear()

    def unsettled(self) -> int:
        """Return how many marks there are of windows whose time to be settled has come."""
        due = now() - datetime.timedelta(seconds=store.WINDOW_LENGTH_S + _SETTLE_DELAY_S)
        marks = self.line.database[store.DIRTY_WINDOWS]
        return marks.count_documents({"window_start_us": {"$lte": round(due.timestamp() * 1e6)}})

    def wait_until_up(self) -> float:
        """Wait until the stream that was started last has done a batch or has none to do; return the moment.

        Until then a loaded machine is starting Spark, which tells nothing of us.
        """
        self.wait_for_log(_STARTED)
        done = max(self.batches("commits"), default=-1)
        wait_for(
            lambda: max(self.batches("commits"), default=-1) > done or self.lag() == 0,
            lambda: f"the first batch: {self.stream.tail()}",
        )
        return time.monotonic()

    def assert_healed(self, healed_s: float) -> None:
        """Hold the line to its promises: no lag within a minute of a moment, nothing missing, nothing different."""
        self.wait_until_healed(healed_s)
        self.assert_right()

    def wait_until_healed(self, healed_s: float) -> float:
        """Wait until there is no lag, a minute after a moment at most; return how long after it that was."""
        wait_for(
            lambda: self.lag() == 0 and self.unsettled() == 0,
            lambda: f"{_TOLD}: no lag: {self.lag()} messages, {self.unsettled()} windows; {self.stream.tail()}",
            healed_s + HEALED_WITHIN_S * overload() - time.monotonic(),
        )
        HEALINGS.append((time.monotonic() - healed_s, os.getloadavg()[0]))
        return HEALINGS[-1][0]

    def assert_right(self) -> None:
        """Hold the line without lag to what was emitted: nothing missing, nothing doubled, nothing different."""
        told, database = _TOLD, self.line.database
        windows = database[store.DIRTY_WINDOWS]
        wait_for(lambda: windows.count_documents({}) == 0, lambda: f"{told}: no window open: {list(windows.find())}")
        found = audit(database)
        assert found.clean, f"{told}\n{found.as_text()}"
        assert [run.run_id for run in found.runs if run.missing_events] == [], f"{told}\n{found.as_text()}"
        differences = ledger_differences(database, found, self.expected)
        assert not differences, "\n".join([told, *differences])
        assert {run.run_id for run in found.runs} == self.expected.keys(), told
        assert self.line.stored() == sum(run.events for run in self.expected.values()), told
        assert found.counts[store.REJECTED_EVENTS] == self.rejected, told
        self._assert_revisions(told)

    def _assert_revisions(self, told: str) -> None:
        """Invariant 5; and the last word on the aggregates topic is the store's."""
        stored = {
            window["_id"]: window["aggregate"]
            for window in self.line.database[store.AGGREGATED_METRICS].find({}, {"aggregate": 1})
        }
        down = [key for key, revision in self._revisions.items() if stored[key]["revision"] < revision]
        assert not down, f"{told}: revisions went down: {down}"
        self._revisions = {key: aggregate["revision"] for key, aggregate in stored.items()}
        registry = Registry(self.line.endpoints.schema_registry_url)
        decoder = Decoder(lambda schema_id: registry.schema_text(schema_id, kafka.TRAINING_AGGREGATES))
        published: dict[str, tuple[int, int, float]] = {}
        for message in topic_messages(self.line.endpoints, kafka.TRAINING_AGGREGATES):
            fields = decoder.datum(message.value()).fields
            published[message.key().decode()] = fields["revision"], fields["events"], fields["energy_kwh"]
        wrong = [
            (key, figures, published.get(key))
            for key, aggregate in stored.items()
            if (figures := (aggregate["revision"], aggregate["events"], aggregate["energy_kwh"])) != published.get(key)
        ]
        assert not wrong, f"{told}: {len(wrong)} windows' last word is not on the topic: {wrong[:3]}"

    def chance(self, *of: object) -> random.Random:
        """Return what draws for one kill, so that each is the same whatever was drawn before it."""
        return random.Random(f"{SEED}:{of}")


@contextmanager
def faulted_line(
    folder: Path, store_heap_mb: int = _STORE_HEAP_MB, /, *, batch: int, **settings: str
) -> Iterator[FaultedLine]:
    """Run a line with batches of so many messages and a stream that can be struck."""
    faults = folder / "faults"
    faults.mkdir(exist_ok=True)
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {
        "PYTHONPATH": os.pathsep.join(paths),
        places.FOLDER_VARIABLE: str(faults),
        "WATTLINE_MAX_OFFSETS_PER_TRIGGER": str(batch),
        "WATTLINE_SETTLE_DELAY_S": str(_SETTLE_DELAY_S),
    }
    with running_line(folder, store_heap_mb, **ours, **settings) as line:
        yield FaultedLine(line, faults)
