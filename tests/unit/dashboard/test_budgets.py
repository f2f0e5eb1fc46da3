"""The file of budgets, what is told of a wrong one, and how far budgets are used up."""

from __future__ import annotations

import datetime
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_common.errors import ConfigurationError
from wattline_dashboard.budget_use import BudgetUse, uses
from wattline_dashboard.budgets import SETTING, Budget, BudgetFile, Budgets, check, parsed
from wattline_dashboard.people import GroupUse, Usage
from wattline_dashboard.spans import Span

RIGHT = """
timezone = "Europe/Berlin"

[[budget]]
user = "ada"
kwh = 50
per = "month"

[[budget]]
project = "vision"
kg_co2e = 12.5
per = "year"
counts = "simulated"
"""
MARCH = Span("month", 2026, 3)


def test_a_right_file_is_read() -> None:
    """Owners, limits in kWh or kg CO2e, spans and the clock are taken as they are written."""
    budgets = parsed(RIGHT, "b.toml")
    assert budgets.entries == [
        Budget("user", "ada", "energy", 50.0, "month"),
        Budget("project", "vision", "emissions", 12.5, "year", "simulated"),
    ]
    assert str(budgets.zone) == "Europe/Berlin"
    assert budgets.entries[1].words == "project vision: 12.50 kg CO₂e a year of simulated runs"
    assert parsed("", "b.toml") == Budgets([], None)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('user = "a"\nkwh = -1\nper = "month"', ["line 2", "[[budget]] 1", "kwh = -1", "above 0"]),
        ('user = "a"\nkwh = nan\nper = "month"', ["kwh = nan", "above 0"]),
        ('user = "a"\nkwh = true\nper = "month"', ["kwh = True"]),
        ('user = "a"\nkwh = "5"\nper = "month"', ["kwh = '5'"]),
        ('user = "a"\nper = "month"', ["none of kwh, kg_co2e", "give exactly one"]),
        ('user = "a"\nkwh = 1\nkg_co2e = 1\nper = "month"', ["both kwh and kg_co2e"]),
        ('user = "a"\nmodel = "m"\nkwh = 1\nper = "month"', ["both user and model"]),
        ('kwh = 1\nper = "month"', ["none of user, project, model"]),
        ('user = ""\nkwh = 1\nper = "month"', ["user = '' is no name"]),
        ('user = 7\nkwh = 1\nper = "month"', ["user = 7 is no name"]),
        ('user = "a"\nkwh = 1', ["per = 'None'", "month, quarter, year"]),
        ('user = "a"\nkwh = 1\nper = "week"', ["per = 'week'"]),
        ('user = "a"\nkwh = 1\nper = "month"\ncounts = "all"', ["counts = 'all'", "real, simulated"]),
        ('user = "a"\nkWh = 1\nper = "month"', ["unknown key 'kWh'", "a budget has user"]),
    ],
)
def test_a_wrong_budget_is_told_with_file_line_key_and_remedy(line: str, told: list[str]) -> None:
    """Whoever wrote it can find and mend it."""
    with pytest.raises(ConfigurationError) as error:
        parsed(f"\n[[budget]]\n{line}\n", "/etc/b.toml")
    for words in (f"{SETTING}=/etc/b.toml", *told):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[budget]\n", "line 1"),
        ("x = 1\n", "unknown key 'x'"),
        ("[budget]\n", "double brackets"),
        ("budget = 3\n", "double brackets"),
        ('timezone = "Mars/Olympus"\n', "timezone = 'Mars/Olympus' is unknown"),
        ('timezone = "../../etc/passwd"\n', "is unknown"),
        ('[[budget]]\nuser = "a"\nkwh = 1\nper = "month"\n' * 2, "[[budget]] 2 is for the same as [[budget]] 1"),
    ],
)
def test_a_wrong_file_is_told(text: str, told: str) -> None:
    """Syntax, keys that nobody knows, and two limits of the same thing."""
    with pytest.raises(ConfigurationError, match="WATTLINE_DASHBOARD_BUDGETS") as error:
        parsed(text, "b.toml")
    assert told in str(error.value)


