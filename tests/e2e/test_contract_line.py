"""The contract on the whole line: real servers, and one service that is started twice.

Producers of every version, 200 damaged messages between good ones, a replay of what was rejected, a registry that
loses its data, a store that is away: each is done once, by a fixture, and the tests say what must have come of it, and
what the stream told of it over HTTP. WATTLINE_TEST_SEED varies the damage.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract_line import NEW_FIELD, UNKNOWN_ID, ContractLine, Place, next_version
from tests.damage import KINDS, Damaged
from tests.damage import RUN_ID as DAMAGED_RUN_ID
from tests.events import START, run_events
from tests.line import DEADLINE_S, running_line, topic_messages, wait_for
from tests.probes import Probes, free_port
from wattline_common import kafka, store
from wattline_common.codec import Decoder
from wattline_common.events import Event, HardwareSampled, RunFinished, StepCompleted
from wattline_common.registry import Registry, subject
from wattline_common.schemas import VERSIONS
from wattline_common.store import SETTLEMENT, Document
from wattline_stack import StackSettings
from wattline_stack.services import Service
from wattline_streaming.audit import RunAudit, audit, record

pytestmark = pytest.mark.timeout(1200)

SEED = int(os.environ.get("WATTLINE_TEST_SEED", "1"))
DAMAGED = 200
TOLERANCE_S = 6.0
STEP, SAMPLE, FINISH = StepCompleted.AVRO_NAME, HardwareSampled.AVRO_NAME, RunFinished.AVRO_NAME
SAMPLES = 20
ROOT = Path(__file__).resolve().parents[2]
Metrics = dict[tuple[str, frozenset[tuple[str, str]]], float]
NO_LABELS: frozenset[tuple[str, str]] = frozenset()


def now() -> datetime.datetime:
    """Return the time."""
    return datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def probes() -> Probes:
    """Give the stream's own HTTP endpoint."""
    return Probes(free_port())


@pytest.fixture(scope="module")
def contract(
    stack_settings: StackSettings, probes: Probes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContractLine]:
    """Run the servers and the stream."""
    settings = {
        "WATTLINE_FUTURE_TOLERANCE_S": str(TOLERANCE_S),
        "WATTLINE_REGISTRY_WATCH_INTERVAL_S": "1",
        "WATTLINE_HTTP_PORT": str(probes.port),
    }
    with running_line(tmp_path_factory.mktemp("contract"), **settings) as line:
        yield ContractLine(line)


@pytest.fixture(scope="module")
def stream(contract: ContractLine) -> Service:
    """Start the stream, and wait until it has booked its first run."""
    service = contract.line.start_stream()
    contract.produce(run_events("first", samples=2, start=now() - datetime.timedelta(seconds=10)))
    contract.wait_for_events()
    return service


@dataclass
class Evolution:
    """What the stream told before and after schemas and producers changed beside it."""

    v3_events: int
    before: Document
    after: Document
    log: str
    exit_code: int | None


@pytest.fixture(scope="module")
def evolution(contract: ContractLine, stream: Service) -> Evolution:
    """Let producers of two versions run side by side, register and use a third, then go back to the first."""
    start = now() - datetime.timedelta(seconds=SAMPLES)
    first = {name: contract.ids[name, 1] for name in VERSIONS}
    old, new = (run_events(run_id, samples=SAMPLES, start=start) for run_id in ("v1", "v2"))
    for old_event, new_event in zip(old, new, strict=True):
        contract.produce([old_event], first)
        contract.produce([new_event])
    before = contract.wait_for_counts()
    third = {STEP: contract.register(subject(STEP), next_version(STEP))}
    events = run_events("v3", samples=SAMPLES, start=start)
    contract.produce(events, third, **{NEW_FIELD: 0.25})
    contract.wait_for_events()
    contract.produce(run_events("rolled-back", samples=SAMPLES, start=start), first)
    after = contract.wait_for_counts()
    steps = sum(isinstance(event, StepCompleted) for event in events)
    return Evolution(steps, before, after, stream.log.read_text(), stream.exit_code)


RUNS = ("v1", "v2", "v3", "rolled-back")


