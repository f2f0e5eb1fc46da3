"""Promises of the streaming settings: defaults, and errors that name the variable."""

from __future__ import annotations

import pytest

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_streaming.settings import StreamingSettings


def test_variables_are_read() -> None:
    """A variable that is set reaches its setting; an empty one leaves the default."""
    variables = {"WATTLINE_WATERMARK_S": "7", "MONGODB_URI": "mongodb://there/", "WATTLINE_SHUFFLE_PARTITIONS": ""}
    settings = StreamingSettings.from_environment(Environment(variables))
    assert (settings.watermark_s, settings.endpoints.mongodb_uri) == (7, "mongodb://there/")
    assert settings.shuffle_partitions == StreamingSettings.shuffle_partitions


@pytest.mark.parametrize("value", ["many", "0", "-3"])
def test_a_wrong_value_names_its_variable(value: str) -> None:
    """A number that is none, or too small, is refused by name before anything starts."""
    with pytest.raises(ConfigurationError, match="WATTLINE_SHUFFLE_PARTITIONS"):
        StreamingSettings.from_environment(Environment({"WATTLINE_SHUFFLE_PARTITIONS": value}))


def test_a_port_beyond_all_ports_is_refused() -> None:
    """As is one below; 9464 is fine."""
    read = StreamingSettings.from_environment
    assert read(Environment({"WATTLINE_HTTP_PORT": "9464"})).http_port == 9464
    for value in ("65536", "-1"):
        with pytest.raises(ConfigurationError, match="WATTLINE_HTTP_PORT"):
            read(Environment({"WATTLINE_HTTP_PORT": value}))


def test_a_short_secret_is_refused_and_none_is_ever_told() -> None:
    """Neither by the message nor by the settings' text, which may end in a log."""
    read = StreamingSettings.from_environment
    for secret, is_good in (("canary", False), ("canary" * 6, True), ("", True)):
        told = Environment({"WATTLINE_ERASURE_KEY": secret})
        if is_good:
            assert read(told).erasure_key == secret
            assert "canary" not in repr(read(told))
            continue
        with pytest.raises(ConfigurationError, match="WATTLINE_ERASURE_KEY") as error:
            read(told)
        assert "canary" not in str(error.value)
