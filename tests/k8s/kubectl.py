"""kubectl on the cluster that WATTLINE_TEST_KUBECONFIG names, and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

from tests.requirements import require

__all__ = ["SETTING", "Kubectl", "cluster_of_tests"]

SETTING = "WATTLINE_TEST_KUBECONFIG"


class Kubectl:
    """kubectl on the cluster of the tests, and nowhere else."""

    def __init__(self, kubeconfig: str) -> None:
        self.command = ("kubectl", f"--kubeconfig={kubeconfig}")
        self._kubeconfig = kubeconfig

    def environment(self) -> dict[str, str]:
        """Return the environment in which other people's commands find this cluster, too."""
        return {**os.environ, "KUBECONFIG": self._kubeconfig}

    def run(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run it."""
        command = [*self.command, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s)

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        """Run it; neither an error nor a warning is allowed."""
        done = self.run(*arguments, stdin=stdin, timeout_s=timeout_s)
        assert (done.returncode, done.stderr) == (0, ""), f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Return what it says, parsed."""
        return json.loads(self(*arguments, "-o", "json"))


def cluster_of_tests() -> Kubectl:
    """Return kubectl on the cluster that the setting names; skip where there is none."""
    kubeconfig = os.environ.get(SETTING, "")
    if not kubeconfig:
        require("kubernetes", f"{SETTING} is not set", f"set {SETTING} to the kubeconfig of a cluster for tests")
    if not shutil.which("kubectl"):
        require("kubernetes", "kubectl is not on the PATH", "install kubectl")
    found = Kubectl(kubeconfig)
    done = found.run("version", "--request-timeout=10s")
    if done.returncode:
        require("kubernetes", f"{SETTING}={kubeconfig} does not answer: {done.stderr}", "start that cluster")
    return found
