"""Our registry client and its command, against the real registry, on data of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from tests.integration.stack_helpers import only, running
from wattline_common import registry as registry_module
from wattline_common.codec import Decoder, encode_body, frame
from wattline_common.errors import ConfigurationError, ContractError, RegistryUnavailableError
from wattline_common.events import EPOCH, EVENT_TYPES, RunFinished, RunStarted, WindowAggregated
from wattline_common.kafka import TRAINING_AGGREGATES, TRAINING_EVENTS
from wattline_common.registry import Registry, subject, subjects
from wattline_common.schemas import VERSIONS
from wattline_common.verdict import State, Verdict

if TYPE_CHECKING:
    from wattline_stack import Stack, StackSettings

NOWHERE = "http://127.0.0.1:9/apis/ccompat/v7"
NAME = RunFinished.AVRO_NAME
FOREIGN = {"type": "record", "name": "Other", "namespace": "elsewhere", "fields": []}
ALL = sorted((subject(name), version + 1) for name, texts in VERSIONS.items() for version in range(len(texts)))


@pytest.fixture(scope="module")
def server(stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run a registry alone: these tests empty it."""
    with running(only("registry", stack_settings, tmp_path_factory.mktemp("registry"))) as stack:
        yield stack


@pytest.fixture
def url(server: Stack) -> str:
    """Return the address of the registry, emptied."""
    found = next(each.endpoint for each in server.status() if each.name == "registry")
    client = _client(found)
    for name in client.get_subjects():
        client.delete_subject(name)
    return found


@pytest.fixture
def registry(url: str) -> Registry:
    """Return our client of the emptied registry."""
    return Registry(url)


