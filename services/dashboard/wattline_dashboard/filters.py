"""What a viewer chose, as the URL says it: untrusted text to checked values and back; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from wattline_dashboard.facts import method_labels
from wattline_dashboard.periods import PERIODS, Period
from wattline_dashboard.spans import Span

__all__ = [
    "AGAINST",
    "DIMENSIONS",
    "KINDS_OF_RUN",
    "MEASURES",
    "OWNERS",
    "POWER_BY",
    "ROWS",
    "SORTS",
    "STATUSES",
    "CompareFilters",
    "Filters",
    "PeopleFilters",
    "RunChoices",
    "RunFilters",
    "is_simulated",
]

DIMENSIONS: Mapping[str, str] = {
    "user": "user_id",
    "project": "project",
    "model": "model_name",
    "dataset": "dataset_name",
    "region": "region_iso",
    "environment": "environment",
}
"""By what a fleet is broken down: name in the URL, and field of a run's summary."""

KINDS_OF_RUN: Mapping[str, str] = {
    "all": "All, marked",
    "real": "Real",
    "measured": "Measured",
    "modelled": "Modelled",
    "simulated": "Simulated",
}
"""Which runs count, by how their energy was got."""

MEASURES: Mapping[str, str] = {"energy": "Energy", "emissions": "Emissions"}

STATUSES: Mapping[str, str] = {
    "all": "Any status",
    "running": "Running",
    "stalled": "Stalled",
    "completed": "Completed",
    "failed": "Failed",
    "stopped": "Stopped",
    "unknown": "Unknown",
}

SORTS: Mapping[str, str] = {
    "heard": "Last heard of",
    "started": "Newest start",
    "energy": "Most energy",
    "emissions": "Most emissions",
    "duration": "Longest",
}

POWER_BY: Mapping[str, str] = {"kind": "Kind", "device": "Device"}
"""What one layer of a run's power is."""

AGAINST: Mapping[str, str] = {"time": "Time", "energy": "Energy"}
"""What loss and accuracy of a run are drawn against."""

OWNERS: Mapping[str, str] = {"user": "User", "project": "Project", "model": "Model"}
"""Whom a bill is for: names in the URL, of `DIMENSIONS`."""

ROWS: Mapping[str, str] = {"all": "All", "differing": "Only what differs"}
"""Which rows the table of differences has."""

_TEXT = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


def is_simulated(summary: Mapping[str, Any]) -> bool:
    """Say whether a run, or a part of it, was simulated: then none of it counts as real."""
    return bool(summary["simulated"]) or "SIMULATED" in summary["methods"]


def _is_of_kind(summary: Mapping[str, Any], kind: str) -> bool:
    match kind:
        case "all":
            return True
        case "real":
            return not is_simulated(summary)
        case "simulated":
            return is_simulated(summary)
    return not is_simulated(summary) and kind in method_labels(summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """Values that a URL holds; what is at its default is not written."""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Return what a URL's parameters say; what makes no sense counts as not said."""
        return cls(**{name: value for name in cls.names() if (value := _checked(name, query.get(name))) is not None})

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the parameters' names."""
        return tuple(field.name for field in fields(cls))

    def to_query(self) -> dict[str, str]:
        """Return the parameters that say this."""
        return {
            field.name: str(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) not in (field.default, None, "")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters(_Query):
    """What the overview shows."""

    period: str = "24h"
    kind: str = "all"
    measure: str = "energy"
    user: str | None = None
    project: str | None = None
    model: str | None = None
    dataset: str | None = None
    region: str | None = None
    environment: str | None = None

    @property
    def length(self) -> Period:
        """The period itself."""
        return PERIODS[self.period]

    @property
    def is_narrowed(self) -> bool:
        """Say whether some runs are left out."""
        return self.kind != "all" or any(getattr(self, name) is not None for name in DIMENSIONS)

    def matches(self, summary: Mapping[str, Any]) -> bool:
        """Say whether a run counts."""
        return _is_of_kind(summary, self.kind) and all(
            getattr(self, name) in (None, summary[field] or "") for name, field in DIMENSIONS.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilters(_Query):
    """What the table of runs shows, and in which order."""

    status: str = "all"
    kind: str = "all"
    sort: str = "heard"
    user: str | None = None
    model: str | None = None
    text: str = ""

    @property
    def is_narrowed(self) -> bool:
        """Say whether some runs are left out."""
        return self != type(self)(sort=self.sort)

    def matches(self, summary: Mapping[str, Any], status: str) -> bool:
        """Say whether a run counts, whose status at the moment (stalled among them) is given in small letters."""
        return (
            _is_of_kind(summary, self.kind)
            and self.status in ("all", status)
            and self.user in (None, summary["user_id"])
            and self.model in (None, summary["model_name"])
            and self._has_text(summary)
        )

    def _has_text(self, summary: Mapping[str, Any]) -> bool:
        searched = ("_id", "model_name", "dataset_name", "user_id", "project", "region_iso", "environment")
        words = " ".join([str(summary[name] or "") for name in searched] + list(summary["hosts"])).casefold()
        return all(word in words for word in self.text.casefold().split())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChoices(_Query):
    """How a run's curves are drawn."""

    power: str = "kind"
    against: str = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFilters(_Query):
    """How runs are compared; which runs, `comparison.runs_from_url` tells."""

    measure: str = "energy"
    rows: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleFilters(_Query):
    """Whose use is shown, and of which month, quarter or year."""

    by: str = "user"
    span: str | None = None  # the key of a `Span`; none: this month
    name: str | None = None  # of one user, project or model; none: all
    kind: str = "all"
    measure: str = "energy"

    def classes(self, names: Sequence[str]) -> list[str]:
        """Return the classes of runs that are shown; how a run's energy was measured is no matter here."""
        return [name for name in names if self.kind == name] or list(names)


_CHOICES: Mapping[str, Mapping[str, Any]] = {
    "period": PERIODS,
    "kind": KINDS_OF_RUN,
    "measure": MEASURES,
    "rows": ROWS,
    "by": OWNERS,
    "status": STATUSES,
    "sort": SORTS,
    "power": POWER_BY,
    "against": AGAINST,
}


def _checked(name: str, value: str | None) -> str | None:
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        return None
    if name == "span":
        return value if Span.from_key(value) else None
    return value if name not in _CHOICES or value in _CHOICES[name] else None
