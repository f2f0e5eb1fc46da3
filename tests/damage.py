"""Damaged messages by the hundred, each with the reason it must get by how it was made: our own code is not asked."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import math
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.avro_pieces import Piece, pieces, zigzag
from tests.events import run_events
from wattline_common.events import (
    DeviceDescription,
    Event,
    HardwareSampled,
    RunFinished,
    RunStarted,
    StepCompleted,
    WindowAggregated,
)
from wattline_common.schemas import VERSIONS

__all__ = ["KINDS", "RUN_ID", "Damaged", "Ids", "damaged_messages"]

RUN_ID = "damaged"  # a run that must never be seen
_TEXTS = ("user_id", "model_name", "dataset_name", "framework", "environment", "region_iso", "project", "host")
_NUMBERS: Mapping[type[Event], tuple[str, ...]] = {
    HardwareSampled: ("power_avg_w", "power_max_w", "cpu_utilization_pct", "cpu_steal_pct", "interval_s", "energy_kwh"),
    StepCompleted: ("learning_rate", "gradient_norm", "cumulative_energy_kwh", "cumulative_emissions_kg"),
    RunFinished: ("duration_s", "source_energy_kwh", "source_emissions_kg"),
}
_COUNTS = {
    StepCompleted: ("seq", "epoch", "step", "samples", "tokens", "steps_covered"),
    RunFinished: ("events_emitted",),
}


@dataclass(frozen=True, slots=True)
class Ids:
    """Schema ids of a registry: of our records' newest versions by full name, of a foreign subject, of nothing."""

    ours: Mapping[str, int]
    foreign: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A message that must be rejected for the reason; ``kind`` is how it was made."""

    kind: str
    reason: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class _Maker:
    """What the kinds of damage are made of: good events with something in every field that can be damaged."""

    def __init__(self, rng: random.Random, ids: Ids) -> None:
        self.rng = rng
        self.ids = ids
        full: dict[type[Event], dict[str, Any]] = {
            RunStarted: {"tags": {"team": "a"}, "hardware": [DeviceDescription(device_id="cpu")]},
            StepCompleted: {"metrics": {"f1": 0.5}, "tokens": 9},
        }
        good: list[Any] = run_events(RUN_ID, samples=1)
        self._good = {type(e): dataclasses.replace(e, rank=3, **full.get(type(e), {})) for e in good}
        self._seq = itertools.count(1000)

    def event(self, kind: type[Event] | None = None, /, **changes: Any) -> Any:
        """Return an event of a record, or of any, good but for the changes; no two have the same identity."""
        good = self._good[kind or self.rng.choice(list(self._good))]
        return dataclasses.replace(good, **({"seq": next(self._seq)} | changes))

    def pieces(self, event: Event) -> list[Piece]:
        """Return an event's encoding by its newest schema."""
        return list(pieces(json.loads(VERSIONS[event.AVRO_NAME][-1]), event.to_avro()))

    def message(self, event: Event, spoil: Callable[[list[Piece]], list[Piece]] = list) -> bytes:
        """Return an event as its producer would write it, with the body's pieces spoilt."""
        body = spoil(self.pieces(event))
        return struct.pack(">BI", 0, self.ids.ours[event.AVRO_NAME]) + b"".join(piece.data for piece in body)

    def spoilt(self, kinds: set[str], bad: Callable[[Piece], bytes]) -> bytes:
        """Return a message in which one piece of one of the kinds has other bytes."""

        def spoil(body: list[Piece]) -> list[Piece]:
            place = self.rng.choice([place for place, piece in enumerate(body) if piece.kind in kinds])
            return [*body[:place], Piece("bad", bad(body[place])), *body[place + 1 :]]

        with_such = [
            event for event in map(self.event, self._good) if any(piece.kind in kinds for piece in self.pieces(event))
        ]
        return self.message(self.rng.choice(with_such), spoil)

    def noise(self, schema_id: int) -> bytes:
        """Return a message of a schema id with anything behind it."""
        return struct.pack(">BI", 0, schema_id) + self.rng.randbytes(self.rng.randrange(30))

    def odd(self, lowest: int, end: int) -> bytes:
        """Return a byte from the lowest up to, without, the end."""
        return bytes([self.rng.randrange(lowest, end)])

    def some(self) -> int:
        """Return a number from 0 up, mostly small."""
        return self.rng.choice([0, 1, 2, 63, 64, 2**30])

    def number(self, fields: Mapping[type[Event], tuple[str, ...]], value: float) -> bytes:
        """Return a message in which one of the fields has the value."""
        kind = self.rng.choice(list(fields))
        return self.message(self.event(kind, **{self.rng.choice(fields[kind]): value}))


