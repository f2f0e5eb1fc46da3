"""Apicurio Registry: the Schema Registry, with Confluent's interface."""

from __future__ import annotations

import http.client

from wattline_stack.jvm.bundle import Bundle
from wattline_stack.ports import HOST
from wattline_stack.servers.base import FAST_START, Server

__all__ = ["RegistryServer"]

HEALTH_TIMEOUT_S = 2.0
OVERHEAD_MB = 190  # metaspace most of all


class RegistryServer(Server):
    """The Schema Registry."""

    name = "registry"
    title = "Schema Registry"
    port_names = ("registry", "registry_management")

    @property
    def endpoint(self) -> str:
        """Base URL of the Confluent-compatible interface."""
        return f"http://{HOST}:{self.ports['registry']}/apis/ccompat/v7"

    @property
    def memory_mb(self) -> int:
        """Heap, metaspace and code."""
        return self.settings.registry_heap_mb + OVERHEAD_MB

    def command(self, bundle: Bundle) -> list[str]:
        """Return the command line.

        WRITE_DELAY=0 is what keeps an acknowledged schema after kill -9; without it its id goes to another schema.
        """
        settings = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": self.ports["registry"],
            "quarkus.management.host": HOST,
            "quarkus.management.port": self.ports["registry_management"],
            "quarkus.http.access-log.enabled": "false",
            "quarkus.log.console.color": "false",
            "apicurio.datasource.url": f"jdbc:h2:file:{self.folder / 'data' / 'registry'};WRITE_DELAY=0",
            "apicurio.datasource.jdbc.initial-size": 1,
            "apicurio.datasource.jdbc.min-size": 1,
            "apicurio.datasource.jdbc.max-size": 5,
        }
        application = next((bundle.folder / "registry").glob("**/quarkus-run.jar"))
        return [
            *self._java(bundle, self.settings.registry_heap_mb, FAST_START, "-Xss512k", "-XX:MaxMetaspaceSize=192m"),
            *(f"-D{name}={value}" for name, value in settings.items()),
            *("-jar", str(application)),
        ]

    def is_ready(self) -> bool:
        """Ask its own readiness check, which includes its database."""
        connection = http.client.HTTPConnection(HOST, self.ports["registry_management"], timeout=HEALTH_TIMEOUT_S)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
