"""`python -m tests.releases`: keeps what this version leaves behind, for the upgrade tests of all later ones.

A real line runs a small simulated fleet, a run of which an event is lost, a message that must be rejected, and a real
training. The training is frozen while the line is stopped; when it goes on its servers are gone, and the rest stays in
its spool. Then the line is saved by `wattline_stack.backup`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.events import run_events
from tests.line import DEADLINE_S, Line, running_line, wait_for
from tests.releases.kept import FOLDER, Release, RunKept, releases, seal
from wattline_common import kafka, store
from wattline_common.codec import encode_body, frame
from wattline_common.events import Event, HardwareSampled, RunFinished
from wattline_common.registry import Registry
from wattline_stack.backup import backup
from wattline_stack.progress import SilentProgress
from wattline_stack.services import Service
from wattline_streaming.backlog import committed_offsets, unread

_ROOT = Path(__file__).parents[2]
_FLEET = ["--runs", "3", "--days", "0.05", "--seed", "23", "--duplicates", "0.05", "--disorder-s", "30"]
_LOST_RUN, _LOST_SEQ = "gapped", 9
_REJECTED = {"wrong_magic_byte": 1}
_INTERRUPTED = "interrupted"
_INTERRUPTED_EVENTS = 20
# The name of the machine that happens to make this is nobody's business; the rest of the training is the product's own.
_TRAINER = (
    "import runpy, socket; socket.gethostname = lambda: 'training-host'; "
    "runpy.run_module('wattline_trainer', run_name='__main__')"
)


def main() -> int:
    """Make it, and seal it; return the exit code."""
    argparse.ArgumentParser("python -m tests.releases", description=__doc__).parse_args()
    version = tomllib.loads((_ROOT / "libs/stack/pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if version in {release.version for release in releases()}:
        sys.stderr.write(f"{FOLDER / version} is there, and what a version has left never changes: raise the version\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="wattline-release-") as scratch:
        made = Release(version, Path(scratch, version))
        made.folder.mkdir()
        _make(made, Path(scratch))
        kept = Release(version, FOLDER / version)
        shutil.copytree(made.folder, kept.folder)
    seal(kept)
    sys.stdout.write(f"{kept.folder}: {len(kept.runs())} runs, {kept.archive.stat().st_size >> 10} KiB of archive\n")
    return 0


def _make(made: Release, scratch: Path) -> None:
    data_dir = scratch / "data"
    with running_line(data_dir) as line:
        stream = line.start_stream()
        runs = {**_fleet(line), _LOST_RUN: _gapped(line)}
        sent = sum(run.events - run.lost_events for run in runs.values())
        wait_for(lambda: line.stored() >= sent, stream.tail)
        training = _training(line, made, scratch)
        try:
            _freeze(line, training)
            _end_settled(line, stream)
            _keep_for_ever(line)
        except BaseException:
            training.kill()
            raise
    training.send_signal(signal.SIGCONT)
    assert training.wait(DEADLINE_S) == 0, "the training did not end well without its servers"
    runs[_INTERRUPTED] = _trained(json.loads((scratch / "run.json").read_text(encoding="utf-8")))
    backup(data_dir, made.archive, SilentProgress())
    told = {"runs": {run_id: asdict(run) for run_id, run in runs.items()}, "rejected": _REJECTED}
    made.ledger.write_text(f"{json.dumps(told, indent=2)}\n", encoding="utf-8")


def _fleet(line: Line) -> dict[str, RunKept]:
    ledger = line.data_dir / "logs" / "fleet.json"
    ended = line.services.run(["wattline_trainer", "simulate", *_FLEET, "--ledger", str(ledger)])
    assert ended.returncode == 0, ended.stderr
    runs = json.loads(ledger.read_text(encoding="utf-8"))["runs"]
    names = ("events", "energy_kwh", "emissions_kg", "status")
    return {run_id: RunKept(**{name: run[name] for name in names}) for run_id, run in runs.items()}


def _gapped(line: Line) -> RunKept:
    """Send a run without one of its samples, and with a message that is none."""
    events = run_events(_LOST_RUN, source_id="gapped-source", samples=20)
    lost, end = events[_LOST_SEQ], events[-1]
    assert isinstance(lost, HardwareSampled)
    assert isinstance(end, RunFinished)
    _produce(line, [event for event in events if event is not lost])
    return RunKept(
        events=len(events),
        energy_kwh=end.source_energy_kwh or 0.0,
        emissions_kg=end.source_emissions_kg or 0.0,
        status=end.status.value,
        lost_events=1,
        lost_energy_kwh=lost.energy_kwh,
    )


def _produce(line: Line, events: Iterable[Event]) -> None:
    registry = Registry(line.endpoints.schema_registry_url)
    producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
    for event in events:
        value = frame(registry.schema_id(type(event)), encode_body(event))
        producer.produce(kafka.TRAINING_EVENTS, key=event.run_id, value=value)
    producer.produce(kafka.TRAINING_EVENTS, key="nobody", value=b"no event")  # a first byte that none has
    assert producer.flush(30) == 0


def _training(line: Line, made: Release, scratch: Path) -> subprocess.Popen[bytes]:
    options = ["--epochs", "12", "--seed", "7", "--run-id", _INTERRUPTED, "--user", "ada", "--project", "upgrade"]
    options += ["--region", "FRA", "--emit-interval", "1", "--ledger", str(scratch / "run.json")]
    settings = {"WATTLINE_SPOOL_DIR": str(made.spool), "WATTLINE_FLUSH_TIMEOUT_S": "2"}
    return subprocess.Popen(
        [sys.executable, "-c", _TRAINER, "digits", *options],
        cwd=scratch,
        env={**os.environ, **line.endpoints.environment(), **settings},
    )


def _freeze(line: Line, training: subprocess.Popen[bytes]) -> None:
    """Stop the training in the middle, once a part of it is stored."""

    def begun() -> bool:
        assert training.poll() is None, "the training was over before it could be interrupted"
        return _stored(line, _INTERRUPTED) >= _INTERRUPTED_EVENTS

    wait_for(begun, lambda: f"{_stored(line, _INTERRUPTED)} events of the training are stored")
    training.send_signal(signal.SIGSTOP)


def _stored(line: Line, run_id: str) -> int:
    return line.database[store.TRAINING_METRICS].count_documents({"run_id": run_id})


def _end_settled(line: Line, stream: Service) -> None:
    """Wait until the stream has read all there is and settled it, and end it by SIGTERM."""

    def settled() -> bool:
        offsets = kafka.offsets(line.endpoints.kafka_bootstrap_servers, kafka.TRAINING_EVENTS)
        checkpoint = max((line.data_dir / "checkpoint").glob("generation-*"))
        left = unread(offsets, committed_offsets(checkpoint))
        read = all(first == after for first, after in left.values())
        return read and line.database[store.DIRTY_WINDOWS].count_documents({}) == 0

    wait_for(settled, stream.tail)
    stream.signal(signal.SIGTERM)
    assert stream.wait(60), "SIGTERM did not stop the stream"
    assert stream.exit_code == 0, stream.tail()


def _keep_for_ever(line: Line) -> None:
    """Let no retention remove the messages, which are to be read in years: Kafka looks half a minute after a start."""
    admin = AdminClient({"bootstrap.servers": line.endpoints.kafka_bootstrap_servers})
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[ConfigEntry("retention.ms", "-1", incremental_operation=AlterConfigOpType.SET)],
        )
        for topic in kafka.TOPICS
    ]
    for altered in admin.incremental_alter_configs(resources).values():
        altered.result(30)


def _trained(summary: Mapping[str, Any]) -> RunKept:
    assert summary["events_dropped"] == 0
    return RunKept(summary["events_emitted"], summary["energy_kwh"], summary["emissions_kg"], "COMPLETED")


if __name__ == "__main__":
    raise SystemExit(main())