@given(st.text(max_size=200))
def test_no_text_gives_another_error(text: str) -> None:
    """Whatever is in the file, it is read or told as a wrong setting."""
    with suppress(ConfigurationError):
        parsed(text, "b.toml")


def test_a_changed_file_is_read_again_and_what_was_right_stays(tmp_path: Path) -> None:
    """An edit takes effect without a restart; a slip of the pen takes no budget away, and is told."""
    path = tmp_path / "b.toml"
    path.write_text(RIGHT, encoding="utf-8")
    file = BudgetFile(str(path))
    first, problem = file.read()
    assert (len(first.entries), problem) == (2, None)
    path.write_text("kwh", encoding="utf-8")
    kept, problem = file.read()
    assert kept is first
    assert "no TOML" in str(problem)
    assert file.read()[1] is problem, "and is not read again until it changes"
    path.unlink()
    kept, problem = file.read()
    assert kept is first
    assert "cannot be read" in str(problem)
    path.write_text('[[budget]]\nuser = "bob"\nkwh = 1\nper = "month"', encoding="utf-8")
    os.utime(path, ns=(1, 1))
    again, problem = file.read()
    assert ([budget.name for budget in again.entries], problem) == (["bob"], None)


def test_no_file_is_no_budget_and_a_lost_one_stops_the_start(tmp_path: Path) -> None:
    """Unset means none; a name of nothing is a wrong setting."""
    assert BudgetFile("").read() == (Budgets(), None)
    check("")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        check(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        check(str(tmp_path / "bytes.toml"))
    (tmp_path / "huge.toml").write_text("#" * 1_000_001, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="at most"):
        check(str(tmp_path / "huge.toml"))


def test_use_counts_the_owners_runs_of_its_class_only() -> None:
    """Real energy is set against a real budget, simulated against a simulated one; each owner and span asked once."""
    entries = parsed(RIGHT, "b.toml").entries
    asked = []

    def groups_of(owner: str, span: Span) -> list[GroupUse]:
        asked.append((owner, span.key))
        name = "ada" if owner == "user" else "vision"
        return [
            GroupUse(name, "real", Usage(energy_kwh=40.0, emissions_kg=1.0)),
            GroupUse(name, "simulated", Usage(energy_kwh=7.0, emissions_kg=25.0)),
            GroupUse("other", "real", Usage(energy_kwh=1e6)),
        ]

    found = uses([*entries, Budget("user", "nobody", "energy", 1.0, "month")], lambda _: MARCH, groups_of)
    assert [(use.budget.name, use.used, use.state) for use in found] == [
        ("vision", 25.0, "passed"),
        ("ada", 40.0, "near"),
        ("nobody", 0.0, "within"),
    ]
    assert sorted(asked) == [("project", "2026-03"), ("user", "2026-03")]


def test_the_day_of_passing_follows_from_the_pace() -> None:
    """Half of the budget in a quarter of the month is all of it at half time; a slow pace passes nothing."""
    zone, since = datetime.UTC, MARCH.since(datetime.UTC)
    length = MARCH.until(zone) - since
    budget = Budget("user", "ada", "energy", 10.0, "month")
    assert BudgetUse(budget, MARCH, 5.0).passes_at(since + length / 4, zone) == since + length / 2
    assert BudgetUse(budget, MARCH, 2.0).passes_at(since + length / 4, zone) is None
    assert BudgetUse(budget, MARCH, 1e-9).passes_at(since + length / 4, zone) is None, "in some hundred million years"
    assert BudgetUse(budget, MARCH, 11.0).passes_at(since + length / 4, zone) is None
    assert BudgetUse(budget, MARCH, 5.0).passes_at(since - length, zone) is None
    assert BudgetUse(budget, MARCH, 0.0).passes_at(since + length / 4, zone) is None
