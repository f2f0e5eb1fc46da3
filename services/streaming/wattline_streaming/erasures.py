"""Who must not come in again, or only by another name: remembered by keyed digests, so that no name is kept for it.

Kafka keeps single messages until its retention ends, and a lost checkpoint reads them all again. So the ledger asks
here of every run and user, and the sink of every window.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from wattline_common import store
from wattline_common.errors import ConfigurationError, StopError
from wattline_common.store import Document
from wattline_common.store_errors import answering

__all__ = ["ERASE", "ERASED", "NOTHING", "PSEUDONYMISE", "RUN", "USER", "Erasures", "Found", "Key", "censored"]

ERASE, PSEUDONYMISE = "erase", "pseudonymise"
RUN, USER = "run", "user"
ERASED = "erased"  # the reason that is counted
_PLACE = "place"
_KEY_ID = "key"
_PSEUDONYM_DIGITS = 16  # of 64 bits no two people get the same

_Sink = Callable[[list[Document], Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Key:
    """Makes digests and pseudonyms that nobody can make, or try out, without it."""

    secret: bytes = field(repr=False)

    def marker(self, kind: str, name: str) -> str:
        """Return the id under which a run or a user is remembered."""
        return f"{kind}|{self._digest(kind, name)}"

    def pseudonym(self, user_id: str) -> str:
        """Return the name that a user has instead of his own, always the same."""
        return f"user-{self._digest('pseudonym', user_id)[:_PSEUDONYM_DIGITS]}"

    @property
    def check(self) -> str:
        """A digest by which another key is told from this one."""
        return self._digest("check", "")

    def _digest(self, purpose: str, text: str) -> str:
        message = f"{purpose}:{text}".encode(errors="surrogatepass")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Found:
    """What is remembered of some runs, users and places."""

    runs: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    pseudonyms: Mapping[str, str] = field(default_factory=dict)
    places: frozenset[str] = frozenset()

    def is_erased(self, run_id: str | None, user_id: str | None) -> bool:
        """Return whether a run, or all of a user, is erased."""
        return run_id in self.runs or user_id in self.users

    def pseudonym(self, user_id: str | None) -> str | None:
        """Return the name that a user has instead of his own, none for who keeps it."""
        return None if user_id is None else self.pseudonyms.get(user_id)

    def __bool__(self) -> bool:
        """Return whether anything is remembered of them."""
        return bool(self.runs or self.users or self.pseudonyms or self.places)


NOTHING = Found()


class Erasures:
    """The collection of what is erased or has a pseudonym; ``secret`` is its key, none lets the store keep one."""

    def __init__(self, database: Database[Document], secret: str = "") -> None:
        self._collection = database[store.ERASURES]
        self._secret = secret.encode()
        self._known: Key | None = None
        # The same few runs and users come again with every batch.
        self._marker = functools.lru_cache(maxsize=20_000)(self._made_marker)

    def look_up(
        self, run_ids: Iterable[str | None], user_ids: Iterable[str | None], places: Collection[str] = ()
    ) -> Found:
        """Return what is remembered of them; ``places`` are those of rejected messages, as `remember_places` had them.

        A user whose pseudonym is erased is erased. Raises what `key` and `answering` raise.
        """
        key = self._key_if_any()
        if key is None:
            return NOTHING
        runs = {self._marker(RUN, run_id): run_id for run_id in run_ids if run_id is not None}
        users = {self._marker(USER, user_id): user_id for user_id in user_ids if user_id is not None}
        by_pseudonym = {self._marker(USER, key.pseudonym(user_id)): user_id for user_id in users.values()}
        kept = {f"{_PLACE}|{place}": place for place in places}
        with answering():
            ids = [*runs, *users, *by_pseudonym, *kept]
            found = {one["_id"]: one.get("action") for one in store.with_ids(self._collection, ids, {"action": 1})}
        if not found:
            return NOTHING
        erased = {marker for marker, action in found.items() if action == ERASE}
        return Found(
            runs=frozenset(runs[marker] for marker in erased & runs.keys()),
            users=frozenset(names[marker] for names in (users, by_pseudonym) for marker in erased & names.keys()),
            pseudonyms={
                user_id: key.pseudonym(user_id)
                for marker, user_id in users.items()
                if found.get(marker) == PSEUDONYMISE
            },
            places=frozenset(kept[marker] for marker in found.keys() & kept.keys()),
        )

    def key(self) -> Key:
        """Return the key, made and kept at first use.

        Raises `StopError` when the store's erasures were remembered by another one, `StoreUnavailableError`.
        """
        known = self._key_if_any()
        if known is not None:
            return known
        own = {} if self._secret else {"secret": secrets.token_hex(32)}
        made = Key(self._secret or own["secret"].encode())
        with answering():
            try:
                self._collection.insert_one({"_id": _KEY_ID, **own, "check": made.check})
            except DuplicateKeyError:
                return self.key()  # another process was first
        self._known = made
        return made

    def names(self, kind: str, name: str) -> list[str]:
        """Return the names that a run or a user may have in the store: his own, and his pseudonym."""
        key = self._key_if_any()
        return [name, key.pseudonym(name)] if kind == USER and key is not None else [name]

    def ask(self, action: str, kind: str, name: str, now: datetime.datetime) -> str:
        """Remember a run or a user from now on, with what an `Eraser` has to do; return the id. Asking again is safe.

        Raises `ConfigurationError` for who is erased and shall get a pseudonym; what `key` and `answering` raise.
        """
        key = self.key()
        marker = key.marker(kind, name)
        with answering():
            known = self._collection.find_one({"_id": marker}) or {}
            if known.get("action") == ERASE and action == PSEUDONYMISE:
                raise ConfigurationError("this user is erased already: nothing is left that could get a pseudonym")
            if known.get("action") == action and "work" in known:
                return marker  # it is under way
            names = self.names(kind, name) if action == ERASE else [name]
            told: Document = {"action": action, "asked_at": now, "done_at": None, "work": {"names": names}}
            told["request"] = secrets.token_hex(8)  # by which a step knows that it was replaced
            if action == PSEUDONYMISE:
                told["pseudonym"] = key.pseudonym(name)
            gone = {field: "" for field in ("counts", "part_of", "pseudonym") if field not in told}
            self._collection.update_one({"_id": marker}, {"$set": told, "$unset": gone}, upsert=True)
        return marker

    def find(self, marker: str) -> Document:
        """Return what is remembered under an id; raise what `answering` raises."""
        with answering():
            return self._collection.find_one({"_id": marker}) or {}

    def all(self) -> list[Document]:
        """Return what was asked for, in order of time; raise what `answering` raises."""
        with answering():
            return list(self._collection.find({"asked_at": {"$ne": None}, "part_of": None}).sort("asked_at", 1))

    def remember_runs(self, run_ids: Iterable[str], *, part_of: str, now: datetime.datetime) -> None:
        """Remember runs as erased, as parts of a user's erasure."""
        key = self.key()
        told = {"action": ERASE, "asked_at": now, "done_at": now, "part_of": part_of}
        writes = [
            UpdateOne({"_id": key.marker(RUN, run_id)}, {"$setOnInsert": told}, upsert=True) for run_id in run_ids
        ]
        if writes:
            self._collection.bulk_write(writes, ordered=False)

    def remember_places(self, places: Iterable[str], now: datetime.datetime) -> None:
        """Remember rejected messages that are removed by their ids: many cannot be read, so nothing else tells them."""
        ids = [f"{_PLACE}|{place}" for place in places]
        writes = [UpdateOne({"_id": one}, {"$set": {"action": _PLACE, "done_at": now}}, upsert=True) for one in ids]
        if writes:
            self._collection.bulk_write(writes, ordered=False)

    def _key_if_any(self) -> Key | None:
        """Return the key, none where nothing has ever been erased."""
        if self._known is None:
            with answering():
                kept = self._collection.find_one({"_id": _KEY_ID})
            if kept is None:
                return None
            secret = self._secret or kept.get("secret", "").encode()
            if not secret or Key(secret).check != kept["check"]:
                then = "Unset it" if "secret" in kept else "Set it"
                raise StopError(
                    "the erasures in the store at MONGODB_URI were remembered by another WATTLINE_ERASURE_KEY; without "
                    f"it erased runs and users would come in again. {then} as it was then, for stream and commands"
                )
            self._known = Key(secret)
        return self._known

    def _made_marker(self, kind: str, name: str) -> str:
        return self.key().marker(kind, name)


def censored(sink: _Sink, erasures: Erasures) -> _Sink:
    """Return a sink that leaves out who is erased, and writes pseudonyms: Spark's state may still have the names."""

    def write(rows: list[Document], settlements: Mapping[str, int]) -> None:
        found = erasures.look_up({row["run_id"] for row in rows}, {row["user_id"] for row in rows})
        kept = [row for row in rows if not found.is_erased(row["run_id"], row["user_id"])] if found else rows
        sink([_renamed(row, found) for row in kept] if found else kept, settlements)

    return write


def _renamed(row: Document, found: Found) -> dict[str, Any]:
    pseudonym = found.pseudonym(row["user_id"])
    return row if pseudonym is None else {**row, "user_id": pseudonym}
