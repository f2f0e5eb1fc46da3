"""From Kafka's bytes to the typed columns that windows need, by `from_avro` with each message's own writer schema."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812  # Spark's own convention
from pyspark.sql.avro.functions import from_avro

from wattline_common.codec import frame
from wattline_streaming.typed import ARROW_SCHEMA, CONTEXT, ENERGY_BY_KIND, READER_SCHEMA

__all__ = ["ENVELOPE", "decode"]

ENVELOPE = ("key", "value", "headers", "partition", "offset", "timestamp")
_MESSAGE_HEAD_BYTES = 5


def decode(messages: DataFrame, writers: Mapping[int, str]) -> DataFrame:
    """Return Kafka's envelope and the typed columns; the latter are null where a message cannot be read here.

    ``writers`` maps the schema ids known at the start to their schemas. Whether a message is good is the ledger's word:
    a damaged one, and one of an id registered later, has null columns alike.
    """
    event = F.col("event")
    columns = {
        "run_id": event["run_id"],
        "event_time": event["timestamp"],
        "simulated": event["simulated"],
        **{name: event[name] for name in CONTEXT},
        **{column: _energy_of(kind) for column, kind in ENERGY_BY_KIND.items()},
    }
    typed = [columns.get(field.name, event[field.name]).alias(field.name) for field in ARROW_SCHEMA]
    # As one text, which few messages have: on its way to Python a list is measured anew, whole, with each row.
    headers = {"headers": F.to_json("headers")}
    return messages.withColumns({"event": _event(writers), **headers}).select(*ENVELOPE, *typed)


def _event(writers: Mapping[int, str]) -> Column:
    """Return one branch per known schema id, each resolved to the narrow reader schema."""
    value = F.col("value")
    head = F.substring(value, 1, _MESSAGE_HEAD_BYTES)
    body = F.expr(f"substring(value, {_MESSAGE_HEAD_BYTES + 1})")
    options = {"avroSchema": READER_SCHEMA, "mode": "PERMISSIVE"}
    branches = [
        F.when(head == F.lit(frame(number, b"")), from_avro(body, schema, options))
        for number, schema in sorted(writers.items())
    ]
    return F.coalesce(*branches)


def _energy_of(kind: str) -> Column:
    """Return the energy of the devices of one kind; null for events without devices."""
    devices = F.col("event")["devices"]
    of_kind = F.filter(devices, lambda device: device["kind"] == kind)
    energy = F.aggregate(of_kind, F.lit(0.0), lambda total, device: total + device["energy_kwh"])
    return F.when(F.size(devices) > 0, energy)
