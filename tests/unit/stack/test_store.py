"""What the store is started with."""

from __future__ import annotations

import re
from pathlib import Path

from wattline_stack.jvm.bundle import Bundle
from wattline_stack.servers import StoreServer
from wattline_stack.settings import StackSettings

IMAGE = Path(__file__).resolve().parents[3] / "libs" / "stack" / "image" / "store"


def test_settings_reach_the_command_line(tmp_path: Path) -> None:
    """Heap, durability and the length from which the journal is compacted are said to Java."""
    settings = StackSettings(
        data_dir=tmp_path, cache_dir=tmp_path, store_heap_mb=99, store_fsync=True, store_compact_mb=7
    )
    server = StoreServer(settings, {"store": 1})
    command = server.command(Bundle(tmp_path / "java", tmp_path, tmp_path / "launcher.jar"))
    assert {"-Xmx99m", "-Dwattline.fsync=true", "-Dwattline.compact.mb=7"} <= set(command)
    assert command[-1] == str(server.journal)


def test_the_image_has_the_same_defaults(tmp_path: Path) -> None:
    """A store in a container keeps its journal as one on a laptop does."""
    settings = StackSettings(data_dir=tmp_path, cache_dir=tmp_path)
    defaults = dict(re.findall(r"-Dwattline\.([\w.]+)=\"\$\{\w+:-(\w+)\}\"", IMAGE.read_text()))
    assert defaults == {
        "fsync": str(settings.store_fsync).lower(),
        "compact.mb": str(settings.store_compact_mb),
    }
