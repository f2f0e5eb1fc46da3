"""Guards against another Kafka, and against schema ids that changed their meaning: both would spoil the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from wattline_common import store
from wattline_common.errors import (
    ContractError,
    IdentityMismatchError,
    RegistryUnavailableError,
    StoreUnavailableError,
)
from wattline_common.store import Document

__all__ = ["SchemaBook", "require_same_cluster", "require_stores_cluster"]

_IDENTITY = "identity"
_CLUSTER_FILE = "kafka-cluster-id"


def require_same_cluster(checkpoint_dir: Path, database: Database[Document], cluster_id: str) -> None:
    """Note the Kafka cluster in checkpoint and store; raise `IdentityMismatchError` when either knows another one."""
    note = checkpoint_dir / _CLUSTER_FILE
    if note.exists() and note.read_text(encoding="utf-8").strip() != cluster_id:
        raise IdentityMismatchError(
            f"WATTLINE_CHECKPOINT_DIR={checkpoint_dir} belongs to the Kafka cluster {note.read_text().strip()}, but "
            f"KAFKA_BOOTSTRAP_SERVERS leads to {cluster_id}: point it at the old one, or name a new checkpoint folder"
        )
    require_stores_cluster(database, cluster_id)
    note.write_text(f"{cluster_id}\n", encoding="utf-8")


def require_stores_cluster(database: Database[Document], cluster_id: str) -> None:
    """Note the Kafka cluster in the store; raise `IdentityMismatchError` when it knows another one."""
    try:
        health = database[store.PIPELINE_HEALTH]
        health.update_one({"_id": _IDENTITY}, {"$setOnInsert": {"kafka_cluster_id": cluster_id}}, upsert=True)
        known = health.find_one({"_id": _IDENTITY}) or {}
    except PyMongoError as error:
        raise _unavailable(error) from error
    if known["kafka_cluster_id"] != cluster_id:
        raise IdentityMismatchError(
            f"the store at MONGODB_URI holds events of the Kafka cluster {known['kafka_cluster_id']}, but "
            f"KAFKA_BOOTSTRAP_SERVERS leads to {cluster_id}: point it at the old one, or name an empty store"
        )


class SchemaBook:
    """Schemas by id, each noted in the store at first sight, so that an id can never change its meaning unseen."""

    def __init__(self, database: Database[Document], schema_text: Callable[[int], str]) -> None:
        self._collection = database[store.SCHEMAS]
        self._schema_text = schema_text

    def __call__(self, schema_id: int) -> str:
        """Return a schema's text.

        Raises `IdentityMismatchError` when the id had another schema before, `RegistryUnavailableError` when it had one
        and now has none of ours: events were written with it, so that is a fault of the registry, not of the message.
        """
        try:
            text = self._schema_text(schema_id)
        except ContractError as error:
            if self._noted(schema_id) is None:
                raise
            raise RegistryUnavailableError(
                f"the registry at SCHEMA_REGISTRY_URL has lost schema id {schema_id}, by which events were written "
                f"({error.detail}): restore its data, or run: python -m wattline_common.registry register; where a "
                "schema then gets another id than before, go on with an empty store and a new topic"
            ) from error
        return self.note(schema_id, text)

    def note(self, schema_id: int, text: str) -> str:
        """Note a schema under its id and return it; raise `IdentityMismatchError` when another one is noted there."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        try:
            self._collection.insert_one({"_id": schema_id, "schema": text, "sha256": digest})
        except DuplicateKeyError:
            known = self._noted(schema_id) or {}
            if known["sha256"] != digest:
                raise IdentityMismatchError(
                    f"schema id {schema_id} had another schema when the store first saw it: the registry at "
                    "SCHEMA_REGISTRY_URL has lost its memory; restore its data, or name an empty store and a new topic"
                ) from None
        except PyMongoError as error:
            raise _unavailable(error) from error
        return text

    def verify(self) -> None:
        """Ask for every schema that is noted; raise as a call does for the first whose id is lost or has another."""
        try:
            ids = [found["_id"] for found in self._collection.find({}, {"_id": 1})]
        except PyMongoError as error:
            raise _unavailable(error) from error
        for schema_id in ids:
            self(schema_id)

    def _noted(self, schema_id: int) -> Document | None:
        try:
            return self._collection.find_one({"_id": schema_id})
        except PyMongoError as error:
            raise _unavailable(error) from error


def _unavailable(error: PyMongoError) -> StoreUnavailableError:
    return StoreUnavailableError(f"no good answer from the store at MONGODB_URI: {error}")