def test_a_field_of_tomorrow_is_in_raw(contract: ContractLine, evolution: Evolution) -> None:
    """The new field of version 3 is stored beside the known ones, and no other event has it."""
    raw = contract.line.database[store.TRAINING_METRICS]
    steps = list(raw.find({"run_id": "v3", "event_type": "StepCompleted"}))
    assert [step[NEW_FIELD] for step in steps] == [0.25] * evolution.v3_events
    assert raw.count_documents({NEW_FIELD: {"$exists": True}, "run_id": {"$in": ["v1", "v2", "rolled-back"]}}) == 0
    assert raw.count_documents({"run_id": "v1", "tokens": {"$exists": True}}) == 0
    assert raw.count_documents({"run_id": "v2", "tokens": {"$exists": True}}) == evolution.v3_events


def test_the_stream_itself_counted_the_new_version(contract: ContractLine, evolution: Evolution) -> None:
    """The windows of the fast path, before any settling, have every event of version 3: its columns were filled."""
    registry = Registry(contract.line.endpoints.schema_registry_url)
    decoder = Decoder(lambda schema_id: registry.schema_text(schema_id, kafka.TRAINING_AGGREGATES))
    counted: dict[str, int] = {}
    for message in topic_messages(contract.line.endpoints, kafka.TRAINING_AGGREGATES):
        fields = decoder.datum(message.value()).fields
        if fields["run_id"] == "v3" and fields["revision"] < SETTLEMENT:
            counted[message.key()] = max(counted.get(message.key(), 0), fields["events"])
    assert sum(counted.values()) == len(run_events("any", samples=SAMPLES))


def test_no_restart_was_needed_and_the_share_is_told(evolution: Evolution) -> None:
    """The same process and the same query go on; the rows that had to be filled are counted, and a hint is logged."""
    assert evolution.exit_code is None
    assert "the query stopped" not in evolution.log
    assert evolution.before["rows_filled"] == 0
    assert evolution.after["rows_filled"] == evolution.v3_events > 0
    assert evolution.after["filled_share"] == pytest.approx(evolution.v3_events / evolution.after["rows_booked"])
    assert evolution.log.count("after a restart of the service Spark decodes them, too") == 1


@dataclass
class Damage:
    """Damaged messages by place, what the store kept of each, and what the rejected topic told of each."""

    sent: dict[Place, Damaged]
    kept: dict[Place, Document]
    told: dict[str, list[Any]]  # by origin


@pytest.fixture(scope="module")
def damage(contract: ContractLine, stream: Service) -> Damage:
    """Send 200 damaged messages between the good ones of two runs."""
    print(f"WATTLINE_TEST_SEED={SEED}")  # noqa: T201  # pytest shows it with a failure
    good = [event for k in range(2) for event in run_events(f"between-{k}", samples=40, seed=k)]
    sent = contract.produce_between(good, DAMAGED, SEED)
    contract.wait_for_rejections(sent)
    contract.wait_for_events()
    told: dict[str, list[Any]] = {}
    for message in topic_messages(contract.line.endpoints, kafka.TRAINING_EVENTS_REJECTED):
        told.setdefault(dict(message.headers())["wattline.origin"].decode(), []).append(message)
    return Damage(sent, contract.rejected(), told)


def test_every_damaged_message_is_kept_once_with_its_reason(damage: Damage) -> None:
    """As it came: key, value, headers, partition and offset; and for the reason that its making says."""
    assert len(damage.sent) == DAMAGED
    assert {one.kind for one in damage.sent.values()} == set(KINDS)
    wrong = {
        (one.kind, one.reason, damage.kept[place]["reason"], damage.kept[place]["detail"])
        for place, one in damage.sent.items()
        if damage.kept[place]["reason"] != one.reason
    }
    assert not wrong
    for place, one in damage.sent.items():
        kept = damage.kept[place]
        assert (kept["key"], kept["value"]) == (one.key, one.value)
        assert [(header["k"], header["v"]) for header in kept["headers"]] == one.headers
        assert kept["_id"].endswith(f":{kafka.TRAINING_EVENTS}:{place[0]}:{place[1]}")


def test_every_damaged_message_is_told_once(damage: Damage) -> None:
    """The rejected topic has each once, with its bytes and headers, and reason and origin behind them."""
    for place, one in damage.sent.items():
        origin = f"{kafka.TRAINING_EVENTS}:{place[0]}:{place[1]}"
        (message,) = damage.told[origin]
        assert (message.key(), message.value()) == (one.key, one.value)
        ours = [("wattline.reason", one.reason.encode()), ("wattline.origin", origin.encode())]
        assert message.headers() == [*one.headers, *ours]


