"""Which grid intensity prices a run, from the environment; none of it asks the network by itself."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wattline_common.carbon import WORLD, GridIntensity, IntensitySource, grid_intensity
from wattline_common.carbon.live import ELECTRICITY_MAPS_URL, ElectricityMaps, LiveIntensity
from wattline_common.carbon.series import read_file
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError, UnavailableError, WattlineError

__all__ = ["GridSettings", "intensity_source"]

_OWN = "WATTLINE_GRID_INTENSITY_G_PER_KWH"
_FILE = "WATTLINE_GRID_INTENSITY_FILE"
_PROVIDER = "WATTLINE_GRID_INTENSITY_PROVIDER"
_ELECTRICITY_MAPS = "electricitymaps"


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """One's own factor, or file, or provider; without any of them the packaged table prices."""

    own_g_per_kwh: float | None = None
    file: Path | None = None
    electricity_maps: ElectricityMaps | None = field(default=None)

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> GridSettings:
        """Read WATTLINE_GRID_INTENSITY_* and WATTLINE_ELECTRICITY_MAPS_*; raise `ConfigurationError`."""
        env = environment or Environment()
        given = [name for name in (_OWN, _FILE, _PROVIDER) if env.text(name)]
        if len(given) > 1:
            raise ConfigurationError(f"{' and '.join(given)} are both set; keep one of them")
        return cls(
            own_g_per_kwh=env.number(_OWN, 0.0) if env.text(_OWN) else None,
            file=Path(env.text(_FILE)) if env.text(_FILE) else None,
            electricity_maps=_electricity_maps(env),
        )


def _electricity_maps(env: Environment) -> ElectricityMaps | None:
    provider = env.text(_PROVIDER).lower()
    if not provider:
        return None
    if provider != _ELECTRICITY_MAPS:
        raise ConfigurationError(f"{_PROVIDER}={provider!r} is unknown; set it to {_ELECTRICITY_MAPS}, or unset it")
    needed = {name: env.text(f"WATTLINE_ELECTRICITY_MAPS_{name}") for name in ("ZONE", "TOKEN")}
    for name, value in needed.items():
        if not value:
            raise ConfigurationError(f"{_PROVIDER}={provider} needs WATTLINE_ELECTRICITY_MAPS_{name}")
    if not (needed["TOKEN"].isascii() and needed["TOKEN"].isprintable()):
        raise ConfigurationError("WATTLINE_ELECTRICITY_MAPS_TOKEN has letters that no token has; copy it anew")
    url = env.text("WATTLINE_ELECTRICITY_MAPS_URL", ELECTRICITY_MAPS_URL)
    if not url.startswith(("https://", "http://")):
        raise ConfigurationError(f"WATTLINE_ELECTRICITY_MAPS_URL={url!r} begins with neither https:// nor http://")
    return ElectricityMaps(zone=needed["ZONE"], token=needed["TOKEN"], url=url)


def intensity_source(
    region_iso: str, settings: GridSettings, problem: Callable[[WattlineError], None], now: datetime.datetime
) -> IntensitySource:
    """Return what prices a run in a region; what is wrong is told to ``problem``, and the packaged table prices."""
    table = grid_intensity(region_iso)
    zone = region_iso if region_iso.lower() != "unknown" else table.zone
    if settings.own_g_per_kwh is not None:
        return GridIntensity(zone=zone, name=zone, g_per_kwh=settings.own_g_per_kwh, year=None, source=f"own ({_OWN})")
    if settings.file is not None:
        try:
            return read_file(settings.file, zone, table)
        except ConfigurationError as error:
            problem(ConfigurationError(f"{_FILE}: {error}; {table.label} prices the run"))
            return table
    if settings.electricity_maps is not None:
        live = LiveIntensity(settings.electricity_maps, table, lambda error: problem(_told(error, table)))
        live.refresh(now)
        return live
    if table.zone == WORLD and zone != WORLD:
        problem(ConfigurationError(f"region {region_iso!r} is not in the table of grids; {table.label} prices the run"))
    return table


def _told(error: UnavailableError, table: GridIntensity) -> UnavailableError:
    return UnavailableError(f"{error}; {table.label} prices what it does not")
