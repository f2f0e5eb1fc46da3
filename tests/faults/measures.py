"""Reads what a struck line takes of memory and disk, once it is healed; kept in the campaign's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.faults.campaign import Campaign
from tests.faults.growth import Reading
from wattline_stack.processes import ProcessTable

__all__ = ["Measures"]

_FILE = "growth.jsonl"
_STREAM = "streaming"
_PARTS = {"kafka": "Kafka", "registry": "registry", "store": "store", "dashboard": "page"}
_FOLDERS = {"store journal": "store", "Kafka log": "kafka/data", "logs": "logs", "spools": "spools"}
_FOR_EVER = "one"
_Figure = tuple[str, str, str, float]  # part, quantity, life, value


class Measures:
    """The readings of a campaign, and its time under faults, which a pause between two takings up does not count."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._path = campaign.data_dir / _FILE
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self.readings = [Reading(**json.loads(line)) for line in lines]
        self._before_s = max((reading.at_s for reading in self.readings), default=0.0)
        self._since_s = time.monotonic()

    def elapsed_s(self) -> float:
        """Return how long the line has been under faults."""
        return self._before_s + time.monotonic() - self._since_s

    def take(self) -> None:
        """Read everything once, and keep it."""
        at_s, events = self.elapsed_s(), self._campaign.line.line.stored()
        figures = [*self._processes(), *self._files(), *self._counts(events)]
        taken = [Reading(at_s, events, *figure) for figure in figures]
        with self._path.open("a") as file:
            file.writelines(f"{json.dumps(dataclasses.asdict(reading))}\n" for reading in taken)
        self.readings += taken

    def _counts(self, events: int) -> Iterator[_Figure]:
        yield "raw events", "count", _FOR_EVER, events
        yield "messages of the topic", "count", _FOR_EVER, self._campaign.messages()

    def _processes(self) -> Iterator[_Figure]:
        running = ProcessTable(self._campaign.data_dir).running()
        for name, part in _PARTS.items():
            if name in running:
                yield from _figures(part, _life(running[name]), [running[name]])
        if _STREAM in running:
            for part, processes in _stream_parts(running[_STREAM]).items():
                yield from _figures(part, _life(running[_STREAM]), processes)

    def _files(self) -> Iterator[_Figure]:
        folder = self._campaign.data_dir
        for part, name in _FOLDERS.items():
            yield part, "disk", _FOR_EVER, _size(folder / name)[0]
        checkpoint = self._campaign.line.checkpoint
        # Spark keeps a hundred batches, some thirteen files each: until the first one goes, the folder fills up.
        fills = min(self._campaign.line.batches("offsets"), default=0) == 0
        yield from _both("checkpoint that fills" if fills else "checkpoint", str(checkpoint.stat().st_ino), checkpoint)
        # A stream that is killed leaves its temporary files behind: only its own growth is judged.
        yield from _both("temporary files", str(self._campaign.line.stream.pid), self._campaign.temporary)


def _life(process: psutil.Process) -> str:
    return f"{process.pid}-{process.create_time():.0f}"


def _stream_parts(driver: psutil.Process) -> Mapping[str, list[psutil.Process]]:
    parts: dict[str, list[psutil.Process]] = {"stream driver": [driver], "stream JVM": [], "stream workers": []}
    for child in driver.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            parts["stream JVM" if child.name() == "java" else "stream workers"].append(child)
    return parts


def _figures(part: str, life: str, processes: list[psutil.Process]) -> Iterator[_Figure]:
    rss_bytes = open_files = threads = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            rss_bytes += process.memory_info().rss
            open_files += process.num_fds()
            threads += process.num_threads()
    yield part, "RSS", life, rss_bytes / 2**20
    yield part, "open files", life, open_files
    yield part, "threads", life, threads


def _both(part: str, life: str, folder: Path) -> Iterator[_Figure]:
    size_mb, files = _size(folder)
    yield part, "disk", life, size_mb
    yield part, "files", life, files


def _size(folder: Path) -> tuple[float, int]:
    """Return the MB that a folder's files take on their disk, which of a sparse one is not its length; and how many."""
    blocks, files = 0, 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # what a server has removed meanwhile
            if path.is_file():
                blocks, files = blocks + path.stat().st_blocks, files + 1
    return blocks * 512 / 2**20, files
