"""The demo: the whole line on this machine, from a real training to a page in the browser, by one command."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import signal
import socket
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo.errors import PyMongoError

from wattline_common import kafka, store
from wattline_common.errors import ResourceError, WattlineError
from wattline_common.events import HardwareSampled
from wattline_common.registry import Registry
from wattline_stack.endpoints import Endpoints
from wattline_stack.progress import ConsoleProgress
from wattline_stack.services import Service, Services
from wattline_stack.settings import StackSettings
from wattline_stack.stack import Stack
from wattline_stack.verdict import Verdict, judge

__all__ = ["FAST_START_JAVA_OPTIONS", "main"]

_DESCRIPTION = """\
Starts Kafka, a Schema Registry, the store, the stream, the dashboard and a real scikit-learn training, and prints the
page's URL; then simulates a day of a fleet, once, and a few live runs beside the real one. Ctrl-C stops all of it; data
stay, and the next demo goes on with them.

Set KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL or MONGODB_URI to use a real server instead of that embedded part.
"""
# The quick compiler alone: a demo's Spark spends more on compiling than it would ever win back.
FAST_START_JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
_MAY_END = {"training", "fleet"}
_FIRST_WATT_DEADLINE_S = 240.0
_COMPLETE_DEADLINE_S = 300.0
_END_S = 30.0
_PAGE_PORT = 8501
_QUICK_EPOCH_S = 0.5  # an epoch takes 1.3 s of a core of 2022: on a quicker one the training must not end first, either
_SPARE_S = 120.0
_SAY_EVERY_S = 10.0


@dataclass(slots=True)
class Demo:
    """One demo from start to end."""

    settings: StackSettings
    progress: ConsoleProgress
    epochs: int
    page_port: int
    runs: int
    live: int
    started_s: float = field(default_factory=time.monotonic)
    run_id: str = field(default_factory=lambda: f"digits-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}")

    def run(self, for_s: float | None) -> int:
        """Start all, show it, stop all; return the exit code."""
        stack = Stack(self.settings)
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._say_goodbye, stack)
            endpoints = stack.start(self.progress)
            services = Services(self.settings.data_dir, endpoints.environment(), defaults=self._defaults())
            cleanup.callback(self._end_services, services)
            with self.progress.task("creating topics, schemas and indexes"):
                self._prepare(endpoints)
            training = self._start_services(services)
            first_watt_s = self._wait_for_first_watt(endpoints, services)
            self.progress.say(f"the first watt is on the page after {first_watt_s:.0f} s")
            fleet = self._start_fleet(endpoints, services)
            self.progress.say(f"open {self.url} (this run), or http://127.0.0.1:{self.page_port}/ (all runs)")
            self._watch(endpoints, services, training, for_s)
            if for_s is None:
                return 0
            verdict = self._verdict(services, [training, *fleet])
        facts = {"url": self.url, "first_watt_s": round(first_watt_s, 1), "run_id": self.run_id, **verdict.facts()}
        sys.stdout.write(json.dumps(facts) + "\n")
        return 0 if verdict.held else 1

    @property
    def url(self) -> str:
        """Return the page of this demo's run."""
        return f"http://127.0.0.1:{self.page_port}/run?run={quote(self.run_id)}"

    @property
    def _ledger(self) -> Path:
        return self.settings.data_dir / "ledgers" / f"{self.run_id}.json"

    @property
    def _fleet_ledger(self) -> Path:
        return self.settings.data_dir / "ledgers" / f"{self.run_id}-fleet.json"

    def _defaults(self) -> dict[str, str]:
        """Return settings that suit one machine; what the user has set goes before them."""
        return {
            "WATTLINE_CHECKPOINT_DIR": str(self.settings.data_dir / "checkpoint"),
            "WATTLINE_SPARK_DRIVER_JAVA_OPTIONS": FAST_START_JAVA_OPTIONS,
            # Small enough that the live run moves on while a history is caught up with.
            "WATTLINE_MAX_OFFSETS_PER_TRIGGER": "5000",
        }

    def _prepare(self, endpoints: Endpoints) -> None:
        kafka.ensure_topics(endpoints.kafka_bootstrap_servers, self.settings.kafka_security)
        for _ in Registry(endpoints.schema_registry_url).register():
            pass
        store.ensure(store.connect(endpoints.mongodb_uri))

    def _start_services(self, services: Services) -> Service:
        services.start("streaming", ["wattline_streaming"])
        services.start("dashboard", ["wattline_dashboard", "--port", str(self.page_port)])
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        options = {
            "--run-id": self.run_id,
            "--epochs": str(self.epochs),  # a plan: so that the page can tell what the end will have cost
            "--emit-interval": "1",
            "--ledger": str(self._ledger),
        }
        return services.start(
            "training", ["wattline_trainer", "digits", *(part for o in options.items() for part in o)]
        )

    def _start_fleet(self, endpoints: Endpoints, services: Services) -> list[Service]:
        """Start the simulated runs: a history when the store has none yet, then some that go on."""
        summaries = store.connect(endpoints.mongodb_uri)[store.TRAINING_RUN_SUMMARY]
        runs = 0 if summaries.find_one({"simulated": True}, {"_id": 1}) else self.runs
        if not (runs or self.live):
            return []
        options = ["--runs", str(runs), "--live", str(self.live), "--seed", "1", "--ledger", str(self._fleet_ledger)]
        self.progress.say(f"simulating a day of {runs} runs, then {self.live} live ones, marked as simulated")
        return [services.start("fleet", ["wattline_trainer", "simulate", *options])]

    def _verdict(self, services: Services, jobs: list[Service]) -> Verdict:
        """End what emits, wait until all it emitted is in the three collections and agrees, and say what came of it."""
        ledgers = [self._ledger, *([self._fleet_ledger] if len(jobs) > 1 else [])]
        deaf: list[str] = []
        verdict = Verdict({}, ["the audit gave no answer"])
        with self.progress.task("ending the runs, and waiting for their last events in the store"):
            for job in jobs:
                job.signal(signal.SIGTERM)
            for job in jobs:
                deaf += [] if services.end(job, _END_S) else [f"{job.name} ignored SIGTERM"]

            def complete() -> bool:
                nonlocal verdict
                verdict = judge(services.run(["wattline_streaming", "audit", "--json"]).stdout, ledgers)
                return verdict.held

            with contextlib.suppress(ResourceError):
                self._poll(complete, services, _COMPLETE_DEADLINE_S, "the events are not all in the store")
        verdict = Verdict(verdict.audit, verdict.problems + deaf)
        for problem in verdict.problems:
            self.progress.say(problem)
        return verdict

    def _wait_for_first_watt(self, endpoints: Endpoints, services: Services) -> float:
        """Wait until a sample of the run is in the store and the page answers; return the seconds since the start."""
        metrics = store.connect(endpoints.mongodb_uri, timeout_ms=2000)[store.TRAINING_METRICS]
        sample = {"run_id": self.run_id, "event_type": HardwareSampled.__name__}
        with self.progress.task("waiting for the first watt on the page"):
            self._poll(
                lambda: _page_answers(self.page_port) and metrics.find_one(sample, {"_id": 1}) is not None,
                services,
                _FIRST_WATT_DEADLINE_S,
                "the first sample of the training did not reach the page",
            )
        return time.monotonic() - self.started_s

    def _poll(self, ready: Callable[[], bool], services: Services, deadline_s: float, problem: str) -> None:
        end_s = time.monotonic() + deadline_s
        while not _without_outage(ready):
            _require_running(services)
            if time.monotonic() > end_s:
                logs = ", ".join(str(service.log) for service in services.started)
                raise ResourceError(f"{problem} within {deadline_s:.0f} s; the logs say why: {logs}")
            time.sleep(0.1)

    def _watch(self, endpoints: Endpoints, services: Services, training: Service, for_s: float | None) -> None:
        """Say how the run goes until the time is over, or, without one, until Ctrl-C."""
        summaries = store.connect(endpoints.mongodb_uri, timeout_ms=2000)[store.TRAINING_RUN_SUMMARY]
        end_s = math.inf if for_s is None else time.monotonic() + for_s
        said_s, ended = -math.inf, False
        while time.monotonic() < end_s:
            _require_running(services)
            if time.monotonic() - said_s >= _SAY_EVERY_S:
                said_s = time.monotonic()
                with contextlib.suppress(PyMongoError):
                    self._say_progress(summaries.find_one({"_id": self.run_id}, {"sources": 0}))
            if training.exit_code is not None and not ended:
                ended = True
                self.progress.say("the training has ended; the page stays until Ctrl-C")
            time.sleep(0.2)

    def _say_progress(self, summary: dict[str, Any] | None) -> None:
        if summary is not None and summary["status"] == "RUNNING":
            power = f"{summary['power_w']:.1f} W, " if summary["power_w"] is not None else ""
            loss = f", loss {summary['loss']:.4f}" if summary["loss"] is not None else ""
            energy, emissions = summary["energy_kwh"] * 1000, summary["emissions_kg"] * 1000
            self.progress.say(f"{self.run_id}: {power}{energy:.4f} Wh, {emissions:.4f} g CO2e{loss}")

    def _end_services(self, services: Services) -> None:
        running = [service for service in reversed(services.started) if service.exit_code is None]
        with self.progress.task("stopping the training, the page and the stream"):
            for service in running:  # all at once; each then has its time to finish what it is at
                service.signal(signal.SIGTERM)
            for service in list(services.started):
                if not services.end(service, _END_S):
                    self.progress.say(f"{service.name} did not end within {_END_S:.0f} s of SIGTERM: killed")

    def _say_goodbye(self, stack: Stack) -> None:
        stack.stop(self.progress)
        self.progress.say(f"stopped; data stay in {self.settings.data_dir}, and the next `make demo` goes on with them")


