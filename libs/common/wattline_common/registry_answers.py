"""What a registry's answers must be to be believed: whoever answers at its address may be a proxy, or worse."""

from __future__ import annotations

from typing import cast

from confluent_kafka.schema_registry import RegisteredSchema, Schema

__all__ = ["NONSENSE", "id_of", "names_of", "numbers_of", "readable", "registered", "text_of"]

NONSENSE = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
"""What the client raises, and the functions here, when an answer is none that a registry gives."""

_LONGEST_TOLD = 300
_HIGHEST_ID = 2**32 - 1  # four bytes of a message


def text_of(schema: Schema) -> str:
    """Return a schema's text; raise `ValueError` when it is none."""
    text = schema.schema_str
    if not isinstance(text, str):
        raise ValueError("a schema without a text")  # noqa: TRY004  # an answer is wrong, not the call
    text.encode()  # half a surrogate pair cannot be: a UnicodeEncodeError is a ValueError
    return text


def id_of(number: object) -> int:
    """Return a schema id; raise `ValueError` when it is none that a message can carry."""
    if type(number) is not int or not 0 <= number <= _HIGHEST_ID:
        raise ValueError(f"{number!r:.80} is no schema id")
    return number


def names_of(answer: object) -> list[str]:
    """Return subjects; raise `ValueError` when the answer is no list of them."""
    if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
        raise ValueError("no list of subjects")
    return cast(list[str], answer)


def numbers_of(answer: object) -> list[int]:
    """Return versions; raise `ValueError` when the answer is no list of them."""
    if not isinstance(answer, list) or not all(type(number) is int for number in answer):
        raise ValueError("no list of versions")
    return cast(list[int], answer)


def registered(answer: RegisteredSchema) -> tuple[int, str]:
    """Return id and text of a version; raise `ValueError` when it lacks one."""
    return id_of(answer.schema_id), text_of(answer.schema)


def readable(error: Exception) -> str:
    """Return an error as a message may show it: what a server says may be long, and may steer a terminal."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error)[:_LONGEST_TOLD])
    return text if len(str(error)) <= _LONGEST_TOLD else f"{text} ..."
