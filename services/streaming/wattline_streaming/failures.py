"""What a failure of the query says: whether waiting helps, and the words for whoever waits."""

from __future__ import annotations

from wattline_common.errors import (
    ConfigurationError,
    StopError,
    StoreRefusedError,
    UnavailableError,
    WattlineError,
)

__all__ = ["cause", "is_outage", "is_spark_57438", "names", "text"]

_KAFKA_AWAY = (
    *(f"org.apache.kafka.common.errors.{name}Exception" for name in ("Timeout", "Disconnect", "Network")),
    "Cannot fetch record for offset",  # so an executor calls a broker that is silent
    "Failed to construct kafka consumer",
)
# Waiting does not help where Kafka answers and refuses, or where the client cannot be made of our settings.
_KAFKA_REFUSES = (
    *("SaslAuthenticationException", "SslAuthenticationException", "AuthorizationException"),
    *("InvalidConfigurationException", "Failed to load PEM SSL keystore", "Failed to load SSL keystore"),
)
# Spark 4.1's Kafka source fails, after the batch is committed, to report progress of a batch that a restart repeats.
_SPARK_57438 = 'because the return value of "scala.Option.get()" is null'
_OURS = (UnavailableError, ConfigurationError, StoreRefusedError, StopError)
_PLAN = "=== Streaming Query ==="  # from here on an exception's text is pages of plan


def text(error: BaseException | None) -> str:
    """Return what an exception of a query says, without the plan."""
    return str(error).partition(_PLAN)[0]


def is_outage(problem: str) -> bool:
    """Return whether a server was away, by our own errors or by what Spark's Kafka client says then."""
    if names(problem, ConfigurationError) or any(text in problem for text in _KAFKA_REFUSES):
        return False
    return names(problem, UnavailableError) or any(text in problem for text in _KAFKA_AWAY)


def is_spark_57438(problem: str) -> bool:
    """Return whether the batch is done and only its progress could not be told."""
    return _SPARK_57438 in problem


def names(problem: str, kind: type[WattlineError]) -> bool:
    """Return whether a problem's text, which may come from another process, names an error of a kind."""
    return any(cls.__name__ in problem for cls in (kind, *kind.__subclasses__()))


def cause(problem: str) -> str:
    """Return the line that names an error of ours, maybe deep in a trace; else what a Python trace ends with.

    Without either, the text stands for itself.
    """
    lines = problem.splitlines()
    ours = [line for line in lines if any(names(line, kind) for kind in _OURS)]
    if ours:
        return ours[-1]
    traces = [number for number, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    ends = (line for line in lines[traces[-1] + 1 :] if line and not line.startswith(" ")) if traces else iter(())
    return next(ends, problem)
