"""The Schema Registry: ids for producers, schemas for readers, and the one way in for a new schema.

`python -m wattline_common.registry register|check|list` acts on every schema of the contract.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar, cast

import httpx2
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.error import SchemaRegistryError

from wattline_common.errors import ConfigurationError, ContractError, RegistryUnavailableError, WattlineError
from wattline_common.events import Event, WindowAggregated
from wattline_common.kafka import TRAINING_AGGREGATES, TRAINING_EVENTS
from wattline_common.schemas import VERSIONS
from wattline_common.settings import Endpoints

__all__ = ["COMPATIBILITY", "Registry", "subject", "subjects"]

COMPATIBILITY = ConfigCompatibilityLevel.FULL_TRANSITIVE
_TIMEOUT_S = 10
_INCOMPATIBLE = {409, 40901}  # Apicurio's code and Confluent's
_NOT_ALLOWED = {401, 403}
_NO_SUCH_SUBJECT_OR_SCHEMA = {40401, 40402, 40403, 404}

P = ParamSpec("P")
T = TypeVar("T")


def subject(full_name: str) -> str:
    """Return the subject of a record by TopicRecordNameStrategy: topic, dash, full record name."""
    topic = TRAINING_AGGREGATES if full_name == WindowAggregated.AVRO_NAME else TRAINING_EVENTS
    return f"{topic}-{full_name}"


def subjects(topic: str) -> list[str]:
    """Return the subjects whose records travel on a topic."""
    return [name for name in map(subject, VERSIONS) if name.startswith(f"{topic}-")]


class Registry:
    """A Schema Registry with Confluent's API, as our producers and readers use it.

    Each of the client's own ``retries`` draws from the global `random`: within somebody's training there must be none.
    """

    def __init__(self, url: str, *, retries: int = 1) -> None:
        self._url = url
        self._client = SchemaRegistryClient({"url": url, "timeout": _TIMEOUT_S, "max.retries": retries})

    def schema_id(self, event_type: type[Event]) -> int:
        """Return the id under which the newest schema of an event is registered.

        Raises `ConfigurationError` when it is not registered: producers never register by themselves.
        """
        name = event_type.AVRO_NAME
        try:
            found = self._call(self._client.lookup_schema, subject(name), _schema(VERSIONS[name][-1]))
            return cast(int, found.schema_id)
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SUCH_SUBJECT_OR_SCHEMA:
                raise self._away(error) from error
            raise ConfigurationError(
                f"the newest schema of {name} is not in the registry at SCHEMA_REGISTRY_URL={self._url}; "
                "run: python -m wattline_common.registry register"
            ) from error

    def schema_text(self, schema_id: int) -> str:
        """Return a schema as JSON text; raise `ContractError` (``unknown_schema_id``) when there is none.

        A registry that lacks the contract's own subjects has lost its memory; that raises `RegistryUnavailableError`.
        """
        try:
            return str(self._call(self._client.get_schema, schema_id).schema_str)
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SUCH_SUBJECT_OR_SCHEMA:
                raise self._away(error) from error
            self.require_subjects()
            raise ContractError("unknown_schema_id", f"the registry has no schema of id {schema_id}") from error

    def require_subjects(self) -> None:
        """Raise `RegistryUnavailableError` unless every subject of the contract is there."""
        missing = sorted(set(map(subject, VERSIONS)) - set(self._call(self._client.get_subjects)))
        if missing:
            raise RegistryUnavailableError(
                f"the registry at SCHEMA_REGISTRY_URL={self._url} lacks {', '.join(missing)}; restore its data, "
                "or for a new one run: python -m wattline_common.registry register"
            )

    def ids(self, topic: str) -> dict[int, str]:
        """Return id -> schema text of every version of every subject of a topic."""
        self.require_subjects()
        found = {}
        for name in subjects(topic):
            for version in self._call(self._client.get_versions, name):
                registered = self._call(self._client.get_version, name, version)
                found[cast(int, registered.schema_id)] = str(registered.schema.schema_str)
        return found

    def register(self) -> Iterator[tuple[str, int, int]]:
        """Set the compatibility of every subject, register every version; yield subject, version and id.

        Idempotent. Raises `ConfigurationError` when the registry refuses a schema.
        """
        for full_name, texts in VERSIONS.items():
            name = subject(full_name)
            self._call(self._client.set_config, name, ServerConfig(compatibility=COMPATIBILITY))
            for version, text in enumerate(texts, start=1):
                yield name, version, self._register(name, version, text)

    def check(self) -> Iterator[tuple[str, int, str]]:
        """Yield subject, version and verdict of every schema: registered, acceptable, or what the registry says."""
        for full_name, texts in VERSIONS.items():
            name = subject(full_name)
            for version, text in enumerate(texts, start=1):
                yield name, version, self._verdict(name, text)

    def _register(self, name: str, version: int, text: str) -> int:
        try:
            return self._call(self._client.register_schema, name, _schema(text))
        except SchemaRegistryError as error:
            if error.error_code in _INCOMPATIBLE:
                raise ConfigurationError(
                    f"the registry refuses version {version} of {name}, not {COMPATIBILITY.value}: {error}"
                ) from error
            raise self._away(error) from error

    def _verdict(self, name: str, text: str) -> str:
        try:
            self._call(self._client.lookup_schema, name, _schema(text))
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SUCH_SUBJECT_OR_SCHEMA:
                raise self._away(error) from error
        else:
            return "registered"
        if name not in self._call(self._client.get_subjects):
            return "acceptable"
        compatible = self._call(self._client.test_compatibility_all_versions, name, _schema(text))
        return "acceptable" if compatible else f"refused: not {COMPATIBILITY.value} with the versions registered"

    def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the call's result; translate a registry that is away. Its answers stay `SchemaRegistryError`."""
        try:
            return call(*args, **kwargs)
        except SchemaRegistryError as error:
            if error.http_status_code >= 500:
                raise self._away(error) from error
            if error.http_status_code in _NOT_ALLOWED:
                raise ConfigurationError(
                    f"SCHEMA_REGISTRY_URL={self._url} does not let us in ({error}): give it an address that does"
                ) from error
            raise
        except (httpx2.HTTPError, OSError) as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> RegistryUnavailableError:
        return RegistryUnavailableError(f"no good answer from SCHEMA_REGISTRY_URL={self._url}: {error}")


def _schema(text: str) -> Schema:
    return Schema(text, schema_type="AVRO")


def main() -> int:
    """Register, check or list; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wattline_common.registry", description=__doc__)
    verbs = {
        "register": "put every version of every schema in, idempotently",
        "check": "say which schemas the registry would take, and change nothing",
        "list": "show the ids of the training topic's schemas",
    }
    commands = parser.add_subparsers(dest="verb", required=True)
    for verb, meaning in verbs.items():
        commands.add_parser(verb, help=meaning, description=meaning)
    verb = parser.parse_args().verb
    registry = Registry(Endpoints.from_environment().schema_registry_url)
    try:
        lines, good = _lines(registry, verb)
    except WattlineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0 if good else 1


def _lines(registry: Registry, verb: str) -> tuple[list[str], bool]:
    if verb == "register":
        return [f"{name} v{version} id {number}" for name, version, number in registry.register()], True
    if verb == "check":
        verdicts = list(registry.check())
        return [f"{n} v{v}: {said}" for n, v, said in verdicts], not any("refused" in said for _, _, said in verdicts)
    return [f"id {number}: {text[:90]}" for number, text in sorted(registry.ids(TRAINING_EVENTS).items())], True


if __name__ == "__main__":
    raise SystemExit(main())
