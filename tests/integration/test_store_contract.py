"""Every operation that the streaming service and the dashboard use, alike on MongoDB 8 and on the embedded store.

MONGODB_URI names the store that is tried; without it the stack's own is.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from bson import Int64
from pymongo import ASCENDING, DESCENDING, MongoClient, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from wattline_common import store

if TYPE_CHECKING:
    from wattline_stack import Endpoints

Document = dict[str, Any]

DUPLICATE_KEY = 11000
NOON = datetime.datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=datetime.UTC)  # stores keep milliseconds


@pytest.fixture
def database(stack: Endpoints) -> Iterator[Database[Document]]:
    """Return an empty database of the store, made as `connect` makes one; it is dropped behind the test."""
    opened = store.connect(stack.mongodb_uri)
    made: MongoClient[Document] = opened.client
    name = f"wattline_test_{uuid.uuid4().hex[:12]}"
    yield made.get_database(name, codec_options=opened.codec_options)
    made.drop_database(name)
    made.close()


@pytest.fixture
def things(database: Database[Document]) -> Collection[Document]:
    """Return an empty collection."""
    return database["things"]


def _one(collection: Collection[Document], key: str = "a") -> Document:
    found = collection.find_one({"_id": key})
    assert found is not None
    return found


class TestValues:
    """What goes in comes out."""

    @pytest.mark.parametrize(
        "value",
        [
            NOON,
            datetime.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=datetime.UTC),
            Int64(2**63 - 1),
            Int64(-(2**63)),
            2**40 + 3,
            0,
            -1,
            b"\x00\xff\x00raw",
            b"",
            "",
            "Zürich \U0001f50c",
            "a.b$c|d",
            0.1,
            5e-324,
            1.7976931348623157e308,
            float("inf"),
            float("-inf"),
            True,
            False,
            None,
            [],
            {},
            [1, "a", None, {"b": [2.5]}],
            [{"k": "a.b", "v": 1.0}, {"k": "$c", "v": None}],
            {"deep": {"deeper": {"deepest": [{"x": 1}]}}},
        ],
        ids=lambda each: repr(each)[:30],
    )
    def test_a_value_comes_back(self, things: Collection[Document], value: Any) -> None:
        """Dates, 64-bit integers, bytes, text, doubles, lists and documents: equal in value and type."""
        things.insert_one({"_id": "a", "value": value})
        found = _one(things)["value"]
        assert found == value
        assert isinstance(found, bool) == isinstance(value, bool)
        assert isinstance(found, float) == isinstance(value, float)

    def test_nan_comes_back(self, things: Collection[Document]) -> None:
        """NaN stays NaN, although we refuse it earlier."""
        things.insert_one({"_id": "a", "value": float("nan")})
        assert _one(things)["value"] != _one(things)["value"]

    def test_the_order_of_fields_is_kept(self, things: Collection[Document]) -> None:
        """The first field of a sub-document is still the first: `$max` depends on it."""
        things.insert_one({"_id": "a", "aggregate": {"revision": 1, "b": 1, "a": 1}})
        things.update_one({"_id": "a"}, {"$max": {"aggregate": {"revision": 2, "z": 1, "b": 1, "a": 1}}})
        assert list(_one(things)["aggregate"]) == ["revision", "z", "b", "a"]

    def test_microseconds_are_cut(self, things: Collection[Document]) -> None:
        """A store's date has milliseconds; that is why `timestamp_us` stands beside it."""
        exact = NOON.replace(microsecond=123987)
        things.insert_one({"_id": "a", "at": exact, "timestamp_us": 1_772_366_400_123_987})
        assert _one(things)["at"] == NOON
        assert _one(things)["timestamp_us"] == 1_772_366_400_123_987


