"""Guards against another Kafka, and against schema ids that changed their meaning: both would spoil the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from wattline_common import store
from wattline_common.errors import IdentityMismatchError, StoreUnavailableError
from wattline_common.store import Document

__all__ = ["SchemaBook", "require_same_cluster"]

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
    try:
        health = database[store.PIPELINE_HEALTH]
        health.update_one({"_id": _IDENTITY}, {"$setOnInsert": {"kafka_cluster_id": cluster_id}}, upsert=True)
        known = health.find_one({"_id": _IDENTITY}) or {}
    except PyMongoError as error:
        raise StoreUnavailableError(f"no good answer from the store at MONGODB_URI: {error}") from error
    if known["kafka_cluster_id"] != cluster_id:
        raise IdentityMismatchError(
            f"the store at MONGODB_URI holds events of the Kafka cluster {known['kafka_cluster_id']}, but "
            f"KAFKA_BOOTSTRAP_SERVERS leads to {cluster_id}: point it at the old one, or name an empty store"
        )
    note.write_text(f"{cluster_id}\n", encoding="utf-8")


class SchemaBook:
    """Schemas by id, each noted in the store at first sight, so that an id can never change its meaning unseen."""

    def __init__(self, database: Database[Document], schema_text: Callable[[int], str]) -> None:
        self._collection = database[store.SCHEMAS]
        self._schema_text = schema_text

    def __call__(self, schema_id: int) -> str:
        """Return a schema's text; raise `IdentityMismatchError` when the id had another schema before."""
        return self.note(schema_id, self._schema_text(schema_id))

    def note(self, schema_id: int, text: str) -> str:
        """Note a schema under its id and return it; raise `IdentityMismatchError` when another one is noted there."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        try:
            self._collection.insert_one({"_id": schema_id, "schema": text, "sha256": digest})
        except DuplicateKeyError:
            known = self._collection.find_one({"_id": schema_id}) or {}
            if known["sha256"] != digest:
                raise IdentityMismatchError(
                    f"schema id {schema_id} had another schema when the store first saw it: the registry at "
                    "SCHEMA_REGISTRY_URL has lost its memory; restore its data, or name an empty store and a new topic"
                ) from None
        except PyMongoError as error:
            raise StoreUnavailableError(f"no good answer from the store at MONGODB_URI: {error}") from error
        return text
