"""One line, many faults: each kind several times, in an order drawn by a seed; after each the line must be right again.

A campaign can be stopped and taken up again: what is done, and what was emitted, stands in its folder.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from tests.contract_line import ContractLine
from tests.faults.disks import disks
from tests.faults.faulted_line import FaultedLine, faulted_line
from tests.faults.proxy import Proxy
from tests.faults.viewer import Viewer, viewer
from tests.ledgers import RunFigures, event_figures
from tests.line import topic_messages, wait_for
from wattline.spool_folders import SpoolRoot
from wattline_common import kafka, store
from wattline_common.codec import Decoder
from wattline_common.errors import ContractError
from wattline_common.events import Event, RunFinished
from wattline_common.registry import Registry
from wattline_stack.demo import FAST_START_JAVA_OPTIONS
from wattline_stack.ports import keep_ports
from wattline_stack.servers import StoreServer
from wattline_stack.services import Service

__all__ = ["Campaign", "Kind", "Outcome", "campaign", "schedule"]

_DONE, _STATE, _TEMPORARY = "campaign.jsonl", "campaign.json", "tmp"
_LIVE = ["--runs", "0", "--live", "3", "--speed", "8", "--emit-interval", "2"]
_SERVERS = ("kafka", "registry", "store")
_STORE_HEAP_MB = 2500  # what every fault writes stays until the end


@dataclass(frozen=True)
class Kind:
    """A kind of fault: ``strike`` does it and undoes it, and returns what it hit; what hit nothing fails."""

    name: str
    strike: Callable[[Campaign, random.Random], str]
    needs_disks: bool = False


@dataclass(frozen=True)
class Outcome:
    """One fault of a campaign: its number, kind, what it hit, how long it and the healing took, in seconds."""

    number: int
    kind: str
    hit: str
    struck_s: float
    healed_s: float
    events: int
    load: float


def schedule(kinds: Sequence[Kind], times: int, seed: int) -> list[Kind]:
    """Return each kind so many times, in an order drawn by the seed."""
    order = [kind for kind in kinds for _ in range(times)]
    random.Random(f"schedule {seed}").shuffle(order)
    return order


class Campaign:
    """The line with all that runs on it, and what a fault may use."""

    def __init__(self, line: FaultedLine, proxy: Proxy, seed: int, disks: Mapping[str, Path], viewer: Viewer) -> None:
        self.line = line
        self.proxy = proxy
        self.disks = disks
        self.data_dir = line.line.data_dir
        self.temporary = self.data_dir / _TEMPORARY
        self.contract = ContractLine(line.line)
        self.number = 0
        self._seed = seed
        self._viewer = viewer
        self._page_url = f"http://127.0.0.1:{keep_ports(self.data_dir, ['page'])['page']}"
        self.page = self._start_page()
        self._live: tuple[Service, Path] | None = None
        self._unknown: set[str] = set()
        self._trainings: dict[str, subprocess.Popen[str]] = {}
        self._broken_off: set[str] = set()
        self._take_up()

    def run(self, kind: Kind, number: int) -> Outcome:
        """Strike once, heal, and hold the line to the invariants; note it."""
        self.number = self._unused(number)
        self.start_live()
        chance = random.Random(f"{self._seed}:{number}:{kind.name}")
        began_s = time.monotonic()
        hit = kind.strike(self, chance)
        assert hit, f"{kind.name} hit nothing"
        struck_s, restarted = time.monotonic() - began_s, self.restore_all()
        healing_s = self.line.wait_until_up() if restarted else time.monotonic()
        self.end_live()
        healed_s = self.line.wait_until_healed(healing_s)
        self.expect_from_topic()
        self.line.assert_right()
        self.assert_on_page(chance)
        outcome = Outcome(number, kind.name, hit, struck_s, healed_s, self.line.line.stored(), os.getloadavg()[0])
        self._note(outcome)
        return outcome

    def done(self) -> list[Outcome]:
        """Return the faults that this campaign has behind it."""
        path = self.data_dir / _DONE
        return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    # What a fault may use

    def start_live(self) -> None:
        """Let some runs be live, and wait until their events arrive."""
        if self._live is None:
            self._live = self.line.simulate(*_LIVE)
            more = self.line.line.stored() + 10
            wait_for(lambda: self.line.line.stored() >= more, lambda: f"live events: {self.line.stream.tail()}")

    def end_live(self) -> None:
        """End the live runs, which deliver all they have, and expect what their ledger says."""
        if self._live is not None:
            fleet, ledger = self._live
            assert fleet.exit_code is None, f"the live runs ended: {fleet.tail()}"
            fleet.signal(signal.SIGTERM)
            self.line.expect_fleet(fleet, ledger, exit_code=128 + signal.SIGTERM)
            self._live = None

    def undelivered(self) -> int:
        """Return how many events the live runs have emitted and Kafka has not acknowledged."""
        assert self._live is not None
        totals = json.loads(self._live[1].read_text())["totals"]
        return int(totals["events"] - totals["messages_delivered"])

    def train(self, run_id: str, steps: int, **variables: str) -> subprocess.Popen[str]:
        """Start a tracked training in a process of its own, with a spool of its own; return when it runs."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.training", run_id, str(steps)],
            env={**os.environ, **self.tracker_environment(run_id), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        self._unknown.add(run_id)
        self._trainings[run_id] = process
        return process

    def spool(self, run_id: str) -> Path:
        """Return the spool of a training."""
        return self.data_dir / "spools" / run_id

    def tracker_environment(self, run_id: str) -> dict[str, str]:
        """Return what leads a tracker to the servers, and to a spool of its own."""
        endpoints = self.line.line.endpoints.environment()
        return {**endpoints, "WATTLINE_SPOOL_DIR": str(self.spool(run_id)), "WATTLINE_QUIET": "1"}

    def wattline(self, run_id: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the tracker's command on a training's spool."""
        command = [sys.executable, "-m", "wattline", *arguments]
        environment = {**os.environ, **self.tracker_environment(run_id)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def of_topic(self, run_id: str) -> list[int]:
        """Return the seqs of a run's messages on the topic, as often as they came."""
        return [event.seq for event in self._events({run_id})]

    def ends(self) -> dict[int, int]:
        """Return the offset of each partition's next message."""
        offsets = kafka.offsets(self.line.line.endpoints.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
        return {number: end for number, (_, end) in offsets.items()}

    def wait_for_message(self, run_id: str, ends: Mapping[int, int]) -> None:
        """Return as soon as a run has a message beyond these offsets."""
        at = self.line.line.endpoints.kafka_bootstrap_servers
        consumer = Consumer({"bootstrap.servers": at, "group.id": "campaign", "enable.auto.commit": False})
        consumer.assign([TopicPartition(kafka.TRAINING_EVENTS, number, end) for number, end in ends.items()])
        end_s = time.monotonic() + 60
        while True:
            assert time.monotonic() < end_s, f"no message of {run_id}"
            message = consumer.poll(0.05)
            if message is not None and message.error() is None and message.key() == run_id.encode():
                break
        consumer.close()

    def messages(self) -> int:
        """Return how many messages the topic has taken."""
        return sum(self.ends().values())

    def page_answers(self) -> bool:
        """Return whether the dashboard is healthy."""
        address = f"{self._page_url}/_stcore/health"
        with suppress(OSError), urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
        return False

    # Healing

    def restore_all(self) -> bool:
        """Start whatever a fault has ended; return whether the stream was started."""
        for name in _SERVERS:
            if not self.line.server_pid(name):
                self.line.line.stack.restart(name)
        if self.page.exit_code is not None:
            self.line.line.services.end(self.page, 1)
            self.page = self._start_page()
        if self.line.stream.exit_code is None:
            return False
        if self.line.stream in self.line.line.services.started:  # it ended by itself: a kill of ours buries it
            self.line.line.services.end(self.line.stream, 1)
        self.line.start_stream()
        return True

    def expect_from_topic(self) -> None:
        """Expect of runs without a ledger, as they were struck, what they brought to the topic: all they emitted."""
        if not self._unknown:
            return
        events = {(event.run_id, event.source_id, event.seq): event for event in self._events(self._unknown)}
        sources: dict[tuple[str, str], list[int]] = {}
        for run_id, source_id, seq in sorted(events):
            sources.setdefault((run_id, source_id), []).append(seq)
        for (run_id, source_id), seqs in sources.items():
            assert seqs == list(range(len(seqs))), f"{run_id} lost events of {source_id}: {seqs}"
        assert {run_id for run_id, _ in sources} == self._unknown, f"some of {self._unknown} brought nothing"
        for run_id in self._unknown:
            self._assert_all_arrived(run_id, [event for event in events.values() if event.run_id == run_id])
        self.line.expected |= event_figures(events.values())
        self._unknown.clear()

    def _assert_all_arrived(self, run_id: str, events: list[Event]) -> None:
        """Hold what came of a training to its own last word, or, where it could say none, to what its spool had."""
        said = [event.events_emitted for event in events if isinstance(event, RunFinished)]
        training = self._trainings.pop(run_id, None)
        assert said or training is None or training.poll() != 0, f"{run_id} ended by itself, and its last event is lost"
        kept = [account.events for account in SpoolRoot(self.spool(run_id)).history()]
        for emitted in said or kept:
            assert emitted == len(events), f"{run_id} emitted {emitted} events, and {len(events)} arrived"
        assert said or kept or training is None, f"{run_id} has left no word of what it emitted"

    def _events(self, runs: set[str] | None) -> list[Event]:
        """Return what the topic has of some runs, or of all, as often as it came; without what was refused."""
        refused = {
            (document["partition"], document["offset"])
            for document in self.line.line.database[store.REJECTED_EVENTS].find({}, {"partition": 1, "offset": 1})
        }
        registry = Registry(self.line.line.endpoints.schema_registry_url)
        decoder = Decoder(lambda schema_id: registry.schema_text(schema_id, kafka.TRAINING_EVENTS))
        keys = None if runs is None else {run.encode() for run in runs}
        found = []
        for message in topic_messages(self.line.line.endpoints, kafka.TRAINING_EVENTS):
            if (keys is None or message.key() in keys) and (message.partition(), message.offset()) not in refused:
                with suppress(ContractError):
                    found.append(decoder.event(message.value()))
        return found

    def _start_page(self) -> Service:
        port = self._page_url.rpartition(":")[2]
        return self.line.line.services.start("dashboard", ["wattline_dashboard", "--port", port])

    def assert_on_page(self, chance: random.Random) -> None:
        """Hold what the page shows of a run, one of the last ten, to the ledger."""
        wait_for(self.page_answers, lambda: f"the page: {self.page.tail()}")
        run_id = chance.choice(list(self.line.expected)[-10:])
        self._viewer.assert_shows(self._page_url, run_id, self.line.expected[run_id])

    # Taking up

    def _note(self, outcome: Outcome) -> None:
        self._keep_state()
        with (self.data_dir / _DONE).open("a") as file:
            file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")

    def _keep_state(self) -> None:
        state = {
            "expected": {run: dataclasses.asdict(figures) for run, figures in self.line.expected.items()},
            "line": self.line.state(),
        }
        new = self.data_dir / f"{_STATE}.new"
        new.write_text(json.dumps(state))
        new.rename(self.data_dir / _STATE)

    def _take_up(self) -> None:
        """Go on after the last fault that was noted; what came to the topic since is expected as it stands there."""
        path = self.data_dir / _STATE
        if not path.exists():
            self._keep_state()
            return
        state = json.loads(path.read_text())
        self.line.expected |= {run: RunFigures(**figures) for run, figures in state["expected"].items()}
        self.line.take_up(state["line"])
        self.line.wait_until_up()
        wait_for(lambda: self.line.lag() == 0, lambda: f"the stream to read on: {self.line.stream.tail()}")
        self.line.rejected = self.line.line.database[store.REJECTED_EVENTS].count_documents({})
        self._unknown = {event.run_id for event in self._events(None)} - self.line.expected.keys()
        if self._unknown:
            self.line.skip_histories()
        self._broken_off = self._unknown | {spool.name for spool in (self.data_dir / "spools").glob("*")}

    def _unused(self, number: int) -> int:
        """Return what a fault names its runs by: its number, or another where it was broken off and is repeated."""
        taken = tuple(self._broken_off)
        return next(n for n in itertools.count(number, 1000) if not any(run.endswith(f"-{n}") for run in taken))


@contextmanager
def campaign(folder: Path, seed: int) -> Iterator[Campaign]:
    """Run a line for a campaign in a folder, or take up the one that is there.

    The stream and the page reach the store through a proxy, and have their temporary files in the folder. Store and
    checkpoint have a disk of their own where file systems can be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (port_name,) = StoreServer.port_names
    proxy = Proxy(keep_ports(folder, [port_name])[port_name])
    proxy.start()
    temporary = folder / _TEMPORARY
    temporary.mkdir(exist_ok=True)
    ours = {
        "MONGODB_URI": f"mongodb://127.0.0.1:{proxy.port}/",
        "TMPDIR": str(temporary),
        "WATTLINE_SPARK_DRIVER_JAVA_OPTIONS": f"{FAST_START_JAVA_OPTIONS} -Djava.io.tmpdir={temporary}",
    }
    try:
        with (
            disks(folder) as own,
            viewer() as somebody,
            faulted_line(folder, _STORE_HEAP_MB, batch=2000, **ours) as line,
        ):
            yield Campaign(line, proxy, seed, own, somebody)
    finally:
        proxy.close()
