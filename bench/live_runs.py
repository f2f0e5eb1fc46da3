"""How far the stream stays behind many live runs on this machine: `python -m bench.live_runs --live 500 --seconds 180`.

Prints the lag in events every few seconds; bounded means that it does not grow.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from tests.line import Line, running_line
from wattline_common import kafka
from wattline_stack.processes import ProcessTable

_EVERY_S = 10.0


def end_offsets(bootstrap_servers: str) -> int:
    """Return how many messages training.events has ever got."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "bench"})
    partitions = consumer.list_topics(kafka.TRAINING_EVENTS, timeout=20).topics[kafka.TRAINING_EVENTS].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(kafka.TRAINING_EVENTS, number))[1] for number in partitions]
    consumer.close()
    return sum(ends)


def rss_mb(line: Line) -> dict[str, int]:
    """Return the resident memory of each process with its children, by name, in MB."""
    sizes = {}
    for name, process in ProcessTable(line.data_dir).running().items():
        sizes[name] = sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) >> 20
    return sizes


def measure(line: Line, live: int, seconds: float) -> list[int]:
    """Run the fleet and return the lag in events at each look, once the stream has caught up with its start."""
    line.start_stream()
    options = ["--runs", "0", "--live", str(live), "--for", str(seconds)]
    fleet = line.services.start("fleet", ["wattline_trainer", "simulate", *options])
    lags, started_s = [], time.monotonic()
    while fleet.exit_code is None:
        time.sleep(_EVERY_S)
        written = end_offsets(line.endpoints.kafka_bootstrap_servers)
        lags.append(written - line.stored())
        sys.stdout.write(f"{time.monotonic() - started_s:6.0f} s  {written:7d} written  {lags[-1]:6d} behind\n")
        sys.stdout.flush()
    sizes = rss_mb(line)
    sys.stdout.write(f"RSS in MB: {sizes}, in all {sum(sizes.values())}\n")
    return lags


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=500, help="runs at once (default 500)")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long (default 180)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattline-bench-") as folder, running_line(Path(folder)) as line:
        lags = measure(line, options.live, options.seconds)
    late = lags[len(lags) // 2 :]
    sys.stdout.write(f"lag in the second half: median {statistics.median(late):.0f}, highest {max(late)} events\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
