"""Over HTTP, for whoever supervises the driver: /livez (restart it?), /readyz (does it work?), /metrics."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from wattline_common.errors import ConfigurationError
from wattline_streaming.figures import Figures
from wattline_streaming.metrics import StreamCollector
from wattline_streaming.vitals import Vitals

__all__ = ["live", "ready", "serving"]

_TEXT = "text/plain; charset=utf-8"
_REQUEST_TIMEOUT_S = 10.0  # a client that says nothing must not hold a thread for ever
_Answer = tuple[HTTPStatus, str]


def live(vitals: Vitals) -> _Answer:
    """Answer whether the driver goes on; a server that is away is no reason to restart it, a silent thread is."""
    silent = [
        f"no progress of the {part} for {silent_s:.0f} s (WATTLINE_HTTP_STALL_S={vitals.stall_s:g})\n"
        for part, silent_s in vitals.stalled().items()
    ]
    return _answer(silent)


def ready(vitals: Vitals) -> _Answer:
    """Answer whether the driver goes on and every part can do its work, and if not, what is in its way."""
    problems = [f"{part}: {words}\n" for part, words in vitals.problems().items() if words]
    return _answer([live(vitals)[1], *problems] if vitals.stalled() else problems)


def _answer(problems: list[str]) -> _Answer:
    return (HTTPStatus.SERVICE_UNAVAILABLE, "".join(problems)) if problems else (HTTPStatus.OK, "ok\n")


@contextlib.contextmanager
def serving(address: str, port: int, vitals: Vitals, figures: Figures) -> Iterator[None]:
    """Serve on a thread of its own; port 0 serves nothing. Raises `ConfigurationError` when it cannot listen there."""
    if not port:
        yield
        return
    server = _server(address, port, vitals, figures)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _server(address: str, port: int, vitals: Vitals, figures: Figures) -> ThreadingHTTPServer:
    registry = CollectorRegistry()
    registry.register(StreamCollector(figures, vitals))

    class Handler(BaseHTTPRequestHandler):
        """Answers GET of the three paths."""

        timeout = _REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            """Answer a probe or a scrape."""
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._send(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path in {"/livez", "/readyz"}:
                status, words = (live if path == "/livez" else ready)(vitals)
                self._send(status, words.encode(), _TEXT)
            else:
                self._send(HTTPStatus.NOT_FOUND, b"there are /livez, /readyz and /metrics\n", _TEXT)

        def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a probe every few seconds would bury the log."""

    class Server(ThreadingHTTPServer):
        """One thread a request, none of which keeps the process."""

        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    try:
        return Server((address, port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"cannot listen on WATTLINE_HTTP_ADDRESS={address}, WATTLINE_HTTP_PORT={port} ({error}): name another "
            "address or port, or port 0 to go without /livez, /readyz and /metrics"
        ) from error
