"""Logs to MLflow what a run costs, while it trains and at its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

from wattline.guard import Problems
from wattline.run import Run
from wattline.summary import RunSummary

try:
    import mlflow  # pants: no-infer-dep
    from mlflow.entities import Metric, Param, RunTag  # pants: no-infer-dep
except ImportError as missing:
    raise ImportError(
        f"wattline.integrations.mlflow needs MLflow ({missing}): pip install 'wattline[mlflow]'"
    ) from missing

__all__ = ["log_to_mlflow"]

_END_TIMEOUT_S = 10.0


@contextlib.contextmanager
def log_to_mlflow(run: Run, *, mlflow_run_id: str | None = None, interval_s: float = 10.0) -> Iterator[Run]:
    """Log a run to the active MLflow run, or to the one that is named, as long as the block lasts; then end the run.

    >>> with mlflow.start_run(), log_to_mlflow(wattline.track(model_name="resnet50")) as run:
    ...     train(run)

    Each ``interval_s`` seconds, if there is a new sample: the metrics ``energy_kwh``, ``emissions_kg`` (both of the
    whole run so far) and ``power_w`` (mean of the last sample), at the number of steps that were reported. At the end
    once more, with ``energy_low_kwh``, ``energy_high_kwh``, ``measured_energy_kwh`` and ``duration_s``, and the
    params ``wattline.methods`` and ``wattline.grid_intensity_source``. The tag ``wattline.run_id`` names the run.

    One thread does it, so a slow MLflow holds nothing up but the end, by ten seconds at most. What fails is warned of
    once and left out; nothing is raised. Of several ranks the one that measures has something to log.
    """
    bridge = _Bridge(run, interval_s)
    bridge.start(mlflow_run_id)
    try:
        with run:  # its last sample belongs to the figures
            yield run
    finally:
        bridge.end()


class _Bridge:
    """The thread that logs one run."""

    def __init__(self, run: Run, interval_s: float) -> None:
        self._run = run
        self._interval_s = interval_s
        self._problems = Problems()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._mlflow_run_id = ""
        self._samples = 0  # that there were when it was last logged

    def start(self, mlflow_run_id: str | None) -> None:
        """Find the MLflow run, by this thread's own, and begin to log to it."""
        with self._problems.guard("finding the MLflow run"):
            active = mlflow.active_run()
            if mlflow_run_id is None and active is None:
                self._problems.report(
                    "no MLflow run",
                    "no MLflow run is active, so nothing is logged to it; begin one by mlflow.start_run(), "
                    "or give mlflow_run_id",
                )
                return
            self._mlflow_run_id = mlflow_run_id or active.info.run_id
            self._client = mlflow.MlflowClient(tracking_uri=mlflow.get_tracking_uri())
            thread = threading.Thread(target=self._work, name="wattline-mlflow", daemon=True)
            thread.start()
            self._thread = thread

    def end(self) -> None:
        """Log the end, for a bounded time."""
        with self._problems.guard("the end of logging to MLflow"):
            self._ended.set()
            if self._thread is None:
                return
            self._thread.join(_END_TIMEOUT_S)
            if self._thread.is_alive():
                self._problems.report(
                    "slow MLflow", f"MLflow did not take the last figures in {_END_TIMEOUT_S:g} s; they may be missing"
                )

    def _work(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._log(self._run.summary())
        summary = self._run.summary()
        self._log(
            summary,
            {
                "energy_low_kwh": summary.energy_low_kwh,
                "energy_high_kwh": summary.energy_high_kwh,
                "measured_energy_kwh": summary.measured_energy_kwh,
                "duration_s": summary.duration_s,
            },
        )
        if self._samples:
            self._log_params(summary)

    def _log(self, summary: RunSummary, more: Mapping[str, float] | None = None) -> None:
        samples = summary.events_by_type.get("HardwareSampled", 0)
        if samples == self._samples and not (samples and more):
            return
        figures = {
            "energy_kwh": summary.energy_kwh,
            "emissions_kg": summary.emissions_kg,
            "power_w": summary.power_w,
            **(more or {}),
        }
        at_ms = time.time_ns() // 1_000_000
        with self._problems.guard("logging to MLflow"):
            self._client.log_batch(
                self._mlflow_run_id,
                metrics=[Metric(name, value, at_ms, summary.steps) for name, value in figures.items()],
                tags=[] if self._samples else [RunTag("wattline.run_id", summary.run_id)],
            )
            self._samples = samples

    def _log_params(self, summary: RunSummary) -> None:
        # Apart: a param cannot be changed, so a second run in the same MLflow run may fail here.
        params = {
            "wattline.methods": ", ".join(summary.methods),
            "wattline.grid_intensity_source": summary.grid_intensity_source,
        }
        with self._problems.guard("logging params to MLflow"):
            self._client.log_batch(self._mlflow_run_id, params=[Param(name, value) for name, value in params.items()])
