"""Services get exactly the names they read."""

from __future__ import annotations

from pathlib import Path

from wattline_stack import Endpoints

ENDPOINTS = Endpoints(
    kafka_bootstrap_servers="127.0.0.1:1",
    schema_registry_url="http://127.0.0.1:2/apis/ccompat/v7",
    mongodb_uri="mongodb://user:it's@host/",
    java_home=Path("/java home"),
    spark_jars=(Path("/a.jar"), Path("/b.jar")),
)


def test_environment_has_the_names_that_services_read() -> None:
    """Five variables, jars separated by commas."""
    assert ENDPOINTS.environment() == {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SCHEMA_REGISTRY_URL": "http://127.0.0.1:2/apis/ccompat/v7",
        "MONGODB_URI": "mongodb://user:it's@host/",
        "JAVA_HOME": "/java home",
        "WATTLINE_SPARK_JARS": "/a.jar,/b.jar",
    }


def test_exports_are_quoted_for_a_shell() -> None:
    """A space or quote in a value does not break `eval`."""
    assert "export JAVA_HOME='/java home'" in ENDPOINTS.exports()
    assert """export MONGODB_URI='mongodb://user:it'"'"'s@host/'""" in ENDPOINTS.exports()
