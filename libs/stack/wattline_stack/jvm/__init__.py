"""Provisioning of everything that runs on Java: pinned, fetched once, checked before use, shared by all checkouts."""

from __future__ import annotations

from pathlib import Path

from wattline_stack.jvm import java
from wattline_stack.jvm.bundle import Bundle, provision
from wattline_stack.settings import StackSettings

__all__ = ["Bundle", "provision", "spark_jars", "spark_java_home"]


def spark_jars(settings: StackSettings | None = None) -> list[Path]:
    """Return the five jars that Spark needs for Kafka and Avro, fetching them when they are not yet here."""
    chosen = settings or StackSettings.from_environment()
    return list(provision(chosen.cache_dir, chosen.jar_repository).jars("spark"))


def spark_java_home(settings: StackSettings | None = None) -> Path:
    """Return the JAVA_HOME to start Spark with."""
    chosen = settings or StackSettings.from_environment()
    return java.spark_java_home(chosen.cache_dir, java.install_java(chosen.cache_dir))
