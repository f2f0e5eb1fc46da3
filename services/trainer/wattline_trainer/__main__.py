"""The trainer's command: `python -m wattline_trainer digits` and `simulate`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import wattline
from wattline.courier import Wire
from wattline.wire import KafkaWire
from wattline_common.errors import ConfigurationError, WattlineError
from wattline_common.settings import without_login
from wattline_trainer.ledger import write_ledger
from wattline_trainer.settings import MAX_MINUTES, MIN_MINUTES, Settings
from wattline_trainer.simulate.command import add_simulate, simulate
from wattline_trainer.stopping import StopRequest

if TYPE_CHECKING:
    from wattline_trainer.digits import Digits, StepResult

_EPILOG = """\
examples:
  python -m wattline_trainer digits                       three minutes, as you
  python -m wattline_trainer digits --epochs 5 --seed 7   a fixed amount of work; the same losses every time
  python -m wattline_trainer digits --region FRA --ledger run.json

Events go to KAFKA_BOOTSTRAP_SERVERS, schema ids come from SCHEMA_REGISTRY_URL. Without them the training runs just
the same and its cost is printed at the end. Ctrl-C and SIGTERM end it after the current step, with the status
STOPPED and all events delivered (exit code 130 and 143). Any other setting: see the tracker's README.
"""


def main() -> int:
    """Run the training that the command line asks for; return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        settings = Settings.from_environment()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    options = _parser(settings).parse_args()
    stop = StopRequest()
    stop.listen()
    if options.training == "simulate":
        return _simulate(options, stop, settings)
    return _train_digits(options, stop)


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wattline_trainer", description=__doc__)
    trainings = parser.add_subparsers(dest="training", required=True)
    digits = trainings.add_parser(
        "digits",
        help="a perceptron that learns scikit-learn's handwritten digits on one core",
        description="Train a perceptron on scikit-learn's handwritten digits on one core, and measure what it costs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = digits.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes",
        type=_minutes,
        default=settings.minutes,
        help=f"how long to train, {MIN_MINUTES:g} to {MAX_MINUTES:g} (default {settings.minutes:g}; "
        "WATTLINE_TRAINER_MINUTES)",
    )
    length.add_argument("--epochs", type=_positive, help="train this many epochs instead")
    digits.add_argument("--seed", type=int, default=settings.seed, help="of data split, weights and batches")
    digits.add_argument("--run-id", help="identity of the run (default: a new one)")
    digits.add_argument("--user", help="who runs it (default: WATTLINE_USER, else you)")
    digits.add_argument("--project", help="what its cost is booked on (default: WATTLINE_PROJECT)")
    digits.add_argument("--region", help="grid region such as FRA or US-CA (default: WATTLINE_REGION, else the world)")
    digits.add_argument("--emit-interval", type=float, metavar="SECONDS", help="between hardware samples (default 5)")
    digits.add_argument("--ledger", type=Path, metavar="FILE", help="write at the end what was emitted, as JSON")
    add_simulate(trainings, seed=settings.seed, emit_interval_s=settings.emit_interval_s)
    return parser


def _simulate(options: argparse.Namespace, stop: StopRequest, settings: Settings) -> int:
    def open_wire() -> Wire:
        servers = settings.endpoints
        sys.stderr.write(
            f"simulate: Kafka at {servers.kafka_bootstrap_servers}, "
            f"registry at {without_login(servers.schema_registry_url)}\n"
        )
        wire = KafkaWire(servers)
        wire.require_servers()
        return wire

    try:
        return simulate(options, stop, open_wire)
    except WattlineError as error:
        sys.stderr.write(f"simulate: {error}\n")
        return 2 if isinstance(error, ConfigurationError) else 1


def _train_digits(options: argparse.Namespace, stop: StopRequest) -> int:
    from wattline_trainer.digits import Digits  # scikit-learn: a second and 100 MB that a simulation does not need

    digits = Digits(options.seed)
    run = wattline.track(
        model_name="mlp",
        dataset_name="digits",
        framework="sklearn",
        user_id=options.user,
        project=options.project,
        region_iso=options.region,
        run_id=options.run_id,
        hyperparameters={**asdict(digits.hyperparameters), "seed": options.seed},
        planned_epochs=options.epochs,
        planned_steps=options.epochs and options.epochs * digits.hyperparameters.steps_per_epoch,
        emit_interval_s=options.emit_interval,
    )
    length = f"{options.epochs} epochs" if options.epochs else f"{options.minutes:g} minutes"
    sys.stderr.write(f"trainer: run {run.run_id}: a perceptron learns the digits for {length}; Ctrl-C ends it\n")
    try:
        with run:
            _train(digits, run, stop, options)
    finally:
        if options.ledger is not None:
            write_ledger(options.ledger, run.summary())
    return 0


def _train(digits: Digits, run: wattline.Run, stop: StopRequest, options: argparse.Namespace) -> None:
    end_s = time.monotonic() + options.minutes * 60
    for result in digits.steps():
        run.step(
            epoch=result.epoch,
            step=result.step,
            loss=result.loss,
            accuracy=result.validation_accuracy,
            samples=result.samples,
            metrics={} if result.validation_loss is None else {"validation_loss": result.validation_loss},
        )
        stop.raise_if_asked()
        ends_epoch = result.validation_accuracy is not None
        if ends_epoch:
            _show(result)
        if (ends_epoch and result.epoch == options.epochs) or (not options.epochs and time.monotonic() >= end_s):
            return


def _show(result: StepResult) -> None:
    sys.stderr.write(
        f"trainer: epoch {result.epoch}: loss {result.loss:.4f}, validation accuracy {result.validation_accuracy:.4f}\n"
    )


def _minutes(text: str) -> float:
    value = float(text)
    if not MIN_MINUTES <= value <= MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"{text} is not between {MIN_MINUTES:g} and {MAX_MINUTES:g}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
