"""The strategies that evolve schemas make what they promise: valid schemas, changed, by every kind of edit."""

from __future__ import annotations

import copy
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.evolve import bases, history, illegal, legal
from tests.contract.schema_tree import collapse, expand


def _parsed(schema: dict[str, Any]) -> Any:
    return fastavro.parse_schema(copy.deepcopy(schema))


@given(bases())
def test_a_tree_unedited_is_the_schema(schema: dict[str, Any]) -> None:
    """Resolving references by name and writing them again loses and adds nothing."""
    assert _parsed(collapse(expand(schema))) == _parsed(schema)


@given(st.data())
def test_every_evolution_is_a_valid_schema(draw: st.DataObject) -> None:
    """Each parses, and the schema that was evolved is left as it was."""
    base = draw.draw(bases())
    before = copy.deepcopy(base)
    for evolved in [draw.draw(legal(base)), draw.draw(illegal(base))[0], *draw.draw(history(base))]:
        assert _parsed(evolved)
    assert base == before
