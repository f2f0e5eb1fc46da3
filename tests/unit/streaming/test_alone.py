"""One driver at a time on a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline_common.errors import ConfigurationError, StopError
from wattline_streaming.alone import alone, only_driver


def test_a_second_driver_is_told_and_a_command_only_asks(tmp_path: Path) -> None:
    """While one holds the folder, which need not be there before; then it is free again."""
    folder = tmp_path / "new" / "checkpoint"
    with only_driver(folder):
        with alone(folder) as mine:
            assert not mine
        with pytest.raises(StopError, match="WATTLINE_CHECKPOINT_DIR"), only_driver(folder):
            pass
    with alone(folder) as mine:
        assert mine
        with pytest.raises(StopError), only_driver(folder):
            pass


def test_a_folder_that_cannot_be_written_is_told_as_the_setting(tmp_path: Path) -> None:
    """Not as a trace: a disk that is read-only, a file in its place."""
    (tmp_path / "file").touch()
    told = pytest.raises(
        ConfigurationError, match=r"WATTLINE_CHECKPOINT_DIR=.*cannot be written \(.*name another folder"
    )
    with told, only_driver(tmp_path / "file" / "checkpoint"):
        pass
