"""The rules that every schema file keeps: what one breaks cannot be mended after its release."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.strategies import SCHEMAS_FOLDER, schema_versions

SCHEMAS = [(name, number, each) for name, all_ in schema_versions().items() for number, each in enumerate(all_, 1)]
SCHEMA_IDS = [f"{name.rpartition('.')[2]}-v{number}" for name, number, _ in SCHEMAS]
every_schema = pytest.mark.parametrize("schema", [each for _, _, each in SCHEMAS], ids=SCHEMA_IDS)

# Header and context in their order: type, and default or ... where there is none.
TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}
HEADER_AND_CONTEXT: list[tuple[str, Any, Any]] = [
    ("run_id", "string", ...),
    ("source_id", "string", ...),
    ("seq", "long", ...),
    ("timestamp", TIMESTAMP, ...),
    *((f"{each}", "string", "unknown") for each in ("user_id", "model_name", "dataset_name", "framework")),
    *((f"{each}", "string", "unknown") for each in ("environment", "region_iso")),
    ("project", ["null", "string"], None),
    ("host", "string", "unknown"),
    ("rank", ["null", "int"], None),
    ("simulated", "boolean", False),
]
HEADER = {"run_id", "source_id", "seq", "timestamp"}

# A required field is for ever, so each stands here by name: the energies, and what a sample's emissions are.
_BAND = {"energy_kwh", "energy_low_kwh", "energy_high_kwh"}
REQUIRED = {
    "RunStarted": HEADER,
    "StepCompleted": HEADER | {"cumulative_energy_kwh"},
    "RunFinished": HEADER | {"source_energy_kwh"},
    "HardwareSampled": HEADER
    | _BAND
    | {"measured_energy_kwh", "emissions_kg", "cumulative_energy_kwh", "cumulative_emissions_kg"}
    | {"cumulative_energy_low_kwh", "cumulative_energy_high_kwh", "cumulative_measured_energy_kwh"},
    "DeviceReading": _BAND,
    "DeviceDescription": set(),
    "WindowAggregated": HEADER
    | _BAND
    | {"measured_energy_kwh", "energy_cpu_kwh", "energy_gpu_kwh", "energy_memory_kwh", "energy_other_kwh"},
}

UNIT_OF_QUANTITY = {
    "energy": "_kwh",
    "emissions": "_kg",
    "power": "_w",
    "utilization": "_pct",
    "steal": "_pct",
    "temperature": "_c",
    "memory": "_bytes",
    "duration": "_s",
    "interval": "_s",
    "intensity": "_g_per_kwh",
}
UNITS = tuple(set(UNIT_OF_QUANTITY.values()))
DIMENSIONLESS = {
    *("seq", "rank", "epoch", "step", "samples", "steps_covered", "planned_epochs", "planned_steps", "count"),
    *("events", "events_emitted", "events_dropped", "revision"),
    *("tokens", "learning_rate", "gradient_norm"),
    *("loss", "final_loss", "loss_avg", "accuracy", "final_accuracy", "accuracy_avg"),
    *("share", "pue", "energy_cpu_utilization_corr"),
}
NUMERIC = {"int", "long", "double"}
LIMITS = ("finite", "maxLength", "maxItems", "pattern")


def _records(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every record of a schema."""
    match schema:
        case {"type": "record", "fields": fields}:
            yield schema
            for entry in fields:
                yield from _records(entry["type"])
        case {"items": inner} | {"values": inner} | ["null", inner]:
            yield from _records(inner)


