"""Erases runs and users, or gives users a pseudonym, in all collections and in the topics that the stream writes.

What is left to do stands in the store until it is done, so a kill costs nothing: the next step goes on. Each piece is
safe to repeat.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

from pymongo.database import Database

from wattline_common import kafka, store
from wattline_common.store import HOUR_S, SETTLEMENT, Document
from wattline_common.store_errors import answering
from wattline_streaming import compose
from wattline_streaming.erasures import ERASE, RUN, Erasures
from wattline_streaming.mentions import Mentions
from wattline_streaming.purge import Named, Replace, headers_of
from wattline_streaming.rollups import roll_up
from wattline_streaming.windows import is_whole, stored_row

__all__ = ["Eraser", "Topics", "is_rejected_of", "runs_of", "topics_named"]

_LOG = logging.getLogger(__name__)
_MOST_EVENTS = 5_000  # deleted or changed at once
_REJECTED_TOGETHER = 100  # messages of up to a megabyte each
_STEP_S = 2.0  # after this long a step leaves the rest to the next


class _AskedAnewError(Exception):
    """What is worked on was replaced by another request meanwhile."""


_Sink = Callable[[list[Document], Mapping[str, int]], None]


class Topics(Protocol):
    """Takes messages out of topics."""

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions."""

    def run(self, topic: str, partition: int, named: Named, replace: Replace | None = None) -> int:
        """Take out the messages that name somebody, publish with ``replace`` what is right now; return how many."""


