"""A lack is named before anything starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from wattline_common.errors import ResourceError
from wattline_stack.checks import require_disk, require_memory
from wattline_stack.servers import KafkaServer, StoreServer
from wattline_stack.settings import StackSettings


def test_too_little_memory_names_needs_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells what is free, what each server needs, and what can be lowered."""
    settings = StackSettings(data_dir=tmp_path, cache_dir=tmp_path)
    servers = [KafkaServer(settings, {}), StoreServer(settings, {})]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100 << 20))
    with pytest.raises(ResourceError, match=r"100 MB of memory are free.*Kafka 450, Store 888.*WATTLINE_STORE_HEAP_MB"):
        require_memory(servers)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4096 << 20))
    require_memory(servers)


def test_a_full_disk_names_folder_and_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells which folder, how much is free and needed, and where to go instead."""
    monkeypatch.setattr(psutil, "disk_usage", lambda _path: SimpleNamespace(free=10 << 20))
    with pytest.raises(ResourceError, match=r"10 MB free, and 500 MB are needed.*WATTLINE_DATA_DIR"):
        require_disk(tmp_path)
    monkeypatch.setattr(psutil, "disk_usage", lambda _path: SimpleNamespace(free=10 << 30))
    require_disk(tmp_path)
