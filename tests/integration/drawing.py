"""Properties whose examples are checked many at a time, as one Spark job costs more than a thousand examples."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from hypothesis import Phase, core, find, given, settings
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

__all__ = ["check_together", "drawn"]

Example = TypeVar("Example")
_MOST_TO_SHRINK = 60


def drawn(strategy: SearchStrategy[Example], count: int) -> list[Example]:
    """Return so many examples, drawn as a property's are: by the seed that is printed at the end."""
    found: list[Example] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None)
    @given(strategy)
    def collect(example: Example) -> None:
        found.append(example)

    collect()
    return found[:count]


def check_together(
    strategy: SearchStrategy[Example],
    faults: Callable[[Sequence[Example]], Sequence[str | None]],
    *,
    at_once: int = 1000,
) -> list[Example]:
    """Draw as many examples as the profile says, check so many at once, and return them.

    ``faults`` says of each what is wrong, or None. A failure shows the smallest example that fails in the same way.
    """
    examples = drawn(strategy, settings().max_examples)
    for start in range(0, len(examples), at_once):
        part = examples[start : start + at_once]
        for example, fault in zip(part, faults(part), strict=True):
            if fault is not None:
                _fail(strategy, faults, example, fault)
    return examples


def _fail(
    strategy: SearchStrategy[Example],
    faults: Callable[[Sequence[Example]], Sequence[str | None]],
    example: Example,
    fault: str,
) -> None:
    def fails(one: Example) -> bool:
        return faults([one])[0] is not None

    try:
        smallest = find(
            strategy,
            fails,
            random=random.Random(core.global_force_seed),
            settings=settings(max_examples=_MOST_TO_SHRINK, database=None),
        )
    except NoSuchExample:
        smallest = example
    pytest.fail(f"{fault}\nof {example!r}\nand, smaller: {faults([smallest])[0]}\nof {smallest!r}", pytrace=False)
