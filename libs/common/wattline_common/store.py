"""The store's collections: names, document shapes, identities and indexes, shared by who writes and who reads.

Only operations that MongoDB 8 and the embedded store do alike are used. Every write is keyed by `_id`.
`python -m wattline_common.store` creates the indexes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

from pymongo import ASCENDING, IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError
from typing_extensions import NotRequired

from wattline_common.errors import ConfigurationError, WattlineError
from wattline_common.settings import Endpoints, hosts
from wattline_common.store_errors import answering

__all__ = [
    "AGGREGATED_METRICS",
    "AGGREGATED_ROLLUPS",
    "AUDIT",
    "DATABASE",
    "DAY_S",
    "DIRTY_WINDOWS",
    "ERASURES",
    "HOUR_S",
    "MEAN_WEIGHTS",
    "PIPELINE_HEALTH",
    "READ_TOGETHER",
    "REJECTED_EVENTS",
    "ROLLUP_DIMENSIONS",
    "SCHEMAS",
    "SETTLEMENT",
    "STREAMING",
    "TRAINING_METRICS",
    "TRAINING_RUN_SUMMARY",
    "WINDOW_LENGTH_S",
    "Aggregate",
    "AuditHealth",
    "DirtyWindow",
    "Document",
    "Erasure",
    "ErasureWork",
    "LedgerRows",
    "RegistryHealth",
    "RejectedEvent",
    "RetainedSource",
    "Retention",
    "Rollup",
    "RollupAggregate",
    "RunSummary",
    "SourceSummary",
    "StreamFigures",
    "StreamingHealth",
    "WindowDocument",
    "as_map",
    "as_pairs",
    "connect",
    "ensure",
    "event_id",
    "rollup_id",
    "window_id",
    "window_start_us",
    "with_ids",
]

Document = dict[str, Any]

DATABASE = "energy_emissions"
TRAINING_METRICS = "training_metrics"
TRAINING_RUN_SUMMARY = "training_run_summary"
AGGREGATED_METRICS = "aggregated_metrics"
AGGREGATED_ROLLUPS = "aggregated_rollups"
REJECTED_EVENTS = "rejected_events"
DIRTY_WINDOWS = "dirty_windows"
ERASURES = "erasures"
SCHEMAS = "schemas"
PIPELINE_HEALTH = "pipeline_health"
STREAMING = "streaming"  # the stream's document there
AUDIT = "audit"  # the last audit's

WINDOW_LENGTH_S = 60
READ_TOGETHER = 10_000  # documents: unasked, the embedded store sends all at once, more than a message may have
_IDS_TOGETHER = 500  # in one question: the embedded store compares each document it finds with each id
SETTLEMENT = 2**40  # a window's revision = settlement * SETTLEMENT + events

HOUR_S = 3_600  # lengths of rollups: an hour and a day of UTC
DAY_S = 86_400
ROLLUP_DIMENSIONS = ("run_id", "user_id", "project", "model_name", "region_iso")
MEAN_WEIGHTS: Mapping[str, str] = {  # an aggregate's means, and the figure that weighs each when several are composed
    "power_avg_w": "interval_s",
    "cpu_utilization_avg_pct": "cpu_utilization_count",
    "gpu_utilization_avg_pct": "gpu_utilization_count",
    "loss_avg": "loss_count",
    "accuracy_avg": "accuracy_count",
}

_INDEXES: Mapping[str, Sequence[IndexModel]] = {
    TRAINING_METRICS: [
        IndexModel([("run_id", ASCENDING), ("timestamp_us", ASCENDING)]),
        IndexModel([("timestamp_us", ASCENDING)]),
    ],
    TRAINING_RUN_SUMMARY: [
        IndexModel([("last_event_at", ASCENDING)]),
        IndexModel([("user_id", ASCENDING)]),
        IndexModel([("raw_complete", ASCENDING), ("finished_at", ASCENDING)]),
    ],
    AGGREGATED_METRICS: [
        IndexModel([("run_id", ASCENDING), ("window_start", ASCENDING)]),
        IndexModel([("window_start", ASCENDING)]),
    ],
    AGGREGATED_ROLLUPS: [  # one group's year; all groups of some days; everything in order of time
        IndexModel(
            [("dimension", ASCENDING), ("key", ASCENDING), ("length_s", ASCENDING), ("window_start", ASCENDING)]
        ),
        IndexModel([("dimension", ASCENDING), ("length_s", ASCENDING), ("window_start", ASCENDING)]),
        IndexModel([("window_start", ASCENDING)]),
    ],
    REJECTED_EVENTS: [IndexModel([("rejected_at", ASCENDING)])],
    DIRTY_WINDOWS: [IndexModel([("due_at", ASCENDING)])],
    ERASURES: [IndexModel([("done_at", ASCENDING)])],
}


class SourceSummary(TypedDict, total=False):
    """What one source of a run has said, gathered by `$min` and `$max` only, so that order and replay cannot hurt."""

    context: Document  # user_id, model_name, dataset_name, framework, environment, region_iso, project, host, ...
    seq_max: int
    first_timestamp_us: int
    last_timestamp_us: int
    energy_kwh: float  # highest cumulative figures of its samples
    energy_low_kwh: float
    energy_high_kwh: float
    measured_energy_kwh: float
    emissions_kg: float
    methods: dict[str, int]  # Method -> 1, for each method that a device was read by
    started: Document  # facts of RunStarted: seq, timestamp_us, hyperparameters, tags, planned_epochs, hardware, ...
    latest_epoch: Document  # of the highest seq that told it: seq and epoch; likewise the next three
    latest_step: Document
    latest_loss: Document
    latest_accuracy: Document
    latest_sample: Document  # of the highest seq: seq, power_avg_w, grid_intensity_g_per_kwh, pue, ...
    finished: Document  # facts of RunFinished: status, duration_s, source_energy_kwh, events_emitted, ...


class RetainedSource(TypedDict):
    """Which numbers of a source had been accepted when its raw events went: 0 to seq_max but the missing ones."""

    seq_max: int
    missing: list[list[int]]  # [first, last] of each gap


class Retention(TypedDict):
    """What is left of raw events that are deleted: written before the first of them goes."""

    events: int  # how many there were
    sources: dict[str, RetainedSource]
    began_at: datetime.datetime
    deleting: bool  # until all of them are gone
    deleted_at: NotRequired[datetime.datetime]


class RunSummary(TypedDict):
    """A document of training_run_summary.

    All but `_id`, sources, settled, raw_complete and retention is a pure function of sources.
    """

    _id: str  # run_id
    sources: dict[str, SourceSummary]
    run_id: str
    status: str  # RUNNING, COMPLETED, FAILED, STOPPED or UNKNOWN
    user_id: str
    model_name: str
    dataset_name: str
    framework: str
    environment: str
    region_iso: str
    project: str | None
    simulated: bool
    hosts: list[str]
    methods: list[str]  # how the energy was got: Method names, sorted
    started_at: datetime.datetime
    last_event_at: datetime.datetime
    finished_at: datetime.datetime | None
    duration_s: float
    energy_kwh: float
    energy_low_kwh: float
    energy_high_kwh: float
    measured_energy_kwh: float
    emissions_kg: float
    events_expected: int  # by the sources' own numbering
    epoch: int | None
    step: int | None
    loss: float | None
    accuracy: float | None
    power_w: float | None  # sum of the sources' latest samples
    settled: NotRequired[Document]  # windows' sum when last settled: energy_kwh, difference_kwh, settled_at
    raw_complete: NotRequired[bool]  # false once raw events are deleted; else it is not there
    retention: NotRequired[Retention]  # there with raw_complete: false


class Aggregate(TypedDict, total=False):
    """The figures of one run's window, replaced as one by `$max`: the higher revision wins."""

    revision: int  # first field on purpose: `$max` compares it first
    events: int
    samples: int
    energy_kwh: float
    energy_low_kwh: float
    energy_high_kwh: float
    measured_energy_kwh: float
    energy_cpu_kwh: float
    energy_gpu_kwh: float
    energy_memory_kwh: float
    energy_other_kwh: float
    emissions_kg: float
    power_avg_w: float | None
    power_max_w: float | None
    energy_p50_kwh: float | None
    energy_p90_kwh: float | None
    energy_p99_kwh: float | None
    cpu_utilization_avg_pct: float | None
    cpu_utilization_stddev_pct: float | None
    gpu_utilization_avg_pct: float | None
    loss_avg: float | None
    accuracy_avg: float | None
    energy_cpu_utilization_corr: float | None
    interval_s: float  # this and the counts weigh the means in rollups; WindowAggregated has none of them
    cpu_utilization_count: int
    gpu_utilization_count: int
    loss_count: int
    accuracy_count: int
    context: Document  # user_id, model_name, ..., simulated


