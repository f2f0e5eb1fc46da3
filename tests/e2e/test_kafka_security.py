"""The line over a Kafka that wants a login and TLS, and gives each user its own rights: what passes, and what not."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.canaries import CANARY, files_with, processes_with, stored_with
from tests.line import Line, running_line, topic_messages, wait_for
from wattline_common import kafka
from wattline_common.kafka_rights import RIGHTS, grant
from wattline_common.kafka_security import KafkaSecurity
from wattline_stack import StackSettings
from wattline_stack.servers import kafka as kafka_server
from wattline_stack.services import Services
from wattline_streaming.audit import audit

pytestmark = pytest.mark.timeout(1200)

HOST = "127.0.0.1"
USER, TRAINER, PASSWORD = "wattline", "trainer", 'a "quoted" \\ canary'
REGISTRY_LOGIN = "ada:canary-registry"
WRONG_LOGIN = {"KAFKA_SASL_PASSWORD": "another canary"}
LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
OPERATIONS = {"READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"}
TRAINING = "import wattline\nwith wattline.track() as run:\n    run.step(loss=1.0)\nprint('trained')"
LISTENER = """\
listeners=PLAINTEXT://{{host}}:{{broker}},CONTROLLER://{{host}}:{{controller}},SASL_SSL://{{host}}:{port}
advertised.listeners=PLAINTEXT://{{host}}:{{broker}},CONTROLLER://{{host}}:{{controller}},SASL_SSL://{{host}}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={module} required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
"""
AUTHORIZER = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class Authority:
    """A certificate authority, with a certificate for this host."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.certificate, self.broker = folder / "ca.pem", folder / "broker.pem"
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("Wattline's tests")
        own = _certificate(name, name, key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
        self.certificate.write_bytes(own.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        broker_key = ec.generate_private_key(ec.SECP256R1())
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        signed = _certificate(_name("broker"), name, broker_key.public_key(), host).sign(key, hashes.SHA256())
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.broker.write_bytes(broker_key.private_bytes(*pem) + signed.public_bytes(serialization.Encoding.PEM))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
    return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))


@dataclass(frozen=True)
class Secured:
    """A line of which services see the secured listener alone."""

    line: Line
    services: Services
    environment: dict[str, str]

    def with_changes(self, **changes: str) -> Services:
        """Return services that were set up otherwise."""
        return Services(self.line.data_dir, {**self.environment, **changes})


@pytest.fixture(scope="module")
def secured(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run the servers, the broker with a SASL_SSL listener beside its own; make the user."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "authority")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    security = {
        "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{port}",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CA_LOCATION": str(authority.certificate),
    }
    with pytest.MonkeyPatch.context() as patch:
        listener = LISTENER.format(port=port, keystore=authority.broker, module=LOGIN_MODULE)
        patch.setattr(kafka_server, "PROPERTIES", kafka_server.PROPERTIES + listener + AUTHORIZER)
        with running_line(folder / "line", **security) as line:
            _make_users(line.endpoints.kafka_bootstrap_servers)
            registry = line.endpoints.schema_registry_url.replace("://", f"://{REGISTRY_LOGIN}@")
            line.services._environment["SCHEMA_REGISTRY_URL"] = registry  # its port is known only now
            environment = {**line.endpoints.environment(), **security, "SCHEMA_REGISTRY_URL": registry}
            yield Secured(line, Services(line.data_dir, environment), environment)


def _make_users(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    login = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    users: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(user, login, PASSWORD.encode()) for user in (USER, TRAINER)
    ]
    for done in admin.alter_user_scram_credentials(users).values():
        done.result(20)
    list(grant(bootstrap_servers, {"streaming": USER, "trainer": TRAINER}))


def test_events_pass_and_everything_is_counted(secured: Secured) -> None:
    """Topics, simulator, Spark, and the stream's own producers log in: the store equals the simulator's ledger."""
    topics = secured.services.run(["wattline_common.kafka"])
    assert (topics.returncode, topics.stdout) == (0, "all topics are there\n"), topics.stderr
    ledger = secured.line.data_dir / "fleet.json"
    sent = secured.with_changes(KAFKA_SASL_USERNAME=TRAINER).run(
        ["wattline_trainer", "simulate", "--runs", "2", "--days", "0.05", "--ledger", str(ledger)]
    )
    assert sent.returncode == 0, sent.stderr
    stream = secured.line.start_stream()
    events = json.loads(ledger.read_text())["totals"]["events"]
    wait_for(
        lambda: secured.line.stored() >= events, lambda: f"{events} events: {secured.line.stored()}\n{stream.tail()}"
    )
    wait_for(lambda: audit(secured.line.database).clean, lambda: audit(secured.line.database).as_text())
    assert processes_with([PASSWORD, REGISTRY_LOGIN]) == []
    secured.line.services.end(stream, 60)
    assert stream.exit_code == 0
    assert secured.line.stored() == events


def _denied(secured: Secured, user: str) -> dict[str, set[str]]:
    """Return what a user may not do, by topic: asked of the broker itself, for each of its own rights."""
    security = KafkaSecurity(
        protocol="SASL_SSL",
        sasl_username=user,
        sasl_password=PASSWORD,
        ssl_ca_location=secured.environment["KAFKA_SSL_CA_LOCATION"],
    )
    servers = secured.environment["KAFKA_BOOTSTRAP_SERVERS"]
    at: dict[str, str | int | float | bool] = {"bootstrap.servers": servers, **security.librdkafka()}
    admin = AdminClient(at)
    denied: dict[str, set[str]] = {}
    for topic in RIGHTS["streaming"]:
        asked = admin.describe_topics(TopicCollection([topic]), include_authorized_operations=True)[topic]
        error = asked.exception(20)
        assert error is None or error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
        may = set() if error else {operation.name for operation in asked.result().authorized_operations or ()}
        denied[topic] = OPERATIONS - may
    return denied


