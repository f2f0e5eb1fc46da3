"""What each component may do in Kafka, no more than it needs, and the command that grants it.

`python -m wattline_common.kafka_rights trainer=NAME streaming=NAME` gives users of a broker with an authorizer these
rights, and takes none away; it wants an administrator's login.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from wattline_common.errors import BrokerUnavailableError, ConfigurationError, WattlineError
from wattline_common.kafka import REFUSED, TRAINING_AGGREGATES, TRAINING_EVENTS, TRAINING_EVENTS_REJECTED, refused
from wattline_common.kafka_security import PLAINTEXT, KafkaSecurity
from wattline_common.settings import Endpoints

__all__ = ["RIGHTS", "grant"]

_TIMEOUT_S = 20.0
_MAKE = ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS")  # `wattline_common.kafka`, at every start

_ERASE = ("READ", "WRITE", "DELETE")  # of records; Kafka has no right for these alone, without the topic's own

# component -> topic -> operations
RIGHTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "trainer": {TRAINING_EVENTS: ("DESCRIBE", "WRITE")},
    "streaming": {
        TRAINING_EVENTS: (*_MAKE, "READ", "WRITE"),  # it writes what replay-rejected submits again
        TRAINING_AGGREGATES: (*_MAKE, *_ERASE),
        TRAINING_EVENTS_REJECTED: (*_MAKE, *_ERASE),
    },
}


def grant(
    bootstrap_servers: str, users: Mapping[str, str], security: KafkaSecurity = PLAINTEXT
) -> Iterator[tuple[str, str, str]]:
    """Give users, named by component, the component's rights; yield user, topic and operations. Idempotent.

    Raises `ConfigurationError` when the broker has no authorizer, or does not let us grant; `BrokerUnavailableError`.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2, **security.librdkafka()})
    for component, user in users.items():
        for topic, operations in RIGHTS[component].items():
            for future in admin.create_acls([_binding(user, topic, each) for each in operations]).values():
                try:
                    future.result(_TIMEOUT_S)
                except (KafkaException, TimeoutError) as error:
                    raise _translated(error, bootstrap_servers, security) from error
            yield user, topic, ", ".join(operations)


def _binding(user: str, topic: str, operation: str) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW,
    )


def _translated(error: Exception, bootstrap_servers: str, security: KafkaSecurity) -> WattlineError:
    found = error.args[0] if error.args else None
    if isinstance(found, KafkaError) and found.code() in REFUSED:
        return refused(bootstrap_servers, security, found)
    if isinstance(found, KafkaError) and found.code() == KafkaError.SECURITY_DISABLED:
        return ConfigurationError(
            f"Kafka at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers} has no authorizer, so every user may do everything: "
            "set authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer and super.users there"
        )
    return BrokerUnavailableError(f"Kafka at KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers} grants nothing: {error}")


def _user(text: str) -> tuple[str, str]:
    component, _, user = text.partition("=")
    if component not in RIGHTS or not user:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form {'|'.join(RIGHTS)}=USER")
    return component, user


def main() -> int:
    """Grant; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wattline_common.kafka_rights", description=__doc__)
    parser.add_argument("users", nargs="+", type=_user, metavar="COMPONENT=USER", help=f"of {', '.join(RIGHTS)}")
    users = dict(parser.parse_args().users)
    try:
        at = Endpoints.from_environment()
        for user, topic, operations in grant(at.kafka_bootstrap_servers, users, at.kafka_security):
            sys.stdout.write(f"{user} may {operations} {topic}\n")
    except WattlineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
