"""Our own judgement of a schema's evolution: what the rule allows has no breaks, what it forbids is found and named."""

from __future__ import annotations

import copy
import io
from typing import Any

import fastavro
from fastavro.read import SchemaResolutionError
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from tests.contract.evolve import bases, history, illegal, legal
from tests.contract.forbidden import FORBIDDEN
from tests.contract.schema_tree import expand
from tests.contract.strategies import data
from wattline_common.compatibility import breaks, breaks_with_any


@given(st.data())
def test_an_allowed_evolution_breaks_nothing(draw: st.DataObject) -> None:
    """Fields with defaults come and go, enums gain symbols, limits loosen: for nobody a break."""
    base = draw.draw(bases())
    assert breaks(base, draw.draw(legal(base))) == []


@given(st.data())
def test_a_forbidden_edit_is_found_and_named(draw: st.DataObject) -> None:
    """Exactly the edited fields are named, at every place of a shared type, in exactly the directions that break."""
    base = draw.draw(bases())
    evolved, edit = draw.draw(illegal(base))
    assert {(each.path, str(each.direction)) for each in breaks(base, evolved)} == edit.breaks


@given(st.data())
def test_a_history_holds_between_any_two_versions(draw: st.DataObject) -> None:
    """Each version may follow any before it, not only the last."""
    versions = draw.draw(bases().flatmap(history))
    for number, version in enumerate(versions):
        assert breaks_with_any(versions[:number], version) == []


@given(st.data())
def test_fastavro_reads_what_we_call_unbroken(draw: st.DataObject) -> None:
    """Where a forbidden edit breaks one direction only, or none, every event is read in the other."""
    base = draw.draw(bases())
    evolved, edit = draw.draw(illegal(base, set(FORBIDDEN) - {"change a logical type"}))
    broken = {direction for _, direction in edit.breaks}
    for direction, writer, reader in (("backward", base, evolved), ("forward", evolved, base)):
        if direction not in broken:
            assert _is_read(draw, writer, reader)


@given(st.data())
def test_fastavro_refuses_what_we_call_broken(draw: st.DataObject) -> None:
    """A required field that came or went, or another type: outside of collections and unions no event is read."""
    base = draw.draw(bases())
    evolved, edit = draw.draw(illegal(base, _FATAL))
    assume(not any(set("[{.") & set(path) for path, _ in edit.breaks))
    fields = {field["name"]: field["type"] for field in [*base["fields"], *evolved["fields"]]}
    assume(not any(isinstance(fields[path], list) for path, _ in edit.breaks))
    for _, direction in edit.breaks:
        if direction != "meaning":
            writer, reader = (base, evolved) if direction == "backward" else (evolved, base)
            assert not _is_read(draw, writer, reader)


_FATAL = {"add a required field", "remove a required field", "change a primitive type", "swap array and map"}


def _is_read(draw: st.DataObject, writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    """Return whether fastavro resolves an event of the writer's to the reader's schema."""
    buffer = io.BytesIO()
    written, read = (fastavro.parse_schema(copy.deepcopy(each)) for each in (writer, reader))
    fastavro.schemaless_writer(buffer, written, draw.draw(data(expand(writer))))
    buffer.seek(0)
    try:
        fastavro.schemaless_reader(buffer, written, read)
    except SchemaResolutionError:
        return False
    except UnicodeDecodeError:  # bytes as a string: resolved, though these bytes are no text
        return True
    except TypeError as error:  # fastavro does not follow a name within a reader's union, as Avro's own readers do
        if "string indices must be integers" not in str(error):
            raise
        reject()
    return True