@pytest.fixture(scope="module")
def scraped(contract: ContractLine, probes: Probes, evolution: Evolution, damage: Damage) -> Metrics:
    """Scrape once the stream has told of everything so far and nothing is left to do; an audit has ended, too."""
    contract.wait_until_settled()
    found = audit(contract.line.database)
    record(contract.line.database, found, at=now(), repaired=0)
    assert found.clean, found.as_text()

    def told() -> bool:
        metrics = probes.metrics()
        booked = metrics["wattline_events_booked_total", NO_LABELS] == contract.expected
        left = {"wattline_lag_messages", "wattline_windows_dirty"}
        audited = metrics.get(("wattline_audit_clean", NO_LABELS)) == 1
        return booked and audited and all(metrics.get((name, NO_LABELS)) == 0 for name in left)

    wait_for(told, lambda: f"{contract.expected} events to be told: {probes.get('/metrics')}")
    return probes.metrics()


def test_what_prometheus_reads_equals_the_store(
    contract: ContractLine, scraped: Metrics, evolution: Evolution, damage: Damage
) -> None:
    """Events booked, filled, and rejected by reason; messages read; newest event time."""
    raw = contract.line.database[store.TRAINING_METRICS]
    reasons = Counter(document["reason"] for document in damage.kept.values())
    told = {dict(labels)["reason"]: value for (name, labels), value in scraped.items() if "rejected" in name}
    assert told == reasons
    assert scraped["wattline_events_booked_total", NO_LABELS] == raw.count_documents({})
    assert scraped["wattline_events_filled_total", NO_LABELS] == evolution.v3_events
    read = scraped["wattline_messages_read_total", NO_LABELS]
    assert read == len(topic_messages(contract.line.endpoints, kafka.TRAINING_EVENTS))
    newest = raw.find_one({}, sort=[("timestamp_us", -1)])
    assert newest is not None
    told_s = scraped["wattline_newest_event_timestamp_seconds", NO_LABELS]
    assert told_s == pytest.approx(newest["timestamp_us"] / 1e6, abs=0.001)
    assert scraped["wattline_windows_settled_total", NO_LABELS] >= len(
        contract.line.database[store.AGGREGATED_METRICS].distinct("_id")
    )


def test_a_healthy_stream_says_so(scraped: Metrics) -> None:
    """No problem, no failure; batches took time in each of Spark's parts; its times are of now."""
    problems = {dict(labels)["part"]: value for (name, labels), value in scraped.items() if name == "wattline_problem"}
    assert problems == {"query": 0, "settling": 0, "retention": 0, "erasure": 0, "registry": 0, "backlog": 0}
    assert scraped["wattline_query_failures_total", NO_LABELS] == 0
    assert scraped["wattline_batches_total", NO_LABELS] > 3
    whole_s = scraped["wattline_batch_seconds_total", frozenset({("part", "triggerExecution")})]
    assert 0 < scraped["wattline_batch_seconds_total", frozenset({("part", "addBatch")})] < whole_s
    for name in ("batch", "settling"):
        at_s = scraped[f"wattline_last_{name}_timestamp_seconds", NO_LABELS]
        assert now().timestamp() - 300 < at_s <= now().timestamp()
    assert scraped["wattline_watermark_timestamp_seconds", NO_LABELS] < now().timestamp()


