"""The keys of personal data, for subscribers whose login was granted to read them.

`migrate` makes the role `<namespace>edge_keys`, which may read them and nothing else. An operator grants it, and takes it away again::

    GRANT edge_keys TO ann;
    REVOKE edge_keys FROM ann;
"""

from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

import asyncpg

from sinks.postgres.migrations import EDGE, KEYS
from sinks.postgres.names import quoted, schema_of
from streams.errors import CaravanError


class NotGranted(CaravanError):
    """The login may not read the keys of personal data."""


class SubjectKeys:
    """A key service for `subscribe(keys=...)`; use it with `async with`.

    It asks Postgres each time it is called, so that a key that was destroyed opens nothing more.
    """

    def __init__(self, dsn: str, namespace: str = "") -> None:
        """Take a login that was granted the role; connects when it is first asked."""
        self._dsn, self._namespace = dsn, namespace
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        """Connects to nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def __call__(self, subjects: Collection[str]) -> Mapping[str, bytes | None]:
        """The keys of those subjects, None for one whose key is destroyed. Raises NotGranted, and CaravanError while Postgres is away."""
        view = f"{quoted(schema_of(self._namespace, EDGE))}.readable_keys"
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._dsn, timeout=10)
            rows = await self._connection.fetch(f"SELECT subject, key FROM {view} WHERE subject = ANY($1)", [*subjects])
        except asyncpg.InsufficientPrivilegeError as error:
            role = quoted(schema_of(self._namespace, KEYS))
            words = f"This login may not read the keys of personal data: {error}. An operator grants it: GRANT {role} TO …; without keys= values come masked."
            raise NotGranted(words) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CaravanError(f"The keys of personal data cannot be read: {error}.") from error
        return dict.fromkeys(subjects) | {row["subject"]: row["key"] for row in rows}
