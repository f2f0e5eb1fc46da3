"""Promises of the rollups on the real store: made as windows settle, just where they changed, through every crash."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.database import Database
from pymongo.errors import AutoReconnect, PyMongoError
from pyspark.sql import SparkSession

from tests.events import START, run_events
from tests.windows import MIDNIGHT, histories, window
from wattline_common import store
from wattline_common.errors import StoreUnavailableError
from wattline_common.events import Event
from wattline_common.store import DAY_S, HOUR_S, Document
from wattline_streaming import rollups
from wattline_streaming.audit import audit
from wattline_streaming.books import Books, KafkaPosition, RawEvent, Rejection
from wattline_streaming.rollups import differences, rebuild, roll_up
from wattline_streaming.settle import Settler
from wattline_streaming.sink import update_window

DELAY = datetime.timedelta(seconds=30)
QUIET = datetime.timedelta(seconds=5)
HOUR = datetime.timedelta(hours=1)


class NoTopic:
    """A rejected topic that nothing is sent to."""

    def send(self, rejections: Iterable[Rejection]) -> None:
        """Refuse what a test must not bring about."""
        assert not list(rejections)


class Line:
    """Books and settler on one database; time is when all that was delivered is due."""

    def __init__(self, database: Database[Document], spark: SparkSession) -> None:
        self.database = database
        self.now = START
        self._offset = 0
        clock = {"settle_delay": DELAY, "quiet": QUIET, "now": lambda: self.now}
        self.books = Books(database, NoTopic(), cluster_id="cluster", **clock)  # type: ignore[arg-type]  # a map of all
        self.settler = Settler(database, spark, self._write)

    def _write(self, rows: list[Document], settlements: Mapping[str, int]) -> None:
        self.database[store.AGGREGATED_METRICS].bulk_write([update_window(row, settlements) for row in rows])

    def deliver(self, *events: Event) -> None:
        """Book the events and let their windows come due."""
        raw = []
        for event in events:
            timestamp_us = round(event.timestamp.timestamp() * 1_000_000)
            self._offset += 1
            raw.append(
                RawEvent(
                    id=store.event_id(event.run_id, event.source_id, event.seq),
                    record_name=type(event).__name__,
                    schema_id=1,
                    fields=event.to_avro(),
                    timestamp_us=timestamp_us,
                    window_id=store.window_id(event.run_id, store.window_start_us(timestamp_us)),
                    position=KafkaPosition(0, self._offset, self.now),
                )
            )
        self.books.book(raw)
        self.now = max(self.now, *(event.timestamp for event in events)) + datetime.timedelta(minutes=1) + DELAY

    def settle(self) -> None:
        """Settle all that is due."""
        self.settler.step(self.now)


@pytest.fixture
def line(database: Database[Document], spark: SparkSession) -> Line:
    """Give a line on an empty database."""
    return Line(database, spark)


def stored(database: Database[Document], **condition: Any) -> dict[str, Document]:
    """Return the stored rollups by id."""
    return {each["_id"]: each for each in database[store.AGGREGATED_ROLLUPS].find(condition)}


def keys_of(windows: Iterable[Document]) -> list[tuple[str, int]]:
    """Return run and start of windows, as marks name them."""
    return [(each["run_id"], round(each["window_start"].timestamp()) * 1_000_000) for each in windows]


def changed(event: Event, **fields: Any) -> Event:
    """Return a copy of an event with other fields."""
    return type(event)(**({name: getattr(event, name) for name in type(event).__slots__} | fields))


def test_settling_makes_hours_and_days(line: Line) -> None:
    """Two runs that cross an hour: each dimension has its hours and its day, which sum to the raw events."""
    start = START - datetime.timedelta(seconds=30)
    events = [*run_events("one", samples=60, start=start), *run_events("two", samples=45, start=start, seed=1)]
    line.deliver(*events)
    assert stored(line.database) == {}, "nothing is settled yet"
    line.settle()
    energies = [event.to_avro().get("energy_kwh") or 0.0 for event in events]
    for dimension, days in (("run_id", 2), ("user_id", 1), ("project", 1), ("model_name", 1), ("region_iso", 1)):
        found = stored(line.database, dimension=dimension, length_s=DAY_S)
        hours = stored(line.database, dimension=dimension, length_s=HOUR_S)
        assert (len(found), len(hours)) == (days, 2 * days)
        for level in (found, hours):
            kwh = math.fsum(each["aggregate"]["energy_kwh"] for each in level.values())
            assert kwh == pytest.approx(math.fsum(energies), rel=1e-9)
            assert sum(each["aggregate"]["events"] for each in level.values()) == len(events)
    (ada,) = stored(line.database, dimension="user_id", length_s=DAY_S).values()
    assert ada["key"] == "ada"
    assert (ada["aggregate"]["runs"], ada["aggregate"]["interval_s"]) == (2, 105.0)
    assert ada["aggregate"]["power_avg_w"] == pytest.approx(math.fsum(energies) * 3.6e6 / 105, rel=1e-9)
    cpu = [event.to_avro()["cpu_utilization_pct"] for event in events if "cpu_utilization_pct" in event.to_avro()]
    assert ada["aggregate"]["cpu_utilization_avg_pct"] == pytest.approx(math.fsum(cpu) / len(cpu), rel=1e-9)
    losses = [event.to_avro()["loss"] for event in events if event.to_avro().get("loss") is not None]
    assert ada["aggregate"]["loss_avg"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-9)
    assert audit(line.database).clean


def test_a_late_event_changes_exactly_what_holds_it(line: Line) -> None:
    """Its run's hour and day and those of its groups; no other hour, run, user or day."""
    events = run_events("run", samples=20)
    line.deliver(*events[:15], *events[16:], *run_events("other", samples=5, start=START + HOUR))
    line.deliver(*(changed(event, user_id="bob") for event in run_events("bobs", samples=5)))
    line.settle()
    before = stored(line.database)
    line.deliver(events[15])
    line.settle()
    after = stored(line.database)
    assert before.keys() == after.keys()
    touched = [(each["dimension"], each["key"], each["length_s"]) for key, each in after.items() if each != before[key]]
    groups = [("run_id", "run"), ("user_id", "ada"), ("project", None), ("model_name", "mlp"), ("region_iso", "FRA")]
    assert sorted(touched, key=str) == sorted(((*g, length_s) for g in groups for length_s in (HOUR_S, DAY_S)), key=str)
    assert all(each["window_start"] < START + HOUR for key, each in after.items() if each != before[key])
    assert audit(line.database).clean