class TestInsert:
    """Raw and rejected events: inserted once, duplicates counted."""

    def test_a_duplicate_is_refused_by_code(self, things: Collection[Document]) -> None:
        """A second document of the same `_id` is error 11000, and the first stays."""
        things.insert_one({"_id": "a", "value": 1})
        with pytest.raises(DuplicateKeyError) as caught:
            things.insert_one({"_id": "a", "value": 2})
        assert caught.value.code == DUPLICATE_KEY
        assert _one(things)["value"] == 1

    def test_an_unordered_batch_inserts_all_but_the_duplicates(self, things: Collection[Document]) -> None:
        """Each duplicate is one writeError of code 11000 naming its index and document; everything else is in."""
        things.insert_many([{"_id": key, "by": "first"} for key in ("b", "d")])
        batch = [{"_id": key, "by": "second"} for key in ("a", "b", "c", "d", "e", "a")]
        with pytest.raises(BulkWriteError) as caught:
            things.insert_many(batch, ordered=False)
        details = caught.value.details
        assert details is not None
        assert {error["index"]: (error["code"], error["op"]["_id"]) for error in details["writeErrors"]} == {
            1: (DUPLICATE_KEY, "b"),
            3: (DUPLICATE_KEY, "d"),
            5: (DUPLICATE_KEY, "a"),
        }
        assert len(batch) - len(details["writeErrors"]) == 3  # what was inserted; nInserted differs between stores
        assert {each["_id"]: each["by"] for each in things.find()} == {
            "a": "second",
            "b": "first",
            "c": "second",
            "d": "first",
            "e": "second",
        }

    def test_a_large_batch_of_duplicates_is_counted_exactly(self, things: Collection[Document]) -> None:
        """A replayed batch of thousands is refused one by one, to the last."""
        batch = [{"_id": f"run|source|{seq}", "text": "x" * 200} for seq in range(3000)]
        things.insert_many(batch[:2000], ordered=False)
        with pytest.raises(BulkWriteError) as caught:
            things.insert_many(batch, ordered=False)
        assert caught.value.details is not None
        assert {error["code"] for error in caught.value.details["writeErrors"]} == {DUPLICATE_KEY}
        assert len(caught.value.details["writeErrors"]) == 2000
        assert things.count_documents({}) == 3000

    def test_of_writers_at_once_one_wins(self, things: Collection[Document]) -> None:
        """Two executors insert the same events at once: each event is in once, and each loser is told."""
        batch = [{"_id": number} for number in range(500)]

        def insert(writer: int) -> int:
            try:
                things.insert_many([{**each, "writer": writer} for each in batch], ordered=False)
            except BulkWriteError as error:
                return len((error.details or {})["writeErrors"])
            return 0

        with ThreadPoolExecutor(4) as pool:
            refused = list(pool.map(insert, range(4)))
        assert things.count_documents({}) == 500
        assert sum(refused) == 3 * 500


