"""What the stream says of itself, in the words and rows of the page Pipeline; pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wattline_common.store import Document
from wattline_dashboard.filters import is_simulated
from wattline_dashboard.formats import MISSING, visible

__all__ = [
    "REASONS",
    "SILENT_AFTER_S",
    "Coverage",
    "Moment",
    "batch_parts",
    "bytes_shown",
    "coverage",
    "gaps_table",
    "gaps_to_save",
    "health_problems",
    "moment_of",
    "rejected_table",
    "rejected_to_save",
    "with_moment",
]

SILENT_AFTER_S = 60.0  # the stream reports some six times as often

REASONS: Mapping[str, tuple[str, str]] = {
    "no_value": ("it has no bytes", "its producer"),
    "short_frame": ("it is too short for the Confluent wire format", "its producer"),
    "wrong_magic_byte": ("it is not of the Confluent wire format", "its producer"),
    "unknown_schema_id": ("nobody registered its schema", "registering it, then replay-rejected"),
    "foreign_subject": ("its schema is another topic's", "registering the right one, then replay-rejected"),
    "foreign_schema": ("its schema is no event of ours", "its producer"),
    "truncated": ("its body ends too early", "its producer"),
    "trailing_bytes": ("its body goes on after its end", "its producer"),
    "undecodable": ("its body is not what its schema says", "its producer"),
    "invalid_id": ("an identity breaks the contract", "its producer"),
    "not_finite": ("a figure is no number", "its producer"),
    "out_of_range": ("a figure is out of its range", "its producer"),
    "too_long": ("a text is too long", "its producer"),
    "too_many_entries": ("a list or map is too long", "its producer"),
    "inconsistent": ("a sample's figures contradict each other", "its producer"),
    "timestamp_in_future": ("its clock is ahead", "its clock, then replay-rejected"),
    "after_retention": ("the raw events of its run are deleted", "a longer WATTLINE_RAW_RETENTION_DAYS, for others"),
    "erased": ("its run or user is erased, or has a pseudonym; it is not kept", "nothing"),
    "internal_error": ("our own code failed on it", "a newer Wattline, then replay-rejected"),
}
"""What each reason of a rejection means, and what helps."""

_PARTS: Mapping[str, str] = {  # as Spark names them; triggerExecution is the whole
    "addBatch": "book, window, write",
    "queryPlanning": "plan",
    "latestOffset": "ask for offsets",
    "getBatch": "fetch",
    "walCommit": "note the plan",
    "commitOffsets": "note the end",
}
_WHOLE = "triggerExecution"
_EXACT = 1e-9
_BYTES_A_ROW = 16
_PRINTABLE = range(0x20, 0x7F)  # of ASCII
_MOST_DETAIL = 200
_MOST_MOMENTS = 720


@dataclass(frozen=True, slots=True)
class Moment:
    """The stream's load when it last reported."""

    at: datetime.datetime
    lag_messages: int | None
    lag_s: float | None
    messages_per_s: float
    events_per_s: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many ended and settled runs have all that their sources say they used."""

    settled: int
    whole: int
    waiting: int  # ended, not settled yet
    gaps: Sequence[Document]  # worst first

    @property
    def share(self) -> float | None:
        """The part that is whole, or none where nothing is settled."""
        return self.whole / self.settled if self.settled else None


def health_problems(streaming: Mapping[str, Any]) -> dict[str, str]:
    """Return what keeps each part from its work at the moment; the registry's trouble is told once."""
    problems = dict((streaming.get("figures") or {}).get("problems") or {})
    registry = (streaming.get("registry") or {}).get("problem")
    if registry:
        problems["registry"] = registry
    return problems


def moment_of(streaming: Mapping[str, Any]) -> Moment | None:
    """Return the load as the stream last told it, or none when it never has."""
    figures = streaming.get("figures")
    if not figures:
        return None
    names = ("at", "lag_messages", "lag_s", "messages_per_s", "events_per_s")
    return Moment(*(figures.get(name) for name in names))


def with_moment(moments: Sequence[Moment], moment: Moment | None) -> list[Moment]:
    """Return what a viewer has seen of the load, the newest added; an hour of it or so."""
    kept = list(moments)
    if moment and (not kept or moment.at > kept[-1].at):
        kept.append(moment)
    return kept[-_MOST_MOMENTS:]


