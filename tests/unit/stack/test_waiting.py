"""Waiting for a server ends with the server, or with the reason why not."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from wattline_common.errors import ResourceError
from wattline_stack.servers import StoreServer
from wattline_stack.settings import StackSettings
from wattline_stack.waiting import CancelledError, wait_until_ready


class ProbeServer(StoreServer):
    """A store that is never ready, or after some looks."""

    looks_until_ready = 1_000_000

    def is_ready(self) -> bool:
        """Count the looks."""
        self.looks_until_ready -= 1
        return self.looks_until_ready <= 0


@pytest.fixture
def server(tmp_path: Path) -> ProbeServer:
    """Make a server that does not answer."""
    made = ProbeServer(StackSettings(data_dir=tmp_path, cache_dir=tmp_path), {"store": 1})
    made.folder.mkdir()
    return made


def test_it_returns_as_soon_as_the_server_answers(server: ProbeServer) -> None:
    """Ready at the third look: no error."""
    server.looks_until_ready = 3
    wait_until_ready(server, lambda: None, 10)
    assert server.looks_until_ready == 0


def test_an_early_end_shows_the_end_of_the_log(server: ProbeServer) -> None:
    """Who only sees the terminal sees why."""
    server.log.write_text("first\nlast words\n")
    with pytest.raises(ResourceError, match=r"ended at once \(exit code 1\)[\s\S]*last words"):
        wait_until_ready(server, lambda: 1, 10)


def test_known_ends_are_translated(server: ProbeServer) -> None:
    """Out of memory names the setting; a damaged journal passes the store's own words on."""
    with pytest.raises(ResourceError, match="raise WATTLINE_STORE_HEAP_MB"):
        wait_until_ready(server, lambda: 3, 10)
    server.log.write_text("refused: damaged at offset 8\nanything\n")
    with pytest.raises(ResourceError, match="damaged at offset 8"):
        wait_until_ready(server, lambda: 4, 10)


def test_silence_is_an_error_that_names_log_and_setting(server: ProbeServer) -> None:
    """A server that lives and never answers is given up at the deadline."""
    with pytest.raises(ResourceError, match=r"server\.log.*WATTLINE_START_TIMEOUT_S"):
        wait_until_ready(server, lambda: None, 0.1)


def test_cancelling_ends_the_wait(server: ProbeServer) -> None:
    """When another server failed, nobody waits for this one."""
    cancel = Event()
    cancel.set()
    with pytest.raises(CancelledError):
        wait_until_ready(server, lambda: None, 10, cancel)