class TestMonotone:
    """`$max` and `$min`: order and replay cannot hurt."""

    def test_a_sub_document_is_compared_by_its_first_field(self, things: Collection[Document]) -> None:
        """The higher revision wins as a whole, whatever the other fields say; in any order of arrival."""
        versions: list[Document] = [
            {"revision": 7, "energy_kwh": 9.0, "note": "z", "power_avg_w": 1.0},
            {"revision": 2**40 + 1, "energy_kwh": 0.5, "note": "a", "power_avg_w": None},
            {"revision": 2**41, "energy_kwh": 1.0},
        ]
        for number, order in enumerate(permutations(versions)):
            for each in order:
                things.update_one({"_id": str(number)}, {"$max": {"aggregate": each}}, upsert=True)
            assert _one(things, str(number))["aggregate"] == versions[2]

    def test_of_equal_revisions_the_next_field_decides(self, things: Collection[Document]) -> None:
        """Documents compare field by field, so even a tie ends the same in any order."""
        low, high = {"revision": 3, "events": 3, "energy_kwh": 1.0}, {"revision": 3, "events": 3, "energy_kwh": 2.0}
        for key, order in (("a", (low, high)), ("b", (high, low))):
            for each in order:
                things.update_one({"_id": key}, {"$max": {"aggregate": each}}, upsert=True)
            assert _one(things, key)["aggregate"] == high

    def test_revisions_compare_across_integer_sizes(self, things: Collection[Document]) -> None:
        """A small revision is sent as 32 bits and a settled one as 64: they compare as numbers."""
        things.update_one({"_id": "a"}, {"$max": {"aggregate": {"revision": Int64(5)}}}, upsert=True)
        things.update_one({"_id": "a"}, {"$max": {"aggregate": {"revision": 4}}})
        assert _one(things)["aggregate"]["revision"] == 5
        things.update_one({"_id": "a"}, {"$max": {"aggregate": {"revision": 6}}})
        assert _one(things)["aggregate"]["revision"] == 6

    def test_nested_paths_are_made_and_kept(self, things: Collection[Document]) -> None:
        """`$min` and `$max` under sources.<source_id> in one upsert make what is missing and leave other sources be."""
        for source, seq, energy in (("s1", 4, 0.4), ("s2", 1, 0.1), ("s1", 2, 0.2), ("s1", 4, 0.4)):
            path = f"sources.{source}"
            things.update_one(
                {"_id": "run"},
                {
                    "$max": {f"{path}.seq_max": seq, f"{path}.energy_kwh": energy, f"{path}.methods.MODELLED": 1},
                    "$min": {f"{path}.first_timestamp_us": 100 - seq},
                },
                upsert=True,
            )
        assert _one(things, "run") == {
            "_id": "run",
            "sources": {
                "s1": {"seq_max": 4, "energy_kwh": 0.4, "methods": {"MODELLED": 1}, "first_timestamp_us": 96},
                "s2": {"seq_max": 1, "energy_kwh": 0.1, "methods": {"MODELLED": 1}, "first_timestamp_us": 99},
            },
        }

    def test_a_nested_sub_document_is_replaced_as_one(self, things: Collection[Document]) -> None:
        """`latest_step` under a source is the step of the highest seq, none of its fields from another one."""
        for step in ({"seq": 1, "loss": 9.0, "only_first": 1}, {"seq": 3, "loss": 0.1}, {"seq": 2, "loss": 0.5}):
            things.update_one({"_id": "run"}, {"$max": {"sources.s.latest_step": step}}, upsert=True)
        assert _one(things, "run")["sources"]["s"]["latest_step"] == {"seq": 3, "loss": 0.1}

    def test_null_is_below_every_number(self, things: Collection[Document]) -> None:
        """`$max` raises null to a number, never the other way."""
        things.update_one({"_id": "a"}, {"$max": {"value": None}}, upsert=True)
        things.update_one({"_id": "a"}, {"$max": {"value": -5.0}})
        things.update_one({"_id": "a"}, {"$max": {"value": None}})
        assert _one(things)["value"] == -5.0

    @pytest.mark.parametrize(("operator", "wins"), [("$max", 2), ("$min", 0)])
    def test_dates_compare(self, things: Collection[Document], operator: str, wins: int) -> None:
        """First and last event times are kept by `$min` and `$max` of dates."""
        times = [NOON + datetime.timedelta(seconds=number) for number in range(3)]
        for number, order in enumerate(permutations(times)):
            for each in order:
                things.update_one({"_id": str(number)}, {operator: {"at": each}}, upsert=True)
            assert _one(things, str(number))["at"] == times[wins]


