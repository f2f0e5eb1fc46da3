"""`python -m tests.faults.killed_stream`: the streaming service itself, struck where a test says (places.py)."""

from __future__ import annotations

from tests.faults import places
from wattline_streaming import executor
from wattline_streaming.__main__ import main

if __name__ == "__main__":
    executor.book = places.book  # Spark's Python workers import it by its name
    places.listen()
    raise SystemExit(main())
