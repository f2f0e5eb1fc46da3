"""The contract in Spark: `from_avro` beside fastavro and beside the ledger, on drawn schemas and drawn messages.

It is the service's own expression that runs, for many examples in one job.
"""

from __future__ import annotations

import copy
import datetime
import io
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F  # noqa: N812  # Spark's own convention
from pyspark.sql.avro.functions import from_avro

from tests.contract.consistent import consistent
from tests.contract.evolve import bases, history, legal
from tests.contract.schema_tree import expand, records
from tests.contract.strategies import data, schema_versions
from tests.differences import difference
from tests.events import START
from tests.integration.drawing import check_together, drawn
from tests.integration.spark_decoding import decoded
from wattline_common.codec import frame
from wattline_common.errors import ContractError
from wattline_common.events import EPOCH
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.books import KafkaPosition, Message, RawEvent
from wattline_streaming.typed import ENERGY_BY_KIND, typed_row

ANY_TIME = datetime.timedelta(days=4_000_000)
EVOLVED_PAIRS = max(settings().max_examples // 10, 10)
EVOLVED_WRITERS = 12
BRANCHES = 40  # of one expression
LIMITS = ("minimum", "maximum", "finite", "maxLength", "maxItems", "pattern")
RECORDS = [name for name in schema_versions() if not name.endswith("WindowAggregated")]


@dataclass(frozen=True, slots=True)
class Reading:
    """A datum that is written by one schema and read by another; the schemas as JSON."""

    writer: str
    reader: str
    datum: dict[str, Any]

    @property
    def body(self) -> bytes:
        """Return the datum as its writer writes it."""
        return written(json.loads(self.writer), self.datum)


def written(schema: dict[str, Any], datum: dict[str, Any]) -> bytes:
    """Return the Avro body of a datum."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(copy.deepcopy(schema)), datum)
    return buffer.getvalue()


def read_by_fastavro(reading: Reading) -> dict[str, Any] | None:
    """Return what fastavro reads; None where it cannot follow a name in the reader's union, as Avro's own can."""
    writer, reader = (fastavro.parse_schema(json.loads(text)) for text in (reading.writer, reading.reader))
    try:
        found = fastavro.schemaless_reader(io.BytesIO(reading.body), writer, reader)
    except TypeError as error:
        if "string indices must be integers" not in str(error):
            raise
        return None
    value: dict[str, Any] = _times(expand(json.loads(reading.reader)), found)
    return value


def _times(kind: Any, value: Any) -> Any:
    """Return a value with times where fastavro hands out a schema's default as it stands there: a number."""
    match kind:
        case ["null", inner]:
            return None if value is None else _times(inner, value)
        case {"logicalType": "timestamp-micros"} if isinstance(value, int):
            return EPOCH + datetime.timedelta(microseconds=value)
        case {"type": "array", "items": items}:
            return [_times(items, item) for item in value]
        case {"type": "map", "values": values}:
            return {key: _times(values, item) for key, item in value.items()}
        case {"type": "record", "fields": fields}:
            return {field["name"]: _times(field["type"], value[field["name"]]) for field in fields}
    return value


@st.composite
def evolved_pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Return two schemas, as JSON, of one history of allowed changes: either may be the older."""
    versions = draw(bases().flatmap(history))
    return json.dumps(draw(st.sampled_from(versions))), json.dumps(draw(st.sampled_from(versions)))


def read_by_spark(spark: SparkSession, readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Return what `from_avro` reads, by one job for each 40 pairs of schemas."""
    pairs = list(dict.fromkeys((one.writer, one.reader) for one in readings))
    number_of = {pair: number for number, pair in enumerate(pairs)}
    rows = [(place, number_of[one.writer, one.reader], one.body) for place, one in enumerate(readings)]
    found: list[dict[str, Any]] = [{} for _ in readings]
    for first in range(0, len(pairs), BRANCHES):
        some = dict(enumerate(pairs[first : first + BRANCHES], start=first))
        columns = [_read_if(number, *pair).alias(f"p{number}") for number, pair in some.items()]
        table = spark.createDataFrame([row for row in rows if row[1] in some], "place int, pair int, body binary")
        for row in table.select("place", "pair", *columns).toArrow().to_pylist(maps_as_pydicts="strict"):
            (found[row["place"]],) = row[f"p{row['pair']}"]
    return found


def _read_if(number: int, writer: str, reader: str) -> Column:
    """Return a column of what is read where the row is of this pair of schemas, in a list: Arrow has no null struct."""
    read = from_avro(F.col("body"), writer, {"avroSchema": reader, "mode": "PERMISSIVE"})
    return F.when(F.col("pair") == number, F.array(read))


def test_any_version_reads_any_other_alike_in_spark_and_fastavro(spark: SparkSession) -> None:
    """Whatever a version wrote, `from_avro` and fastavro read with another the same values, bit by bit."""
    committed = [
        (json.dumps(writer), json.dumps(reader))
        for versions in schema_versions().values()
        for writer, reader in itertools.product(versions, repeat=2)
    ]
    pairs = [*committed, *drawn(evolved_pairs(), EVOLVED_PAIRS)]
    readings = st.sampled_from(pairs).flatmap(
        lambda pair: data(json.loads(pair[0])).map(lambda datum: Reading(*pair, datum))
    )

    def faults(some: Sequence[Reading]) -> list[str | None]:
        expected = [read_by_fastavro(one) for one in some]
        found = read_by_spark(spark, some)
        return [None if want is None else difference(got, want) for got, want in zip(found, expected, strict=True)]

    examples = check_together(readings, faults)
    unequal = [one for one in examples if one.writer != one.reader and read_by_fastavro(one) is not None]
    assert len(unequal) > len(examples) / 5, "most readings were of a version by itself"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and whether it must be accepted: nothing of it was damaged, and its values are good."""

    value: bytes
    good: bool


def limits(schema: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the limits of each field, by the names of its record and itself."""
    return {
        (record["name"], field["name"]): {limit: field[limit] for limit in LIMITS if limit in field}
        for record in records(expand(schema))
        for field in record["fields"]
    }


def as_strict(writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    """Return whether what is good by a writer is good by its reader: no limit of a field of both is loosened."""
    wanted = limits(reader)
    return all(found == wanted.get(name, found) for name, found in limits(writer).items())


@st.composite
def sent(draw: st.DrawFn, writers: dict[int, str]) -> Sent:
    """Return a message of one of the writers: good, of bad values, or with bytes changed, cut off or added."""
    number = draw(st.sampled_from(sorted(writers)))
    schema = json.loads(writers[number])
    valid = draw(st.sampled_from([True, True, True, False]))
    datum = draw(data(schema, valid=valid))
    value = bytearray(frame(number, written(schema, consistent(datum) if valid else datum)))
    damage = draw(st.sampled_from(["none", "none", "change", "cut", "append"]))
    if damage == "change":
        for _ in range(draw(st.integers(1, 3))):
            value[draw(st.integers(0, len(value) - 1))] = draw(st.integers(0, 255))
    elif damage == "cut":
        del value[draw(st.integers(0, len(value) - 1)) :]
    elif damage == "append":
        value += draw(st.binary(min_size=1, max_size=9))
    return Sent(bytes(value), valid and damage == "none")


def no_such_id(schema_id: int) -> str:
    """Refuse an id that is no branch."""
    raise ContractError("unknown_schema_id", str(schema_id))


def verdicts_and_rows(
    spark: SparkSession, messages: Sequence[Sent], writers: dict[int, str]
) -> list[tuple[Any, dict[str, Any] | None]]:
    """Return of each message the ledger's verdict, and of accepted ones the typed columns that the JVM gave."""
    table = decoded(spark, [one.value for one in messages], writers)
    unread = frozenset(place for place, read in enumerate(table.column("run_id").is_valid().to_pylist()) if not read)
    kafka_messages = [Message(b"key", one.value, [], KafkaPosition(0, n, START)) for n, one in enumerate(messages)]
    acceptance = Acceptance(no_such_id, future_tolerance=ANY_TIME, branches=writers)
    verdicts = list(acceptance.judge(kafka_messages, unread=unread))
    accepted = [place for place, verdict in enumerate(verdicts) if isinstance(verdict, RawEvent)]
    rows = dict(zip(accepted, table.take(pa.array(accepted, pa.int64())).to_pylist(), strict=True))
    return [(verdict, rows.get(place)) for place, verdict in enumerate(verdicts)]


def fault_of(one: Sent, verdict: Any, row: dict[str, Any] | None) -> str | None:
    """Return what is wrong with a verdict, or where the JVM's columns are not those that the ledger would fill."""
    if not isinstance(verdict, RawEvent):
        wrong = one.good or verdict.reason == "internal_error"
        return f"rejected as {verdict.reason}: {verdict.detail}" if wrong else None
    assert row is not None
    wanted = typed_row(verdict.fields)
    for name in ENERGY_BY_KIND:  # sums: the JVM adds in order, Python exactly
        if (row[name] is None) == (wanted[name] is None) and math.isclose(row[name] or 0, wanted[name] or 0):
            row[name] = wanted[name]
    return difference(row, wanted)


def test_what_the_jvm_decodes_is_what_the_ledger_would_fill(spark: SparkSession) -> None:
    """Row by row, for every version and evolved ones: accepted means equal columns; good ones are accepted.

    Any other message is rejected with a reason, and never by a fault of our own code.
    """
    texts = [json.dumps(version) for name in RECORDS for version in schema_versions()[name]]
    newest = st.sampled_from([schema_versions()[name][-1] for name in RECORDS])
    evolved = newest.flatmap(lambda reader: legal(reader).filter(lambda writer: as_strict(writer, reader)))
    texts += map(json.dumps, drawn(evolved, EVOLVED_WRITERS))
    writers = dict(enumerate(texts, start=300))

    def faults(some: Sequence[Sent]) -> list[str | None]:
        judged = verdicts_and_rows(spark, some, writers)
        return [fault_of(one, *found) for one, found in zip(some, judged, strict=True)]

    examples = check_together(sent(writers), faults)
    good = sum(one.good for one in examples)
    assert len(examples) / 10 < good < len(examples) * 0.9, "as good as nothing, or everything, was damaged"
