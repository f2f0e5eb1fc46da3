"""How a ``settings.py`` reads environment variables: typed, empty means unset, errors name the variable."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from wattline_common.errors import ConfigurationError

__all__ = ["Environment"]

Number = TypeVar("Number", int, float)


class Environment:
    """Typed access to environment variables."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables

    def text(self, name: str, default: str = "") -> str:
        """Return a variable's text, or ``default`` when it is unset or empty."""
        return self._variables.get(name, "").strip() or default

    def integer(self, name: str, default: int, *, at_least: int = 0) -> int:
        """Return a whole number; raise `ConfigurationError` when it is none, or too small."""
        return self._number(name, default, int, "a whole number", at_least)

    def number(self, name: str, default: float, *, at_least: float = 0.0) -> float:
        """Return a number; raise `ConfigurationError` when it is none, or too small."""
        return self._number(name, default, float, "a number", at_least)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return true for 1, true, yes, on; false for 0, false, no, off; raise `ConfigurationError` otherwise."""
        text = self.text(name).lower()
        if text in {"", "1", "true", "yes", "on", "0", "false", "no", "off"}:
            return default if not text else text in {"1", "true", "yes", "on"}
        raise ConfigurationError(f"{name}={text!r} is neither yes nor no; set it to 1 or 0")

    def _number(self, name: str, default: Number, kind: Callable[[str], Number], what: str, at_least: float) -> Number:
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
        return value
