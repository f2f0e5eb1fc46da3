"""The command line: which commands there are, and what each is told to say of itself."""

from __future__ import annotations

import argparse

__all__ = ["parser"]

_DESCRIPTION = """\
Checks, stores and aggregates the events of training.events.

run (the default) starts the stream: Kafka -> Spark -> MongoDB. It goes on where its checkpoint ends; SIGTERM or Ctrl-C
stop it between batches. It needs Kafka (KAFKA_BOOTSTRAP_SERVERS), a Schema Registry (SCHEMA_REGISTRY_URL), a store
(MONGODB_URI), Java (JAVA_HOME) and Spark's Kafka and Avro jars (WATTLINE_SPARK_JARS). WATTLINE_HTTP_PORT turns on
/livez, /readyz and /metrics; WATTLINE_SPARK_MASTER and a spark-defaults.conf in SPARK_CONF_DIR spread it over machines;
WATTLINE_RAW_RETENTION_DAYS lets raw events of old runs go.

audit compares the three collections with the raw events and exits with 1 on any difference; with --repair it mends.

replay-rejected re-submits rejected events that would be accepted now.

erase takes a run, or all runs of a user, out of the store and the topics, for good; pseudonymise replaces a user's name
everywhere; erasures lists both.
"""
_AUDIT_DESCRIPTION = """\
Counts everything anew from the raw events and compares: windows, summaries, and the marks of windows that wait to be
settled. Runs whose raw events are deleted (WATTLINE_RAW_RETENTION_DAYS) are taken by their summary and windows.

With --repair it mends first what raw events can tell, and audits again: windows that differ are marked, and the stream
folds them anew (within WATTLINE_SETTLE_INTERVAL_S; if it is stopped, at its next start); summaries are replaced by what
raw events say, only if they still stand as they were read; marks that could never be due are set right. Where raw
events are missing or were changed it leaves all of the run as it is, and says how to get them back.

It needs the store (MONGODB_URI) alone. The stream may run or not. How it ended is kept in pipeline_health, and exported
by the stream as wattline_audit_*.

exit code: 0 nothing differs, or it is marked to be settled; 1 something differs; 2 a setting or a server is wrong.
"""
_REPLAY_DESCRIPTION = """\
Re-submits what was rejected once and would be accepted now: because its schema has been registered since, its time has
come, or a newer Wattline understands it.

Each message in rejected_events is judged by the same code as in the stream. What would be accepted goes back to
training.events with its own key, value and headers and one more header, wattline.replayed, that names its old place;
once Kafka has acknowledged it, it is removed from rejected_events. The rest stays, and is counted by reason.

It needs Kafka, the Schema Registry and the store; the stream may run or not. It may be interrupted (Ctrl-C ends after
the batch under way) and run again at any time: an event that comes twice counts once.
"""
_REPLAY_EPILOG = """\
examples:
  python -m wattline_streaming replay-rejected --dry-run
  python -m wattline_streaming replay-rejected --reason unknown_schema_id --reason foreign_subject

exit code: 0 nothing of it is refused any longer; 1 some still is; 2 a setting or a server is wrong;
128 + signal when interrupted.
"""

_ERASE_DESCRIPTION = """\
Erases a run, or a user with every run that names him: raw events, summary, windows, the hours and days of the run, and
its part in those of users, projects, models and regions; rejected messages; and its messages on training.aggregates
(which gets deletions by key) and training.events.rejected. What others have there stays.

It is remembered by a keyed digest, not by the name: from then on whatever comes of this run or user is dropped and
counted (reason "erased"), also when the whole topic is read again. There is no way back.

A stream that runs does it between two batches, and this waits for it; without one it is done here. Ctrl-C or a kill
costs nothing: run it again, or let the stream go on by itself.

Beyond its reach: training.events, where Kafka keeps single messages for 14 days; Spark's checkpoint for some minutes;
backups; logs; spools on training machines. README.md of the service says what to do about each.
"""
_PSEUDONYMISE_DESCRIPTION = """\
Replaces a user's name by a pseudonym that is always the same: in raw events, summaries, windows, hours and days, on
training.aggregates, and in whatever comes of him from now on. Totals stay as they are. Rejected messages that name him
are removed, as their bytes cannot be changed, and further ones are counted and not kept.

Only user_id is replaced. Runs that hold the name in another place (their id, host, tags) are told by --dry-run.
"""
_ASKING_EPILOG = """\
examples:
  python -m wattline_streaming {command} {example} --dry-run
  python -m wattline_streaming {command} {example}
  printf %s ada | python -m wattline_streaming {command} --user - --yes     # in no process list and no shell history

exit code: 0 done; 1 not done yet (it goes on by itself as soon as a stream runs), or not confirmed;
2 a setting or a server is wrong; 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m wattline_streaming",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command")
    commands.add_parser("run", help="start the stream")
    commands.add_parser("executor", help="be a Spark executor (Spark on Kubernetes starts this in its pods)")
    checking = commands.add_parser(
        "audit",
        help="compare the collections with the raw events, and mend them",
        description=_AUDIT_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checking.add_argument("--repair", action="store_true", help="mend what raw events can tell, then audit again")
    form = checking.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const="json", dest="form", help="print one JSON line")
    form.add_argument(
        "--counts",
        action="store_const",
        const="counts",
        dest="form",
        help="print the collections' counts and, per run, what was expected; a missing event fails it, too",
    )
    replaying = commands.add_parser(
        "replay-rejected",
        help="re-submit rejected events that would be accepted now",
        description=_REPLAY_DESCRIPTION,
        epilog=_REPLAY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    replaying.add_argument(
        "--reason", action="append", default=[], help="only what was rejected for this reason; may be given again"
    )
    replaying.add_argument("--dry-run", action="store_true", help="judge and count only, change nothing")
    erasing = _asking(commands, "erase", "take a run, or all runs of a user, out", _ERASE_DESCRIPTION, "--run ID")
    whose = erasing.add_mutually_exclusive_group(required=True)
    whose.add_argument("--run", metavar="ID", help="the run; - reads it from standard input")
    whose.add_argument("--user", metavar="NAME", help="the user, as user_id has it; - reads it from standard input")
    naming = _asking(
        commands, "pseudonymise", "replace a user's name everywhere", _PSEUDONYMISE_DESCRIPTION, "--user NAME"
    )
    naming.add_argument(
        "--user", metavar="NAME", required=True, help="the user, as user_id has it; - reads it from standard input"
    )
    commands.add_parser("erasures", help="list what was erased or got a pseudonym, and when; no names")
    return made


def _asking(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, words: str, description: str, example: str
) -> argparse.ArgumentParser:
    made = commands.add_parser(
        name,
        help=words,
        description=description,
        epilog=_ASKING_EPILOG.format(command=name, example=example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--dry-run", action="store_true", help="count what there is, change nothing")
    made.add_argument("--yes", action="store_true", help="do not ask for a confirmation")
    made.add_argument(
        "--wait", type=float, default=120.0, metavar="SECONDS", help="for a stream to do it (default: %(default)g)"
    )
    return made
