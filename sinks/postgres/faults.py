"""What an error of Postgres or of its driver means to the core."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from streams.store import BadData, Duplicate, Lost, Unavailable

DRIVER = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Whatever the driver raises when Postgres refuses, goes away, or ends a session under it (in a COPY that is its internal error)."""

_INBOX = re.compile(r"results(_default|_\d{8})?")  # and not a table of a view whose name begins like it
_DATA_CLASSES = ("22", "23", "54")  # data exception, integrity constraint, program limit: the record's fault


def meaning(error: Exception) -> Exception:
    """The error of the store that this one stands for, or the error itself when it is a bug of ours."""
    if isinstance(error, asyncpg.UniqueViolationError):
        if _INBOX.fullmatch(error.table_name or ""):
            return Duplicate("An id of the batch is in the inbox.")
        if error.table_name == "outbox":
            return Lost("Its numbers were given by another owner.")
    if isinstance(error, asyncpg.PostgresError):
        text = f"{error.sqlstate}: {error}"
        return BadData(text) if (error.sqlstate or "").startswith(_DATA_CLASSES) else Unavailable(text)
    if isinstance(error, DRIVER) and not isinstance(error, ValueError):
        return Unavailable(f"Postgres is away: {error!r}")
    if isinstance(
        error, ValueError | TypeError | OverflowError
    ):  # asyncpg could not encode a value (asyncpg.DataError too)
        return BadData(f"cannot be encoded: {error}")
    return error


@contextmanager
def understood() -> Iterator[None]:
    """Turn errors of the driver into those of the store."""
    try:
        yield
    except (Lost, Duplicate, BadData, Unavailable):
        raise
    except Exception as error:
        known = meaning(error)
        if known is error:
            raise
        raise known from error
