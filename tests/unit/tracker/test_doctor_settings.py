"""Every setting is told with where it comes from, and a slip in a name is found."""

from __future__ import annotations

from wattline.doctor_settings import misspelt, settings_that_hold
from wattline.job import read_job
from wattline.settings import Settings
from wattline_common.environment import Environment


def test_the_source_of_a_setting_is_told() -> None:
    """The environment, the job, or the default; of a wrong one the default holds."""
    env = Environment(
        {
            "WATTLINE_PUE": "0.5",
            "WATTLINE_REGION": "FRA",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_USER": "ada",
            "SLURM_JOB_ACCOUNT": "speech",
            "WATTLINE_PROJECT": "vision",
        }
    )
    wrong: list[str] = []
    settings = Settings.from_environment(lambda error: wrong.append(str(error)), env)
    told = {each.name: (each.value, each.source) for each in settings_that_hold(settings, env, wrong)}
    assert told["WATTLINE_PUE"] == ("1", "default")
    assert told["WATTLINE_REGION"] == ("FRA", "environment")
    assert told["WATTLINE_USER"] == ("ada", "job")
    assert told["WATTLINE_PROJECT"] == ("vision", "environment")
    assert told["WATTLINE_QUIET"] == ("no", "default")


class _Asked(Environment):
    """Remembers which variables it was asked for."""

    def __init__(self, **variables: str) -> None:
        super().__init__(variables)
        self.names_asked: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        self.names_asked.add(name)
        return super().text(name, default)


def test_every_setting_is_told() -> None:
    """All variables that the settings read: those of the job stand with the job."""
    maps = {f"WATTLINE_ELECTRICITY_MAPS_{name}": "x" for name in ("ZONE", "TOKEN")}
    env, job = _Asked(WATTLINE_GRID_INTENSITY_PROVIDER="electricitymaps", **maps), _Asked()
    settings = Settings.from_environment(lambda _: None, env)
    for more in ({}, {"WORLD_SIZE": "2"}, {"SLURM_JOB_ID": "7"}, {"KUBERNETES_SERVICE_HOST": "h"}):
        asked = _Asked(**more)
        read_job(asked)
        job.names_asked |= asked.names_asked
    told = {each.name for each in settings_that_hold(settings, env, [])}
    elsewhere = {"MONGODB_URI", "XDG_STATE_HOME"}  # nothing of the tracker's; where the spool's folder comes from
    assert env.names_asked - job.names_asked - elsewhere == told


def test_a_slip_in_a_name_is_found() -> None:
    """It would have no effect, silently; other programs' variables of ours are let be."""
    env = Environment(
        {"WATTLINE_REGOIN": "FRA", "WATTLINE_TRAINER_SEED": "1", "WATTLINE_PUE": "1.2", "WATTLINE_PEU": ""}
    )
    (line,) = misspelt(env)
    assert "WATTLINE_REGOIN" in line
    assert "WATTLINE_REGION" in line
