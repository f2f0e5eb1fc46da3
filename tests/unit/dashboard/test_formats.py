"""Numbers as people read them."""

from __future__ import annotations

import math
import unicodedata
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_dashboard.formats import (
    EMISSIONS,
    ENERGY,
    MISSING,
    POWER,
    Quantity,
    age,
    duration,
    literal,
    percent,
    plain,
    visible,
)

finite = st.floats(min_value=1e-9, max_value=1e9)


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (ENERGY, 0.0, "0 Wh"),
        (ENERGY, 1e-9, "1.000 µWh"),
        (ENERGY, 0.00001234, "12.34 mWh"),
        (ENERGY, 0.0123449, "12.34 Wh"),
        (ENERGY, 0.99994, "999.9 Wh"),
        (ENERGY, 0.99996, "1.000 kWh"),
        (ENERGY, 2_500_000.0, "2.500 GWh"),
        (EMISSIONS, 0.0, "0 g CO₂e"),
        (EMISSIONS, 0.0000043, "4.300 mg CO₂e"),
        (EMISSIONS, 0.7, "700.0 g CO₂e"),
        (EMISSIONS, 12.0, "12.00 kg CO₂e"),
        (EMISSIONS, 5400.0, "5.400 t CO₂e"),
        (POWER, 0.0, "0 W"),
        (POWER, 0.25, "250.0 mW"),
        (POWER, 41.5, "41.50 W"),
        (POWER, 1250.0, "1.250 kW"),
        (ENERGY, None, MISSING),
        (ENERGY, math.nan, MISSING),
        (ENERGY, math.inf, MISSING),
    ],
)
def test_unit_follows_size(quantity: Quantity, value: float | None, text: str) -> None:
    """The prefix makes the number readable; what is not known is a dash, never a zero."""
    assert quantity.text(value) == text


@given(value=finite, quantity=st.sampled_from([ENERGY, EMISSIONS, POWER]))
def test_text_is_the_value(value: float, quantity: Quantity) -> None:
    """What is shown, turned back by its unit's exact factor, is the stored value to four digits."""
    number, _, unit = quantity.text(value).partition(" ")
    exponent = next(scale.exponent for scale in quantity.scales if scale.unit == unit)
    assert abs(Decimal(number).scaleb(-exponent) - Decimal(value)) <= Decimal(value) * Decimal("0.00051")


@given(low=finite, high=finite)
def test_band_has_one_unit(low: float, high: float) -> None:
    """Both ends of a band are in the same unit, so that they can be compared."""
    ends = ENERGY.band(low, high)
    assert ends.count("Wh") == 1
    assert len(ends.split(f" {MISSING} ")) == 2


def test_band_of_unknown_ends() -> None:
    """A band with an end missing is missing."""
    assert ENERGY.band(None, 1.0) == MISSING
    assert ENERGY.band(0.00987, 0.0151) == f"9.87 {MISSING} 15.1 Wh"
    assert ENERGY.band(0.0, 0.0) == f"0 {MISSING} 0 Wh"


@pytest.mark.parametrize(
    ("seconds", "as_length", "as_age"),
    [
        (0.0, "0 s", "0 s ago"),
        (-3.0, "0 s", "0 s ago"),
        (59.9, "59 s", "59 s ago"),
        (185.0, "3 min 05 s", "3 min ago"),
        (3725.0, "1 h 02 min", "1 h ago"),
        (190_000.0, "2 d 4 h", "2 d ago"),
        (None, MISSING, MISSING),
        (math.nan, MISSING, MISSING),
    ],
)
def test_lengths_of_time(seconds: float | None, as_length: str, as_age: str) -> None:
    """Durations have two units, ages one; a clock that is ahead gives no negative age."""
    assert duration(seconds) == as_length
    assert age(seconds) == as_age


def test_shares_and_plain_numbers() -> None:
    """Shares are percent; unknown ones a dash."""
    assert percent(0.9664) == "96.6 %"
    assert percent(None) == percent(math.nan) == plain(None) == MISSING
    assert plain(0.123456) == "0.1235"
    assert plain(-1.5) == "-1.500"


def test_users_text_stays_text() -> None:
    """A model's name cannot become an image, a link or HTML on the page."""
    assert literal("![x](a.png)\n<b>") == "\\!\\[x\\]\\(a\\.png\\) \\<b\\>"
    for address in ("http://e.example", "www.e.example", "a@e.example"):
        assert literal(address).replace("\\", "") != address, "what is split by an invisible joiner is no link"
    for typed in ("a--b", "a->b", "a<-b", "a<->b", "a>=b", "a~=b"):
        assert literal(typed).replace("\\", "") != typed, "what is split by it becomes no dash and no arrow"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("resnet \u202egnp.exe", "resnet [U+202E]gnp.exe"),
        ("ali\u200bce", "ali[U+200B]ce"),
        ("a\u200db", "a[U+200D]b"),
        ("\x00\x1b[31m\x9b", "[U+0000][U+001B][31m[U+009B]"),
        ("a\u2028b\u2066c\u2069\ufeff\u00ad", "a[U+2028]b[U+2066]c[U+2069][U+FEFF][U+00AD]"),
        ("\ud800", "[U+D800]"),
        ("\u0645\u06cc\u200c\u062e 👩\u200d💻 न्\u200dय é", "\u0645\u06cc\u200c\u062e 👩\u200d💻 न्\u200dय é"),
        ("Ünïcode\u00a0語", "Ünïcode\u00a0語"),
    ],
)
def test_what_steers_or_hides_is_shown(text: str, shown: str) -> None:
    """A name can neither turn round what stands beside it nor look like another; joiners stay where needed."""
    assert visible(text) == shown


@given(text=st.text(max_size=300))
def test_any_text_can_be_shown(text: str) -> None:
    """Nothing unseen is left but joiners, and all that could be seen is."""
    shown = visible(text)
    assert {letter for letter in shown if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} <= {
        *"\u200c\u200d"
    }
    assert len(shown) >= len(text)
    shown.encode()
    literal(text).encode()