class WindowDocument(TypedDict):
    """A document of aggregated_metrics; `_id` is run_id|window_start|length."""

    _id: str
    run_id: str
    window_start: datetime.datetime
    window_end: datetime.datetime
    length_s: int
    aggregate: Aggregate


class RollupAggregate(TypedDict):
    """The figures of an hour or a day: sums, counts, extremes, and means weighted as in `MEAN_WEIGHTS`."""

    runs: int  # distinct ones
    windows: int
    events: int
    samples: int
    energy_kwh: float
    energy_low_kwh: float
    energy_high_kwh: float
    measured_energy_kwh: float
    energy_cpu_kwh: float
    energy_gpu_kwh: float
    energy_memory_kwh: float
    energy_other_kwh: float
    emissions_kg: float
    interval_s: float  # seconds that its samples cover, those of all its runs together
    power_avg_w: float | None  # energy over interval_s, so of one run on average
    power_min_w: float | None  # lowest mean of a run's minute
    power_max_w: float | None  # highest reading of one run
    cpu_utilization_avg_pct: float | None
    cpu_utilization_count: int
    gpu_utilization_avg_pct: float | None
    gpu_utilization_count: int
    loss_avg: float | None
    loss_count: int
    accuracy_avg: float | None
    accuracy_count: int


