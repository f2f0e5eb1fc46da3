"""What the pages' tests without a server start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import streamlit as st

from tests.unit.dashboard.fake_store import FakeStore
from wattline_dashboard import data


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStore]:
    """Put a store in memory under the pages, with empty caches."""
    fake = FakeStore()
    monkeypatch.setattr(data, "connect", lambda *_, **__: fake)
    monkeypatch.setenv("MONGODB_URI", "mongodb://ada:s3cret@db.example:27017/")
    st.cache_data.clear()
    st.cache_resource.clear()
    yield fake
    st.cache_data.clear()
    st.cache_resource.clear()
