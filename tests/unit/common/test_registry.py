"""Names of subjects and of settings; talking to a registry is tested in integration."""

from __future__ import annotations

import re
import traceback

import pytest

from wattline_common import registry
from wattline_common.errors import ConfigurationError
from wattline_common.events import EVENT_TYPES
from wattline_common.kafka import TOPICS


def test_subjects_are_named_by_topic_and_record() -> None:
    """TopicRecordNameStrategy: several records share a topic, each with a subject of its own."""
    assert registry.subject("wattline.events.RunStarted") == "training.events-wattline.events.RunStarted"
    assert (
        registry.subject("wattline.events.WindowAggregated") == "training.aggregates-wattline.events.WindowAggregated"
    )


def test_each_record_travels_on_one_topic() -> None:
    """The subjects of all topics are those of all records, each once."""
    found = [name for topic in TOPICS for name in registry.subjects(topic.name)]
    assert sorted(found) == sorted(registry.subject(kind.AVRO_NAME) for kind in EVENT_TYPES.values())
    assert registry.subjects("training.events.rejected") == []
    assert registry.subjects("training") == []


def test_the_compatibility_is_the_contracts() -> None:
    """Readers and writers of any two versions must understand each other."""
    assert registry.COMPATIBILITY.value == "FULL_TRANSITIVE"


def test_an_address_that_is_none_names_the_setting() -> None:
    """The client's own error would say neither where it comes from nor what to do."""
    with pytest.raises(ConfigurationError, match="SCHEMA_REGISTRY_URL=no url is no address"):
        registry.Registry("no url")


@pytest.mark.parametrize("bad", ["ftp://a:canary@h/", "http://a:can/ary@h/", "http://a:canary@[h/", "a:canary@h"])
def test_an_address_that_is_none_keeps_its_password(bad: str) -> None:
    """Neither the message nor what a traceback adds to it holds a part of it."""
    with pytest.raises(ConfigurationError, match="is no address") as raised:
        registry.Registry(bad, timeout_s=1).schema_text(1)
    assert not re.search("can|ary", "".join(traceback.format_exception_only(raised.value)))
    assert raised.value.__suppress_context__
