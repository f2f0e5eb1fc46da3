"""A user is erased while her training runs, another one gets a pseudonym; then the whole topic comes again."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import bson
import pytest

from tests.events import sample
from tests.ledgers import fleet_figures, ledger_differences
from tests.line import DEADLINE_S, Line, running_line, topic_messages, wait_for
from wattline_common import kafka, store
from wattline_common.codec import encode_body, frame
from wattline_common.events import HardwareSampled
from wattline_common.registry import Registry
from wattline_stack import StackSettings
from wattline_stack.services import Service, Services
from wattline_streaming.audit import Audit, audit

pytestmark = pytest.mark.timeout(2400)

ADA, RUN = "Ada Lovelace", "live-run-7"
FLEET = ["--runs", "4", "--days", "0.04", "--seed", "5"]
PATIENCE_S = 3 * DEADLINE_S  # the line starts twice, and settles in between
TOPICS = (kafka.TRAINING_AGGREGATES, kafka.TRAINING_EVENTS_REJECTED)


@dataclass
class Outcome:
    """What was done, and what the store and the topics held after it."""

    ledger: dict[str, Any]
    named: str  # the user of the fleet who has a pseudonym now
    dry_run: subprocess.CompletedProcess[str]
    erased: subprocess.CompletedProcess[str]
    pseudonymised: subprocess.CompletedProcess[str]
    listed: subprocess.CompletedProcess[str]
    rejected_totals: dict[str, int]
    first_audit: Audit
    audit: Audit
    differences: list[str]
    documents: dict[str, list[bytes]]
    messages: dict[str, list[Any]] = field(default_factory=dict)
    events_topic: list[Any] = field(default_factory=list)
    log: bytes = b""


def reject(line: Line, user_id: str, run_id: str) -> None:
    """Produce a message that breaks a limit, and one that ends early."""
    schema_id = Registry(line.endpoints.schema_registry_url).schema_id(HardwareSampled)
    producer = kafka.producer(line.endpoints.kafka_bootstrap_servers)
    bad = frame(schema_id, encode_body(sample(run_id=run_id, user_id=user_id, seq=9_000, interval_s=-1.0)))
    for value in (bad, bad[:-9]):
        producer.produce(kafka.TRAINING_EVENTS, key=b"none", value=value)
    assert producer.flush(30) == 0


def of_ada(line: Line) -> int:
    """Return how many raw events she has."""
    return line.database[store.TRAINING_METRICS].count_documents({"user_id": ADA})


def has_ada_everywhere(line: Line) -> bool:
    """Return whether everything that is to be erased is there."""
    windows = line.database[store.AGGREGATED_METRICS].count_documents({"run_id": RUN})
    rejected = line.database[store.REJECTED_EVENTS].count_documents({})
    hours = line.database[store.AGGREGATED_ROLLUPS].count_documents({"dimension": "user_id", "key": ADA})
    return bool(of_ada(line) > 10 and windows and hours and rejected == 4)


def end(line: Line, stream: Service) -> Audit:
    """End the stream once no window is open and Kafka has nothing more; return the audit."""

    def settled() -> bool:
        health = line.database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}) or {}
        none_open = line.database[store.DIRTY_WINDOWS].count_documents({}) == 0
        return bool(none_open and health.get("figures", {}).get("lag_messages") == 0 and rejected_totals(line))

    wait_for(settled, lambda: f"all settled: {audit(line.database).as_counts()} {stream.tail()}", PATIENCE_S)
    stream.signal(signal.SIGTERM)
    assert stream.wait(180), "SIGTERM did not stop the stream"
    assert stream.exit_code == 0, stream.tail()
    line.services.end(stream, 10)
    return audit(line.database)


def rejected_totals(line: Line) -> dict[str, int]:
    """Return how many messages were rejected, by reason."""
    health = line.database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}) or {}
    found: dict[str, int] = health.get("ledger", {}).get("rows_rejected", {})
    return found


@pytest.fixture(scope="module")
def outcome(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the line, erase Ada in mid-training and beside the stream, name another anew without it, and replay."""
    folder = tmp_path_factory.mktemp("erasure")
    with running_line(folder, WATTLINE_REGISTRY_WATCH_INTERVAL_S="1") as line:
        yield run(line)


