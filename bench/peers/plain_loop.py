"""What a Python team would write without a framework: one loop over confluent-kafka, fastavro and pymongo.

Polls a batch, decodes it by each message's schema, stores the raw events, adds their figures to run summaries and
one-minute windows, and commits. At least once: a crash before the commit counts the batch's figures twice.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import signal
import struct
from typing import Any

import fastavro
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from pymongo import MongoClient, UpdateOne
from pymongo.errors import BulkWriteError

_BATCH = 5_000
_POLL_S = 0.2
_WINDOW_S = 60
_DUPLICATE_KEY = 11000
_HEAD = struct.Struct(">BI")
_SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg", "interval_s")
_CONTEXT = ("user_id", "project", "model_name", "dataset_name", "framework", "environment", "region_iso", "simulated")


class Decoder:
    """Decodes messages of the Confluent wire format, asking the registry once a schema."""

    def __init__(self, url: str) -> None:
        self._registry = SchemaRegistryClient({"url": url})
        self._schemas: dict[int, tuple[str, Any]] = {}

    def decode(self, message: bytes) -> dict[str, Any]:
        """Return the event's fields and its record's name."""
        _, schema_id = _HEAD.unpack_from(message)
        if schema_id not in self._schemas:
            schema = json.loads(self._registry.get_schema(schema_id).schema_str or "")
            self._schemas[schema_id] = schema["name"], fastavro.parse_schema(schema)
        name, parsed = self._schemas[schema_id]
        fields: Any = fastavro.schemaless_reader(io.BytesIO(message[_HEAD.size :]), parsed, None)
        return {"event_type": name, **fields}


class Totals:
    """Adds up what a batch does to documents by `_id`, so that each is written once."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, float]] = {}
        self._highest: dict[str, dict[str, Any]] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def add(self, key: str, event: dict[str, Any], facts: dict[str, Any]) -> None:
        """Add an event's figures."""
        sums = self._sums.setdefault(key, {"events": 0})
        sums["events"] += 1
        for name in _SUMS:
            if name in event:
                sums[name] = sums.get(name, 0.0) + event[name]
        if event.get("cpu_utilization_pct") is not None:
            sums["cpu_utilization_pct"] = sums.get("cpu_utilization_pct", 0.0) + event["cpu_utilization_pct"]
            sums["samples"] = sums.get("samples", 0) + 1
        highest = self._highest.setdefault(key, {"last_event_at": event["timestamp"]})
        highest["last_event_at"] = max(highest["last_event_at"], event["timestamp"])
        if event.get("power_max_w") is not None:
            highest["power_max_w"] = max(highest.get("power_max_w", 0.0), event["power_max_w"])
        self._facts.setdefault(key, {}).update(facts)

    def updates(self) -> list[UpdateOne]:
        """Return one upsert a document."""
        return [
            UpdateOne({"_id": key}, {"$inc": sums, "$max": self._highest[key], "$set": self._facts[key]}, upsert=True)
            for key, sums in self._sums.items()
        ]


def run_facts(event: dict[str, Any]) -> dict[str, Any]:
    """Return what an event says of its run beside figures."""
    facts = {name: event.get(name) for name in _CONTEXT}
    if event.get("loss") is not None:
        facts |= {"loss": event["loss"], "epoch": event["epoch"], "step": event["step"]}
    if event["event_type"] == "RunFinished":
        facts["status"] = event["status"]
    return facts


def store(database: Any, events: list[dict[str, Any]]) -> None:  # noqa: ANN401  # a pymongo Database
    """Write a batch: raw events, run summaries, windows."""
    runs, windows, raw = Totals(), Totals(), []
    for event in events:
        run_id = event["run_id"]
        raw.append({"_id": f"{run_id}|{event['source_id']}|{event['seq']}", **event})
        runs.add(run_id, event, run_facts(event))
        start_s = int(event["timestamp"].timestamp()) // _WINDOW_S * _WINDOW_S
        start = datetime.datetime.fromtimestamp(start_s, tz=datetime.UTC)
        windows.add(f"{run_id}|{start_s}", event, {"run_id": run_id, "window_start": start})
    try:
        database.events.insert_many(raw, ordered=False)
    except BulkWriteError as error:
        if any(one["code"] != _DUPLICATE_KEY for one in error.details["writeErrors"]):
            raise
    database.runs.bulk_write(runs.updates(), ordered=False)
    database.windows.bulk_write(windows.updates(), ordered=False)


def main() -> None:
    """Consume until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--brokers", "--registry", "--mongodb", "--topic", "--database"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    decoder = Decoder(options.registry)
    client: MongoClient[dict[str, Any]] = MongoClient(options.mongodb)
    database = client[options.database]
    database.events.create_index("run_id")
    database.windows.create_index("run_id")
    consumer = Consumer(
        {
            "bootstrap.servers": options.brokers,
            "group.id": options.database,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([options.topic])
    while not stopping:
        messages = consumer.consume(_BATCH, _POLL_S)
        events = [decoder.decode(message.value() or b"") for message in messages if message.error() is None]
        if events:
            store(database, events)
            consumer.commit(asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main()