def test_a_run_that_moves_empties_the_group_it_left(line: Line) -> None:
    """A late event that makes a window another user's takes the hour there; the old user's rollups go."""
    events = run_events("run", samples=10)
    line.deliver(*events)
    line.settle()
    assert {each["key"] for each in stored(line.database, dimension="user_id").values()} == {"ada"}
    line.deliver(changed(events[3], user_id="zoe", source_id="other", seq=0))
    line.settle()
    assert {each["key"] for each in stored(line.database, dimension="user_id").values()} == {"zoe"}
    assert len(stored(line.database, dimension="user_id")) == 2
    line.deliver(changed(events[3], user_id="zoe", source_id="third", seq=0, simulated=True))
    line.settle()
    assert {each["simulated"] for each in stored(line.database).values()} == {True}
    assert list(differences(line.database)) == []


def test_doing_it_again_changes_nothing(line: Line) -> None:
    """The same windows rolled up twice, or rebuilt, are the same documents."""
    line.deliver(*run_events("run", samples=70))
    line.settle()
    once = stored(line.database)
    roll_up(line.database, keys_of(line.database[store.AGGREGATED_METRICS].find()))
    assert stored(line.database) == once
    assert rebuild(line.database) == 0


def test_a_crash_before_the_marks_go_costs_a_repeat(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollups are written before marks are removed; a crash in between repeats them, and nothing counts twice."""
    line.deliver(*run_events("run", samples=10))
    with monkeypatch.context() as patch:
        patch.setattr(line.settler, "_remove", _crash)
        with pytest.raises(StoreUnavailableError):
            line.settle()
    once = stored(line.database)
    assert once
    assert line.database[store.DIRTY_WINDOWS].count_documents({}) == 1
    line.settle()
    assert stored(line.database) == once
    assert line.database[store.DIRTY_WINDOWS].count_documents({}) == 0


def _crash(*_: object) -> None:
    raise AutoReconnect("the store went away")


class Histories:
    """Applies changes of windows and rolls them up, with crashes, on one database."""

    def __init__(self, database: Database[Document], monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self._monkeypatch = monkeypatch

    def clear(self) -> None:
        """Start with nothing."""
        for name in (store.AGGREGATED_METRICS, store.AGGREGATED_ROLLUPS):
            self.database[name].delete_many({})

    def change(self, windows: list[Document]) -> None:
        """Put the windows in the place of those before."""
        for each in windows:
            self.database[store.AGGREGATED_METRICS].replace_one({"_id": each["_id"]}, each, upsert=True)

    def roll_up(self, windows: list[Document], *, crash_after: int | None) -> bool:
        """Roll the windows up, or crash after so many writes; return whether it came to its end."""
        writes = _failing_after(crash_after)
        with self._monkeypatch.context() as patch:
            if crash_after is not None:
                real = rollups._Change.write
                patch.setattr(rollups._Change, "write", lambda *its: (next(writes), real(*its)))
            try:
                roll_up(self.database, keys_of(windows))
            except PyMongoError:
                return False
        return True


def _failing_after(writes: int | None) -> Iterator[None]:
    for _ in range(writes or 0):
        yield
    _crash()


def grouped(user_id: str, *, simulated: bool = False) -> list[Document]:
    """Return one window of a run, as the user's."""
    context = dict.fromkeys(("model_name", "region_iso", "project"), "same") | {"user_id": user_id}
    (event, *_) = run_events("run", samples=1)
    figures: Document = dict.fromkeys(store.Aggregate.__annotations__, 1) | dict.fromkeys(store.MEAN_WEIGHTS, 1.0)
    return [window("run", event.timestamp, figures | {"context": context | {"simulated": simulated}})]


@pytest.mark.parametrize("crash_after", range(12))
def test_a_run_that_moves_twice_through_a_crash(
    database: Database[Document], monkeypatch: pytest.MonkeyPatch, crash_after: int
) -> None:
    """However far the first move was written when it was cut short, no group keeps what went on to a third one."""
    at = Histories(database, monkeypatch)
    for number, (user_id, simulated) in enumerate([("ada", False), ("bob", True), ("zoe", False)]):
        at.change(grouped(user_id, simulated=simulated))
        at.roll_up(grouped(user_id), crash_after=crash_after if number == 1 else None)
    assert {each["key"] for each in stored(database, dimension="user_id").values()} == {"zoe"}
    assert list(differences(database)) == []


STEPS = st.lists(st.tuples(histories(6), st.none() | st.integers(0, 11)), max_size=5)


def test_any_history_with_crashes_ends_in_the_windows_rollups(
    database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows that change figures, groups and kind, in any order, with crashes between any two writes and repeats."""
    at = Histories(database, monkeypatch)

    @settings(max_examples=40)
    @given(steps=STEPS)
    def run(steps: list[tuple[list[Document], int | None]]) -> None:
        at.clear()
        marked: dict[str, Document] = {}
        for windows, crash_after in steps:
            at.change(windows)
            marked |= {each["_id"]: each for each in windows}
            if at.roll_up(list(marked.values()), crash_after=crash_after):
                marked.clear()
        at.roll_up(list(marked.values()), crash_after=None)
        assert list(differences(database)) == []
        assert rebuild(database) == 0

    run()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"$set": {"aggregate.energy_kwh": 1.0}}, "has energy_kwh 1.0 and its windows "),
        ({"$set": {"aggregate.events": 3}}, "has events 3 and its windows"),
        ({"$set": {"aggregate.loss_avg": None}}, "has loss_avg None and its windows"),
        ({"$set": {"keys.user_id": ["bob"]}}, "has groups"),
        (None, "is missing; its windows hold"),
    ],
    ids=["energy", "count", "mean", "groups", "gone"],
)
def test_a_damage_is_named_and_rebuilt(line: Line, damage: Document | None, told: str) -> None:
    """Whatever is changed in a rollup the audit says so in words, and a rebuild mends it alone."""
    line.deliver(*run_events("run", samples=10))
    line.settle()
    right = stored(line.database)
    victim = next(key for key in sorted(right) if key.startswith("run_id|"))
    collection = line.database[store.AGGREGATED_ROLLUPS]
    if damage is None:
        collection.delete_one({"_id": victim})
    else:
        assert collection.update_one({"_id": victim}, damage).modified_count == 1
    (said,) = differences(line.database)
    assert said.startswith(f"rollup {victim} {told}")
    found = audit(line.database)
    assert not found.clean
    assert f"DIFFERS: {said}" in found.as_text()
    assert rebuild(line.database) == 1
    assert stored(line.database) == right
    assert audit(line.database).clean


def test_rollups_without_windows_and_windows_without_rollups(line: Line) -> None:
    """A store of an older version has no rollups: a rebuild makes all; what no window backs is removed."""
    line.deliver(*run_events("run", samples=70), *run_events("next-day", start=START + 24 * HOUR))
    line.deliver(*run_events("another", start=START + 72 * HOUR))
    line.settle()
    right = stored(line.database)
    line.database[store.AGGREGATED_ROLLUPS].delete_many({})
    assert len(list(differences(line.database))) == len(right)
    assert "more rollups" in audit(line.database).as_counts()
    assert rebuild(line.database) == len(right)
    assert stored(line.database) == right
    line.database[store.AGGREGATED_METRICS].delete_many({"run_id": "run"})
    assert any(said.endswith("has no windows") for said in differences(line.database))
    rebuild(line.database)
    assert {each["key"] for each in stored(line.database, dimension="run_id").values()} == {"another", "next-day"}
    assert list(differences(line.database)) == []


def test_what_still_waits_to_be_settled_is_no_difference(line: Line) -> None:
    """A rollup with a marked window is left out, as settling will compose it; others are compared."""
    events = run_events("run", samples=10)
    line.deliver(*events, *run_events("elsewhere", start=START - 48 * HOUR))
    line.settle()
    line.database[store.AGGREGATED_METRICS].update_many({}, {"$set": {"aggregate.energy_kwh": 5.0}})
    line.deliver(changed(events[3], source_id="late", seq=0))
    said = list(differences(line.database))
    assert len(said) == 10
    assert all("|2026-02-27T" in each for each in said)


def test_a_years_questions(database: Database[Document]) -> None:
    """All days of a user in a year, and all users on some days of it: each by an index that names what is asked."""
    rng = random.Random(1)
    collection = database[store.AGGREGATED_ROLLUPS]
    days = [MIDNIGHT + datetime.timedelta(days=number) for number in range(30)]
    collection.insert_many(
        {"_id": f"{user}{day}", "dimension": "user_id", "key": user, "length_s": DAY_S, "window_start": day, "n": 1}
        for user in ("ada", "bob", None)
        for day in rng.sample(days, len(days))
    )
    one = {"dimension": "user_id", "key": "ada", "length_s": DAY_S, "window_start": {"$gte": days[5]}}
    assert [each["window_start"] for each in collection.find(one).sort("window_start", 1)] == days[5:]
    some = {"dimension": "user_id", "length_s": DAY_S, "window_start": {"$gte": days[3], "$lt": days[5]}}
    assert sorted(str(each["key"]) for each in collection.find(some)) == sorted(["ada", "bob", "None"] * 2)
    indexes = {tuple(index["key"]) for index in collection.list_indexes()}
    assert {("dimension", "key", "length_s", "window_start"), ("dimension", "length_s", "window_start")} <= indexes
