"""The tracker's command: `wattline run`, `watch`, `report`, `spool`, `flush`, `doctor`; also `python -m wattline`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence

from wattline.courier import Courier
from wattline.doctor import as_json, as_text, examine
from wattline.flush import flush
from wattline.guard import Problems
from wattline.launch import die_as, find_command, launch
from wattline.options import add_identity, identity
from wattline.report import FORMATS, collect
from wattline.run import Run
from wattline.settings import Settings, environment_with
from wattline.spool_folders import SpoolRoot, Waiting
from wattline.watch import Mark, pod, process, stop_on_signals, watch
from wattline.wiring import open_wire, track, watched_meters
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError, WattlineError

__all__ = ["main"]

_EPILOG = """\
examples:
  wattline run -- python train.py --epochs 3     measure any command; its output and exit code are as without us
  wattline run --model-name llama --project nlp -- ./train.sh
  wattline watch --pid 4711                      measure a process that runs already, until it ends
  wattline report                                what runs cost, from this machine alone
  wattline report --format markdown --last 5
  wattline spool                                 what waits to be delivered
  wattline flush                                 deliver it: KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL
  wattline doctor                                which meters work here, what is set wrong, what would be better

The spool is at WATTLINE_SPOOL_DIR (default: ~/.local/state/wattline). Every setting: the tracker's README.
"""
_RUN_EPILOG = """\
The command runs with its own standard input, output and error; signals are handed on to it, and its exit code is ours
(127 when it is not found, 126 when it cannot be executed). Measured is the command with all its descendants. A Python
script that calls wattline.track itself joins this run: it reports its steps, and nothing is counted twice.
"""
_WATCH_EPILOG = """\
Measures processes that know nothing of it and are not touched: it reads their CPU time and memory where any user may.
  --pid PID   that process and its descendants, from now until it ends
  --pod       the other containers of this pod, from their start until SIGTERM: for a sidecar whose pod says
              shareProcessNamespace: true (k8s/components/sidecar)
The run ends as UNKNOWN, since only their parent is told how processes ended; as STOPPED if they live on. A sidecar that
is started anew goes on with its run. Exit codes: 0 the run is over, 2 there is nothing to watch.
"""
_FLUSH_EPILOG = """\
Sources that are alive deliver by themselves and are left alone. Events that were delivered before are known by their
identity to whoever reads them, so a flush that was cut short can be repeated. A file that is damaged, of a later
release, or holds what Kafka refuses is kept aside with the reason.

Exit codes: 0 all of this host that can be delivered is, 1 the servers are away or something is left (try again), 2 a
setting is wrong.
"""
_DOCTOR_EPILOG = """\
It builds the very meters that a run would have here, reads them twice, a second apart, while it keeps one CPU busy, and
says of each device by which method and model it is read, what that gives now, and within which band: COUNTER is the
device's own energy counter, SAMPLED_POWER its polled power, MODELLED a model for want of both, UNKNOWN nothing. Then
what prices a kWh, whether the spool can be written and the servers answer, what SLURM or Kubernetes tells of the job,
and every setting, where it comes from and what is wrong with it. It changes nothing.

