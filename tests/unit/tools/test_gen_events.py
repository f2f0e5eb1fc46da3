"""The generator refuses what the contract does not allow, and the committed Python is what it writes."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import gen_events

ROOT = Path(__file__).resolve().parents[3]


def _enum(**more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Colour", "doc": "A colour.", "symbols": ["RED", "BLUE"], "default": "RED", **more}


def _record(*types: Any, name: str = "Painted", **more: Any) -> dict[str, Any]:
    fields = [{"name": f"field_{i}", "type": kind, "doc": "A field.", **more} for i, kind in enumerate(types)]
    return {"type": "record", "name": name, "namespace": "wattline.events", "doc": "A thing.", "fields": fields}


def _source(*schemas: dict[str, Any]) -> str:
    module = gen_events.EventsModule()
    for schema in schemas:
        module.add_event(schema)
    return module.source()


def _namespace(source: str) -> dict[str, Any]:
    """Return what the generated module defines, by running it."""
    module: dict[str, Any] = {"__name__": "generated_by_test"}
    sys.modules["generated_by_test"] = type(sys)("generated_by_test")  # dataclasses look their module up
    try:
        exec(compile(source, "generated", "exec"), module)  # noqa: S102  # our own generator's output is the subject
    finally:
        del sys.modules["generated_by_test"]
    return module


@pytest.mark.parametrize(
    "union",
    [
        ["string", "null"],
        ["null", "string", "long"],
        ["string", "long"],
        ["null"],
        [],
        {"type": "array", "items": ["string", "long"]},
        {"type": "map", "values": ["long", "null"]},
    ],
    ids=json.dumps,
)
def test_any_union_but_null_with_one_type_is_refused(union: Any) -> None:
    """At the top, in arrays and in maps."""
    with pytest.raises(gen_events.UnsupportedSchemaError, match="the only union is null with one type"):
        _source(_record(union))


def test_an_enum_without_a_default_is_refused() -> None:
    """Without one an old reader could not read a new symbol."""
    enum = _enum()
    del enum["default"]
    with pytest.raises(gen_events.UnsupportedSchemaError, match="enum Colour needs a default"):
        _source(_record(enum))


@pytest.mark.parametrize(
    "change", [{"symbols": ["RED"]}, {"default": "BLUE"}, {"doc": "Another."}], ids=lambda each: next(iter(each))
)
def test_one_name_with_two_meanings_is_refused(change: dict[str, Any]) -> None:
    """A type that two schemas define under one name must be alike in both."""
    with pytest.raises(gen_events.UnsupportedSchemaError, match="Colour is defined twice and not alike"):
        _source(_record(_enum()), _record(_enum(**change), name="Other"))


def test_equal_types_of_two_schemas_become_one() -> None:
    """A type that two schemas define alike is one class, and a later mention by name is that class."""
    source = _source(_record(_enum(), "Colour"), _record(_enum(), name="Other"))
    assert source.count("class Colour(Symbol)") == 1
    assert "field_1: Colour\n" in source


@pytest.mark.parametrize(
    "kind",
    [
        "float",
        "Unknown",
        {"type": "fixed", "name": "Four", "size": 4},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "string", "logicalType": "uuid"},
    ],
    ids=json.dumps,
)
def test_types_outside_the_contract_are_refused(kind: Any) -> None:
    """The generator knows the contract's types and guesses about no other."""
    with pytest.raises(gen_events.UnsupportedSchemaError, match="unsupported type"):
        _source(_record(kind))


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ({"type": "long", "logicalType": "timestamp-micros"}, 1),
        ({"type": "array", "items": "string"}, ["x"]),
        ({"type": "map", "values": "double"}, {"x": 1.0}),
    ],
)
def test_defaults_that_python_would_render_differently_are_refused(kind: Any, default: Any) -> None:
    """A time defaults to 0, a collection to empty."""
    with pytest.raises(gen_events.UnsupportedSchemaError, match="default can only be"):
        _source(_record(kind, default=default))


