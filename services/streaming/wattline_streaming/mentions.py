"""Does a message name somebody? Looked for in its bytes, as a message that was rejected need not be readable."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Mentions"]

_WORD = rb"[0-9A-Za-z_\x80-\xff-]"  # what a name may be a part of; bytes from 0x80 on are parts of further letters


class Mentions:
    """Some names, to be found as whole texts: as an Avro string, or as a word of any other text.

    ``runs`` are ids of runs, which are keys, too. A short name that another text merely contains is not found.
    """

    def __init__(self, *, names: Iterable[str] = (), runs: Iterable[str] = ()) -> None:
        self._names = [_Text(name.encode(errors="surrogatepass")) for name in names if name]
        self._run_keys = frozenset(run_id.encode() for run_id in runs)
        self._runs = list(map(_Text, sorted(self._run_keys)))

    def in_key(self, key: bytes | None) -> bool:
        """Return whether a message's key is one of the runs, or the id of one of their windows."""
        return key is not None and key.partition(b"|")[0] in self._run_keys

    def by_name(self, value: bytes | None) -> bool:
        """Return whether bytes have one of the names; runs are not looked for, of which there may be thousands."""
        return value is not None and any(name.is_in(value) for name in self._names)

    def in_bytes(self, value: bytes | None) -> bool:
        """Return whether bytes have a name or a run."""
        return self.by_name(value) or (value is not None and any(run.is_in(value) for run in self._runs))

    def in_message(
        self, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, str | bytes | None]] = ()
    ) -> bool:
        """Return whether a message names somebody anywhere."""
        parts = [key, value, *(_as_bytes(part) for header in headers for part in header)]
        return self.in_key(key) or any(map(self.in_bytes, parts))


class _Text:
    """A text that is looked for."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._string = _avro_string(text)
        self._word = re.compile(rb"(?<!%b)%b(?!%b)" % (_WORD, re.escape(text), _WORD))

    def is_in(self, value: bytes) -> bool:
        return self._text in value and (self._string in value or self._word.search(value) is not None)


def _as_bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text


def _avro_string(text: bytes) -> bytes:
    """Return a text as Avro writes it: its length, zigzag and in groups of seven bits, then its bytes."""
    left, head = len(text) << 1, bytearray()
    while left > 0x7F:
        head.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*head, left]) + text
