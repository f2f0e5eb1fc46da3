"""What is said of a call to the store that failed: wait, or mend something."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteError,
    WTimeoutError,
)

from wattline_common.errors import StoreRefusedError, StoreUnavailableError
from wattline_common.store_errors import answering

NOT_PRIMARY, SHUTDOWN, UNAUTHORIZED, NO_VALIDATION, DISK_FULL = 10107, 91, 13, 121, 14031
PASSING = (
    ServerSelectionTimeoutError("no server"),
    AutoReconnect("closed"),
    NetworkTimeout("slow"),
    ExecutionTimeout("slow", 50),
    WTimeoutError("no majority", 64),
    OperationFailure("not primary", NOT_PRIMARY),
    BulkWriteError({"writeErrors": [{"code": NOT_PRIMARY}, {"code": SHUTDOWN}]}),
    BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": SHUTDOWN}]}),
    BulkWriteError({"writeErrors": [{"code": NO_VALIDATION}], "errorLabels": ["RetryableWriteError"]}),
)
REFUSING = (
    OperationFailure("not authorized", UNAUTHORIZED),
    WriteError("Document failed validation", NO_VALIDATION),
    OperationFailure("no space", DISK_FULL),
    BulkWriteError({"writeErrors": [{"code": NOT_PRIMARY}, {"code": NO_VALIDATION}]}),
    BulkWriteError({}),
    PyMongoError("cannot be encoded"),
)


def ids(error: PyMongoError) -> str:
    """Return the name of a case."""
    return f"{type(error).__name__} {error}"


@pytest.mark.parametrize("error", PASSING, ids=ids)
def test_what_passes_is_waited_for(error: PyMongoError) -> None:
    """A server that is away, hands over, stops or is slow; a whole bulk write of such."""
    with pytest.raises(StoreUnavailableError, match="MONGODB_URI") as caught, answering():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", REFUSING, ids=ids)
def test_what_the_store_refuses_is_not_waited_for(error: PyMongoError) -> None:
    """A right that is lacking, a rule that is broken, and what is not known: told with its words, and counted."""
    with pytest.raises(StoreRefusedError, match="MONGODB_URI") as caught, answering():
        raise error
    assert str(error) in str(caught.value)


def test_other_errors_pass() -> None:
    """Our own faults are not the store's."""
    with pytest.raises(KeyError), answering():
        raise KeyError
