"""What a Python team would write with Quix Streams: its Avro deserializer, tumbling windows, state and MongoDB sink.

Raw events are replaced by `_id`, windows and run totals are kept in Quix's state (RocksDB with changelog topics, its
default) and written as they stand at each checkpoint.
"""

# Runs in a venv of its own (quix.lock), as Quix pins another confluent-kafka; so nothing of the project is imported.
# mypy: disable-error-code="import-not-found,no-any-unimported,misc,untyped-decorator"

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from quixstreams import Application, State  # pants: no-infer-dep
from quixstreams.dataframe.windows import Count, Max, Mean, Sum  # pants: no-infer-dep
from quixstreams.models.serializers.avro import AvroDeserializer  # pants: no-infer-dep
from quixstreams.models.serializers.schema_registry import SchemaRegistryClientConfig  # pants: no-infer-dep
from quixstreams.sinks.base import SinkBatch  # pants: no-infer-dep
from quixstreams.sinks.base.item import SinkItem  # pants: no-infer-dep
from quixstreams.sinks.community.mongodb import MongoDBSink  # pants: no-infer-dep

_CHECKPOINT_S = 1.0  # its default of 5 s would keep an event from the store for as long
_WINDOW_MS = 60_000
_GRACE_MS = 120_000
_SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg", "interval_s")
_CONTEXT = ("user_id", "project", "model_name", "dataset_name", "framework", "environment", "region_iso", "simulated")


class LatestMongoDBSink(MongoDBSink):
    """The MongoDB sink for values that replace each other: of a checkpoint's updates only the last is written."""

    def __init__(self, identity: Callable[[SinkItem], str], **options: Any) -> None:  # noqa: ANN401  # MongoDBSink's own
        super().__init__(document_matcher=lambda item: {"_id": identity(item)}, update_method="ReplaceOne", **options)
        self._identity = identity

    def write(self, batch: SinkBatch) -> None:
        """Write the last value of each document."""
        last = {self._identity(item): item for item in batch}
        latest = SinkBatch(batch.topic, batch.partition)
        for item in last.values():
            latest.append(item.value, item.key, item.timestamp, item.headers, item.offset)
        super().write(latest)


def event_time_ms(value: dict[str, Any], *_: object) -> int:
    """Return the event's own time, which windows go by."""
    return int(value["timestamp"].timestamp() * 1000)


def event_id(item: SinkItem) -> str:
    """Return the identity of a raw event."""
    event = item.value
    return f"{event['run_id']}|{event['source_id']}|{event['seq']}"


def run_summary(event: dict[str, Any], state: State) -> dict[str, Any]:
    """Add an event to its run's summary, which is kept in state, and return that."""
    summary: dict[str, Any] = state.get("summary") or {"run_id": event["run_id"], "events": 0, "power_max_w": 0.0}
    summary["events"] += 1
    for name in _SUMS:
        if name in event:
            summary[name] = summary.get(name, 0.0) + event[name]
    summary["power_max_w"] = max(summary["power_max_w"], event.get("power_max_w") or 0.0)
    summary |= {name: event.get(name) for name in _CONTEXT}
    if event.get("loss") is not None:
        summary |= {"loss": event["loss"], "epoch": event["epoch"], "step": event["step"]}
    if "duration_s" in event:
        summary["status"] = event["status"]
    state.set("summary", summary)
    return summary


def main() -> None:
    """Consume until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--brokers", "--registry", "--mongodb-host", "--mongodb-port", "--topic", "--database", "--state"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    app = Application(
        broker_address=options.brokers,
        consumer_group=options.database,
        auto_offset_reset="earliest",
        commit_interval=_CHECKPOINT_S,
        state_dir=options.state,
    )
    registry = SchemaRegistryClientConfig(url=options.registry)
    topic = app.topic(
        options.topic,
        key_deserializer="str",
        value_deserializer=AvroDeserializer(schema_registry_client_config=registry),
        timestamp_extractor=event_time_ms,
    )
    at = {"host": options.mongodb_host, "port": int(options.mongodb_port), "db": options.database}

    events = app.dataframe(topic)
    events.sink(
        MongoDBSink(
            collection="events",
            document_matcher=lambda item: {"_id": event_id(item)},
            update_method="ReplaceOne",
            **at,
        )
    )
    events.apply(run_summary, stateful=True).sink(LatestMongoDBSink(lambda item: item.key, collection="runs", **at))
    windows = (
        events.tumbling_window(_WINDOW_MS, grace_ms=_GRACE_MS)
        .agg(
            events=Count(),
            power_max_w=Max("power_max_w"),
            cpu_utilization_avg_pct=Mean("cpu_utilization_pct"),
            **{name: Sum(name) for name in _SUMS},
        )
        .current()
    )
    windows = windows.apply(lambda value, key, *_: {"run_id": key, **value}, metadata=True)
    windows.sink(LatestMongoDBSink(lambda item: f"{item.key}|{item.value['start']}", collection="windows", **at))
    app.run()


if __name__ == "__main__":
    main()
