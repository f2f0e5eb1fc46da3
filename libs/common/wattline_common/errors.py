"""Every error of Wattline's own, under one root, grouped by who can act on it.

WattlineError
├── ConfigurationError      the person who starts it: a setting is wrong
├── ContractError           the producer: an event breaks the contract (carries a reason code)
├── UnavailableError        nobody: a server is away, so wait and try again
│   ├── BrokerUnavailableError
│   ├── RegistryUnavailableError
│   └── StoreUnavailableError
├── StoreRefusedError       the operator: the store answers, and refuses
└── StopError               the operator: going on would spoil data, so the process stops
    ├── IdentityMismatchError   another Kafka, registry or store than before
    └── ResourceError           a port, memory or disk is lacking, or a download is not what was pinned
"""

from __future__ import annotations

__all__ = [
    "BrokerUnavailableError",
    "ConfigurationError",
    "ContractError",
    "IdentityMismatchError",
    "RegistryUnavailableError",
    "ResourceError",
    "StopError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "UnavailableError",
    "WattlineError",
]


class WattlineError(Exception):
    """Root of every error that Wattline raises on purpose."""


class ConfigurationError(WattlineError):
    """A setting is missing or wrong; the message names it and the remedy."""


class ContractError(WattlineError):
    """An event breaks the contract.

    ``reason`` is a short stable code (``unknown_schema_id``); the message says the rest.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnavailableError(WattlineError):
    """A server does not answer; the same call may succeed later."""


class BrokerUnavailableError(UnavailableError):
    """Kafka does not answer."""


class RegistryUnavailableError(UnavailableError):
    """The Schema Registry does not answer, or has lost what it once knew."""


class StoreUnavailableError(UnavailableError):
    """The store does not answer."""


class StoreRefusedError(WattlineError):
    """The store answers and refuses: a right that is lacking, a rule that a document breaks, a disk that is full."""


class StopError(WattlineError):
    """Going on would spoil data: the process must stop and a person must act."""


class IdentityMismatchError(StopError):
    """The Kafka cluster, registry or store is another one than before."""


class ResourceError(StopError):
    """A port, memory or disk space is lacking, or a download is not what was pinned."""
