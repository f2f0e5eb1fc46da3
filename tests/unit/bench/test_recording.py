"""Which runs a bench takes from what was simulated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.recording import Fleet, chosen


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.integers(1, 5000), st.integers(0)), min_size=1), st.data())
def test_the_wanted_number_of_runs_is_kept_and_the_same_each_time(
    sums: dict[str, tuple[int, int]], data: st.DataObject
) -> None:
    """As many runs as asked for, each once, whatever order the ledger lists them in."""
    fleet = Fleet(runs=len(sums), keep=data.draw(st.integers(1, len(sums))), days=1.0)
    kept = chosen(sums, fleet)
    assert len(set(kept)) == len(kept) == fleet.keep
    assert kept == chosen(dict(reversed(sums.items())), fleet)


def test_the_runs_come_nearest_to_the_wanted_number_of_events() -> None:
    """Of neighbours by size those are taken whose events are about as many as were asked for."""
    sums = {name: (events, 0) for name, events in {"a": 10, "b": 20, "c": 30, "d": 40}.items()}
    assert chosen(sums, Fleet(runs=4, keep=2, days=1.0, events=52)) == ["b", "c"]
