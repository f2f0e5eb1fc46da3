"""What Kafka is started with."""

from __future__ import annotations

import base64
import uuid

import pytest

from wattline_stack.servers.kafka import new_cluster_id


def test_a_cluster_id_never_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """One random id in 64 begins with a dash in base64, and Kafka's tool would refuse to format with it."""
    ids = iter([uuid.UUID(int=0xF8 << 120), uuid.UUID(int=0xFB << 120), uuid.UUID(int=7)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(ids))
    found = new_cluster_id()
    assert base64.urlsafe_b64decode(found + "==") == uuid.UUID(int=7).bytes
