"""Settings come from the environment; a wrong one is told and takes its default, alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline.settings import Settings
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints


def _settings(**variables: str) -> tuple[Settings, list[str]]:
    problems: list[ConfigurationError] = []
    return Settings.from_environment(problems.append, Environment(variables)), list(map(str, problems))


def test_each_variable_is_read() -> None:
    """Every setting of the README's table has its effect."""
    settings, problems = _settings(
        WATTLINE_DISABLED="1",
        WATTLINE_QUIET="yes",
        WATTLINE_EMIT_INTERVAL_S="1",
        WATTLINE_REGION="US-CA",
        WATTLINE_PUE="1.58",
        WATTLINE_USER="ada",
        WATTLINE_PROJECT="vision",
        WATTLINE_ENVIRONMENT="cluster",
        WATTLINE_RUN_ID="r1",
        WATTLINE_FLUSH_TIMEOUT_S="3",
        WATTLINE_QUEUE_EVENTS="50",
        WATTLINE_SPOOL_DIR="/var/spool/wattline",
        WATTLINE_SPOOL_MB="7",
        CUDA_VISIBLE_DEVICES="0, 2",
        LOCAL_WORLD_SIZE="4",
        WATTLINE_CPU_MODEL="tdp-linear",
        WATTLINE_CPU_TDP_W="65",
        WATTLINE_SHARE="cgroup",
        SLURM_MEM_PER_NODE="4096",
        SLURM_JOB_ID="7",
        KAFKA_BOOTSTRAP_SERVERS="k:9092",
        SCHEMA_REGISTRY_URL="http://r",
    )
    assert problems == []
    assert (settings.disabled, settings.quiet, settings.emit_interval_s) == (True, True, 1.0)
    assert (settings.region_iso, settings.pue, settings.user_id) == ("US-CA", 1.58, "ada")
    assert (settings.project, settings.environment, settings.run_id) == ("vision", "cluster", "r1")
    assert (settings.flush_timeout_s, settings.queue_events, settings.visible_gpus) == (3.0, 50, ("0", "2"))
    assert (settings.spool_dir, settings.spool_mb) == (Path("/var/spool/wattline"), 7)
    assert (settings.local_ranks, settings.cpu_model, settings.cpu_tdp_w) == (4, "tdp-linear", 65.0)
    assert (settings.share, settings.memory_allocated_bytes) == ("cgroup", 4 * 2**30)
    assert settings.job.launchers == ("slurm",)
    assert settings.endpoints == Endpoints("k:9092", "http://r")


@pytest.mark.parametrize(
    ("variables", "visible"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,-1"}, ("GPU-a", "-1")),
    ],
)
def test_a_training_that_hides_all_cards_has_none(variables: dict[str, str], visible: tuple[str, ...] | None) -> None:
    """An empty list is no list that is not there: CUDA shows no card then, so none is charged."""
    assert _settings(**variables)[0].visible_gpus == visible


def test_servers_whose_settings_cannot_work_are_none() -> None:
    """Told, not raised; and the events go nowhere rather than to a server that nobody named."""
    settings, problems = _settings(KAFKA_BOOTSTRAP_SERVERS="k:9092", KAFKA_SECURITY_PROTOCOL="TLS")
    assert settings.endpoints is None
    assert ["KAFKA_SECURITY_PROTOCOL" in problem for problem in problems] == [True]


def test_nothing_set_is_the_defaults() -> None:
    """Empty means unset; the spool is then where a user's state belongs."""
    settings, problems = _settings(WATTLINE_PUE="", WATTLINE_USER=" ", XDG_STATE_HOME="/state")
    assert (settings, problems) == (Settings(spool_dir=Path("/state/wattline")), [])
    assert _settings()[0].spool_dir == Path.home() / ".local" / "state" / "wattline"


def test_a_wrong_one_is_told_and_the_others_stand() -> None:
    """The message names the variable; the right ones keep their effect."""
    settings, problems = _settings(WATTLINE_EMIT_INTERVAL_S="often", WATTLINE_PUE="0.9", WATTLINE_REGION="FRA")
    assert (settings.emit_interval_s, settings.pue, settings.region_iso) == (5.0, 1.0, "FRA")
    assert len(problems) == 2
    assert "WATTLINE_EMIT_INTERVAL_S" in problems[0]
    assert "WATTLINE_PUE" in problems[1]


def test_a_model_that_there_is_not_is_told() -> None:
    """The message names the setting and what it may be, and the machine's own counters or model count."""
    settings, problems = _settings(WATTLINE_CPU_MODEL="guess", WATTLINE_SHARE="all")
    assert (settings.cpu_model, settings.share) == ("", "tree")
    assert "WATTLINE_CPU_MODEL='guess' is none of ccf, codecarbon-compatible, tdp-linear" in problems[0]
    assert "WATTLINE_SHARE" in problems[1]
