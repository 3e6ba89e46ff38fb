"""The keys of personal data: for subscribers whose login was granted to read them, and how one is destroyed.

`migrate` makes the role `<namespace>edge_keys`, which may read them and nothing else. An operator grants it, and takes it away again::

    GRANT edge_keys TO ann;
    REVOKE edge_keys FROM ann;
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import asyncpg

from sinks.postgres.migrations import EDGE, KEYS
from sinks.postgres.names import quoted, schema_of
from streams.decision import Intent
from streams.effect import Adapter
from streams.errors import CaravanError
from streams.settings import Settings


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


class Keys(Adapter):
    """Destroys the key of a `subject`, in the platform's own Postgres; what was sealed with it is unreadable from then on, wherever it is kept.

    The subject gets no key again. Copies of the database that were made before, its log among them, still have the key: they end by their own age.
    """

    repeatable = True
    forgets = True

    def __init__(self, settings: Settings) -> None:
        """Connects when it is first asked."""
        self._settings = settings
        self._edge = quoted(schema_of(settings.namespace, EDGE))

    async def perform(self, intent: Intent, key: str) -> Mapping[str, Any]:
        """Destroy it; a second time nothing happens. What is kept for the subject's repeated requests, digests of them among it, goes as well."""
        subject = intent.data["subject"]
        async with self._connected() as connection:
            async with connection.transaction():
                await connection.execute(
                    f"INSERT INTO {self._edge}.subject_keys (subject, key, erased_at, erased_by) VALUES ($1, NULL, now(), $2)"
                    " ON CONFLICT (subject) DO UPDATE SET key = NULL,"
                    " erased_at = coalesce(subject_keys.erased_at, excluded.erased_at), erased_by = excluded.erased_by",
                    subject, key,
                )  # fmt: skip
                await connection.execute(
                    f"DELETE FROM {self._edge}.idempotency WHERE principal = $1", f"user:{subject}"
                )
            await connection.execute(f"VACUUM {self._edge}.subject_keys")  # else the old row is on the disk for long
        return {}

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Whether the key of the subject was destroyed under this one."""
        async with self._connected() as connection:
            query = f"SELECT EXISTS (SELECT FROM {self._edge}.subject_keys WHERE erased_by = $1 AND key IS NULL)"
            return {} if await connection.fetchval(query, key) else None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        role = {"role": schema_of(self._settings.namespace, EDGE)}
        connection = await asyncpg.connect(self._settings.postgres, timeout=10, server_settings=role)
        try:
            yield connection
        finally:
            await connection.close()
