"""The value contract: what the schemas declare of their fields' values is exactly what is refused, with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.consistent import consistent
from tests.contract.schema_tree import expand
from tests.contract.strategies import FULL_NAMES, data, schema_versions
from wattline_common.errors import ContractError
from wattline_common.validate import validate

VERSIONS = {(name, n): schema for name, all_ in schema_versions().items() for n, schema in enumerate(all_, start=1)}
versions = st.sampled_from(sorted(VERSIONS))


def refusal(full_name: str, datum: Mapping[str, Any]) -> str | None:
    """Return why the values are refused, or None."""
    try:
        validate(full_name.rpartition(".")[2], datum)
    except ContractError as error:
        return error.reason
    return None


def broken(schema: dict[str, Any], datum: Mapping[str, Any]) -> Iterator[str]:
    """Yield the reason of each limit that a value breaks, read from the schema itself."""
    for field in schema["fields"]:
        yield from _broken(field["type"], field, datum[field["name"]])


def _broken(kind: Any, field: Mapping[str, Any], value: Any) -> Iterator[str]:
    match kind, value:
        case {"type": "record"}, _:
            yield from broken(kind, value)
        case ["null", inner], _ if value is not None:
            yield from _broken(inner, field, value)
        case (({"items": _} | {"values": _}), _):
            yield from _broken_items(kind, field, value)
        case "string", str():
            if len(value) > field["maxLength"]:
                yield "too_long"
            if "pattern" in field and re.fullmatch(field["pattern"], value) is None:
                yield "invalid_id"
        case (("double" | "int" | "long"), (int() | float())):
            yield from _bad_number(field, value)


def _broken_items(kind: dict[str, Any], field: Mapping[str, Any], items: Any) -> Iterator[str]:
    if len(items) > field["maxItems"]:
        yield "too_many_entries"
    for item in items.values() if "values" in kind else items:
        yield from _broken(kind.get("items", kind.get("values")), field, item)
    for key in items if "values" in kind else ():
        yield from _broken("string", field, key)


def _bad_number(field: Mapping[str, Any], number: float) -> Iterator[str]:
    if not math.isfinite(number):
        yield "not_finite"
    elif not field.get("minimum", number) <= number <= field.get("maximum", number):
        yield "out_of_range"


@given(version=versions, draw=st.data())
def test_what_is_within_the_limits_is_accepted(version: tuple[str, int], draw: st.DataObject) -> None:
    """Values within the declared limits, whose figures agree, are refused by nobody."""
    datum = consistent(draw.draw(data(VERSIONS[version], valid=True)))
    assert list(broken(expand(VERSIONS[version]), datum)) == []
    assert refusal(version[0], datum) is None


@given(version=versions, draw=st.data())
def test_what_is_refused_breaks_the_limit_that_the_reason_names(version: tuple[str, int], draw: st.DataObject) -> None:
    """Whatever Avro allows: refused exactly when a limit is broken or figures contradict, for a reason that holds."""
    datum = draw.draw(data(VERSIONS[version]))
    reasons = set(broken(expand(VERSIONS[version]), datum))
    found = refusal(version[0], datum)
    if reasons:
        assert found in reasons
    else:
        assert found in ({None, "inconsistent"} if version[0].endswith("HardwareSampled") else {None})


def _out_of_limits(field: Mapping[str, Any], inner: Any, value: Any) -> st.SearchStrategy[Any]:
    """Return values of a field's type of which each breaks a limit that the field declares."""
    ways: list[st.SearchStrategy[Any]] = []
    match inner:
        case "double":
            ways.append(st.sampled_from([math.nan, math.inf, -math.inf]))
            if "minimum" in field:
                ways.append(st.floats(max_value=field["minimum"], exclude_max=True, allow_infinity=False))
            if "maximum" in field:
                ways.append(st.floats(min_value=field["maximum"], exclude_min=True, allow_infinity=False))
        case "int" | "long":
            ways.append(st.integers(-(2**31), field["minimum"] - 1))
        case "string":
            ways.append(st.integers(field["maxLength"] + 1, 2 * field["maxLength"]).map(lambda n: "ß" * n))
            if "pattern" in field:
                ways.append(st.sampled_from(["", *".$|", "a.b", "\x00", "a\n"]))
        case {"items": "string"}:
            ways.append(st.just(["a"] * (field["maxItems"] + 1)))
            ways.append(st.just(["a", "ß" * (field["maxLength"] + 1)]))
        case {"items": _} if value:
            ways.append(st.just(value[:1] * (field["maxItems"] + 1)))
        case {"values": values}:
            good = "a" if values == "string" else 1.0
            ways.append(st.just({f"k{n}": good for n in range(field["maxItems"] + 1)}))
            ways.append(st.just({"ß" * (field["maxLength"] + 1): good}))
    return st.one_of(ways)


@given(full_name=st.sampled_from(FULL_NAMES), draw=st.data())
def test_one_value_out_of_its_limits_is_refused_by_its_reason(full_name: str, draw: st.DataObject) -> None:
    """A good event in which one field, at the top or in a device, breaks a limit: refused for just that."""
    schema = expand(schema_versions()[full_name][-1])
    datum = consistent(draw.draw(data(schema_versions()[full_name][-1], valid=True)))
    holder, fields = draw.draw(st.sampled_from([(datum, schema["fields"]), *_devices(schema, datum)]))
    limited = [field for field in fields if {"finite", "minimum", "maxLength", "maxItems"} & set(field)]
    field = draw.draw(st.sampled_from(limited))
    inner = field["type"][1] if isinstance(field["type"], list) else field["type"]
    strategy = _out_of_limits(field, inner, holder[field["name"]])
    if strategy.is_empty:
        return
    holder[field["name"]] = draw.draw(strategy)
    reasons = set(broken(schema, datum))
    assert len(reasons) >= 1
    assert refusal(full_name, datum) in reasons


def _devices(schema: dict[str, Any], datum: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for field in schema["fields"]:
        match field:
            case {"type": {"items": {"type": "record", "fields": inner}}}:
                for device in datum[field["name"]]:
                    yield device, inner
