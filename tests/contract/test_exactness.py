"""Exactness of the pure functions, over whole generated histories: any delivery of the same events ends alike."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.contract.expected import TOTALS, Run, expected
from tests.contract.histories import BREAKS, History, Sent, histories, runs
from tests.contract.mongo_order import apply
from tests.differences import difference
from tests.events import START
from wattline_common.codec import encode_body, frame
from wattline_common.events import EVENT_TYPES, Event, HardwareSampled
from wattline_common.schemas import VERSIONS
from wattline_common.store import SETTLEMENT, Aggregate, event_id, window_id, window_start_us
from wattline_streaming.acceptance import Acceptance
from wattline_streaming.books import KafkaPosition, Message, RawEvent, Rejection
from wattline_streaming.summary import Gathered, own_fields, source_updates
from wattline_streaming.typed import CONTEXT
from wattline_streaming.windows import aggregate

IDS = {kind: number for number, kind in enumerate(EVENT_TYPES.values(), start=1)}
TEXTS = {number: VERSIONS[kind.AVRO_NAME][-1] for kind, number in IDS.items()}
ROW_FIELDS = (*Aggregate.__annotations__, *CONTEXT, "simulated")
HISTORY_KINDS: dict[str, Callable[[History], bool]] = {
    "gap": lambda history: any(not run.whole for run in runs_of(history).values()),
    "duplicate": lambda history: len(good(history)) > len(expected(history.log).events),
    "rejected": lambda history: any(not sent.good for sent in history.log),
    "several runs": lambda history: len(runs_of(history)) > 1,
    "several sources": lambda history: any(len(run.sources) > 1 for run in runs_of(history).values()),
    "repeated batch": lambda history: any(batch.crashes for batch in history.batches),
    "topic read again": lambda history: sum(len(batch.messages) for batch in history.batches) > len(history.log),
    "late": lambda history: any(later < sooner for sooner, later in steps_of_days(history)),
    "several windows": lambda history: any(len(run.windows()) > 2 for run in runs_of(history).values()),
    "a run that is over and whole": lambda history: any(
        run.whole and run.status != "RUNNING" and run.samples for run in runs_of(history).values()
    ),
}


def runs_of(history: History) -> dict[str, Run]:
    """Return the runs as the model has them."""
    return expected(history.log).runs


def good(history: History) -> list[Event]:
    """Return the acceptable events of the topic as they lie there, twice where they were sent twice."""
    return [sent.event for sent in history.log if sent.good]


def steps_of_days(history: History) -> Iterable[tuple[datetime.date, datetime.date]]:
    """Return the days of each two messages that follow one another."""
    days = [event.timestamp.date() for event in good(history)]
    return itertools.pairwise(days)


def updates(event: Event) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the summary raises and lowers for an event."""
    return source_updates(type(event).__name__, event.to_avro(), timestamp_us(event))


def timestamp_us(event: Event) -> int:
    """Return an event's time in microseconds since 1970."""
    since = event.timestamp - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return since // datetime.timedelta(microseconds=1)


def summaries(groups: Iterable[Sequence[Event]]) -> dict[str, dict[str, Any]]:
    """Return each run's document after groups of events, each group merged first as the books merge a batch."""
    documents: dict[str, dict[str, Any]] = {}
    for group in groups:
        for run_id in dict.fromkeys(event.run_id for event in group):
            told = Gathered()
            for event in group:
                if event.run_id == run_id:
                    told.add(type(event).__name__, event.to_avro(), timestamp_us(event))
            apply(documents.setdefault(run_id, {"sources": {}}), told.raised, told.lowered)
    for run_id, document in documents.items():
        document |= own_fields(run_id, document["sources"])
    return documents


def one_by_one(events: Iterable[Event]) -> dict[str, dict[str, Any]]:
    """Return each run's document after events that come alone."""
    return summaries([event] for event in events)


def test_histories_know_every_kind_of_bad_day() -> None:
    """Among as many histories as a property is tried on, each kind of trouble that the properties are about occurs."""
    found: Counter[str] = Counter()

    @settings(phases=[Phase.generate], database=None)
    @given(histories())
    def look(history: History) -> None:
        found.update(kind for kind, has in HISTORY_KINDS.items() if has(history))

    look()
    assert [kind for kind in HISTORY_KINDS if not found[kind]] == []


