"""How a ``settings.py`` reads environment variables: typed, empty means unset, errors name the variable."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from wattline_common.errors import ConfigurationError

__all__ = ["Environment"]

# Java counts by as many, and as milliseconds are 24 days: no setting of ours has a meaning beyond it.
_MOST = 2**31 - 1
Number = TypeVar("Number", int, float)


class Environment:
    """Typed access to environment variables."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables

    def text(self, name: str, default: str = "") -> str:
        """Return a variable's text, or ``default`` when it is unset or empty."""
        return self._variables.get(name, "").strip() or default

    def is_set(self, name: str) -> bool:
        """Say whether a variable is there, even if empty: for those that are not ours, where that has a meaning."""
        return name in self._variables

    def integer(self, name: str, default: int, *, at_least: int = 0, at_most: int = _MOST) -> int:
        """Return a whole number; raise `ConfigurationError` when it is none, too small or too large."""
        return self._number(name, default, int, "a whole number", at_least, at_most)

    def number(self, name: str, default: float, *, at_least: float = 0.0, at_most: float = _MOST) -> float:
        """Return a number; raise `ConfigurationError` when it is none, too small or too large."""
        return self._number(name, default, float, "a number", at_least, at_most)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true for 1, true, yes, on; false for 0, false, no, off; raise `ConfigurationError` otherwise."""
        text = self.text(name).lower()
        if text in {"", "1", "true", "yes", "on", "0", "false", "no", "off"}:
            return default if not text else text in {"1", "true", "yes", "on"}
        raise ConfigurationError(f"{name}={text!r} is neither yes nor no; set it to 1 or 0")

    def names(self, prefix: str) -> list[str]:
        """Return the names of the variables that are set and begin so, in order."""
        return sorted(name for name in self._variables if name.startswith(prefix) and self.text(name))

    def _number(
        self, name: str, default: Number, kind: Callable[[str], Number], what: str, at_least: float, at_most: float
    ) -> Number:
        text = self.text(name)
        if not text:
            return default
        try:
            value = kind(text)
        except ValueError as error:
            raise ConfigurationError(f"{name}={text!r} is not {what}; unset it to get {default}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"{name}={text!r} is not {what}; unset it to get {default}")
        if value < at_least:
            raise ConfigurationError(f"{name}={text} is below {at_least}; unset it to get {default}")
        if value > at_most:
            raise ConfigurationError(f"{name}={text:.40} is above {at_most}; unset it to get {default}")
        return value
