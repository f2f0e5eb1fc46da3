"""Every setting of the streaming service, and the only place where it reads the environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from wattline_common.environment import Environment
from wattline_common.settings import Endpoints

__all__ = ["StreamingSettings", "export_for_spark"]


def export_for_spark() -> None:
    """Set what Spark reads from the environment alone: the workers' Python is this one, and it listens on loopback."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


@dataclass(frozen=True)
class StreamingSettings:
    """Settings of the stream; `from_environment` names the variables."""

    endpoints: Endpoints = field(default_factory=Endpoints)
    checkpoint_dir: Path = Path(".wattline/checkpoint")
    spark_master: str = "local[2]"
    spark_jars: str = ""
    driver_memory: str = "1g"
    driver_java_options: str = "-XX:+UseSerialGC"
    shuffle_partitions: int = 2
    max_offsets_per_trigger: int = 50_000
    trigger_interval_ms: int = 500
    watermark_s: int = 120
    settle_delay_s: float = 30.0
    settle_interval_s: float = 5.0
    future_tolerance_s: float = 300.0
    registry_watch_interval_s: float = 15.0

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> StreamingSettings:
        """Read the settings; raise `ConfigurationError` naming the variable that is wrong."""
        env = environment or Environment()
        return cls(
            endpoints=Endpoints.from_environment(env),
            checkpoint_dir=Path(env.text("WATTLINE_CHECKPOINT_DIR", str(cls.checkpoint_dir))).resolve(),
            spark_master=env.text("WATTLINE_SPARK_MASTER", cls.spark_master),
            spark_jars=env.text("WATTLINE_SPARK_JARS"),
            driver_memory=env.text("WATTLINE_SPARK_DRIVER_MEMORY", cls.driver_memory),
            driver_java_options=env.text("WATTLINE_SPARK_DRIVER_JAVA_OPTIONS", cls.driver_java_options),
            shuffle_partitions=env.integer("WATTLINE_SHUFFLE_PARTITIONS", cls.shuffle_partitions, at_least=1),
            max_offsets_per_trigger=env.integer(
                "WATTLINE_MAX_OFFSETS_PER_TRIGGER", cls.max_offsets_per_trigger, at_least=1
            ),
            trigger_interval_ms=env.integer("WATTLINE_TRIGGER_INTERVAL_MS", cls.trigger_interval_ms),
            watermark_s=env.integer("WATTLINE_WATERMARK_S", cls.watermark_s),
            settle_delay_s=env.number("WATTLINE_SETTLE_DELAY_S", cls.settle_delay_s),
            settle_interval_s=env.number("WATTLINE_SETTLE_INTERVAL_S", cls.settle_interval_s, at_least=0.1),
            future_tolerance_s=env.number("WATTLINE_FUTURE_TOLERANCE_S", cls.future_tolerance_s),
            registry_watch_interval_s=env.number(
                "WATTLINE_REGISTRY_WATCH_INTERVAL_S", cls.registry_watch_interval_s, at_least=0.1
            ),
        )
