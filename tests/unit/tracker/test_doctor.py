"""The doctor says what a run would be measured by, what is set wrong and what would be better; it shows no password."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from wattline.__main__ import main
from wattline.doctor import Diagnosis, as_json, as_text, examine
from wattline_common.environment import Environment

AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
PASSWORDS = ("kafka-secret", "registry-secret", "maps-secret")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    """Give what is found on this machine, with every password set and every server away."""
    return examine(
        Environment(
            {
                "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
                "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "KAFKA_SASL_USERNAME": "ada",
                "KAFKA_SASL_PASSWORD": PASSWORDS[0],
                "SCHEMA_REGISTRY_URL": f"http://ada:{PASSWORDS[1]}@127.0.0.1:1",
                "WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps",
                "WATTLINE_ELECTRICITY_MAPS_ZONE": "FR",
                "WATTLINE_ELECTRICITY_MAPS_TOKEN": PASSWORDS[2],
                "WATTLINE_ELECTRICITY_MAPS_URL": "http://127.0.0.1:1",
                "WATTLINE_SPOOL_DIR": str(tmp_path_factory.mktemp("doctor") / "spool"),
                "SLURM_JOB_ID": "7",
                "SLURM_JOB_ACCOUNT": "vision",
            }
        )
    )


def test_it_reads_the_meters_that_a_run_has_here(found: Diagnosis) -> None:
    """CPU and memory, each with method, model, and a band around what it reads; the CPU's is above nothing."""
    kinds = {device.kind for device in found.devices}
    assert {"CPU", "MEMORY"} <= kinds
    for device in found.devices:
        assert device.method in {"COUNTER", "SAMPLED_POWER", "MODELLED", "UNKNOWN"}
        assert device.model_name
        assert device.product
        assert 0 <= device.power_low_w <= device.power_w <= device.power_high_w
    assert max(device.power_high_w for device in found.devices if device.kind == "CPU") > 0


def test_servers_that_are_away_do_not_fail_it(found: Diagnosis) -> None:
    """They are told, with what to do; the run can be measured, so the exit code is 0."""
    assert [(server.name, server.is_ready) for server in found.servers] == [("kafka", False), ("registry", False)]
    assert "KAFKA_BOOTSTRAP_SERVERS" in found.servers[0].reason
    assert "SCHEMA_REGISTRY_URL" in found.servers[1].reason
    assert (found.wrong, found.is_measurable, found.exit_code) == ((), True, 0)
    assert any("wattline flush" in line for line in found.better)
    assert any("Electricity Maps does not answer" in line for line in found.better)


def test_a_run_that_nothing_measures_or_a_wrong_setting_is_code_1(found: Diagnosis) -> None:
    """Each by itself."""
    unknown = tuple(replace(device, method="UNKNOWN") for device in found.devices)
    assert replace(found, devices=()).exit_code == replace(found, devices=unknown).exit_code == 1
    assert replace(found, wrong=("something",)).exit_code == 1


def test_it_shows_no_password(found: Diagnosis) -> None:
    """Neither as text nor as JSON; that one is given is told."""
    for text in (as_text(found), as_json(found)):
        assert not [password for password in PASSWORDS if password in text]
    told = {each.name: each.value for each in found.settings}
    assert (told["KAFKA_SASL_PASSWORD"], told["WATTLINE_ELECTRICITY_MAPS_TOKEN"]) == ("given", "given")


def test_people_and_programs_read_the_same(found: Diagnosis) -> None:
    """Devices, grid, spool, servers, job, settings, what is wrong and what would be better are in both."""
    facts, text = json.loads(as_json(found)), as_text(found)
    assert (facts["exit_code"], facts["is_measurable"]) == (0, True)
    assert facts["grid"]["year"] == found.grid.year
    assert facts["job"]["tags"] == {"slurm_job_id": "7"}
    for value in (
        *(device["model_name"] for device in facts["devices"]),
        facts["grid"]["source"],
        facts["spool"]["folder"],
        *(setting["name"] for setting in facts["settings"]),
        *facts["better"],
        "slurm",
    ):
        assert value in text


def _wrong(**variables: str) -> Sequence[str]:
    # Servers whose settings are wrong are not waited for.
    return examine(Environment({"KAFKA_SECURITY_PROTOCOL": "TLS", **variables})).wrong


def test_what_is_set_wrong_is_named_with_the_remedy(tmp_path: Path) -> None:
    """A value that is none, a region and a folder that are none, a name that is none, and measuring switched off."""
    (tmp_path / "file").touch()
    wrong = _wrong(
        WATTLINE_DISABLED="1",
        WATTLINE_PUE="0.5",
        WATTLINE_REGION="ATLANTIS",
        WATTLINE_REGOIN="FRA",
        WATTLINE_SPOOL_DIR=str(tmp_path / "file" / "spool"),
    )
    expected = ("KAFKA_SECURITY_PROTOCOL", "PUE", "REGION", "REGOIN", "DISABLED", "SPOOL_DIR")
    assert len(wrong) == len(expected)
    for name in expected:
        assert [line for line in wrong if name in line], name


def test_the_command_prints_it_and_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text and JSON on standard output; what is set wrong is in there, and nowhere else."""
    for name, value in {**AWAY, "WATTLINE_SPOOL_DIR": str(tmp_path), "KAFKA_SECURITY_PROTOCOL": "TLS"}.items():
        monkeypatch.setenv(name, value)
    assert main(["doctor", "--json"]) == 1
    output = capsys.readouterr()
    facts = json.loads(output.out)
    assert (facts["exit_code"], facts["servers"], len(facts["wrong"])) == (1, [], 1)
    assert "KAFKA_SECURITY_PROTOCOL" not in output.err
    assert main(["doctor"]) == 1
    assert "KAFKA_SECURITY_PROTOCOL='TLS' is unknown" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    text = capsys.readouterr().out
    for word in ("Exit codes", "MODELLED", "--json"):
        assert word in text
