"""One root, and groups by who can act."""

from __future__ import annotations

import pytest

from wattline_common import errors

GROUPS = {
    "ConfigurationError": "WattlineError",
    "ContractError": "WattlineError",
    "UnavailableError": "WattlineError",
    "BrokerUnavailableError": "UnavailableError",
    "RegistryUnavailableError": "UnavailableError",
    "StoreUnavailableError": "UnavailableError",
    "StoreRefusedError": "WattlineError",
    "StopError": "WattlineError",
    "IdentityMismatchError": "StopError",
    "ResourceError": "StopError",
}


@pytest.mark.parametrize(("name", "parent"), GROUPS.items())
def test_each_error_has_its_group(name: str, parent: str) -> None:
    """Callers catch groups: retry on UnavailableError, stop on StopError."""
    assert getattr(errors, name).__bases__ == (getattr(errors, parent),)


def test_every_error_is_in_the_drawing() -> None:
    """The hierarchy at the top of the module, and the one above, are complete."""
    assert set(errors.__all__) == {"WattlineError", *GROUPS}
    assert all(name in (errors.__doc__ or "") for name in errors.__all__)
    assert errors.WattlineError.__bases__ == (Exception,)


def test_a_contract_error_carries_a_code_and_a_text() -> None:
    """Code and detail are apart, so that rejected events can be grouped; both stand in the message."""
    error = errors.ContractError("out_of_range", "energy_kwh is -1")
    assert (error.reason, error.detail, str(error)) == (
        "out_of_range",
        "energy_kwh is -1",
        "out_of_range: energy_kwh is -1",
    )
