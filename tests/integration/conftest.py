"""Fixtures of the tests that need real servers: a database of one's own, and one Spark session."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.database import Database
from pyspark.sql import SparkSession

from wattline_common import store
from wattline_stack import Endpoints, SilentProgress, Stack, StackSettings
from wattline_stack.demo import FAST_START_JAVA_OPTIONS
from wattline_stack.jvm.java import spark_java_home
from wattline_streaming.session import spark_session
from wattline_streaming.settings import StreamingSettings

__all__ = ["database", "spark"]


@pytest.fixture
def database(stack: Endpoints) -> Iterator[Database[dict[str, Any]]]:
    """Give an empty database of the session's store, with the indexes; dropped afterwards."""
    client = store.connect(stack.mongodb_uri).client
    own = client[f"test_{uuid.uuid4().hex[:12]}"]
    store.ensure(own)
    yield own
    client.drop_database(own.name)
    client.close()


@pytest.fixture(scope="session")
def spark(stack_settings: StackSettings) -> Iterator[SparkSession]:
    """Give the session that the service itself would start; it needs Java and the jars, no server."""
    bundle = Stack(stack_settings).provision(SilentProgress())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_HOME", str(spark_java_home(stack_settings.cache_dir, bundle.java)))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = spark_session(
            StreamingSettings(
                spark_jars=",".join(map(str, bundle.jars("spark"))), driver_java_options=FAST_START_JAVA_OPTIONS
            ),
            {},
        )
        yield session
        session.stop()
