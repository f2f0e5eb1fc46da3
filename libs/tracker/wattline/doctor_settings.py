"""The settings that hold, for `wattline doctor`: each with where it comes from, and none with a password in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline.identity import user_name
from wattline.settings import Settings
from wattline_common.environment import Environment
from wattline_common.settings import Endpoints, without_login

__all__ = ["Setting", "misspelt", "settings_that_hold", "shown_address"]

_NONE = "none"
_UNUSED = "unused, since a setting of the servers is wrong"
_LIKE = 0.8  # how alike two names are of which one is a slip of the other
_OURS = "WATTLINE_"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting by the name of its variable."""

    name: str
    value: str
    """What holds, with its unit."""
    source: str
    """``environment``, ``default``, or ``job``: what SLURM or Kubernetes tells."""


def settings_that_hold(settings: Settings, env: Environment, wrong: Sequence[str]) -> tuple[Setting, ...]:
    """Return every setting; of one that ``wrong`` complains of, the default is what holds."""
    return tuple(Setting(name, tell(settings), _source(name, settings, env, wrong)) for name, tell in _TOLD.items())


def misspelt(env: Environment) -> list[str]:
    """Return a line for each variable of ours that is set, is no setting, and is nearly one."""
    known = [name.removeprefix(_OURS) for name in _TOLD if name.startswith(_OURS)]
    found = []
    for name in env.names(_OURS):
        own = name.removeprefix(_OURS)
        near = [] if own in known else difflib.get_close_matches(own, known, 1, _LIKE)
        found += [f"{name} is no setting; {_OURS}{each} is one: rename it" for each in near]
    return found


def shown_address(url: str) -> str:
    """Return an address without its login; what is no address may hold a password anywhere, so it is not shown."""
    try:
        return without_login(url)
    except ValueError:
        return "no address"


def _source(name: str, settings: Settings, env: Environment, wrong: Sequence[str]) -> str:
    if any(re.search(rf"\b{name}\b", line) for line in wrong):
        return "default"
    if env.text(name):
        return "environment"
    by_job = {"WATTLINE_USER": settings.job.user_id, "WATTLINE_PROJECT": settings.job.project}
    return "job" if by_job.get(name) else "default"


def _yes_or_no(value: object) -> str:
    return "yes" if value else "no"


def _server(tell: Callable[[Endpoints], str]) -> Callable[[Settings], str]:
    return lambda s: _UNUSED if s.endpoints is None else tell(s.endpoints) or _NONE


def _electricity_maps(settings: Settings, part: str) -> str:
    maps = settings.grid.electricity_maps
    return _NONE if maps is None else str(getattr(maps, part))


_TOLD: dict[str, Callable[[Settings], str]] = {
    "WATTLINE_DISABLED": lambda s: _yes_or_no(s.disabled),
    "WATTLINE_QUIET": lambda s: _yes_or_no(s.quiet),
    "WATTLINE_EMIT_INTERVAL_S": lambda s: f"{s.emit_interval_s:g} s",
    "WATTLINE_REGION": lambda s: s.region_iso,
    "WATTLINE_GRID_INTENSITY_G_PER_KWH": lambda s: (
        _NONE if s.grid.own_g_per_kwh is None else f"{s.grid.own_g_per_kwh:g} g/kWh"
    ),
    "WATTLINE_GRID_INTENSITY_FILE": lambda s: str(s.grid.file or _NONE),
    "WATTLINE_GRID_INTENSITY_PROVIDER": lambda s: "electricitymaps" if s.grid.electricity_maps else _NONE,
    "WATTLINE_ELECTRICITY_MAPS_ZONE": lambda s: _electricity_maps(s, "zone"),
    "WATTLINE_ELECTRICITY_MAPS_TOKEN": lambda s: "given" if s.grid.electricity_maps else _NONE,
    "WATTLINE_ELECTRICITY_MAPS_URL": lambda s: shown_address(_electricity_maps(s, "url")),
    "WATTLINE_BUDGET_KG": lambda s: _NONE if s.budget_kg is None else f"{s.budget_kg:g} kg",
    "WATTLINE_PUE": lambda s: f"{s.pue:g}",
    "WATTLINE_USER": lambda s: s.user_id or s.job.user_id or user_name(),
    "WATTLINE_PROJECT": lambda s: s.project or s.job.project or _NONE,
    "WATTLINE_ENVIRONMENT": lambda s: s.environment,
    "WATTLINE_RUN_ID": lambda s: s.run_id or "generated",
    "WATTLINE_FLUSH_TIMEOUT_S": lambda s: f"{s.flush_timeout_s:g} s",
    "WATTLINE_SPOOL_DIR": lambda s: str(s.spool_dir),
    "WATTLINE_SPOOL_MB": lambda s: f"{s.spool_mb} MB",
    "WATTLINE_QUEUE_EVENTS": lambda s: f"{s.queue_events} events",
    "KAFKA_BOOTSTRAP_SERVERS": _server(lambda e: e.kafka_bootstrap_servers),
    "KAFKA_SECURITY_PROTOCOL": _server(lambda e: e.kafka_security.protocol),
    "KAFKA_SASL_MECHANISM": _server(lambda e: e.kafka_security.sasl_mechanism),
    "KAFKA_SASL_USERNAME": _server(lambda e: e.kafka_security.sasl_username),
    "KAFKA_SASL_PASSWORD": _server(lambda e: "given" if e.kafka_security.sasl_password else ""),
    "KAFKA_SSL_CA_LOCATION": _server(lambda e: e.kafka_security.ssl_ca_location),
    "SCHEMA_REGISTRY_URL": _server(lambda e: shown_address(e.schema_registry_url)),
    "CUDA_VISIBLE_DEVICES": lambda s: "all" if s.visible_gpus is None else ", ".join(s.visible_gpus) or "none",
    "LOCAL_WORLD_SIZE": lambda s: str(s.local_ranks or _NONE),
    "SLURM_MEM_PER_NODE": lambda s: f"{s.memory_allocated_bytes / 2**20:g} MiB" if s.memory_allocated_bytes else _NONE,
    "WATTLINE_CPU_MODEL": lambda s: s.cpu_model or "counters if they can be read, else ccf",
    "WATTLINE_CPU_TDP_W": lambda s: f"{s.cpu_tdp_w:g} W" if s.cpu_tdp_w else "4 W a logical CPU",
    "WATTLINE_SHARE": lambda s: s.share,
}
