"""Each promise in README.md links to a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.promises import links

PAGE = Path(__file__).parents[3] / "README.md"
SECTION = "## What it promises"
PROMISES = re.compile(r"\b(every|never|nothing|no|only|all of it|always|exactly once)\b", re.IGNORECASE)
"""Words that make a sentence a promise, wherever it stands."""


def _bullets(text: str) -> list[str]:
    section = text.partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    return [
        " ".join(bullet.split()) for bullet in re.findall(r"^- (.*?)(?=^- |^\S|\n\n|\Z)", section, re.DOTALL | re.M)
    ]


def _paragraphs(text: str) -> list[str]:
    """Return the prose outside of the section: no code, tables, headings or pictures."""
    before, _, after = text.partition(f"\n{SECTION}\n")
    prose = re.sub(r"^```.*?^```$", "", f"{before}\n\n## {after.partition(chr(10) + '## ')[2]}", flags=re.DOTALL | re.M)
    blocks = (block for block in prose.split("\n\n") if not block.startswith(("#", "|", "    ", "!", "- ")))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def _unlinked(promises: list[str]) -> list[str]:
    """Return the promises that name no test by file and function."""
    return [promise for promise in promises if not any(link.test and link.exists for link in links(promise, PAGE))]


def _promising(text: str) -> list[str]:
    """Return the paragraphs that promise something, though they stand outside of the section."""
    return [each for each in _paragraphs(text) if PROMISES.search(each)]


README = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("promise", _bullets(README), ids=lambda bullet: str(bullet)[:50])
def test_a_bullet_names_a_test(promise: str) -> None:
    """By its file and its function: one that was renamed is noticed."""
    assert _unlinked([promise]) == []


@pytest.mark.parametrize("promise", _promising(README), ids=lambda paragraph: str(paragraph)[:50])
def test_what_promises_elsewhere_names_a_test(promise: str) -> None:
    """Whatever says every, never, nothing, no or only."""
    assert _unlinked([promise]) == []


def test_every_link_to_tests_leads_to_one() -> None:
    """Of the whole page."""
    found = list(links(README, PAGE))
    assert len(found) > 30
    assert [link.text for link in found if not link.exists] == []


def test_a_promise_without_a_test_is_found() -> None:
    """A bullet without a link, with a folder only, with a wrong file or a wrong name; a bold word elsewhere."""
    linked = "[so](tests/unit/docs/test_readme.py#test_a_bullet_names_a_test)"
    bad = [
        "Nothing.",
        "[So](tests/faults).",
        "[So](tests/no.py#test_a).",
        f"{linked.replace('bullet', 'ball')}\n  yes.",
    ]
    text = f"# W\n\nIt never fails.\n\n{SECTION}\n\n" + "".join(f"- {each}\n" for each in [f"Yes,\n  {linked}.", *bad])
    bullets = _bullets(f"{text}\nNot a bullet.\n\n## Next\n\n- none\n")
    assert len(bullets) == 1 + len(bad)
    assert _unlinked(bullets) == bullets[1:]
    assert _unlinked(_promising(text)) == ["It never fails."]
