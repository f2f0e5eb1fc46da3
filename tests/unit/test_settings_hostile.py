"""Any environment is read, or told as a wrong setting by its name: by every part, and never with a password in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wattline.settings import Settings
from wattline_common.carbon.settings import GridSettings
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints
from wattline_dashboard.settings import DashboardSettings
from wattline_stack import StackSettings
from wattline_streaming.settings import StreamingSettings
from wattline_trainer.settings import Settings as TrainerSettings

ROOT = Path(__file__).parents[2]
READERS: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
    "servers": lambda variables: Endpoints.from_environment(Environment(variables)),
    "grid": lambda variables: GridSettings.from_environment(Environment(variables)),
    "stream": lambda variables: StreamingSettings.from_environment(Environment(variables)),
    "pages": lambda variables: DashboardSettings.from_environment(Environment(variables)),
    "trainer": lambda variables: TrainerSettings.from_environment(Environment(variables)),
    "stack": lambda variables: StackSettings.from_environment(variables),
}
NAMES = sorted(
    {
        name
        for path in (*ROOT.glob("libs/*/wattline*/**/settings.py"), *ROOT.glob("services/*/wattline*/settings.py"))
        for name in re.findall(r'"((?:WATTLINE|KAFKA|SCHEMA|MONGODB|SLURM)_[A-Z_]+)"', path.read_text(encoding="utf-8"))
        if not name.endswith("_")
    }
)
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["nan", "-inf", "1e999", "1e300", "-1", "0", "9" * 5000, "٣", "1_000", "0x10", "yes", "~nobody"]),
    st.integers().map(str),
    st.floats().map(str),
)


def test_the_settings_are_found() -> None:
    """Else nothing below would try any."""
    assert {"MONGODB_URI", "WATTLINE_SETTLE_DELAY_S", "WATTLINE_DASHBOARD_PORT", "KAFKA_SASL_PASSWORD"} <= set(NAMES)
    assert len(NAMES) > 40


@pytest.mark.parametrize("part", READERS)
@given(variables=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
@example(variables=dict.fromkeys(NAMES, "1e300"))
@example(variables=dict.fromkeys(NAMES, "9" * 400))
def test_any_environment_is_read_or_told(part: str, variables: dict[str, str]) -> None:
    """The message names the setting."""
    told = ""
    try:
        READERS[part](variables)
    except ConfigurationError as error:
        told = str(error)
    assert not told or any(name in told for name in variables), told


@given(variables=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8))
def test_no_environment_stops_a_training(variables: dict[str, str]) -> None:
    """What is wrong is told, and takes its default."""
    told: list[ConfigurationError] = []
    settings = Settings.from_environment(told.append, Environment(variables))
    assert settings.emit_interval_s >= 0.1
    assert all(any(name in str(error) for name in variables) for error in told)


def _told(read: Callable[[Mapping[str, str]], Any], variables: Mapping[str, str]) -> str:
    """Return what the settings are, or what is wrong with them."""
    try:
        return repr(read(variables))
    except ConfigurationError as error:
        return str(error)


@given(password=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=6, max_size=20))
@example(password="00000\x1b")  # noqa: S106 - no token can hold that
def test_no_settings_show_a_password(password: str) -> None:
    """Neither what they are nor what is wrong with them."""
    secret = f"canary{password}".strip()
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": "h:1",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": "ada",
        "KAFKA_SASL_PASSWORD": secret,
        "MONGODB_URI": f"mongodb://ada:{secret}@h/",
        "SCHEMA_REGISTRY_URL": f"http://ada:{secret}@h/",
        "WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps",
        "WATTLINE_ELECTRICITY_MAPS_ZONE": "FR",
        "WATTLINE_ELECTRICITY_MAPS_TOKEN": secret,
    }
    shown = [_told(READERS[part], variables) for part in ("servers", "grid", "stream", "stack")]
    shown.append(repr(Settings.from_environment(lambda error: shown.append(str(error)), Environment(variables))))
    shown.append(DashboardSettings.from_environment(Environment(variables)).store_host)
    assert "canary" not in "".join(shown)
    assert os.environ.get("KAFKA_SASL_PASSWORD") != secret
