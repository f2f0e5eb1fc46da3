"""Every record survives the codec, and fastavro alone reads and writes the same bytes."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.strategies import FULL_NAMES, data, schema_versions
from wattline_common.codec import Decoder, encode_body, frame, newest_schema, unframe
from wattline_common.events import EPOCH, EVENT_TYPES, Event
from wattline_common.schemas import VERSIONS

NEWEST = {name: schemas[-1] for name, schemas in schema_versions().items()}
SCHEMA_ID = 7


def _event_of(full_name: str, datum: dict[str, Any]) -> Event:
    return EVENT_TYPES[full_name.rpartition(".")[2]].from_avro(datum)


def _decoder_of(full_name: str) -> Decoder:
    return Decoder({SCHEMA_ID: VERSIONS[full_name][-1]}.__getitem__)


def test_the_packaged_schemas_are_those_of_the_folder() -> None:
    """The texts that travel with wattline_common are the files in schemas/, every version."""
    packaged = {name: [json.loads(text) for text in texts] for name, texts in VERSIONS.items()}
    assert packaged == schema_versions()


@pytest.mark.parametrize("full_name", FULL_NAMES)
@given(draw=st.data())
def test_an_event_survives_the_codec(full_name: str, draw: st.DataObject) -> None:
    """Datum -> dataclass -> message -> dataclass -> datum changes nothing, for any datum that the schema allows."""
    datum = draw.draw(data(NEWEST[full_name]))
    event = _event_of(full_name, datum)
    decoder = _decoder_of(full_name)
    message = frame(SCHEMA_ID, encode_body(event))
    assert decoder.event(message) == event
    assert decoder.event(message).to_avro() == datum
    assert decoder.datum(message).fields == datum
    assert decoder.datum(message).record_name == full_name.rpartition(".")[2]


@given(full_name=st.sampled_from(FULL_NAMES), draw=st.data())
def test_fastavro_alone_agrees(full_name: str, draw: st.DataObject) -> None:
    """The body is plain Avro: fastavro with the file in schemas/ writes the same bytes and reads the same datum."""
    datum = draw.draw(data(NEWEST[full_name]))
    schema = fastavro.parse_schema(json.loads(json.dumps(NEWEST[full_name])))
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema, datum)
    assert encode_body(_event_of(full_name, datum)) == buffer.getvalue()
    assert fastavro.schemaless_reader(io.BytesIO(buffer.getvalue()), schema, None) == datum


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
def test_every_double_passes_bit_by_bit(number: float) -> None:
    """The codec carries values, it does not judge them: NaN, infinities and the extremes come back as they were."""
    name = "wattline.events.StepCompleted"
    datum = {entry["name"]: entry.get("default") for entry in NEWEST[name]["fields"]}
    datum |= {"run_id": "r", "source_id": "s", "seq": 0, "cumulative_energy_kwh": number, "loss": number}
    datum["timestamp"] = EPOCH
    found = _decoder_of(name).event(frame(SCHEMA_ID, encode_body(_event_of(name, datum)))).to_avro()
    for field in ("cumulative_energy_kwh", "loss"):
        assert found[field].hex() == number.hex()


@given(schema_id=st.integers(0, 2**32 - 1), body=st.binary())
def test_unframe_undoes_frame(schema_id: int, body: bytes) -> None:
    """A framed body comes back with its id, and the frame is the five bytes of the Confluent format."""
    message = frame(schema_id, body)
    assert message == b"\0" + schema_id.to_bytes(4, "big") + body
    assert unframe(message) == (schema_id, body)


def test_the_newest_schema_is_the_last_version() -> None:
    """Writers write by the highest version."""
    for full_name, versions in schema_versions().items():
        names = [entry["name"] for entry in newest_schema(full_name)["fields"]]
        assert names == [entry["name"] for entry in versions[-1]["fields"]]