def run(line: Line) -> Outcome:
    """Do what the fixture promises."""
    spool = {"WATTLINE_SPOOL_DIR": str(line.data_dir / "spool")}
    hers = Services(line.data_dir / "hers", {**line.endpoints.environment(), **spool})
    ledger_path = line.data_dir / "fleet.json"
    stream = line.start_stream()
    measured = ["wattline", "run", "--user", ADA, "--run-id", RUN, "--emit-interval", "1", "--", "sleep", "3600"]
    training = hers.start("training", measured)
    try:
        fleet = line.services.start("fleet", ["wattline_trainer", "simulate", *FLEET, "--ledger", str(ledger_path)])
        assert fleet.wait(DEADLINE_S), "the fleet was not written"
        assert fleet.exit_code == 0, fleet.tail()
        ledger = json.loads(ledger_path.read_text())
        reject(line, ADA, RUN)
        reject(line, "grace", "graces")
        wait_for(lambda: has_ada_everywhere(line), lambda: f"Ada's events: {of_ada(line)} {stream.tail()}", PATIENCE_S)
        asked = ["wattline_streaming", "erase", "--user", ADA, "--wait", str(PATIENCE_S)]
        dry_run = line.services.run([*asked, "--dry-run"])
        assert of_ada(line) > 10, "a dry run changes nothing"
        erased = line.services.run([*asked, "--yes"])
        wait_for(
            lambda: rejected_totals(line).get("erased", 0) > 5,
            lambda: f"events that come on to be dropped: {rejected_totals(line)} {stream.tail()}",
            PATIENCE_S,
        )
        training.signal(signal.SIGTERM)
        assert training.wait(60)
    finally:
        hers.end(training, 30)
    first_audit = end(line, stream)
    named = next(iter(ledger["runs"].values()))["user_id"]
    pseudonymised = line.services.run(["wattline_streaming", "pseudonymise", "--user", named, "--yes"])
    line.database[store.PIPELINE_HEALTH].delete_one({"_id": store.STREAMING})  # counts and lag of before
    shutil.rmtree(line.data_dir / "checkpoint")
    last_audit = end(line, line.start_stream())
    return Outcome(
        ledger=ledger,
        named=named,
        dry_run=dry_run,
        erased=erased,
        pseudonymised=pseudonymised,
        listed=line.services.run(["wattline_streaming", "erasures"]),
        rejected_totals=rejected_totals(line),
        first_audit=first_audit,
        audit=last_audit,
        differences=ledger_differences(line.database, last_audit, fleet_figures(ledger)),
        documents={
            name: [bson.encode(one) for one in line.database[name].find()]
            for name in line.database.list_collection_names()
        },
        messages={topic: topic_messages_left(line, topic) for topic in TOPICS},
        events_topic=topic_messages(line.endpoints, kafka.TRAINING_EVENTS),
        log=(line.data_dir / "logs" / "streaming.log").read_bytes(),
    )


def topic_messages_left(line: Line, topic: str) -> list[tuple[bytes, bytes | None, str]]:
    """Return key, value and headers of every message of a topic, whose heads may be deleted."""
    return [
        (message.key() or b"", message.value(), repr(message.headers()))
        for message in topic_messages(line.endpoints, topic)
    ]


def mentioning(outcome: Outcome, name: str) -> list[str]:
    """Return the collections and topics that have a name in their bytes."""
    text = name.encode()
    stores = [name for name, documents in outcome.documents.items() if any(text in one for one in documents)]
    topics = [
        topic
        for topic, messages in outcome.messages.items()
        if any(text in (value or b"") or text in headers.encode() for _, value, headers in messages)
    ]
    return [*stores, *topics]


def test_the_commands_end_well(outcome: Outcome) -> None:
    """A dry run counts; the erasure beside the stream and the pseudonym without it are done when they return."""
    for done in (outcome.dry_run, outcome.erased, outcome.pseudonymised, outcome.listed):
        assert done.returncode == 0, done.stderr
    assert "done" not in outcome.dry_run.stdout
    assert "done (erased)" in outcome.erased.stdout
    assert "a stream runs on this store" in outcome.erased.stderr
    assert "done (pseudonym user-" in outcome.pseudonymised.stdout


def test_nothing_of_her_is_left_anywhere(outcome: Outcome) -> None:
    """Neither her name nor her run is in any document or message, but for the deletions by key of her windows."""
    assert mentioning(outcome, ADA) == []
    assert mentioning(outcome, RUN) == []
    deleted = [key for key, value, _ in outcome.messages[kafka.TRAINING_AGGREGATES] if value is None]
    assert deleted
    assert all(key.startswith(f"{RUN}|".encode()) for key in deleted)
    assert any(ADA.encode() in message.value() for message in outcome.events_topic), "the topic did bring her again"
    assert ADA.encode() not in outcome.log


def test_nothing_of_the_named_one_is_left_by_name(outcome: Outcome) -> None:
    """The pseudonym stands wherever the name did."""
    assert mentioning(outcome, outcome.named) == []
    assert len(mentioning(outcome, outcome.pseudonymised.stdout.split("pseudonym ")[1].split(")")[0])) >= 5


def test_what_others_have_is_as_it_was(outcome: Outcome) -> None:
    """To the millijoule, also who has a pseudonym; rejected messages, and windows on the topic, too."""
    assert outcome.differences == []
    assert set(outcome.ledger["runs"]) == {run.run_id for run in outcome.audit.runs}
    for found in (outcome.first_audit, outcome.audit):
        assert found.clean, found.as_text()
        assert found.counts[store.REJECTED_EVENTS] == 2
    assert len(outcome.messages[kafka.TRAINING_EVENTS_REJECTED]) >= 2
    newest = {key: value for key, value, _ in outcome.messages[kafka.TRAINING_AGGREGATES]}
    told = {key for key, value in newest.items() if value is not None}
    assert told == {bson.decode(window)["_id"].encode() for window in outcome.documents[store.AGGREGATED_METRICS]}


def test_what_came_again_is_counted(outcome: Outcome) -> None:
    """Each message of hers that the topic brought again, the rejected ones, too."""
    hers = [one for one in outcome.events_topic if ADA.encode() in one.value()]
    assert outcome.rejected_totals["erased"] == len(hers)


def test_what_was_done_is_listed_without_names(outcome: Outcome) -> None:
    """Both, with their time and their counts."""
    lines = outcome.listed.stdout.splitlines()
    assert [line.split()[4] for line in lines[1:]] == ["erase", "pseudonymise"]
    assert ADA not in outcome.listed.stdout
    assert outcome.named not in outcome.listed.stdout
