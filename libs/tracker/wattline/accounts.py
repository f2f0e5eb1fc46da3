"""What a source has cost, folded from its own records: how a report is made without Kafka and without a store."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from wattline.identity import AVRO_LONG
from wattline.spool_records import Record
from wattline_common.errors import ContractError
from wattline_common.events import RunStatus

__all__ = ["Account", "Bookkeeper"]

_HALF_PAIR = re.compile("[\ud800-\udfff]")  # which no terminal and no file takes
_LARGEST = sys.float_info.max
_FIRST_S, _LAST_S = -62_135_596_800.0, 253_402_300_799.0  # of the years 1 to 9999
_TEXTS = ("run_id", "source_id", "user_id", "model_name", "dataset_name", "project", "host", "rank", "region_iso")
_SUMS = ("energy_kwh", "energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _HALF_PAIR.search(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < AVRO_LONG


def _is_amount(value: object) -> bool:
    return type(value) in {int, float} and 0 <= value <= _LARGEST  # type: ignore[operator]  # NaN and infinity are not


def _is_time(value: object) -> bool:
    return type(value) in {int, float} and _FIRST_S <= value <= _LAST_S  # type: ignore[operator]  # likewise


# By a field's type as it is written; every float but the times is an energy or a mass.
_FITS: dict[str, Callable[[object], bool]] = {
    "str": _is_text,
    "str | None": lambda value: value is None or _is_text(value),
    "int": _is_count,
    "int | None": lambda value: value is None or _is_count(value),
    "float": _is_amount,
    "float | None": lambda value: value is None or _is_time(value),
    "list[str]": lambda value: isinstance(value, list) and all(map(_is_text, value)),
}


@dataclass(slots=True, kw_only=True)
class Account:
    """The sums of one source. Energies are IT energy in kWh; times are seconds since 1970."""

    run_id: str = ""
    source_id: str = ""
    user_id: str = "unknown"
    model_name: str = "unknown"
    dataset_name: str = "unknown"
    project: str | None = None
    host: str = "unknown"
    rank: int | None = None
    region_iso: str = "unknown"
    status: str = ""
    """As RunFinished says; empty before it."""
    started_at_s: float | None = None
    ended_at_s: float | None = None
    energy_kwh: float = 0.0
    energy_low_kwh: float = 0.0
    energy_high_kwh: float = 0.0
    measured_energy_kwh: float = 0.0
    emissions_kg: float = 0.0
    grid_intensity_source: str = "unknown"
    methods: list[str] = field(default_factory=list)
    steps: int = 0
    events: int = 0
    events_dropped: int = 0

    def add(self, record_name: str, event: dict[str, Any]) -> None:
        """Take an event's fields; cumulative figures by maximum, so that what is missing between costs nothing."""
        for name in _TEXTS:
            setattr(self, name, event[name])
        at_s = event["timestamp"].timestamp()
        self.started_at_s = at_s if self.started_at_s is None else min(self.started_at_s, at_s)
        self.ended_at_s = at_s if self.ended_at_s is None else max(self.ended_at_s, at_s)
        self.events += 1
        if record_name == "HardwareSampled":
            self._add_sample(event)
        elif record_name == "StepCompleted":
            self.steps += event["steps_covered"]
        elif record_name == "RunFinished":
            self.status = event["status"]
            self.events_dropped = max(self.events_dropped, event["events_dropped"])

    def _add_sample(self, event: dict[str, Any]) -> None:
        for name in _SUMS:
            setattr(self, name, max(getattr(self, name), event.get(f"cumulative_{name}") or 0.0))
        self.grid_intensity_source = event["grid_intensity_source"]
        self.methods = sorted({*self.methods, *(device["method"] for device in event["devices"])})

    @property
    def began(self) -> datetime.datetime | None:
        """When its first event happened, UTC."""
        return (
            None
            if self.started_at_s is None
            else datetime.datetime.fromtimestamp(self.started_at_s, datetime.timezone.utc)
        )

    @property
    def finished(self) -> bool:
        """Whether the source said how it ended."""
        return self.status in {status.value for status in RunStatus}

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Account:
        """Return an account that was kept; fields of other versions are left out.

        Raises `ValueError` when it is none, or a value is none of its field: a file may be damaged, or anybody's.
        """
        if not isinstance(data, dict):
            raise ValueError(f"{data!r:.80} is no account")  # noqa: TRY004  # a file is wrong, not the call
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        for each in fields(cls):
            if each.name in known and not _FITS[str(each.type)](known[each.name]):
                raise ValueError(f"{known[each.name]!r:.80} is no {each.name}")
        return cls(**known)


class Bookkeeper:
    """Adds records to accounts; what it cannot read, such as records of a newer version, it leaves out."""

    def __init__(self) -> None:
        from wattline_common.codec import Decoder  # loads fastavro: only where records are read
        from wattline_common.schemas import VERSIONS

        places = [(name, version) for name, texts in VERSIONS.items() for version in range(1, len(texts) + 1)]
        self._numbers = {place: number for number, place in enumerate(places)}
        self._decoder = Decoder(lambda number: VERSIONS[places[number][0]][places[number][1] - 1])

    def add(self, account: Account, records: Iterable[Record]) -> None:
        """Add the events of some records."""
        from wattline_common.codec import frame

        for record in records:
            number = self._numbers.get((record.name, record.version))
            if number is None:
                continue
            try:
                datum = self._decoder.datum(frame(number, record.body))
            except ContractError:
                continue
            account.add(datum.record_name, datum.fields)
