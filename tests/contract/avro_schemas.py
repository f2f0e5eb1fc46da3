"""A Hypothesis strategy of Avro schemas as such, of every type the specification knows: the proof of `data`."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

__all__ = ["schemas"]

_DEEPEST = 3
_WHOLE = [
    "int",
    "long",
    *({"type": "int", "logicalType": name} for name in ("date", "time-millis")),
    *({"type": "long", "logicalType": name} for name in ("time-micros", "timestamp-millis", "timestamp-micros")),
    *({"type": "long", "logicalType": f"local-timestamp-{unit}"} for unit in ("millis", "micros")),
]


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """Return a schema: of any type, nested, with names in namespaces, references to them, and unions.

    Of a union only branches whose Python values are told apart: a Python value does not say which one it is of.
    """
    return _Author(draw).type_in("", 0)


class _Author:
    """Draws one schema; knows the named types that it may refer to."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._names = 0
        self._known: dict[str, list[str]] = {"record": [], "enum": [], "fixed": []}  # full names, by kind

    def type_in(self, namespace: str, depth: int, *, union: bool = True) -> Any:
        makers = [self._whole, self._real, self._bytes, self._text, lambda *_: "boolean", lambda *_: "null"]
        if depth < _DEEPEST:
            makers += [self._array, self._record, self._map]
            if union:
                makers += [self._union]
        return self._draw(st.sampled_from(makers))(namespace, depth)

    def _whole(self, *_: Any) -> Any:
        return self._draw(st.sampled_from(_WHOLE))

    def _real(self, *_: Any) -> Any:
        return self._draw(st.sampled_from(["float", "double"]))

    def _bytes(self, namespace: str, *_: Any) -> Any:
        match self._draw(st.sampled_from(["bytes", "decimal", "fixed", "fixed decimal", "known"])):
            case "decimal":
                return {"type": "bytes", **self._decimal(38)}
            case "fixed":
                return {**self._named("fixed", namespace), "size": self._draw(st.integers(1, 9))}
            case "fixed decimal":
                size = self._draw(st.integers(1, 16))
                fits = len(str(256**size // 2 - 1)) - 1  # as many digits as any number of so many bytes may have
                return {**self._named("fixed", namespace), "size": size, **self._decimal(max(fits, 1))}
            case "known" if self._known["fixed"]:
                return self._reference("fixed", namespace)
        return "bytes"

    def _decimal(self, most_digits: int) -> dict[str, Any]:
        precision = self._draw(st.integers(1, most_digits))
        scale = self._draw(st.integers(0, precision))
        return {"logicalType": "decimal", "precision": precision, "scale": scale}

    def _text(self, namespace: str, *_: Any) -> Any:
        match self._draw(st.sampled_from(["string", "uuid", "enum", "known"])):
            case "uuid":
                return {"type": "string", "logicalType": "uuid"}
            case "enum":
                symbols = [f"S{number}" for number in range(self._draw(st.integers(1, 4)))]
                return {**self._named("enum", namespace), "symbols": symbols}
            case "known" if self._known["enum"]:
                return self._reference("enum", namespace)
        return "string"

    def _array(self, namespace: str, depth: int) -> Any:
        return {"type": "array", "items": self.type_in(namespace, depth + 1)}

    def _map(self, namespace: str, depth: int) -> Any:
        return {"type": "map", "values": self.type_in(namespace, depth + 1)}

    def _record(self, namespace: str, depth: int) -> Any:
        if bool(self._known["record"]) and self._draw(st.booleans()):
            return self._reference("record", namespace)
        return self._new_record(namespace, depth)

    def _new_record(self, namespace: str, depth: int) -> Any:
        record = self._named("record", namespace)
        full_name, inside = self._known["record"].pop(), record.get("namespace", namespace)
        # The first field is required and its name unlike any other's, so that records in a union are told apart.
        kinds = [self.type_in(inside, depth + 1) for _ in range(self._draw(st.integers(1, 4)))]
        record["fields"] = [{"name": f"{record['name']}_{place}", "type": kind} for place, kind in enumerate(kinds)]
        if self._draw(st.booleans()):
            record["fields"].append({"name": f"{record['name']}_next", "type": ["null", full_name], "default": None})
        self._known["record"].append(full_name)
        return record

    def _union(self, namespace: str, depth: int) -> Any:
        """Return a union; where a value of one branch is also of another, the narrower branch comes first."""
        dicts = self._draw(st.sampled_from([[self._map], [self._record], [self._new_record, self._new_record]]))
        others = [lambda *_: "null", lambda *_: "boolean", *dicts]
        # Text may be a date to fastavro, a whole number is also a real one, and bytes are an array of ints.
        in_order = [self._text, self._whole, self._real, self._bytes, self._array]
        makers = [*self._draw(st.permutations(others)), *in_order]
        branches = [maker(namespace, depth + 1) for maker in makers if self._draw(st.booleans())]
        return branches or ["null"]

    def _named(self, kind: str, namespace: str) -> dict[str, Any]:
        self._names += 1
        schema: dict[str, Any] = {"type": kind, "name": f"T{self._names}"}
        if not namespace or self._draw(st.booleans()):  # what has none cannot be named from within one
            schema["namespace"] = namespace = self._draw(st.sampled_from(["one", "one.two"]))
        self._known[kind].append(f"{namespace}.{schema['name']}")
        return schema

    def _reference(self, kind: str, namespace: str) -> str:
        """Return the name of a type defined before; a short one where both stand in one namespace."""
        full_name: str = self._draw(st.sampled_from(self._known[kind]))
        space, _, name = full_name.rpartition(".")
        return name if space == namespace and self._draw(st.booleans()) else full_name
