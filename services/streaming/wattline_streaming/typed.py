"""The typed columns that windows need: their schema, and how Python fills them from a whole event.

Three ways lead to these columns and must agree: `decode` (from_avro in the JVM), the ledger (ids registered while
running), the settler (raw documents).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wattline_common.events import DeviceKind
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.registry import subjects

__all__ = [
    "ARROW_SCHEMA",
    "BOOKED_DDL",
    "BOOKED_SCHEMA",
    "CONTEXT",
    "ENERGY_BY_KIND",
    "FILLED",
    "READER_SCHEMA",
    "REJECTED_REASON",
    "REJECTED_ROWS",
    "UNKNOWN",
    "typed_row",
]

UNKNOWN = "unknown"  # the contract's default: its source says nothing of it
CONTEXT = ("user_id", "model_name", "dataset_name", "framework", "environment", "region_iso", "project")
ENERGY_BY_KIND = {f"energy_{kind.lower()}_kwh": kind.value for kind in DeviceKind}
_KINDS = frozenset(ENERGY_BY_KIND.values())
_NUMBERS = (
    "energy_kwh",
    "energy_low_kwh",
    "energy_high_kwh",
    "measured_energy_kwh",
    "emissions_kg",
    "interval_s",
    "power_max_w",
    "cpu_utilization_pct",
    "gpu_utilization_pct",
    "loss",
    "accuracy",
)

ARROW_SCHEMA = pa.schema(
    [("run_id", pa.string()), ("event_time", pa.timestamp("us", tz="UTC")), ("simulated", pa.bool_())]
    + [(name, pa.string()) for name in CONTEXT]
    + [(name, pa.float64()) for name in (*_NUMBERS, *ENERGY_BY_KIND)]
)
FILLED = "filled"  # the ledger had to fill the row: its schema id was registered while running
REJECTED_REASON = "rejected_reason"  # not null: the row is no event but tells how many messages were rejected for it
REJECTED_ROWS = "rejected_rows"
BOOKED_SCHEMA = pa.schema(
    [*ARROW_SCHEMA, (FILLED, pa.bool_()), (REJECTED_REASON, pa.string()), (REJECTED_ROWS, pa.int64())]
)
_DDL = {pa.string(): "string", pa.bool_(): "boolean", pa.float64(): "double", pa.int64(): "bigint"}
BOOKED_DDL = ", ".join(f"{field.name} {_DDL.get(field.type, 'timestamp')}" for field in BOOKED_SCHEMA)


def _reader_schema() -> str:
    """Return the narrow schema that every record of the topic is resolved to: it names each of them as an alias."""
    kind = {
        "type": "enum",
        "name": "DeviceKind",
        "symbols": list(ENERGY_BY_KIND.values()),
        "default": DeviceKind.OTHER.value,
    }
    device = {
        "type": "record",
        "name": "DeviceReading",
        "fields": [{"name": "kind", "type": kind, "default": "OTHER"}, {"name": "energy_kwh", "type": "double"}],
    }
    fields: list[dict[str, Any]] = [
        {"name": "run_id", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "simulated", "type": "boolean", "default": False},
    ]
    fields += [{"name": name, "type": ["null", "string"], "default": None} for name in CONTEXT]
    fields += [{"name": name, "type": ["null", "double"], "default": None} for name in _NUMBERS]
    fields += [{"name": "devices", "type": {"type": "array", "items": device}, "default": []}]
    aliases = [name.removeprefix(f"{TRAINING_EVENTS}-") for name in subjects(TRAINING_EVENTS)]
    record = {"type": "record", "name": "TypedColumns", "namespace": "wattline.events"}
    return json.dumps({**record, "aliases": aliases, "fields": fields})


READER_SCHEMA = _reader_schema()


def typed_row(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the typed columns of one event's fields (of a datum or of a raw document)."""
    devices = fields.get("devices")
    row: dict[str, Any] = {name: fields.get(name) for name in ("run_id", *CONTEXT, *_NUMBERS)}
    row |= {"event_time": fields["timestamp"], "simulated": fields.get("simulated", False)}
    for column, kind in ENERGY_BY_KIND.items():
        row[column] = math.fsum(d["energy_kwh"] for d in devices if _kind(d) == kind) if devices else None
    return row


def _kind(device: Mapping[str, Any]) -> str:
    """Return a device's kind; one that only newer versions know is the enum's default, as it is to `from_avro`."""
    kind: str = device["kind"]
    return kind if kind in _KINDS else DeviceKind.OTHER.value
