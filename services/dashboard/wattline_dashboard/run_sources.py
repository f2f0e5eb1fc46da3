"""What a run's sources say of it: what priced its kWh, on what it ran, with which settings; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from wattline_common.carbon import WORLD, GridIntensity, emissions_kg, zones
from wattline_common.store import RunSummary, as_map
from wattline_dashboard.curves import KINDS
from wattline_dashboard.formats import TIMES

__all__ = [
    "Device",
    "Price",
    "constant_price",
    "country",
    "events_dropped",
    "hardware",
    "hyperparameters",
    "place",
    "prices",
    "tags",
    "tracker_version",
]

_EXACT = 1e-9
_BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True, order=True)
class Price:
    """What turns a kWh of IT energy into emissions: PUE, and the grid's intensity with its source."""

    pue: float
    g_per_kwh: float
    source: str

    @property
    def entry(self) -> GridIntensity | None:
        """The row of the packaged table that it is from, or none."""
        zone, _, _ = self.source.partition(":")
        found = zones().get(zone)
        return found if found and found.label == self.source else None


@dataclass(frozen=True, slots=True)
class Device:
    """Devices of one kind and name, of all the run's hosts."""

    kind: str
    name: str
    methods: tuple[str, ...]
    count: int | None  # units, such as logical CPUs or cards
    memory_bytes: int | None  # of all of them

    @property
    def words(self) -> str:
        """The device in a few words: ``AMD EPYC, 2 logical CPUs``, ``NVIDIA A100 (GPU)``."""
        memory = f"{self.memory_bytes / _BYTES_PER_GB:.3g} GB" if self.memory_bytes else ""
        match self.kind:
            case "CPU":
                return f"{self.name}, {self.count} logical CPUs" if self.count else f"{self.name} (CPU)"
            case "MEMORY":
                named = "" if self.name.casefold() in ("memory", "unknown") else f" ({self.name})"
                return f"{memory} memory{named}".strip()
        many = f"{self.count} {TIMES} " if self.count else ""
        return f"{many}{self.name} ({self.kind if self.kind == 'GPU' else 'other'}{', ' if memory else ''}{memory})"


def prices(summary: RunSummary) -> list[Price]:
    """Return the prices of the sources' latest samples, each once."""
    latest = [source["latest_sample"] for source in summary["sources"].values() if source.get("latest_sample")]
    known = [each for each in latest if each.get("grid_intensity_g_per_kwh") is not None and each.get("pue")]
    found = {
        Price(each["pue"], each["grid_intensity_g_per_kwh"], str(each.get("grid_intensity_source") or "unknown source"))
        for each in known
    }
    return sorted(found)


def constant_price(summary: RunSummary) -> Price | None:
    """Return the one price that explains all of the run's emissions, or none where it changed on the way."""
    found = prices(summary)
    if len(found) != 1:
        return None
    product_kg = emissions_kg(summary["energy_kwh"], pue=found[0].pue, grid_intensity_g_per_kwh=found[0].g_per_kwh)
    same = math.isclose(product_kg, summary["emissions_kg"], rel_tol=_EXACT, abs_tol=1e-15)
    return found[0] if same else None


def hardware(summary: RunSummary) -> list[Device]:
    """Return the devices that the sources described, those of one name as one; a restart on a host adds none."""
    seen: dict[tuple[str, str], Mapping[str, Any]] = {}
    for source in summary["sources"].values():
        host = str(source.get("context", {}).get("host"))
        for device in source.get("started", {}).get("hardware") or ():
            seen[(host, device["device_id"])] = device
    merged: dict[tuple[str, str], Device] = {}
    for device in seen.values():
        key = (device["kind"], device["model_name"])
        alone = Device(*key, (device["method"],), device["count"], device["memory_total_bytes"])
        merged[key] = _together(merged[key], alone) if key in merged else alone
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(merged.values(), key=lambda each: (order.get(each.kind, len(order)), each.name))


def _together(one: Device, other: Device) -> Device:
    return replace(
        one,
        methods=tuple(sorted({*one.methods, *other.methods})),
        count=(one.count or 1) + (other.count or 1),
        memory_bytes=_sum([one.memory_bytes, other.memory_bytes]),
    )


def hyperparameters(summary: RunSummary) -> dict[str, str]:
    """Return the hyperparameters that the sources began with; of several values the last source's."""
    return _map(summary, "hyperparameters")


def tags(summary: RunSummary) -> dict[str, str]:
    """Return the tags that the sources began with, likewise."""
    return _map(summary, "tags")


def tracker_version(summary: RunSummary) -> str | None:
    """Return the version of the tracker that the run used, that of its latest source; none where it is not known."""
    found = [str(each["tracker_version"]) for each in _started(summary) if each.get("tracker_version")]
    return found[-1] if found and found[-1] != "unknown" else None


def events_dropped(summary: RunSummary) -> int:
    """Return how many events the sources say they could not keep."""
    ends = (source.get("finished") or {} for source in summary["sources"].values())
    return sum(end.get("events_dropped") or 0 for end in ends)


def country(region_iso: str) -> str | None:
    """Return the name of a region's country; none where it is not known."""
    code = region_iso.strip().upper()
    found = zones().get("USA" if code.startswith("US-") else code)
    return found.name if found and code != WORLD else None


def place(region_iso: str) -> str | None:
    """Return a region in words, ``Oregon, United States (US-OR)``; none where it is not known."""
    code, of_country = region_iso.strip().upper(), country(region_iso)
    if of_country is None:
        return None
    name = zones()[code].name if code in zones() else of_country
    return f"{name} ({code})" if name == of_country else f"{name}, {of_country} ({code})"


def _started(summary: RunSummary) -> Iterable[Mapping[str, Any]]:
    sources = sorted(summary["sources"].values(), key=lambda source: source.get("first_timestamp_us", 0))
    return [source["started"] for source in sources if source.get("started")]


def _map(summary: RunSummary, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for started in _started(summary):
        found |= {str(key): str(value) for key, value in as_map(started.get(name) or ()).items()}
    return found


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value]
    return sum(known) if known else None
