"""Promises of erasure and pseudonyms on the real store: nothing of somebody left, all of everybody else's as it was."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import bson
import pytest
from confluent_kafka import Message
from pymongo.database import Database
from pymongo.errors import AutoReconnect
from pyspark.sql import SparkSession

from tests.collections_equal import Contents, collections_difference, contents
from tests.events import START, run_events, sample
from tests.integration.store_line import DELAY, QUIET, Line, message
from wattline_common import store
from wattline_common.errors import ConfigurationError, StopError, StoreUnavailableError
from wattline_common.events import Event
from wattline_common.store import Document
from wattline_streaming import erase
from wattline_streaming.audit import audit
from wattline_streaming.erase import Eraser
from wattline_streaming.erasures import ERASE, PSEUDONYMISE, RUN, USER, Erasures, censored
from wattline_streaming.retention import Retainer
from wattline_streaming.windows import stored_row

pytestmark = pytest.mark.timeout(600)

NAME, OTHER = "Ada Lovelace", "bob"
SAMPLES = 4
WRITES = {"insert_one", "insert_many", "update_one", "update_many", "delete_one", "delete_many", "bulk_write"}


class NoTopics:
    """Two topics of one partition each, without messages; it tells who is looked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def partitions(self, _: str) -> list[int]:
        """Return one."""
        return [0]

    def run(self, topic: str, partition: int, _: Callable[[Message], bool], __: object = None) -> int:
        """Note that it was asked."""
        self.asked.append((topic, partition))
        return 0


