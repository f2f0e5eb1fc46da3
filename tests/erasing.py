"""An eraser on real servers, as the driver has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pymongo.database import Database

from wattline_common import kafka
from wattline_common.settings import Endpoints
from wattline_common.store import Document
from wattline_streaming.erase import Eraser
from wattline_streaming.erasures import Erasures
from wattline_streaming.purge import Purge

__all__ = ["eraser_of"]


def eraser_of(
    database: Database[Document], addresses: Endpoints, sink: Callable[[list[Document], Mapping[str, int]], None]
) -> Eraser:
    """Return an eraser of a database, and of the topics at these addresses."""
    servers = addresses.kafka_bootstrap_servers
    return Eraser(database, Erasures(database), Purge(servers, kafka.producer(servers)), sink)