def test_generated_classes_hold_convert_and_default() -> None:
    """Nested records and enums in arrays, maps and nullable fields go to Avro data and back."""
    inner = _record("double", name="Inner")
    kinds = [
        {"type": "array", "items": inner},
        {"type": "map", "values": "Inner"},
        ["null", "Inner"],
        ["null", _enum()],
        {"type": "array", "items": "Colour"},
        {"type": "long", "logicalType": "timestamp-micros"},
    ]
    module = _namespace(_source(_record(*kinds)))
    made, colour = module["Inner"](field_0=1.5), module["Colour"]
    values = [[made], {"k": made}, made, colour.BLUE, [colour.RED], module["EPOCH"]]
    event = module["Painted"](**{f"field_{i}": value for i, value in enumerate(values)})
    datum = event.to_avro()
    assert datum["field_0"] == [{"field_0": 1.5}]
    assert datum["field_1"] == {"k": {"field_0": 1.5}}
    assert (datum["field_3"], type(datum["field_3"])) == ("BLUE", str)
    assert datum["field_4"] == ["RED"]
    assert module["Painted"].from_avro(datum) == event
    assert module["Painted"].from_avro({**datum, "field_2": None, "field_3": None}).field_2 is None


def test_generated_classes_are_frozen_and_keyword_only() -> None:
    """An event is a fact: it is made by naming its fields, and never changed."""
    module = _namespace(_source(_record("double")))
    event = module["Painted"](field_0=1.0)
    with pytest.raises(AttributeError):
        event.field_0 = 2.0
    with pytest.raises(TypeError):
        module["Painted"](1.0)
    assert not hasattr(event, "__dict__")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the files that the generator reads and writes."""
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    for name in (
        "tools/gen_events.py",
        "tools/schemas.py",
        "pyproject.toml",
        *(f"libs/common/wattline_common/{n}.py" for n in GENERATED),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


GENERATED = ("events", "limits", "schemas")


def _run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.gen_events", *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=60)


def test_the_committed_python_is_fresh() -> None:
    """events.py, limits.py and schemas.py are what the schemas say: if this fails, run `make generate`."""
    done = _run(ROOT, "--check")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", GENERATED)
def test_a_stale_file_is_found_and_not_touched(checkout: Path, name: str) -> None:
    """`--check` shows the difference, fails, and writes nothing."""
    path = checkout / f"libs/common/wattline_common/{name}.py"
    stale = path.read_text().replace("energy_kwh", "energy_wh")
    path.write_text(stale)
    done = _run(checkout, "--check")
    assert done.returncode == 1
    assert "-" in done.stderr
    assert "energy_wh" in done.stderr
    assert "run `make generate`" in done.stderr
    assert path.read_text() == stale


def test_a_changed_schema_makes_the_python_stale_until_it_is_generated(checkout: Path) -> None:
    """Changed schema -> check fails -> generate -> check passes, with the change in it."""
    path = checkout / "schemas/training/RunFinished/v1.avsc"
    schema = json.loads(path.read_text())
    new = copy.deepcopy(schema)
    new["fields"].append({"name": "final_note", "type": ["null", "string"], "doc": "A note.", "default": None})
    (path.parent / "v2.avsc").write_text(json.dumps(new))
    assert _run(checkout, "--check").returncode == 1
    assert _run(checkout).returncode == 0
    assert _run(checkout, "--check").returncode == 0
    assert "final_note: str | None = None" in (checkout / "libs/common/wattline_common/events.py").read_text()


def test_a_missing_file_is_stale(checkout: Path) -> None:
    """A deleted file is no fresh one."""
    (checkout / "libs/common/wattline_common/events.py").unlink()
    assert _run(checkout, "--check").returncode == 1


def test_limits_are_found_by_path() -> None:
    """Declared limits of fields, in records of arrays too; a field without any has no entry."""
    inner = {
        "type": "record",
        "name": "Part",
        "doc": "A part.",
        "fields": [{"name": "w", "type": "double", "minimum": 0}],
    }
    schema = _record("string", {"type": "array", "items": inner}, maxLength=5)
    del schema["fields"][1]["maxLength"]
    assert dict(gen_events.limits(schema)) == {"field_0": {"maxLength": 5}, "field_1[].w": {"minimum": 0}}
