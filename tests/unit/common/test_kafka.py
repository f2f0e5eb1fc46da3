"""The topics as the contract fixes them; talking to a broker is tested in integration."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException, Producer

from wattline_common import kafka
from wattline_common.kafka_security import PLAINTEXT

FOURTEEN_DAYS_MS = "1209600000"


def test_the_topics_are_the_contracts() -> None:
    """Names, partitions and settings that producers, stream and operators rely on."""
    assert {topic.name: (topic.partitions, topic.config) for topic in kafka.TOPICS} == {
        "training.events": (
            6,
            {
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": FOURTEEN_DAYS_MS,
                "cleanup.policy": "delete",
            },
        ),
        "training.aggregates": (6, {"cleanup.policy": "compact,delete", "retention.ms": FOURTEEN_DAYS_MS}),
        "training.events.rejected": (1, {"cleanup.policy": "delete", "retention.ms": FOURTEEN_DAYS_MS}),
    }


def test_a_producer_is_made_without_a_broker() -> None:
    """Making one waits for nothing, so a training job starts however Kafka is."""
    assert isinstance(kafka.producer("127.0.0.1:9", log_level=0), Producer)


def test_settings_of_a_producer_can_be_overridden() -> None:
    """What the caller sets reaches librdkafka, which knows no such setting."""
    with pytest.raises(KafkaException, match="such"):
        kafka.producer("127.0.0.1:9", PLAINTEXT, **{"no.such.setting": 1})
