"""Messages through the service's own `decode`, without Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyspark.sql import SparkSession

from tests.events import START
from wattline_streaming.decode import decode
from wattline_streaming.typed import ARROW_SCHEMA

__all__ = ["decoded"]

_SCHEMA = (
    "key binary, value binary, headers array<struct<key:string,value:binary>>, "
    "partition int, offset long, timestamp timestamp"
)


def decoded(spark: SparkSession, values: Sequence[bytes | None], writers: Mapping[int, str]) -> pa.Table:
    """Return the typed columns that `decode` gives for the values, in their order."""
    rows = [(None, value, None, 0, offset, START) for offset, value in enumerate(values)]
    return decode(spark.createDataFrame(rows, _SCHEMA), writers).orderBy("offset").toArrow().select(ARROW_SCHEMA.names)
