"""Builds a run from settings and the machine's real parts: the one place of the tracker that knows concrete classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from wattline.arguments import at_least, text_map
from wattline.budget import ACTIONS, Budget
from wattline.clock import Clock, SystemClock
from wattline.courier import Wire
from wattline.guard import Problems, walled
from wattline.identity import (
    AVRO_INT,
    as_count,
    as_region,
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
from wattline.job import Job, next_run_id
from wattline.meters.base import Meter
from wattline.meters.cgroup import Cgroup
from wattline.meters.detect import detect_host_meters
from wattline.meters.host import Host, detect_host
from wattline.meters.nvidia import detect_nvidia
from wattline.meters.nvidia_devices import Names
from wattline.publisher import NullPublisher, Publisher, SpoolPublisher
from wattline.ranks import RankMeter, Ranks, RanksHost, rank_folders, tree_pids
from wattline.recorder import Context, Plan, Price
from wattline.run import Run
from wattline.settings import Settings
from wattline.spool import Spool
from wattline.spool_folders import SpoolRoot
from wattline.summary import RunSummary
from wattline.watch import Watched
from wattline_common.carbon import grid_intensity
from wattline_common.carbon.settings import intensity_source
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints

__all__ = ["VERSION", "default_meters", "idle_run", "open_wire", "spool_publisher", "track", "watched_meters"]

VERSION = "0.1.0"


def idle_run(problems: Problems | None = None) -> Run:
    """Return a run that measures and sends nothing: for code that stands in none, and where none could be made."""
    return Run(
        Context(run_id="none", source_id="none"),
        Plan(),
        Price(grid_intensity("unknown")),
        clock=SystemClock(),
        meters=[],
        publisher=NullPublisher(),
        problems=problems or Problems(),
        ranks=Ranks(),
        enabled=False,
    )


@walled(idle_run)
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
    budget_kg: float | None = None,
    budget_action: str = "warn",
    on_budget: Callable[[RunSummary], object] | None = None,
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

    ``budget_kg`` warns at 80 % of so many kg CO2e, when they are used up, and when the forecast (which needs
    ``planned_epochs`` or ``planned_steps``) is above them. Once used up, the next `Run.step` calls ``on_budget`` with
    the summary; with ``budget_action="stop"`` that raises `BudgetExceededError`: the only exception of ours that
    ever reaches a training, and only where it was asked for.

    Servers that are away, wrong settings and failing meters are logged, never raised.
    """
    problems = Problems()
    settings = Settings.from_environment(lambda error: problems.report(str(error), str(error)))
    clock = clock or SystemClock()
    job = settings.job
    host = as_text(host or job.host or host_name())
    model_name = as_text(model_name)
    context = Context(
        run_id=_run_id(run_id or settings.run_id or next_run_id(job), model_name, clock, problems),
        source_id=new_source_id(host),
        user_id=as_text(user_id or settings.user_id or job.user_id or user_name()),
        model_name=model_name,
        dataset_name=as_text(dataset_name),
        framework=as_text(framework or framework_in_use()),
        environment=as_text(environment or settings.environment),
        region_iso=as_region(region_iso or settings.region_iso),
        project=as_text(project or settings.project or job.project) or None,
        host=host,
        rank=as_count(job.rank if rank is None else rank, AVRO_INT),
        simulated=bool(simulated),
    )
    plan = Plan(
        hyperparameters=text_map("hyperparameters", hyperparameters, problems),
        tags=_tags(text_map("tags", tags, problems), job),
        planned_epochs=as_count(planned_epochs, AVRO_INT),
        planned_steps=as_count(planned_steps),
        git_commit=git_commit(),
        tracker_version=VERSION,
    )
    if publisher is None:
        publisher = NullPublisher() if settings.disabled else spool_publisher(settings, context, problems)
    ranks = Ranks()
    if meters is None:
        with problems.guard("meeting the run's other processes"):
            # By its own name, which a pod has to itself: the others on its node have process ids of their own.
            folders = () if settings.disabled else rank_folders(settings.spool_dir, host_name(), context.run_id)
            ranks = Ranks(folders, gpus=settings.visible_gpus)
        meters = [] if settings.disabled else default_meters(settings, ranks, problems)
    return Run(
        context,
        plan,
        Price(
            intensity_source(
                context.region_iso,
                settings.grid,
                lambda error: problems.report("grid", str(error)),
                clock.timestamp(clock.monotonic_s()),
            ),
            at_least(1.0, pue, settings.pue, "pue", problems),
        ),
        clock=clock,
        meters=meters,
        publisher=publisher,
        problems=problems,
        ranks=ranks,
        emit_interval_s=at_least(0.1, emit_interval_s, settings.emit_interval_s, "emit_interval_s", problems),
        flush_timeout_s=settings.flush_timeout_s,
        quiet=settings.quiet,
        enabled=not settings.disabled,
        budget=_budget(settings.budget_kg if budget_kg is None else budget_kg, budget_action, on_budget, problems),
    ).start()