def test_every_metric_of_the_table_is_there_and_no_other(scraped: Metrics) -> None:
    """The table in the service's README and /metrics of a stream that has worked name the same, but for errors."""
    readme = (ROOT / "services" / "streaming" / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(wattline_[a-z_]+)` \|", readme, re.MULTILINE))
    assert told - {"wattline_last_error_timestamp_seconds"} == {name for name, _ in scraped}


@dataclass
class Replayed:
    """What replay-rejected said, each time."""

    rejected: Counter[str]
    left: set[Place]
    dry: subprocess.CompletedProcess[str]
    done: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]


def renamed(events: Sequence[Event], run_id: str) -> list[Event]:
    """Return the events as those of another run."""
    return [dataclasses.replace(event, run_id=run_id) for event in events]


@pytest.fixture(scope="module")
def replayed(contract: ContractLine, damage: Damage, scraped: Metrics) -> Replayed:
    """Let events be rejected for reasons that pass, let those pass, replay; and tell the same runs without a fault.

    One run is long past, so its windows are due; a third of its events and its end carry ids that are nobody's yet. The
    clock of the other run is ahead.
    """
    past = run_events("past-replayed", samples=90, start=START, seed=7)
    nobodys = {name: contract.register_foreign(next_version(name)) for name in (SAMPLE, FINISH)}
    late = [e for e in past if (isinstance(e, HardwareSampled) and e.seq % 3 == 0) or isinstance(e, RunFinished)]
    contract.produce([event for event in past if event not in late])
    places = contract.send([contract.message(event, nobodys, **{NEW_FIELD: 1.0}) for event in late])
    contract.wait_for_rejections(places)
    contract.wait_until_settled(run_id="past-replayed")
    ahead = run_events("ahead-replayed", samples=10, start=now() + datetime.timedelta(seconds=2), seed=8)
    contract.send([contract.message(event) for event in ahead])
    contract.wait_for_rejections(contract.send([(b"last", None, [])]))  # the stream has seen what came before it
    rejected = Counter(kept["reason"] for place, kept in contract.rejected().items() if place not in damage.sent)
    assert {name: contract.register(subject(name), next_version(name)) for name in nobodys} == nobodys
    wait_for(lambda: (ahead[-1].timestamp - now()).total_seconds() < TOLERANCE_S, lambda: "the time of the last event")
    reasons = ["--reason", "foreign_subject", "--reason", "timestamp_in_future"]
    command = ["wattline_streaming", "replay-rejected", *reasons]
    before = contract.rejected()
    dry = contract.line.services.run([*command, "--dry-run"])
    assert contract.rejected() == before, "a dry run changes nothing"
    done = contract.line.services.run(command)
    again = contract.line.services.run(command)
    contract.expected += len(late) + len(ahead)
    contract.produce([e for e in renamed(past, "past-faultless") if e.seq not in {one.seq for one in late}])
    contract.produce(renamed(late, "past-faultless"), nobodys, **{NEW_FIELD: 1.0})
    contract.produce(renamed(ahead, "ahead-faultless"))
    contract.wait_for_events()
    return Replayed(rejected, set(contract.rejected()), dry, done, again)


def test_replay_submits_what_has_become_acceptable(replayed: Replayed, damage: Damage) -> None:
    """Only that: what is still refused stays, is counted, and makes the exit code 1; a dry run says the same."""
    assert replayed.rejected["foreign_subject"] == 31, "30 of 90 samples, and the end"
    assert replayed.rejected["timestamp_in_future"] > 5
    count = replayed.rejected["foreign_subject"] + replayed.rejected["timestamp_in_future"]
    refused = sum(one.reason in {"foreign_subject", "timestamp_in_future"} for one in damage.sent.values())
    for said, verb in ((replayed.dry, "would be replayed"), (replayed.done, "replayed")):
        assert said.returncode == 1, said.stderr
        assert f"{verb}: {count}\n" in said.stdout
        assert f"still refused: {refused}\n" in said.stdout
    assert f"replayed: 0\nstill refused: {refused}\n" in replayed.again.stdout
    assert set(damage.sent) < replayed.left
    assert len(replayed.left) == len(damage.sent) + 1, "the damaged ones, and the one behind the clock that was ahead"


@dataclass
class Restarted:
    """The second service, and what it told of filled rows before and after events of version 3 came again."""

    service: Service
    exit_code: int | None
    before: Document
    after: Document


@pytest.fixture(scope="module")
def restarted(contract: ContractLine, stream: Service, evolution: Evolution, replayed: Replayed) -> Restarted:
    """Stop the stream by SIGTERM, start it again, produce version 3."""
    before = contract.wait_for_counts()
    stream.signal(signal.SIGTERM)
    assert stream.wait(DEADLINE_S), "SIGTERM did not stop the stream"
    contract.line.services.end(stream, 1)
    service = contract.line.start_stream()
    third = {STEP: contract.register(subject(STEP), next_version(STEP))}
    start = now() - datetime.timedelta(seconds=SAMPLES)
    contract.produce(run_events("v3-again", samples=SAMPLES, start=start), third, **{NEW_FIELD: 0.5})
    return Restarted(service, stream.exit_code, before, contract.wait_for_counts())


def test_after_a_restart_spark_decodes_the_new_version(restarted: Restarted) -> None:
    """The schema that was registered while running is a branch from then on: no further row has to be filled."""
    assert restarted.exit_code == 0
    assert restarted.after["rows_booked"] == restarted.before["rows_booked"] + len(run_events("any", samples=SAMPLES))
    assert restarted.after["rows_filled"] == restarted.before["rows_filled"]


@dataclass
class Wiped:
    """What the stream told while the registry was empty, and what was rejected since it was wiped."""

    problem: str
    problem_in_part: str
    live: tuple[int, str]
    unready: tuple[int, str]
    log: str
    held: Place
    rejected_before: set[Place]
    rejected_meanwhile: set[Place]
    rejected_after: dict[Place, Document]


@pytest.fixture(scope="module")
def wiped(contract: ContractLine, probes: Probes, restarted: Restarted) -> Wiped:
    """Empty the registry under the running stream; then register again, first the released schemas, then the rest."""

    def problem() -> str:
        return str(contract.health["registry"]["problem"] or "")

    wait_for(lambda: "registry" in contract.health and not problem(), problem)
    rejected_before = set(contract.rejected())
    contract.wipe_registry()
    third = {STEP: contract.extra[subject(STEP), next_version(STEP)]}
    contract.produce(run_events("wiped", samples=SAMPLES), third, **{NEW_FIELD: 0.75})
    wait_for(lambda: "lacks" in problem(), problem)
    contract.wait_for_events()
    told = problem()
    live, unready = probes.get("/livez"), probes.get("/readyz")
    held, *_ = contract.send([(b"held", b"\x00" + UNKNOWN_ID.to_bytes(4, "big") + b"body", [])])
    contract.produce(run_events("behind", samples=SAMPLES))
    wait_for(lambda: "the query stopped" in restarted.service.log.read_text(), restarted.service.tail)
    rejected_meanwhile = set(contract.rejected())
    registered = contract.line.services.run(["wattline_common.registry", "register"])
    assert registered.returncode == 0, registered.stderr
    wait_for(lambda: "has lost schema id" in problem(), problem)
    in_part = problem()
    contract.register_again()
    wait_for(lambda: not problem(), problem)
    contract.wait_for_rejections([held])
    contract.wait_for_events()
    wait_for(probes.is_ready, lambda: f"the stream to be ready again: {probes.get('/readyz')}")
    log = restarted.service.log.read_text()
    return Wiped(told, in_part, live, unready, log, held, rejected_before, rejected_meanwhile, contract.rejected())


def test_a_wiped_registry_is_told_with_its_remedy(wiped: Wiped) -> None:
    """pipeline_health and the log say what is missing and what to do: restore, or register."""
    for told in (wiped.problem, wiped.problem_in_part):
        assert "SCHEMA_REGISTRY_URL" in told
        assert "restore its data" in told
        assert "python -m wattline_common.registry register" in told
        assert wiped.log.count(told) >= 1
    assert "the registry has every schema again" in wiped.log


def test_a_wiped_registry_makes_the_stream_unready_not_dead(wiped: Wiped) -> None:
    """A restart would mend nothing, so /livez stays 200; /readyz says what is missing, and is 200 when it is there."""
    assert wiped.live == (200, "ok\n")
    assert wiped.unready[0] == 503
    assert wiped.unready[1].startswith("registry: the registry at SCHEMA_REGISTRY_URL")


@pytest.fixture(scope="module")
def settled(contract: ContractLine, evolution: Evolution, replayed: Replayed, wiped: Wiped) -> dict[str, RunAudit]:
    """Wait until all of it is settled; return what the audit says of each run."""
    return {run.run_id: run for run in contract.wait_until_settled().runs}


def test_every_version_is_in_all_three_collections(contract: ContractLine, settled: dict[str, RunAudit]) -> None:
    """Producers of versions 1, 2 and 3, and of 1 again, end alike: raw, summary and windows agree, event by event."""
    found = {run_id: settled[run_id] for run_id in RUNS}
    events = len(run_events("any", samples=SAMPLES))
    assert {
        run_id: (run.events, run.missing_events, run.differences) for run_id, run in found.items()
    } == dict.fromkeys(RUNS, (events, 0, []))
    assert {run.status for run in found.values()} == {"COMPLETED"}
    assert len({(run.energy_kwh, run.emissions_kg) for run in found.values()}) == 1
    windows = contract.line.database[store.AGGREGATED_METRICS]
    for run_id in RUNS:
        assert sum(window["aggregate"]["events"] for window in windows.find({"run_id": run_id})) == events


def test_every_good_message_beside_damage_counts_once(contract: ContractLine, settled: dict[str, RunAudit]) -> None:
    """Nothing of a damaged message is counted, and nothing of a good one is lost."""
    events = len(run_events("any", samples=40))
    for run in (settled["between-0"], settled["between-1"]):
        assert (run.events, run.missing_events, run.differences) == (events, 0, [])
    assert DAMAGED_RUN_ID not in settled
    assert contract.line.stored() == contract.expected


def test_a_wiped_registry_rejects_nothing(settled: dict[str, RunAudit], wiped: Wiped) -> None:
    """Events of known ids go on; an id that cannot be judged waits, and so does what is behind it, until it can."""
    assert wiped.rejected_meanwhile == wiped.rejected_before
    assert set(wiped.rejected_after) == wiped.rejected_before | {wiped.held}
    assert wiped.rejected_after[wiped.held]["reason"] == "unknown_schema_id"
    for run in (settled["wiped"], settled["behind"]):
        assert (run.events, run.missing_events) == (len(run_events("any", samples=SAMPLES)), 0)


def contents(contract: ContractLine, run_id: str) -> dict[str, list[Document]]:
    """Return a run's documents of all three collections without its name, ingest fields and revisions."""

    def anonymous(value: Any) -> Any:
        if isinstance(value, dict):
            aside = {"kafka", "ingested_at", "settled_at", "revision"}
            return {name: anonymous(inner) for name, inner in value.items() if name not in aside}
        return value.replace(run_id, "RUN") if isinstance(value, str) else value

    collections = (store.TRAINING_METRICS, store.TRAINING_RUN_SUMMARY, store.AGGREGATED_METRICS)
    found = {name: contract.line.database[name].find({"run_id": run_id}).sort("_id") for name in collections}
    return {name: [anonymous(document) for document in documents] for name, documents in found.items()}


def alike(one: Any, other: Any) -> bool:
    """Return whether two documents are the same, sums and averages to 1e-9."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-9, abs=1e-15)
    return bool(one == other)


@pytest.mark.parametrize("run", ["past", "ahead"])
def test_after_a_replay_the_collections_equal_the_faultless_run(
    contract: ContractLine, settled: dict[str, RunAudit], run: str
) -> None:
    """Raw events, summary and windows are those of a run of which nothing was ever rejected."""
    assert not settled[f"{run}-replayed"].differences
    left, right = contents(contract, f"{run}-replayed"), contents(contract, f"{run}-faultless")
    assert {name: len(documents) for name, documents in left.items()} == {
        name: len(documents) for name, documents in right.items()
    }
    assert len(left[store.TRAINING_METRICS]) in (182, 22)
    assert left[store.AGGREGATED_METRICS]
    for name, documents in left.items():
        for one, other in zip(documents, right[name], strict=True):
            assert alike(one, other), (one, other)


@dataclass
class StoreAway:
    """What the stream told while its store was killed, and what it stored of what came meanwhile."""

    live: tuple[int, str]
    unready: tuple[int, str]
    failures: float
    stored: int


@pytest.fixture(scope="module")
def store_away(contract: ContractLine, probes: Probes, settled: dict[str, RunAudit]) -> StoreAway:
    """Kill the store, let events come, start it again."""
    contract.line.stack.kill("store")
    contract.produce(run_events("store-away", samples=SAMPLES, start=now() - datetime.timedelta(seconds=SAMPLES)))
    wait_for(lambda: "query: " in probes.get("/readyz")[1], lambda: f"the query to fail: {probes.get('/readyz')}")
    live, unready = probes.get("/livez"), probes.get("/readyz")
    contract.line.stack.restart("store")
    wait_for(probes.is_ready, lambda: f"the stream to be ready again: {probes.get('/readyz')}")
    contract.wait_for_events()
    return StoreAway(live, unready, probes.value("wattline_query_failures_total"), contract.line.stored())


def test_a_killed_store_makes_the_stream_unready_not_dead(contract: ContractLine, store_away: StoreAway) -> None:
    """/livez stays 200; /readyz names the setting of what is away; afterwards nothing is missing."""
    assert store_away.live == (200, "ok\n")
    assert store_away.unready[0] == 503
    assert "query: " in store_away.unready[1]
    assert all("MONGODB_URI" in line for line in store_away.unready[1].splitlines())
    assert store_away.failures >= 1
    assert store_away.stored == contract.expected


def test_an_id_with_another_schema_stops_the_stream(contract: ContractLine, restarted: Restarted, wiped: Wiped) -> None:
    """A registry in which an id means another schema than at first sight is not believed: the service ends."""
    schemas = contract.line.database[store.SCHEMAS]
    schemas.update_one({"_id": contract.newest(SAMPLE)}, {"$set": {"schema": '"long"', "sha256": "another"}})
    assert restarted.service.wait(DEADLINE_S), "the stream goes on"
    assert restarted.service.exit_code == 2
    assert f"IdentityMismatchError: schema id {contract.newest(SAMPLE)} had another schema" in restarted.service.tail()
