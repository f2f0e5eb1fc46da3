"""The only HTML that pages hand to the browser: styles, and a letter in a frame. No text of a user's is ever in it."""

from __future__ import annotations

import re

import streamlit as st

__all__ = ["show_letter", "style"]

_LETTER = re.compile(r"[A-Z]")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def style(css: str) -> None:
    """Style the page."""
    st.html(f"<style>{css}</style>")


def show_letter(letter: str, colour: str) -> None:
    """Show a capital letter framed in a colour (#rrggbb), itself in the page's own colour of text."""
    if not (_LETTER.fullmatch(letter) and _COLOUR.fullmatch(colour)):
        raise ValueError(f"{letter!r} in {colour!r} is no letter in a colour")
    st.html(
        f'<span style="border:2px solid {colour};border-left-width:0.9rem;border-radius:0.3rem;'
        f'padding:0 0.45rem;font-weight:700">{letter}</span>',
        width="content",
    )
