"""A callback that measures what a Hugging Face `Trainer` trains."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wattline.budget import BudgetExceededError
from wattline.guard import Problems
from wattline.run import Run
from wattline.wiring import track
from wattline_common.events import RunStatus

try:
    from transformers import TrainerCallback  # pants: no-infer-dep
except ImportError as missing:
    raise ImportError(
        f"wattline.integrations.huggingface needs transformers ({missing}): pip install 'wattline[huggingface]'"
    ) from missing

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments  # pants: no-infer-dep

__all__ = ["WattlineCallback"]

_PROBLEMS = Problems()  # of the process, as callbacks may be pickled
_AGREE_EVERY_STEPS = 10
# What decides what is learned, and at what cost; not where the files are, nor anybody's token.
_HYPERPARAMETERS = (
    *("learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "world_size"),
    *("num_train_epochs", "max_steps", "optim", "lr_scheduler_type", "warmup_steps", "warmup_ratio"),
    *("weight_decay", "max_grad_norm", "seed", "fp16", "bf16", "gradient_checkpointing"),
)
_LOGGED = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "eval_accuracy": "accuracy",
}


class WattlineCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not in the development venv
    """Measures each `Trainer.train()` as a run of its own: ``Trainer(..., callbacks=[WattlineCallback()])``.

    It takes the arguments of `wattline.track`. What is not given of the plan and the model's name the Trainer tells;
    of its hyperparameters those that decide what is learned are added to the given ones. Each optimizer step is
    reported, with what the Trainer logs of it: loss, learning rate, gradient norm and the metrics of an evaluation
    (``eval_accuracy`` as accuracy). The Trainer's own log of a loss (``state.log_history``) gets ``energy_kwh`` and
    ``emissions_kg`` as of the last sample.

    A Trainer whose training raises tells its callbacks nothing. Such a run ends as FAILED (STOPPED after Ctrl-C) with
    the script, or when the next training begins. Where a script catches the exception and goes on, a ``with`` statement
    ends the run at once:

    >>> with WattlineCallback(project="nlp") as energy:
    ...     Trainer(model, arguments, train_dataset=data, callbacks=[energy]).train()

    With ``budget_action="stop"`` a used up budget ends the training in good order, as early stopping does, and the run
    as STOPPED; nothing is raised. Processes of a distributed training then agree on it every ten steps, so each of
    them needs the callback.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401  # those of `track`
        """Take the arguments of `wattline.track`; raise `TypeError` for one that it does not have."""
        inspect.signature(track).bind(**arguments)
        self._arguments = arguments
        self._run: Run | None = None
        self._held: dict[str, Any] | None = None
        self._epoch_samples: int | None = None
        self._stopping = False

    @property
    def run(self) -> Run | None:
        """The run of the last training that began; None before."""
        return self._run

    def __enter__(self) -> WattlineCallback:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._abandon(error)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002  # the Trainer's interface, here and below
        model: object = None,
        train_dataloader: object = None,
        **_: object,
    ) -> None:
        """Begin a run; one whose training raised ends before it."""
        self._abandon(None)
        with _PROBLEMS.guard("starting the run"):
            self._stopping = False
            self._epoch_samples = _epoch_samples(args, state, train_dataloader)
            told = {**_plan(args, state), "model_name": _model_name(model)}
            parameters = {**_hyperparameters(args), **(self._arguments.get("hyperparameters") or {})}
            self._run = track(**{**told, **self._arguments, "hyperparameters": parameters})
            atexit.register(self._at_exit)

    def on_step_begin(self, args: object, state: object, control: object, **_: object) -> None:  # noqa: ARG002
        """Report the step before, now that all is known of it."""
        self._report()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Take a step; end the training when its budget is used up and stopping was asked for."""
        with _PROBLEMS.guard("taking a step"):
            epoch = max(1, math.ceil(state.epoch or 0))
            self._held = {"epoch": epoch, "step": state.global_step, "samples": self._samples(args, state)}
        with _PROBLEMS.guard("keeping the budget"):
            if self._must_stop(args, state):
                self._stopping = control.should_training_stop = True

    def on_log(
        self,
        args: object,  # noqa: ARG002
        state: TrainerState,
        control: object,  # noqa: ARG002
        logs: Mapping[str, Any] | None = None,
        **_: object,
    ) -> None:
        """Add to the last step what is logged of it, and to the log what the run has cost."""
        with _PROBLEMS.guard("reading the Trainer's log"):
            if self._held is None or not logs:
                return
            self._held.update(_logged(logs))
            if "loss" in logs:
                self._log_cost(state)

    def on_train_end(self, args: object, state: TrainerState, control: object, **_: object) -> None:  # noqa: ARG002
        """End the run."""
        self._report()
        with _PROBLEMS.guard("ending the run"):
            atexit.unregister(self._at_exit)
            if self._run is not None:
                early = self._stopping and state.global_step < state.max_steps
                self._run.stop(RunStatus.STOPPED if early else RunStatus.COMPLETED)

    def _report(self) -> None:
        held, self._held = self._held, None
        if held is not None and self._run is not None:
            with contextlib.suppress(BudgetExceededError):  # the Trainer is asked to stop instead
                self._run.step(**held)

    def _samples(self, args: TrainingArguments, state: TrainerState) -> int:
        """Return how many samples this process has trained on in a step: fewer in an epoch's last."""
        per_step = _batch(args, state) * int(args.gradient_accumulation_steps)
        if self._epoch_samples and float(state.epoch).is_integer():
            return self._epoch_samples % per_step or per_step
        return per_step

    def _must_stop(self, args: TrainingArguments, state: TrainerState) -> bool:
        asked = self._run is not None and self._run.stop_requested
        if args.world_size == 1 or self._arguments.get("budget_action") != "stop":
            return asked
        return state.global_step % _AGREE_EVERY_STEPS == 0 and _any_rank(args, asked)

    def _log_cost(self, state: TrainerState) -> None:
        # Not into what other callbacks get: one of them prints it to standard output.
        last = state.log_history[-1] if state.log_history else {}
        summary = self._run.summary() if self._run is not None else None
        if summary is not None and summary.methods and "loss" in last and last.get("step") == state.global_step:
            last.update(energy_kwh=summary.energy_kwh, emissions_kg=summary.emissions_kg)

    def _at_exit(self) -> None:
        self._abandon(getattr(sys, "last_value", None))

    def _abandon(self, error: BaseException | None) -> None:
        """End a run whose training has not come to its end, by the error that is known."""
        with _PROBLEMS.guard("ending the run"):
            atexit.unregister(self._at_exit)
            self._report()
            if self._run is None:
                return
            if error is None:
                self._run.stop(RunStatus.FAILED)
            else:
                self._run.__exit__(type(error), error, None)


