"""Settings come from the environment, once, and a wrong one names itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline_common.errors import ConfigurationError
from wattline_stack.settings import StackSettings


def test_defaults_lie_under_the_checkout_and_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting data go under the current folder and downloads to one cache for all checkouts."""
    monkeypatch.chdir(tmp_path)
    settings = StackSettings.from_environment({"XDG_CACHE_HOME": "/caches"})
    assert settings.data_dir == tmp_path / ".wattline"
    assert settings.cache_dir.name == "wattline"
    assert settings.store_heap_mb == 768
    assert settings.kafka_bootstrap_servers == ""


def test_empty_means_unset() -> None:
    """An empty variable, as compose files and CI leave them, is no setting."""
    settings = StackSettings.from_environment({"MONGODB_URI": " ", "WATTLINE_STORE_HEAP_MB": ""})
    assert settings.mongodb_uri == ""
    assert settings.store_heap_mb == 768


def test_given_values_are_taken() -> None:
    """Folders are made absolute, with the home folder filled in."""
    settings = StackSettings.from_environment(
        {
            "WATTLINE_DATA_DIR": "~/data",
            "WATTLINE_CACHE_DIR": "cache",
            "WATTLINE_STORE_FSYNC": "yes",
            "WATTLINE_STORE_COMPACT_MB": "200",
        }
    )
    assert settings.data_dir == Path.home() / "data"
    assert settings.cache_dir == Path.cwd() / "cache"
    assert settings.store_fsync
    assert settings.store_compact_mb == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WATTLINE_STORE_HEAP_MB", "8"),
        ("WATTLINE_STORE_COMPACT_MB", "0"),
        ("WATTLINE_KAFKA_HEAP_MB", "much"),
        ("WATTLINE_STOP_TIMEOUT_S", "nan"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    """A heap that no server starts with, or no number at all, is refused before anything starts."""
    with pytest.raises(ConfigurationError, match=name):
        StackSettings.from_environment({name: value})


def test_a_login_is_for_a_real_kafka() -> None:
    """The embedded one asks for none, and its clients would not come in with one."""
    login = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": "ada",
        "KAFKA_SASL_PASSWORD": "canary",
    }
    with pytest.raises(ConfigurationError, match="KAFKA_SECURITY_PROTOCOL=SASL_SSL is for a real server"):
        StackSettings.from_environment(login)
    settings = StackSettings.from_environment({**login, "KAFKA_BOOTSTRAP_SERVERS": "k:9094"})
    assert settings.kafka_security.protocol == "SASL_SSL"