def batch_parts(milliseconds: Mapping[str, int]) -> list[tuple[str, float]]:
    """Return the seconds of each part of batches, biggest first; what no part accounts for is the rest."""
    parts = {words: milliseconds[name] / 1e3 for name, words in _PARTS.items() if name in milliseconds}
    others = {name: value / 1e3 for name, value in milliseconds.items() if name not in (*_PARTS, _WHOLE)}
    whole_s = milliseconds.get(_WHOLE, 0) / 1e3
    rest_s = whole_s - math.fsum(parts.values()) - math.fsum(others.values())
    found = parts | others | ({"rest": rest_s} if rest_s > 0 else {})
    return sorted(found.items(), key=lambda item: -item[1])


def coverage(runs: Iterable[Document]) -> Coverage:
    """Judge runs by their windows: a run is whole when these come to what its sources told."""
    settled = waiting = 0
    gaps = []
    for run in runs:
        if run["status"] == "RUNNING":
            continue
        stated = run.get("settled")
        if not stated:
            waiting += 1
            continue
        settled += 1
        if abs(stated["difference_kwh"]) > _EXACT * max(run["energy_kwh"], _EXACT):
            gaps.append(run)
    gaps.sort(key=lambda run: -abs(run["settled"]["difference_kwh"]) / (run["energy_kwh"] or 1.0))
    return Coverage(settled, settled - len(gaps), waiting, gaps)


def gaps_table(gaps: Sequence[Document]) -> pd.DataFrame:
    """Return the runs that have gaps: what their sources told, and what arrived of it; figures in kWh."""
    return pd.DataFrame(
        [
            {
                "Run": run["_id"],
                "Model": run["model_name"],
                "User": run["user_id"],
                "Energy told": run["energy_kwh"],
                "Energy arrived": run["settled"]["energy_kwh"],
                "Missing": run["settled"]["difference_kwh"],
                "Kind": "simulated" if is_simulated(run) else "real",
            }
            for run in gaps
        ]
    )


def gaps_to_save(gaps: Sequence[Document]) -> pd.DataFrame:
    """Return the same as a file has it."""
    columns = ("run_id", "simulated", "model_name", "user_id", "energy_kwh", "windows_energy_kwh", "difference_kwh")
    rows = [
        (
            *(run["_id"], is_simulated(run), run["model_name"], run["user_id"], run["energy_kwh"]),
            *(run["settled"]["energy_kwh"], run["settled"]["difference_kwh"]),
        )
        for run in gaps
    ]
    return pd.DataFrame(rows, columns=list(columns))


def rejected_to_save(events: Sequence[Document]) -> pd.DataFrame:
    """Return rejected messages as a file has them, without their bytes."""
    columns = ["_id", "reason", "detail", "partition", "offset", "append_time", "rejected_at"]
    return pd.DataFrame([[event[name] for name in columns] for event in events], columns=columns)


def rejected_table(events: Sequence[Document], zone: datetime.tzinfo) -> pd.DataFrame:
    """Return the rows of rejected messages, times on the viewer's clock."""
    return pd.DataFrame(
        [
            {
                "Rejected": event["rejected_at"].astimezone(zone).replace(tzinfo=None, microsecond=0),
                "Reason": event["reason"],
                "What is wrong": REASONS.get(event["reason"], (MISSING, MISSING))[0],
                "Helped by": REASONS.get(event["reason"], (MISSING, MISSING))[1],
                "Detail": visible(" ".join(event["detail"].split())[:_MOST_DETAIL]),
                "Partition": event["partition"],
                "Offset": event["offset"],
            }
            for event in events
        ]
    )


def bytes_shown(content: bytes, most: int = 1024) -> str:
    """Return bytes as hexadecimal and as ASCII, row by row: whatever they are, it is harmless text."""
    rows = []
    for start in range(0, min(len(content), most), _BYTES_A_ROW):
        row = content[start : min(start + _BYTES_A_ROW, most)]
        ascii_only = "".join(chr(byte) if byte in _PRINTABLE else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<{3 * _BYTES_A_ROW - 1}}  {ascii_only}")
    if len(content) > most:
        rows.append(f"and {len(content) - most} bytes more")
    return "\n".join(rows)