@given(runs())
def test_runs_are_consistent_in_themselves(emitted: list[Event]) -> None:
    """What sources emit has no gap, its sums are those of its samples, and all of it is accepted."""
    model = expected(Sent(event, 0, offset) for offset, event in enumerate(emitted))
    assert len(model.events) == len(emitted)
    for run in model.runs.values():
        assert run.whole
        for name in TOTALS:
            assert run.said(name) == pytest.approx(run.summed(name), rel=1e-12)
    assert all(isinstance(verdict, RawEvent) for verdict in judged(emitted))


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_repetition_and_grouping_gathers_the_same_summary(history: History, rng: random.Random) -> None:
    """Invariant 2: events in order one by one, or as they came, in batches that are repeated, give one document."""
    came = [[sent.event for sent in batch.messages if sent.good] for batch in history.batches]
    in_order = sorted(
        {id(event): event for event in good(history)}.values(), key=lambda event: (event.run_id, event.seq)
    )
    straight = one_by_one(in_order)
    again = [list(batch) for batch in came]
    rng.shuffle(again)
    for groups in (came, came + again, [batch[::-1] for batch in again]):
        assert difference(summaries(groups), straight) is None


@given(histories())
def test_totals_are_the_models(history: History) -> None:
    """Invariant 3: totals are the sums of samples and of last words; with gaps the summary knows what is missing."""
    found = one_by_one(good(history))
    for run_id, run in runs_of(history).items():
        summary = found[run_id]
        for name in TOTALS:
            assert summary[name] == pytest.approx(run.said(name), rel=1e-9)
            if run.whole:
                assert summary[name] == pytest.approx(run.summed(name), rel=1e-9)
        assert (summary["status"], summary["events_expected"]) == (run.status, run.events_expected)
        assert (summary["finished_at"] is None) is (run.status == "RUNNING")
        if run.whole and run.status != "RUNNING":
            said = math.fsum(source["finished"]["source_energy_kwh"] for source in summary["sources"].values())
            assert summary["energy_kwh"] == pytest.approx(said, rel=1e-9)


@given(histories())
def test_what_a_run_tells_is_what_its_sources_told_last(history: History) -> None:
    """Each training figure is the one of the highest seq that told it; names are those of the first that knows."""
    found = one_by_one(good(history))
    for run_id, run in runs_of(history).items():
        summary = found[run_id]
        told = {name: summary[name] for name in ("epoch", "step", "loss", "accuracy")}
        assert told == {name: run.last_told(name) for name in told}
        names = ("user_id", "project", "model_name")
        assert [summary[name] for name in names] == [run.first_said(name) for name in names]
        assert summary["started_at"] == min(event.timestamp for event in run.events)
        assert summary["last_event_at"] == max(event.timestamp for event in run.events)
        if run.status == "RUNNING":
            assert summary["power_w"] == run.power_w


@given(histories())
def test_a_gap_is_the_difference_between_what_is_expected_and_what_came(history: History) -> None:
    """A lost event that a later one betrays is expected, and its energy is in the total that the source gave."""
    found = one_by_one(good(history))
    for run_id, run in runs_of(history).items():
        emitted = [event for event in history.emitted if event.run_id == run_id and event.source_id in run.sources]
        last_sampled = {event.source_id: max(event.seq, 0) for event in sorted(run.samples, key=lambda one: one.seq)}
        lost = [event for event in emitted if event.seq not in run.sources[event.source_id]]
        energy_kwh = math.fsum(
            event.energy_kwh
            for event in lost
            if isinstance(event, HardwareSampled) and event.seq < last_sampled.get(event.source_id, 0)
        )
        stated = found[run_id]["energy_kwh"] - run.summed("energy_kwh")
        assert stated == pytest.approx(energy_kwh, rel=1e-9, abs=1e-9 * found[run_id]["energy_kwh"])
        finished = {key for key, source in found[run_id]["sources"].items() if "finished" in source}
        highest = {key: max(source) for key, source in run.sources.items()}
        known = [event for event in lost if event.source_id in finished or event.seq < highest[event.source_id]]
        assert found[run_id]["events_expected"] - len(run.events) == len(known)


@given(histories())
def test_totals_never_decrease(history: History) -> None:
    """Invariant 5: with every event, in whatever order it comes, a run's totals stay or grow."""
    growing = (*TOTALS, "events_expected", "duration_s", "last_event_at")
    documents: dict[str, dict[str, Any]] = {}
    for event in good(history):
        document = documents.setdefault(event.run_id, {"sources": {}})
        before = dict(document)
        apply(document, *updates(event))
        document |= own_fields(event.run_id, document["sources"])
        assert [name for name in growing if name in before and document[name] < before[name]] == []


def judged(events: Iterable[Event]) -> list[RawEvent | Rejection]:
    """Return the verdict on each event, from the bytes that its producer writes."""
    acceptance = Acceptance(TEXTS.__getitem__, future_tolerance=datetime.timedelta(days=2))
    position = KafkaPosition(0, 0, START)
    messages = [Message(b"k", frame(IDS[type(event)], encode_body(event)), [], position) for event in events]
    return list(acceptance.judge(messages))


