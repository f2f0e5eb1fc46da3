"""What may be set from outside; the only reader of the environment in this service."""

from __future__ import annotations

from dataclasses import dataclass, field

from wattline_common.environment import Environment
from wattline_common.settings import Endpoints, hosts, mongodb_uri

__all__ = ["DashboardSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """Settings of the pages and of the server that serves them."""

    mongodb_uri: str = field(default=Endpoints.mongodb_uri, repr=False)  # it may hold a password
    address: str = "127.0.0.1"
    port: int = 8501
    refresh_s: float = 2.0
    stale_after_s: float = 15.0
    stalled_after_s: float = 120.0
    store_timeout_s: float = 3.0
    budgets_path: str = ""  # of a TOML file; none: no budgets
    metrics_port: int = 0  # 0: no metrics are served

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> DashboardSettings:
        """Read MONGODB_URI and WATTLINE_DASHBOARD_*; raise `ConfigurationError` naming what is wrong."""
        env = environment or Environment()
        return cls(
            mongodb_uri=mongodb_uri(env),
            address=env.text("WATTLINE_DASHBOARD_ADDRESS", "127.0.0.1"),
            port=env.integer("WATTLINE_DASHBOARD_PORT", 8501, at_least=1, at_most=65_535),
            refresh_s=env.number("WATTLINE_DASHBOARD_REFRESH_S", 2.0, at_least=0.5),
            stale_after_s=env.number("WATTLINE_DASHBOARD_STALE_AFTER_S", 15.0, at_least=1.0),
            stalled_after_s=env.number("WATTLINE_DASHBOARD_STALLED_AFTER_S", 120.0, at_least=1.0),
            store_timeout_s=env.number("WATTLINE_DASHBOARD_STORE_TIMEOUT_S", 3.0, at_least=0.1),
            budgets_path=env.text("WATTLINE_DASHBOARD_BUDGETS"),
            metrics_port=env.integer("WATTLINE_DASHBOARD_METRICS_PORT", 0),
        )

    @property
    def store_host(self) -> str:
        """Hosts and ports of MONGODB_URI, without user, password and options: fit to be shown."""
        return hosts(self.mongodb_uri)
