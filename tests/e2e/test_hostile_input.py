"""Hostile messages amid good runs, on a real line and in a real browser: refused or shown harmless, each counted."""

from __future__ import annotations

import datetime
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil
import pytest

from tests.browser import Requests, chromium, dashboard_server, until
from tests.contract_line import ContractLine, Place
from tests.events import run_events
from tests.hostile import NAMES, Refused, endless_schema, harmless_runs, nothings_schema, refused
from tests.line import running_line, topic_messages, wait_for
from wattline_common import kafka, store
from wattline_common.events import Event, RunStarted
from wattline_common.registry import subject
from wattline_common.store import Document
from wattline_dashboard.formats import visible
from wattline_stack import StackSettings
from wattline_stack.services import Service
from wattline_streaming.audit import audit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.timeout(1200)

SEED = int(os.environ.get("WATTLINE_TEST_SEED", "1"))
MOST_MS = 120_000  # a machine that does much else
GOOD = [f"good-{number}" for number in range(3)]
KEPT_WHOLE_BYTES = 2**18
MOST_RSS_BYTES = 3 * 2**30  # of the driver, Spark and its workers: a gigabyte of heap, and what goes around it
WORD_JOINER = "\N{WORD JOINER}"


@dataclass
class Outcome:
    """What was sent, and what came of it."""

    refused: dict[Place, Refused]
    good: list[Event]
    harmless: list[list[Event]]
    kept: dict[Place, Document]
    rss_bytes: int
    log: str


@pytest.fixture(scope="module")
def contract(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContractLine]:
    """Run the servers and a dashboard's settings; schemas that exhaust their readers are there from the start."""
    with running_line(tmp_path_factory.mktemp("hostile")) as line:
        yield ContractLine(line)


@pytest.fixture(scope="module")
def stream(contract: ContractLine) -> Service:
    """Start the stream once the hostile schemas are registered under a subject of ours, as anyone who may could."""
    for text in (endless_schema(), nothings_schema()):
        contract.register(subject(RunStarted.AVRO_NAME), text)
    return contract.line.start_stream()


@pytest.fixture(scope="module")
def outcome(contract: ContractLine, stream: Service) -> Outcome:
    """Send all of it, shuffled, and wait until all is judged and settled."""
    print(f"WATTLINE_TEST_SEED={SEED}")  # noqa: T201  # pytest shows it with a failure
    start = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(seconds=60)
    good = [event for number, run_id in enumerate(GOOD) for event in run_events(run_id, start=start, seed=number)]
    harmless = list(harmless_runs(start))
    endless, nothings = list(contract.extra.values())
    bad = refused({name: contract.newest(name) for name, _ in contract.ids}, endless, nothings, start)
    sent: list[Event | Refused] = [*good, *(event for run in harmless for event in run), *bad]
    random.Random(SEED).shuffle(sent)
    places = _send(contract, sent)
    contract.expected += len(sent) - len(bad)
    refusals = {place: one for place, one in zip(places, sent, strict=True) if isinstance(one, Refused)}
    peak = Peak(stream)
    contract.wait_for_rejections(refusals)
    contract.wait_until_settled()
    contract.wait_for_counts()
    wait_for(lambda: sum(_counted(contract).values()) >= len(bad), lambda: str(contract.health))
    return Outcome(refusals, good, harmless, contract.rejected(), peak.look(), stream.log.read_text())


