"""How a person would see that a line is in trouble: the probes, the metrics, the page Pipeline, the log."""

from __future__ import annotations

import re
from collections import Counter

from pymongo.errors import PyMongoError

from tests.line import Line
from tests.probes import Probes
from wattline_common import store
from wattline_dashboard.pipeline import health_problems, moment_of
from wattline_stack.services import Service

__all__ = ["shows"]

_METRICS = ("lag_messages", "lag_seconds", "windows_dirty", "query_failures_total", "settling_failures_total")
_TROUBLE = re.compile(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) (?P<words>.*)")
_DIGITS = re.compile(r"\d+")
_MOST_LINES, _MOST_CHARACTERS = 5, 200


def shows(line: Line, probes: Probes, stream: Service) -> list[str]:
    """Return a line for each place where one would look."""
    return [*_probes(probes), _page(line), *_log(stream)]


def _probes(probes: Probes) -> list[str]:
    found = [
        f"{path}: {status or 'no answer'} {told.strip()}"
        for path in ("/livez", "/readyz")
        for status, told in [probes.get(path)]
    ]
    if probes.get("/metrics")[0] == 200:
        metrics = probes.metrics()
        told = [f"wattline_{name} {metrics.get((f'wattline_{name}', frozenset()), 0):.0f}" for name in _METRICS]
        bad = [
            dict(labels)["part"] for (name, labels), value in metrics.items() if name == "wattline_problem" and value
        ]
        found.append(f"/metrics: {', '.join([*told, *(f'wattline_problem{{part={part}}} 1' for part in bad)])}")
    return found


def _page(line: Line) -> str:
    """Return what the page Pipeline reads, by the page's own functions."""
    try:
        told = line.database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}) or {}
    except PyMongoError as error:
        return f"Pipeline page: the store does not answer: {error}"
    moment, problems = moment_of(told), health_problems(told)
    load = f"{moment.lag_messages} messages behind, {moment.lag_s or 0:.0f} s" if moment else "nothing told yet"
    return f"Pipeline page: {load}; the last batch took {told.get('batch_s', 0):.1f} s; problems: {problems or 'none'}"


def _log(stream: Service) -> list[str]:
    """Return the commonest warnings of the stream's log; figures in them do not tell two apart."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for text in stream.log.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := _TROUBLE.match(text):
            alike = _DIGITS.sub("#", found["words"])
            counts[alike] += 1
            first.setdefault(alike, found["words"])
    ours_first = sorted(counts, key=lambda alike: ("wattline" not in alike.partition(":")[0], -counts[alike]))
    told = [f"log, {counts[alike]} times: {first[alike][:_MOST_CHARACTERS]}" for alike in ours_first[:_MOST_LINES]]
    return told or ["log: no warning"]
