"""What every browser test of the pages starts from: one browser a module, the session's store, a dashboard over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pymongo.database import Database

from tests.browser import Requests, chromium, dashboard_server
from wattline_common import store
from wattline_common.store import Document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from wattline_stack import Stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests of a module."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def database(running_stack: Stack, browser: Browser) -> Iterator[Database[Document]]:
    """Return the session's store; a module books runs of its own there, and forgets them (`dashboard_runs.forget`)."""
    database = store.connect(running_stack.endpoints().mongodb_uri)
    store.ensure(database)
    yield database
    database.client.close()


@pytest.fixture(scope="module")
def dashboard_variables() -> dict[str, str]:
    """Return further settings of the module's dashboard; a module that needs some has a fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def url(
    database: Database[Document], dashboard_variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Serve the dashboard over the session's store."""
    host, port = database.client.address or ("127.0.0.1", 0)
    log = tmp_path_factory.mktemp("dashboard") / "server.log"
    variables = {"WATTLINE_DASHBOARD_REFRESH_S": "1"} | dashboard_variables
    with dashboard_server(f"mongodb://{host}:{port}/", log, **variables) as url:
        yield url


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    """Return what the viewer's system prefers."""
    return str(request.param)


@pytest.fixture
def page(browser: Browser, scheme: str) -> Iterator[Page]:
    """Open a page; it must have asked nobody but this machine, and thrown nothing."""
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]  # one of the two
        viewport={"width": 1440, "height": 1800},
        timezone_id="Europe/Berlin",
    )
    page = context.new_page()
    requests, thrown = Requests(page), list[str]()
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield page
    context.close()
    assert requests.urls
    assert requests.outside() == []
    assert thrown == []
