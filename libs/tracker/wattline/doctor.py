"""`wattline doctor`: what a run here would be measured by and how well, what is set wrong, and what would be better."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wattline.doctor_advice import advice_on_meters, advice_on_surroundings
from wattline.doctor_checks import Device, Server, SpoolState, ask_servers, grid_now, look_at_spool, measure
from wattline.doctor_settings import Setting, misspelt, settings_that_hold
from wattline.job import Job
from wattline.ranks import Ranks
from wattline.report import columns
from wattline.settings import Settings
from wattline.wiring import VERSION, default_meters
from wattline_common.carbon import GridIntensity
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError, WattlineError
from wattline_common.events import DeviceKind, Method

__all__ = ["Diagnosis", "as_json", "as_text", "examine"]

_HEADINGS = ("device", "kind", "method", "W now", "band", "used", "model", "product", "remarks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found. Powers are what the doctor's own process was charged while it kept one CPU busy."""

    version: str
    python: str
    devices: tuple[Device, ...]
    grid: GridIntensity
    spool: SpoolState
    servers: tuple[Server, ...]
    job: Job
    settings: tuple[Setting, ...]
    wrong: tuple[str, ...]
    """What is set wrong, and the remedy."""
    better: tuple[str, ...]
    """What would be better, and how to get there; nothing that must be."""

    @property
    def is_measurable(self) -> bool:
        """Whether a run would be charged anything."""
        return any(device.method != Method.UNKNOWN.value for device in self.devices)

    @property
    def exit_code(self) -> int:
        """0 when a run can be measured and nothing is set wrong, else 1. A server that is away is no fault."""
        return 0 if self.is_measurable and not self.wrong else 1


def examine(env: Environment) -> Diagnosis:
    """Look at everything; takes some seconds, and changes nothing."""
    wrong: list[str] = []
    better: list[str] = []
    settings = Settings.from_environment(lambda error: wrong.append(str(error)), env)
    told = settings_that_hold(settings, env, wrong)

    def on_grid(error: WattlineError) -> None:
        text = str(error) if "WATTLINE_" in str(error) else f"WATTLINE_REGION: {error}; set it to such as FRA or US-CA"
        (wrong if isinstance(error, ConfigurationError) else better).append(text)

    grid = grid_now(settings, on_grid)
    measured = measure(lambda problems: default_meters(settings, Ranks(), problems))
    spool, servers = look_at_spool(settings.spool_dir), ask_servers(settings.endpoints)
    wrong += [*misspelt(env), *_in_vain(settings, env, measured.devices, spool)]
    better += measured.problems
    better += advice_on_meters(settings, measured.devices)
    better += advice_on_surroundings(settings, grid, spool, servers)
    return Diagnosis(
        version=VERSION,
        python=platform.python_version(),
        devices=measured.devices,
        grid=grid,
        spool=spool,
        servers=servers,
        job=settings.job,
        settings=told,
        wrong=tuple(wrong),
        better=tuple(better),
    )


def _in_vain(settings: Settings, env: Environment, devices: Sequence[Device], spool: SpoolState) -> Iterator[str]:
    """Yield what is set to a value that may be, but with which nothing comes of it here."""
    if settings.disabled:
        yield "WATTLINE_DISABLED is set, so nothing is measured and nothing is sent; unset it"
    if settings.share == "cgroup" and not any(each.kind == DeviceKind.CPU.value for each in devices):
        yield "WATTLINE_SHARE=cgroup cannot be done here; unset it to measure the process tree"
    if not spool.is_writable and env.text("WATTLINE_SPOOL_DIR"):
        yield f"WATTLINE_SPOOL_DIR={spool.folder} cannot be written: {spool.reason}; name another folder"


def as_json(found: Diagnosis) -> str:
    """Return a diagnosis for programs."""
    facts: dict[str, Any] = {"is_measurable": found.is_measurable, "exit_code": found.exit_code, **asdict(found)}
    facts["grid"]["kind"] = found.grid.kind.value
    return f"{json.dumps(facts, indent=2)}\n"


def as_text(found: Diagnosis) -> str:
    """Return a diagnosis for people."""
    return "\n".join(_sections(found))


def _sections(found: Diagnosis) -> Iterator[str]:
    verdict = "a run here can be measured" if found.is_measurable else "a run here CANNOT be measured"
    yield f"wattline {found.version} on Python {found.python}: {verdict}\n"
    rows = [_HEADINGS, *map(_cells, found.devices)] if found.devices else [("no device can be read",)]
    yield f"Meters, while the doctor kept one CPU busy for a second:\n{columns(rows)}"
    yield f"Around it:\n{columns(list(_surroundings(found)))}"
    yield f"Settings:\n{columns([(each.name, each.value, each.source) for each in found.settings])}"
    yield _listed("Wrong, and what to do:", found.wrong)
    yield _listed("What would be better:", found.better)


def _cells(device: Device) -> tuple[str, ...]:
    return (
        device.device_id,
        device.kind,
        device.method,
        f"{device.power_w:.3g}",
        f"{device.power_low_w:.3g} to {device.power_high_w:.3g}",
        "unknown" if device.utilization_pct is None else f"{device.utilization_pct:.0f} %",
        device.model_name,
        device.product,
        ", ".join(device.flags) or "none",
    )


def _surroundings(found: Diagnosis) -> Iterator[tuple[str, ...]]:
    grid, spool, job = found.grid, found.spool, found.job
    yield "grid", f"{grid.g_per_kwh:g} g CO2e per kWh", f"{grid.label} ({grid.kind.value}, licence: {grid.licence})"
    room = spool.reason or f"{(spool.free_bytes or 0) / 1e9:.1f} GB free"
    yield "spool", "can be written" if spool.is_writable else "CANNOT be written", f"{spool.folder} ({room})"
    for server in found.servers:
        yield server.name, "ready" if server.is_ready else "not ready", server.reason or server.address
    told = {"run": job.run, "rank": job.rank, "user": job.user_id, "project": job.project, "host": job.host, **job.tags}
    facts = ", ".join(f"{key} {value}" for key, value in told.items() if value not in {None, ""})
    yield "job", " in ".join(job.launchers) or "none", facts or "no torchrun, SLURM or Kubernetes"


def _listed(heading: str, lines: tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in (heading, *(f"- {each}" for each in lines or ("nothing",))))
