"""Promises of the tool that draws the secrets of an overlay."""

from __future__ import annotations

import io
import re
import stat
from pathlib import Path

import pytest

from tools import k8s_secrets

ADDRESSES = ["mongodb://writer:one@db/", "mongodb+srv://reader:two@db/"]


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Return the variables of each file."""
    files = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in folder.iterdir()}
    return {name: dict(line.split("=", 1) for line in lines) for name, lines in files.items()}


def test_local_addresses_carry_the_passwords_that_mongodb_is_given(tmp_path: Path) -> None:
    """Each user of MongoDB has a password of its own, and its client knows it."""
    k8s_secrets.write("local", tmp_path / "secrets", lambda _: "")
    found = read(tmp_path / "secrets")
    passwords = {value for key, value in found["mongodb"].items() if key.endswith("PASSWORD")}
    assert len(passwords) == 3
    for who in ("streaming", "dashboard"):
        password = found["mongodb"][f"MONGODB_{who.upper()}_PASSWORD"]
        assert found[f"{who}-store"]["MONGODB_URI"].startswith(f"mongodb://{who}:{password}@mongodb:27017/")


def test_passwords_need_no_quoting(tmp_path: Path) -> None:
    """They stand in addresses, in properties and in JAAS as they are."""
    k8s_secrets.write("cluster", tmp_path / "secrets", lambda _: ADDRESSES[0])
    kafka = read(tmp_path / "secrets")["kafka"]
    assert re.fullmatch(r"(\w+=[0-9a-f]{48},?)+", kafka["KAFKA_SCRAM_USERS"])
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", kafka["KAFKA_CLUSTER_ID"])


def test_a_repetition_changes_nothing(tmp_path: Path) -> None:
    """Old volumes know old passwords."""
    folder = tmp_path / "secrets"
    assert k8s_secrets.write("local", folder, lambda _: "")
    before = read(folder)
    assert k8s_secrets.write("local", folder, lambda _: "") == []
    assert read(folder) == before


def test_half_a_folder_is_refused(tmp_path: Path) -> None:
    """New passwords beside old ones would fit nothing; the message names the remedy."""
    folder = tmp_path / "secrets"
    k8s_secrets.write("local", folder, lambda _: "")
    (folder / "mongodb.env").unlink()
    with pytest.raises(FileExistsError, match=r"lacks mongodb and has others: bring them back"):
        k8s_secrets.write("local", folder, lambda _: "")


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    """Neither folder nor files are open to others."""
    folder = tmp_path / "secrets"
    for path in (*k8s_secrets.write("local", folder, lambda _: ""), folder):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_addresses_come_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gives the cluster's two addresses as two lines, the stream's first; no command line shows them."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(ADDRESSES)))
    assert k8s_secrets.main(["cluster", "--into", str(tmp_path / "secrets")]) == 0
    found = read(tmp_path / "secrets")
    assert [found[f"{who}-store"]["MONGODB_URI"] for who in ("streaming", "dashboard")] == ADDRESSES


def test_what_is_no_address_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to give."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert k8s_secrets.main(["cluster", "--into", str(tmp_path / "secrets")]) == 1
    assert "give one on standard input" in capsys.readouterr().err
    assert not (tmp_path / "secrets").exists()
