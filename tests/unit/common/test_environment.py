"""Settings from the environment are typed, an empty one is unset, and a wrong one is named with its remedy."""

from __future__ import annotations

import pytest

from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError
from wattline_common.settings import Endpoints, hosts, without_login


def test_text_is_stripped_and_empty_means_unset() -> None:
    """`X=` and `X=' '` are as good as no X."""
    env = Environment({"A": " a ", "EMPTY": "", "BLANK": "  "})
    assert [env.text(name, "default") for name in ("A", "EMPTY", "BLANK", "ABSENT")] == ["a", *["default"] * 3]
    assert env.text("ABSENT") == ""


def test_numbers_are_read_or_defaulted() -> None:
    """Whole numbers and numbers are read; unset gives the default, even one below the bound."""
    env = Environment({"WHOLE": " 12 ", "NUMBER": "0.5", "EMPTY": ""})
    assert env.integer("WHOLE", 3) == 12
    assert env.number("NUMBER", 3.0) == 0.5
    assert env.integer("EMPTY", 3, at_least=5) == 3
    assert env.number("ABSENT", 3.5) == 3.5
    assert env.integer("WHOLE", 3, at_least=12) == 12


@pytest.mark.parametrize("text", ["x", "1.5", "1e3", "-1", "0x10"])
def test_a_wrong_whole_number_is_named(text: str) -> None:
    """The message names the variable, what it holds, and the default that unsetting gives."""
    with pytest.raises(ConfigurationError, match=r"PORT=.*unset it to get 8080"):
        Environment({"PORT": text}).integer("PORT", 8080)


@pytest.mark.parametrize("text", ["x", "nan", "inf", "-inf", "1e999", "-0.1"])
def test_a_wrong_number_is_named(text: str) -> None:
    """NaN and infinity are no settings: nothing waits for ever by mistake."""
    with pytest.raises(ConfigurationError, match=r"INTERVAL_S=.*unset it to get 1\.0"):
        Environment({"INTERVAL_S": text}).number("INTERVAL_S", 1.0)


def test_a_number_too_large_is_named() -> None:
    """Even one that no float holds; what Java or a date cannot take is refused here, where the setting is known."""
    env = Environment({"N": "1" + "0" * 400})
    with pytest.raises(ConfigurationError, match="above 2147483647"):
        env.integer("N", 1)
    with pytest.raises(ConfigurationError, match="N=3e9 is above"):
        Environment({"N": "3e9"}).number("N", 1)
    assert Environment({"N": "65535"}).integer("N", 1, at_most=65_535) == 65_535


@pytest.mark.parametrize(("text", "value"), [(t, True) for t in ("1", "true", "YES", "On")])
def test_yes_in_four_ways(text: str, value: bool) -> None:  # a parametrized test has no keywords
    """1, true, yes and on in any case are yes; their opposites are no."""
    opposite = {"1": "0", "true": "False", "YES": "NO", "On": "oFF"}[text]
    assert Environment({"FLAG": text}).flag("FLAG") is value
    assert Environment({"FLAG": opposite}).flag("FLAG", default=True) is not value


def test_a_flag_defaults_and_refuses() -> None:
    """Unset gives the default; anything else is refused by name."""
    assert Environment({}).flag("FLAG", default=True) is True
    assert Environment({"FLAG": ""}).flag("FLAG") is False
    with pytest.raises(ConfigurationError, match="FLAG='maybe' is neither yes nor no; set it to 1 or 0"):
        Environment({"FLAG": "maybe"}).flag("FLAG")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping the process's own variables are read, at the moment of the call."""
    env = Environment()
    monkeypatch.setenv("WATTLINE_TEST_VARIABLE", "7")
    assert env.integer("WATTLINE_TEST_VARIABLE", 0) == 7


def test_endpoints_default_to_loopback() -> None:
    """Nothing set means this machine."""
    found = Endpoints.from_environment(Environment({}))
    assert found == Endpoints()
    assert all(
        "127.0.0.1" in each for each in (found.kafka_bootstrap_servers, found.schema_registry_url, found.mongodb_uri)
    )


def test_endpoints_are_read_by_their_usual_names() -> None:
    """The names are those that others use too; a trailing slash of the registry does no harm."""
    env = Environment(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2",
            "SCHEMA_REGISTRY_URL": "http://c:3/apis/ccompat/v7/",
            "MONGODB_URI": "mongodb://d:4/",
        }
    )
    assert Endpoints.from_environment(env) == Endpoints("a:1,b:2", "http://c:3/apis/ccompat/v7", "mongodb://d:4/")


def test_an_address_is_shown_without_its_login() -> None:
    """Messages name the registry, never how it is entered."""
    assert without_login("https://ada:canary@host:8081/apis?x=1") == "https://host:8081/apis?x=1"
    assert without_login("http://127.0.0.1:8081/apis/ccompat/v7") == "http://127.0.0.1:8081/apis/ccompat/v7"


@pytest.mark.parametrize("password", ["canary", *(f"can{odd}ary" for odd in "/#?@:[℀")])
@pytest.mark.parametrize("scheme", ["http://", "mongodb://", "mongodb+srv://", ""])
def test_no_password_is_shown_however_it_is_written(scheme: str, password: str) -> None:
    """Nor is a part of it where what should have been escaped was not, which is an address that no parser takes."""
    address = f"{scheme}ada:{password}@host:1/x?y=1"
    assert without_login(address) == f"{scheme}host:1/x?y=1"
    assert hosts(address) == ("host:1" if scheme else "(no host)")


def test_the_variables_that_are_set_are_named() -> None:
    """Those with a prefix, in order; an empty one is unset."""
    env = Environment({"B_2": "x", "B_1": "y", "B_3": " ", "A_1": "z"})
    assert env.names("B_") == ["B_1", "B_2"]
