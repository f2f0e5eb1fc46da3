"""What users, projects and models may use in a month, a quarter or a year, as a TOML file says it."""

from __future__ import annotations

import datetime
import math
import re
import tomllib
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wattline_common.errors import ConfigurationError
from wattline_dashboard.filters import OWNERS
from wattline_dashboard.fleet import CLASSES
from wattline_dashboard.formats import EMISSIONS, ENERGY
from wattline_dashboard.spans import KINDS_OF_SPAN

__all__ = ["SETTING", "Budget", "BudgetFile", "Budgets", "check", "parsed"]

SETTING = "WATTLINE_DASHBOARD_BUDGETS"
_LIMITS = {"kwh": "energy", "kg_co2e": "emissions"}
_KEYS = (*OWNERS, *_LIMITS, "per", "counts")
_MAX_BUDGETS = 1_000
_MAX_BYTES = 1_000_000
_HEADER = re.compile(r"^\s*\[\[\s*budget\s*\]\]", re.MULTILINE)
_REMEDY = "services/dashboard/README.md shows a file that is right"


@dataclass(frozen=True, slots=True)
class Budget:
    """What one user, project or model may use in each span of a kind."""

    owner: str  # of OWNERS
    name: str
    measure: str  # energy or emissions
    limit: float  # kWh or kg CO2e
    per: str  # of KINDS_OF_SPAN
    counts: str = CLASSES[0]  # real or simulated runs

    @property
    def limit_text(self) -> str:
        """The limit with its unit."""
        return (ENERGY if self.measure == "energy" else EMISSIONS).text(self.limit)

    @property
    def words(self) -> str:
        """Whose it is and how much."""
        simulated = " of simulated runs" if self.counts == "simulated" else ""
        return f"{self.owner} {self.name}: {self.limit_text} a {self.per}{simulated}"


@dataclass(frozen=True, slots=True)
class Budgets:
    """All budgets of a file, and by whose clock months begin; without a zone by the viewer's."""

    entries: Sequence[Budget] = ()
    zone: datetime.tzinfo | None = None


class BudgetFile:
    """The file that the setting names: read again when it has changed; what was right stays until it is right again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._budgets = Budgets()
        self._problem: ConfigurationError | None = None

    def read(self) -> tuple[Budgets, ConfigurationError | None]:
        """Return the budgets that were last right, and what is wrong with the file now."""
        if not self._path:
            return self._budgets, None
        try:
            found = Path(self._path).stat()
            seen = (found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._budgets, self._problem = parsed(_text(self._path, found.st_size), self._path), None
                self._seen = seen
        except ConfigurationError as error:
            self._problem, self._seen = error, seen
        except (OSError, UnicodeDecodeError) as error:
            self._seen = None
            self._problem = ConfigurationError(
                f"{SETTING}={self._path} cannot be read ({error}): name a TOML file, or unset it for no budgets"
            )
        return self._budgets, self._problem


def check(path: str) -> None:
    """Raise `ConfigurationError` when a file of budgets is wrong: at a start, when somebody looks."""
    _, problem = BudgetFile(path).read()
    if problem is not None:
        raise problem


def parsed(text: str, path: str) -> Budgets:
    """Return what a file says; raise `ConfigurationError` that names file, line, key and remedy."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"no TOML: {error}", "mend that line") from error
    unknown = sorted(document.keys() - {"timezone", "budget"})
    if unknown:
        raise _wrong(path, f"unknown key {unknown[0]!r}", "at the top there are timezone and [[budget]]")
    entries = document.get("budget", [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _wrong(path, "budget is no list of tables", "begin each with [[budget]], in double brackets")
    if len(entries) > _MAX_BUDGETS:
        raise _wrong(path, f"{len(entries)} budgets", f"at most {_MAX_BUDGETS} are taken")
    lines = [text.count("\n", 0, found.end()) + 1 for found in _HEADER.finditer(text)]
    places = [f"line {line}" for line in lines] if len(lines) == len(entries) else [""] * len(entries)
    budgets = [
        _budget(entry, path, ", ".join(filter(None, (place, f"[[budget]] {number}"))))
        for number, (entry, place) in enumerate(zip(entries, places, strict=True), start=1)
    ]
    _refuse_twins(budgets, path)
    return Budgets(budgets, _zone(document.get("timezone"), path))


def _text(path: str, size_bytes: int) -> str:
    if size_bytes > _MAX_BYTES:
        raise _wrong(path, f"{size_bytes} bytes", f"a file of budgets has at most {_MAX_BYTES}")
    return Path(path).read_text(encoding="utf-8")


def _budget(entry: Mapping[str, Any], path: str, place: str) -> Budget:
    unknown = sorted(entry.keys() - set(_KEYS))
    if unknown:
        raise _wrong(path, f"unknown key {unknown[0]!r}", f"a budget has {', '.join(_KEYS)}", place)
    owner = _one_of(entry, tuple(OWNERS), path, place)
    name = entry[owner]
    if not isinstance(name, str) or not name.strip():
        raise _wrong(path, f"{owner} = {name!r} is no name", f'write {owner} = "..." as the runs name it', place)
    limit = _one_of(entry, tuple(_LIMITS), path, place)
    amount = entry[limit]
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < math.inf:
        raise _wrong(path, f"{limit} = {amount!r} is no amount", f"give a number above 0, as {limit} = 50", place)
    per, counts = str(entry.get("per")), str(entry.get("counts", CLASSES[0]))
    if per not in KINDS_OF_SPAN:
        raise _wrong(path, f"per = {per!r}", f"give one of {', '.join(KINDS_OF_SPAN)}", place)
    if counts not in CLASSES:
        raise _wrong(path, f"counts = {counts!r}", f"give one of {', '.join(CLASSES)}", place)
    return Budget(owner, name, _LIMITS[limit], float(amount), per, counts)


def _one_of(entry: Mapping[str, Any], names: Sequence[str], path: str, place: str) -> str:
    found = [name for name in names if name in entry]
    if len(found) != 1:
        what = f"both {' and '.join(found)}" if found else f"none of {', '.join(names)}"
        raise _wrong(path, f"it has {what}", f"give exactly one of {', '.join(names)}", place)
    return found[0]


def _refuse_twins(budgets: Iterable[Budget], path: str) -> None:
    seen: dict[tuple[str, ...], int] = {}
    for number, budget in enumerate(budgets, start=1):
        twin = seen.setdefault((budget.owner, budget.name, budget.measure, budget.per, budget.counts), number)
        if twin != number:
            what = f"[[budget]] {number} is for the same as [[budget]] {twin}: {budget.owner} {budget.name}"
            raise _wrong(path, what, "keep one of them")


def _zone(name: object, path: str) -> datetime.tzinfo | None:
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(str(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _wrong(path, f"timezone = {name!r} is unknown", "give a name such as Europe/Berlin") from error


def _wrong(path: str, what: str, remedy: str, place: str = "") -> ConfigurationError:
    where = f"{SETTING}={path}{f', {place}' if place else ''}"
    return ConfigurationError(f"{where}: {what}: {remedy}; {_REMEDY}")
