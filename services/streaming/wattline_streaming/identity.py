"""Guards against another Kafka, another store, and schema ids that changed their meaning: each would lose or spoil."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from wattline_common import store
from wattline_common.errors import (
    ContractError,
    IdentityMismatchError,
    RegistryUnavailableError,
)
from wattline_common.store import Document
from wattline_common.store_errors import answering

__all__ = ["SchemaBook", "require_same_surroundings", "require_stores_cluster"]

_IDENTITY = "identity"
_CLUSTER_FILE, _STORE_FILE = "kafka-cluster-id", "store-id"


def require_same_surroundings(checkpoint_dir: Path, database: Database[Document], cluster_id: str) -> None:
    """Note Kafka's cluster and the store in the checkpoint, and the cluster in the store.

    Raises `IdentityMismatchError` when either knows another one: the checkpoint says how far this topic was read into
    this store, and of another one, or of one that was emptied, that is not true.
    """
    cluster, place = checkpoint_dir / _CLUSTER_FILE, checkpoint_dir / _STORE_FILE
    if (known := _noted(cluster)) not in {None, cluster_id}:
        raise IdentityMismatchError(
            f"WATTLINE_CHECKPOINT_DIR={checkpoint_dir} belongs to the Kafka cluster {known}, but "
            f"KAFKA_BOOTSTRAP_SERVERS leads to {cluster_id}: point it at the old one, or name a new checkpoint folder"
        )
    require_stores_cluster(database, cluster_id)
    store_id = _store_id(database)
    if _noted(place) not in {None, store_id}:
        raise IdentityMismatchError(
            f"WATTLINE_CHECKPOINT_DIR={checkpoint_dir} says how far the topic was read into another store than the one "
            "at MONGODB_URI, or that one was emptied since: point it at the old one, restore its data, or name a new "
            "checkpoint folder, and the topic is read again from its start"
        )
    cluster.write_text(f"{cluster_id}\n", encoding="utf-8")
    place.write_text(f"{store_id}\n", encoding="utf-8")


def require_stores_cluster(database: Database[Document], cluster_id: str) -> None:
    """Note the Kafka cluster in the store; raise `IdentityMismatchError` when it knows another one."""
    known = _kept(database, "kafka_cluster_id", cluster_id)
    if known != cluster_id:
        raise IdentityMismatchError(
            f"the store at MONGODB_URI holds events of the Kafka cluster {known}, but "
            f"KAFKA_BOOTSTRAP_SERVERS leads to {cluster_id}: point it at the old one, or name an empty store"
        )


def _store_id(database: Database[Document]) -> str:
    """Return what tells this store from every other, and from itself once it was emptied."""
    return _kept(database, "store_id", uuid.uuid4().hex)


def _kept(database: Database[Document], field: str, value: str) -> str:
    """Return a field of the store's identity, which is the value when there was none before."""
    with answering():
        health = database[store.PIPELINE_HEALTH]
        health.update_one({"_id": _IDENTITY}, {"$setOnInsert": {field: value}}, upsert=True)
        health.update_one({"_id": _IDENTITY, field: None}, {"$set": {field: value}})
        known = health.find_one({"_id": _IDENTITY}) or {}
    return str(known[field])


def _noted(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


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
        with answering():
            try:
                self._collection.insert_one({"_id": schema_id, "schema": text, "sha256": digest})
            except DuplicateKeyError:
                known = self._noted(schema_id) or {}
                if known["sha256"] != digest:
                    raise IdentityMismatchError(
                        f"schema id {schema_id} had another schema when the store first saw it: the registry at "
                        "SCHEMA_REGISTRY_URL has lost its memory; restore its data, or name an empty store and a new "
                        "topic"
                    ) from None
        return text

    def verify(self) -> None:
        """Ask for every schema that is noted; raise as a call does for the first whose id is lost or has another."""
        with answering():
            ids = [found["_id"] for found in self._collection.find({}, {"_id": 1})]
        for schema_id in ids:
            self(schema_id)

    def _noted(self, schema_id: int) -> Document | None:
        with answering():
            return self._collection.find_one({"_id": schema_id})
