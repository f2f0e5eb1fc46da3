"""Promises of the typed columns: one schema in three notations."""

from __future__ import annotations

import json

import fastavro

from tests.events import sample
from wattline_common.events import EVENT_TYPES, WindowAggregated
from wattline_streaming.typed import BOOKED_DDL, BOOKED_SCHEMA, READER_SCHEMA, typed_row


def test_sparks_and_arrows_notation_name_the_same_columns() -> None:
    """The DDL that Spark is told and the Arrow schema that the ledger yields agree in names and order."""
    spark = {"string": "string", "bool": "boolean", "double": "double", "int64": "bigint"}
    spark["timestamp[us, tz=UTC]"] = "timestamp"
    assert ", ".join(f"{field.name} {spark[str(field.type)]}" for field in BOOKED_SCHEMA) == BOOKED_DDL


def test_the_reader_schema_stands_for_every_record_of_the_topic() -> None:
    """It is valid Avro and names each record that travels on training.events as an alias."""
    fastavro.parse_schema(json.loads(READER_SCHEMA))
    expected = {kind.AVRO_NAME for kind in EVENT_TYPES.values()} - {WindowAggregated.AVRO_NAME}
    assert set(json.loads(READER_SCHEMA)["aliases"]) == expected


def test_energy_is_split_by_kind() -> None:
    """A sample's devices are summed by kind, zero where there is none of a kind."""
    row = typed_row(sample(energy_kwh=2.0).to_avro())
    assert (row["energy_cpu_kwh"], row["energy_gpu_kwh"], row["energy_memory_kwh"]) == (2.0, 0.0, 0.0)
