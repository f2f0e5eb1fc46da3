"""Our judgement of a schema's evolution beside the real registry's: we never accept what it refuses.

Each example has a subject of its own, FULL_TRANSITIVE as ours are.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.error import SchemaRegistryError
from hypothesis import event, given
from hypothesis import strategies as st

from tests.contract.evolve import bases, history, illegal, legal
from tests.integration.stack_helpers import only, running
from wattline_common.compatibility import Direction, breaks, breaks_with_any
from wattline_common.registry import COMPATIBILITY
from wattline_stack import StackSettings

NUMBERS = itertools.count()


class Subjects:
    """The session's registry, asked of fresh subjects."""

    def __init__(self, url: str) -> None:
        self._client = SchemaRegistryClient({"url": url, "timeout": 10})

    def first_refusal(self, versions: list[dict[str, Any]]) -> str | None:
        """Register versions in their order; return the refusal of the last, None when all are taken.

        Raises the registry's error when it refuses any before the last.
        """
        name = f"evolution-{next(NUMBERS)}"
        self._client.set_config(name, ServerConfig(compatibility=COMPATIBILITY))
        *before, last = versions
        for version in before:
            self._register(name, version)
        try:
            self._register(name, last)
        except SchemaRegistryError as error:
            if error.http_status_code != 409:
                raise
            return str(error)
        return None

    def _register(self, name: str, version: dict[str, Any]) -> None:
        self._client.register_schema(name, Schema(json.dumps(version), "AVRO"))


@pytest.fixture(scope="module")
def subjects(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subjects]:
    """Run a registry alone: thousands of subjects are nothing for the others'."""
    with running(only("registry", stack_settings, tmp_path_factory.mktemp("registry"))) as stack:
        yield Subjects(next(each.endpoint for each in stack.status() if each.name == "registry"))


@given(draw=st.data())
def test_the_registry_takes_every_evolution_that_we_accept(subjects: Subjects, draw: st.DataObject) -> None:
    """What has no breaks by our rule is registered, version after version."""
    base = draw.draw(bases())
    evolved = draw.draw(legal(base))
    assert breaks(base, evolved) == []
    assert subjects.first_refusal([base, evolved]) is None


@given(draw=st.data())
def test_every_refusal_of_the_registry_is_predicted(subjects: Subjects, draw: st.DataObject) -> None:
    """What it refuses we refuse too, and where it takes what we refuse, only a meaning or a name is broken."""
    base = draw.draw(bases())
    evolved, edit = draw.draw(illegal(base))
    found = breaks(base, evolved)
    refused = subjects.first_refusal([base, evolved])
    event(f"{edit.name}: {'refused' if refused else 'taken'} by the registry")
    assert found
    hard = any(each.direction is not Direction.MEANING for each in found)
    if edit.name != "move to another namespace":
        assert (refused is not None) == hard, refused


@given(draw=st.data())
def test_the_registry_takes_every_history_that_we_accept(subjects: Subjects, draw: st.DataObject) -> None:
    """Versions that hold between any two are registered in their order."""
    versions = draw.draw(bases().flatmap(history))
    assert breaks_with_any(versions[:-1], versions[-1]) == []
    assert subjects.first_refusal(versions) is None


@given(draw=st.data())
def test_a_break_with_any_version_of_a_history_is_predicted(subjects: Subjects, draw: st.DataObject) -> None:
    """A forbidden edit of an old version comes after newer ones: both of us compare with all, not only the last."""
    versions = draw.draw(bases().flatmap(history))
    evolved, _ = draw.draw(illegal(draw.draw(st.sampled_from(versions))))
    if subjects.first_refusal([*versions, evolved]) is not None:
        assert breaks_with_any(versions, evolved)
