"""Numbers and moments as people read them: unit prefixes by exact powers of ten, bands, durations, ages."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

__all__ = [
    "CO2E",
    "EMISSIONS",
    "ENERGY",
    "MISSING",
    "POWER",
    "TIMES",
    "Quantity",
    "Scale",
    "age",
    "change",
    "count",
    "duration",
    "literal",
    "percent",
    "plain",
    "visible",
]

MISSING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
_MANY_TIMES = 10
CO2E = "CO₂e"
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))  # controls, marks of direction and of no width, half pairs, breaks
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_DIGITS = 4
_BAND_DIGITS = 3
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Scale:
    """One unit of a quantity: ``value * 10**exponent`` is the stored value in this unit."""

    unit: str
    exponent: int

    @property
    def factor(self) -> float:
        """What a stored value is multiplied by to be in this unit."""
        return float(Decimal(1).scaleb(self.exponent))


@dataclass(frozen=True, slots=True)
class Quantity:
    """A physical quantity, stored in one unit and shown in the one that reads best; scales go from small to big."""

    scales: Sequence[Scale]
    zero: Scale  # what nothing is shown in

    def scale(self, value: float) -> Scale:
        """Return the unit in which a stored value shows between 1 and 1000, as far as the units reach."""
        if not _is_finite(value):  # a sum beyond any double, which what a producer sends may come to
            return self.scales[-1]
        return self._fit(_rounded(Decimal(repr(value)), _DIGITS))

    def text(self, value: float | None, scale: Scale | None = None) -> str:
        """Return a stored value with its unit, or in the one given, four significant digits: ``12.34 Wh``."""
        if not _is_finite(value):
            return MISSING
        exact = _rounded(Decimal(repr(value)), _DIGITS)
        scale = scale or self._fit(exact)
        return f"{_digits(exact.scaleb(scale.exponent))} {scale.unit}"

    def band(self, low: float | None, high: float | None) -> str:
        """Return both ends of a band in the unit of the upper one: ``9.87 to 15.1 Wh``, by a dash."""
        if not (_is_finite(low) and _is_finite(high)):
            return MISSING
        scale = self._fit(_rounded(Decimal(repr(high)), _BAND_DIGITS))
        ends = (_rounded(Decimal(repr(end)), _BAND_DIGITS).scaleb(scale.exponent) for end in (low, high))
        return f"{f' {MISSING} '.join(map(_digits, ends))} {scale.unit}"

    def _fit(self, value: Decimal) -> Scale:
        if not value:
            return self.zero
        fitting = [scale for scale in self.scales if value.scaleb(scale.exponent).adjusted() >= 0]
        return fitting[-1] if fitting else self.scales[0]


_WH, _G, _W = Scale("Wh", 3), Scale("g CO₂e", 3), Scale("W", 0)

ENERGY = Quantity(
    (Scale("µWh", 9), Scale("mWh", 6), _WH, Scale("kWh", 0), Scale("MWh", -3), Scale("GWh", -6)),
    zero=_WH,
)
"""Energy, stored in kWh."""

EMISSIONS = Quantity(
    (Scale("µg CO₂e", 9), Scale("mg CO₂e", 6), _G, Scale("kg CO₂e", 0), Scale("t CO₂e", -3)),
    zero=_G,
)
"""Emissions, stored in kg CO2e."""

POWER = Quantity((Scale("µW", 6), Scale("mW", 3), _W, Scale("kW", -3), Scale("MW", -6)), zero=_W)
"""Power, stored in W."""


def plain(value: float | None) -> str:
    """Return a number without unit, four significant digits."""
    return _digits(_rounded(Decimal(repr(value)), _DIGITS)) if _is_finite(value) else MISSING


def percent(share: float | None) -> str:
    """Return a share of 1 in percent: ``96.6 %``."""
    return f"{100 * share:.1f} %" if share is not None and math.isfinite(share) else MISSING


def change(value: float, before: float) -> str | None:
    """Return by how much something grew or shrank: ``+12.3 %``; none where there was nothing before."""
    if not before or not math.isfinite(value / before):
        return None
    ratio = value / before
    if ratio >= _MANY_TIMES:
        return f"+{TIMES}{ratio:.0f}"
    return f"{100 * (ratio - 1):+.1f} %"


def count(number: int | None) -> str:
    """Return a number of things, thousands apart: ``12 345``, by a space that no line breaks at."""
    return MISSING if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float | None) -> str:
    """Return a length of time in its two biggest units: ``3 min 05 s``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def age(seconds: float | None) -> str:
    """Return how long ago something was, in one unit: ``2 s ago``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    whole = max(0, int(seconds))
    for length_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if whole >= length_s:
            return f"{whole // length_s} {unit} ago"
    return f"{whole} s ago"


def literal(text: str) -> str:
    """Return Markdown that shows a user's text as it is: no image, link, colour or HTML comes of it."""
    seen = visible(" ".join(text.split()))
    unlinked = re.sub(r"(?i)(://|www(?=\.)|@)", "\N{WORD JOINER}\\1\N{WORD JOINER}", seen)
    untouched = re.sub(r"(?<=[-<>~])(?=[-=>])", "\N{WORD JOINER}", unlinked)  # else -- becomes a dash, -> an arrow
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", untouched)


def visible(text: str) -> str:
    """Return a user's text with what steers or hides shown by its number: text turned round, or of no width at all.

    So no name can reorder what stands beside it, or pass for another name. Joiners between letters of scripts and
    emoji that need them stay.
    """
    if text.isprintable():
        return text
    return "".join(
        _visible(letter, text[place - 1 : place], text[place + 1 : place + 2]) for place, letter in enumerate(text)
    )


def _visible(letter: str, before: str, after: str) -> str:
    if letter in _JOINERS and before > "\x7f" and after > "\x7f":
        return letter
    return f"[U+{ord(letter):04X}]" if unicodedata.category(letter) in _UNSEEN else letter


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _rounded(value: Decimal, digits: int) -> Decimal:
    once = round(value, digits - 1 - value.adjusted()) if value else value
    # 9.9996 becomes 10.000 and has a digit too many: the second round takes it.
    return round(once, digits - 1 - once.adjusted()) if once else once


def _digits(value: Decimal) -> str:
    return f"{value:f}" if value else "0"
