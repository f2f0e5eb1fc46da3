"""Hostile messages: what somebody sends who may produce, and means harm. Some must be refused, some stored harmless."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.avro_pieces import pieces, zigzag
from tests.events import run_events, sample
from wattline_common.events import Event, HardwareSampled, RunFinished, RunStarted, StepCompleted
from wattline_common.schemas import VERSIONS

__all__ = ["NAMES", "Refused", "endless_schema", "harmless_runs", "nothings_schema", "refused"]

# Set by what a page runs that it should only show.
_SCRIPT = "window.hostile=1"
NAMES = (
    f"<img src=x onerror={_SCRIPT}>",
    f"<script>{_SCRIPT}</script>",
    f"<svg/onload={_SCRIPT}><iframe srcdoc='<script>parent.{_SCRIPT}</script>'>",
    f"[click](javascript:{_SCRIPT})",
    "![pixel](http://192.0.2.1/pixel.png)",
    ":red-background[x] :material/delete: $$\\int$$ `code` **bold** # title",
    "resnet \u202egnp.exe",
    "ali\u200bce\ufeff\u2060",
    "\u2066\u2067isolated\u2069",
    "nul\x00esc\x1b[31m bell\x07",
    "line\nbreak\r\u2028\u2029\x85next",
    '{"$where": "sleep(10000)"}',
    "$where",
    "a.b.$c",
    '{"$gt": ""}',
    "__proto__",
    "../../../../etc/passwd",
    "=cmd|'/c calc'!A0",
    "'; DROP TABLE runs; --",
    "%(user)s {0} %n %s ${jndi:ldap://192.0.2.1/x} {{7*7}}",
    "Z\u0351\u036b\u0343\u036a\u0302a\u0349\u0353l\u0347g\u0347o" * 12,
    "👩\u200d👩\u200d👧\u200d👦" * 30,
    "\u05d0\u05d1\u05d2 abc \u0645\u0631\u062d\u0628\u0627",
    "\ud7ff\ue000\uffff\U0010ffff",
    "NaN",
    "",
    "x" * 256,
)
_FIELDS = ("model_name", "user_id", "dataset_name", "framework", "environment", "region_iso", "project", "host")
_NOT_IN_ID = re.compile(r"[.$|\x00-\x1f\x7f]")
_NO_IDS = (
    "",
    "..",
    "../../etc/passwd",
    "$where",
    "a.$b",
    "a|b",
    "nul\x00",
    "line\nbreak",
    "\x1b[31m",
    "\x7f",
    "a.b" * 80,
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that must be rejected for the reason; ``what`` says how it was made."""

    what: str
    reason: str
    value: bytes
    key: bytes = b"hostile"
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Key, value and headers together."""
        return len(self.key) + len(self.value) + sum(len(name) + len(value or b"") for name, value in self.headers)


def _run_id(number: int) -> str:
    return f"hostile-{number:02}-{_NOT_IN_ID.sub('', NAMES[number])}"[:256]


def harmless_runs(start: datetime.datetime) -> Iterator[list[Event]]:
    """Yield runs that keep the contract to the letter: names that might do something, numbers that overflow."""
    keys = {name[:256] or "empty": name for name in NAMES}
    for number in range(len(NAMES)):
        context: dict[str, Any] = {each: NAMES[(number + place) % len(NAMES)] for place, each in enumerate(_FIELDS)}
        events = run_events(_run_id(number), samples=2, start=start)
        more: Mapping[type[Event], dict[str, Any]] = {
            RunStarted: {"hyperparameters": keys, "tags": keys, "git_commit": NAMES[number]},
            StepCompleted: {"metrics": dict.fromkeys(keys, -1.7e308)},
        }
        yield [dataclasses.replace(event, **context, **more.get(type(event), {})) for event in events]
    yield list(_overflowing(start))


def _overflowing(start: datetime.datetime) -> Iterator[Event]:
    """Yield two sources, each of whose figures is the largest that its field holds: their sums are not."""
    largest: dict[str, Any] = {
        name: 1e308
        for name in HardwareSampled.__slots__
        if re.fullmatch(r"(cumulative_)?energy(_low|_high)?_kwh|measured_energy_kwh|power_(avg|max)_w|cpu_.*_pct", name)
    }
    for source in ("one", "two"):
        head: dict[str, Any] = {"run_id": "hostile-overflow", "source_id": source, "timestamp": start}
        yield sample(**head, **largest, seq=0, pue=1.0, grid_intensity_g_per_kwh=0.0, emissions_kg=0.0, devices=[])
        step: dict[str, Any] = {**head, "cumulative_energy_kwh": 1e308, "cumulative_emissions_kg": 0.0, "loss": 1.7e308}
        yield StepCompleted(**step, seq=2**62, epoch=2**31 - 1, step=2**63 - 1, accuracy=-1.7e308)
        yield StepCompleted(**step, seq=2**63 - 1, samples=2**63 - 1, steps_covered=2**31 - 1)
        said: dict[str, Any] = {"duration_s": 1e308, "source_energy_kwh": 1e308, "source_emissions_kg": 0.0}
        yield RunFinished(**head, **said, seq=2**62 + 1, events_emitted=2**63 - 1)


def endless_schema() -> str:
    """Return RunStarted with a field that holds a RunStarted: a byte of body each goes a level deeper."""
    return _with_field(["null", RunStarted.AVRO_NAME], None)


def nothings_schema() -> str:
    """Return RunStarted with a list of nulls: a few bytes of body ask for as many as one likes."""
    return _with_field({"type": "array", "items": "null"}, [])


def _with_field(kind: object, default: object) -> str:
    schema = json.loads(VERSIONS[RunStarted.AVRO_NAME][-1])
    schema["fields"].append({"name": f"added_{len(str(kind))}", "type": kind, "doc": "Hostile.", "default": default})
    return json.dumps(schema)


def _body(event: Event, spoil: Mapping[str, bytes] | None = None) -> bytes:
    """Return an event's encoding; ``spoil`` has other bytes for the texts that it names."""
    found = list(pieces(json.loads(VERSIONS[event.AVRO_NAME][-1]), event.to_avro()))
    bad = {zigzag(len(text)) + text.encode(): data for text, data in (spoil or {}).items()}
    return b"".join(bad.get(piece.data, piece.data) if piece.kind == "string" else piece.data for piece in found)


