"""The Schema Registry: ids for producers, schemas for readers, and the one way in for a new schema.

`python -m wattline_common.registry register|check|list` acts on every schema of the contract.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import httpx2
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.error import SchemaRegistryError

from wattline_common.errors import ConfigurationError, ContractError, RegistryUnavailableError, WattlineError
from wattline_common.events import Event, WindowAggregated
from wattline_common.kafka import TRAINING_AGGREGATES, TRAINING_EVENTS
from wattline_common.readable import LONGEST_SCHEMA
from wattline_common.registry_answers import NONSENSE, id_of, names_of, numbers_of, readable, registered, text_of
from wattline_common.schemas import VERSIONS
from wattline_common.settings import schema_registry_url, without_login
from wattline_common.verdict import State, Verdict, judge

__all__ = ["COMPATIBILITY", "Registry", "subject", "subjects"]

COMPATIBILITY = ConfigCompatibilityLevel.FULL_TRANSITIVE
_TIMEOUT_S = 10
_INCOMPATIBLE = {409, 40901}  # Apicurio's code and Confluent's
_NO_SCHEMA = {422, 42201}
_NOT_ALLOWED = {401, 403}
_NO_SUCH_SUBJECT_OR_SCHEMA = {40401, 40402, 40403, 404}
_ANSWERS = _INCOMPATIBLE | _NO_SCHEMA | _NO_SUCH_SUBJECT_OR_SCHEMA
_CLIENT_ERRORS = range(400, 500)

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
    """A Schema Registry with Confluent's API, as our producers and readers use it; its URL may hold user and password.

    Each of the client's own ``retries`` draws from the global `random`: within somebody's training there must be none.
    Raises `ConfigurationError` when the URL is none.
    """

    def __init__(self, url: str, *, retries: int = 1, timeout_s: float = _TIMEOUT_S) -> None:
        self._url = without_login(url)  # for messages
        try:
            self._client = SchemaRegistryClient({"url": url, "timeout": timeout_s, "max.retries": retries})
        except ValueError:  # its text may hold the password
            raise self._no_address() from None
        self._at_home: set[tuple[int, str]] = set()  # ids and topics that have been found to belong together

    def schema_id(self, event_type: type[Event], version: int | None = None) -> int:
        """Return the id under which a version of an event's schema is registered; without one, the newest.

        Raises `ConfigurationError` when it is not registered: producers never register by themselves.
        """
        name = event_type.AVRO_NAME
        try:
            text = VERSIONS[name][-1 if version is None else version - 1]
            found = self._call(self._client.lookup_schema, subject(name), _schema(text))
            return self._call(id_of, found.schema_id)
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SUCH_SUBJECT_OR_SCHEMA:
                raise self._away(error) from error
            raise ConfigurationError(
                f"version {version or len(VERSIONS[name])} of {name} is not in the registry at "
                f"SCHEMA_REGISTRY_URL={self._url}; run: python -m wattline_common.registry register"
            ) from error

    def schema_text(self, schema_id: int, topic: str = TRAINING_EVENTS) -> str:
        """Return a schema that may come on a topic, as JSON text.

        Raises `ContractError` when there is no such id (``unknown_schema_id``) or none of its subjects is one of the
        topic's (``foreign_subject``); `RegistryUnavailableError` when the contract's own subjects are missing: then
        the registry has lost its memory, and its answers say nothing about a message.
        """
        try:
            text = self._call(text_of, self._call(self._client.get_schema, schema_id))
            if (schema_id, topic) not in self._at_home:
                self._require_home(schema_id, topic)
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SUCH_SUBJECT_OR_SCHEMA:
                raise self._away(error) from error
            self.require_subjects()
            raise ContractError("unknown_schema_id", f"the registry has no schema of id {schema_id}") from error
        if len(text) > LONGEST_SCHEMA:
            raise ContractError("foreign_schema", f"schema id {schema_id} has {len(text)} characters, too many")
        return text

    def _require_home(self, schema_id: int, topic: str) -> None:
        """Raise `ContractError` unless the topic has one of the id's subjects: equal schemas share an id."""
        found = self._call(names_of, self._call(self._client.get_subjects_by_schema_id, schema_id))
        if not set(found) & set(subjects(topic)):
            self.require_subjects()
            names = ", ".join(sorted(found)) or "no subject"
            raise ContractError("foreign_subject", f"schema id {schema_id} is of {names}, none of them of {topic}")
        self._at_home.add((schema_id, topic))

    def require_subjects(self) -> None:
        """Raise `RegistryUnavailableError` unless every subject of the contract is there."""
        missing = sorted(set(map(subject, VERSIONS)) - self._names())
        if missing:
            raise RegistryUnavailableError(
                f"the registry at SCHEMA_REGISTRY_URL={self._url} lacks {', '.join(missing)}; restore its data, "
                "or for a new one run: python -m wattline_common.registry register"
            )

    def ids(self, topic: str) -> dict[int, str]:
        """Return id -> schema text of every version of every subject of a topic."""
        self.require_subjects()
        found: dict[int, str] = {}
        for name in subjects(topic):
            found |= dict(self._versions(name).values())
        return found

    def register(self) -> Iterator[tuple[str, int, int]]:
        """Set the compatibility of every subject, register every version; yield subject, version and id.

        Idempotent. Raises `ConfigurationError` when `check` or the registry refuses a schema; what `check` refuses
        never reaches the registry, and then nothing else does.
        """
        refused = [verdict for verdict in self.check() if verdict.state is State.REFUSED]
        if refused:
            raise ConfigurationError(
                "nothing has been registered; change what is refused, in schemas/:\n" + "\n".join(map(str, refused))
            )
        for full_name, texts in VERSIONS.items():
            name = subject(full_name)
            self._demand(self._client.set_config, name, ServerConfig(compatibility=COMPATIBILITY))
            for version, text in enumerate(texts, start=1):
                yield name, version, self._register(name, version, text)

    def check(self) -> Iterator[Verdict]:
        """Yield the verdict on every schema: against all versions registered, and those of the contract before it."""
        for full_name, texts in VERSIONS.items():
            name = subject(full_name)
            known = name in self._names()
            history = self._history(name) if known else {}
            for version, text in enumerate(texts, start=1):
                if known and self._is_registered(name, text):
                    yield Verdict(name, version, State.REGISTERED)
                    continue
                refusal = self._refusal(name, text) if known else ""
                reasons = judge(history, text, refusal)
                yield Verdict(name, version, State.REFUSED if reasons else State.ACCEPTABLE, reasons)
                history[f"v{version} of schemas/"] = text

    def _refusal(self, name: str, text: str) -> str:
        """Return the registry's own reason against a schema, which may be none but that it is against; empty if not."""
        try:
            takes = self._call(self._client.test_compatibility_all_versions, name, _schema(text), verbose=True)
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SCHEMA:
                raise self._away(error) from error
            return readable(error)
        return "" if takes else f"not {COMPATIBILITY.value} with the versions registered"

    def _history(self, name: str) -> dict[str, str]:
        """Return the schemas of a subject, by what a person calls them."""
        return {f"version {number} registered": text for number, (_, text) in self._versions(name).items()}

    def _versions(self, name: str) -> dict[int, tuple[int, str]]:
        """Return id and text of each version of a subject."""
        numbers = self._demand(numbers_of, self._demand(self._client.get_versions, name))
        found = {number: self._demand(self._client.get_version, name, number) for number in numbers}
        return {number: self._demand(registered, each) for number, each in found.items()}

    def _names(self) -> set[str]:
        """Return all subjects."""
        return set(self._demand(names_of, self._demand(self._client.get_subjects)))

    def _is_registered(self, name: str, text: str) -> bool:
        try:
            self._call(self._client.lookup_schema, name, _schema(text))
        except SchemaRegistryError as error:
            if error.error_code not in _NO_SUCH_SUBJECT_OR_SCHEMA:
                raise self._away(error) from error
            return False
        return True

    def _register(self, name: str, version: int, text: str) -> int:
        try:
            return self._call(id_of, self._call(self._client.register_schema, name, _schema(text)))
        except SchemaRegistryError as error:
            if error.error_code in _INCOMPATIBLE:
                raise ConfigurationError(
                    f"the registry refuses version {version} of {name}, not {COMPATIBILITY.value}: {readable(error)}"
                ) from error
            raise self._away(error) from error

    def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the call's result; translate a registry that is away, and whoever else answers in its place.

        What a registry says of a schema or a subject stays `SchemaRegistryError`.
        """
        try:
            return call(*args, **kwargs)
        except SchemaRegistryError as error:
            if error.http_status_code in _NOT_ALLOWED:
                raise ConfigurationError(
                    f"SCHEMA_REGISTRY_URL={self._url} does not let us in ({readable(error)}): "
                    "give it an address that does"
                ) from error
            if not _is_answer(error):
                raise self._away(error) from error
            raise
        except httpx2.InvalidURL:  # its text may hold a part of the password
            raise self._no_address() from None
        except (httpx2.HTTPError, OSError, *NONSENSE) as error:
            raise self._away(error) from error

    def _demand(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as `_call`, where a registry can have nothing to refuse."""
        try:
            return self._call(call, *args, **kwargs)
        except SchemaRegistryError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> RegistryUnavailableError:
        return RegistryUnavailableError(f"no good answer from SCHEMA_REGISTRY_URL={self._url}: {readable(error)}")

    def _no_address(self) -> ConfigurationError:
        return ConfigurationError(
            f"SCHEMA_REGISTRY_URL={self._url} is no address; write http://..., and a password's / ? # @ : as %2F ..."
        )


def _is_answer(error: SchemaRegistryError) -> bool:
    """Return whether it is a registry's word on a schema or a subject."""
    code = error.error_code
    return error.http_status_code in _CLIENT_ERRORS and isinstance(code, int) and code in _ANSWERS


def _schema(text: str) -> Schema:
    return Schema(text, schema_type="AVRO")


def main() -> int:
    """Register, check or list; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wattline_common.registry", description=__doc__)
    verbs = {
        "register": "put every version of every schema in, idempotently",
        "check": "say in words what each schema would break for whom, and change nothing",
        "list": "show the ids of the training topic's schemas",
    }
    commands = parser.add_subparsers(dest="verb", required=True)
    for verb, meaning in verbs.items():
        commands.add_parser(verb, help=meaning, description=meaning)
    verb = parser.parse_args().verb
    registry = Registry(schema_registry_url())
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
        return list(map(str, verdicts)), all(each.state is not State.REFUSED for each in verdicts)
    return [f"id {number}: {text[:90]}" for number, text in sorted(registry.ids(TRAINING_EVENTS).items())], True


if __name__ == "__main__":
    raise SystemExit(main())
