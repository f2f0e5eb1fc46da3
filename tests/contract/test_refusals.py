"""What a schema rejects, the codec rejects: judged by Apache's own Avro, with any value in any field."""

from __future__ import annotations

import dataclasses
import functools
import json
import warnings
from typing import Any

import avro.io
import avro.schema
from avro.errors import AvroException
from hypothesis import event as count
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.strategies import FULL_NAMES, data, schema_versions
from tests.differences import difference
from wattline_common.codec import Decoder, encode_body, frame
from wattline_common.errors import ContractError
from wattline_common.events import EVENT_TYPES, Event
from wattline_common.schemas import VERSIONS

NEWEST = {name: schemas[-1] for name, schemas in schema_versions().items()}
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**31, -(2**31) - 1, 2**63, -(2**63) - 1]),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.datetimes(),
    st.dates(),
    st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
    st.dictionaries(st.text(max_size=3), st.one_of(st.floats(allow_nan=False), st.text(max_size=3)), max_size=2),
)


@functools.cache
def _apache(full_name: str) -> Any:
    return avro.schema.parse(VERSIONS[full_name][-1])


def allowed(full_name: str, datum: dict[str, Any]) -> bool:
    """Return whether Apache's Avro takes a datum for one of the schema."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(avro.io.validate(_apache(full_name), datum))
        except (AvroException, TypeError, ValueError, AttributeError):  # it, too, chokes on some values
            return False


@st.composite
def spoilt(draw: st.DrawFn, full_name: str) -> tuple[Event, str]:
    """Return an event with any value in one field, at the top or in a device, and where."""
    event = EVENT_TYPES[full_name.rpartition(".")[2]].from_avro(draw(data(NEWEST[full_name])))
    name = draw(st.sampled_from([field.name for field in dataclasses.fields(event)]))
    value, items = draw(ANYTHING), getattr(event, name)
    if isinstance(items, list) and items and dataclasses.is_dataclass(items[0]) and draw(st.booleans()):
        device: Any = items[0]
        inner = draw(st.sampled_from([field.name for field in dataclasses.fields(device)]))
        spoilt_items: Any = [dataclasses.replace(device, **{inner: value}), *items[1:]]
        return dataclasses.replace(event, **{name: spoilt_items}), f"{name}[0].{inner}"
    return dataclasses.replace(event, **{name: value}), name


@given(full_name=st.sampled_from(FULL_NAMES), draw=st.data())
def test_the_codec_rejects_what_the_schema_rejects(full_name: str, draw: st.DataObject) -> None:
    """What Apache's Avro does not take is refused as not encodable; what is encoded reads back as it was given."""
    event, path = draw.draw(spoilt(full_name))
    try:
        body = encode_body(event)
    except ContractError as error:
        assert error.reason == "not_encodable"  # noqa: PT017  # no other outcome is an error
        count("refused")
        return
    count("encoded")
    datum = event.to_avro()
    assert allowed(full_name, datum), f"{path} was encoded"
    found = Decoder(lambda _: json.dumps(NEWEST[full_name])).datum(frame(1, body)).fields
    assert difference(found, _with_floats(found, datum)) is None, path


def _with_floats(like: Any, datum: Any) -> Any:
    """Return a datum in which a whole number, or a truth value, is of the number type that it was written as."""
    match like, datum:
        case dict(), dict():
            return {name: _with_floats(like.get(name), value) for name, value in datum.items()}
        case list(), list() if len(like) == len(datum):
            return [_with_floats(one, other) for one, other in zip(like, datum, strict=True)]
        case ((int() | float()), (int() | float())):
            return type(like)(datum)
    return datum