def refused(ids: Mapping[str, int], endless: int, nothings: int, start: datetime.datetime) -> Sequence[Refused]:
    """Return messages of every hostile kind; ``ids`` are those of our records by full name."""
    return [*_large(ids, start), *_ids(ids, start), *_values(ids, start), *_schemas(ids, endless, nothings, start)]


def _framed(ids: Mapping[str, int], event: Event, spoil: Mapping[str, bytes] | None = None) -> bytes:
    return struct.pack(">BI", 0, ids[event.AVRO_NAME]) + _body(event, spoil)


def _started(start: datetime.datetime, **changes: Any) -> RunStarted:
    head: dict[str, Any] = {"run_id": "refused", "source_id": "s", "seq": 0, "timestamp": start}
    return RunStarted(**(head | changes))


def _large(ids: Mapping[str, int], start: datetime.datetime) -> Iterator[Refused]:
    for letter in "aÜ語":
        text = letter * (900_000 // len(letter.encode()))
        yield Refused("a text of nearly a megabyte", "too_long", _framed(ids, _started(start, user_id=text)))
        yield Refused("a text of five megabytes", "too_long", _framed(ids, _started(start, user_id=text * 6)))
        yield Refused("a key of a map of a megabyte", "too_long", _framed(ids, _started(start, tags={text: "a"})))
    many = {f"{number:x}": "a" for number in range(50_000)}
    yield Refused("a map of many entries", "too_many_entries", _framed(ids, _started(start, tags=many)))
    yield Refused("a map of many entries", "too_many_entries", _framed(ids, _started(start, hyperparameters=many)))
    bad = _framed(ids, _started(start, run_id="a.b"))
    yield Refused("a large header", "invalid_id", bad, headers=[("h" * 1000, b"\x00" * 500_000)])
    yield Refused(
        "many headers", "invalid_id", bad, headers=[(f"$where.{n}", None if n % 2 else b"") for n in range(500)]
    )
    yield Refused("a large key", "invalid_id", bad, key=b"\xff" * 500_000)


def _ids(ids: Mapping[str, int], start: datetime.datetime) -> Iterator[Refused]:
    bad = (
        "",
        "..",
        "../../etc/passwd",
        "$where",
        "a.$b",
        "a|b",
        "nul\x00",
        "line\nbreak",
        "\x1b[31m",
        "\x7f",
        "a.b" * 80,
    )
    for text in bad:
        for name in ("run_id", "source_id"):
            what = f"{name} {text[:20]!r}"
            yield Refused(what, "invalid_id", _framed(ids, _started(start, **{name: text})))
            yield Refused(what, "invalid_id", _framed(ids, sample(**{"timestamp": start, name: text})))
    for text in ("x" * 257, "語" * 100_000):
        yield Refused("a long run_id", "too_long", _framed(ids, _started(start, run_id=text)))


def _values(ids: Mapping[str, int], start: datetime.datetime) -> Iterator[Refused]:
    for number in (math.nan, math.inf, -math.inf):
        for name in ("power_avg_w", "cpu_utilization_pct", "energy_kwh", "cumulative_emissions_kg"):
            yield Refused(f"{name} {number}", "not_finite", _framed(ids, _sample_with(start, name, number)))
    for number in (-1e-300, -1e308):
        yield Refused(f"power {number}", "out_of_range", _framed(ids, _sample_with(start, "power_max_w", number)))
    for year in (1, 1582, 1900, 1969):
        early = _EPOCH.replace(year=year)
        yield Refused(f"year {year}", "out_of_range", _framed(ids, _started(early)))
        yield Refused(f"year {year}", "out_of_range", _framed(ids, sample(timestamp=early)))
    for late in (start + datetime.timedelta(days=1), datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)):
        yield Refused(f"time {late}", "timestamp_in_future", _framed(ids, _started(late)))
    for data in (b"\xed\xa0\x80", b"\xed\xb0\x80\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xff\xfe"):
        message = _framed(ids, _started(start, user_id="spoilt"), {"spoilt": zigzag(len(data)) + data})
        yield Refused(f"text of {data!r}", "undecodable", message)


def _sample_with(start: datetime.datetime, name: str, number: float) -> HardwareSampled:
    changes: dict[str, Any] = {name: number}
    return dataclasses.replace(sample(timestamp=start), **changes)


def _schemas(ids: Mapping[str, int], endless: int, nothings: int, start: datetime.datetime) -> Iterator[Refused]:
    body = _body(_started(start))
    deep, many = b"\x02" * 200_000, body + zigzag(2**62) + b"\x00"
    for number, hostile in ((endless, deep), (endless, body + b"\x00"), (nothings, many)):
        yield Refused("a schema that exhausts its reader", "foreign_schema", struct.pack(">BI", 0, number) + hostile)
    for number in (2**31, 2**32 - 1):
        yield Refused(f"schema id {number}", "unknown_schema_id", struct.pack(">BI", 0, number) + body)