def keeps_invariant_4(sample: HardwareSampled) -> bool:
    """Return whether a sample's figures agree, up to a rounding."""
    energy = sample.energy_kwh
    slack = 1e-9 * abs(energy)
    emissions_kg = energy * sample.pue * sample.grid_intensity_g_per_kwh / 1000
    return (
        min(energy, sample.energy_low_kwh, sample.energy_high_kwh, sample.measured_energy_kwh, sample.emissions_kg) >= 0
        and sample.energy_low_kwh - slack <= energy <= sample.energy_high_kwh + slack
        and sample.measured_energy_kwh <= energy + slack
        and math.isclose(sample.emissions_kg, emissions_kg, rel_tol=1e-9, abs_tol=1e-18)
    )


SAMPLES = runs(most=1).map(lambda emitted: [event for event in emitted if isinstance(event, HardwareSampled)])
FIGURES = st.sampled_from(["energy_low_kwh", "energy_high_kwh", "measured_energy_kwh", "emissions_kg"])
ROUNDINGS = [(1e-12, 0.0), (-1e-12, 0.0)]
FAULTS = [(1e-3, 0.0), (-1e-3, 0.0), (-1.0, 0.0), (0.0, 1e-6), (0.0, -1e-6)]
SHIFTS = st.sampled_from(ROUNDINGS + FAULTS)  # relative, absolute


@given(SAMPLES, st.lists(st.tuples(FIGURES, SHIFTS), max_size=2))
def test_what_breaks_invariant_4_is_refused_and_nothing_else(
    samples: list[HardwareSampled], changes: list[tuple[str, tuple[float, float]]]
) -> None:
    """Negative energies, values outside their band, more measured than used, other emissions: these, and only these."""
    changed = []
    for sample in samples:
        for name, (shift, more) in changes:
            sample = dataclasses.replace(sample, **{name: getattr(sample, name) * (1 + shift) + more})
        changed.append(sample)
    for sample, verdict in zip(changed, judged(changed), strict=True):
        assert isinstance(verdict, RawEvent) is keeps_invariant_4(sample), verdict
        assert isinstance(verdict, RawEvent) or verdict.reason in {"inconsistent", "out_of_range"}


@given(st.sampled_from(sorted(BREAKS)), SAMPLES)
def test_each_way_to_break_invariant_4_is_refused(name: str, samples: list[HardwareSampled]) -> None:
    """However large or small a sample is, each of these contradictions is seen."""
    broken = [dataclasses.replace(sample, **BREAKS[name](sample)) for sample in samples]  # type: ignore[arg-type]  # floats
    assert not any(keeps_invariant_4(sample) for sample in broken)
    assert all(isinstance(verdict, Rejection) for verdict in judged(broken))


NAMES = st.text("ab1-_/ é𝄞", min_size=1, max_size=4)
IDENTITIES = st.tuples(NAMES, NAMES, st.integers(0, 2**63 - 1))


@given(st.sets(IDENTITIES, max_size=20))
def test_event_ids_are_injective(identities: set[tuple[str, str, int]]) -> None:
    """Invariant 1: two events have one id only when run, source and seq are the same."""
    ids = {event_id(*identity) for identity in identities}
    assert len(ids) == len(identities)
    assert {(run, source, int(seq)) for run, source, seq in (one.split("|") for one in ids)} == identities


@given(st.sets(st.tuples(st.sampled_from(["a", "a-1", "a 1"]), st.integers(-(10**15), 4 * 10**15)), max_size=20))
def test_a_moment_has_one_window(moments: set[tuple[str, int]]) -> None:
    """Each moment lies in its window, and two windows have one id only when they are the same run's same minute."""
    windows = set()
    for run_id, moment_us in moments:
        start_us = window_start_us(moment_us)
        assert start_us <= moment_us < start_us + 60_000_000
        windows.add((run_id, start_us))
    assert len({window_id(*window) for window in windows}) == len(windows)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2**39)), min_size=1, max_size=8), st.randoms())
def test_a_windows_revision_never_goes_down(writes: list[tuple[int, int]], rng: random.Random) -> None:
    """Invariant 5: whatever order writes come in, the last settlement's largest count stands in the end."""
    figures = dict.fromkeys(ROW_FIELDS, None)
    shuffled = rng.sample(writes, len(writes))
    ends = []
    for order in (writes, shuffled):
        document: dict[str, Any] = {}
        for settlement, events in order:
            before = document.get("aggregate", {"revision": -1})["revision"]
            apply(document, {"aggregate": dict(aggregate(figures | {"events": events}, settlement))}, {})
            assert document["aggregate"]["revision"] >= before
        ends.append(document["aggregate"])
    settlement, events = max(writes)
    assert ends[0] == ends[1]
    assert (ends[0]["revision"], ends[0]["events"]) == (settlement * SETTLEMENT + events, events)