def default_meters(settings: Settings, ranks: Ranks, problems: Problems) -> list[Meter]:
    """Return the meters of this machine for a run's processes; one that cannot be made is reported and left out."""
    meters = _meters(
        settings,
        lambda: RanksHost(ranks, detect_host),
        tree_pids(ranks, detect_host),
        ranks.gpus_of_others,
        problems,
        by_cgroup=settings.share == "cgroup",
    )
    return [RankMeter(meter, ranks) for meter in meters]


def watched_meters(settings: Settings, watched: Watched, problems: Problems, *, from_start: bool) -> list[Meter]:
    """Return the meters of this machine for processes of others; ``from_start`` charges what they have used before."""
    return _meters(
        settings,
        lambda: watched.host,
        lambda: {process.pid for process in watched.host.processes()},
        list,
        problems,
        by_cgroup=settings.share == "cgroup" and bool(watched.cgroup.accounting),
        cgroup=watched.cgroup,
        from_start=from_start,
    )


def _meters(
    settings: Settings,
    host: Callable[[], Host],
    pids: Callable[[], set[int]],
    gpus_of_others: Callable[[], list[Names]],
    problems: Problems,
    *,
    by_cgroup: bool,
    cgroup: Cgroup | None = None,
    from_start: bool = False,
) -> list[Meter]:
    meters: list[Meter] = []
    with problems.guard("finding the CPU and memory meters"):
        meters += detect_host_meters(
            model=settings.cpu_model,
            tdp_w=settings.cpu_tdp_w or None,
            by_cgroup=by_cgroup,
            allocated_bytes=settings.memory_allocated_bytes,
            host=host(),
            cgroup=cgroup,
            from_start=from_start,
        )
    with problems.guard("finding the GPU meter"):
        meters.append(detect_nvidia(settings.visible_gpus, settings.local_ranks, pids, gpus_of_others))
    return meters


def spool_publisher(settings: Settings, context: Context, problems: Problems) -> Publisher:
    """Return the publisher to Kafka by way of the spool; its own imports wait until its threads run."""
    root = SpoolRoot(settings.spool_dir)
    destination = settings.endpoints.kafka_bootstrap_servers if settings.endpoints else ""
    spool = Spool(
        root,
        context.source_id,
        context.run_id,
        problems,
        cap_bytes=settings.spool_mb * 1_000_000,
        queue_events=settings.queue_events,
        destination=destination,
    )
    # What was meant for another Kafka is not ours to send: a person does it, by `wattline flush`.
    leftovers = partial(root.leftovers, destination=destination)
    return SpoolPublisher(spool, lambda: open_wire(settings.endpoints), problems, leftovers)


def open_wire(endpoints: Endpoints | None) -> Wire:
    """Return the way to Kafka."""
    if endpoints is None:
        raise ConfigurationError("a setting of the servers is wrong, as told above")  # its events stay in the spool
    from wattline.wire import KafkaWire  # takes a second, which the training shall not wait for

    return KafkaWire(endpoints)


def _tags(given: Mapping[str, str], job: Job) -> dict[str, str]:
    """Return the given tags and what the job tells; of the same key the given one."""
    return as_text_map({**given, **{key: text for key, text in job.tags.items() if key not in given}})


def _run_id(given: str, model_name: str, clock: Clock, problems: Problems) -> str:
    if not given:
        return new_run_id(model_name, clock.timestamp(clock.monotonic_s()))
    run_id = safe_id(as_text(given))
    if run_id != given:
        problems.report(
            "run_id", f"run_id {given!r} has characters other than letters, digits, _ : -; it is {run_id!r}"
        )
    return run_id


def _budget(
    budget_kg: float | None, action: str, on_budget: Callable[[RunSummary], object] | None, problems: Problems
) -> Budget | None:
    if action not in ACTIONS:
        problems.report("budget_action", f"budget_action={action!r} is none of {', '.join(ACTIONS)}; it is warn")
    if budget_kg is None:
        return None
    limit_kg = at_least(0.0, budget_kg, -1.0, "budget_kg", problems)
    return None if limit_kg < 0 else Budget(limit_kg, stop=action == "stop", on_exceeded=on_budget)
