"""Ports are chosen free once, kept, and a taken one is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from wattline_common.errors import ResourceError
from wattline_stack.ports import FIRST_PORT, LAST_PORT, is_free, keep_ports, require_free


def test_ports_are_kept(tmp_path: Path) -> None:
    """Asked again, and for one name more, the former ports are the same and all differ."""
    first = keep_ports(tmp_path, ["a", "b"])
    second = keep_ports(tmp_path, ["a", "b", "c"])
    assert {name: second[name] for name in first} == first
    assert len(set(second.values())) == 3
    assert all(FIRST_PORT <= port < LAST_PORT and is_free(port) for port in second.values())


def test_a_taken_port_names_its_holder_and_the_remedy(tmp_path: Path) -> None:
    """The error says which port, for what, who has it, and which file to remove."""
    ports = keep_ports(tmp_path, ["kafka"])
    with (
        socket.create_server(("127.0.0.1", ports["kafka"])),
        pytest.raises(ResourceError, match=f"kept for kafka, is taken by process {os.getpid()} .*ports.json"),
    ):
        require_free(tmp_path, ports)
    require_free(tmp_path, ports)


def test_a_port_taken_on_all_addresses_is_not_free() -> None:
    """A server on 0.0.0.0 also holds the loopback port."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - that is what is tested
        assert not is_free(server.getsockname()[1])


def test_an_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    """Damage to the file of ports is an error with a remedy, not new ports behind one's back."""
    (tmp_path / "ports.json").write_text("{")
    with pytest.raises(ResourceError, match="remove it"):
        keep_ports(tmp_path, ["kafka"])
