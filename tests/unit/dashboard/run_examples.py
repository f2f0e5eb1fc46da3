"""Summaries of runs whose sources tell all there is: hardware, settings, tags, several hosts."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, cast

from tests.dashboard_runs import recorded_run, summary_document
from wattline_common.events import DeviceDescription, DeviceKind, Method, RunStarted, RunStatus
from wattline_common.store import RunSummary

__all__ = ["NOW", "described_run", "described_summary"]

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
_CPU = DeviceDescription(device_id="cpu", kind=DeviceKind.CPU, model_name="EPYC", method=Method.MODELLED, count=8)
_GPU = DeviceDescription(
    device_id="gpu-0",
    kind=DeviceKind.GPU,
    model_name="A100",
    method=Method.COUNTER,
    count=1,
    memory_total_bytes=40_000_000_000,
)
_MEMORY = DeviceDescription(
    device_id="memory",
    kind=DeviceKind.MEMORY,
    model_name="memory",
    method=Method.MODELLED,
    memory_total_bytes=64 * 10**9,
)


def described_run(source_id: str = "source-1", **options: Any) -> list[Any]:
    """Return the events of a source that describes its machine, and ends unless told otherwise."""
    told = {name: options.pop(name) for name in ("hyperparameters", "tags") if name in options}
    given: dict[str, Any] = {"seconds": 60, "status": RunStatus.COMPLETED, "has_gpu": True} | options
    started, *others = recorded_run("run-1", NOW - datetime.timedelta(minutes=5), source_id=source_id, **given)
    assert isinstance(started, RunStarted)
    hardware = [_CPU, _GPU, _MEMORY] if given["has_gpu"] else [_CPU, _MEMORY]
    return [dataclasses.replace(started, hardware=hardware, tracker_version="1.2.0", **told), *others]


def described_summary(**options: Any) -> RunSummary:
    """Return the summary of one such source's run."""
    return cast("RunSummary", summary_document(described_run(**options)))
