"""Promises of how a failure is read: an outage is waited for, and its words are found."""

from __future__ import annotations

import pytest

from wattline_streaming.failures import cause, is_outage

TRACE = """Job aborted due to stage failure: Task 3 in stage 14.0 failed 1 times
Traceback (most recent call last):
  File "books.py", line 98, in book
    raise StoreUnavailableError(text) from error
wattline_common.errors.StoreUnavailableError: no good answer from the store at MONGODB_URI: refused

Driver stacktrace:"""
REFUSED = (
    "wattline_common.errors.StoreRefusedError: the store at MONGODB_URI refuses (OperationFailure): not authorized"
)
KAFKA_AWAY = (  # as Spark's driver and executors put it
    "org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment. Call: listNodes",
    "java.util.concurrent.TimeoutException: Cannot fetch record for offset 12 in 120000 milliseconds",
)
KAFKA_REFUSES = (  # as Spark's client puts it, and as our own producers do
    "org.apache.kafka.common.errors.SaslAuthenticationException: Authentication failed",
    "org.apache.kafka.common.errors.SslAuthenticationException: SSL handshake failed",
    "org.apache.kafka.common.errors.TopicAuthorizationException: Topic authorization failed.",
    "org.apache.kafka.common.KafkaException: Failed to construct kafka consumer\n"
    "Caused by: org.apache.kafka.common.errors.InvalidConfigurationException: Failed to load PEM SSL keystore /ca.pem",
    "wattline_common.errors.ConfigurationError: Kafka at KAFKA_BOOTSTRAP_SERVERS=k:9094 and we do not come together",
)


@pytest.mark.parametrize("problem", [TRACE, *KAFKA_AWAY])
def test_a_server_that_is_away_is_an_outage(problem: str) -> None:
    """By an error of ours deep in a trace of an executor, or by the words of Kafka's own client."""
    assert is_outage(problem)


@pytest.mark.parametrize("problem", KAFKA_REFUSES)
def test_a_kafka_that_refuses_us_is_no_outage(problem: str) -> None:
    """A setting must change, so its failures are counted and the stream ends, whatever else the text holds."""
    assert not is_outage(problem)


@pytest.mark.parametrize(
    "problem", ["KeyError: 'TimeoutException'", REFUSED, "java.lang.OutOfMemoryError", "IndexError"]
)
def test_anything_else_is_none(problem: str) -> None:
    """Waiting would not mend it, so its failures are counted."""
    assert not is_outage(problem)


def test_the_cause_is_the_line_of_our_own_error() -> None:
    """It names setting and remedy; without one, the text stands for itself."""
    assert cause(TRACE).startswith("wattline_common.errors.StoreUnavailableError: no good answer from the store")
    assert cause(f"Job aborted\nTraceback (most recent call last):\n  File x\n{REFUSED}\n\nat") == REFUSED
    fault = "Query failed: Traceback (most recent call last):\n  File x\n    1 / 0\nZeroDivisionError: of ours\n\nat"
    assert cause(fault) == "ZeroDivisionError: of ours"
    assert cause("java.lang.OutOfMemoryError") == "java.lang.OutOfMemoryError"