def _plan(args: TrainingArguments, state: TrainerState) -> dict[str, int]:
    """Return what is still to do: steps, and epochs where they are whole ones from the first on."""
    plan = {"planned_steps": state.max_steps - state.global_step}
    if args.max_steps <= 0 and state.global_step == 0 and float(args.num_train_epochs).is_integer():
        plan["planned_epochs"] = int(args.num_train_epochs)
    return plan


def _hyperparameters(args: TrainingArguments) -> dict[str, object]:
    found = {name: getattr(args, name) for name in _HYPERPARAMETERS if hasattr(args, name)}
    return {name: getattr(value, "value", value) for name, value in found.items()}


def _model_name(model: object) -> str:
    """Return the name that the model was loaded by (of a folder its last part), else its type."""
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", "") or getattr(config, "model_type", "") or type(model).__name__
    return Path(name).name if Path(name).exists() else str(name)


def _batch(args: TrainingArguments, state: TrainerState) -> int:
    return int(getattr(state, "train_batch_size", None) or args.train_batch_size)  # the state's may be found by trying


def _epoch_samples(args: TrainingArguments, state: TrainerState, dataloader: object) -> int | None:
    """Return an epoch's samples; None where they are not told, or where ranks share them in batches filled up."""
    try:
        count = len(dataloader.dataset)  # type: ignore[attr-defined]  # one without it is None, too
    except (AttributeError, TypeError):
        return None
    if args.world_size > 1:
        return None
    return count - count % _batch(args, state) if args.dataloader_drop_last else count


def _logged(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a log says of its step, as `Run.step` takes it."""
    found = {_LOGGED[name]: value for name, value in logs.items() if name in _LOGGED}
    metrics = {name: value for name, value in logs.items() if name.startswith("eval_") and name not in _LOGGED}
    return {**found, "metrics": metrics} if metrics else found


def _any_rank(args: TrainingArguments, asked: bool) -> bool:
    """Say whether any rank asks to stop: one that stopped alone would leave the others waiting for ever."""
    import torch  # pants: no-infer-dep

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return asked
    flag = torch.tensor([int(asked)], device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())
