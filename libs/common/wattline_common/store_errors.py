"""What it means when a call to the store fails: whether waiting helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from wattline_common.errors import StoreRefusedError, StoreUnavailableError

__all__ = ["answering"]

_AWAY = (ConnectionFailure, ExecutionTimeout, WTimeoutError)
_RETRYABLE = "RetryableWriteError"
# Codes of a server that stops, starts, hands over or is pressed; names by MongoDB's error_codes.yml.
_PASSING = frozenset(
    (
        *(6, 7, 89, 9001),  # HostUnreachable, HostNotFound, NetworkTimeout, SocketException
        *(91, 11600, 11602),  # ShutdownInProgress, InterruptedAtShutdown, InterruptedDueToReplStateChange
        *(189, 10107, 13435, 13436),  # PrimarySteppedDown, NotWritablePrimary, and no primary or secondary to ask
        *(24, 50, 64, 112, 262),  # LockTimeout, MaxTimeMSExpired, WriteConcernTimeout, WriteConflict, ExceededTimeLimit
    )
)


@contextmanager
def answering() -> Iterator[None]:
    """Turn the driver's errors into ours; as a block or a decorator.

    Raises `StoreUnavailableError` where the same call may succeed later, `StoreRefusedError` where the store answered
    and will answer the same again.
    """
    try:
        yield
    except PyMongoError as error:
        if _is_passing(error):
            raise StoreUnavailableError(f"no good answer from the store at MONGODB_URI: {error}") from error
        raise StoreRefusedError(
            f"the store at MONGODB_URI refuses ({type(error).__name__}): {error}; its log and the user's rights say why"
        ) from error


def _is_passing(error: PyMongoError) -> bool:
    if isinstance(error, _AWAY) or error.has_error_label(_RETRYABLE):
        return True
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {one["code"] for kind in ("writeErrors", "writeConcernErrors") for one in details.get(kind, ())}
        return bool(codes) and codes <= _PASSING
    return isinstance(error, OperationFailure) and error.code in _PASSING