class TestUpdate:
    """`$set`, `$setOnInsert`, arrays, and many at once."""

    def test_set_keeps_the_rest(self, things: Collection[Document]) -> None:
        """Own fields are set beside what `$max` has gathered; a list is replaced as a whole."""
        things.insert_one({"_id": "a", "sources": {"s": {"seq_max": 1}}, "methods": ["A", "B"], "hosts": []})
        things.update_one({"_id": "a"}, {"$set": {"methods": ["C"], "hosts": ["h1", "h2"], "settled": {"x": 1.5}}})
        assert _one(things) == {
            "_id": "a",
            "sources": {"s": {"seq_max": 1}},
            "methods": ["C"],
            "hosts": ["h1", "h2"],
            "settled": {"x": 1.5},
        }

    def test_an_upsert_is_said_to_be_one(self, things: Collection[Document]) -> None:
        """matched_count and upserted_id tell new from known."""
        first = things.update_one({"_id": "a"}, {"$set": {"value": 1}}, upsert=True)
        second = things.update_one({"_id": "a"}, {"$set": {"value": 2}}, upsert=True)
        absent = things.update_one({"_id": "b"}, {"$set": {"value": 2}})
        assert (first.matched_count, first.upserted_id) == (0, "a")
        assert (second.matched_count, second.upserted_id) == (1, None)
        assert (absent.matched_count, absent.upserted_id) == (0, None)
        assert things.count_documents({}) == 1

    def test_set_on_insert_writes_once(self, things: Collection[Document]) -> None:
        """The first cluster id stays, whoever comes later."""
        for cluster in ("first", "second"):
            things.update_one({"_id": "a"}, {"$setOnInsert": {"kafka_cluster_id": cluster}}, upsert=True)
        assert _one(things) == {"_id": "a", "kafka_cluster_id": "first"}

    def test_set_and_max_in_one_update(self, things: Collection[Document]) -> None:
        """A window's fixed facts are set while its aggregate only rises."""
        for revision in (5, 3):
            change = {"$set": {"run_id": "r", "length_s": 60}, "$max": {"aggregate": {"revision": revision}}}
            things.update_one({"_id": "a"}, change, upsert=True)
        assert _one(things) == {"_id": "a", "run_id": "r", "length_s": 60, "aggregate": {"revision": 5}}

    def test_a_bulk_of_replacements(self, things: Collection[Document]) -> None:
        """Unordered ReplaceOne upserts replace what is known as a whole, and insert what is new."""
        things.insert_many([{"_id": "a", "figures": {"x": 1, "y": 2}, "old": 1}, {"_id": "c", "figures": {}}])
        new: list[Document] = [{"_id": key, "figures": {"x": 5.0}, "keys": [None, "k"]} for key in ("a", "b")]
        for _ in range(2):
            things.bulk_write([ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in new], ordered=False)
            assert sorted(things.find(), key=lambda each: str(each["_id"])) == [*new, {"_id": "c", "figures": {}}]

    def test_a_bulk_of_upserts(self, things: Collection[Document]) -> None:
        """Unordered UpdateOne upserts insert what is new, update what is known, and count both."""
        things.insert_many([{"_id": number, "value": -1} for number in range(0, 1000, 2)])
        writes = [UpdateOne({"_id": n}, {"$max": {"value": n}}, upsert=True) for n in range(1000)]
        done = things.bulk_write(writes, ordered=False)
        assert done.upserted_count == 500
        assert done.matched_count == 500
        assert {each["_id"]: each["value"] for each in things.find()} == {number: number for number in range(1000)}
        again = things.bulk_write(writes, ordered=False)
        assert (again.upserted_count, again.matched_count) == (0, 1000)

    def test_one_document_twice_in_a_bulk(self, things: Collection[Document]) -> None:
        """Several updates of one document in one bulk all count."""
        writes = [UpdateOne({"_id": "a"}, {"$max": {"v": v}, "$min": {"w": v}}, upsert=True) for v in (2, 5, 1)]
        things.bulk_write(writes, ordered=False)
        assert _one(things) == {"_id": "a", "v": 5, "w": 1}

    def test_upserts_at_once_make_one_document(self, things: Collection[Document]) -> None:
        """Partitions that upsert one run at once lose nothing; a store may refuse one in a race, which tries again."""

        def raise_to(value: int) -> None:
            change = {"$max": {"highest": value, f"sources.s{value % 4}.seq_max": value}}
            try:
                things.update_one({"_id": "run"}, change, upsert=True)
            except DuplicateKeyError:
                things.update_one({"_id": "run"}, change, upsert=True)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(raise_to, range(400)))
        (found,) = things.find()
        assert found["highest"] == 399
        assert {key: each["seq_max"] for key, each in found["sources"].items()} == {
            f"s{number}": 396 + number for number in range(4)
        }


