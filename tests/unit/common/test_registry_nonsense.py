"""Whoever answers at the registry's address: a good answer is used, any other is told as `WattlineError`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattline_common.errors import ConfigurationError, ContractError, RegistryUnavailableError, WattlineError
from wattline_common.events import RunStarted
from wattline_common.kafka import TRAINING_EVENTS
from wattline_common.registry import Registry

ASKED: dict[str, Callable[[Registry], Any]] = {
    "text": lambda registry: registry.schema_text(1),
    "id": lambda registry: registry.schema_id(RunStarted),
    "subjects": lambda registry: registry.require_subjects(),
    "ids": lambda registry: registry.ids(TRAINING_EVENTS),
    "check": lambda registry: list(registry.check()),
    "register": lambda registry: list(registry.register()),
}


@dataclass
class Impostor:
    """Answers everything with the same."""

    url: str
    status: int = 200
    body: bytes = b""

    def registry(self) -> Registry:
        """Return a client of it, which has a password."""
        return Registry(self.url, timeout_s=5, retries=0)


@pytest.fixture(scope="module")
def impostor() -> Iterator[Impostor]:
    """Listen on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(found.body)))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(found.body)

        do_POST = do_PUT = do_GET  # noqa: N815  # the names that the server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Impostor(f"http://ada:canary@127.0.0.1:{server.server_port}/apis/ccompat/v7")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def _ask_all(impostor: Impostor) -> dict[str, WattlineError | None]:
    """Return what each question raises; anything but our own errors passes through."""
    registry = impostor.registry()
    raised = {name: _raised(ask, registry) for name, ask in ASKED.items()}
    for error in raised.values():
        assert "canary" not in str(error)
        assert str(error).replace("\n", "").isprintable()
    return raised


def _raised(ask: Callable[[Registry], Any], registry: Registry) -> WattlineError | None:
    try:
        ask(registry)
    except WattlineError as error:
        return error
    return None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>please log in</html>",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b"[null, 1, {}]",
        b"[" * 100_000,
        b'{"schema":' * 50_000 + b"1" + b"}" * 50_000,
        b"9" * 10_000,
        b"\xff\xfe\xfa",
        b'{"schema": 5, "id": NaN}',
        b'{"schema": null, "id": -1, "subject": "s", "version": 1}',
        b'{"schema": "\\ud800", "id": "7", "subject": "s", "version": 1}',
        b'{"schema": {"a": 1}, "id": true, "references": 7}',
        b'{"schema": "x", "id": ' + b"9" * 400 + b', "subject": "s", "version": 1}',
    ],
    ids=lambda body: body[:20],
)
def test_nonsense_counts_as_a_registry_that_is_away(impostor: Impostor, body: bytes) -> None:
    """So nothing is rejected for it, and what waits for the registry goes on waiting: a proxy's page is no verdict."""
    impostor.status, impostor.body = 200, body
    raised = _ask_all(impostor)
    assert isinstance(raised["text"], RegistryUnavailableError)
    assert isinstance(raised["id"], RegistryUnavailableError)
    assert isinstance(raised["ids"], RegistryUnavailableError)


@pytest.mark.parametrize("status", [204, 302, 404, 405, 418, 429, 500, 503])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b'{"error_code": [], "message": 5}', b"{}"])
def test_an_error_page_is_no_verdict(impostor: Impostor, status: int, body: bytes) -> None:
    """Only a registry's own codes say that it lacks a schema."""
    impostor.status, impostor.body = status, body
    assert {type(error) for error in _ask_all(impostor).values()} == {RegistryUnavailableError}


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_password_is_a_setting_and_not_told(impostor: Impostor, status: int) -> None:
    """The message names the address without it; what the server adds is cut and cannot steer a terminal."""
    impostor.status, impostor.body = status, b"\x1b[31m" + b"x" * 100_000
    raised = _ask_all(impostor)
    assert {type(error) for error in raised.values()} == {ConfigurationError}
    assert max(len(str(error)) for error in raised.values()) < 700


def test_a_schema_of_megabytes_is_no_schema(impostor: Impostor) -> None:
    """It would have to be kept with every event of its id."""
    impostor.status = 200
    impostor.body = json.dumps({"schema": "x" * 3_000_000, "id": 1, "subject": "s", "version": 1}).encode()
    assert isinstance(_ask_all(impostor)["text"], RegistryUnavailableError | ContractError)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["schema", "id", "subject", "version", "schemaType", "references", "error_code", "message"]
            ),
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=settings().max_examples // 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, *settings().suppress_health_check],
)
@given(
    status=st.sampled_from([200, 200, 200, 404, 409, 422, 500]),
    answer=_JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
)
def test_any_answer_is_used_or_told(impostor: Impostor, status: int, answer: bytes) -> None:
    """Nothing but our own errors is raised, whatever stands in the answer."""
    impostor.status, impostor.body = status, answer
    _ask_all(impostor)
