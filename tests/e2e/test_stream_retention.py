"""A backfilled fleet whose raw events go while the stream runs, SIGTERM, and a replay of the whole topic after that."""

from __future__ import annotations

import json
import shutil
import signal
from typing import Any

import pytest

from tests.line import Line, running_line, wait_for
from wattline_common import store
from wattline_stack import StackSettings
from wattline_stack.services import Service
from wattline_streaming.audit import Audit, audit
from wattline_streaming.backlog import batch_under_way

RUNS = 5
RETENTION_DAYS = 10 / 86_400

pytestmark = pytest.mark.timeout(1200)


def drain(line: Line, stream: Service) -> None:
    """End the stream by SIGTERM: in good order, between two batches."""
    stream.signal(signal.SIGTERM)
    assert stream.wait(90), f"SIGTERM was ignored: {stream.tail()}"
    assert stream.exit_code == 0, stream.tail()
    assert "stopped between batches" in stream.tail()
    line.services.end(stream, 10)
    (checkpoint,) = (line.data_dir / "checkpoint").glob("generation-*")
    assert "none is planned" in batch_under_way(checkpoint)


def backfill(line: Line) -> int:
    """Write a fleet of an hour in the past; return how many events it has."""
    ledger = line.data_dir / "fleet.json"
    options = ["--runs", str(RUNS), "--days", "0.04", "--seed", "1", "--ledger", str(ledger)]
    fleet = line.services.start("fleet", ["wattline_trainer", "simulate", *options])
    assert fleet.wait(240), "the fleet was not written"
    assert fleet.exit_code == 0, fleet.tail()
    return int(json.loads(ledger.read_text())["totals"]["events"])


def kept(line: Line) -> dict[str, list[dict[str, Any]]]:
    """Return summaries and windows, as they are to stay."""
    database = line.database
    summaries = database[store.TRAINING_RUN_SUMMARY].find({}, {"settled.settled_at": 0}).sort("_id")
    return {"summaries": list(summaries), "windows": list(database[store.AGGREGATED_METRICS].find().sort("_id"))}


def closed(line: Line) -> bool:
    """Return whether all raw events are gone, by the summaries' word, too."""
    gone = {"raw_complete": False, "retention.deleting": False}
    return line.stored() == 0 and line.database[store.TRAINING_RUN_SUMMARY].count_documents(gone) == RUNS


def test_raw_events_go_and_a_replay_of_the_topic_brings_nothing_back(
    stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Totals equal the ledger before and after; nothing is counted twice, nothing is told as rejected."""
    with running_line(tmp_path_factory.mktemp("retention"), WATTLINE_RAW_RETENTION_DAYS=str(RETENTION_DAYS)) as line:
        stream = line.start_stream()
        events = backfill(line)
        wait_for(lambda: closed(line), lambda: f"all raw events deleted; {line.stored()} are left: {stream.tail()}")
        drain(line, stream)
        before, found = kept(line), audit(line.database)
        check(found, events)
        shutil.rmtree(line.data_dir / "checkpoint")
        stream = line.start_stream()

        def read_again() -> bool:
            health = line.database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}) or {}
            figures = health.get("figures", {})
            return bool(figures.get("at", found_at) > found_at and figures.get("lag_messages") == 0)

        found_at = (line.database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}) or {})["figures"]["at"]
        wait_for(read_again, lambda: f"the topic read again: {stream.tail()}")
        drain(line, stream)
        assert kept(line) == before
        check(audit(line.database), events)
        assert line.stored() == 0
        assert line.database[store.DIRTY_WINDOWS].count_documents({}) == 0


def check(found: Audit, events: int) -> None:
    """Hold an audit to the ledger."""
    assert found.clean, found.as_text()
    assert found.counts[store.REJECTED_EVENTS] == 0
    assert sum(run.events for run in found.runs) == events
    assert {run.raw_complete for run in found.runs} == {False}
    assert found.as_counts().endswith("\nOK")