class TestFind:
    """Reading: by key, by range, in order, in part."""

    @pytest.fixture(autouse=True)
    def _filled(self, things: Collection[Document]) -> None:
        things.insert_many(
            {
                "_id": f"run|s|{seq}",
                "run_id": f"r{seq % 3}",
                "timestamp_us": seq * 1_000_000,
                "at": NOON + datetime.timedelta(seconds=seq),
                "aggregate": {"energy_kwh": seq / 10, "events": seq},
                "kafka": {"partition": seq % 6, "offset": seq},
                "finished_at": NOON if seq % 2 else None,
            }
            for seq in range(30)
        )

    def test_in_on_id(self, things: Collection[Document]) -> None:
        """`$in` finds those that are there, each once, and an empty list finds nothing."""
        wanted = [f"run|s|{seq}" for seq in (3, 1, 99, 3)]
        assert sorted(each["_id"] for each in things.find({"_id": {"$in": wanted}})) == ["run|s|1", "run|s|3"]
        assert list(things.find({"_id": {"$in": []}})) == []

    def test_a_large_in(self, things: Collection[Document]) -> None:
        """A batch of thousands of ids is looked up in one question."""
        wanted = [f"run|s|{seq}" for seq in range(5000)]
        assert len(list(things.find({"_id": {"$in": wanted}}, {"_id": 1}))) == 30

    def test_sort_and_limit(self, things: Collection[Document]) -> None:
        """The newest three, and the oldest two."""
        newest = things.find({}, {"timestamp_us": 1}).sort("at", DESCENDING).limit(3)
        assert [each["timestamp_us"] for each in newest] == [29_000_000, 28_000_000, 27_000_000]
        oldest = things.find().sort([("run_id", ASCENDING), ("timestamp_us", ASCENDING)]).limit(2)
        assert [each["_id"] for each in oldest] == ["run|s|0", "run|s|3"]

    def test_projection(self, things: Collection[Document]) -> None:
        """Only what was asked for, nested fields in their place, and `_id` unless refused."""
        found = things.find_one({"_id": "run|s|7"}, {"run_id": 1, "aggregate.energy_kwh": 1})
        assert found == {"_id": "run|s|7", "run_id": "r1", "aggregate": {"energy_kwh": 0.7}}
        assert things.find_one({"_id": "run|s|7"}, {"_id": 0, "kafka": 1}) == {"kafka": {"partition": 1, "offset": 7}}
        without = things.find_one({"_id": "run|s|7"}, {"aggregate": 0, "kafka": 0, "at": 0})
        assert set(without or {}) == {"_id", "run_id", "timestamp_us", "finished_at"}

    @pytest.mark.parametrize(
        ("condition", "seqs"),
        [
            ({"run_id": "r1", "timestamp_us": {"$gte": 10_000_000, "$lt": 20_000_000}}, [10, 13, 16, 19]),
            ({"run_id": {"$eq": "r1"}, "timestamp_us": {"$lte": 4_000_000}}, [1, 4]),
            ({"at": {"$lte": NOON + datetime.timedelta(seconds=2)}}, [0, 1, 2]),
            ({"at": {"$gt": NOON + datetime.timedelta(seconds=27)}}, [28, 29]),
            ({"timestamp_us": {"$lt": 3_000_000}, "finished_at": {"$ne": None}}, [1]),
            ({"timestamp_us": {"$lt": 3_000_000}, "finished_at": None}, [0, 2]),
            ({"kafka.partition": 5, "kafka.offset": {"$gte": 20}}, [23, 29]),
            ({"run_id": {"$in": ["r0", "r2"]}, "timestamp_us": {"$lt": 4_000_000}}, [0, 2, 3]),
            ({"aggregate.energy_kwh": {"$gt": 2.75}}, [28, 29]),
            ({"absent": None, "timestamp_us": 5_000_000}, [5]),
            ({"finished_at": {"$in": [None]}, "timestamp_us": {"$lt": 5_000_000}}, [0, 2, 4]),
            ({"finished_at": {"$in": [NOON, None]}, "timestamp_us": {"$lt": 2_000_000}}, [0, 1]),
            ({"at": {"$in": [NOON, NOON + datetime.timedelta(seconds=7)]}}, [0, 7]),
            ({"at": {"$gte": NOON, "$lt": NOON + datetime.timedelta(seconds=2)}, "run_id": {"$in": ["r1"]}}, [1]),
            ({"absent": {"$ne": None}}, []),
        ],
        ids=str,
    )
    def test_conditions(self, things: Collection[Document], condition: Document, seqs: list[int]) -> None:
        """Equality, ranges of numbers and dates, null, absence and nested fields, together."""
        assert sorted(int(each["kafka"]["offset"]) for each in things.find(condition)) == seqs
        assert things.count_documents(condition) == len(seqs)

    def test_a_cursor_goes_on_behind_its_first_batch(self, things: Collection[Document]) -> None:
        """All documents come, once each, however small the batches."""
        found = [each["kafka"]["offset"] for each in things.find().sort("timestamp_us", ASCENDING).batch_size(7)]
        assert found == list(range(30))

    def test_a_value_of_a_user_is_no_operator(self, things: Collection[Document]) -> None:
        """`$eq` compares with a value that looks like an operator, so a run id from outside cannot ask for more."""
        assert list(things.find({"run_id": {"$eq": {"$ne": ""}}})) == []

    def test_delete_many_by_id(self, things: Collection[Document]) -> None:
        """What was named goes, and how many is said."""
        done = things.delete_many({"_id": {"$in": ["run|s|1", "run|s|2", "absent"]}})
        assert done.deleted_count == 2
        assert things.count_documents({}) == 28

    def test_delete_by_id_and_mark(self, things: Collection[Document]) -> None:
        """A mark that changed in between is not deleted."""
        things.insert_one({"_id": "w", "mark": "new"})
        assert things.delete_one({"_id": "w", "mark": "seen"}).deleted_count == 0
        assert things.delete_one({"_id": "w", "mark": "new"}).deleted_count == 1

    def test_a_sub_document_as_a_condition(self, things: Collection[Document]) -> None:
        """A write that names a sub-document as it was read finds it only as long as nothing in it has changed."""
        sources = {"a": {"seq_max": Int64(3), "energy_kwh": 0.1, "methods": {"X": 1}, "facts": [None, {"k": "v"}]}}
        things.insert_one({"_id": "s", "sources": sources})
        read = _one(things, "s")["sources"]
        assert things.update_one({"_id": "s", "sources": read}, {"$set": {"n": 1}}).matched_count == 1
        things.update_one({"_id": "s"}, {"$max": {"sources.a.seq_max": 4}})
        assert things.update_one({"_id": "s", "sources": read}, {"$set": {"n": 2}}).matched_count == 0
        assert _one(things, "s")["n"] == 1

    def test_null_finds_what_is_not_there_and_a_false_is_there(self, things: Collection[Document]) -> None:
        """A page of those without a flag, in order of `_id`, behind the last one seen."""
        things.insert_many({"_id": f"p{n}", "at": NOON} | ({"flag": False} if n == 2 else {}) for n in range(5))
        page = {"flag": None, "at": {"$lte": NOON}, "_id": {"$gt": "p0"}}
        assert [each["_id"] for each in things.find(page).sort("_id", 1).limit(2)] == ["p1", "p3"]
        assert things.update_one({"_id": "p2", "flag": None}, {"$set": {"n": 1}}).matched_count == 0


