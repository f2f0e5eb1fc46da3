"""Readers and writers of different versions understand each other, as the evolution rule promises."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.strategies import FULL_NAMES, data, schema_versions
from wattline_common.codec import Decoder, frame
from wattline_common.events import EPOCH, EVENT_TYPES

VERSIONS = schema_versions()
EVERY_VERSION = [(name, number) for name in FULL_NAMES for number in range(1, len(VERSIONS[name]) + 1)]
ADDED: list[dict[str, Any]] = [
    {"name": "added_text", "type": "string", "doc": "-", "default": "new"},
    {"name": "added_number", "type": ["null", "double"], "doc": "-", "default": None},
    {"name": "added_list", "type": {"type": "array", "items": "long"}, "doc": "-", "default": []},
]


def _written(schema: dict[str, Any], datum: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(copy.deepcopy(schema)), datum)
    return frame(1, buffer.getvalue())


def _decoder_of(schema: dict[str, Any]) -> Decoder:
    return Decoder(lambda _: json.dumps(schema))


def _nested_records(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a record and all records defined in it."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _nested_records(branch)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            yield schema
            for entry in schema["fields"]:
                yield from _nested_records(entry["type"])
        else:
            yield from _nested_records(schema.get("items") or schema.get("values") or [])


@st.composite
def _older(draw: st.DrawFn, full_name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a schema without some fields that have defaults, at the top and nested, and the defaults of those."""
    schema = copy.deepcopy(VERSIONS[full_name][-1])
    top = {entry["name"]: entry["default"] for entry in schema["fields"] if "default" in entry}
    gone = draw(st.sets(st.sampled_from(sorted(top))))
    for record in list(_nested_records(schema)):
        names = [entry["name"] for entry in record["fields"] if "default" in entry]
        most = len(record["fields"]) - 1  # a list of records without a field is no schema that is read by
        dropped = gone if record is schema else draw(st.sets(st.sampled_from(names), max_size=most)) if names else set()
        record["fields"] = [entry for entry in record["fields"] if entry["name"] not in dropped]
    return schema, {name: top[name] for name in gone}


@given(full_name=st.sampled_from(FULL_NAMES), draw=st.data())
def test_an_older_writer_is_read_with_the_defaults(full_name: str, draw: st.DataObject) -> None:
    """What an older writer did not know reads as the schema's default, in the type that the dataclass declares."""
    schema, gone = draw.draw(_older(full_name))
    datum = draw.draw(data(schema))
    event = _decoder_of(schema).event(_written(schema, datum))
    defaults = {
        name: EPOCH if isinstance(_type_of(full_name, name), dict) and default == 0 else default
        for name, default in gone.items()
    }
    found = event.to_avro()
    assert {name: found[name] for name in gone} == defaults
    assert {name: type(found[name]) for name in gone} == {name: type(value) for name, value in defaults.items()}
    scalars = [name for name, value in datum.items() if not isinstance(value, list)]
    assert {name: found[name] for name in scalars} == {name: datum[name] for name in scalars}
    assert event == type(event).from_avro(found)


def _type_of(full_name: str, field: str) -> Any:
    return next(entry["type"] for entry in VERSIONS[full_name][-1]["fields"] if entry["name"] == field)


@given(full_name=st.sampled_from(FULL_NAMES), draw=st.data())
def test_a_newer_writer_is_read_without_what_it_added(full_name: str, draw: st.DataObject) -> None:
    """Fields we do not know are skipped by `event`, and kept by `datum`."""
    schema = copy.deepcopy(VERSIONS[full_name][-1])
    position = draw.draw(st.integers(0, len(schema["fields"])))
    schema["fields"][position:position] = ADDED
    datum = draw.draw(data(schema))
    message = _written(schema, datum)
    decoder = _decoder_of(schema)
    ours = {name: value for name, value in datum.items() if not name.startswith("added_")}
    assert decoder.event(message) == EVENT_TYPES[full_name.rpartition(".")[2]].from_avro(ours)
    assert decoder.datum(message).fields == datum


@pytest.mark.parametrize(("record", "field", "symbols"), [("RunFinished", "status", ["PAUSED", "LOST"])])
def test_an_unknown_symbol_reads_as_the_default(record: str, field: str, symbols: list[str]) -> None:
    """A newer writer's new enum symbol reads as the enum's default, not as an error."""
    full_name = f"wattline.events.{record}"
    schema = copy.deepcopy(VERSIONS[full_name][-1])
    kind = next(entry["type"] for entry in schema["fields"] if entry["name"] == field)
    kind["symbols"] += symbols
    datum = {entry["name"]: entry.get("default", 0) for entry in schema["fields"]}
    datum |= {"run_id": "r", "source_id": "s", "timestamp": EPOCH}
    for symbol in symbols:
        event = _decoder_of(schema).event(_written(schema, {**datum, field: symbol}))
        assert event.to_avro()[field] == kind["default"]


@pytest.mark.parametrize(("full_name", "version"), EVERY_VERSION)
@given(draw=st.data())
def test_every_committed_version_and_the_newest_read_each_other(
    full_name: str, version: int, draw: st.DataObject
) -> None:
    """Released events decode to today's dataclass; a release not yet updated reads today's (by fastavro alone)."""
    old, newest = VERSIONS[full_name][version - 1], VERSIONS[full_name][-1]
    datum = draw.draw(data(old))
    event = _decoder_of(old).event(_written(old, datum))
    assert isinstance(event, EVENT_TYPES[full_name.rpartition(".")[2]])
    assert (event.run_id, event.source_id, event.seq) == (datum["run_id"], datum["source_id"], datum["seq"])
    writer, reader = (fastavro.parse_schema(copy.deepcopy(each)) for each in (newest, old))
    found = fastavro.schemaless_reader(io.BytesIO(_written(newest, event.to_avro())[5:]), writer, reader)
    assert isinstance(found, dict)
    assert {name: found[name] for name in datum} == datum