def _require_running(services: Services) -> None:
    for service in services.started:
        code = service.exit_code
        if code is not None and not (service.name in _MAY_END and code == 0):
            raise ResourceError(
                f"{service.name} ended (exit code {code}); its log {service.log} ends:\n{service.tail()}"
            )


def _without_outage(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except PyMongoError:
        return False


def _page_answers(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/_stcore/health"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def _free_port(wanted: int) -> int:
    """Return the wanted port, or, when it is taken, any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ResourceError("no free port on 127.0.0.1 for the page")


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the demo the way Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        type=float,
        metavar="S",
        help="stop S seconds after the first watt, and print one JSON line",
    )
    parser.add_argument(
        "--epochs", type=int, default=200, help="of the training (default 200: some five minutes of one core)"
    )
    parser.add_argument("--runs", type=int, default=20, help="simulated runs of the last day (default 20; 0 for none)")
    parser.add_argument("--live", type=int, default=3, help="simulated runs that go on meanwhile (default 3)")
    parser.add_argument(
        "--port", type=int, default=_PAGE_PORT, help=f"of the page (default {_PAGE_PORT}, or a free one)"
    )
    options = parser.parse_args()
    progress = ConsoleProgress()
    try:
        settings = StackSettings.from_environment()
        # Unattended, the training must not end before the demo does.
        least = 0 if options.for_s is None else math.ceil((options.for_s + _SPARE_S) / _QUICK_EPOCH_S)
        epochs = max(options.epochs, least)
        with _sigterm_as_interrupt():
            demo = Demo(settings, progress, epochs, _free_port(options.port), options.runs, options.live)
            return demo.run(options.for_s)
    except WattlineError as error:
        progress.say(str(error))
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
