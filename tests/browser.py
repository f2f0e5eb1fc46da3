"""A real browser and a real dashboard server for tests; only on this machine, and it can prove that."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.requirements import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["ARTIFACTS", "Requests", "chromium", "dashboard_server", "until"]

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
_START_S = 90.0


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium without a window; skip where there is none."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        require(
            "browser",
            "no Chromium on the PATH, and CHROMIUM names none",
            "apt-get install --no-install-recommends chromium fonts-dejavu-core",
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def dashboard_server(mongodb_uri: str, log: Path, **variables: str) -> Iterator[str]:
    """Run `python -m wattline_dashboard` on a free port, from a foreign folder, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"MONGODB_URI": mongodb_uri} | variables
    command = [sys.executable, "-m", "wattline_dashboard", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=log.parent, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _is_healthy(server, url, log), "the dashboard to answer", within_s=_START_S)
        yield url
    finally:
        server.terminate()
        server.wait(20)


class Requests:
    """What a page asked for: everything a test needs to say that it asked this machine only."""

    def __init__(self, page: Page) -> None:
        self.urls: list[str] = []
        page.on("request", lambda request: self.urls.append(request.url))
        page.on("websocket", lambda websocket: self.urls.append(websocket.url))

    def outside(self) -> list[str]:
        """Return the requests that left 127.0.0.1."""
        return [url for url in self.urls if _host(url) not in {"127.0.0.1", ""}]


def until(holds: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"waited {within_s:g} s in vain for {what}")
        time.sleep(0.1)


def _host(url: str) -> str:
    parts = urlsplit(url)
    return "" if parts.scheme in {"data", "blob", "about"} else parts.hostname or "?"


def _is_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if server.poll() is not None:
        raise AssertionError(f"the dashboard ended with {server.returncode}:\n{log.read_text(errors='replace')}")
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except OSError:
        return False
