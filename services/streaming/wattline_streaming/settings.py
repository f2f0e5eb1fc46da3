"""Every setting of the streaming service, and the only place where it reads the environment."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import javaproperties

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints

__all__ = ["ExecutorPod", "StreamingSettings", "export_for_spark", "spark_defaults"]

_HIGHEST_PORT = 65_535
_MOST_DAYS = 36_500
_SHORTEST_SECRET = 32


def spark_defaults(environment: Environment | None = None) -> dict[str, str]:
    """Return what the user's spark-defaults.conf says (in SPARK_CONF_DIR, else SPARK_HOME/conf); none is empty.

    Spark reads it by itself; we must know it, as what is set in code would win over it.
    """
    env = environment or Environment()
    home = env.text("SPARK_HOME")
    folder = env.text("SPARK_CONF_DIR") or (str(Path(home, "conf")) if home else "")
    path = Path(folder, "spark-defaults.conf")
    if not folder or not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8") as file:
            return {key: value.strip() for key, value in javaproperties.load(file).items()}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}, where SPARK_CONF_DIR leads to, cannot be read: {error}") from error


def export_for_spark(settings: StreamingSettings, defaults: Mapping[str, str]) -> None:
    """Set what Spark reads from the environment alone, where it is not set: the workers' Python, which is this one.

    A Spark on this machine alone listens on loopback.
    """
    os.environ.setdefault("PYSPARK_PYTHON", defaults.get("spark.pyspark.python", sys.executable))
    if settings.is_local(defaults):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


@dataclass(frozen=True, kw_only=True)
class ExecutorPod:
    """What Spark on Kubernetes tells an executor's pod, all by environment variables."""

    java_home: str
    java_options: tuple[str, ...]
    class_path: tuple[str, ...]  # before Spark's own jars
    driver_url: str
    executor_id: str
    application_id: str
    cores: str
    memory: str
    pod_ip: str
    pod_name: str
    resource_profile_id: str

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> ExecutorPod:
        """Read them; raise `ConfigurationError` naming the first that is missing."""
        told = os.environ if variables is None else variables

        def required(name: str) -> str:
            if not told.get(name):
                raise ConfigurationError(
                    f"{name} is not set: Spark on Kubernetes starts this command, a person does not"
                )
            return told[name]

        option = "SPARK_JAVA_OPT_"
        numbers = sorted(int(name.removeprefix(option)) for name in told if name.startswith(option))
        return cls(
            java_home=required("JAVA_HOME"),
            java_options=tuple(told[f"{option}{number}"] for number in numbers),
            class_path=tuple(told[name] for name in ("SPARK_CONF_DIR", "SPARK_CLASSPATH") if told.get(name)),
            driver_url=required("SPARK_DRIVER_URL"),
            executor_id=required("SPARK_EXECUTOR_ID"),
            application_id=required("SPARK_APPLICATION_ID"),
            cores=required("SPARK_EXECUTOR_CORES"),
            memory=required("SPARK_EXECUTOR_MEMORY"),
            pod_ip=required("SPARK_EXECUTOR_POD_IP"),
            pod_name=required("SPARK_EXECUTOR_POD_NAME"),
            resource_profile_id=told.get("SPARK_RESOURCE_PROFILE_ID", "0"),
        )


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
    max_offsets_per_trigger: int = 100_000
    trigger_interval_ms: int = 500
    watermark_s: int = 120
    settle_delay_s: float = 30.0
    settle_interval_s: float = 5.0
    future_tolerance_s: float = 300.0
    raw_retention_days: float = 0.0  # for ever
    erasure_key: str = field(default="", repr=False)  # a secret; none: one is made and kept in the store
    registry_watch_interval_s: float = 15.0
    http_address: str = "127.0.0.1"
    http_port: int = 0  # off
    http_stall_s: float = 300.0

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
            raw_retention_days=_days(env, "WATTLINE_RAW_RETENTION_DAYS", cls.raw_retention_days),
            erasure_key=_secret(env, "WATTLINE_ERASURE_KEY"),
            registry_watch_interval_s=env.number(
                "WATTLINE_REGISTRY_WATCH_INTERVAL_S", cls.registry_watch_interval_s, at_least=0.1
            ),
            http_address=env.text("WATTLINE_HTTP_ADDRESS", cls.http_address),
            http_port=_port(env, "WATTLINE_HTTP_PORT", cls.http_port),
            http_stall_s=env.number("WATTLINE_HTTP_STALL_S", cls.http_stall_s, at_least=1.0),
        )

    @property
    def raw_retention(self) -> datetime.timedelta | None:
        """How long raw events are kept, none for ever."""
        return datetime.timedelta(days=self.raw_retention_days) if self.raw_retention_days else None

    def is_local(self, defaults: Mapping[str, str]) -> bool:
        """Return whether all of Spark runs on this machine."""
        return defaults.get("spark.master", self.spark_master).startswith("local")


def _days(env: Environment, name: str, default: float) -> float:
    days = env.number(name, default)
    if days > _MOST_DAYS:
        raise ConfigurationError(
            f"{name}={days:g} is above {_MOST_DAYS}; unset it to get {default:g}, which is for ever"
        )
    return days


def _secret(env: Environment, name: str) -> str:
    """Return a secret; the message for one that is too short must not tell it."""
    secret = env.text(name)
    if secret and len(secret) < _SHORTEST_SECRET:
        raise ConfigurationError(
            f"{name} has fewer than {_SHORTEST_SECRET} characters: set it to a long random text, or unset it"
        )
    return secret


def _port(env: Environment, name: str, default: int) -> int:
    return env.integer(name, default, at_most=_HIGHEST_PORT)
