"""Names of subjects; talking to a registry is tested in integration."""

from __future__ import annotations

from wattline_common import registry
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