Exit codes: 0 a run can be measured, 1 it cannot, or something is set wrong. A server that is away is neither: events
wait in the spool.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    act: Callable[[argparse.Namespace, Settings], int] = options.act

    def tell(error: ConfigurationError) -> None:
        if options.act is not _doctor:  # which says so itself, with the rest
            print(f"wattline: {error}", file=sys.stderr)

    settings = Settings.from_environment(tell)
    try:
        return act(options, settings)
    except WattlineError as error:
        sys.stderr.write(f"wattline {options.command}: {error}\n")
        return 2 if isinstance(error, ConfigurationError) else 1
    except OSError as error:
        sys.stderr.write(f"wattline {options.command}: {error}; check WATTLINE_SPOOL_DIR={settings.spool_dir}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = _described(argparse.ArgumentParser(prog="wattline", description=__doc__), _EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, meaning: str, act: Callable[..., int], epilog: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=meaning, description=f"{meaning[0].upper()}{meaning[1:]}.")
        added.set_defaults(act=act)
        return _described(added, epilog)

    _add_run_options(command("run", "measure any command", _run, _RUN_EPILOG))
    _add_watch_options(command("watch", "measure processes that run already, from outside", _watch, _WATCH_EPILOG))
    report = command("report", "tell what runs have cost, without Kafka and without a store", _report)
    report.add_argument("--format", choices=sorted(FORMATS), default="text")
    report.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    report.add_argument("--run-id", help="this run only")
    report.add_argument("--last", type=int, default=20, metavar="N", help="the newest N (default 20; 0 is all)")
    spool = command("spool", "show what waits to be delivered", _spool)
    spool.add_argument("--json", action="store_true", help="as JSON")
    flushing = command("flush", "deliver what processes that are gone have left", _flush, _FLUSH_EPILOG)
    flushing.add_argument(
        "--timeout", type=float, default=15.0, metavar="S", help="give up after S seconds without progress (default 15)"
    )
    flushing.add_argument(
        "--other-hosts",
        action="store_true",
        help="also what other hosts have left in a shared folder; only when nothing runs there",
    )
    flushing.add_argument(
        "--kept-aside", action="store_true", help="first put back what was kept aside: after an upgrade or a repair"
    )
    doctor = command("doctor", "tell which meters work here, and what would be better", _doctor, _DOCTOR_EPILOG)
    doctor.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _described(parser: argparse.ArgumentParser, epilog: str) -> argparse.ArgumentParser:
    parser.epilog = epilog
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = "wattline run [options] [--] COMMAND ..."
    add_identity(parser)
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")


def _add_watch_options(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--pid", type=int, help="this process and its descendants")
    which.add_argument("--pod", action="store_true", help="the other containers of this pod")
    add_identity(parser)


def _run(options: argparse.Namespace, _: Settings) -> int:
    command = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not command:
        raise ConfigurationError("which command? As in: wattline run -- python train.py")
    cannot = find_command(command)
    if cannot is not None:
        sys.stderr.write(f"wattline run: {command[0]}: no such command, or not to be executed\n")
        return cannot
    run = track(**identity(options))
    environment = environment_with(
        WATTLINE_RUN_ID=run.run_id,
        WATTLINE_PROJECT=options.project,
        WATTLINE_USER=options.user,
        WATTLINE_ENVIRONMENT=options.environment,
        WATTLINE_REGION=options.region,
    )
    return die_as(launch(run, command, environment))


def _watch(options: argparse.Namespace, settings: Settings) -> int:
    stopping = stop_on_signals()
    watched = pod() if options.pod else process(options.pid)
    mark = Mark(settings.spool_dir) if options.pod else None
    begun = mark.run_id() if mark else None
    given = identity(options)
    given["run_id"] = given["run_id"] or begun
    if not options.model_name:  # of a Job that says nothing its name is the best there is
        given["model_name"] = settings.job.tags.get("kubernetes_job", "unknown")

    def begin() -> Run:
        from_start = options.pod and begun is None
        run = track(**given, meters=watched_meters(settings, watched, Problems(), from_start=from_start))
        if mark:
            mark.set(run.run_id)
        return run

    watch(watched, begin, stopping)
    return 0


def _report(options: argparse.Namespace, settings: Settings) -> int:
    runs = [run for run in collect(SpoolRoot(settings.spool_dir)) if options.run_id in {None, run.run_id}]
    if options.run_id and not runs:
        raise ConfigurationError(f"no run {options.run_id} is known at WATTLINE_SPOOL_DIR={settings.spool_dir}")
    print(FORMATS[options.format](runs[-options.last :] if options.last > 0 else runs), end="")
    return 0


def _spool(options: argparse.Namespace, settings: Settings) -> int:
    found = [folder.waiting() for folder in SpoolRoot(settings.spool_dir).folders()]
    if options.json:
        print(json.dumps({"spool": str(settings.spool_dir), "sources": list(map(_waiting_json, found))}, indent=2))
        return 0
    for each in found:
        state = "alive" if each.live else "waits" if each.here else "waits, of another host"
        notes = "".join(f", {n} {what}" for n, what in ((each.dropped, "dropped"), (each.damaged, "damaged")) if n)
        size = f"{each.events} events, {each.bytes} bytes"
        print(f"{each.account.run_id}  {each.account.source_id}  {state}: {size}{notes}")
    runs = len({each.account.run_id for each in found})
    total = f"{sum(each.events for each in found)} events of {runs} runs in {sum(each.bytes for each in found)} bytes"
    print(f"{total if found else 'nothing'} waits in {settings.spool_dir}")
    return 0


def _waiting_json(each: Waiting) -> dict[str, object]:
    return {
        "run_id": each.account.run_id,
        "source_id": each.account.source_id,
        "live": each.live,
        "here": each.here,
        "events": each.events,
        "bytes": each.bytes,
        "dropped": each.dropped,
        "damaged": each.damaged,
    }


def _flush(options: argparse.Namespace, settings: Settings) -> int:
    refused: list[str] = []
    courier = Courier(lambda: open_wire(settings.endpoints), refused.append)
    root = SpoolRoot(settings.spool_dir)

    def tell(line: str) -> None:
        sys.stderr.write(f"wattline flush: {line}\n")

    if options.kept_aside:
        tell(f"{root.take_back()} sources were kept aside, and are tried again")
    done = flush(root, courier, tell, patience_s=options.timeout, other_hosts=options.other_hosts)
    damaged = f", {done.damaged} damaged records left out" if done.damaged else ""
    print(f"{done.delivered} events of {done.sources} sources delivered{damaged}")
    for line in dict.fromkeys(refused):
        tell(f"given up: {line}")
    if refused or done.damaged:
        tell(
            f"the files of what was left out are kept, with the reasons, in {root.kept_aside}; --kept-aside tries again"
        )
    return _tell_left(root, tell)


def _tell_left(root: SpoolRoot, tell: Callable[[str], None]) -> int:
    """Say what is left, and why; return the exit code, which other hosts' folders do not matter to."""
    left = [folder for folder in root.folders() if not folder.live]
    elsewhere = sum(not folder.here for folder in left)
    if elsewhere:
        tell(f"{elsewhere} sources are left, of other hosts; --other-hosts delivers them too")
    here = len(left) - elsewhere
    if here:
        tell(f"{here} sources are left: they ended just now, or their folders in {root.spool} cannot be changed")
    return 1 if here else 0


def _doctor(options: argparse.Namespace, _: Settings) -> int:
    found = examine(Environment())
    print(as_json(found) if options.json else as_text(found), end="")
    return found.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