class Peak:
    """The most memory that a service and its children have had, each at its own peak."""

    def __init__(self, service: Service) -> None:
        self._pid = service.pid

    def look(self) -> int:
        """Return the sum of the peaks, in bytes."""
        processes = [psutil.Process(self._pid), *psutil.Process(self._pid).children(recursive=True)]
        return sum(_peak_bytes(process.pid) for process in processes)


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _send(contract: ContractLine, messages: Sequence[Event | Refused]) -> list[Place]:
    """Send by a producer that was told to let large messages pass, as a hostile one would be."""
    places: dict[int, Place] = {}
    limits: dict[str, Any] = {"message.max.bytes": 20_000_000}
    producer = kafka.producer(contract.line.endpoints.kafka_bootstrap_servers, **limits)
    for number, one in enumerate(messages):

        def delivered(error: Any, message: Any, number: int = number) -> None:
            assert error is None, error
            places[number] = (message.partition(), message.offset())

        if isinstance(one, Refused):
            key, value, headers = one.key, one.value, one.headers
        else:
            key, value, headers = contract.message(one)  # type: ignore[assignment]  # a sequence for a list
        producer.produce(kafka.TRAINING_EVENTS, key=key, value=value, headers=list(headers), on_delivery=delivered)
        producer.flush(30)
    return [places[number] for number in range(len(messages))]


def _counted(contract: ContractLine) -> Counter[str]:
    return Counter(contract.health.get("ledger", {}).get("rows_rejected", {}))


def test_every_hostile_message_is_refused_for_its_reason(outcome: Outcome) -> None:
    """Each once; what is small as it came, of what is large the beginning and the size."""
    assert len(outcome.refused) > 90
    wrong = {
        (one.what, one.reason, outcome.kept[place]["reason"], outcome.kept[place]["detail"][:200])
        for place, one in outcome.refused.items()
        if outcome.kept[place]["reason"] != one.reason
    }
    assert not wrong
    assert outcome.kept.keys() == outcome.refused.keys()
    for place, one in outcome.refused.items():
        kept = outcome.kept[place]
        if one.bytes <= KEPT_WHOLE_BYTES:
            assert (kept["key"], kept["value"], "cut_from_bytes" in kept) == (one.key, one.value, False)
            assert [(each["k"], each["v"]) for each in kept["headers"]] == one.headers
        else:
            assert kept["cut_from_bytes"] == one.bytes
            assert one.value.startswith(kept["value"])
            assert len(kept["value"]) <= 4096


def test_every_hostile_message_is_counted_and_told(contract: ContractLine, outcome: Outcome) -> None:
    """By reason in pipeline_health, and one by one on the rejected topic."""
    assert _counted(contract) == Counter(one.reason for one in outcome.refused.values())
    told = topic_messages(contract.line.endpoints, kafka.TRAINING_EVENTS_REJECTED)
    reasons = Counter(dict(message.headers())["wattline.reason"].decode() for message in told)
    assert reasons == Counter(one.reason for one in outcome.refused.values())
    large = [dict(message.headers()) for message in told if "wattline.cut-from-bytes" in dict(message.headers())]
    assert sorted(int(headers["wattline.cut-from-bytes"]) for headers in large) == sorted(
        one.bytes for one in outcome.refused.values() if one.bytes > KEPT_WHOLE_BYTES
    )


def test_every_good_event_beside_them_is_stored_and_counted_once(contract: ContractLine, outcome: Outcome) -> None:
    """The good runs are as if nobody else had been there."""
    runs = {run.run_id: run for run in audit(contract.line.database).runs}
    for run_id in GOOD:
        events = [event for event in outcome.good if event.run_id == run_id]
        told = runs[run_id]
        assert (told.events, told.missing_events, told.differences, told.pending) == (len(events), 0, [], [])


def test_what_keeps_the_contract_is_stored_to_the_letter(contract: ContractLine, outcome: Outcome) -> None:
    """Names are values, never operators or paths; maps keep every key; numbers that overflow stop nothing."""
    raw = contract.line.database[store.TRAINING_METRICS]
    assert contract.line.stored() == len(outcome.good) + sum(map(len, outcome.harmless))
    for run in outcome.harmless:
        found = {document["_id"]: document for document in raw.find({"run_id": {"$eq": run[0].run_id}})}
        assert len(found) == len(run)
        summary = contract.line.database[store.TRAINING_RUN_SUMMARY].find_one({"_id": run[0].run_id})
        assert summary is not None
        for event in run:
            document = found[store.event_id(event.run_id, event.source_id, event.seq)]
            assert document["user_id"] == event.user_id
            if isinstance(event, RunStarted):
                assert store.as_map(document["hyperparameters"]) == event.hyperparameters
                assert summary["model_name"] == event.model_name


