"""A simulated fleet as a Job in the cluster, whose ledger the collections are held to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.database import Database

from tests.k8s.live.installation import Installation, wait_until
from tests.ledgers import fleet_figures, ledger_differences
from wattline_common import store
from wattline_streaming.audit import Audit, audit

__all__ = ["Fleet", "audit_inside", "running_fleet", "wait_equal"]

_LEDGER = "/tmp/ledger.json"  # noqa: S108 - in a container of its own
_MARK = "--- ledger"
# The shell is the first process, as the ledger must outlive the simulation; SIGTERM goes on to it.
_SCRIPT = f"""
python -m wattline_trainer simulate --ledger {_LEDGER} "$@" & pid=$!
trap 'kill -TERM $pid' TERM
wait $pid; code=$?
while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done
echo; echo '{_MARK}'; cat {_LEDGER}
[ $code = 143 ] || exit $code
"""


class Fleet:
    """A fleet's Job, under way or over."""

    def __init__(self, installation: Installation, *options: str) -> None:
        self._installation = installation
        self.name = f"fleet-{uuid.uuid4().hex[:6]}"
        installation.start_job(self.name, ["sh", "-c", _SCRIPT, "fleet"], options)

    @property
    def target(self) -> str:
        """What kubectl calls it."""
        return f"job/{self.name}"

    def emitted(self) -> dict[str, int]:
        """Return how many events of each run its ledger has now, a few seconds old."""
        done = self._installation.execute(self.target, "cat", _LEDGER)
        assert done.returncode == 0, done.stderr
        return {run_id: run["events"] for run_id, run in json.loads(done.stdout)["runs"].items()}

    def is_stored(self) -> bool:
        """Return whether all that it has emitted is stored, by as much as arrives meanwhile."""
        emitted = self.emitted()
        wanted = {"run_id": {"$in": list(emitted)}}
        stored = self._installation.ask_store(lambda database: database[store.TRAINING_METRICS].count_documents(wanted))
        return stored is not None and stored >= sum(emitted.values()) > 0

    def stop(self) -> None:
        """End its runs, delivering everything."""
        done = self._installation.execute(self.target, "sh", "-c", "kill -TERM 1")
        assert done.returncode == 0, f"{done.stderr}\n{self._installation.told()}"

    def ledger(self, within_s: float) -> dict[str, Any]:
        """Wait for its end and return its ledger, all of which Kafka has acknowledged."""
        ended = self._installation.job_ended
        wait_until(lambda: ended(self.name), lambda: f"{self.name}'s end:\n{self._installation.told()}", within_s)
        said, _, text = self._installation.logs(self.target).partition(_MARK)
        assert ended(self.name) == "Complete", said
        found: dict[str, Any] = json.loads(text)
        assert found["complete"], said
        return found


@contextmanager
def running_fleet(installation: Installation, *options: str) -> Iterator[Fleet]:
    """Start a fleet and wait until its first events are stored; remove its Job when a test fails meanwhile."""
    fleet = Fleet(installation, *options)
    try:
        wait_until(lambda: installation.execute(fleet.target, "cat", _LEDGER).returncode == 0, installation.told, 120)
        wait_until(fleet.is_stored, installation.told, 120)
        yield fleet
    finally:
        if installation.job_ended(fleet.name) is None:
            installation.kubectl.run("delete", "-n", installation.namespace, fleet.target, "--wait=false")


def wait_equal(installation: Installation, ledger: dict[str, Any], within_s: float) -> float:
    """Wait until raw events, summaries and windows are the ledger's, to the millijoule; return the seconds it took.

    The audit must have no difference either, and nothing may have been rejected.
    """
    differences: list[str] = []

    def equal() -> bool:
        found = installation.ask_store(lambda database: _differences(database, ledger))
        if found is not None:
            differences[:] = found
        return found == []

    return wait_until(equal, lambda: f"equality with the ledger: {differences[:10]}\n{installation.told()}", within_s)


def _differences(database: Database[store.Document], ledger: dict[str, Any]) -> list[str]:
    found: Audit = audit(database)
    rejected = found.counts[store.REJECTED_EVENTS]
    return [
        *ledger_differences(database, found, fleet_figures(ledger)),
        *found.differences,
        *([f"{rejected} rejected events"] if rejected else []),
    ]


def audit_inside(installation: Installation) -> dict[str, Any]:
    """Return what the stream's own audit says, run in its pod as a person would."""
    done = installation.execute("statefulset/streaming", "python", "-m", "wattline_streaming", "audit", "--json")
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
