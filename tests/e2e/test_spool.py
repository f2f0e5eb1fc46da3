"""A broker that was away for the whole run leaves no trace: after a flush the store is as if it had been there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.collections_equal import Contents, collections_difference, contents
from tests.line import Line, running_line, wait_for
from wattline.spool_folders import SpoolRoot
from wattline.spool_records import Record, scan
from wattline.spool_segments import segment_paths
from wattline_common import kafka, store
from wattline_common.codec import frame
from wattline_common.events import EVENT_TYPES
from wattline_common.registry import Registry
from wattline_stack import StackSettings
from wattline_streaming.audit import audit

pytestmark = pytest.mark.timeout(1200)

AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}


def _wattline(root: Path, servers: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **servers, "WATTLINE_SPOOL_DIR": str(root)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def _records(root: Path) -> list[Record]:
    return [
        record
        for folder in SpoolRoot(root).folders()
        for path in segment_paths(folder.path)
        for record in scan(path.read_bytes(), complete=True).records
    ]


def _produce(line: Line, records: Sequence[Record]) -> None:
    """Send the events as a run sends them whose broker is there: each once, in order."""
    registry = Registry(line.endpoints.schema_registry_url)
    producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
    kinds = {kind.AVRO_NAME: kind for kind in EVENT_TYPES.values()}
    for record in records:
        value = frame(registry.schema_id(kinds[record.name], record.version), record.body)
        producer.produce(kafka.TRAINING_EVENTS, key=record.key, value=value)
    assert producer.flush(30) == 0


def _settled(line: Line, events: int) -> Contents:
    stream = line.start_stream()

    def settled() -> bool:
        # Of windows that are not there yet no audit complains: the run's own books must be settled too.
        if any("settled" not in run for run in line.database[store.TRAINING_RUN_SUMMARY].find()):
            return False
        found = audit(line.database)
        return found.clean and found.open_windows == 0 and found.counts[store.TRAINING_METRICS] == events

    wait_for(settled, lambda: f"{events} events, settled: {audit(line.database).as_text()} {stream.tail()}")
    return contents(line.database, same_topic=False)


def test_a_flush_ends_in_the_store_of_a_run_without_the_fault(
    stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A real training without any server, then one flush, sent twice: raw events, summary and windows are the same."""
    spool = tmp_path_factory.mktemp("away")
    ledger = spool / "ledger.json"
    training = ["wattline_trainer", "digits", "--epochs", "3", "--emit-interval", "1", "--ledger", str(ledger)]
    ended = _wattline(spool, AWAY, *training)
    assert ended.returncode == 0, ended.stderr
    assert "`wattline flush` sends them" in ended.stderr
    records = _records(spool)
    said = json.loads(ledger.read_text())
    assert len(records) == said["events_emitted"]
    assert said["events_dropped"] == 0
    again = tmp_path_factory.mktemp("again")
    shutil.copytree(spool, again, dirs_exist_ok=True)
    with running_line(tmp_path_factory.mktemp("flushed")) as line:
        for root in (spool, again):  # the second one is a flush that nobody heard had succeeded
            flushed = _wattline(root, line.endpoints.environment(), "wattline", "flush")
            assert (flushed.returncode, flushed.stdout) == (0, f"{len(records)} events of 1 sources delivered\n")
        found = _settled(line, len(records))
    with running_line(tmp_path_factory.mktemp("direct")) as line:
        _produce(line, records)
        wanted = _settled(line, len(records))
    assert collections_difference(found, wanted) is None
    (summary,) = found[store.TRAINING_RUN_SUMMARY].values()
    assert summary["energy_kwh"] == pytest.approx(said["energy_kwh"], rel=1e-9)
    assert summary["status"] == "COMPLETED"
