"""What `wattline doctor` looks at, a check each: meters, carbon, spool and servers. None of them raises."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wattline.clock import SystemClock
from wattline.doctor_settings import shown_address
from wattline.guard import Problems
from wattline.identity import as_region
from wattline.meters.base import Meter, Reading
from wattline.sampler import Sampler
from wattline.settings import Settings
from wattline.spool_folders import SpoolRoot
from wattline_common.carbon import GridIntensity
from wattline_common.carbon.live import LiveIntensity
from wattline_common.carbon.settings import intensity_source
from wattline_common.errors import WattlineError
from wattline_common.events import DeviceDescription, HardwareSampled, RunFinished, RunStarted, StepCompleted
from wattline_common.settings import Endpoints

__all__ = ["Device", "Measured", "Noted", "Server", "SpoolState", "ask_servers", "grid_now", "look_at_spool", "measure"]

_LONGEST_S = 5.0
_SERVER_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that a run would be charged for, and what its meter reads now."""

    device_id: str
    kind: str
    product: str
    method: str
    """COUNTER, SAMPLED_POWER, MODELLED, or UNKNOWN when nothing is known."""
    model_name: str
    """The model that stands in for a meter, or the device itself."""
    power_w: float
    """What the doctor itself is charged."""
    power_low_w: float
    power_high_w: float
    share: float
    """Part of the device's energy that this is, 0 to 1."""
    utilization_pct: float | None
    """Use of the whole device."""
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """The devices, and what went wrong with their meters."""

    devices: tuple[Device, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolState:
    """Where events are kept until they are delivered."""

    folder: str
    is_writable: bool
    reason: str = ""
    """Why it cannot be written."""
    free_bytes: int | None = None
    sources_waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that events go to, and whether all is there that they need."""

    name: str
    address: str
    is_ready: bool
    reason: str = ""
    """Why it is not, and what to do."""


class Noted(Problems):
    """Problems that are kept, to be told in one place, where a run would log them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, str] = {}

    def report(self, kind: str, message: str, error: BaseException | None = None) -> None:
        """Keep the first of each kind."""
        self.lines.setdefault(kind, f"{message} ({type(error).__name__}: {error})" if error else message)


@dataclass(slots=True)
class _Ticks:
    """What a sampler hands over: the first tick is the one that spans a whole period."""

    first: list[Reading] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)

    def __call__(self, at_s: float, readings: list[Reading]) -> None:  # noqa: ARG002  # the interface
        if not self.arrived.is_set():
            self.first = readings
            self.arrived.set()


def measure(
    make: Callable[[Problems], Sequence[Meter]], *, period_s: float = 1.0, patience_s: float = _LONGEST_S
) -> Measured:
    """Read meters twice, a period apart, as a run does, and keep one CPU busy meanwhile.

    Else a model of the CPU, which charges a run for its own use, had nothing to show. A meter that does not answer in
    ``patience_s`` is left alone.
    """
    noted, ticks, clock = Noted(), _Ticks(), SystemClock()
    described: list[DeviceDescription] = []
    with noted.guard("reading the meters"):
        sampler = Sampler(make(noted), clock, ticks, noted, period_s)
        described = sampler.start(clock.monotonic_s())
        until_s = time.monotonic() + period_s + patience_s
        while not ticks.arrived.is_set() and time.monotonic() < until_s:
            pass
        sampler.stop(patience_s)
    products = {each.device_id: each.model_name for each in described}
    devices = tuple(_device(each, products.get(each.device_id, "")) for each in ticks.first)
    return Measured(devices, tuple(noted.lines.values()))


def _device(reading: Reading, product: str) -> Device:
    def watts(joules: float) -> float:
        return joules / reading.interval_s if reading.interval_s > 0 else 0.0

    return Device(
        device_id=reading.device_id,
        kind=reading.kind.value,
        product=product,
        method=reading.method.value,
        model_name=reading.model_name,
        power_w=reading.power_w,
        power_low_w=watts(reading.energy_low_j),
        power_high_w=watts(reading.energy_high_j),
        share=reading.share,
        utilization_pct=reading.utilization_pct,
        flags=reading.flags,
    )


def grid_now(settings: Settings, problem: Callable[[WattlineError], None]) -> GridIntensity:
    """Return what a kWh of this moment is priced at; a provider that is set is asked, for some seconds at most."""
    clock = SystemClock()
    now = clock.timestamp(clock.monotonic_s())
    source = intensity_source(as_region(settings.region_iso), settings.grid, problem, now)
    if isinstance(source, LiveIntensity):
        source.wait(_LONGEST_S)
    return source.at(now)


def look_at_spool(folder: Path) -> SpoolState:
    """Try to write where the spool is or would be made, and leave nothing behind."""
    try:
        place = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
            file.flush()
        return SpoolState(
            folder=str(folder),
            is_writable=True,
            free_bytes=shutil.disk_usage(place).free,
            sources_waiting=sum(not each.live for each in SpoolRoot(folder).folders()),
        )
    except OSError as error:
        return SpoolState(folder=str(folder), is_writable=False, reason=str(error))


def ask_servers(endpoints: Endpoints | None, timeout_s: float = _SERVER_TIMEOUT_S) -> tuple[Server, ...]:
    """Ask Kafka for its topics and the registry for our schemas; none when their settings are wrong."""
    if endpoints is None:
        return ()
    registry = shown_address(endpoints.schema_registry_url)
    return (
        _asked("kafka", endpoints.kafka_bootstrap_servers, lambda: _ask_kafka(endpoints, timeout_s)),
        _asked("registry", registry, lambda: _ask_registry(endpoints, timeout_s)),
    )


def _asked(name: str, address: str, ask: Callable[[], None]) -> Server:
    try:
        ask()
    except Exception as error:  # noqa: BLE001  # whatever a client raises: an address may be any text
        known = isinstance(error, WattlineError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        return Server(name=name, address=address, is_ready=False, reason=reason)
    return Server(name=name, address=address, is_ready=True)


def _ask_kafka(endpoints: Endpoints, timeout_s: float) -> None:
    from wattline_common.kafka import TRAINING_EVENTS, require_topics  # here and below: a second to import

    at, security = endpoints.kafka_bootstrap_servers, endpoints.kafka_security
    require_topics(at, security, topics=(TRAINING_EVENTS,), timeout_s=timeout_s)


def _ask_registry(endpoints: Endpoints, timeout_s: float) -> None:
    from wattline_common.registry import Registry

    registry = Registry(endpoints.schema_registry_url, retries=0, timeout_s=timeout_s)
    for kind in (RunStarted, StepCompleted, HardwareSampled, RunFinished):
        registry.schema_id(kind)
