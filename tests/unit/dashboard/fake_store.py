"""A store in memory that understands exactly the questions the dashboard may ask, and remembers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.errors import ServerSelectionTimeoutError

__all__ = ["FakeStore"]

Document = dict[str, Any]


class FakeStore:
    """Stands in for a database: collections by name; `is_away` makes every question fail as a lost server does."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Document]] = {}
        self.asked: list[Question] = []
        self.is_away = False

    def __getitem__(self, name: str) -> FakeCollection:
        return FakeCollection(self, name)

    def put(self, name: str, *documents: Document) -> None:
        """Insert documents, or replace those of the same `_id`."""
        self.documents.setdefault(name, {}).update({document["_id"]: document for document in documents})


class FakeCollection:
    """A collection of a `FakeStore`."""

    def __init__(self, store: FakeStore, name: str) -> None:
        self._store = store
        self._name = name

    def find(self, condition: Mapping[str, Any], fields: Mapping[str, int]) -> Question:
        """Return a cursor."""
        question = Question(self._store, self._name, condition, fields)
        self._store.asked.append(question)
        return question

    def find_one(self, condition: Mapping[str, Any]) -> Document | None:
        """Return one document or none."""
        return next(iter(self.find(condition, {}).limit(1)), None)


class Question:
    """A cursor: what was asked, and the answer when it is iterated."""

    def __init__(self, store: FakeStore, name: str, condition: Mapping[str, Any], fields: Mapping[str, int]) -> None:
        self._store = store
        self.collection = name
        self.condition = condition
        self.fields = fields
        self.order: tuple[str, int] | None = None
        self.size: int | None = None

    def sort(self, field: str, direction: int) -> Question:
        """Order the answer."""
        self.order = (field, direction)
        return self

    def limit(self, size: int) -> Question:
        """Bound the answer."""
        self.size = size
        return self

    def __iter__(self) -> Iterator[Document]:
        if self._store.is_away:
            raise ServerSelectionTimeoutError("user:secret@host is away")
        found = [each for each in self._store.documents.get(self.collection, {}).values() if self._matches(each)]
        if self.order:
            found.sort(key=lambda each: each[self.order[0]], reverse=self.order[1] < 0)  # type: ignore[index]
        for document in found[: self.size]:
            hidden = {name for name, shown in self.fields.items() if not shown}
            yield {name: value for name, value in document.items() if name not in hidden}

    def _matches(self, document: Document) -> bool:
        return all(_holds(document[field], test) for field, test in self.condition.items())


def _holds(value: Any, test: Any) -> bool:
    match test:
        case {"$eq": wanted}:
            return bool(value == wanted)
        case {"$in": wanted}:
            return value in set(wanted)
        case str():
            return bool(value == test)
    raise AssertionError(f"the dashboard asked what this store does not understand: {test}")
