"""Asks the stream over HTTP what a supervisor and Prometheus would ask."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Probes", "free_port"]

Labels = frozenset[tuple[str, str]]


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Probes:
    """The endpoint of one stream."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text; status 0 when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def is_ready(self) -> bool:
        """Return whether /readyz says so."""
        return self.get("/readyz")[0] == 200

    def metrics(self) -> dict[tuple[str, Labels], float]:
        """Return every sample of /metrics by name and labels, as Prometheus' own parser reads it."""
        status, text = self.get("/metrics")
        assert status == 200, text
        families = text_string_to_metric_families(text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return one sample; it must be there."""
        return self.metrics()[name, frozenset(labels.items())]