def test_the_stream_never_stopped(outcome: Outcome, stream: Service) -> None:
    """The same process from the first message to the last, no batch repeated, no memory blown up."""
    assert stream.exit_code is None
    assert "the query stopped" not in outcome.log
    assert "Traceback" not in outcome.log
    assert outcome.log.count("is none to read by, so its messages are rejected") == 2
    assert outcome.rss_bytes < MOST_RSS_BYTES, f"{outcome.rss_bytes / 2**20:.0f} MiB"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(contract: ContractLine, outcome: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the pages of the line's store."""
    log = tmp_path_factory.mktemp("dashboard") / "server.log"
    with dashboard_server(contract.line.endpoints.mongodb_uri, log) as url:
        yield url
    assert "Traceback" not in log.read_text(errors="replace")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page; nothing that users wrote may have run, asked anybody outside, or thrown."""
    context = browser.new_context(viewport={"width": 1440, "height": 1800}, timezone_id="America/New_York")
    page = context.new_page()
    page.set_default_timeout(MOST_MS)
    requests, thrown, dialogs = Requests(page), list[str](), list[str]()
    page.on("pageerror", lambda error: thrown.append(str(error)))
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    yield page
    assert page.evaluate("window.hostile") is None
    assert page.locator("[onerror], [onload], iframe[srcdoc], a[href^='javascript:'], a[href*='192.0.2']").count() == 0
    assert page.locator("[data-testid=stException]").count() == 0
    context.close()
    assert (requests.outside(), thrown, dialogs) == ([], [], [])


def _text(page: Page) -> str:
    return page.locator("[data-testid=stMain]").inner_text().replace(WORD_JOINER, "")


@pytest.mark.browser
@pytest.mark.parametrize("number", range(0, len(NAMES), 3))
def test_a_run_shows_hostile_names_as_text(page: Page, url: str, outcome: Outcome, number: int) -> None:
    """In the title, which is Markdown, and in the line of facts: letter for letter, what steers by its number."""
    started = next(event for event in outcome.harmless[number] if isinstance(event, RunStarted))
    page.goto(f"{url}/run?run={quote(started.run_id, safe='')}")
    page.wait_for_selector("[data-testid=stMetricValue]")
    title = visible(" ".join(started.model_name.split()))
    until(lambda: page.locator("h1").count() > 0, "the title", within_s=120)
    assert page.locator("h1").first.inner_text().replace(WORD_JOINER, "").strip() == " ".join(title.split())
    text = " ".join(_text(page).split())
    for value in (started.user_id, started.dataset_name, started.host):
        assert " ".join(visible(value).split()) in text


PATHS = (
    "overview",
    "runs",
    f"runs?user={quote(NAMES[0])}",
    "run?run=hostile-overflow",
    "method?run=hostile-overflow",
    "pipeline",
)


@pytest.mark.browser
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:20])
def test_pages_of_many_runs_survive_them(page: Page, url: str, path: str) -> None:
    """Sums beyond any double, times and names of any kind: the page is drawn, without an error on it."""
    page.goto(f"{url}/{path}")
    page.wait_for_selector("[data-testid=stMetricValue], [data-testid=stDataFrame], [data-testid=stHeading]")
    page.wait_for_load_state("networkidle")
    until(lambda: page.locator("[data-testid=stStatusWidget]").count() == 0, "the page to come to rest", within_s=120)


QUERIES = ("run=../../etc/passwd", "run=%00", "run=$where", "run=%ED%A0%80", f"run={'x' * 5000}", "run[$ne]=1")


@pytest.mark.browser
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:20])
def test_a_hostile_link_is_no_run(page: Page, url: str, query: str) -> None:
    """It is told as text, or not taken for a run at all."""
    page.goto(f"{url}/run?{query}")
    page.wait_for_selector("[data-testid=stAlert], [data-testid=stMetricValue]")
