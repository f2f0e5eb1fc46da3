"""Starts an embedded Kafka, Schema Registry and store on loopback, and tells everybody where they are."""

from __future__ import annotations

from wattline_stack.endpoints import Endpoints
from wattline_stack.progress import ConsoleProgress, ProgressView, SilentProgress
from wattline_stack.settings import StackSettings
from wattline_stack.stack import Stack
from wattline_stack.status import ServerStatus

__all__ = [
    "ConsoleProgress",
    "Endpoints",
    "ProgressView",
    "ServerStatus",
    "SilentProgress",
    "Stack",
    "StackSettings",
]
