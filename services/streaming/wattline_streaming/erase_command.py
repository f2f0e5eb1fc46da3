"""What `erase` and `pseudonymise` do for a person: count, ask, and see it done, by the stream where one runs."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from wattline_common import kafka, store
from wattline_common.store import Document
from wattline_common.store_errors import answering
from wattline_streaming.erase import Eraser, is_rejected_of, runs_of, topics_named
from wattline_streaming.erasures import ERASE, PSEUDONYMISE, RUN, Erasures
from wattline_streaming.mentions import Mentions
from wattline_streaming.purge import Purge

__all__ = ["Errand", "Request", "Survey", "as_table", "done_text", "survey"]

_POLL_S = 0.5
_MOST_NAMED = 5
_RETENTION = datetime.timedelta(days=14)  # of the topics

Alone = Callable[[], AbstractContextManager[bool]]
"""Gives whether no stream works on the checkpoint, and keeps one from starting until it is left."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for."""

    action: str  # ERASE or PSEUDONYMISE
    kind: str  # RUN or USER
    name: str


@dataclass(frozen=True, slots=True)
class Survey:
    """How much there is of a run or a user, by collection and topic; and runs that name a user elsewhere, too."""

    counts: Mapping[str, int]
    elsewhere: list[str]

    def as_text(self, request: Request) -> str:
        """Return it as lines for a person."""
        lines = [f"{name:<28}{count:>9}" for name, count in self.counts.items()]
        if request.action == PSEUDONYMISE and self.elsewhere:
            some = ", ".join(self.elsewhere[:_MOST_NAMED]) + (", ..." if len(self.elsewhere) > _MOST_NAMED else "")
            lines.append(
                f"{len(self.elsewhere)} of these runs hold the name in another place (id, host, tags, ...): "
                f"{some}. A pseudonym replaces user_id alone; erase --run takes such a run away"
            )
        return "\n".join(lines)


def survey(database: Database[Document], erasures: Erasures, purge: Purge, request: Request) -> Survey:
    """Count what there is, and change nothing; raise what `answering` and `Purge.count` raise."""
    names = erasures.names(request.kind, request.name) if request.action == ERASE else [request.name]
    with answering():
        runs = [request.name] if request.kind == RUN else runs_of(database, names)
        erasing = request.action == ERASE
        of_runs = {"run_id": {"$in": runs}}
        of_user = {} if erasing else {"user_id": request.name}
        in_windows = {} if erasing else {"aggregate.context.user_id": request.name}
        summaries = list(store.with_ids(database[store.TRAINING_RUN_SUMMARY], runs))
        counts = {
            store.TRAINING_RUN_SUMMARY: len(summaries),
            store.TRAINING_METRICS: database[store.TRAINING_METRICS].count_documents(of_runs | of_user),
            store.AGGREGATED_METRICS: database[store.AGGREGATED_METRICS].count_documents(of_runs | in_windows),
        }
        mentions = Mentions(names=() if request.kind == RUN else names, runs=runs if erasing else ())
        rejected = database[store.REJECTED_EVENTS].find({}, batch_size=100)
        counts[store.REJECTED_EVENTS] = sum(is_rejected_of(mentions, one) for one in rejected)
    for topic, named, replace in topics_named(mentions, lambda _: set()):
        counts[topic] = purge.count(topic, named, keyed=replace is not None)
    elsewhere = [one["_id"] for one in summaries if request.kind != RUN and _is_elsewhere(request.name, one)]
    return Survey(counts, elsewhere)


class Errand:
    """Has a request done: by the stream if one runs, else here."""

    def __init__(
        self,
        database: Database[Document],
        erasures: Erasures,
        eraser: Callable[[], Eraser],
        alone: Alone,
        *,
        silence: datetime.timedelta,
        now: Callable[[], datetime.datetime],
        clock_s: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        """``silence`` is how long a stream that runs never goes without a report in pipeline_health."""
        self._database = database
        self._erasures = erasures
        self._eraser = eraser
        self._alone = alone
        self._silence = silence
        self._now = now
        self._clock_s = clock_s
        self._wait = wait

    def run(self, request: Request, *, patience_s: float, tell: Callable[[str], None]) -> Document | None:
        """Return what was remembered of it once it is done, none where that takes longer than ``patience_s``.

        Raises what `Erasures.ask` and `Eraser.step` raise. Running it again goes on.
        """
        marker = self._erasures.ask(request.action, request.kind, request.name, self._now())
        until_s, told = self._clock_s() + patience_s, False
        while True:
            found = self._erasures.find(marker)
            if found["done_at"] is not None:
                return found
            with self._alone() as alone:
                if alone and not self._stream_reports():
                    self._do(marker)
                    continue
            if not told:
                tell("a stream runs on this store: it does it between two batches")
                told = True
            if self._clock_s() >= until_s:
                return None
            self._wait(_POLL_S)

    def _do(self, marker: str) -> None:
        eraser = self._eraser()
        while self._erasures.find(marker)["done_at"] is None and eraser.step(self._now()):
            pass

    def _stream_reports(self) -> bool:
        """Return whether a stream has lately said how it does, perhaps one with another checkpoint folder."""
        with answering():
            health = self._database[store.PIPELINE_HEALTH].find_one({"_id": store.STREAMING}, {"figures.at": 1}) or {}
        at = health.get("figures", {}).get("at")
        return at is not None and self._now() - at < self._silence


def done_text(done: Mapping[str, Any]) -> str:
    """Return what was done, and what is beyond our reach, as lines for a person."""
    word = "erased" if done["action"] == ERASE else f"pseudonym {done['pseudonym']}"
    counts = (
        ", ".join(f"{name} {count}" for name, count in sorted(done.get("counts", {}).items())) or "nothing was there"
    )
    gone = done["asked_at"] + _RETENTION
    return (
        f"done ({word}): {counts}\n"
        f"What comes again, or anew, is {'dropped' if done['action'] == ERASE else 'given the pseudonym'}. "
        f"Beyond reach: {kafka.TRAINING_EVENTS} holds its messages until {gone:%Y-%m-%d}, or as long as its retention "
        "says; Spark's checkpoint, logs, backups, and spools on training machines: see the service's README"
    )


def as_table(remembered: list[Document]) -> str:
    """Return what was asked for, a line each, without any name."""
    lines = [f"{'asked':<21}{'done':<21}{'action':<14}{'of':<6}{'digest':<18}counts"]
    for one in remembered:
        kind, _, digest = one["_id"].partition("|")
        lines.append(
            f"{one['asked_at']:%Y-%m-%d %H:%M:%S}  {_time(one['done_at'])}  {one['action']:<14}{kind:<6}"
            f"{digest[:16]}  {_counts(one)}".rstrip()
        )
    return "\n".join(lines)


def _counts(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(one.get("counts", {}).items()))


def _time(at: datetime.datetime | None) -> str:
    return "not yet".ljust(19) if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _is_elsewhere(name: str, summary: Mapping[str, Any]) -> bool:
    """Return whether a run's summary has a user's name anywhere but as its user, in whatever case, also as a part."""
    return any(name.casefold() in text.casefold() for text in _texts(summary))


def _texts(value: object, field: str = "") -> list[str]:
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() for text in [key, *_texts(inner, key)]]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) and field != "user_id" else []