class Rollup(TypedDict):
    """A document of aggregated_rollups; `_id` as by `rollup_id`. Simulated energy is never summed with other energy."""

    _id: str
    dimension: str  # of ROLLUP_DIMENSIONS
    key: str | None  # the run, user, project, ... ; a project may be null
    simulated: bool
    window_start: datetime.datetime
    window_end: datetime.datetime
    length_s: int  # HOUR_S or DAY_S
    aggregate: RollupAggregate
    keys: NotRequired[dict[str, list[str | None]]]  # of a run: by dimension, the groups that it counts in


class DirtyWindow(TypedDict):
    """A document of dirty_windows: a window that got events since it was last settled; `_id` is the window's."""

    _id: str
    run_id: str
    window_start_us: int
    due_at: datetime.datetime  # when the settler looks at it
    late: bool  # got an event after it was due
    suspect: bool  # its stored figures are not to be trusted: to be folded anew without comparing
    mark: str  # new with every batch that touches it; a settler removes only the mark it saw


class RejectedEvent(TypedDict):
    """A document of rejected_events: a message as it came; `_id` is cluster:topic:partition:offset."""

    _id: str
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    headers: list[Document]  # {k, v} in their order; a key may come twice, a value may be null
    partition: int
    offset: int
    append_time: datetime.datetime
    rejected_at: datetime.datetime
    cut_from_bytes: NotRequired[int]  # of a message so large that only the beginning of key and value is kept


class ErasureWork(TypedDict, total=False):
    """What an erasure under way needs to know; removed when it is done, as it names who is erased."""

    names: list[str]  # the run; or the user, with the pseudonym that he may have in the store
    runs: list[str]  # those found; not there before they are
    runs_done: int  # of them, in their order
    places_done: list[str]  # partitions that are done, as topic:partition


class Erasure(TypedDict):
    """A document of erasures: what must not come in again, or only by another name; `_id` is run|digest or user|digest.

    The digest is keyed, so it tells nobody who it was. Beside these there are `key`, and `place|` with the id of each
    rejected message that was removed.
    """

    _id: str
    action: str  # erase or pseudonymise
    request: NotRequired[str]  # at random: one that is asked for anew has all of its work to do
    asked_at: datetime.datetime
    done_at: datetime.datetime | None
    counts: NotRequired[dict[str, int]]  # what was removed or changed, by collection
    pseudonym: NotRequired[str]
    part_of: NotRequired[str]  # of a user's run: the user's document
    work: NotRequired[ErasureWork]


class LedgerRows(TypedDict):
    """What became of the messages of the batches whose end the stream has seen, since its first start.

    A batch that a crash or a failure has repeated may be missing here, and a topic that is read again from its start (a
    new checkpoint) counts again; the audit counts exactly.
    """

    rows_booked: int  # first-seen good events
    rows_filled: int  # of a schema registered while the stream ran: decoded in Python until its next start
    filled_share: float  # rows_filled / rows_booked
    rows_rejected: dict[str, int]  # by reason


class RegistryHealth(TypedDict):
    """What the stream's last look at the registry found."""

    problem: str | None  # what is wrong, and what to do
    checked_at: datetime.datetime


class AuditHealth(TypedDict):
    """The document `audit` of pipeline_health: how the last audit ended."""

    at: datetime.datetime
    clean: bool
    runs: int
    differences: int  # after what was mended
    pending: int  # differences that settling is still to mend
    repaired: int  # what `audit --repair` has mended


