"""The strategies draw what they promise, so that the properties that rest on them mean something."""

from __future__ import annotations

import io
import json
from typing import Any

import avro.schema
import fastavro
import pytest
from fastavro.validation import validate
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.avro_schemas import schemas
from tests.contract.strategies import data
from tests.differences import difference


def _parsed(schema: Any) -> Any:
    return fastavro.parse_schema(json.loads(json.dumps(schema)))


@pytest.mark.filterwarnings("ignore::avro.errors.IgnoredLogicalType")  # it knows no local timestamps: longs to it
@given(schemas())
def test_drawn_schemas_are_avros(schema: Any) -> None:
    """Apache's own parser takes every schema that we draw, and so does fastavro."""
    assert avro.schema.parse(json.dumps(schema))
    assert _parsed(schema)


@given(draw=st.data())
def test_whatever_is_drawn_for_a_schema_is_written_and_read_back(draw: st.DataObject) -> None:
    """For any schema at all: what `data` draws is of the schema, and fastavro reads back what it wrote of it."""
    text = draw.draw(schemas(), label="schema")
    schema, datum = _parsed(text), draw.draw(data(text), label="datum")
    assert validate(datum, schema, strict=True)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, datum, strict=True)
    buffer.seek(0)
    assert difference(fastavro.schemaless_reader(buffer, schema, None), datum) is None
    assert buffer.read() == b""
