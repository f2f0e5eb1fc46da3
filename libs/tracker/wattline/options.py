"""The options of `wattline run` and `wattline watch` that say whose run it is."""

from __future__ import annotations

import argparse
from typing import TypedDict

__all__ = ["Identity", "add_identity", "identity"]


class Identity(TypedDict):
    """Arguments of `wattline.track`."""

    model_name: str
    dataset_name: str
    framework: str
    project: str | None
    user_id: str | None
    environment: str | None
    region_iso: str | None
    run_id: str | None
    tags: dict[str, str]
    emit_interval_s: float | None


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Add the options; an empty text is as none."""
    parser.add_argument("--model-name", help="what is trained")
    parser.add_argument("--dataset-name", "--dataset", help="what it is trained on")
    parser.add_argument("--framework", help="what trains, such as torch")
    parser.add_argument("--project", help="what its cost is booked on (default WATTLINE_PROJECT)")
    parser.add_argument("--user", help="who runs it (default WATTLINE_USER, else you)")
    parser.add_argument("--environment", help="where it runs (default WATTLINE_ENVIRONMENT)")
    parser.add_argument("--region", help="grid region such as FRA or US-CA (default WATTLINE_REGION, else the world)")
    parser.add_argument("--run-id", help="identity of the run (default a new one)")
    parser.add_argument("--tag", action="append", default=[], type=_tag, metavar="KEY=VALUE", help="may be repeated")
    parser.add_argument("--emit-interval", type=float, metavar="S", help="seconds between hardware samples (default 5)")


def identity(options: argparse.Namespace) -> Identity:
    """Return what the options say."""
    return Identity(
        model_name=options.model_name or "unknown",
        dataset_name=options.dataset_name or "unknown",
        framework=options.framework or "unknown",
        project=options.project or None,
        user_id=options.user or None,
        environment=options.environment or None,
        region_iso=options.region or None,
        run_id=options.run_id or None,
        tags=dict(options.tag),
        emit_interval_s=options.emit_interval,
    )


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value
