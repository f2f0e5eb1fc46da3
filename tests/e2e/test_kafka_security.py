"""The line over a Kafka that wants a login and TLS: what passes, and what is told when it does not."""

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
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.line import Line, running_line, wait_for
from wattline_stack import StackSettings
from wattline_stack.servers import kafka as kafka_server
from wattline_stack.services import Services
from wattline_streaming.audit import audit

pytestmark = pytest.mark.timeout(1200)

HOST = "127.0.0.1"
USER, PASSWORD = "wattline", 'a "quoted" \\ canary'
WRONG_LOGIN = {"KAFKA_SASL_PASSWORD": "another canary"}
LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"
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
        patch.setattr(kafka_server, "PROPERTIES", kafka_server.PROPERTIES + listener)
        with running_line(folder / "line", **security) as line:
            _make_user(line.endpoints.kafka_bootstrap_servers)
            environment = {**line.endpoints.environment(), **security}
            yield Secured(line, Services(line.data_dir, environment), environment)


def _make_user(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    login = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    done = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, login, PASSWORD.encode())])
    done[USER].result(20)


def test_events_pass_and_everything_is_counted(secured: Secured) -> None:
    """Topics, simulator, Spark, and the stream's own producers log in: the store equals the simulator's ledger."""
    topics = secured.services.run(["wattline_common.kafka"])
    assert (topics.returncode, topics.stdout) == (0, "all topics are there\n"), topics.stderr
    ledger = secured.line.data_dir / "fleet.json"
    sent = secured.services.run(
        ["wattline_trainer", "simulate", "--runs", "2", "--days", "0.05", "--ledger", str(ledger)]
    )
    assert sent.returncode == 0, sent.stderr
    stream = secured.line.start_stream()
    events = json.loads(ledger.read_text())["totals"]["events"]
    wait_for(
        lambda: secured.line.stored() >= events, lambda: f"{events} events: {secured.line.stored()}\n{stream.tail()}"
    )
    wait_for(lambda: audit(secured.line.database).clean, lambda: audit(secured.line.database).as_text())
    secured.line.services.end(stream, 60)
    assert stream.exit_code == 0
    assert secured.line.stored() == events


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


def test_no_log_holds_the_password(secured: Secured) -> None:
    """Nothing that servers or services wrote has it."""
    logs = [path for path in secured.line.data_dir.rglob("*.log") if path.is_file()]
    assert any("streaming" in path.name for path in logs)
    assert [path for path in logs if b"canary" in path.read_bytes()] == []