class TestAggregate:
    """Adding up in the store: `$match` and `$group` with sums, and dates cut to a stretch of time."""

    EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

    @pytest.mark.parametrize("grain_s", [300, 900, 3_600])
    def test_sums_by_run_and_stretch_of_time(self, things: Collection[Document], grain_s: int) -> None:
        """`$subtract` and `$mod` of dates cut them to a grain, `$gte` tells two periods apart, `$sum` adds up."""
        begin = NOON.replace(microsecond=0) - datetime.timedelta(hours=1)
        moments = [NOON.replace(microsecond=0) - datetime.timedelta(minutes=7 * number) for number in range(40)]
        rows = [(f"r{number % 3}", moment, number / 10) for number, moment in enumerate(moments)]
        things.insert_many(
            {"run_id": run_id, "window_start": at, "length_s": 60, "aggregate": {"energy_kwh": kwh}}
            for run_id, at, kwh in rows
        )
        things.insert_one({"run_id": "r0", "window_start": NOON, "length_s": 3600, "aggregate": {"energy_kwh": 99.0}})
        into = {"$mod": [{"$subtract": ["$window_start", self.EPOCH]}, grain_s * 1000]}
        identity = {
            "run_id": "$run_id",
            "start": {"$subtract": ["$window_start", into]},
            "is_current": {"$gte": ["$window_start", begin]},
        }
        found = things.aggregate(
            [
                {"$match": {"length_s": 60, "window_start": {"$gte": moments[-1]}}},
                {"$group": {"_id": identity, "energy_kwh": {"$sum": "$aggregate.energy_kwh"}}},
                {"$limit": 1_000},
            ]
        )
        expected: dict[tuple[str, datetime.datetime, bool], float] = {}
        for run_id, at, kwh in rows:
            start = at - (at - self.EPOCH) % datetime.timedelta(seconds=grain_s)
            key = (run_id, start, at >= begin)
            expected[key] = expected.get(key, 0.0) + kwh
        sums = {(e["_id"]["run_id"], e["_id"]["start"], e["_id"]["is_current"]): e["energy_kwh"] for e in found}
        assert sums == pytest.approx(expected)

    def test_a_limit_bounds_the_groups(self, things: Collection[Document]) -> None:
        """`$limit` behind `$group` cuts the answer, and what is absent or null adds nothing."""
        things.insert_many([{"group": number % 5, "value": None if number % 2 else 1.5} for number in range(20)])
        things.insert_one({"group": 0})
        group = {"$group": {"_id": "$group", "value": {"$sum": "$value"}}}
        assert {each["_id"]: each["value"] for each in things.aggregate([group])} == dict.fromkeys(range(5), 3.0)
        assert len(list(things.aggregate([group, {"$limit": 3}]))) == 3

    def test_counts_and_highest_by_group(self, things: Collection[Document]) -> None:
        """`$sum` of one counts, `$max` is the highest number or date."""
        later = NOON + datetime.timedelta(days=1)
        things.insert_many({"of": n % 2, "seq": Int64(n), "at": later if n == 3 else NOON} for n in range(5))
        highest = {"events": {"$sum": 1}, "seq": {"$max": "$seq"}, "at": {"$max": "$at"}}
        found = things.aggregate([{"$match": {"of": {"$in": [0, 1]}}}, {"$group": {"_id": "$of", **highest}}])
        by_group = {each["_id"]: (each["events"], each["seq"], each["at"]) for each in found}
        assert by_group == {0: (3, 4, NOON), 1: (2, 3, later)}

    def test_about_how_many(self, things: Collection[Document]) -> None:
        """The quick count is right on a quiet collection."""
        things.insert_many([{"_id": number} for number in range(7)])
        assert things.estimated_document_count() == 7