class Eraser:
    """Does what `Erasures.ask` was asked, a bounded piece a step.

    Its caller keeps it, the ledger and the settler from running at the same time.
    """

    def __init__(
        self,
        database: Database[Document],
        erasures: Erasures,
        topics: Topics,
        sink: _Sink,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._asked = database[store.ERASURES]
        self._raw = database[store.TRAINING_METRICS]
        self._windows = database[store.AGGREGATED_METRICS]
        self._summaries = database[store.TRAINING_RUN_SUMMARY]
        self._erasures = erasures
        self._topics = topics
        self._sink = sink
        self._clock_s = clock_s

    def step(self, now: datetime.datetime) -> bool:
        """Go on with the oldest that is not done, for about two seconds; return whether there was anything to do.

        Raises what `answering` and `Topics` raise; whatever was done by then is right, and the next step goes on.
        """
        with answering():
            asked = self._asked.find_one({"done_at": None, "work": {"$ne": None}}, sort=[("asked_at", 1)])
            if asked is None:
                return False
            until_s = self._clock_s() + _STEP_S
            try:
                self._find_runs(asked, now)
                if self._work_on_runs(asked, until_s) and self._purge(asked, until_s, now):
                    self._note(asked, {"$set": {"done_at": now}, "$unset": {"work": ""}})
                    _LOG.info("%s is done: %s", asked["action"], asked["_id"])
            except _AskedAnewError:
                _LOG.info("%s was replaced by another request: %s", asked["action"], asked["_id"])
            return True

    def _note(self, asked: Document, change: Document) -> None:
        """Write down how far it is; raise `_AskedAnewError` when there is another request by now, with all to do."""
        of_request = {"_id": asked["_id"], "request": asked.get("request")}
        if not self._asked.update_one(of_request, change).matched_count:
            raise _AskedAnewError

    def _find_runs(self, asked: Document, now: datetime.datetime) -> None:
        """Note the runs that it is about; those to be erased are remembered, too, for what others have in them."""
        work = asked["work"]
        if "runs" not in work:
            of_run = asked["_id"].startswith(f"{RUN}|")
            work["runs"] = work["names"] if of_run else runs_of(self._database, work["names"])
            if asked["action"] == ERASE and not of_run:
                self._erasures.remember_runs(work["runs"], part_of=asked["_id"], now=now)
            self._note(asked, {"$set": {"work.runs": work["runs"], "work.runs_done": 0}})
            work["runs_done"] = 0

    def _work_on_runs(self, asked: Document, until_s: float) -> bool:
        """Erase or rename run after run; return whether all are done."""
        work = asked["work"]
        for number in range(work["runs_done"], len(work["runs"])):
            run_id = work["runs"][number]
            work_on = self._erase if asked["action"] == ERASE else self._rename
            if not work_on(asked, run_id, until_s):
                return False
            self._note(asked, {"$set": {"work.runs_done": number + 1}})
            if self._clock_s() >= until_s:
                return False
        return True

    def _erase(self, asked: Document, run_id: str, until_s: float) -> bool:
        """Delete all of a run, its events first, so that nothing folds windows anew; compose rollups without it."""
        of_run = {"run_id": run_id}
        self._database[store.DIRTY_WINDOWS].delete_many(of_run)
        while ids := self._some_events(of_run):
            self._count(asked, store.TRAINING_METRICS, self._raw.delete_many({"_id": {"$in": ids}}).deleted_count)
            if self._clock_s() >= until_s:
                return False
        starts = list(self._starts(run_id))
        self._count(asked, store.AGGREGATED_METRICS, self._windows.delete_many(of_run).deleted_count)
        roll_up(self._database, starts)
        deleted = self._summaries.delete_one({"_id": run_id}).deleted_count
        self._count(asked, store.TRAINING_RUN_SUMMARY, deleted)
        return True

    def _rename(self, asked: Document, run_id: str, until_s: float) -> bool:
        """Write the pseudonym wherever a run's documents have the name, and compose its rollups anew."""
        (name,), pseudonym = asked["work"]["names"], asked["pseudonym"]
        while ids := self._some_events({"run_id": run_id, "user_id": name}):
            changed = self._raw.update_many({"_id": {"$in": ids}}, {"$set": {"user_id": pseudonym}})
            self._count(asked, store.TRAINING_METRICS, changed.modified_count)
            if self._clock_s() >= until_s:
                return False
        in_windows = "aggregate.context.user_id"
        changed = self._windows.update_many({"run_id": run_id, in_windows: name}, {"$set": {in_windows: pseudonym}})
        self._count(asked, store.AGGREGATED_METRICS, changed.modified_count)
        roll_up(self._database, self._starts(run_id))
        summary = self._summaries.find_one({"_id": run_id}) or {}
        paths = list(_paths_of(name, summary))
        if paths:
            self._summaries.update_one({"_id": run_id}, {"$set": dict.fromkeys(paths, pseudonym)})
            self._count(asked, store.TRAINING_RUN_SUMMARY, 1)
        return True

    def _some_events(self, wanted: Document) -> list[str]:
        return [event["_id"] for event in self._raw.find(wanted, {"_id": 1}).limit(_MOST_EVENTS)]

    def _starts(self, run_id: str) -> Iterator[tuple[str, int]]:
        """Yield run and start of what its rollups hold: of its windows, and of hours whose windows are gone already."""
        rollups, hours = self._database[store.AGGREGATED_ROLLUPS], {"dimension": compose.RUN, "length_s": HOUR_S}
        for collection, wanted in (
            (self._windows, {"run_id": run_id}),
            (rollups, {**hours, "key": run_id}),
        ):
            for one in collection.find(wanted, {"window_start": 1}):
                if isinstance(start := one.get("window_start"), datetime.datetime):
                    yield run_id, round(start.timestamp() * 1_000_000)

    def _purge(self, asked: Document, until_s: float, now: datetime.datetime) -> bool:
        """Take what names somebody out of the rejected messages, and out of our topics; return whether all is done."""
        work = asked["work"]
        erasing = asked["action"] == ERASE
        of_run = asked["_id"].startswith(f"{RUN}|")
        mentions = Mentions(names=() if of_run else work["names"], runs=work["runs"] if erasing else ())
        self._purge_rejected(asked, mentions, now)
        done = set(work.get("places_done", ()))
        for topic, named, replace in topics_named(mentions, self._publish_again):
            for partition in self._topics.partitions(topic):
                place = f"{topic}:{partition}"
                if place in done:
                    continue
                self._count(asked, topic.replace(".", "_"), self._topics.run(topic, partition, named, replace))
                self._note(asked, {"$addToSet": {"work.places_done": place}})
                if self._clock_s() >= until_s:
                    return False
        return True

    def _purge_rejected(self, asked: Document, mentions: Mentions, now: datetime.datetime) -> None:
        """Delete rejected messages; their places are remembered first, as the topic may bring them again."""
        collection, ids = self._database[store.REJECTED_EVENTS], list[str]()
        for one in collection.find({}, batch_size=_REJECTED_TOGETHER):
            if is_rejected_of(mentions, one):
                ids.append(one["_id"])
        for at in range(0, len(ids), _MOST_EVENTS):
            some = ids[at : at + _MOST_EVENTS]
            self._erasures.remember_places(some, now)
            self._count(asked, store.REJECTED_EVENTS, collection.delete_many({"_id": {"$in": some}}).deleted_count)

    def _publish_again(self, window_ids: Set[str]) -> set[str]:
        windows = list(filter(is_whole, store.with_ids(self._windows, sorted(window_ids))))
        settlements = {window["_id"]: window["aggregate"]["revision"] // SETTLEMENT for window in windows}
        self._sink([stored_row(window) for window in windows], settlements)
        return set(settlements)

    def _count(self, asked: Document, what: str, number: int) -> None:
        if number:
            self._note(asked, {"$inc": {f"counts.{what}": number}})


def topics_named(mentions: Mentions, replace: Replace) -> list[tuple[str, Named, Replace | None]]:
    """Return the topics that the stream writes, with which messages name somebody, and how their keys are put right."""
    return [
        (
            kafka.TRAINING_EVENTS_REJECTED,
            lambda message: mentions.in_message(message.key(), message.value(), headers_of(message)),
            None,
        ),
        (
            kafka.TRAINING_AGGREGATES,
            lambda message: mentions.in_key(message.key()) or mentions.by_name(message.value()),
            replace,
        ),
    ]


def is_rejected_of(mentions: Mentions, rejected: Mapping[str, Any]) -> bool:
    """Return whether a document of rejected_events names somebody."""
    headers = [(header["k"], header["v"]) for header in rejected["headers"]]
    detail = rejected["detail"].encode(errors="replace")
    return mentions.in_message(rejected["key"], rejected["value"], headers) or mentions.in_bytes(detail)


def runs_of(database: Database[Document], names: Sequence[str]) -> list[str]:
    """Return the runs of which anything names a user, in order: raw events, summaries, windows or rollups."""
    among = {"$in": list(names)}
    raw = database[store.TRAINING_METRICS].aggregate([{"$match": {"user_id": among}}, {"$group": {"_id": "$run_id"}}])
    runs = {one["_id"] for one in raw}
    for summary in database[store.TRAINING_RUN_SUMMARY].find({}, {"user_id": 1, "sources": 1}):
        if any(True for name in names for _ in _paths_of(name, summary)):
            runs.add(summary["_id"])
    windows = database[store.AGGREGATED_METRICS].find({"aggregate.context.user_id": among}, {"run_id": 1})
    runs |= {window["run_id"] for window in windows}
    hours = {"dimension": compose.RUN, "length_s": HOUR_S, "keys.user_id": among}
    runs |= {hour["key"] for hour in database[store.AGGREGATED_ROLLUPS].find(hours, {"key": 1})}
    return sorted(runs)


def _paths_of(name: str, summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a summary has a user's name."""
    if summary.get("user_id") == name:
        yield "user_id"
    for source_id, source in summary.get("sources", {}).items():
        if source.get("context", {}).get("user_id") == name:
            yield f"sources.{source_id}.context.user_id"
