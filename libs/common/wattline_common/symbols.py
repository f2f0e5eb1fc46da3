"""The base of enums whose members are their texts, as `enum.StrEnum` of Python 3.11: trainings run on 3.10, too."""

from __future__ import annotations

import enum

__all__ = ["Symbol"]


class Symbol(str, enum.Enum):
    """An enum of texts: a member equals its text, and prints as it."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)
