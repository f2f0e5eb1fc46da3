"""A store in memory that understands exactly the questions the dashboard may ask, and remembers them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
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

    def estimated_document_count(self) -> int:
        """Return how many documents there are."""
        return len(self._store.documents.get(self._name, {}))

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        """Return the sums that a pipeline of `$match`, `$group` and `$limit` asks for."""
        match, group, limit = (next(iter(stage.values())) for stage in pipeline)
        groups: dict[str, Document] = {}
        for document in self.find(match, {}):
            identity = _value(document, group["_id"])
            sums = groups.setdefault(repr(identity), {"_id": identity})
            for name, accumulator in group.items():
                if name != "_id":
                    sums[name] = sums.get(name, 0.0) + _value(document, accumulator["$sum"])
        self._store.asked[-1].pipeline = pipeline
        return list(groups.values())[:limit]

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
        self.pipeline: Sequence[Mapping[str, Any]] = ()

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
            shown = {name.partition(".")[0] for name, is_shown in self.fields.items() if is_shown} or set(document)
            shown |= {"_id"} if self.fields.get("_id", 1) else set()
            yield {name: value for name, value in document.items() if name in shown}

    def _matches(self, document: Document) -> bool:
        return _fits(document, self.condition)


def _fits(document: Document, condition: Mapping[str, Any]) -> bool:
    return all(
        any(_fits(document, each) for each in test) if field == "$or" else _holds(_value(document, f"${field}"), test)
        for field, test in condition.items()
    )


def _holds(value: Any, test: Any) -> bool:
    if isinstance(test, dict) and len(test) > 1:
        return all(_holds(value, {operator: operand}) for operator, operand in test.items())
    match test:
        case {"$nin": unwanted}:
            return value not in set(unwanted)
        case {"$lt": bound}:
            return bool(value < bound)
        case {"$eq": wanted}:
            return bool(value == wanted)
        case {"$in": wanted}:
            return value in set(wanted)
        case {"$gte": least}:
            return bool(value >= least)
        case str() | int() | None:
            return bool(value == test)
    raise AssertionError(f"the dashboard asked what this store does not understand: {test}")


def _value(document: Mapping[str, Any], expression: Any) -> Any:
    """Return what an aggregation expression makes of a document."""
    match expression:
        case str() if expression.startswith("$"):
            value: Any = document
            for name in expression[1:].split("."):
                value = value[name]
            return value
        case {"$subtract": [left, right]}:
            left, right = _value(document, left), _value(document, right)
            if not isinstance(left, datetime.datetime):
                return left - right
            if isinstance(right, datetime.datetime):
                return round((left - right).total_seconds() * 1000)
            return left - datetime.timedelta(milliseconds=right)
        case {"$mod": [left, right]}:
            return _value(document, left) % right
        case {"$gte": [left, right]}:
            return _value(document, left) >= _value(document, right)
        case dict():
            return {name: _value(document, each) for name, each in expression.items()}
    return expression