def _window(make: _Maker) -> bytes:
    schema = json.loads(VERSIONS[WindowAggregated.AVRO_NAME][-1])
    zero: dict[str, Any] = {e["name"]: 0.0 for e in schema["fields"] if e["type"] == "double" and "default" not in e}
    head: dict[str, Any] = {"run_id": RUN_ID, "source_id": "s", "seq": 0, "timestamp": make.event().timestamp}
    return make.message(WindowAggregated(**head, **zero))


def _cut(make: _Maker) -> bytes:
    good = make.message(make.event())
    return good[: make.rng.randrange(5, len(good))]


def _overlong(piece: Piece) -> bytes:
    """Return the same number in more bytes than 64 bits need: Avro's Java reader refuses it, whatever others do."""
    return bytes([byte | 0x80 for byte in piece.data]) + b"\x80" * 10 + b"\x00"


def _not_text(make: _Maker) -> bytes:
    bad = make.rng.choice([b"\xff\xfe", b"\xc0\x80", b"abc\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xe2\x82"])
    return make.spoilt({"string"}, lambda _: zigzag(len(bad)) + bad)


def _not_finite(make: _Maker) -> bytes:
    value = make.rng.choice([math.nan, math.inf, -math.inf])
    inner = dataclasses.replace(make.event(HardwareSampled).devices[0], temperature_c=value)
    fields = {**_NUMBERS, RunFinished: (*_NUMBERS[RunFinished], "final_loss")}
    ways: list[Callable[[], bytes]] = [
        lambda: make.number(fields, value),
        lambda: make.message(make.event(StepCompleted, metrics={"good": 1.0, "bad": value})),
        lambda: make.message(make.event(HardwareSampled, devices=[inner])),
    ]
    return make.rng.choice(ways)()


def _out_of_range(make: _Maker) -> bytes:
    inner = dataclasses.replace(make.event(HardwareSampled).devices[0], share=1.5)
    ways: list[Callable[[], bytes]] = [
        lambda: make.number(_NUMBERS, -make.rng.uniform(1e-9, 1e9)),
        lambda: make.number(_COUNTS, -make.rng.randrange(1, 2**31)),
        lambda: make.message(make.event(HardwareSampled, pue=0.5)),
        lambda: make.message(make.event(HardwareSampled, devices=[inner])),
    ]
    return make.rng.choice(ways)()


def _too_long(make: _Maker) -> bytes:
    text = make.rng.choice("aÜ語") * make.rng.randrange(257, 2000)
    inner = dataclasses.replace(make.event(HardwareSampled).devices[0], flags=["good", text])
    ways: list[Callable[[], bytes]] = [
        lambda: make.message(make.event(**{make.rng.choice(_TEXTS): text})),
        lambda: make.message(make.event(RunStarted, tags={text: "a"})),
        lambda: make.message(make.event(RunStarted, hyperparameters={"a": text})),
        lambda: make.message(make.event(StepCompleted, metrics={text: 1.0})),
        lambda: make.message(make.event(HardwareSampled, devices=[inner])),
    ]
    return make.rng.choice(ways)()


def _too_many(make: _Maker) -> bytes:
    names = [f"n{number}" for number in range(make.rng.randrange(101, 400))]
    ways = [
        make.event(StepCompleted, metrics=dict.fromkeys(names, 1.0)),
        make.event(RunStarted, tags=dict.fromkeys(names, "a")),
        make.event(RunStarted, hyperparameters=dict.fromkeys(names, "a")),
    ]
    return make.message(make.rng.choice(ways))


