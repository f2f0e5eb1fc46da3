"""Builds a run from settings and the machine's real parts: the one place of the tracker that knows concrete classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from wattline.clock import Clock, SystemClock
from wattline.guard import Problems
from wattline.identity import (
    AVRO_INT,
    as_count,
    as_text,
    as_text_map,
    framework_in_use,
    git_commit,
    host_name,
    new_run_id,
    new_source_id,
    safe_id,
    user_name,
)
from wattline.meters.base import Meter
from wattline.meters.cpu import CpuModelMeter, allocated_cpus
from wattline.meters.cpu_models import read_identity
from wattline.meters.host import detect_host
from wattline.meters.memory import MemoryModelMeter
from wattline.meters.nvidia import detect_nvidia
from wattline.meters.tree import ProcessTree
from wattline.publisher import BackgroundPublisher, NullPublisher, Publisher, Wire
from wattline.recorder import Context, Plan, Price
from wattline.run import Run
from wattline.settings import Settings
from wattline_common import carbon
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints

__all__ = ["VERSION", "default_meters", "kafka_publisher", "track"]

VERSION = "0.1.0"
_LOG = logging.getLogger("wattline")


def track(
    *,
    model_name: str = "unknown",
    dataset_name: str = "unknown",
    framework: str | None = None,
    user_id: str | None = None,
    project: str | None = None,
    environment: str | None = None,
    region_iso: str | None = None,
    host: str | None = None,
    rank: int | None = None,
    run_id: str | None = None,
    hyperparameters: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    planned_epochs: int | None = None,
    planned_steps: int | None = None,
    simulated: bool = False,
    pue: float | None = None,
    emit_interval_s: float | None = None,
    meters: Sequence[Meter] | None = None,
    publisher: Publisher | None = None,
    clock: Clock | None = None,
) -> Run:
    """Begin to measure this process and its children, and return the run; use it in a ``with`` statement.

    What is not given comes from the environment (WATTLINE_USER, WATTLINE_REGION and so on), then from the machine.
    ``region_iso`` is the grid region, ISO 3166-1 alpha-3 (FRA) or ISO 3166-2 (US-CA); without one, or with one that is
    not in the table, the world's mean prices the energy. ``run_id`` is generated where none is given; the processes
    of one distributed run share one, and give their ``rank``. ``meters``, ``publisher`` and ``clock`` replace the real
    parts, for tests and simulations.

    Servers that are away, wrong settings and failing meters are logged, never raised.
    """
    problems = Problems()
    settings = Settings.from_environment(lambda error: problems.report(str(error), str(error)))
    clock = clock or SystemClock()
    host = as_text(host or host_name())
    model_name = as_text(model_name)
    region_iso = as_text(region_iso or settings.region_iso).strip()
    context = Context(
        run_id=_run_id(run_id or settings.run_id, model_name, clock, problems),
        source_id=new_source_id(host),
        user_id=as_text(user_id or settings.user_id or user_name()),
        model_name=model_name,
        dataset_name=as_text(dataset_name),
        framework=as_text(framework or framework_in_use()),
        environment=as_text(environment or settings.environment),
        region_iso=region_iso if region_iso.lower() == "unknown" else region_iso.upper(),
        project=as_text(project or settings.project) or None,
        host=host,
        rank=as_count(rank, AVRO_INT),
        simulated=bool(simulated),
    )
    plan = Plan(
        hyperparameters=as_text_map(hyperparameters),
        tags=as_text_map(tags),
        planned_epochs=as_count(planned_epochs, AVRO_INT),
        planned_steps=as_count(planned_steps),
        git_commit=git_commit(Path.cwd()),
        tracker_version=VERSION,
    )
    if publisher is None:
        publisher = NullPublisher() if settings.disabled else kafka_publisher(settings, problems)
    if meters is None:
        meters = [] if settings.disabled else default_meters(settings, problems)
    return Run(
        context,
        plan,
        Price(_grid(context.region_iso, problems), _at_least(1.0, pue, settings.pue, "pue", problems)),
        clock=clock,
        meters=meters,
        publisher=publisher,
        problems=problems,
        emit_interval_s=_at_least(0.1, emit_interval_s, settings.emit_interval_s, "emit_interval_s", problems),
        flush_timeout_s=settings.flush_timeout_s,
        quiet=settings.quiet,
        enabled=not settings.disabled,
    ).start()


def default_meters(settings: Settings, problems: Problems) -> list[Meter]:
    """Return the meters of this machine; one that cannot be made is reported and left out."""
    meters: list[Meter] = []
    with problems.guard("finding the CPU and memory meters"):
        host = detect_host()
        tree = ProcessTree(host)
        meters += [CpuModelMeter(host, tree, read_identity(), allocated_cpus()), MemoryModelMeter(host, tree)]
    with problems.guard("finding the GPU meter"):
        meters.append(detect_nvidia(settings.visible_gpus))
    return meters


def kafka_publisher(settings: Settings, problems: Problems) -> Publisher:
    """Return the publisher to Kafka; its own imports wait until its thread runs."""
    return BackgroundPublisher(lambda: _open_wire(settings.endpoints), problems, settings.queue_events)


def _open_wire(endpoints: Endpoints | None) -> Wire:
    if endpoints is None:
        raise ConfigurationError("a setting of the servers is wrong, as told above")  # and its events count as lost
    from wattline.wire import KafkaWire  # takes a second, which the training shall not wait for

    return KafkaWire(endpoints)


def _run_id(given: str, model_name: str, clock: Clock, problems: Problems) -> str:
    if not given:
        return new_run_id(model_name, clock.timestamp(clock.monotonic_s()))
    run_id = safe_id(as_text(given))
    if run_id != given:
        problems.report(
            "run_id", f"run_id {given!r} has characters other than letters, digits, _ : -; it is {run_id!r}"
        )
    return run_id


def _grid(region_iso: str, problems: Problems) -> carbon.GridIntensity:
    grid = carbon.grid_intensity(region_iso)
    if grid.zone == carbon.WORLD and region_iso not in {"unknown", carbon.WORLD}:
        problems.report("region", f"region {region_iso!r} is not in the table of grids; the world's mean prices it")
    return grid


def _at_least(least: float, given: float | None, default: float, name: str, problems: Problems) -> float:
    if given is None:
        return default
    if isinstance(given, int | float) and least <= given < float("inf"):
        return float(given)
    problems.report(name, f"{name}={given!r} is no number of at least {least:g}; it is {default:g}")
    return default