class MortalStore:
    """A real database that goes away at a write: before it is done, or after, which nobody is told."""

    def __init__(self, database: Database[Document], *, dies_at: int, done: bool) -> None:
        self._database, self._dies_at, self._done = database, dies_at, done
        self.writes = 0

    def __getitem__(self, name: str) -> Any:
        """Return a collection whose writes count."""
        return _MortalCollection(self, self._database[name])

    def write(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Do a write, or die."""
        self.writes += 1
        dies = self.writes > self._dies_at
        if dies and not self._done:
            raise AutoReconnect("killed")
        result = call(*arguments, **options)
        if dies:
            raise AutoReconnect("killed")
        return result


class _MortalCollection:
    def __init__(self, owner: MortalStore, collection: Any) -> None:
        self._owner, self._collection = owner, collection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._collection, name)
        return (lambda *args, **options: self._owner.write(found, *args, **options)) if name in WRITES else found


def of(user_id: str, events: Sequence[Event]) -> list[Event]:
    """Return the events as another user's."""
    return [dataclasses.replace(event, user_id=user_id) for event in events]


def his(name: str = NAME) -> list[Event]:
    """Return the events of two runs of one user, the second of which goes on."""
    later = START + datetime.timedelta(minutes=3)
    runs = [run_events("his-1", samples=SAMPLES), run_events("his-2", samples=SAMPLES, start=later, finished=False)]
    return of(name, [event for events in runs for event in events])


def others() -> list[Event]:
    """Return the events of another user's run, in the same hour."""
    return of(OTHER, run_events("others", samples=SAMPLES, seed=1))


def bad(name: str = NAME) -> list[bytes]:
    """Return messages of a user that are rejected: one can be read, one cannot."""
    worse = sample(run_id="his-1", user_id=name, seq=90, interval_s=-1.0)
    return [message(worse), message(sample(run_id="his-1", user_id=name, seq=91))[:-3]]


def eraser(line: Line, database: object = None, erasures: Erasures | None = None) -> Eraser:
    """Return an eraser of a line's store."""
    used = cast(Database[Document], database or line.database)
    memory = erasures or Erasures(used)
    return Eraser(used, memory, NoTopics(), censored(line.write, memory))


def done(line: Line, action: str, kind: str, name: str) -> Document:
    """Have it done; return what is remembered of it."""
    marker = line.erasures.ask(action, kind, name, line.now)
    finish(line)
    return line.erasures.find(marker)


def finish(line: Line) -> None:
    """Take an eraser's steps to their end."""
    working = eraser(line)
    while working.step(line.now):
        pass


def settle(line: Line) -> None:
    """Let everything become due, and settle it."""
    line.now = max(line.now, START) + datetime.timedelta(minutes=20) + DELAY
    line.settler.step(line.now)


def traces(database: Database[Document], name: str) -> list[str]:
    """Return the documents of any collection that have a name in their bytes."""
    found = []
    for collection in database.list_collection_names():
        found += [
            f"{collection}/{one['_id']}" for one in database[collection].find() if name.encode() in bson.encode(one)
        ]
    return found


def rollups(database: Database[Document]) -> dict[str, Document]:
    """Return all hours and days, without their revision."""
    return {one["_id"]: one for one in database[store.AGGREGATED_ROLLUPS].find()}


def kept(database: Database[Document]) -> tuple[Contents, dict[str, Document]]:
    """Return all that a store holds of events."""
    return contents(database, same_topic=False), rollups(database)


def differing_rollups(some: Mapping[str, Document], others: Mapping[str, Document]) -> list[str]:
    """Return the hours and days that differ by more than rounding, as sums of windows that were folded twice may."""
    return [
        key
        for key in sorted(some.keys() | others.keys())
        if key not in some or key not in others or not _alike(some[key], others[key])
    ]


def _alike(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


def check_same(one: Database[Document], other: Database[Document]) -> None:
    """Hold two stores to the same collections and rollups, and both audits to be clean."""
    (found, made), (wanted, right) = kept(one), kept(other)
    assert collections_difference(found, wanted) is None
    assert differing_rollups(made, right) == []
    for database in (one, other):
        told = audit(database)
        assert told.clean, told.as_text()


def deliver_all(line: Line, name: str = NAME) -> None:
    """Deliver the topic from its start: his, another's, and what is bad."""
    line.consume(his(name), offset=0)
    line.consume(others(), offset=100)
    line.consume_bytes(bad(name), offset=200)


@pytest.fixture
def other_database(database: Database[Document]) -> Iterator[Database[Document]]:
    """Give a second empty database beside the first."""
    other = database.client[f"{database.name}_other"]
    store.ensure(other)
    yield other
    database.client.drop_database(other.name)


@pytest.fixture
def line(database: Database[Document], spark: SparkSession) -> Line:
    """Give a line that has everything, settled."""
    made = Line(database, spark)
    deliver_all(made)
    settle(made)
    assert traces(database, NAME)
    assert database[store.REJECTED_EVENTS].count_documents({}) == len(bad())
    return made


@pytest.fixture
def without(other_database: Database[Document], spark: SparkSession) -> Line:
    """Give a line to which he never came."""
    made = Line(other_database, spark)
    made.consume(others(), offset=100)
    settle(made)
    return made


def test_an_erased_user_leaves_nothing_and_nothing_of_others_changes(line: Line, without: Line) -> None:
    """Neither name nor runs are in any document; every other one, rollups too, is as if he had never come."""
    told = done(line, ERASE, USER, NAME)
    assert [traces(line.database, name) for name in (NAME, "his-1", "his-2")] == [[], [], []]
    check_same(line.database, without.database)
    assert told["counts"] == {
        store.TRAINING_RUN_SUMMARY: 2,
        store.TRAINING_METRICS: len(his()),
        store.AGGREGATED_METRICS: 2,
        store.REJECTED_EVENTS: 2,
    }
    assert (told["done_at"], "work" in told) == (line.now, False)
    assert not eraser(line).step(line.now), "nothing is left to do"


def test_a_replay_of_the_topic_brings_nothing_back(line: Line, without: Line) -> None:
    """After a lost checkpoint all messages come again, also what was rejected; a run that went on goes on in vain."""
    done(line, ERASE, USER, NAME)
    deliver_all(line)
    further = sample(run_id="his-2", user_id=NAME, seq=50, timestamp=line.now)
    assert line.consume([further, sample(run_id="his-3", user_id=NAME)], offset=300) == 0
    settle(line)
    assert [traces(line.database, name) for name in (NAME, "his-1", "his-2", "his-3")] == [[], [], [], []]
    assert line.database[store.REJECTED_EVENTS].count_documents({}) == 0
    check_same(line.database, without.database)
    assert line.rejected["erased"] == len(his()) + len(bad()) + 2


def test_an_erased_run_goes_alone(line: Line) -> None:
    """Its user's other run stays, and what is new of it is taken."""
    told = done(line, ERASE, RUN, "his-1")
    assert traces(line.database, "his-1") == []
    assert line.consume(his(), offset=0) > 0, "the other run's events pass on in a replay, as they are the first"
    deliver_all(line)
    settle(line)
    assert traces(line.database, "his-1") == []
    assert {run["_id"] for run in line.database[store.TRAINING_RUN_SUMMARY].find()} == {"his-2", "others"}
    assert audit(line.database).clean, audit(line.database).as_text()
    assert told["counts"][store.TRAINING_RUN_SUMMARY] == 1


def test_a_run_of_two_users_goes_whole(line: Line) -> None:
    """What is left of a run would be no run; a replay does not bring the other's part of it back."""
    mixed = of(OTHER, run_events("his-1", source_id="second", samples=SAMPLES, seed=2))
    line.consume(mixed, offset=500)
    settle(line)
    done(line, ERASE, USER, NAME)
    assert line.consume(mixed, offset=500) == 0
    settle(line)
    assert traces(line.database, "his-1") == []
    assert audit(line.database).clean


def test_a_pseudonym_changes_the_name_and_nothing_else(
    line: Line, other_database: Database[Document], spark: SparkSession
) -> None:
    """The store is as if he had always had it; so it stays for what comes again, and for what is new."""
    told = done(line, PSEUDONYMISE, USER, NAME)
    pseudonym = told["pseudonym"]
    assert traces(line.database, NAME) == []
    named = Line(other_database, spark)
    named.consume(his(pseudonym), offset=0)
    named.consume(others(), offset=100)
    settle(named)
    check_same(line.database, other_database)
    new = [sample(run_id="his-3", user_id=NAME, timestamp=START), sample(run_id="his-3", user_id=OTHER, seq=2)]
    deliver_all(line)
    assert line.consume(new, offset=600) == len(new)
    settle(line)
    assert traces(line.database, NAME) == []
    named.consume([dataclasses.replace(new[0], user_id=pseudonym), new[1]], offset=600)
    settle(named)
    check_same(line.database, other_database)


@pytest.mark.parametrize("by_pseudonym", [True, False])
def test_who_has_a_pseudonym_can_be_erased_by_either_name(line: Line, without: Line, by_pseudonym: bool) -> None:
    """The one that the dashboard shows, or his own; what comes by his own is dropped in both cases."""
    pseudonym = done(line, PSEUDONYMISE, USER, NAME)["pseudonym"]
    done(line, ERASE, USER, pseudonym if by_pseudonym else NAME)
    deliver_all(line)
    settle(line)
    assert traces(line.database, NAME) == []
    assert [one for one in traces(line.database, pseudonym) if not one.startswith(store.ERASURES)] == []
    check_same(line.database, without.database)
    if not by_pseudonym:
        with pytest.raises(ConfigurationError, match="erased already"):
            line.erasures.ask(PSEUDONYMISE, USER, NAME, line.now)


@pytest.mark.parametrize("place", [1, 2])
def test_what_is_asked_for_meanwhile_is_done_whole(line: Line, without: Line, place: int) -> None:
    """An erasure over a pseudonym under way: what that step notes at its end is not taken for the erasure's."""

    class Asking(NoTopics):
        def run(self, topic: str, partition: int, _: Callable[[Message], bool], __: object = None) -> int:
            super().run(topic, partition, _)
            if len(self.asked) == place:
                line.erasures.ask(ERASE, USER, NAME, line.now)
            return 0

    marker = line.erasures.ask(PSEUDONYMISE, USER, NAME, line.now)
    topics = Asking()
    working = Eraser(line.database, line.erasures, topics, censored(line.write, line.erasures))
    while working.step(line.now):
        pass
    assert len(topics.asked) == place + 2, "all places are looked through for the erasure"
    assert line.erasures.find(marker)["done_at"] is not None
    deliver_all(line)
    settle(line)
    check_same(line.database, without.database)


@pytest.mark.parametrize("action", [ERASE, PSEUDONYMISE])
def test_runs_without_raw_events_are_erased_and_renamed_too(line: Line, action: str) -> None:
    """Windows are what is left of them; the groups' hours are composed of those of everybody else."""
    settle(line)
    line.now += datetime.timedelta(days=30) + QUIET
    Retainer(line.database, age=datetime.timedelta(days=30)).step(line.now)
    assert line.database[store.TRAINING_METRICS].count_documents({"run_id": "his-1"}) == 0
    before = sum(one["aggregate"]["energy_kwh"] for one in line.database[store.AGGREGATED_METRICS].find())
    done(line, action, USER, NAME)
    line.consume(his(), offset=0)
    settle(line)
    assert traces(line.database, NAME) == []
    told = audit(line.database)
    assert told.clean, told.as_text()
    after = sum(one["aggregate"]["energy_kwh"] for one in line.database[store.AGGREGATED_METRICS].find())
    assert (after == before) is (action == PSEUDONYMISE)


def test_windows_that_sparks_state_still_has_are_censored(line: Line) -> None:
    """A row of the fast path with the old name, or of an erased run, as a later batch may write it."""
    windows = list(line.database[store.AGGREGATED_METRICS].find())
    rows = [stored_row(window) for window in windows]
    pseudonym = done(line, PSEUDONYMISE, USER, NAME)["pseudonym"]
    done(line, ERASE, RUN, "his-1")
    censored(line.write, line.erasures)([row | {"events": row["events"] + 1} for row in rows], {})
    found = {one["run_id"]: one["aggregate"] for one in line.database[store.AGGREGATED_METRICS].find()}
    assert found.keys() == {"his-2", "others"}
    assert found["his-2"]["context"]["user_id"] == pseudonym
    assert found["others"]["context"]["user_id"] == OTHER


def test_another_key_stops_everything(line: Line) -> None:
    """Without the key nothing erased is recognised: the ledger must not go on, nor a command."""
    done(line, ERASE, USER, NAME)
    with pytest.raises(StopError, match="Unset it as it was then"):
        Erasures(line.database, "k" * 32).look_up((), ())


def test_a_key_of_ones_own_is_not_in_the_store(database: Database[Document]) -> None:
    """Only its check is; who has the store alone cannot try names out."""
    secret = "a long random text, " * 2
    memory = Erasures(database, secret)
    marker = memory.ask(ERASE, USER, NAME, START)
    assert traces(database, secret) == []
    assert Erasures(database, secret).look_up((), (NAME,)).is_erased(None, NAME)
    with pytest.raises(StopError, match="Set it as it was then"):
        Erasures(database).look_up((), (NAME,))
    assert NAME not in marker


def snapshot(database: Database[Document]) -> dict[str, list[Document]]:
    """Return all documents."""
    return {name: list(database[name].find()) for name in database.list_collection_names()}


def restore(database: Database[Document], documents: Mapping[str, list[Document]]) -> None:
    """Put a database back to a snapshot."""
    for name in database.list_collection_names():
        database[name].delete_many({})
    for name, some in documents.items():
        if some:
            database[name].insert_many(some)


@pytest.mark.parametrize("action", [ERASE, PSEUDONYMISE])
def test_a_kill_at_any_write_ends_the_same(line: Line, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    """Before or after each write that there is; the topic comes again meanwhile, and a restart ends it."""
    monkeypatch.setattr(erase, "_MOST_EVENTS", 7)
    before = snapshot(line.database)
    line.erasures.key()
    key = snapshot(line.database)[store.ERASURES]
    done(line, action, USER, NAME)
    right, end = kept(line.database), json.dumps(snapshot(line.database)[store.REJECTED_EVENTS], default=str)
    deaths = 0
    for dies_at, is_done in ((number, is_done) for number in itertools.count() for is_done in (False, True)):
        restore(line.database, {**before, store.ERASURES: key})
        mortal = MortalStore(line.database, dies_at=dies_at, done=is_done)
        memory = Erasures(cast(Database[Document], mortal))
        try:
            memory.ask(action, USER, NAME, line.now)
            working = eraser(line, mortal, memory)
            while working.step(line.now):
                pass
        except StoreUnavailableError:
            deaths += 1
        else:
            break
        deliver_all(line)
        line.erasures.ask(action, USER, NAME, line.now)
        finish(line)
        line.database[store.DIRTY_WINDOWS].delete_many({})  # settling them is another test's
        assert traces(line.database, NAME) == [], (dies_at, is_done)
        found = kept(line.database)
        assert collections_difference(found[0], right[0]) is None, (dies_at, is_done)
        assert differing_rollups(found[1], right[1]) == [], (dies_at, is_done)
        assert json.dumps(snapshot(line.database)[store.REJECTED_EVENTS], default=str) == end
    assert deaths > 2 * 10