def _client(url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": url, "timeout": 10})


def _changed(**field: Any) -> str:
    """Return RunFinished's newest schema with one field more."""
    schema = json.loads(VERSIONS[NAME][-1])
    schema["fields"].append({"name": "added", "type": "string", **field})
    return json.dumps(schema)


def _next_version(monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    """Put one version more of the record into the contract; return its number."""
    monkeypatch.setitem(VERSIONS, NAME, (*VERSIONS[NAME], text))
    return len(VERSIONS[NAME])


def _last_verdict(registry: Registry) -> Verdict:
    """Return the verdict on the record's newest version."""
    return [each for each in registry.check() if each.subject == subject(NAME)][-1]


def _command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wattline_common.registry", *arguments]
    environment = {**os.environ, "SCHEMA_REGISTRY_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


class TestRegister:
    """The one way in for a new schema."""

    def test_all_versions_of_all_records_are_registered(self, registry: Registry, url: str) -> None:
        """Each version of each record is under its subject, with an id of its own."""
        done = list(registry.register())
        assert sorted((name, version) for name, version, _ in done) == ALL
        assert len({number for _, _, number in done}) == len(ALL)
        assert sorted(_client(url).get_subjects()) == sorted({name for name, _ in ALL})

    def test_registering_again_changes_nothing(self, registry: Registry, url: str) -> None:
        """Ids are stable, and no version is added: by the same client, and by one that remembers nothing."""
        first = list(registry.register())
        assert list(registry.register()) == first
        assert list(Registry(url).register()) == first
        for name, texts in VERSIONS.items():
            assert len(_client(url).get_versions(subject(name))) == len(texts)

    def test_every_subject_is_full_transitive(self, registry: Registry, url: str) -> None:
        """The compatibility is set on each subject by itself, not left to the registry's default."""
        list(registry.register())
        for name in {name for name, _ in ALL}:
            assert _client(url).get_config(name).compatibility_level == "FULL_TRANSITIVE"

    def test_an_incompatible_schema_is_refused(
        self, registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A version 2 with a new required field is refused by the registry, and said to be."""
        list(registry.register())
        with pytest.raises(SchemaRegistryError) as refused:
            _client(url).register_schema(subject(NAME), Schema(_changed(), "AVRO"))
        assert refused.value.http_status_code == 409
        bad = _next_version(monkeypatch, _changed())
        verdicts = {(each.subject, each.version): each for each in registry.check()}
        assert verdicts.pop((subject(NAME), bad)).state == "refused"
        assert {each.state for each in verdicts.values()} == {"registered"}
        with pytest.raises(ConfigurationError, match=f"nothing has been registered.*\n{subject(NAME)} v{bad}: refused"):
            list(registry.register())

    def test_what_is_refused_keeps_all_out(self, registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tree with one bad schema leaves an empty registry empty: it is judged by the versions before it."""
        _next_version(monkeypatch, _changed())
        with pytest.raises(ConfigurationError, match="added: no such field -> string: backward"):
            list(registry.register())
        assert _client(url).get_subjects() == []

    def test_a_refusal_of_the_registry_alone_is_said(self, registry: Registry, url: str) -> None:
        """The check has passed, and in between somebody else's version came: the registry's own words are handed on."""
        list(registry.register())
        theirs = _changed(default="")
        other = json.loads(theirs)
        other["fields"][-1] |= {"type": "int", "default": 0}
        with pytest.MonkeyPatch.context() as patch:
            _next_version(patch, json.dumps(other))
            steps = Registry(url).register()
            first = next(steps)
            _client(url).register_schema(subject(NAME), Schema(theirs, "AVRO"))
            with pytest.raises(ConfigurationError, match=f"refuses version {len(VERSIONS[NAME])} of {subject(NAME)}"):
                list(steps)
        assert first[0] != subject(NAME)

    def test_an_incompatible_first_schema_cannot_slip_in_before_the_compatibility(self, url: str) -> None:
        """The compatibility is set before the first version, so nobody registers a bad second one in between."""
        name, _, _ = next(Registry(url).register())
        assert _client(url).get_config(name).compatibility_level == "FULL_TRANSITIVE"

    def test_a_compatible_schema_is_taken(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        """A version 2 with a new optional field is acceptable, and then registered beside version 1."""
        first = list(registry.register())
        number = _next_version(monkeypatch, _changed(default=""))
        assert Verdict(subject(NAME), number, State.ACCEPTABLE) in set(registry.check())
        second = list(registry.register())
        assert set(first) < set(second)
        assert Verdict(subject(NAME), number, State.REGISTERED) in set(registry.check())

    def test_check_of_an_empty_registry_changes_nothing(self, registry: Registry, url: str) -> None:
        """Everything is acceptable, and nothing is registered by asking."""
        assert {each.state for each in registry.check()} == {"acceptable"}
        assert _client(url).get_subjects() == []


class TestRead:
    """Ids for producers, schemas for readers."""

    def test_a_producers_id_leads_a_reader_to_the_schema(self, registry: Registry, url: str) -> None:
        """An event framed with the id of `schema_id` is decoded through `schema_text`, by another client."""
        list(registry.register())
        event = RunStarted(run_id="r", source_id="s", seq=0, timestamp=EPOCH, tags={"a.b": "c"})
        message = frame(registry.schema_id(RunStarted), encode_body(event))
        assert Decoder(Registry(url).schema_text).event(message) == event

    def test_ids_are_those_of_the_topic(self, registry: Registry) -> None:
        """`ids` gives the schemas that may come on a topic, and no others."""
        done = {number: name for name, _, number in registry.register()}
        for topic in (TRAINING_EVENTS, TRAINING_AGGREGATES):
            found = registry.ids(topic)
            assert set(found) == {number for number, name in done.items() if name in subjects(topic)}
        for number, text in registry.ids(TRAINING_EVENTS).items():
            assert json.loads(text)["name"] == done[number].rpartition(".")[2]
        assert {registry.schema_id(kind) for kind in EVENT_TYPES.values()} <= set(done)

    def test_an_unregistered_schema_is_a_setting(self, registry: Registry) -> None:
        """A producer never registers by itself: it names the command that does."""
        with pytest.raises(ConfigurationError, match="run: python -m wattline_common"):
            registry.schema_id(RunStarted)

    def test_an_unknown_id_is_a_broken_contract(self, registry: Registry) -> None:
        """While our subjects are there, an id that is not is the producer's fault."""
        list(registry.register())
        with pytest.raises(ContractError) as caught:
            registry.schema_text(999_999)
        assert caught.value.reason == "unknown_schema_id"
        assert "999999" in caught.value.detail

    def test_a_registry_without_our_subjects_has_lost_its_memory(self, registry: Registry, url: str) -> None:
        """Then an unknown id is no bad input: nothing may be rejected, so it is as if the registry were away."""
        for ask in (lambda: registry.schema_text(999_999), lambda: registry.ids(TRAINING_EVENTS)):
            with pytest.raises(RegistryUnavailableError, match=r"lacks training\.aggregates-.*restore its data"):
                ask()
        list(registry.register())
        _client(url).delete_subject(subject(NAME))
        with pytest.raises(RegistryUnavailableError, match=f"lacks {subject(NAME)};"):
            registry.schema_text(999_999)

    def test_an_id_of_a_foreign_subject_is_refused(self, registry: Registry, url: str) -> None:
        """Somebody else's id on our topic is the producer's fault, and says whose it is."""
        list(registry.register())
        number = _client(url).register_schema("other-value", Schema(json.dumps(FOREIGN), "AVRO"))
        with pytest.raises(
            ContractError, match=f"schema id {number} is of other-value, none of them of {TRAINING_EVENTS}"
        ):
            registry.schema_text(number)
        with pytest.raises(ContractError) as caught:
            Decoder(registry.schema_text).event(frame(number, b""))
        assert caught.value.reason == "foreign_subject"

    def test_an_id_of_another_of_our_topics_is_foreign(self, registry: Registry) -> None:
        """A window on the topic of events is no event, and the other way round."""
        number = {name: number for name, _, number in registry.register()}
        window = number[subject(WindowAggregated.AVRO_NAME)]
        assert json.loads(registry.schema_text(window, TRAINING_AGGREGATES))["name"] == "WindowAggregated"
        for schema_id, topic in ((window, TRAINING_EVENTS), (number[subject(NAME)], TRAINING_AGGREGATES)):
            with pytest.raises(ContractError, match="foreign_subject"):
                registry.schema_text(schema_id, topic)

    def test_an_id_that_others_share_is_still_ours(self, registry: Registry, url: str) -> None:
        """The registry gives equal schemas one id: one subject of the topic is enough."""
        number = {name: number for name, _, number in registry.register()}[subject(NAME)]
        assert _client(url).register_schema("mirror-value", Schema(VERSIONS[NAME][-1], "AVRO")) == number
        assert json.loads(registry.schema_text(number))["name"] == "RunFinished"

    def test_an_id_whose_subject_is_gone_is_foreign(self, registry: Registry, url: str) -> None:
        """The registry keeps a schema longer than its subject."""
        list(registry.register())
        number = _client(url).register_schema("other-value", Schema(json.dumps(FOREIGN), "AVRO"))
        _client(url).delete_subject("other-value")
        with pytest.raises(ContractError, match=r"foreign_subject: .* is of no subject"):
            registry.schema_text(number)

    def test_a_foreign_id_in_a_registry_without_our_subjects_is_no_verdict(self, registry: Registry, url: str) -> None:
        """It may be ours once the registry's data is restored."""
        number = _client(url).register_schema("other-value", Schema(json.dumps(FOREIGN), "AVRO"))
        with pytest.raises(RegistryUnavailableError, match="restore its data"):
            registry.schema_text(number)


class TestCheck:
    """What would break whom, in words."""

    def test_a_hard_break_names_field_types_and_direction(
        self, registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One line a break, with the versions it breaks with, and what the registry thinks of it."""
        list(registry.register())
        (number,) = _client(url).get_versions(subject(NAME))
        _next_version(monkeypatch, _changed())
        assert _last_verdict(registry).reasons == (
            "added: no such field -> string: backward: new readers cannot read old events; give it a default "
            f"(with version {number} registered)",
            "the registry refuses it too: not FULL_TRANSITIVE with the versions registered",
        )

    def test_a_broken_meaning_is_refused_though_the_registry_would_take_it(
        self, registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The registry sees no meaning; so our check is the only way in."""
        list(registry.register())
        changed = json.loads(VERSIONS[NAME][-1])
        field = next(each for each in changed["fields"] if each["name"] == "duration_s")
        field["default"] = 1.0
        _next_version(monkeypatch, json.dumps(changed))
        broken, alone = _last_verdict(registry).reasons
        assert broken.startswith("duration_s: default 0.0 -> default 1.0: meaning: ")
        assert alone == "the registry alone would take it"
        with pytest.raises(ConfigurationError, match="duration_s: default"):
            list(registry.register())
        assert len(_client(url).get_versions(subject(NAME))) == 1

    def test_all_versions_registered_are_compared_not_only_ours(
        self, registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another branch has registered the field with another type: ours is refused for that version alone."""
        list(registry.register())
        theirs = json.loads(_changed(default=""))
        _client(url).register_schema(subject(NAME), Schema(json.dumps(theirs), "AVRO"))
        theirs["fields"][-1] |= {"type": "int", "default": 0}
        _next_version(monkeypatch, json.dumps(theirs))
        reasons = _last_verdict(registry).reasons
        assert [each.split(": ")[:3] for each in reasons[:2]] == [
            ["added", "string -> int", "backward"],
            ["added", "string -> int", "forward"],
        ]
        newest = max(_client(url).get_versions(subject(NAME)))
        assert all(each.endswith(f"(with version {newest} registered)") for each in reasons[:2])

    def test_where_the_registry_alone_refuses_its_words_are_handed_on(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A field twice: fastavro takes it, and so our rule; the registry calls it no schema."""
        list(registry.register())
        twice = json.loads(_changed(default=""))
        twice["fields"].append(twice["fields"][-1])
        _next_version(monkeypatch, json.dumps(twice))
        (reason,) = _last_verdict(registry).reasons
        assert reason.startswith("the registry refuses it, where our rule sees no break: ")
        assert "422" in reason


class TestAway:
    """A registry that does not answer."""

    @pytest.mark.parametrize(
        "ask",
        [
            lambda registry: registry.schema_text(1),
            lambda registry: registry.schema_id(RunStarted),
            lambda registry: registry.ids(TRAINING_EVENTS),
            lambda registry: registry.require_subjects(),
            lambda registry: list(registry.register()),
            lambda registry: list(registry.check()),
        ],
        ids=["schema_text", "schema_id", "ids", "require_subjects", "register", "check"],
    )
    @pytest.mark.parametrize("address", [NOWHERE, "http://no-such-host.invalid/"])
    def test_it_is_said_to_be_away(self, ask: Any, address: str) -> None:
        """Every call says so, names the setting, and may be tried again."""
        with pytest.raises(RegistryUnavailableError, match="SCHEMA_REGISTRY_URL="):
            ask(Registry(address))

    def test_what_was_read_before_is_still_known(self, stack_settings: StackSettings, tmp_path: Any) -> None:
        """Killed, it is away for what is new; started again it has all schemas under their old ids."""
        with running(only("registry", stack_settings, tmp_path)) as server:
            endpoint = next(each.endpoint for each in server.status() if each.name == "registry")
            registry = Registry(endpoint)
            first = list(registry.register())
            known = registry.schema_text(first[0][2])
            server.kill("registry")
            assert registry.schema_text(first[0][2]) == known
            with pytest.raises(RegistryUnavailableError):
                registry.schema_text(first[1][2])
            server.restart("registry")
            assert registry.schema_text(first[1][2])
            assert list(Registry(endpoint).register()) == first


class TestCommand:
    """`python -m wattline_common.registry`: exit codes and messages."""

    def test_register_check_and_list(self, url: str) -> None:
        """0 and one line a schema; `list` shows the training topic's ids."""
        done = _command(url, "register")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == len(ALL)
        assert f"{subject(NAME)} v1 id " in done.stdout
        assert _command(url, "register").stdout == done.stdout
        checked = _command(url, "check")
        assert checked.returncode == 0
        assert [line.partition(": ")[2] for line in checked.stdout.splitlines()] == ["registered"] * len(ALL)
        listed = _command(url, "list")
        assert listed.returncode == 0
        assert len(listed.stdout.splitlines()) == sum(name in subjects(TRAINING_EVENTS) for name, _ in ALL)
        assert all(line.startswith("id ") for line in listed.stdout.splitlines())

    def test_check_fails_when_a_schema_would_be_refused(
        self, registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """1, and the verdict stands in the line: CI runs this before a release."""
        list(registry.register())
        bad = _next_version(monkeypatch, _changed())
        monkeypatch.setenv("SCHEMA_REGISTRY_URL", url)
        monkeypatch.setattr(sys, "argv", ["registry", "check"])
        assert registry_module.main() == 1
        said = capsys.readouterr().out
        assert f"{subject(NAME)} v{bad}: refused\n  added: no such field -> string: backward: " in said

    def test_list_of_an_empty_registry_says_what_to_do(self, url: str) -> None:
        """1, and the remedy, without a traceback."""
        done = _command(url, "list")
        assert done.returncode == 1
        assert "python -m wattline_common.registry register" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_registry_away_is_one_line(self) -> None:
        """1, and the setting's name, without a traceback."""
        done = _command(NOWHERE, "register")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert f"SCHEMA_REGISTRY_URL={NOWHERE}" in done.stderr

    @pytest.mark.parametrize("arguments", [[], ["forget"]])
    def test_a_wrong_verb_is_explained(self, arguments: list[str]) -> None:
        """2, and the verbs."""
        done = _command(NOWHERE, *arguments)
        assert done.returncode == 2
        assert "{register,check,list}" in done.stderr
