"""Settings of the dashboard."""

from __future__ import annotations

import pytest

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_dashboard.settings import DashboardSettings


def test_defaults_listen_here_only() -> None:
    """With nothing set the pages are served to this machine alone."""
    settings = DashboardSettings.from_environment(Environment({}))
    assert settings == DashboardSettings()
    assert settings.address == "127.0.0.1"


def test_variables_are_read() -> None:
    """Each setting has its variable."""
    settings = DashboardSettings.from_environment(
        Environment(
            {
                "MONGODB_URI": "mongodb://db:27018/",
                "WATTLINE_DASHBOARD_ADDRESS": "0.0.0.0",  # noqa: S104 - as in a container
                "WATTLINE_DASHBOARD_PORT": "8600",
                "WATTLINE_DASHBOARD_REFRESH_S": "1.5",
                "WATTLINE_DASHBOARD_STALE_AFTER_S": "30",
                "WATTLINE_DASHBOARD_STALLED_AFTER_S": "90",
                "WATTLINE_DASHBOARD_STORE_TIMEOUT_S": "0.5",
                "WATTLINE_DASHBOARD_BUDGETS": "/etc/budgets.toml",
                "WATTLINE_DASHBOARD_METRICS_PORT": "9465",
            }
        )
    )
    assert settings == DashboardSettings(
        mongodb_uri="mongodb://db:27018/",
        address="0.0.0.0",  # noqa: S104 - as in a container
        port=8600,
        refresh_s=1.5,
        stale_after_s=30.0,
        stalled_after_s=90.0,
        store_timeout_s=0.5,
        budgets_path="/etc/budgets.toml",
        metrics_port=9465,
    )


def test_wrong_value_names_its_variable() -> None:
    """A refresh that would flood the store is refused by name."""
    with pytest.raises(ConfigurationError, match="WATTLINE_DASHBOARD_REFRESH_S"):
        DashboardSettings.from_environment(Environment({"WATTLINE_DASHBOARD_REFRESH_S": "0.01"}))


def test_no_password_is_shown() -> None:
    """What the pages show of MONGODB_URI has no credentials and no options."""
    uri = "mongodb+srv://ada:s3cret@a.example:27017,b.example/?authSource=admin"
    assert DashboardSettings(mongodb_uri=uri).store_host == "a.example:27017,b.example"
    assert DashboardSettings(mongodb_uri="nonsense").store_host == "(no host)"


def test_it_needs_no_login_to_kafka() -> None:
    """It reads the store alone, so a cluster's shared settings without Kafka's password are enough."""
    found = DashboardSettings.from_environment(Environment({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}))
    assert found == DashboardSettings()
