"""The command: ``python -m wattline_stack up|down|status|env|backup|restore|provision|bake``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wattline_common.errors import WattlineError
from wattline_common.settings import without_login
from wattline_stack.backup import BackupReport, backup, restore
from wattline_stack.jvm.bake import BAKED_PARTS, bake
from wattline_stack.jvm.bundle import pin
from wattline_stack.progress import ConsoleProgress
from wattline_stack.settings import StackSettings
from wattline_stack.stack import Stack
from wattline_stack.status import ServerStatus

INTERRUPTED_EXIT = 130
DESCRIPTION = """\
Starts, stops and shows the servers that Wattline runs on, embedded on this machine: Kafka (KRaft), a Schema Registry
(Apicurio) and a store that speaks MongoDB's wire protocol. No Docker, and no Java of your own. The first start
downloads 210 MB and verifies them; later starts need no network."""
EPILOG = """\
settings (environment; defaults in brackets)
  WATTLINE_DATA_DIR            all data, logs and kept ports [.wattline in the current folder]
  WATTLINE_CACHE_DIR           Java parts, shared by all checkouts [the user's cache folder, as ~/.cache/wattline]
  WATTLINE_STORE_HEAP_MB       heap of the store; its data live there [768]
  WATTLINE_STORE_FSYNC         1: a write of the store survives a power cut too; single writes get slower [0]
  WATTLINE_STORE_COMPACT_MB    MB of the store's journal below which it is never compacted [16]
  WATTLINE_KAFKA_HEAP_MB       heap of Kafka [300]
  WATTLINE_REGISTRY_HEAP_MB    heap of the registry [128]
  WATTLINE_START_TIMEOUT_S     how long a server may take to answer [120]
  WATTLINE_STOP_TIMEOUT_S      how long after SIGTERM comes SIGKILL [20]
  WATTLINE_JAR_REPOSITORY      a Maven repository to download from, instead of the public one
  KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL, MONGODB_URI
                               a real server: that part is not started, and its address is passed on

examples
  python -m wattline_stack up
  eval "$(python -m wattline_stack env)"     # then any service can be started from this shell
  python -m wattline_stack status --json
  python -m wattline_stack down              # data stay, and so do the ports
  python -m wattline_stack backup monday.tar.gz      # once all is stopped: topics, schemas, store, checkpoint
  python -m wattline_stack restore monday.tar.gz     # into a folder without data; --replace puts those there aside"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, ConsoleProgress], int] = options.run
    progress = ConsoleProgress()
    try:
        return command(options, progress)
    except WattlineError as error:
        progress.say(str(error))
        return 1
    except KeyboardInterrupt:
        progress.say("interrupted; what was being started was stopped")
        return INTERRUPTED_EXIT


def _up(options: argparse.Namespace, progress: ConsoleProgress) -> int:
    started_s = time.monotonic()
    stack = _stack()
    already = all(each.is_up for each in stack.status())
    endpoints = stack.start(progress)
    if options.json:
        print(json.dumps({"already_up": already, **_report(stack), "environment": endpoints.environment()}, indent=2))
        return 0
    print(
        f"already up (data in {stack.settings.data_dir})" if already else f"up in {time.monotonic() - started_s:.1f} s"
    )
    for name, value in endpoints.environment().items():
        print(f"  {name}={_masked(value)}")
    return 0


def _down(options: argparse.Namespace, progress: ConsoleProgress) -> int:
    stack = _stack()
    stopped = stack.stop(progress)
    if options.json:
        print(json.dumps({"stopped": stopped, "data_dir": str(stack.settings.data_dir)}, indent=2))
    else:
        print(
            f"stopped {', '.join(stopped)}; data stay in {stack.settings.data_dir}"
            if stopped
            else "nothing was running"
        )
    return 0


def _status(options: argparse.Namespace, progress: ConsoleProgress) -> int:  # noqa: ARG001 - nothing here takes long
    stack = _stack()
    servers = stack.status()
    up = all(each.is_up for each in servers)
    if options.json:
        environment = stack.endpoints().environment() if up else {}
        print(json.dumps({**_report(stack), "environment": environment}, indent=2))
    else:
        print(_table(servers))
        print(f"data: {stack.settings.data_dir}")
    return 0 if up else 3


def _env(options: argparse.Namespace, progress: ConsoleProgress) -> int:  # noqa: ARG001 - likewise
    print(_stack().endpoints().exports())
    return 0


def _backup(options: argparse.Namespace, progress: ConsoleProgress) -> int:
    settings = StackSettings.from_environment()
    for name, endpoint in (
        ("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers),
        ("SCHEMA_REGISTRY_URL", settings.schema_registry_url),
        ("MONGODB_URI", settings.mongodb_uri),
    ):
        if endpoint:
            progress.say(f"{name} names a real server ({_masked(endpoint)}): save that one by its own means")
    report = backup(settings.data_dir, options.archive, progress)
    return _tell(options, report, f"{settings.data_dir} is saved in {options.archive}")


def _restore(options: argparse.Namespace, progress: ConsoleProgress) -> int:
    settings = StackSettings.from_environment()
    report = restore(options.archive, settings.data_dir, progress, replace=options.replace)
    return _tell(options, report, f"{settings.data_dir} is again what it was at {report.created_at}")


def _tell(options: argparse.Namespace, report: BackupReport, text: str) -> int:
    if options.json:
        print(json.dumps({**dataclasses.asdict(report), "replaced": str(report.replaced) if report.replaced else None}))
        return 0
    print(f"{text}: {report.files} files, {_megabytes(report.data_bytes)}")
    if report.replaced:
        print(f"what was there before is in {report.replaced}")
    return 0


def _provision(options: argparse.Namespace, progress: ConsoleProgress) -> int:
    stack = _stack()
    if options.pin:
        pin(stack.settings.cache_dir, stack.settings.jar_repository, progress)
    bundle = stack.provision(progress)
    print(f"all there: {bundle.folder}")
    return 0


def _bake(options: argparse.Namespace, progress: ConsoleProgress) -> int:
    settings = StackSettings.from_environment()
    bake(options.parts, options.into.absolute(), settings.jar_repository, progress)
    print(f"all there: {options.into}")
    return 0


def _stack() -> Stack:
    return Stack(StackSettings.from_environment())


def _report(stack: Stack) -> dict[str, object]:
    servers = stack.status()
    rows = [{**dataclasses.asdict(each), "log": str(each.log) if each.log else None} for each in servers]
    return {"data_dir": str(stack.settings.data_dir), "servers": rows}


def _table(servers: Sequence[ServerStatus]) -> str:
    rows = [("server", "state", "pid", "memory", "data", "endpoint", "log")]
    rows += [
        (
            each.name,
            each.state,
            str(each.pid or "-"),
            _megabytes(each.rss_bytes),
            _megabytes(each.data_bytes),
            _masked(each.endpoint) or "-",
            str(each.log or "-"),
        )
        for each in servers
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _masked(endpoint: str) -> str:
    """Hide user and password: they belong into `env` and --json only, which are for programs."""
    return without_login(endpoint)


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m wattline_stack",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, run, text in (
        ("up", _up, "start what does not run yet, and print every endpoint"),
        ("down", _down, "stop all by SIGTERM; data and ports are kept"),
        ("status", _status, "show each server: state, pid, memory, data, endpoint, log (exit code 3: not all up)"),
        ("env", _env, "print the endpoints as export lines for a shell"),
        ("backup", _backup, "save the data of stopped servers in one archive, and read it again"),
        ("restore", _restore, "make the data folder what it was when an archive was written"),
        ("provision", _provision, "only download, verify and compile (for CI)"),
        ("bake", _bake, "write Java and some parts, verified, into a folder with fixed names (for images)"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if name in {"up", "down", "status", "backup", "restore"}:
            command.add_argument("--json", action="store_true", help="one JSON document on standard output")
        if name in {"backup", "restore"}:
            command.add_argument("archive", type=Path, help="a .tar.gz")
        if name == "restore":
            command.add_argument("--replace", action="store_true", help="put present data aside, under another name")
        if name == "provision":
            command.add_argument("--pin", action="store_true", help="write new sums after ivy.xml was changed")
        if name == "bake":
            command.add_argument("parts", nargs="+", choices=BAKED_PARTS, help="what to write")
            command.add_argument("--into", type=Path, required=True, help="the folder, by the path it will be used at")
    return parser


if __name__ == "__main__":
    sys.exit(main())
