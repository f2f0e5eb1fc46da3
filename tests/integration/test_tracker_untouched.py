"""One server away and the other one there, or a disk that is full: a training does not notice that either."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.untouched import Broken, train
from wattline.spool_folders import SpoolRoot
from wattline_common.kafka import ensure_topics
from wattline_common.registry import Registry

if TYPE_CHECKING:
    from wattline_stack import Endpoints

PAGE = os.sysconf("SC_PAGE_SIZE")
AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize("away", AWAY)
def test_a_server_that_is_away_is_not_the_trainings(
    stack: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Same numbers, same output, same exit code; every event is kept, and is delivered once the server is there."""
    ensure_topics(stack.kafka_bootstrap_servers)
    list(Registry(stack.schema_registry_url).register())
    servers = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.schema_registry_url,
    }
    ended = train(tmp_path, "on", broken=Broken({**servers, away: AWAY[away]}))
    assert "`wattline flush` sends them" in ended.told
    assert ended == train(tmp_path, "off")
    (folder,) = SpoolRoot(tmp_path / "spool").folders()
    kept = folder.waiting()
    assert (kept.account.status, kept.dropped, kept.damaged) == ("COMPLETED", 0, 0)
    for name, value in {**servers, "WATTLINE_SPOOL_DIR": str(tmp_path / "spool")}.items():
        monkeypatch.setenv(name, value)
    flush = [sys.executable, "-m", "wattline", "flush"]
    flushed = subprocess.run(flush, capture_output=True, text=True, timeout=120, check=False)
    assert (flushed.returncode, flushed.stdout) == (0, f"{kept.events} events of 1 sources delivered\n"), flushed.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own with room for sixteen pages."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={16 * PAGE}", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here, which root may: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607  # as mount, wherever it is


@pytest.mark.parametrize("free_pages", [0, 1])
def test_a_full_disk_is_not_the_trainings(disk: Path, tmp_path: Path, free_pages: int) -> None:
    """One that is full from the start, and one that becomes so while the run is recorded: told once, nothing raised."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(PAGE)):
            pass
    os.truncate(filler, filler.stat().st_size - free_pages * PAGE)
    ended = train(tmp_path, "on", broken=Broken({"WATTLINE_SPOOL_DIR": str(disk / "spool")}))
    assert "No space left on device" in ended.told
    assert ended.told.count("cannot be written, so events wait in memory") == 1
    assert ended == train(tmp_path, "off")
