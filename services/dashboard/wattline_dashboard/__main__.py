"""``python -m wattline_dashboard``: serve the pages with Streamlit, by default to this machine alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wattline_common.errors import ConfigurationError
from wattline_dashboard.settings import DashboardSettings

__all__ = ["main"]

_APP = Path(__file__).parent / "streamlit_app.py"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and serve until stopped; return the exit code."""
    try:
        settings = DashboardSettings.from_environment()
    except ConfigurationError as error:
        print(f"wattline dashboard: {error}", file=sys.stderr)
        return 2
    chosen = _parser(settings).parse_args(arguments)
    # These take a second to import: not before --help and wrong settings have been dealt with.
    from wattline_dashboard import budget_metrics, budgets

    try:
        budgets.check(settings.budgets_path)
        budget_metrics.serve(replace(settings, address=chosen.address))
    except ConfigurationError as error:
        print(f"wattline dashboard: {error}", file=sys.stderr)
        return 2
    from streamlit.web import cli

    print(f"Wattline dashboard on http://{chosen.address}:{chosen.port}, store at {settings.store_host}", flush=True)
    cli.main(streamlit_arguments(chosen.address, chosen.port), prog_name="streamlit", standalone_mode=False)
    return 0


def streamlit_arguments(address: str, port: int) -> list[str]:
    """Return Streamlit's command line: what must hold whatever configuration files lie around."""
    options = {
        "server.address": address,
        "server.port": port,
        "server.headless": "true",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "global.developmentMode": "false",
    }
    return ["run", str(_APP), *(f"--{name}={value}" for name, value in options.items())]


def _parser(settings: DashboardSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wattline_dashboard",
        description="Serve the pages that show what training runs cost in energy and CO2.",
        epilog="Reads the store that MONGODB_URI names (now: " + settings.store_host + "). Every option has a variable "
        "WATTLINE_DASHBOARD_<OPTION>; the README lists the others.",
    )
    parser.add_argument("--address", default=settings.address, help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=settings.port, help="port to listen on (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
