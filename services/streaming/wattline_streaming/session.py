"""The Spark session: our defaults, wherever the user's spark-defaults.conf says nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pyspark.sql import SparkSession

from wattline_streaming.settings import StreamingSettings

__all__ = ["options", "spark_session"]

_LOG = logging.getLogger(__name__)
# A damaged length must not make the JVM reserve gigabytes, which would end it; no message is longer than this.
_MOST_OF_A_MESSAGE = 2**20
_AVRO_LIMITS = " ".join(
    f"-Dorg.apache.avro.limits.{part}.maxLength={_MOST_OF_A_MESSAGE}" for part in ("string", "bytes", "collectionItems")
)
_MOST_OF_A_BATCH = 2**26  # of what goes to Python at once: ten thousand large messages would be gigabytes
_ONE_DAY_MS = 24 * 3600 * 1000
_LOOPBACK = "127.0.0.1"


def spark_session(settings: StreamingSettings, defaults: Mapping[str, str]) -> SparkSession:
    """Return a session that is small, quiet and in UTC; what ``defaults``, the user's file, say holds instead."""
    builder = SparkSession.builder.appName("wattline-streaming")
    for key, value in options(settings, defaults).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def options(settings: StreamingSettings, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return what is to be set beside ``defaults``, which Spark reads by itself, and none of which is set again."""
    ours = _ours(settings, local=settings.is_local(defaults))
    decided = sorted(key for key in ours.keys() & defaults.keys() if ours[key] != defaults[key])
    if decided:
        _LOG.info("spark-defaults.conf decides: %s", ", ".join(f"{key}={defaults[key]}" for key in decided))
    # These stand before spark.*.extraJavaOptions, which are the user's.
    first = ("spark.driver.defaultJavaOptions", "spark.executor.defaultJavaOptions")
    limits = {key: f"{_AVRO_LIMITS} {defaults.get(key, '')}".strip() for key in first}
    return {key: value for key, value in ours.items() if key not in defaults} | limits


def _ours(settings: StreamingSettings, *, local: bool) -> dict[str, str]:
    loopback = {"spark.driver.host": _LOOPBACK, "spark.driver.bindAddress": _LOOPBACK} if local else {}
    return {
        **loopback,
        "spark.master": settings.spark_master,
        "spark.jars": settings.spark_jars,
        "spark.driver.memory": settings.driver_memory,
        "spark.driver.extraJavaOptions": settings.driver_java_options,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        "spark.sql.streaming.stateStore.providerClass": (
            "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
        ),
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        # The default manager starts two processes for each file it touches on a local disk, a hundred a batch.
        "spark.sql.streaming.checkpointFileManagerClass": (
            "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
        ),
        "spark.sql.streaming.noDataProgressEventInterval": str(_ONE_DAY_MS),  # the last progress is the last batch's
        # Beyond so many windows a task, instead of 128, aggregates are sorted: twice the work, and on disk.
        "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "50000",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        "spark.sql.execution.arrow.maxBytesPerBatch": str(_MOST_OF_A_BATCH),
    }