class StreamFigures(TypedDict):
    """How the stream does, by its own last report; sums count since its start."""

    at: datetime.datetime
    messages_per_s: float  # since the report before
    events_per_s: float  # likewise, of those booked
    lag_messages: int | None
    lag_s: float | None  # how long the oldest of them has been in Kafka
    watermark: datetime.datetime | None
    newest_event_at: datetime.datetime | None
    late_rows: int
    windows_dirty: int | None
    windows_settled: int
    windows_late: int
    windows_folded_anew: int
    raw_events_deleted: int
    runs_closed: int | None  # whose raw events are deleted
    batch_ms: dict[str, int]  # by part, as Spark names the parts
    problems: dict[str, str]  # part -> what keeps it from its work
    last_error: Document | None  # part, problem, at; also when it is over


class StreamingHealth(TypedDict, total=False):
    """The document `streaming` of pipeline_health: how the stream does."""

    _id: str
    batch_id: int
    batch_at: datetime.datetime
    batch_s: float
    windows_written: int
    windows_folded_anew: int
    previous_batch: Document | None  # input_rows, duration_ms by part
    ledger: LedgerRows
    registry: RegistryHealth
    figures: StreamFigures


def connect(mongodb_uri: str, *, timeout_ms: int = 10_000) -> Database[Document]:
    """Return the database of a store; nothing is sent yet. Raises `ConfigurationError` when the address is none."""
    try:
        client: MongoClient[Document] = MongoClient(
            mongodb_uri, serverSelectionTimeoutMS=timeout_ms, tz_aware=True, appname="wattline"
        )
    except (PyMongoError, ValueError, TypeError):  # its text may hold a part of the password
        raise ConfigurationError(
            f"MONGODB_URI, which names {hosts(mongodb_uri)}, is no address of a store; write "
            "mongodb://user:password@host:port/, in user and password / ? # @ : as %2F ..., and only options that exist"
        ) from None
    return client[DATABASE]


def ensure(database: Database[Document]) -> None:
    """Create the indexes that are missing; raise what `answering` raises."""
    with answering():
        for collection, indexes in _INDEXES.items():
            database[collection].create_indexes(list(indexes))


def with_ids(
    collection: Collection[Document], ids: Sequence[str], fields: Mapping[str, int] | None = None
) -> Iterator[Document]:
    """Yield the documents that have these `_id`s, of many too."""
    for at in range(0, len(ids), _IDS_TOGETHER):
        yield from collection.find({"_id": {"$in": ids[at : at + _IDS_TOGETHER]}}, fields)


def event_id(run_id: str, source_id: str, seq: int) -> str:
    """Return the identity of an event; injective, as neither id may contain `|`."""
    return f"{run_id}|{source_id}|{seq}"


def window_start_us(timestamp_us: int, length_s: int = WINDOW_LENGTH_S) -> int:
    """Return the start of the tumbling window that holds a moment, in microseconds since 1970."""
    length_us = length_s * 1_000_000
    return timestamp_us // length_us * length_us


def window_id(run_id: str, start_us: int, length_s: int = WINDOW_LENGTH_S) -> str:
    """Return the identity of a run's window: run_id|window_start|length, the start in ISO 8601, UTC."""
    start = datetime.datetime.fromtimestamp(start_us // 1_000_000, tz=datetime.timezone.utc)
    return f"{run_id}|{start:%Y-%m-%dT%H:%M:%SZ}|{length_s}"


def rollup_id(dimension: str, key: str | None, simulated: bool, start: datetime.datetime, length_s: int) -> str:
    """Return the identity of a rollup: dimension|key|simulated|start|length, the start in UTC.

    The key is in JSON: it may hold any text, `|` too, and no project is another one than "null".
    """
    text = json.dumps(key, ensure_ascii=False)
    return f"{dimension}|{text}|{json.dumps(simulated)}|{start:%Y-%m-%dT%H:%M:%SZ}|{length_s}"


def as_pairs(values: Mapping[str, Any]) -> list[Document]:
    """Return a map as sorted {k, v} pairs: keys of users may hold dots and dollars, which field names must not."""
    return [{"k": key, "v": values[key]} for key in sorted(values)]


def as_map(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the map that `as_pairs` stored."""
    return {pair["k"]: pair["v"] for pair in pairs}


def main() -> int:
    """Create the indexes; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m wattline_common.store",
        description=f"Create the indexes that are missing in the database {DATABASE} of MONGODB_URI; idempotent.",
    )
    parser.parse_args()
    try:
        ensure(connect(Endpoints.from_environment().mongodb_uri))
    except WattlineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("all indexes are there\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