def _types(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield every type that a schema uses, nested ones too."""
    for record in _records(schema):
        for entry in record["fields"]:
            kind = entry["type"]
            yield kind
            while isinstance(kind, list) or (isinstance(kind, dict) and ("items" in kind or "values" in kind)):
                kind = kind[-1] if isinstance(kind, list) else kind.get("items") or kind["values"]
                yield kind


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield record name and field, of nested records too."""
    for record in _records(schema):
        for entry in record["fields"]:
            yield record["name"], entry


def _numeric_type(entry: dict[str, Any]) -> str | None:
    kind = entry["type"][-1] if isinstance(entry["type"], list) else entry["type"]
    return kind if isinstance(kind, str) and kind in NUMERIC else None


def test_the_five_records_are_there() -> None:
    """Guards the tests below against an empty folder."""
    families = {path.parent.relative_to(SCHEMAS_FOLDER).as_posix() for path in SCHEMAS_FOLDER.glob("*/*/v1.avsc")}
    assert families == {
        "training/RunStarted",
        "training/StepCompleted",
        "training/RunFinished",
        "hardware/HardwareSampled",
        "aggregate/WindowAggregated",
    }


@every_schema
def test_header_and_context_start_every_record(schema: dict[str, Any]) -> None:
    """Each event is understood alone: the same header and context, in the same order, types and defaults."""
    found = [(entry["name"], entry["type"], entry.get("default", ...)) for entry in schema["fields"]]
    assert schema["namespace"] == "wattline.events"
    assert found[: len(HEADER_AND_CONTEXT)] == HEADER_AND_CONTEXT


@every_schema
def test_everything_is_described(schema: dict[str, Any]) -> None:
    """Each record, enum and field has a doc that ends as a sentence does."""
    docs = [(name, entry["name"], entry.get("doc", "")) for name, entry in _fields(schema)]
    docs += [("", each["name"], each.get("doc", "")) for each in [*_records(schema), *_enums(schema)]]
    assert [each for each in docs if not each[2].endswith(".")] == []


def _enums(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in _types(schema):
        if isinstance(kind, dict) and kind.get("type") == "enum":
            yield kind


@every_schema
def test_only_the_figures_of_energy_are_required(schema: dict[str, Any]) -> None:
    """A field without a default can never go, so those are exactly the named ones."""
    found = {
        record["name"]: {entry["name"] for entry in record["fields"] if "default" not in entry}
        for record in _records(schema)
    }
    assert found == {name: REQUIRED[name] for name in found}


@every_schema
def test_nullable_means_null_first_with_default_null(schema: dict[str, Any]) -> None:
    """The only union is null with one type, and its default is null."""
    for name, entry in _fields(schema):
        if isinstance(entry["type"], list):
            assert entry["type"][0] == "null", (name, entry)
            assert len(entry["type"]) == 2, (name, entry)
            assert "default" in entry, (name, entry)
            assert entry["default"] is None, (name, entry)
    inner = [kind for kind in _types(schema) if isinstance(kind, dict) and isinstance(kind.get("items"), list)]
    assert inner == []


@every_schema
def test_every_enum_has_a_default_of_its_own(schema: dict[str, Any]) -> None:
    """An old reader meets a new symbol with the enum's default, so there must be one."""
    for enum in _enums(schema):
        assert enum["default"] in enum["symbols"], enum["name"]


@every_schema
def test_times_are_micros(schema: dict[str, Any]) -> None:
    """The one logical type is timestamp-micros."""
    logical = [kind for kind in _types(schema) if isinstance(kind, dict) and "logicalType" in kind]
    assert logical
    assert all(kind == TIMESTAMP for kind in logical)


@every_schema
def test_no_bare_int_stands_in_a_nested_record(schema: dict[str, Any]) -> None:
    """The codec checks the ranges that fastavro does not check in top-level fields; nullable ones fastavro checks."""
    for record in list(_records(schema))[1:]:
        bare = [entry["name"] for entry in record["fields"] if entry["type"] in ("int", "long", "boolean")]
        assert bare == [], record["name"]


@every_schema
def test_units_stand_in_the_names(schema: dict[str, Any]) -> None:
    """A number is of no unit and listed above, or its name ends in its unit."""
    for record, entry in _fields(schema):
        name = entry["name"]
        if _numeric_type(entry) and name not in DIMENSIONLESS:
            assert name.endswith(UNITS), f"{record}.{name} names no unit"


@every_schema
def test_the_unit_is_the_quantitys(schema: dict[str, Any]) -> None:
    """Energy is in kWh, power in W, and so on, everywhere: no two units for one quantity."""
    for record, entry in _fields(schema):
        name = entry["name"]
        if not _numeric_type(entry) or name in DIMENSIONLESS:
            continue
        stem = name.removesuffix("_g_per_kwh") if name.endswith("_g_per_kwh") else name
        quantities = [unit for quantity, unit in UNIT_OF_QUANTITY.items() if quantity in stem.split("_")]
        assert quantities, f"{record}.{name} is of no known quantity"
        assert any(name.endswith(unit) for unit in quantities), f"{record}.{name} is not in {quantities}"


@every_schema
def test_quantities_cannot_be_negative(schema: dict[str, Any]) -> None:
    """Energies, powers, durations and shares state a minimum, which those who store events check."""
    for record, entry in _fields(schema):
        if _numeric_type(entry) == "double" and entry["name"].endswith(("_kwh", "_kg", "_w", "_s", "_pct")):
            assert entry.get("minimum") == 0, f"{record}.{entry['name']}"


@every_schema
def test_every_value_is_bounded(schema: dict[str, Any]) -> None:
    """Doubles are finite, texts at most 256 characters, collections counted, ids of their alphabet."""
    for record, entry in _fields(schema):
        kinds = _kinds(entry["type"])
        expected: dict[str, Any] = {}
        if "double" in kinds:
            expected["finite"] = True
        if "string" in kinds:
            expected["maxLength"] = 256
        if entry["name"] in {"run_id", "source_id"}:
            expected["pattern"] = r"[^.$|\x00-\x1f\x7f]+"
        if kinds & {"map", "array"}:
            expected["maxItems"] = 256 if "record" in kinds else 100
        assert {name: entry[name] for name in LIMITS if name in entry} == expected, f"{record}.{entry['name']}"


def _kinds(kind: Any) -> set[str]:
    """Return the kinds of values that a field's own limits reach: not those inside of nested records."""
    match kind:
        case ["null", inner]:
            return _kinds(inner)
        case {"type": "map", "values": inner}:
            return {"map", "string"} | _kinds(inner)
        case {"type": "array", "items": inner}:
            return {"array"} | _kinds(inner)
        case {"type": str(name)}:
            return {name}
    return {kind}


def test_ranges_are_of_numbers_only() -> None:
    """A range on anything else would never be checked."""
    for _, _, schema in SCHEMAS:
        for name, entry in _fields(schema):
            if {"minimum", "maximum"} & set(entry):
                assert _numeric_type(entry), (name, entry["name"])


def test_the_rules_of_a_field_are_the_same_in_all_versions() -> None:
    """A tighter limit would refuse what an older producer was promised; so type, limits, doc and default stay."""
    for versions in schema_versions().values():
        for old, new in itertools.pairwise(versions):
            before = {(record, entry["name"]): entry for record, entry in _fields(old)}
            after = {(record, entry["name"]): entry for record, entry in _fields(new)}
            both = sorted(before.keys() & after.keys())
            assert both
            assert [after[key] for key in both] == [before[key] for key in both]
