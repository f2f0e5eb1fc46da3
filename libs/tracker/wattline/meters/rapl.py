"""The CPUs' own energy counters (RAPL), by Linux's powercap files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["POWERCAP", "RaplDomain", "RaplDomains", "find_rapl"]

POWERCAP = Path("/sys/class/powercap")
_ZONE = re.compile(r"intel-rapl(-mmio)?:\d+(:\d+)?")
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")


@dataclass(frozen=True, slots=True)
class RaplDomain:
    """A counter of energy: a package, or the DRAM at a package."""

    name: str
    folder: Path
    range_uj: int
    is_dram: bool = False

    def counter_uj(self) -> int:
        """Return the counter; `OSError` or `ValueError` where it cannot be read."""
        with open(self.folder / "energy_uj", encoding="ascii") as file:  # noqa: PTH123  # once a second: cheaper than a Path's
            return int(file.read())


@dataclass(frozen=True, slots=True)
class RaplDomains:
    """The counters that add up to the host's CPUs and DRAM; none where they cannot all be read, and then why."""

    packages: tuple[RaplDomain, ...] = ()
    drams: tuple[RaplDomain, ...] = ()
    hint: str = ""
    """What keeps them from being read, and what to do; empty where there are no counters, or all can be read."""
    has_psys: bool = False
    """Whether there is a counter of the whole platform too: it contains the packages, so it is not added."""


@dataclass(slots=True)
class _Found:
    readable: dict[str, RaplDomain] = field(default_factory=dict)
    unreadable: dict[str, Path] = field(default_factory=dict)


def find_rapl(powercap: Path = POWERCAP) -> RaplDomains:
    """Return the counters that count: each package once, and its DRAM, which the package does not contain.

    The cores and the graphics (core, uncore) are inside the package, and psys contains it: none of them is added. The
    same package may be there twice, by its registers (MSR) and by memory (MMIO): the first that can be read counts.
    When one package cannot be read, none is taken: half a host is no measurement.
    """
    found, has_psys = _Found(), False
    for folder, name in _zones(powercap):
        has_psys = has_psys or name == "psys"
        if not _is_counted(name) or name in found.readable:
            continue
        domain = _domain(folder, name)
        if domain is None:
            found.unreadable.setdefault(name, folder)
        else:
            found.unreadable.pop(name, None)
            found.readable[name] = domain
    hint = _hint(found.unreadable)
    if any(not name.endswith("dram") for name in found.unreadable):
        return RaplDomains(hint=hint, has_psys=has_psys)
    packages = tuple(domain for domain in found.readable.values() if not domain.is_dram)
    # The DRAM of some packages only would be half a memory.
    complete = packages and not any(name.endswith("dram") for name in found.unreadable)
    drams = tuple(domain for domain in found.readable.values() if domain.is_dram) if complete else ()
    return RaplDomains(packages, drams, hint, has_psys)


def _zones(powercap: Path) -> Iterator[tuple[Path, str]]:
    """Yield folder and name of each zone, registers before memory; a DRAM's name has its package's before it."""
    try:
        folders = sorted(path for path in powercap.iterdir() if _ZONE.fullmatch(path.name))
    except OSError:
        return
    names = {folder.name: _text(folder / "name") for folder in folders}
    for folder in sorted(folders, key=lambda path: path.name.startswith("intel-rapl-mmio")):
        parent, _, child = folder.name.rpartition(":")
        parent_name = names.get(parent, "")
        is_child = ":" in parent and bool(child)
        yield folder, f"{parent_name} {names[folder.name]}" if is_child else names[folder.name]


def _is_counted(name: str) -> bool:
    package, _, part = name.partition(" ")
    return _PACKAGE.fullmatch(package) is not None and part in {"", "dram"}


def _domain(folder: Path, name: str) -> RaplDomain | None:
    """Return a zone that can be read, else None."""
    try:
        range_uj = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
        domain = RaplDomain(name, folder, range_uj, is_dram=name.endswith("dram"))
        domain.counter_uj()
    except (OSError, ValueError):
        return None
    return domain


def _hint(unreadable: dict[str, Path]) -> str:
    if not unreadable:
        return ""
    names = ", ".join(unreadable)
    return (
        f"the CPUs' energy counters (RAPL: {names}) are there but cannot be read, so their energy is modelled; "
        f"as root, once after each boot: chmod a+r {POWERCAP}/intel-rapl*/energy_uj"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