def _bad_id(make: _Maker) -> bytes:
    text = make.rng.choice(["", "a.b", "$a", "a|b", "a\x00b", "a\nb", "\x7f"])
    return make.message(make.event(**{make.rng.choice(["run_id", "source_id"]): text}))


def _inconsistent(make: _Maker) -> bytes:
    good = make.event(HardwareSampled)
    more = good.energy_kwh * make.rng.uniform(1.001, 10)
    changes = make.rng.choice(
        [
            {"emissions_kg": good.emissions_kg * 1.001 + 1e-12},
            {"energy_low_kwh": more, "energy_high_kwh": 20 * more},
            {"energy_high_kwh": good.energy_kwh * 0.9},
            {"measured_energy_kwh": more},
            {"devices": [*good.devices, *good.devices]},
        ]
    )
    return make.message(make.event(HardwareSampled, **changes))


def _ahead(make: _Maker) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    return make.message(make.event(timestamp=now + datetime.timedelta(hours=make.rng.uniform(1, 1e5))))


# how a message is made -> the reason it must get, and the making
KINDS: Mapping[str, tuple[str, Callable[[_Maker], bytes | None]]] = {
    "no value": ("no_value", lambda _: None),
    "short frame": ("short_frame", lambda make: make.message(make.event())[: make.rng.randrange(5)]),
    "another magic byte": ("wrong_magic_byte", lambda make: make.odd(1, 256) + make.message(make.event())[1:]),
    "id that nobody registered": ("unknown_schema_id", lambda make: make.noise(make.ids.unknown)),
    "id of a foreign subject": ("foreign_subject", lambda make: make.noise(make.ids.foreign)),
    "record of another topic": ("foreign_subject", _window),
    "cut": ("truncated", _cut),
    "bytes behind": ("trailing_bytes", lambda make: make.message(make.event()) + make.odd(0, 256) * 3),
    "enum index too high": (
        "undecodable",
        lambda make: make.spoilt({"enum"}, lambda p: zigzag(p.choices + make.some())),
    ),
    "enum index negative": ("undecodable", lambda make: make.spoilt({"enum"}, lambda _: zigzag(-1 - make.some()))),
    "branch index too high": (
        "undecodable",
        lambda make: make.spoilt({"union"}, lambda p: zigzag(p.choices + make.some())),
    ),
    "branch index negative": ("undecodable", lambda make: make.spoilt({"union"}, lambda _: zigzag(-1 - make.some()))),
    "int beyond 32 bits": ("undecodable", lambda make: make.spoilt({"int"}, lambda _: zigzag(2**31 + make.some()))),
    "boolean neither 0 nor 1": ("undecodable", lambda make: make.spoilt({"boolean"}, lambda _: make.odd(2, 256))),
    "number in too many bytes": ("undecodable", lambda make: make.spoilt({"long", "int"}, _overlong)),
    "text that is no UTF-8": ("undecodable", _not_text),
    "number not finite": ("not_finite", _not_finite),
    "number out of range": ("out_of_range", _out_of_range),
    "text too long": ("too_long", _too_long),
    "map too large": ("too_many_entries", _too_many),
    "identity not to be stored": ("invalid_id", _bad_id),
    "figures that contradict": ("inconsistent", _inconsistent),
    "time to come": ("timestamp_in_future", _ahead),
}


def damaged_messages(count: int, seed: int, ids: Ids) -> list[Damaged]:
    """Return so many damaged messages, of every kind nearly as many, in an order of the seed's."""
    rng = random.Random(seed)
    make = _Maker(rng, ids)
    kinds = list(itertools.islice(itertools.cycle(KINDS), count))
    rng.shuffle(kinds)
    return [_damaged(make, kind) for kind in kinds]


def _damaged(make: _Maker, kind: str) -> Damaged:
    reason, making = KINDS[kind]
    headers = [("trace", make.rng.randbytes(8)), ("trace", None), ("empty", b"")][: make.rng.randrange(4)]
    key = make.rng.choice([None, b"", RUN_ID.encode(), make.rng.randbytes(12)])
    return Damaged(kind, reason, key, making(make), headers)