@pytest.mark.parametrize(("user", "component"), [(USER, "streaming"), (TRAINER, "trainer")])
def test_each_user_has_its_rights_and_no_other(secured: Secured, user: str, component: str) -> None:
    """So whoever has a training's login can neither read nor delete, nor touch what the stream tells."""
    for topic, denied in _denied(secured, user).items():
        assert OPERATIONS - denied == set(RIGHTS[component].get(topic, ())), topic


def test_an_erasure_needs_no_other_right(secured: Secured) -> None:
    """It reads, rewrites and cuts both topics that the stream writes, with the stream's login."""
    topics = (kafka.TRAINING_AGGREGATES, kafka.TRAINING_EVENTS_REJECTED)
    producer = kafka.producer(secured.line.endpoints.kafka_bootstrap_servers)
    for topic in topics:
        producer.produce(topic, key=b"erased|window", value=b"of the erased")
    assert producer.flush(30) == 0
    services = secured.with_changes(WATTLINE_CHECKPOINT_DIR=str(secured.line.data_dir / "of-the-command"))
    done = services.run(["wattline_streaming", "erase", "--run", "erased", "--yes"])
    assert done.returncode == 0, done.stderr
    for topic in topics:
        values = [message.value() for message in topic_messages(secured.line.endpoints, topic)]
        assert b"of the erased" not in values


def test_rights_are_granted_by_an_administrator_only(secured: Secured) -> None:
    """The command says who may what; with a training's login it ends with the setting in its message."""
    command = ["wattline_common.kafka_rights", f"streaming={USER}", f"trainer={TRAINER}"]
    told = secured.with_changes(KAFKA_SASL_USERNAME=TRAINER).run(command)
    assert (told.returncode, "KAFKA_SASL_USERNAME" in told.stderr) == (1, True), told.stderr
    assert "canary" not in told.stderr
    plain = {**secured.line.endpoints.environment(), "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
    done = Services(secured.line.data_dir, plain).run(command)
    assert (done.returncode, done.stdout.count("\n")) == (0, 4), done.stderr
    assert "trainer may DESCRIBE, WRITE training.events\n" in done.stdout


@pytest.fixture(scope="module")
def another_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the certificate of an authority that the broker's is not of."""
    return Authority(tmp_path_factory.mktemp("another") / "authority").certificate


def refusals(another_authority: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Return what is set wrongly, and the words that must be told."""
    return {
        "password": (WRONG_LOGIN, "check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD"),
        "authority": ({"KAFKA_SSL_CA_LOCATION": str(another_authority)}, "KAFKA_SSL_CA_LOCATION"),
        "protocol": ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL=PLAINTEXT must be"),
        "no login": ({"KAFKA_SASL_USERNAME": ""}, "needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        "no file": ({"KAFKA_SSL_CA_LOCATION": "/nowhere/ca.pem"}, "KAFKA_SSL_CA_LOCATION=/nowhere/ca.pem is no file"),
    }


@pytest.mark.parametrize("wrong", ["password", "authority", "protocol", "no login", "no file"])
def test_who_is_not_let_in_is_told_which_setting(secured: Secured, another_authority: Path, wrong: str) -> None:
    """A command ends with the setting in its message, without a trace and without the password."""
    changes, words = refusals(another_authority)[wrong]
    told = secured.with_changes(**changes).run(["wattline_common.kafka"])
    assert told.returncode == 1
    assert words in told.stderr
    assert "Traceback" not in told.stderr
    assert "canary" not in told.stderr + told.stdout


def test_a_stream_that_is_not_let_in_ends(secured: Secured) -> None:
    """A wrong password is no outage to wait for: the service ends with exit code 2 and says what to set."""
    told = secured.with_changes(**WRONG_LOGIN).run(["wattline_streaming"])
    assert told.returncode == 2
    assert "ConfigurationError: Kafka at KAFKA_BOOTSTRAP_SERVERS" in told.stderr
    assert "canary" not in told.stderr


def test_a_training_that_is_not_let_in_trains_on(secured: Secured, another_authority: Path) -> None:
    """Result and exit code are its own; what is wrong is told on standard error, without the password."""
    changes, words = refusals(another_authority)["password"]
    done = secured.with_changes(**changes).run(["wattline_trainer", "digits", "--epochs", "4"])
    assert done.returncode == 0, done.stderr
    assert words in done.stderr
    assert "canary" not in done.stderr


def test_a_training_whose_settings_cannot_work_trains_on(secured: Secured, another_authority: Path) -> None:
    """It is measured all the same, and its events go nowhere rather than to some other server."""
    changes, words = refusals(another_authority)["no file"]
    environment = {**os.environ, **secured.environment, **changes}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    assert words in done.stderr


def test_nothing_that_was_written_holds_a_password(secured: Secured) -> None:
    """Kafka's and the registry's are in no log, no checkpoint, no journal or topic, and in no document of the store."""
    assert any("streaming" in path.name for path in secured.line.data_dir.rglob("*.log"))
    assert files_with(CANARY, secured.line.data_dir) == []
    assert stored_with(CANARY, secured.line.database) == []
    assert secured.line.stored() > 0