class TestEnsure:
    """`ensure` makes what is missing."""

    def test_it_is_idempotent(self, database: Database[Document]) -> None:
        """Twice is as good as once, also over data, and no index is there twice."""
        store.ensure(database)
        once = {name: sorted(database[name].index_information()) for name in sorted(database.list_collection_names())}
        database[store.TRAINING_METRICS].insert_one({"_id": "a", "run_id": "r", "timestamp_us": 1})
        store.ensure(database)
        twice = {name: sorted(database[name].index_information()) for name in sorted(database.list_collection_names())}
        assert twice == once
        assert {"_id_", "run_id_1_timestamp_us_1", "timestamp_us_1"} <= set(once[store.TRAINING_METRICS])
        assert "due_at_1" in once[store.DIRTY_WINDOWS]

    def test_its_indexes_let_equal_values_in(self, database: Database[Document]) -> None:
        """None of them is unique: only `_id` is."""
        store.ensure(database)
        for name in (store.TRAINING_METRICS, store.AGGREGATED_METRICS, store.REJECTED_EVENTS, store.DIRTY_WINDOWS):
            same = {"run_id": "r", "timestamp_us": 1, "window_start": NOON, "rejected_at": NOON, "due_at": NOON}
            database[name].insert_many([{"_id": key, **same} for key in ("a", "b")])
            assert database[name].count_documents({"run_id": "r"}) == 2

    def test_reads_are_the_same_with_and_without_indexes(self, database: Database[Document]) -> None:
        """An index changes speed and nothing else: the same ranges and orders come."""
        metrics = database[store.TRAINING_METRICS]
        metrics.insert_many({"_id": n, "run_id": f"r{n % 2}", "timestamp_us": 100 - n} for n in range(50))

        def read() -> list[Document]:
            return list(
                metrics.find({"run_id": "r1", "timestamp_us": {"$gte": 60}}, {"timestamp_us": 1})
                .sort("timestamp_us", ASCENDING)
                .limit(10)
            )

        before = read()
        store.ensure(database)
        assert read() == before
        assert [each["timestamp_us"] for each in before] == [61, 63, 65, 67, 69, 71, 73, 75, 77, 79]


class TestRefusals:
    """What a store must refuse."""

    def test_an_id_never_changes(self, things: Collection[Document]) -> None:
        """An update that would give another `_id` is refused."""
        things.insert_one({"_id": "a"})
        with pytest.raises(OperationFailure):
            things.update_one({"_id": "a"}, {"$set": {"_id": "b"}})
        assert _one(things) == {"_id": "a"}

    def test_a_path_through_a_number_is_refused(self, things: Collection[Document]) -> None:
        """`sources.s` cannot become a document when it is a number; nothing is changed."""
        things.insert_one({"_id": "a", "sources": {"s": 5}})
        with pytest.raises(OperationFailure):
            things.update_one({"_id": "a"}, {"$max": {"sources.s.seq_max": 1}})
        assert _one(things)["sources"] == {"s": 5}
