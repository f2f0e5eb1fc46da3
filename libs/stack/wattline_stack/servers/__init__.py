"""The three servers: what each is started with, and how one knows that it is ready."""

from __future__ import annotations

from wattline_stack.servers.base import Server
from wattline_stack.servers.kafka import KafkaServer
from wattline_stack.servers.registry import RegistryServer
from wattline_stack.servers.store import StoreServer

__all__ = ["KafkaServer", "RegistryServer", "Server", "StoreServer"]
