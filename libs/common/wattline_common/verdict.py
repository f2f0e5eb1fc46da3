"""Whether a schema may join those it must live with, and if not, why: our own rule beside the registry's answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fastavro.schema import SchemaParseException

from wattline_common.compatibility import Break, breaks
from wattline_common.symbols import Symbol

__all__ = ["State", "Verdict", "judge"]


class State(Symbol):
    """What becomes of a schema that is to be registered."""

    REGISTERED = "registered"
    ACCEPTABLE = "acceptable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A schema's subject, version and state; refused, it has its reasons, one a line."""

    subject: str
    version: int
    state: State
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line, and an indented one for each reason."""
        return "\n  ".join([f"{self.subject} v{self.version}: {self.state}", *self.reasons])


def judge(history: Mapping[str, str], text: str, refusal: str) -> tuple[str, ...]:
    """Return why a schema must not follow those of a history (name -> schema text); empty when it may.

    ``refusal`` is what the registry itself has against it, empty for nothing.
    """
    whom: dict[Break | str, list[str]] = {}
    for name, old in history.items():
        for reason in _reasons(old, text):
            whom.setdefault(reason, []).append(name)
    ours = [f"{reason} (with {', '.join(names)})" for reason, names in whom.items()]
    if refusal:
        return (*ours, f"the registry refuses it{' too' if ours else ', where our rule sees no break'}: {refusal}")
    return (*ours, "the registry alone would take it") if ours else ()


def _reasons(old: str, new: str) -> list[Break] | list[str]:
    try:
        return breaks(json.loads(old), json.loads(new))
    except (SchemaParseException, ValueError, TypeError) as error:  # the last two: JSON, yet no schema
        return [f"cannot be compared, one is no Avro record: {error}"]
